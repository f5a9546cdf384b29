"""Nodes: from the published metadata to the images used, their subsets and folds."""

import logging

import pandas as pd

from skinbit.data.images import ImageFolder, check_images
from skinbit.data.metadata import ROW, lesion_fates
from skinbit.data.splits import choose_distractors, choose_lesions, split_lesions
from skinbit.errors import InputError
from skinbit.params import DataParams, SplitParams
from skinbit.report.console import describe_pairs
from skinbit.report.data_summary import summarise_data

logger = logging.getLogger(__name__)


def assign_images(raw_metadata: pd.DataFrame, data: DataParams, split: SplitParams, seed: int) -> pd.DataFrame:
    """Give every row of the metadata its fate: a subset and fold, or the reason why it is left out.

    Args:
        raw_metadata: As published, with the ``row`` each image comes from.
        data: Which lesions take part.
        split: How they are dealt.
        seed: Of the dealing.

    Returns:
        The rows of the metadata with ``subset``, ``fold`` and ``reason``; one of subset and reason is empty.

    Raises:
        InputError: If ids are blank, doubled or unsafe, or there are too few lesions.
    """
    from skinbit.schemas import check_raw_metadata

    check_raw_metadata(raw_metadata)
    reason = lesion_fates(raw_metadata, data.min_images_per_lesion, data.max_images_per_lesion)
    table = raw_metadata.assign(reason=reason, subset="", fold=None)
    try:
        dealt = split_lesions(raw_metadata.loc[reason == ""].drop(columns=ROW), split, seed)
    except InputError as error:
        counts = [f"\n  Left out: {n} images, {why}." for why, n in reason[reason != ""].value_counts().items()]
        raise InputError("".join([error.message, *counts])) from error
    if data.max_lesions is not None:
        chosen = choose_lesions(dealt, data.max_lesions, seed)
        table.loc[(reason == "") & ~table["lesion_id"].isin(chosen), "reason"] = (
            f"outside the subset of {data.max_lesions} lesions"
        )
        dealt = dealt[dealt["lesion_id"].isin(chosen)]
    table.loc[dealt.index, ["subset", "fold"]] = dealt[["subset", "fold"]]
    _log_decisions(table)
    return table.astype({"fold": "Int64"})


def index_images(assignment: pd.DataFrame, images: ImageFolder, data: DataParams) -> pd.DataFrame:
    """Find, read and decode every image used, once, before anything expensive starts.

    Args:
        assignment: From :func:`assign_images`.
        images: The folder of photographs.
        data: Pixel limit.

    Returns:
        ``image_id, file, sha256, width, height`` of the images used.

    Raises:
        InputError: If images are missing, ambiguous or unreadable; lists them.
    """
    from tqdm.auto import tqdm

    used = assignment[assignment["reason"] == ""]
    records = check_images(images, used, data.max_pixels, "the metadata")
    bar = tqdm(records, total=len(used), unit="image", desc="checking images", disable=None)
    return pd.DataFrame(list(bar), columns=["image_id", "file", "sha256", "width", "height"])


def draw_distractors(assignment: pd.DataFrame, n_distractors: int | None, seed: int) -> pd.DataFrame:
    """Choose the lesions of one image that every fold is judged among; they are never trained on.

    Args:
        assignment: From :func:`assign_images`.
        n_distractors: How many; none: all.
        seed: Of the choice.

    Returns:
        ``image_id, lesion_id``.

    Raises:
        InputError: If there are fewer.
    """
    distractors = choose_distractors(assignment, n_distractors, seed)
    logger.info("%d lesions of one image are distractors: every fold is judged among them, too", len(distractors))
    return distractors


def index_distractors(
    assignment: pd.DataFrame, distractors: pd.DataFrame, images: ImageFolder, data: DataParams
) -> pd.DataFrame:
    """Find, read and decode every distractor, as the images of the study are.

    Args:
        assignment: From :func:`assign_images`.
        distractors: From :func:`draw_distractors`.
        images: The folder of photographs.
        data: Pixel limit.

    Returns:
        ``image_id, file, sha256, width, height``.

    Raises:
        InputError: If images are missing, ambiguous or unreadable; lists them.
    """
    drawn = assignment[assignment["image_id"].isin(set(distractors["image_id"]))]
    return index_images(drawn.assign(reason=""), images, data)


def tabulate_split(
    assignment: pd.DataFrame, image_index: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write down which images are used, where each one belongs, and what is left out.

    Args:
        assignment: From :func:`assign_images`.
        image_index: The images that passed the check.

    Returns:
        Metadata of the images used; the split ``image_id, lesion_id, subset, fold``; and
        ``image_id, lesion_id, reason`` of all others.
    """
    is_used = assignment["image_id"].isin(set(image_index["image_id"]))
    used, rejected = assignment[is_used], assignment[~is_used]
    metadata = used.drop(columns=[ROW, "reason", "subset", "fold"])
    split = used[["image_id", "lesion_id", "subset", "fold"]].astype({"fold": "int64"})
    return metadata, split, rejected[["image_id", "lesion_id", "reason"]]


def _log_decisions(table: pd.DataFrame) -> None:
    """Tell what is used, what is left out and what there is to find, before anything takes time."""
    is_used = table["reason"] == ""
    used = table[is_used]
    summary = summarise_data(used, table[~is_used], used["fold"].unique().tolist())
    n_test = summary.test.n_lesions if summary.test else 0
    logger.info(
        "using %d images of %d lesions: %d lesions for cross-validation, %d for the test",
        summary.n_images,
        summary.n_lesions,
        summary.n_lesions - n_test,
        n_test,
    )
    for reason in summary.left_out:
        logger.info("left out %d images: %s (%d lesions)", reason.n_images, reason.reason, reason.n_lesions)
    if not summary.left_out:
        logger.info("no image is left out")
    logger.info(describe_pairs(summary))
