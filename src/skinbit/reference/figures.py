"""Figures of a study as they are stored and as they are recomputed."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from skinbit.reference.files import number, read_table

ABSENT = "absent"
"""The value of a figure that is not there."""

TOLERANCE = 1e-9
"""Of numbers above 1 the relative, of others the absolute difference that may be due to sums in another order."""

Value = float | str

Table = dict[str, dict[str, float]]
"""Numbers by row and column."""


class Figure(NamedTuple):
    """One figure: its file below the root, its place there, and its value as stored and as recomputed."""

    file: str
    row: str
    column: str
    stored: Value
    recomputed: Value

    @property
    def is_equal(self) -> bool:
        """Whether both values are the same, but for the last digits of numbers."""
        if isinstance(self.stored, str) or isinstance(self.recomputed, str):
            return self.stored == self.recomputed
        if math.isnan(self.stored) or math.isnan(self.recomputed):
            return math.isnan(self.stored) and math.isnan(self.recomputed)
        return math.isclose(self.stored, self.recomputed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def compare_table(root: Path, file: str, recomputed: Table, key: str, given: Collection[str] = ()) -> Iterator[Figure]:
    """Yield every figure of a table of numbers.

    Args:
        root: Folder of outputs.
        file: Of the table, below the root.
        recomputed: All of its figures.
        key: Column with the name of each row.
        given: Rows and columns that are not recomputed.
    """
    path = root / file
    stored = {row.pop(key): row for row in read_table(path, key)}
    for row, values in recomputed.items():
        cells = stored.get(row, {})
        for column, value in values.items():
            yield Figure(file, row, column, number(path, cells[column]) if column in cells else ABSENT, value)
    for row, cells in stored.items():
        if row not in given:
            for column in cells.keys() - recomputed.get(row, {}).keys() - set(given):
                yield Figure(file, row, column, cells[column], ABSENT)


def compare_rows(
    file: str, stored: Sequence[Mapping[str, Value]], recomputed: Sequence[Mapping[str, Value]]
) -> Iterator[Figure]:
    """Yield every figure of rows without names, which are numbered from 1; both lists have the same columns."""
    for place in range(max(len(stored), len(recomputed))):
        one, other = (rows[place] if place < len(rows) else {} for rows in (stored, recomputed))
        for column in one or other:
            yield Figure(file, str(place + 1), column, one.get(column, ABSENT), other.get(column, ABSENT))
