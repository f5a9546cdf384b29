"""Two folders of outputs side by side: which files differ, and where."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from skinbit.runtime.provenance import Recipe

EQUAL = "equal"
WITHIN_TOLERANCE = "within the tolerance"
DIFFERENT = "different"
ONLY_FIRST = "only in the first"
ONLY_SECOND = "only in the second"
STATES = (EQUAL, WITHIN_TOLERANCE, DIFFERENT, ONLY_FIRST, ONLY_SECOND)

_RECORDS = ".fingerprints"
_HEADER_KEY = "skinbit"
_SEAL = "seal"
_CHUNK = 2**20
_LONGEST = 60
"""Characters of a value that are shown."""
_ID = re.compile(r"[-+]?0\d|.*_")
"""How cells begin that are no numbers, although Python reads 007 as 7 and 12_1 as 121."""


@dataclass(frozen=True)
class FileComparison:
    """One file of two folders.

    Attributes:
        path: Inside both folders.
        state: One of :data:`STATES`.
        difference: Where they differ first, and how; empty unless they are different.
    """

    path: str
    state: str
    difference: str = ""


def compare_folders(first: Path, second: Path, tolerance: float = 0.0) -> list[FileComparison]:
    """Compare all files of two folders of outputs.

    Hidden files and folders are left out: records of what made a file differ where parameters are written in two ways
    that mean the same. A folder of outputs inside of one, as ``data/demo`` in ``data``, is left out, too.

    Args:
        first: A folder.
        second: Another one.
        tolerance: By so much numbers in tables, documents and tensors may differ, where all else in the file is equal;
            with 0 every byte counts.

    Returns:
        One comparison per file, ordered by path, so in the order in which a study makes them.
    """
    names = [set(_files(folder)) for folder in (first, second)]
    return [_compare(first, second, path, names, tolerance) for path in sorted(names[0] | names[1])]


def count_states(comparisons: Iterable[FileComparison]) -> dict[str, Counter[str]]:
    """Count files by their uppermost folder and by state."""
    counts: dict[str, Counter[str]] = {}
    for comparison in comparisons:
        counts.setdefault(comparison.path.partition("/")[0], Counter())[comparison.state] += 1
    return counts


def explain_records(first: Path, second: Path) -> list[str]:
    """Say what made two folders of outputs differently, from the records of both.

    Args:
        first: A folder of outputs.
        second: Another one.

    Returns:
        Names of parameters, raw data and software that differ, sorted; empty where none do, or where there are no
        records.
    """
    recipes = [_recipes(folder) for folder in (first, second)]
    made = recipes[0].keys() | recipes[1].keys()
    common = [name for name in recipes[0].keys() & recipes[1].keys() if recipes[0][name] != recipes[1][name]]
    causes = {cause for name in common for cause in recipes[0][name].differences(recipes[1][name])}
    return sorted(causes - made)


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and not Path(parent, name, _RECORDS).exists()]
        for name in names:
            if name[0] != ".":
                yield Path(parent, name).relative_to(folder).as_posix()


def _recipes(folder: Path) -> dict[str, Recipe]:
    found = {path.stem: _recipe(path) for path in sorted((folder / _RECORDS).glob("*.json"))}
    return {name: recipe for name, recipe in found.items() if recipe is not None}


def _recipe(path: Path) -> Recipe | None:
    try:
        return Recipe.model_validate(json.loads(path.read_bytes())["record"]["recipe"])
    except (KeyError, TypeError, ValueError):  # damaged, or of another version
        return None


def _compare(first: Path, second: Path, path: str, names: Sequence[set[str]], tolerance: float) -> FileComparison:
    if path not in names[1]:
        return FileComparison(path, ONLY_FIRST)
    if path not in names[0]:
        return FileComparison(path, ONLY_SECOND)
    position = _first_byte(first / path, second / path)
    if position is None:
        return FileComparison(path, EQUAL)
    suffix = Path(path).suffix
    found = None
    try:
        if suffix in _WITH_NUMBERS:
            found = _WITH_NUMBERS[suffix](first / path, second / path, tolerance)
            if tolerance and found is None:
                return FileComparison(path, WITHIN_TOLERANCE)
        elif suffix == ".html":
            found = _describe_text(first / path, second / path)
    except Exception:  # a file that is damaged, or not what its name says, is bytes
        found = None
    return FileComparison(path, DIFFERENT, found or f"byte {position}{_sizes(first / path, second / path)}")


def _first_byte(first: Path, second: Path) -> int | None:
    """Find the first byte that differs; None where none does."""
    start = 0
    with first.open("rb") as one, second.open("rb") as other:
        while True:
            chunks = one.read(_CHUNK), other.read(_CHUNK)
            if chunks[0] != chunks[1]:
                pairs = zip_longest(*chunks)
                return start + next(position for position, (a, b) in enumerate(pairs) if a != b)
            if not chunks[0]:
                return None
            start += len(chunks[0])


def _sizes(first: Path, second: Path) -> str:
    sizes = first.stat().st_size, second.stat().st_size
    return "" if sizes[0] == sizes[1] else f"; {sizes[0]} and {sizes[1]} bytes"


def _describe_table(first: Path, second: Path, tolerance: float) -> str | None:
    tables = [_rows(path) for path in (first, second)]
    columns = [table[0] if table else [] for table in tables]
    if columns[0] != columns[1]:
        return f"columns: {_shown(','.join(columns[0]))} and {_shown(','.join(columns[1]))}"
    for number, (one, other) in enumerate(zip(*tables, strict=False), start=1):
        for column, a, b in zip_longest(columns[0], one[: len(other)], other[: len(one)], fillvalue=""):
            if a != b and not _are_near(_exact(a), _exact(b), tolerance):
                return f"row {number}, column {column}: {_both(_number(a), _number(b))}"
        if len(one) != len(other):
            return f"row {number}: {len(one)} and {len(other)} cells"
    return None if len(tables[0]) == len(tables[1]) else f"{len(tables[0])} and {len(tables[1])} rows"


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _number(cell: str) -> float | str:
    try:
        return cell if _ID.match(cell) else float(cell)
    except ValueError:
        return cell


def _exact(cell: str) -> Decimal | str:
    return Decimal(cell) if isinstance(_number(cell), float) else cell


def _describe_json(first: Path, second: Path, tolerance: float) -> str | None:
    one, other = (json.loads(path.read_bytes()) for path in (first, second))
    return _describe_values(one, other, tolerance)


def _describe_yaml(first: Path, second: Path, tolerance: float) -> str | None:
    import yaml

    one, other = (yaml.safe_load(path.read_bytes()) for path in (first, second))
    return _describe_values(one, other, tolerance)


def _describe_values(one: Any, other: Any, tolerance: float, place: str = "") -> str | None:
    """Find the first place where two trees of plain values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys(), key=str):
            below = f"{place}.{key}" if place else str(key)
            if key not in one or key not in other:
                return f"{below}: {ONLY_FIRST if key in one else ONLY_SECOND}"
            if found := _describe_values(one[key], other[key], tolerance, below):
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            if found := _describe_values(a, b, tolerance, f"{place}[{index}]"):
                return found
        return None if len(one) == len(other) else f"{place}: {len(one)} and {len(other)} entries"
    is_equal = type(one) is type(other) and (one == other or str(one) == str(other))  # NaN is NaN
    return None if is_equal or _are_near(one, other, tolerance) else f"{place}: {_both(one, other)}"


