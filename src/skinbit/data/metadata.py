"""The metadata table as it is published: encodings, delimiters, column names."""

import csv
import io
import logging
import re
from collections.abc import Iterator

import pandas as pd

from skinbit.data.ids import explain_id, fold_case, printable, quote
from skinbit.data.problems import Problem
from skinbit.errors import InputError

logger = logging.getLogger(__name__)

ALIASES = {"image": "image_id", "isic_id": "image_id", "localization": "anatom_site_general"}
"""Column names of ISIC and HAM10000, and ours. Where both are present, ours stands."""

_DELIMITERS = ",;\t"

ROW = "row"
"""Column with the line of the file a row comes from, counted as a spreadsheet does (the header is row 1)."""

MISSHAPEN = "misshapen"
"""Column that says what is wrong with the number of a row's cells; blank where it is right."""

RESERVED = (ROW, MISSHAPEN, "reason", "subset", "fold")
"""Columns that Skinbit adds itself."""

_MARKS = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "an image",
    b"\x89PNG": "an image",
    b"GIF8": "an image",
}
_BYTE_ORDER_MARKS = {  # that of UTF-32 begins as that of UTF-16 does
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}

_Found = tuple[str, int, str]
"""Kind, row, and what is wrong."""

_SHOWN = 40
"""So many columns are named, with so many characters, where a needed one is missing."""

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffd]")


def read_metadata(content: bytes, source: str) -> pd.DataFrame:
    """Read a metadata file into a table of text.

    Args:
        content: The file: UTF-8 with or without BOM, UTF-16 or UTF-32 with BOM, or Windows-1252; comma, semicolon or
            tab.
        source: The file's name, for messages.

    Returns:
        One row per image, all cells text without surrounding blanks, columns renamed by ``ALIASES``; ``row``; and
        ``misshapen``, what is wrong where a row has too many or too few cells: these are then cut or filled up.

    Raises:
        InputError: If the file is empty or no table, a quote never ends, or a needed column is missing.
    """
    text = _decode(content, source)
    delimiter = _delimiter(text)
    rows = list(_parse(text, delimiter, source))
    if not rows:
        raise InputError(f"{source} is empty. Remedy: give a CSV with the columns lesion_id and image_id.")
    header, width = rows[0][1], len(rows[0][1])
    columns = _canonical_columns(header, source)
    cells = [row[:width] + [""] * (width - len(row)) for _, row in rows[1:]]
    table = pd.DataFrame(cells, columns=columns, dtype="str").loc[:, [name != "" for name in columns]]
    numbers = pd.Series([line for line, _ in rows[1:]], dtype="int64")
    misshapen = pd.Series([_explain_shape(row, width, delimiter) for _, row in rows[1:]], dtype="str")
    return pd.concat([table, numbers.rename(ROW), misshapen.rename(MISSHAPEN)], axis="columns")


def _decode(content: bytes, source: str) -> str:
    for mark, what in _MARKS.items():
        if content.startswith(mark):
            raise InputError(f"{source} is {what}. Remedy: export the table as CSV, UTF-8.")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise InputError(
                f"{source} begins as {encoding.upper()}, but is damaged or cut short. Remedy: save it as UTF-8."
            ) from error
        logger.warning("%s is no valid Unicode; read as Windows-1252", source)
        text = content.decode("cp1252", errors="replace")
    if text.lstrip().startswith("<"):
        raise InputError(f"{source} is a web page or XML. Remedy: download the table itself, as CSV.")
    return text


def _delimiter(text: str) -> str:
    """Take the delimiter that the header line holds most often."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=header.count)


def _parse(text: str, delimiter: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that hold anything, each with its number; the first is the header."""
    ended = "\x1e"  # a line after the last one: where it is inside of a cell, a quote has not ended
    while ended in text:
        ended += "\x1e"
    lines = csv.reader(io.StringIO(f"{text}\n{ended}\n", newline=""), delimiter=delimiter)
    number = 0
    try:
        for number, row in enumerate(lines, 1):
            if row == [ended]:
                return
            cells = [re.sub(r"\r\n?", "\n", cell.strip()) for cell in row]
            if any(cells):
                yield number, cells
    except csv.Error as error:  # a cell of more than 128 kB: the quote before it never ends
        raise _unended_quote(source, number + 1) from error
    raise _unended_quote(source, number)


def _unended_quote(source: str, row: int) -> InputError:
    return InputError(f"{source} cannot be read: a quote that begins in row {row} never ends. Remedy: mend its quotes.")


def _explain_shape(cells: list[str], width: int, delimiter: str) -> str:
    """Return what is wrong with the number of a row's cells; blank cells at the end do no harm."""
    if len(cells) < width or any(cells[width:]):
        return f"{len(cells)} cells, the header has {width}"
    swallowed = max((_count_swallowed(cell, width, delimiter) for cell in cells if "\n" in cell), default=0)
    return f"a quoted cell holds {swallowed} lines that look like rows; is a quote missing?" if swallowed else ""


def _count_swallowed(cell: str, width: int, delimiter: str) -> int:
    """Count the whole lines inside of a cell, where every one has as many cells as a row."""
    inner = list(csv.reader(cell.split("\n")[1:-1], delimiter=delimiter))
    return len(inner) if all(len(row) == width for row in inner) else 0


