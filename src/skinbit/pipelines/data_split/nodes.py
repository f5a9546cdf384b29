"""Nodes: from the published metadata to the images used, with their subsets and folds."""

import logging
from collections.abc import Iterable, Mapping

import pandas as pd

from skinbit.config import ContextsParams, DataParams, SplitParams
from skinbit.data.assignment import assign_rows
from skinbit.data.images import ImageFolder, hash_photographs
from skinbit.data.metadata import MISSHAPEN, NAMED, ROW, find_row_problems, source_of
from skinbit.data.passed_over import list_passed_over
from skinbit.data.preflight import Outcome, Preflight, check_photographs
from skinbit.data.problems import Problem, kinds_by_row, raise_errors, tabulate_problems
from skinbit.data.splits import check_columns, choose_distractors
from skinbit.decisions.answers import Answer
from skinbit.decisions.labels import CorrectedLabels
from skinbit.decisions.labels import correct_labels as correct_by_answers
from skinbit.errors import SHOWN_PER_KIND
from skinbit.matching.similarity.columns import check_context
from skinbit.report.console import describe_pairs
from skinbit.report.data_summary import summarise_data

logger = logging.getLogger(__name__)

_SHOWN = 5
"""Number of ignored files that are named in the log."""

INDEX = {"image_id": "str", "file": "str", "sha256": "str", "width": "int64", "height": "int64"}


def check_rows(raw_metadata: pd.DataFrame, data: DataParams, split: SplitParams) -> pd.DataFrame:
    """Find problems in rows of the metadata, without ending the run yet.

    Returns:
        ``kind, file, row, image_id, problem, remedy``.

    Raises:
        InputError: If a column for stratification or for keeping lesions together is missing.
    """
    check_columns(raw_metadata.drop(columns=[ROW, MISSHAPEN]), split)
    return tabulate_problems(find_row_problems(raw_metadata, source_of(raw_metadata), data))


def correct_labels(
    raw_metadata: pd.DataFrame,
    row_problems: pd.DataFrame,
    images: ImageFolder,
    study_answers: tuple[Answer, ...],
    data: DataParams,
) -> pd.DataFrame:
    """Return the rows of the metadata that get another lesion because people have answered so.

    Args:
        raw_metadata: The metadata.
        row_problems: Rows with problems, which stay as they are.
        images: The folder of photographs.
        study_answers: All answers of a ledger.
        data: Limits of a photograph.

    Returns:
        ``row, image_id, lesion_id, corrected_lesion_id``.
    """
    sound = raw_metadata[~raw_metadata[ROW].isin(row_problems["row"])]
    image_ids, labels = sound["image_id"].tolist(), sound["lesion_id"].tolist()
    hashes = hash_photographs(images.choose(data.subfolders), image_ids, data)
    # A row without a photograph is no copy of another such row.
    unique = [sha256 or image_id for sha256, image_id in zip(hashes, image_ids, strict=True)]
    found = correct_by_answers(labels, unique, study_answers)
    table = sound[[ROW, "image_id", "lesion_id"]].assign(corrected_lesion_id=found.lesion_ids)
    changed = table[table["lesion_id"] != table["corrected_lesion_id"]]
    _log_corrections(changed, found)
    return changed


