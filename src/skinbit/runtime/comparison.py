"""Comparison of two folders of outputs: which files differ, and where.

Tables, documents, tensors and pages are read as sequences of places and values, which one function compares.
"""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from skinbit.runtime.places import walk
from skinbit.runtime.provenance import Origin

EQUAL = "equal"
WITHIN_TOLERANCE = "within the tolerance"
DIFFERENT = "different"
ONLY_FIRST = "only in the first"
ONLY_SECOND = "only in the second"
STATES = (EQUAL, WITHIN_TOLERANCE, DIFFERENT, ONLY_FIRST, ONLY_SECOND)

_RECORDS = ".fingerprints"
_CHUNK = 2**20
_LONGEST = 60
"""Number of characters of a value that are shown."""
_ID = re.compile(r"[-+]?0\d|.*_")
"""Beginnings of cells that are not numbers, although Python reads 007 as 7 and 12_1 as 121."""

Place = tuple[str, Any]
"""Place of a value in a file, in words, and the value."""

Reader = Callable[[Path], Iterator[Place]]


@dataclass(frozen=True)
class FileComparison:
    """The comparison of one file in two folders.

    Attributes:
        path: Path inside both folders.
        state: One of :data:`STATES`.
        difference: The first difference, in words; empty unless the files are different.
    """

    path: str
    state: str
    difference: str = ""


def compare_folders(first: Path, second: Path, tolerance: float = 0.0) -> list[FileComparison]:
    """Return one comparison per file, ordered by path.

    Hidden files and folders are left out, since records of equal runs may differ if parameters were written in two
    ways. Folders of outputs inside another one, such as ``data/demo`` in ``data``, are left out, too.

    Args:
        first: A folder.
        second: The other folder.
        tolerance: Allowed difference of numbers in tables, documents and tensors that are otherwise equal; 0: files
        must be identical.
    """
    one, other = set(_files(first)), set(_files(second))
    found = [FileComparison(path, ONLY_FIRST) for path in one - other]
    found += [FileComparison(path, ONLY_SECOND) for path in other - one]
    found += [_compare(path, first / path, second / path, tolerance) for path in one & other]
    return sorted(found, key=lambda comparison: comparison.path)


def explain_records(first: Path, second: Path) -> list[str]:
    """Return the names of parameters, raw data and software that differ in the records of two folders, sorted."""
    one, other = _origins(first), _origins(second)
    changed = [name for name in one.keys() & other.keys() if one[name] != other[name]]
    causes = {cause for name in changed for cause in one[name].differences(other[name])}
    return sorted(causes - one.keys() - other.keys())


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, names in walk(folder):
        # Pieces are a cache: which of them are there depends on what was run before, and in which order.
        folders[:] = [
            name
            for name in folders
            if name[0] != "." and not name.endswith(".pieces") and not os.path.exists(Path(parent, name, _RECORDS))
        ]
        for name in names:
            if name[0] != ".":
                yield Path(parent, name).relative_to(folder).as_posix()


def _origins(folder: Path) -> dict[str, Origin]:
    found = {}
    for path in (folder / _RECORDS).glob("*.json"):
        with suppress(KeyError, TypeError, ValueError):  # damaged, or from another version
            found[path.stem] = Origin.model_validate(json.loads(path.read_bytes())["record"]["recipe"])
    return found


def _compare(path: str, first: Path, second: Path, tolerance: float) -> FileComparison:
    position = _first_byte(first, second)
    if position is None:
        return FileComparison(path, EQUAL)
    sizes = first.stat().st_size, second.stat().st_size
    bytewise = f"byte {position}" + (f"; {sizes[0]} and {sizes[1]} bytes" if sizes[0] != sizes[1] else "")
    read = _READERS.get(first.suffix)
    if read is None:
        return FileComparison(path, DIFFERENT, bytewise)
    try:
        found = _first_difference(read, first, second, tolerance)
    except Exception:  # a damaged or misnamed file is compared as bytes
        return FileComparison(path, DIFFERENT, bytewise)
    if found is None and tolerance and read is not _lines:
        return FileComparison(path, WITHIN_TOLERANCE)
    return FileComparison(path, DIFFERENT, found or bytewise)


