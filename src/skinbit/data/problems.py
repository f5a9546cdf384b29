"""Problems of metadata rows and photographs, and what the user decided about them."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace

import pandas as pd

from skinbit.config import PolicyParams
from skinbit.data.file_names import READ_SUFFIXES
from skinbit.errors import ProblemList


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        heading: Heading of a list of such problems, after their number.
        reason: Reason why the image is left out, if the policy is skip.
        remedy: Remedy for all problems of this kind.
        is_of_image: Whether the photograph has the problem, not its row.
        may_be_kept: Whether such ids may be right, so that the policy may be ``keep``.
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
        "make every row as long as the header; put cells with the delimiter in quotes, and close every quote",
    ),
    "no_image_id": Kind("rows without an image_id", "no image_id", "fill them in, or remove the rows"),
    "bad_id": Kind(
        "ids that cannot be used",
        "id cannot be used",
        "an id is a plain name of at most 200 characters, not a path or a formula, and without invisible "
        "characters; correct it, and rename the file",
    ),
    "placeholder": Kind(
        "ids that are a word for a missing value",
        "id is a word for a missing value",
        "write the id; if the lesion is unknown, leave lesion_id blank",
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
        "an image shows one lesion: keep the correct row",
    ),
    "case_clash": Kind(
        "ids that differ only in case or accents from another",
        "id differs only in case or accents from another",
        "many file systems treat them as one name, and a lesion with two spellings counts as two: use one spelling, or "
        "rename one",
    ),
    "number_clash": Kind(
        "ids that differ from another only in how a number is written",
        "id differs from another only in how a number is written",
        "a program that read ids as numbers may have changed some, and a lesion written in two ways counts "
        "as two: use one form, as text",
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
        f"{_REPLACE}; if they are right as they are, raise data.max_pixels or data.max_megabytes",
        is_of_image=True,
    ),
    "too_small": Kind(
        "images that are too small",
        "image is too small",
        f"{_REPLACE}; if they are right as they are, lower data.min_side",
        is_of_image=True,
    ),
    "outside": Kind(
        "images that are links to files outside of the folder",
        "image is a link out of the folder",
        "put the files themselves there; if the links are yours, set data.follow_links=true",
        is_of_image=True,
    ),
}
"""All kinds, by the name in ``data.policy`` and ``problems.csv``."""


@dataclass(frozen=True)
class Problem:
    """A problem of a row.

    Attributes:
        kind: A key of :data:`KINDS`.
        file: The metadata file or photograph with the problem, printable.
        row: Row of the metadata, counted like in a spreadsheet.
        image_id: Image id of the row, printable; may be blank.
        problem: Description, printable.
        remedy: Remedy; empty: that of the kind.
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
        source: Name of the metadata file.
        note: A last line, such as the path of the whole list.

    Raises:
        InputError: With the first problems of each such kind, their number and the remedy.
    """
    listed = ProblemList()
    for problem in problems.itertuples():
        kind = KINDS[str(problem.kind)]
        if getattr(policy, str(problem.kind)) == "error":
            place = f"{problem.file} (row {problem.row} of {source})" if kind.is_of_image else f"row {problem.row}"
            setting = f"--params data.policy.{problem.kind}"
            keep = f"; to keep them as they are: {setting}=keep" if kind.may_be_kept else ""
            remedy = f"{problem.remedy}{keep}; to leave them out: {setting}=skip"
            listed.add(kind.heading, f"{place}: {problem.problem}", remedy)
    listed.raise_if_any(f"{source} and its images" if _any_of_image(problems) else source, note)


def _any_of_image(problems: pd.DataFrame) -> bool:
    return any(KINDS[kind].is_of_image for kind in problems["kind"])


def kinds_by_row(problems: pd.DataFrame) -> dict[int, str]:
    """Return the kind of the first problem of each row that has one."""
    first = problems.drop_duplicates("row")
    return dict(zip(first["row"].tolist(), first["kind"].tolist(), strict=True))
