"""The metadata table as published: encodings, delimiters, column names."""

import csv
import io
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import takewhile

import pandas as pd

from skinbit.config import DataParams
from skinbit.data.archives import ALIASES, NEEDED, explain_lacking
from skinbit.data.ids import explain_id, fold_case, fold_number, is_unknown, printable, quote, quote_apart
from skinbit.data.problems import Problem
from skinbit.errors import InputError

csv.field_size_limit(2**31 - 1)  # a cell may contain an outline or a picture; Python's own limit is 128 kB

_DELIMITERS = ",;\t|"

_NAMED_DELIMITER = re.compile(r'"?sep=([^\w"\x00-\x08\x0a-\x1f])"?[,;\t ]*(\r\n?|\n)', re.IGNORECASE)
"""Excel's first line with the delimiter; Excel does not show it as a row, so rows are counted from the next line."""

NOTES = "notes"
"""Attribute of a table: notes for the user about how it was read."""

ROW = "row"
"""Column with the line of each row in the file, counted like in a spreadsheet (the header is row 1)."""

MISSHAPEN = "misshapen"
"""Column with the problem of rows with a wrong number of cells; blank for others."""

NAMED = "image_id_in_table"
"""Column with the image ids of the table, if photographs get different ones."""

RESERVED = (ROW, MISSHAPEN, NAMED, "reason", "subset", "fold")
"""Columns that Skinbit adds."""

_MARKS = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "an image",
    b"\x89PNG": "an image",
    b"GIF8": "an image",
}
_BYTE_ORDER_MARKS = {  # UTF-32's begins like UTF-16's
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}

_IDS = ("image_id", "lesion_id")

_Found = tuple[str, int, str]
"""Kind, row, and description."""

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffd]")


def read_metadata(content: bytes, source: str, needed: Sequence[str] = NEEDED) -> pd.DataFrame:
    """Return a metadata file as a table of text.

    Args:
        content: Bytes of the file: UTF-8 with or without BOM, UTF-16 or UTF-32 with BOM, or Windows-1252; comma,
            semicolon, tab or pipe, or the delimiter of a first line ``sep=``; comment lines may precede the header.
        source: Name of the file, for messages.
        needed: Required columns.

    Returns:
        One row per image, all cells text without surrounding blanks, columns renamed by ``ALIASES``; ``row``; and
        ``misshapen``, the problem of rows with too many or too few cells, which are truncated or filled up. The
        attribute ``notes`` lists what the user should know.

    Raises:
        InputError: If the file is empty or not a table, a quote is never closed, or a required column is missing.
    """
    text, notes = _decode(content, source)
    delimiter, before, text = _split_preamble(text)
    rows = list(_parse(text, delimiter, source, len(before)))
    if not rows:
        raise InputError(f"{source} is empty. Remedy: use a CSV with the columns lesion_id and image_id.")
    header, width = rows[0][1], len(rows[0][1])
    columns = _canonical_columns(header, source, needed)
    cells = [row[:width] + [""] * (width - len(row)) for _, row in rows[1:]]
    table = pd.DataFrame(cells, columns=columns, dtype="str").loc[:, [name != "" for name in columns]]
    numbers = pd.Series([number for number, _ in rows[1:]], dtype="int64")
    misshapen = pd.Series([_explain_shape(row, width, delimiter) for _, row in rows[1:]], dtype="str")
    table = pd.concat([table, numbers.rename(ROW), misshapen.rename(MISSHAPEN)], axis="columns")
    table.attrs[NOTES] = [*notes, *_note_left_out(before, columns)]
    return table


def source_of(table: pd.DataFrame) -> str:
    """Return the file name of a table, for messages."""
    return str(table.attrs.get("source", "the metadata"))


def _note_left_out(before: list[str], columns: list[str]) -> Iterator[str]:
    if n_comments := sum(line.strip() != "" for line in before):
        yield f"comment lines before the header that are ignored: {n_comments}"
    if unnamed := [str(number) for number, name in enumerate(columns, 1) if not name]:
        yield f"columns without a name are left out, number {', '.join(unnamed)}"


