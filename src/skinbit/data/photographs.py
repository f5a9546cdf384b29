"""Photographs outside of a study's split: all of a folder, and those with known lesions."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pandas as pd
from PIL import Image

from skinbit.config import DataParams
from skinbit.data.file_names import READ_SUFFIXES
from skinbit.data.images import (
    ImageFolder,
    check_images,
    log_found_otherwise,
    refuse_doubled,
    try_images,
    with_unique_ids,
)
from skinbit.data.listed import ListedPhotographs
from skinbit.data.metadata import ROW, find_row_problems
from skinbit.data.passed_over import explain_nothing, list_passed_over
from skinbit.data.problems import Problem, raise_errors, tabulate_problems
from skinbit.data.progress import Progress
from skinbit.errors import InputError

logger = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")

_SHOWN = 5
"""Number of files that are named in the log; the table lists all."""

_REPLACE = (
    "replace the files; if they are right as they are, change the limits in data (max_pixels, max_megabytes, "
    "min_side, follow_links)"
)

LISTED = ["image_id", "file", "sha256"]
"""Columns of a table of photographs."""


@dataclass(frozen=True)
class Photographs:
    """Photographs of several folders, numbered consecutively; folders may share image ids."""

    sources: tuple[ListedPhotographs, ...]

    @cached_property
    def places(self) -> list[tuple[ListedPhotographs, str]]:
        """Return the source and the image id of each photograph."""
        return [(source, image_id) for source in self.sources for image_id in source.image_ids]

    @property
    def hashes(self) -> list[str]:
        """Return the SHA-256 of each file."""
        return [sha256 for source in self.sources for sha256 in source.hashes]

    def decode(self, row: int, least_side: int | None = None) -> Image.Image:
        """Return a photograph; see :meth:`skinbit.data.listed.ListedPhotographs.decode`."""
        source, image_id = self.places[row]
        return source.decode(image_id, least_side)

    @property
    def source_numbers(self) -> list[int]:
        """Return the number of each photograph's folder."""
        return [number for number, source in enumerate(self.sources) for _ in source.image_ids]


def check_folder(folder: ImageFolder, parameter: str) -> ImageFolder:
    """Return a folder if it exists.

    Args:
        folder: Folder to be read.
        parameter: Parameter that names the folder.

    Raises:
        InputError: If there is no such folder.
    """
    if not folder.fs.isdir(folder.root):
        raise InputError(
            f"There is no folder {folder.root}.\n  Remedy: correct {parameter}; relative paths start at the project."
        )
    return folder


def choose_photographs(folder: ImageFolder, data: DataParams) -> ImageFolder:
    """Return a folder with its readable photographs, each with a unique id.

    Args:
        folder: From :func:`skinbit.data.images.find_images`.
        data: Whether subfolders are read, too.

    Raises:
        InputError: If there is nothing to read.
    """
    folder = with_unique_ids(folder.choose(data.subfolders))
    if not folder.files:
        raise InputError(explain_nothing(folder, f"put photographs ({READ_SUFFIXES}) into it, or name another one"))
    return folder


def read_folder(
    folder: ImageFolder, data: DataParams, use: Callable[[Image.Image], str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Read every photograph of a folder; unreadable files do not stop the others.

    Args:
        folder: From :func:`skinbit.data.images.find_images`.
        data: Limits of a photograph.
        use: Applied to each decoded photograph, in threads.

    Returns:
        ``image_id, file, sha256`` of photographs; ``file, reason`` of unreadable and ignored files; the results of
        ``use`` by image id.

    Raises:
        InputError: If there is nothing to group.
    """
    folder = choose_photographs(folder, data)
    records, problems, used = [], [], {}
    for attempt in _watched(try_images(folder, data, use), len(folder.files)):
        if isinstance(attempt, Problem):
            problems.append(attempt)
        else:
            records.append(attempt.record)
            used[attempt.record["image_id"]] = attempt.used
    unreadable = [(each.file, each.problem) for each in problems]
    passed_over = list_passed_over(folder)
    logger.info(
        "%d photographs to group, %d cannot be read, %d other files and folders are ignored",
        *(len(records), len(unreadable), len(folder.others)),
    )
    for file, reason in [*unreadable[:_SHOWN], *passed_over[:_SHOWN]]:
        logger.warning("%s: %s", file, reason)
    if not records:
        shown = "\n".join(f"  - {file}: {reason}" for file, reason in unreadable[:_SHOWN])
        remedies = dict.fromkeys(each.remedy or _REPLACE for each in problems)
        raise InputError(
            f"None of the {len(unreadable)} photographs in {folder.root} can be used:\n{shown}\n"
            f"  Remedy: {'; '.join(remedies)}."
        )
    listed = pd.DataFrame(records, columns=LISTED, dtype=str)
    return listed, pd.DataFrame([*unreadable, *passed_over], columns=["file", "reason"]), used


def read_known_lesions(
    folder: ImageFolder, table: pd.DataFrame, data: DataParams, use: Callable[[Image.Image], str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read the photographs with known lesions.

    Args:
        folder: Folder of the photographs.
        table: From :func:`skinbit.data.metadata.read_metadata`.
        data: Limits of a photograph, and which problems are errors.
        use: Applied to each decoded photograph, in threads.

    Returns:
        ``image_id, file, sha256, lesion_id`` of images with a lesion; the results of ``use`` by image id.

    Raises:
        InputError: If rows or photographs have problems that are errors; lists them.
    """
    source = str(table.attrs.get("source", "cluster.known"))
    folder = folder.choose(data.subfolders)
    row_problems = tabulate_problems(find_row_problems(table, source, data))
    wanted = table[(table["lesion_id"] != "") & ~table[ROW].isin(row_problems["row"])]
    lesion_of = dict(zip(wanted[ROW], wanted["lesion_id"], strict=True))
    records, image_problems, used = [], [], {}
    for outcome in _watched(refuse_doubled(check_images(folder, wanted, data, use), {}), len(wanted)):
        if isinstance(outcome, Problem):
            image_problems.append(outcome)
        else:
            records.append({**outcome.record, "lesion_id": lesion_of[outcome.row]})
            used[outcome.record["image_id"]] = outcome.used
    problems = pd.concat([row_problems, tabulate_problems(image_problems)], ignore_index=True)
    raise_errors(problems, data.policy, source, f"The image folder is {folder.root}.")
    if len(problems):
        logger.warning("%d rows of known photographs are left out: %s", problems["row"].nunique(), _first_of(problems))
    if not records:
        raise InputError(
            f"{source} has no usable photograph with a known lesion.\n"
            "  Remedy: fill in lesion_id, or do not set cluster.known."
        )
    log_found_otherwise(records)
    known = pd.DataFrame(records, columns=[*LISTED, "lesion_id"], dtype=str)
    logger.info("%d photographs of %d known lesions", len(known), known["lesion_id"].nunique())
    return known, used


def _first_of(problems: pd.DataFrame) -> str:
    shown = problems.drop_duplicates("row").head(5)
    return "; ".join(f"row {row}: {problem}" for row, problem in zip(shown["row"], shown["problem"], strict=True))


def _watched(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    return Progress(outcomes, total=total, unit="image", desc="reading images")
