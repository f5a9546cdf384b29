"""What can be wrong with a row of the metadata or with its photograph, and what the user decided to do about it."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace

import pandas as pd

from skinbit.config import PolicyParams
from skinbit.data.file_names import READ_SUFFIXES
from skinbit.errors import ProblemList


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Attributes:
        heading: Of a list of such problems, after their number.
        reason: Why such an image is left out, where the policy says so.
        remedy: What mends every problem of this kind.
        is_of_image: Whether the photograph has it, and not its row of the metadata.
        may_be_kept: Whether such ids may be right as they are, so that the policy may be ``keep``.
    """

    heading: str
    reason: str
    remedy: str
    is_of_image: bool = False
    may_be_kept: bool = False


_PUT = f"put the files ({READ_SUFFIXES}) into the folder images beside the CSV, or remove their rows"
_REPLACE = "replace the files, or remove their rows"

KINDS: Mapping[str, Kind] = {
    "cells": Kind(
        "rows with a wrong number of cells",
        "row has a wrong number of cells",
        "give every row as many cells as the header; put cells that hold the delimiter in quotes, and end every quote",
    ),
    "no_image_id": Kind("rows without an image_id", "no image_id", "fill them in, or remove the rows"),
    "bad_id": Kind(
        "ids that cannot be used",
        "id cannot be used",
        "an id is a plain name of at most 200 characters, never a path or a formula, with nothing in it that cannot "
        "be seen; write it anew, and rename the file",
    ),
    "placeholder": Kind(
        "ids that are a word for a missing value",
        "id is a word for a missing value",
        "write the id; where nobody knows the lesion, leave the cell of lesion_id blank",
        may_be_kept=True,
    ),
    "duplicate": Kind(
        "rows with an image_id that another row has",
        "image_id of another row",
        "keep one row per image",
    ),
    "two_lesions": Kind(
        "rows with an image_id that another row gives to another lesion",
        "image_id under two lesions",
        "an image shows one lesion: keep the row that is right",
    ),
    "case_clash": Kind(
        "ids that differ only in case or accents from another",
        "id differs only in case or accents from another",
        "on many file systems they are one name, and one lesion spelt in two ways counts as two: spell them alike, or "
        "rename one",
    ),
    "number_clash": Kind(
        "ids that differ from another only in how a number is written",
        "id differs from another only in how a number is written",
        "a program that took ids for numbers may have changed some of them, and one lesion written in two ways counts "
        "as two: write them alike, as text",
        may_be_kept=True,
    ),
    "missing": Kind(
        "images that are missing",
        "image is missing",
        f"{_PUT}; image_id is the file name without its suffix",
        is_of_image=True,
    ),
    "ambiguous": Kind(
        "images with more than one file", "image has more than one file", "keep one file per image_id", is_of_image=True
    ),
    "unreadable": Kind("images that cannot be read", "image cannot be read", _REPLACE, is_of_image=True),
    "too_large": Kind(
        "images that are too large",
        "image is too large",
        f"{_REPLACE}; if they are as they should be, raise data.max_pixels or data.max_megabytes",
        is_of_image=True,
    ),
    "too_small": Kind(
        "images that are too small",
        "image is too small",
        f"{_REPLACE}; if they are as they should be, lower data.min_side",
        is_of_image=True,
    ),
    "outside": Kind(
        "images that are links to files outside of the folder",
        "image is a link out of the folder",
        "put the files themselves there; if you made the links yourself, set data.follow_links=true",
        is_of_image=True,
    ),
}
"""By the name that ``data.policy`` and ``problems.csv`` use."""


@dataclass(frozen=True)
class Problem:
    """One problem of one row.

    Attributes:
        kind: A key of :data:`KINDS`.
        file: The metadata file or the photograph that has it, printable.
        row: Of the metadata, counted as a spreadsheet does.
        image_id: Of the row, printable; may be blank.
        problem: What is wrong, printable.
        remedy: What mends it; empty: what mends every problem of its kind.
    """

    kind: str
    file: str
    row: int
    image_id: str
    problem: str
    remedy: str = ""


COLUMNS = [field.name for field in fields(Problem)]


def tabulate_problems(problems: Iterable[Problem]) -> pd.DataFrame:
    """Return problems as a table ``kind, file, row, image_id, problem, remedy``."""
    rows = [astuple(replace(each, remedy=each.remedy or KINDS[each.kind].remedy)) for each in problems]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS, "str") | {"row": "int64"})


def raise_errors(problems: pd.DataFrame, policy: PolicyParams, source: str, note: str = "") -> None:
    """End the run if there is a problem of a kind that is an error.

    Args:
        problems: From :func:`tabulate_problems`.
        policy: Which kinds are errors.
        source: The metadata file's name.
        note: A last line, such as where the whole list is.

    Raises:
        InputError: Lists the first problems of each such kind, with their number and the remedy.
    """
    listed = ProblemList()
    for problem in problems.itertuples():
        kind = KINDS[str(problem.kind)]
        if getattr(policy, str(problem.kind)) == "error":
            place = f"{problem.file} (row {problem.row} of {source})" if kind.is_of_image else f"row {problem.row}"
            setting = f"--params data.policy.{problem.kind}"
            keep = f"; if they are right as they are: {setting}=keep" if kind.may_be_kept else ""
            remedy = f"{problem.remedy}{keep}; to leave them out: {setting}=skip"
            listed.add(kind.heading, f"{place}: {problem.problem}", remedy)
    listed.raise_if_any(f"{source} and its images" if _any_of_image(problems) else source, note)


def _any_of_image(problems: pd.DataFrame) -> bool:
    return any(KINDS[kind].is_of_image for kind in problems["kind"])


def kinds_by_row(problems: pd.DataFrame) -> dict[int, str]:
    """Return the kind of the first problem of each row that has one."""
    first = problems.drop_duplicates("row")
    return dict(zip(first["row"].tolist(), first["kind"].tolist(), strict=True))
