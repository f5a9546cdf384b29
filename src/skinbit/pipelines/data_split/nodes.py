"""Nodes: from the published metadata to the images used, their subsets and folds."""

import logging
from collections.abc import Iterable, Mapping

import pandas as pd

from skinbit.config import DataParams, SplitParams
from skinbit.data.ids import printable
from skinbit.data.images import ImageFolder
from skinbit.data.lesions import lesion_fates
from skinbit.data.metadata import MISSHAPEN, ROW, find_row_problems
from skinbit.data.preflight import Outcome, Preflight, check_photographs
from skinbit.data.problems import Problem, kinds_by_row, raise_errors, tabulate_problems
from skinbit.data.splits import check_columns, check_pairs, choose_distractors, choose_lesions, split_lesions
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.report.console import describe_pairs
from skinbit.report.data_summary import summarise_data

logger = logging.getLogger(__name__)

INDEX = {"image_id": "str", "file": "str", "sha256": "str", "width": "int64", "height": "int64"}


def check_rows(raw_metadata: pd.DataFrame, split: SplitParams) -> pd.DataFrame:
    """Look for what is wrong with rows of the metadata; nothing ends the run yet.

    Args:
        raw_metadata: As published, with the ``row`` each image comes from.
        split: Which columns lesions are stratified by, and kept together by.

    Returns:
        ``kind, file, row, image_id, problem, remedy``.

    Raises:
        InputError: If one of these is missing.
    """
    check_columns(raw_metadata.drop(columns=[ROW, MISSHAPEN]), split)
    return tabulate_problems(find_row_problems(raw_metadata, _source(raw_metadata)))