def _decode(content: bytes, source: str) -> tuple[str, list[str]]:
    """Return the text, and notes for the user about its encoding."""
    for mark, what in _MARKS.items():
        if content.startswith(mark):
            raise InputError(f"{source} is {what}. Remedy: export the table as CSV, UTF-8.")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text, notes = content.decode(encoding), []
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise InputError(
                f"{source} begins as {encoding.upper()}, but is damaged or cut short. Remedy: save it as UTF-8."
            ) from error
        text, notes = content.decode("cp1252", errors="replace"), ["not valid Unicode; read as Windows-1252"]
    if text.lstrip().startswith("<"):
        raise InputError(f"{source} is a web page or XML. Remedy: download the table itself, as CSV.")
    return text, notes


def _split_preamble(text: str) -> tuple[str, list[str], str]:
    """Return the delimiter, the blank and comment lines before the header, and the text from the header on."""
    named = _NAMED_DELIMITER.match(text)
    body = text[named.end() :] if named else text
    before = [*takewhile(lambda line: not line.strip() or _is_comment(line), io.StringIO(body, newline=""))]
    body = body[sum(map(len, before)) :]
    header = re.sub(r'"[^"]*"', "", next(io.StringIO(body, newline=""), ""))
    return named[1] if named else max(_DELIMITERS, key=header.count), before, body


def _is_comment(line: str) -> bool:
    """Whether a line begins with #, unless this is the first column name of a header."""
    names = [name.strip(' "#\t\r\n') for name in re.split(f"[{_DELIMITERS}]", line)]
    return line.lstrip('" \t').startswith("#") and NEEDED[0] not in names