def check_contexts(
    raw_metadata: pd.DataFrame, contexts: ContextsParams, corrected_labels: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Check the metadata columns that are used when images are compared, before anything expensive starts.

    Returns:
        ``experiment, column, rows``, the last one being the number of rows with a value.

    Raises:
        InputError: If a column is missing, a value cannot be read, or a lesion has two values in a column that must
            agree.
    """
    raw_metadata = _with_corrected(raw_metadata, corrected_labels)
    counts = [
        (experiment, column, rows)
        for experiment, params in contexts.by_experiment.items()
        for column, rows in check_context(raw_metadata, params, source_of(raw_metadata)).items()
    ]
    for experiment, column, rows in counts:
        logger.info("%s: %d of %d rows have a value of %s", experiment, rows, len(raw_metadata), column)
    return pd.DataFrame(counts, columns=["experiment", "column", "rows"])


def check_images(
    raw_metadata: pd.DataFrame,
    row_problems: pd.DataFrame,
    images: ImageFolder,
    data: DataParams,
    split: SplitParams,
    seed: int,
    corrected_labels: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find, read and decode every image that may take part, once, before anything expensive starts.

    Returns:
        All problems of rows and images; and ``row, image_id, file, sha256, width, height`` of the usable images.

    Raises:
        InputError: If there is no image folder.
    """
    raw_metadata = _with_corrected(raw_metadata, corrected_labels)
    preflight = Preflight(images, data, _watch)
    _log_unnamed(images.choose(data.subfolders), raw_metadata)
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
    corrected_labels: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Assign every row of the metadata to a subset and fold, or to the reason why it is left out.

    Returns:
        Table from :func:`skinbit.data.assignment.assign_rows`.

    Raises:
        InputError: If there are problems that are errors, too few lesions, or no two images of the same lesion.
    """
    raw_metadata = _with_corrected(raw_metadata, corrected_labels)
    note = f"The whole list, {len(problems)} in all: 02_intermediate/problems.csv"
    raise_errors(problems, data.policy, source_of(raw_metadata), note)
    table = assign_rows(raw_metadata, kinds_by_row(problems), checked_images[ROW], data, (split, seed))
    _log_decisions(table)
    return table


def tabulate_split(
    assignment: pd.DataFrame, checked_images: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write which images are used, in which subset each one is, and which images are left out.

    Returns:
        Metadata of the images used; the split ``image_id, lesion_id, subset, fold``; the index
        ``image_id, file, sha256, width, height``; and ``image_id, lesion_id, reason`` of all other images, with the ids
        of the table.
    """
    is_used = assignment["reason"] == ""
    used, rejected = _with_own_ids(assignment[is_used], checked_images), assignment[~is_used]
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
    corrected_labels: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the singleton lesions that are added to folds as distractors, and check them like the images of the study.

    Returns:
        ``image_id, lesion_id, …``, and the index ``image_id, file, sha256, width, height``. They are never trained on.

    Raises:
        InputError: If there are fewer, or their photographs have problems that are errors.
    """
    raw_metadata = _with_corrected(raw_metadata, corrected_labels)
    sound = raw_metadata[~raw_metadata[ROW].isin(problems["row"])]

    def choose(unusable: Mapping[int, Problem]) -> pd.DataFrame:
        return sound.loc[choose_distractors(sound[~sound[ROW].isin(unusable)], n_distractors, seed).index]

    records, unusable = Preflight(images, data, _watch).check(choose)
    raise_errors(tabulate_problems(unusable), data.policy, source_of(raw_metadata))
    checked = pd.DataFrame(records, columns=[ROW, *INDEX]).astype({ROW: "int64", **INDEX})
    drawn = _with_own_ids(sound[sound[ROW].isin(checked[ROW])], checked).drop(columns=[ROW, MISSHAPEN])
    drawn = drawn[["image_id", "lesion_id", *drawn.columns.difference(["image_id", "lesion_id"], sort=False)]]
    logger.info("%d singleton lesions are distractors: every fold is also evaluated with them", len(drawn))
    if unusable:
        names = ", ".join(problem.image_id for problem in unusable[:SHOWN_PER_KIND])
        more = f" and {len(unusable) - SHOWN_PER_KIND} more" if len(unusable) > SHOWN_PER_KIND else ""
        logger.warning("not used as distractors because of problems: %d images, %s%s", len(unusable), names, more)
    return drawn, checked[[*INDEX]]


def _with_corrected(raw_metadata: pd.DataFrame, corrected_labels: pd.DataFrame | None) -> pd.DataFrame:
    """Return the metadata with the lesions that answers have corrected; None: no answers."""
    if corrected_labels is None:
        return raw_metadata
    lesion_of = dict(zip(raw_metadata[ROW], raw_metadata["lesion_id"], strict=True))
    lesion_of |= dict(zip(corrected_labels[ROW], corrected_labels["corrected_lesion_id"], strict=True))
    return raw_metadata.assign(lesion_id=raw_metadata[ROW].map(lesion_of))


def _with_own_ids(table: pd.DataFrame, checked_images: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the image ids of their photographs and, if these differ, also those of the table."""
    ids = table[ROW].astype("int64").map(dict(zip(checked_images[ROW], checked_images["image_id"], strict=True)))
    named = {} if (ids == table["image_id"]).all() else {NAMED: table["image_id"]}
    return table.assign(image_id=ids, **named)


def _log_unnamed(images: ImageFolder, raw_metadata: pd.DataFrame) -> None:
    """Log how many photographs are in no row of the metadata, which reveals a wrong folder."""
    named = {file for image_id in raw_metadata["image_id"] for file in images.find(image_id)}
    n_files = sum(map(len, images.files.values()))
    if n_files > len(named):
        logger.info("%d of the %d photographs in the folder are in no row", n_files - len(named), n_files)
    if images.others:
        listed = "; ".join(f"{name}: {reason}" for name, reason in list_passed_over(images)[:_SHOWN])
        logger.info("ignored in the folder: %d other files and folders, e.g. %s", len(images.others), listed)


def _watch(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    from skinbit.data.progress import Progress

    return Progress(outcomes, total=total, unit="image", desc="checking images")


def _log_corrections(changed: pd.DataFrame, found: CorrectedLabels) -> None:
    verdicts, lesions = found.verdicts, changed["lesion_id"]
    logger.info(
        "answers correct the labels: %d are obeyed, %d are about photographs that are not in the metadata; "
        "%d photographs of %d lesions get another lesion, %d without one get one",
        *(verdicts.n_obeyed, verdicts.n_elsewhere),
        *((lesions != "").sum(), lesions[lesions != ""].nunique(), (lesions == "").sum()),
    )
    if found.undecided:
        named = ", ".join(found.undecided[:_SHOWN])
        logger.warning(
            "%d lesions stay as labelled, since answers contradict their labels without saying what is right, e.g. %s",
            *(len(found.undecided), named),
        )
    if verdicts.contradictory:
        logger.warning(
            "answers about %d photographs contradict each other and correct nothing", len(verdicts.contradictory)
        )


def _log_decisions(table: pd.DataFrame) -> None:
    """Log which images are used and left out, and the number of pairs to find, before anything takes time."""
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