def _canonical_columns(header: list[str], source: str) -> list[str]:
    """Return the columns by the names used here; one without a name, as an exported index, is left out."""
    if any(_NO_TEXT.search(name) for name in header):
        raise InputError(
            f"{source} is no table of text: its first line is {quote(', '.join(header))}.\n"
            "  Remedy: save it as CSV, UTF-8. A UTF-16 file needs its byte-order mark."
        )
    columns = list(header)
    for alias, name in ALIASES.items():
        if alias in columns and name not in columns:
            columns[columns.index(alias)] = name
    needed = [name for name in ("lesion_id", "image_id") if name not in columns]
    if needed:
        raise InputError(
            f"{source} has no column {' and no column '.join(needed)}; its columns are: {_listed(header)}.\n"
            "  Remedy: name the lesion column lesion_id and the image column image_id (image and isic_id are read too)."
        )
    doubled = sorted({name for name in columns if name and columns.count(name) > 1})
    if doubled:
        raise InputError(f"{source} has the column {doubled[0]!r} twice. Remedy: rename or remove one.")
    reserved = [name for name in columns if name in RESERVED]
    if reserved:
        raise InputError(
            f"{source} has the column {reserved[0]!r}, a name that Skinbit uses itself. Remedy: rename the column."
        )
    unnamed = [str(number) for number, name in enumerate(columns, 1) if not name]
    if unnamed:
        logger.warning("%s: columns without a name are left out, number %s", source, ", ".join(unnamed))
    return columns


def _listed(names: list[str]) -> str:
    return ", ".join(printable(name[:_SHOWN]) for name in names[:_SHOWN])


def find_row_problems(table: pd.DataFrame, source: str, subfolders: bool = False) -> list[Problem]:
    """Check every row of a metadata table; the photographs are not looked at.

    Args:
        table: From :func:`read_metadata`.
        source: The file's name.
        subfolders: Whether image ids may be paths inside the folder of photographs.

    Returns:
        The problems in the order of rows. Of rows with the same image_id only those are listed that would have to go.
    """
    found = [*_shapes_and_ids(table, subfolders), *_doubled(table), *_clashing(table)]
    image_of = dict(zip(table[ROW].tolist(), table["image_id"].tolist(), strict=True))
    problems = [Problem(kind, source, row, printable(image_of[row]), problem) for kind, row, problem in found]
    return sorted(problems, key=lambda problem: problem.row)


def _shapes_and_ids(table: pd.DataFrame, subfolders: bool) -> Iterator[_Found]:
    columns = (table[name].tolist() for name in (ROW, MISSHAPEN, "image_id", "lesion_id"))
    for row, misshapen, image_id, lesion_id in zip(*columns, strict=True):
        if misshapen:
            yield "cells", row, misshapen
            continue
        if not image_id:
            yield "no_image_id", row, "image_id is blank"
        for column, text in (("image_id", image_id), ("lesion_id", lesion_id)):
            if text and (reason := explain_id(text, may_be_path=subfolders and column == "image_id")):
                yield "bad_id", row, f"{column} {quote(text)}: {reason}"


def _sound(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table[MISSHAPEN] == "") & (table["image_id"] != "")]


def _doubled(table: pd.DataFrame) -> Iterator[_Found]:
    """Find image ids in several rows: nobody knows which of two lesions is right, but of equal rows one can stay."""
    sound = _sound(table)
    rows_of: dict[str, list[tuple[int, str]]] = {}
    for row, image_id, lesion in zip(sound[ROW].tolist(), sound["image_id"], sound["lesion_id"], strict=True):
        rows_of.setdefault(image_id, []).append((row, lesion))
    for image_id, rows in rows_of.items():
        if len(rows) > 1:
            yield from _explain_doubled(f"image_id {quote(image_id)}", rows)


def _explain_doubled(image: str, rows: list[tuple[int, str]]) -> Iterator[_Found]:
    first_row = {lesion: row for row, lesion in reversed(rows) if lesion}
    lesions = sorted(first_row, key=first_row.__getitem__)
    if len(lesions) > 1:
        for row, lesion in rows:
            other = lesions[lesion == lesions[0]]
            said = f"lesion_id {quote(lesion)}, in row {first_row[other]} {quote(other)}"
            yield "two_lesions", row, f"{image}: {said}"
    else:
        kept = first_row[lesions[0]] if lesions else rows[0][0]
        for row, _ in rows:
            if row != kept:
                yield "duplicate", row, f"{image}: also in row {kept}"


def _clashing(table: pd.DataFrame) -> Iterator[_Found]:
    """Find ids that are one name where case does not count, or where accents are written in two ways."""
    sound = _sound(table)
    for column in ("image_id", "lesion_id"):
        first = sound[sound[column] != ""].drop_duplicates(column)
        plain = first[column].map(fold_case)
        clashing = first[plain.duplicated(keep=False)]
        others: dict[str, list[str]] = {}
        for text in clashing[column]:
            others.setdefault(fold_case(text), []).append(text)
        for row, text in sound.loc[sound[column].isin(clashing[column]), [ROW, column]].itertuples(index=False):
            other = next(one for one in others[fold_case(text)] if one != text)
            yield "case_clash", row, f"{column} {quote(text)}: elsewhere {quote(other)}"
