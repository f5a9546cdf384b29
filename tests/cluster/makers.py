"""What makes pieces in tests; in a module of its own, which workers import."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinbit.errors import InputError


class UnreadableError(Exception):
    """An error that can be written, but not read."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@dataclass(frozen=True)
class Squares:
    """Squares a number, after noting that it begins; the first try of one number may go wrong.

    Attributes:
        log: A folder with a file for every try.
        bad: The number.
        how: ``killed``, ``always killed`` (at every try), ``hang``, ``unreadable`` or ``input``; empty: nothing.
        seconds: How long a number takes.
    """

    log: Path
    bad: int = -1
    how: str = ""
    seconds: float = 0.0

    def __call__(self, pieces: Sequence[int]) -> Iterator[int]:
        """Yield the square of each number."""
        for number in pieces:
            tries = len(list(self.log.glob(f"{number}.*")))
            (self.log / f"{number}.{tries}.{os.getpid()}").touch()
            if number == self.bad and (tries == 0 or self.how.startswith("always")):
                self._go_wrong()
            time.sleep(self.seconds)
            yield number * number

    def _go_wrong(self) -> None:
        if self.how.endswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "hang":
            time.sleep(3600)
        elif self.how == "unreadable":
            raise UnreadableError("a", "b")
        elif self.how == "input":
            raise InputError("The photograph cannot be read.") from OSError(5, "bad disk")