def _parse(text: str, delimiter: str, source: str, n_before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the non-empty rows with their numbers; the first is the header."""
    ended = "\x1e"  # an extra last line: if it is inside of a cell, a quote was not closed
    while ended in text:
        ended += "\x1e"
    lines = csv.reader(io.StringIO(f"{text}\n{ended}\n", newline=""), delimiter=delimiter)
    number = n_before
    try:
        for number, row in enumerate(lines, n_before + 1):
            if row == [ended]:
                return
            cells = [re.sub(r"\r\n?", "\n", cell.strip()) for cell in row]
            if any(cells):
                yield number, cells
    except csv.Error as error:
        raise InputError(
            f"{source} cannot be read: row {number + 1}: {error}.\n  Remedy: correct the row, or save the table again."
        ) from error
    raise InputError(
        f"{source} cannot be read: a quote that opens in row {number} is never closed. Remedy: correct its quotes."
    )


def _explain_shape(cells: list[str], width: int, delimiter: str) -> str:
    """Return the problem of a row with a wrong number of cells; blank cells at the end are ignored."""
    if len(cells) < width or any(cells[width:]):
        comment = "; is it a comment?" if cells[0].startswith("#") else ""
        return f"{len(cells)} cells, but the header has {width}{comment}"
    swallowed = max((_count_swallowed(cell, width, delimiter) for cell in cells if "\n" in cell), default=0)
    return f"a quoted cell contains {swallowed} lines that look like rows; is a quote missing?" if swallowed else ""


def _count_swallowed(cell: str, width: int, delimiter: str) -> int:
    """Return the number of whole lines inside of a cell, if every one has as many cells as a row."""
    inner = list(csv.reader(cell.split("\n")[1:-1], delimiter=delimiter))
    return len(inner) if all(len(row) == width for row in inner) else 0


def _canonical_columns(header: list[str], source: str, needed: Sequence[str]) -> list[str]:
    """Return our names of the columns; unnamed ones, such as an exported index, are left out."""
    if any(_NO_TEXT.search(name) for name in header):
        raise InputError(
            f"{source} is not a table of text: its first line is {quote(', '.join(header))}.\n"
            "  Remedy: save it as CSV, UTF-8. A UTF-16 file needs its byte-order mark."
        )
    columns = [header[0].lstrip("# ") if header[0].lstrip("# ") in (*NEEDED, *ALIASES) else header[0], *header[1:]]
    for alias, name in ALIASES.items():
        if alias in columns and name not in columns:
            columns[columns.index(alias)] = name
    if lacking := [name for name in needed if name not in columns]:
        raise InputError(f"{source} {explain_lacking(header, lacking)}")
    doubled = sorted({name for name in columns if name and columns.count(name) > 1})
    if doubled:
        raise InputError(f"{source} has the column {doubled[0]!r} twice. Remedy: rename or remove one.")
    reserved = [name for name in columns if name in RESERVED]
    if reserved:
        raise InputError(
            f"{source} has the column {reserved[0]!r}, a name that is reserved for Skinbit. Remedy: rename the column."
        )
    return columns


def find_row_problems(table: pd.DataFrame, source: str, data: DataParams) -> list[Problem]:
    """Return the problems of all rows of a metadata table, without looking at photographs.

    Args:
        table: From :func:`read_metadata`.
        source: Name of the file.
        data: Whether image ids may be paths inside the image folder, and which ids are kept as they are.

    Returns:
        The problems in the order of rows; of rows with the same image_id, only those to be removed.
    """
    named = table if data.policy.placeholder == "keep" else _blank_placeholders(table, data.subfolders)
    found = [
        *_shapes_and_ids(table, named, data.subfolders),
        *_doubled(named),
        *_clashing(named, "case_clash", fold_case),
    ]
    if data.policy.number_clash != "keep":
        found += _clashing(named, "number_clash", fold_number)
    image_of = dict(zip(table[ROW].tolist(), table["image_id"].tolist(), strict=True))
    problems = [Problem(kind, source, row, printable(image_of[row]), problem) for kind, row, problem in found]
    return sorted(problems, key=lambda problem: problem.row)


def _blank_placeholders(table: pd.DataFrame, subfolders: bool) -> pd.DataFrame:
    """Return the table without ids that mean a missing value; a single such image id is kept, as it may be a name."""
    is_word = table[[*_IDS]].map(is_unknown).astype(bool)
    images = [image_id for image_id in table.loc[is_word["image_id"], "image_id"] if image_id]
    if len(images) == 1 and not explain_id(images[0], may_be_path=subfolders):
        is_word["image_id"] = False
    return table.assign(**{column: table[column].mask(is_word[column], "") for column in _IDS})


def _shapes_and_ids(table: pd.DataFrame, named: pd.DataFrame, subfolders: bool) -> Iterator[_Found]:
    columns = [table[name].tolist() for name in (ROW, MISSHAPEN, *_IDS)]
    for row, misshapen, *ids in zip(*columns, *(named[name].tolist() for name in _IDS), strict=True):
        if misshapen:
            yield "cells", row, misshapen
            continue
        for column, text, taken in zip(_IDS, ids[:2], ids[2:], strict=True):
            if text != taken:
                yield "placeholder", row, f"{column} {quote(text)} stands for a missing value"
            elif text and (reason := explain_id(text, may_be_path=subfolders and column == "image_id")):
                yield "bad_id", row, f"{column} {quote(text)}: {reason}"
            elif not text and column == "image_id":
                yield "no_image_id", row, "image_id is blank"


def _sound(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table[MISSHAPEN] == "") & (table["image_id"] != "")]


def _doubled(table: pd.DataFrame) -> Iterator[_Found]:
    """Yield the image ids in several rows; of two lesions either may be right, but of equal rows the first can stay."""
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


def _clashing(table: pd.DataFrame, kind: str, fold: Callable[[str], Hashable]) -> Iterator[_Found]:
    """Yield ids that differ, but are equal once they are folded."""
    sound = _sound(table)
    for column in _IDS:
        alike: dict[Hashable, list[str]] = {}
        for text in sound.loc[sound[column] != "", column].unique():
            alike.setdefault(fold(text), []).append(text)
        other_of = {
            text: next(one for one in texts if one != text)
            for texts in alike.values()
            if len(texts) > 1
            for text in texts
        }
        for row, text in sound.loc[sound[column].isin(other_of), [ROW, column]].itertuples(index=False):
            shown, other = quote_apart(text, other_of[text])
            yield kind, row, f"{column} {shown}: elsewhere {other}"