def _are_near(one: Any, other: Any, tolerance: float) -> bool:
    """Say whether two values are numbers within a tolerance of each other, in decimals: 0.3 and 0.4 are 0.1 apart."""
    if not (tolerance and _is_number(one) and _is_number(other)):
        return False
    a, b = Decimal(str(one)), Decimal(str(other))
    if a.is_nan() or b.is_nan():
        return a.is_nan() and b.is_nan()
    return a == b or abs(a - b) <= Decimal(str(tolerance))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _describe_tensors(first: Path, second: Path, tolerance: float) -> str | None:
    from safetensors import safe_open

    with safe_open(first, "numpy") as one, safe_open(second, "numpy") as other:
        names = sorted({*one.keys(), *other.keys()})
        for name in names:
            if name not in one.keys() or name not in other.keys():  # noqa: SIM118  # not a dictionary
                return f"tensor {name}: {ONLY_FIRST if name in one.keys() else ONLY_SECOND}"  # noqa: SIM118
            if found := _describe_arrays(one.get_tensor(name), other.get_tensor(name), tolerance):
                return f"tensor {name}{found}"
        metadata = [dict(file.metadata()) for file in (one, other)]
    headers = [json.loads(values.pop(_HEADER_KEY)) for values in metadata]
    for header in headers:
        header.pop(_SEAL, None)  # it differs because something else does
    found = _describe_values(headers[0], headers[1], tolerance, "header")
    return found or _describe_values(metadata[0], metadata[1], tolerance, "metadata")


def _describe_arrays(one: np.ndarray, other: np.ndarray, tolerance: float) -> str | None:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f": {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
    differs = np.asarray((one != other) & ~(np.isnan(one) & np.isnan(other)))
    gaps = np.abs(one[differs].astype(np.float64) - other[differs].astype(np.float64))
    if one.dtype != np.bool_:
        is_beyond = ~((gaps > 0) & (gaps <= tolerance))  # a gap of 0 is one of huge integers, lost by rounding
        differs[differs], gaps = is_beyond, gaps[is_beyond]
    if not differs.any():
        return None
    index = tuple(int(position) for position in np.argwhere(differs)[0])
    return (
        f" at {list(index)}: {_both(one[index].item(), other[index].item())}; "
        f"{differs.sum()} of {differs.size} values differ, by {np.nanmax(gaps, initial=0.0):.3g} at most"
    )


def _describe_text(first: Path, second: Path) -> str | None:
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (first, second)]
    for number, (one, other) in enumerate(zip_longest(*lines, fillvalue=""), start=1):
        if one != other:
            pairs = enumerate(zip_longest(one, other))
            column = next(position for position, (a, b) in pairs if a != b)
            start = max(0, column - _LONGEST // 3)
            return f"line {number}, column {column + 1}: {_both(one[start:], other[start:])}"
    return None


def _both(one: Any, other: Any) -> str:
    are_numbers = _is_number(one) and _is_number(other)
    return f"{_shown(one)} and {_shown(other)}" + (f" (difference {abs(one - other):.3g})" if are_numbers else "")


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_WITH_NUMBERS: dict[str, Callable[[Path, Path, float], str | None]] = {
    ".csv": _describe_table,
    ".json": _describe_json,
    ".yaml": _describe_yaml,
    ".yml": _describe_yaml,
    ".safetensors": _describe_tensors,
}
