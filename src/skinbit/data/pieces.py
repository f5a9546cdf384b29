"""Long work in pieces: rows of earlier runs are found by their keys, and missing ones are made and kept piece by piece.

A piece is a table like the finished one, with fewer rows. Whoever interrupts a step loses at most the piece in work.
"""

import errno
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from skinbit.data.executor import Execution, Executor, PieceLostError
from skinbit.data.progress import count
from skinbit.errors import InputError
from skinbit.refusals import explain_reading

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
"""Numbers of the rows that a piece has."""

_TRIES: Final = 3
"""Number of times that a piece is tried if the disk, the network or a worker process fails."""

_SHOWN: Final = 5
"""Number of photographs of a failed piece that its message names."""

_LASTING = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Keyed(Protocol):
    """A table whose rows have keys."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the fingerprint of everything that each row depends on."""


Table = TypeVar("Table", bound=Keyed)


class PieceStore(Protocol[Table]):
    """Where the pieces of a step are kept until its finished file is written."""

    def finished(self) -> Table:
        """Return the finished table of an earlier run; empty without one."""

    def pieces(self) -> list[Table]:
        """Return the pieces of an unfinished run."""

    def keep(self, piece: Table) -> Table:
        """Write a piece and return it as it is stored."""


@dataclass(frozen=True)
class Wanted:
    """Rows that a step needs.

    Attributes:
        what: What the rows are, for messages.
        unit: What a row is, in the singular, for the table of steps.
        keys: Fingerprint of everything that each row depends on; rows with equal keys are made once.
        names: Photograph of each row, for messages.
        groups: Number of each row's group; a piece has rows of one group only. Empty: all rows are one group.
    """

    what: str
    unit: str
    keys: Sequence[str]
    names: Sequence[str]
    groups: Sequence[int] = ()


@dataclass(frozen=True)
class Making:
    """How missing rows are made.

    Attributes:
        executor: Where pieces are made.
        size: Largest number of rows in a piece.
    """

    executor: Executor
    size: int


def of_photographs(execution: Execution, batch_size: int = 1) -> Making:
    """Return how photographs are processed in pieces of whole batches, so that pieces change no batch."""
    return Making(execution.executor, -(-execution.params.photographs // batch_size) * batch_size)


def of_pairs(execution: Execution) -> Making:
    """Return how pairs are processed in pieces."""
    return Making(execution.executor, execution.params.pairs)


def complete(
    wanted: Wanted,
    store: PieceStore[Table],
    make: Callable[[Sequence[Rows]], Iterator[Table]],
    making: Making,
) -> list[tuple[Table, int]]:
    """Return where each row is, after making those that no earlier run has made.

    Args:
        wanted: The needed rows.
        store: Tables of earlier runs; new pieces are kept there.
        make: Yields a table for each piece, with the keys of its rows.
        making: Executor, and size of a piece.

    Returns:
        Table and row in it of each wanted row.

    Raises:
        InputError: If a piece cannot be made; names its photographs.
    """
    places: dict[str, tuple[Table, int]] = {}
    for table in (store.finished(), *store.pieces()):
        places.update((key, (table, row)) for row, key in enumerate(table.keys))
    missing = _missing(wanted.keys, places)
    logger.info("%s: %d from the cache, %d to compute", wanted.what, len(wanted.keys) - len(missing), len(missing))
    count(wanted.unit, made=len(missing), found=len(wanted.keys) - len(missing))
    pieces = _cut(missing, wanted.groups, making.size)
    with closing(_make(wanted, make, pieces, making.executor)) as made:
        for table in made:
            kept = store.keep(table)
            places.update((key, (kept, row)) for row, key in enumerate(kept.keys))
    return [places[key] for key in wanted.keys]


def _missing(keys: Sequence[str], places: dict[str, tuple[Table, int]]) -> Rows:
    """Return the first row of each key that is nowhere; copies are made once."""
    first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in places}
    return np.array(sorted(first.values()), dtype=np.int64)


def _cut(rows: Rows, groups: Sequence[int], size: int) -> list[Rows]:
    numbers = np.asarray(groups, dtype=np.int64)[rows] if len(groups) else np.zeros(len(rows), dtype=np.int64)
    together = np.split(rows, np.flatnonzero(np.diff(numbers)) + 1)
    return [each[start : start + size] for each in together for start in range(0, len(each), size)]


def _make(
    wanted: Wanted, make: Callable[[Sequence[Rows]], Iterator[Table]], pieces: list[Rows], executor: Executor
) -> Generator[Table]:
    """Yield the table of each piece; after a failure that may pass, go on with the piece that failed."""
    done = failures = 0
    while done < len(pieces):
        try:
            for table in executor.map(make, pieces[done:]):
                done, failures = done + 1, 0
                yield table
        except Exception as error:
            failures = _TRIES if isinstance(error, PieceLostError) else failures + 1
            if not _may_pass(error):
                raise
            if failures >= _TRIES:
                raise _failure(wanted, pieces[done], error) from error
            logger.warning("%s: a piece is tried again: %s", wanted.what, error)


def _may_pass(error: Exception) -> bool:
    """Whether the same work may succeed: a disk or network failed, or a worker process was killed."""
    cause = error.__cause__ if isinstance(error, InputError) else error
    if isinstance(cause, OSError):
        return cause.errno not in _FULL and not isinstance(cause, _LASTING)
    said = "" if "Bus error" in str(cause) else str(cause)  # shared memory is too small, and stays so
    return isinstance(cause, BrokenExecutor) or "killed by signal" in said or "exited unexpectedly" in said


def _failure(wanted: Wanted, rows: Rows, error: Exception) -> InputError:
    names = [wanted.names[row] for row in rows[:_SHOWN].tolist()]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    why, remedy = f"{error}", "lower loader.workers or loader.batch_size, as memory may not suffice"
    if isinstance(error, OSError):
        why, remedy = explain_reading(error)
    elif isinstance(error, InputError):
        why, _, remedy = f"{error}".partition("\n  Remedy: ")
    return InputError(
        f"{wanted.what}: {len(rows)} rows could not be made in {_TRIES} tries ({', '.join(names)}{more}): "
        f"{why.rstrip('.')}.\n  Remedy: {remedy.rstrip('.')}; run again: what was made is kept."
    )