def _first_byte(first: Path, second: Path) -> int | None:
    """Return the position of the first byte that differs; None if all are equal."""
    start = 0
    with first.open("rb") as one, second.open("rb") as other:
        while True:
            chunks = [one.read(_CHUNK), other.read(_CHUNK)]
            if chunks[0] != chunks[1]:
                return start + _common(*chunks)
            if not chunks[0]:
                return None
            start += len(chunks[0])


def _table(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        yield "columns", ",".join(columns)
        for number, row in enumerate(rows, start=2):
            for index, cell in enumerate(row):
                yield f"row {number}, column {columns[index] if index < len(columns) else ''}", _number(cell)


def _number(cell: str) -> Decimal | str:
    try:
        return cell if _ID.match(cell) else Decimal(cell)
    except InvalidOperation:
        return cell


def _json(path: Path) -> Iterator[Place]:
    return _leaves(json.loads(path.read_bytes()))


def _yaml(path: Path) -> Iterator[Place]:
    import yaml

    return _leaves(yaml.safe_load(path.read_bytes()))


def _leaves(value: Any, place: str = "") -> Iterator[Place]:
    """Yield the values of a tree; mappings in the order of their keys."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{place}[{index}]")
    else:
        yield place, value


def _tensors(path: Path) -> Iterator[Place]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        for name in sorted(file.keys()):
            yield f"tensor {name}", file.get_tensor(name)
        metadata = dict(file.metadata())
    header = json.loads(metadata.pop("skinbit"))
    header.pop("seal", None)  # it differs whenever something else does
    yield from _leaves({"header": header, "metadata": metadata})


def _lines(path: Path) -> Iterator[Place]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        yield f"line {number}", line


_READERS: dict[str, Reader] = {
    ".csv": _table,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".safetensors": _tensors,
    ".html": _lines,
}


def _first_difference(read: Reader, first: Path, second: Path, tolerance: float) -> str | None:
    """Return the first difference in words; None if all values are equal or within the tolerance."""
    for (place, one), (other_place, other) in zip_longest(read(first), read(second), fillvalue=(None, None)):
        if place != other_place:
            is_only_first = place is not None and place not in {name for name, _ in read(second)}
            return f"{place}: {ONLY_FIRST}" if is_only_first else f"{other_place}: {ONLY_SECOND}"
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            found = _array_difference(one, other, tolerance)
        else:
            found = None if _are_equal(one, other, tolerance) else f": {_both(one, other)}"
        if found is not None:
            return f"{place}{found}"
    return None


def _array_difference(one: np.ndarray, other: np.ndarray, tolerance: float) -> str | None:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f": {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
    differs = np.asarray((one != other) & ~(np.isnan(one) & np.isnan(other)))
    gaps = np.abs(one[differs].astype(np.float64) - other[differs].astype(np.float64))
    if one.dtype != np.bool_:
        is_beyond = ~((gaps > 0) & (gaps <= tolerance))  # a gap of 0 is from huge integers that were rounded
        differs[differs], gaps = is_beyond, gaps[is_beyond]
    if not differs.any():
        return None
    index = tuple(int(position) for position in np.argwhere(differs)[0])
    return (
        f" at {list(index)}: {_both(one[index].item(), other[index].item())}; "
        f"{differs.sum()} of {differs.size} values differ, by {np.nanmax(gaps, initial=0.0):.3g} at most"
    )


def _are_equal(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two values are equal, or numbers within the tolerance in decimals: 0.3 and 0.4 are 0.1 apart."""
    if type(one) is type(other) and str(one) == str(other):  # NaN is NaN
        return True
    if not (tolerance and _is_number(one) and _is_number(other)):
        return False
    a, b = Decimal(str(one)), Decimal(str(other))
    if a.is_nan() or b.is_nan():
        return a.is_nan() and b.is_nan()
    return a == b or abs(a - b) <= Decimal(str(tolerance))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _both(one: Any, other: Any) -> str:
    if isinstance(one, str) and isinstance(other, str):
        start = max(0, _common(one, other) - _LONGEST // 3)
        one, other = one[start:], other[start:]
    gap = f" (difference {float(abs(one - other)):.3g})" if _is_number(one) and _is_number(other) else ""
    return f"{_shown(one)} and {_shown(other)}{gap}"


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the length of the common beginning of two sequences."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((position for position, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown(value: Any) -> str:
    text = str(value) if _is_number(value) or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