def check_images(
    raw_metadata: pd.DataFrame,
    row_problems: pd.DataFrame,
    images: ImageFolder,
    data: DataParams,
    split: SplitParams,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find, read and decode every image that may take part, once, before anything expensive starts.

    Args:
        raw_metadata: As published.
        row_problems: From :func:`check_rows`.
        images: The folder of photographs.
        data: Which lesions take part; limits of a photograph.
        split: How lesions are dealt, where the data are cut.
        seed: Of the dealing.

    Returns:
        All problems, of rows and of images; and ``row, image_id, file, sha256, width, height`` of the images that can
        be used.

    Raises:
        InputError: If there is no folder of images.
    """
    preflight = Preflight(images, data, _watch)
    records, problems = check_photographs(preflight, raw_metadata, kinds_by_row(row_problems), split, seed)
    checked = pd.DataFrame(records, columns=[ROW, *INDEX]).astype({ROW: "int64", **INDEX})
    return pd.concat([row_problems, tabulate_problems(problems)], ignore_index=True), checked


def assign_images(
    raw_metadata: pd.DataFrame,
    problems: pd.DataFrame,
    checked_images: pd.DataFrame,
    data: DataParams,
    split: SplitParams,
    seed: int,
) -> pd.DataFrame:
    """Give every row of the metadata its fate: a subset and fold, or the reason why it is left out.

    Args:
        raw_metadata: As published, with the ``row`` each image comes from.
        problems: From :func:`check_images`.
        checked_images: The images that can be used.
        data: Which lesions take part; which problems are errors.
        split: How they are dealt.
        seed: Of the dealing.

    Returns:
        The rows of the metadata with ``subset``, ``fold`` and ``reason``; one of subset and reason is empty.

    Raises:
        InputError: If there are problems that are errors, too few lesions, or no two images of one lesion.
    """
    note = f"The whole list, {len(problems)} in all: 02_intermediate/problems.csv"
    raise_errors(problems, data.policy, _source(raw_metadata), note)
    kinds = kinds_by_row(problems)
    reason = lesion_fates(raw_metadata, kinds, data.min_images_per_lesion, data.max_images_per_lesion)
    table = raw_metadata.drop(columns=MISSHAPEN).assign(reason=reason, subset="", fold=None)
    taking_part = raw_metadata.loc[reason == ""].drop(columns=[ROW, MISSHAPEN])
    try:
        dealt = split_lesions(taking_part, split, seed)
    except InputError as error:
        counts = [f"\n  Left out: {n} images, {why}." for why, n in reason[reason != ""].value_counts().items()]
        raise InputError("".join([error.message, *counts])) from error
    if data.max_lesions is not None:
        is_checked = table.loc[dealt.index, ROW].isin(checked_images[ROW])
        chosen = choose_lesions(dealt[is_checked], data.max_lesions, seed)
        table.loc[(reason == "") & ~table["lesion_id"].isin(chosen), "reason"] = (
            f"outside the subset of {data.max_lesions} lesions"
        )
        dealt = dealt[dealt["lesion_id"].isin(chosen)]
    without_pair = check_pairs(dealt)
    table.loc[dealt.index, ["subset", "fold"]] = dealt[["subset", "fold"]]
    has_problem = table[ROW].isin(kinds)
    table.loc[has_problem, ["image_id", "lesion_id"]] = table.loc[has_problem, ["image_id", "lesion_id"]].map(printable)
    _log_decisions(table)
    if without_pair:
        logger.warning("no two images of one lesion, so no F1, in %s", ", ".join(without_pair))
    return table.astype({"fold": "Int64"})


def tabulate_split(
    assignment: pd.DataFrame, checked_images: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write down which images are used, where each one belongs, and what is left out.

    Args:
        assignment: From :func:`assign_images`.
        checked_images: The images that can be used.

    Returns:
        Metadata of the images used; the split ``image_id, lesion_id, subset, fold``; their index
        ``image_id, file, sha256, width, height``; and ``image_id, lesion_id, reason`` of all others.
    """
    is_used = assignment["reason"] == ""
    used, rejected = assignment[is_used], assignment[~is_used]
    metadata = used.drop(columns=[ROW, "reason", "subset", "fold"])
    split = used[["image_id", "lesion_id", "subset", "fold"]].astype({"fold": "int64"})
    index = checked_images.loc[checked_images[ROW].isin(used[ROW].astype("int64")), [*INDEX]]
    return metadata, split, index, rejected[["image_id", "lesion_id", "reason"]]


def draw_distractors(
    raw_metadata: pd.DataFrame,
    problems: pd.DataFrame,
    images: ImageFolder,
    data: DataParams,
    n_distractors: int | None,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the lesions of one image that every fold is judged among, and check them as the images of the study are.

    Args:
        raw_metadata: As published.
        problems: From :func:`check_images`; rows that have one are not drawn.
        images: The folder of photographs.
        data: Limits of a photograph; which problems are errors.
        n_distractors: How many; none: all. They are never trained on.
        seed: Of the choice.

    Returns:
        ``image_id, lesion_id``, and the index ``image_id, file, sha256, width, height``.

    Raises:
        InputError: If there are fewer, or their photographs have problems that are errors.
    """
    sound = raw_metadata[~raw_metadata[ROW].isin(problems["row"])]

    def choose(unusable: Mapping[int, Problem]) -> pd.DataFrame:
        return sound.loc[choose_distractors(sound[~sound[ROW].isin(unusable)], n_distractors, seed).index]

    records, unusable = Preflight(images, data, _watch).check(choose)
    raise_errors(tabulate_problems(unusable), data.policy, _source(raw_metadata))
    drawn = sound.loc[sound[ROW].isin([record[ROW] for record in records]), ["image_id", "lesion_id"]]
    index = pd.DataFrame(records, columns=[*INDEX]).astype(INDEX)
    logger.info("%d lesions of one image are distractors: every fold is judged among them, too", len(drawn))
    if unusable:
        names = ", ".join(problem.image_id for problem in unusable[:SHOWN_PER_KIND])
        more = f" and {len(unusable) - SHOWN_PER_KIND} more" if len(unusable) > SHOWN_PER_KIND else ""
        logger.warning("not among them, as they cannot be used: %d images, %s%s", len(unusable), names, more)
    return drawn, index


def _watch(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    from tqdm import tqdm

    return tqdm(outcomes, total=total, unit="image", desc="checking images", disable=None)


def _source(raw_metadata: pd.DataFrame) -> str:
    return str(raw_metadata.attrs.get("source", "the metadata"))


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
