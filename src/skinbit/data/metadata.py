"""The metadata table as it is published: encodings, delimiters, column names; and which lesions take part."""

import csv
import io
import logging
import re

import pandas as pd

from skinbit.errors import InputError, ProblemList

logger = logging.getLogger(__name__)

ALIASES = {"image": "image_id", "isic_id": "image_id", "localization": "anatom_site_general"}
"""Column names of ISIC and HAM10000, and ours. Where both are present, ours stands."""

_DELIMITERS = ",;\t"

RESERVED = ("row", "reason", "subset", "fold")
"""Columns that Skinbit adds itself."""

ROW = "row"
"""Column with the line of the file a row comes from, counted as a spreadsheet does (the header is row 1)."""

_FORMULA = re.compile(r"[=@\uff1d\uff20]|[+\-\uff0b\uff0d](?![\d.,]+([eE][+\-]?\d+)?$)")

NO_LESION = "no lesion_id"
FATES = {
    "few": "lesion has fewer than {minimum} images",
    "many": "lesion has more than {maximum} images",
}


def reads_as_formula(text: str) -> bool:
    """Tell whether a spreadsheet would take a cell of a CSV for a formula, which may call programs and addresses.

    Args:
        text: Of the cell.

    Returns:
        Whether it begins with = or @, or with + or - and is no number.
    """
    return _FORMULA.match(text) is not None


def read_metadata(content: bytes, source: str) -> pd.DataFrame:
    """Read a metadata file into a table of text.

    Args:
        content: The file: UTF-8 with or without BOM, UTF-16 with BOM, or Windows-1252; comma, semicolon or tab.
        source: The file's name, for messages.

    Returns:
        One row per image, all cells text without surrounding blanks, columns renamed by ``ALIASES``, and ``row``.

    Raises:
        InputError: If the file is empty, a row has too many or too few cells, or a needed column is missing.
    """
    text = _decode(content, source)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        rows = [
            (number, [cell.strip() for cell in row]) for number, row in enumerate(lines, 1) if any(map(str.strip, row))
        ]
    except csv.Error as error:  # a cell of more than 128 kB: the quote before it never ends
        raise InputError(
            f"{source} cannot be read near line {lines.line_num} ({error}). Remedy: mend its quotes."
        ) from error
    if not rows:
        raise InputError(f"{source} is empty. Remedy: give a CSV with the columns lesion_id and image_id.")
    header = rows[0][1]
    _check_shape(rows, source)
    columns = _canonical_columns(header, source)
    table = pd.DataFrame([cells for _, cells in rows[1:]], columns=columns, dtype="str")
    return table.assign(**{ROW: [line for line, _ in rows[1:]]})


def _decode(content: bytes, source: str) -> str:
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        logger.warning("%s is no valid Unicode; read as Windows-1252", source)
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """Take the delimiter that the header line holds most often."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=header.count)


def _check_shape(rows: list[tuple[int, list[str]]], source: str) -> None:
    expected = len(rows[0][1])
    problems = ProblemList()
    for line, cells in rows[1:]:
        if len(cells) != expected:
            problems.add(
                "rows with a wrong number of cells",
                f"row {line}: {len(cells)} cells, the header has {expected}",
                "give every row as many cells as the header; put cells that hold the delimiter in quotes",
            )
    problems.raise_if_any(source)


def _canonical_columns(header: list[str], source: str) -> list[str]:
    columns = list(header)
    for alias, name in ALIASES.items():
        if alias in columns and name not in columns:
            columns[columns.index(alias)] = name
    needed = [name for name in ("lesion_id", "image_id") if name not in columns]
    if needed:
        raise InputError(
            f"{source} has no column {' and no column '.join(needed)}; its columns are: {', '.join(header)}.\n"
            "  Remedy: name the lesion column lesion_id and the image column image_id (image and isic_id are read too)."
        )
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        raise InputError(f"{source} has the column {doubled[0]!r} twice. Remedy: rename or remove one.")
    reserved = [name for name in columns if name in RESERVED]
    if reserved:
        raise InputError(
            f"{source} has the column {reserved[0]!r}, a name that Skinbit uses itself. Remedy: rename the column."
        )
    return columns


def lesion_fates(table: pd.DataFrame, minimum: int, maximum: int) -> pd.Series:
    """Tell for every row why it is left out.

    Args:
        table: From :func:`read_metadata`.
        minimum: Fewest images of a lesion that takes part.
        maximum: Most images of a lesion that takes part.

    Returns:
        One text per row, empty where the image takes part, named ``reason``.
    """
    n_images = table.groupby("lesion_id")["image_id"].transform("size")
    reason = pd.Series("", index=table.index, name="reason", dtype="str")
    reason[n_images < minimum] = FATES["few"].format(minimum=minimum)
    reason[n_images > maximum] = FATES["many"].format(maximum=maximum)
    reason[table["lesion_id"] == ""] = NO_LESION
    return reason
