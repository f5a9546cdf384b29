"""Two folders of outputs side by side: which files differ, and where."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from skinbit.fingerprints import Recipe

EQUAL = "equal"
DIFFERENT = "different"
ONLY_FIRST = "only in the first"
ONLY_SECOND = "only in the second"
STATES = (EQUAL, DIFFERENT, ONLY_FIRST, ONLY_SECOND)

_RECORDS = ".fingerprints"
_HEADER_KEY = "skinbit"
_SEAL = "seal"
_CHUNK = 2**20
_LONGEST = 60
"""Characters of a value that are shown."""


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


def compare_folders(first: Path, second: Path) -> list[FileComparison]:
    """Compare all files of two folders of outputs.

    Hidden files and folders are left out: records of what made a file differ where parameters are written in two ways
    that mean the same. A folder of outputs inside of one, as ``data/demo`` in ``data``, is left out, too.

    Args:
        first: A folder.
        second: Another one.

    Returns:
        One comparison per file, ordered by path, so in the order in which a study makes them.
    """
    names = [set(_files(folder)) for folder in (first, second)]
    return [_compare(first, second, path, names) for path in sorted(names[0] | names[1])]


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


def _compare(first: Path, second: Path, path: str, names: Sequence[set[str]]) -> FileComparison:
    if path not in names[1]:
        return FileComparison(path, ONLY_FIRST)
    if path not in names[0]:
        return FileComparison(path, ONLY_SECOND)
    position = _first_byte(first / path, second / path)
    if position is None:
        return FileComparison(path, EQUAL)
    describe = _BY_SUFFIX.get(Path(path).suffix)
    try:
        found = describe(first / path, second / path) if describe else None
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


def _describe_table(first: Path, second: Path) -> str | None:
    tables = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (first, second)]
    columns = [table[0] if table else [] for table in tables]
    if columns[0] != columns[1]:
        return f"columns: {_shown(','.join(columns[0]))} and {_shown(','.join(columns[1]))}"
    for number, (one, other) in enumerate(zip(*tables, strict=False), start=1):
        for column, a, b in zip(columns[0], one, other, strict=False):
            if a != b:
                return f"row {number}, column {column}: {_both(_number(a), _number(b))}"
    return None if len(tables[0]) == len(tables[1]) else f"{len(tables[0])} and {len(tables[1])} rows"


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _describe_json(first: Path, second: Path) -> str | None:
    return _describe_values(*(json.loads(path.read_bytes()) for path in (first, second)))


def _describe_yaml(first: Path, second: Path) -> str | None:
    import yaml

    return _describe_values(*(yaml.safe_load(path.read_bytes()) for path in (first, second)))


def _describe_values(one: Any, other: Any, place: str = "") -> str | None:
    """Find the first place where two trees of plain values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys(), key=str):
            below = f"{place}.{key}" if place else str(key)
            if key not in one or key not in other:
                return f"{below}: {ONLY_FIRST if key in one else ONLY_SECOND}"
            if found := _describe_values(one[key], other[key], below):
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            if found := _describe_values(a, b, f"{place}[{index}]"):
                return found
        return None if len(one) == len(other) else f"{place}: {len(one)} and {len(other)} entries"
    is_equal = type(one) is type(other) and (one == other or str(one) == str(other))  # NaN is NaN
    return None if is_equal else f"{place}: {_both(one, other)}"


def _describe_tensors(first: Path, second: Path) -> str | None:
    from safetensors import safe_open

    with safe_open(first, "numpy") as one, safe_open(second, "numpy") as other:
        names = sorted({*one.keys(), *other.keys()})
        for name in names:
            if name not in one.keys() or name not in other.keys():  # noqa: SIM118  # not a dictionary
                return f"tensor {name}: {ONLY_FIRST if name in one.keys() else ONLY_SECOND}"  # noqa: SIM118
            if found := _describe_arrays(one.get_tensor(name), other.get_tensor(name)):
                return f"tensor {name}{found}"
        headers = [json.loads(file.metadata()[_HEADER_KEY]) for file in (one, other)]
    for header in headers:
        header.pop(_SEAL, None)  # it differs because something else does
    return _describe_values(headers[0], headers[1], "header")


def _describe_arrays(one: np.ndarray, other: np.ndarray) -> str | None:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f": {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
    differs = (one != other) & ~(np.isnan(one) & np.isnan(other))
    if not differs.any():
        return None
    index = tuple(int(position) for position in np.argwhere(differs)[0])
    gaps = np.abs(one[differs].astype(np.float64) - other[differs].astype(np.float64))
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
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return f"{_shown(one)} and {_shown(other)}" + (f" (difference {abs(one - other):.3g})" if is_number else "")


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_BY_SUFFIX: dict[str, Callable[[Path, Path], str | None]] = {
    ".csv": _describe_table,
    ".json": _describe_json,
    ".yaml": _describe_yaml,
    ".yml": _describe_yaml,
    ".safetensors": _describe_tensors,
    ".html": _describe_text,
}
