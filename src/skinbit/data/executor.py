"""Where pieces of long work are made; nodes and science do not know what is behind it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from skinbit.config import ExecutorParams

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Executor(Protocol):
    """Maps a function over pieces of work."""

    def map(self, make: Callable[[Sequence[Piece]], Iterator[Result]], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the result of each piece, in order.

        Args:
            make: Yields the results of some pieces, in order; picklable, so that processes may share the pieces.
            pieces: Pieces of work, independent of each other.

        Raises:
            PieceLostError: If a piece was given up after several tries.
        """


class LocalExecutor:
    """Makes one piece after another in this process: each uses all cores, and an interruption loses at most one."""

    def map(self, make: Callable[[Sequence[Piece]], Iterator[Result]], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the result of each piece; readers go on to the next piece while a network computes."""
        return make(pieces)


class PieceLostError(BrokenExecutor):
    """A piece has ended or stopped several workers, so it is not tried again."""


@dataclass(frozen=True)
class Execution:
    """How long work is cut into pieces, and where they are made.

    Attributes:
        params: Sizes of pieces.
        executor: Where pieces are made.
    """

    params: ExecutorParams
    executor: Executor = field(default_factory=LocalExecutor)
