"""A disk that refuses: one call after another by which Python writes below a folder is counted, and some fail.

``_pyio`` is Python's own file in Python: its calls are those of ``os``, so that nothing else need be replaced.
"""

import _pyio
import builtins
import errno
import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = ("open", "mkdir", "posix_fallocate", "write", "fsync", "replace")
"""Functions of ``os``; ``open`` for writing, or of a folder that is then synced."""

ERRORS = (errno.ENOSPC, errno.EIO)

CALLS_PER_FILE = 8
"""About: its folder is made, it is opened, written, opened, synced and renamed, and its folder opened and synced."""

_open_to_read, _open_to_write = io.open, _pyio.open


@dataclass(frozen=True)
class Fault:
    """What the disk refuses.

    Attributes:
        number: Of the first call that fails, from 1.
        error: Its error number.
        is_lasting: Whether all later calls fail, too, as on a disk that stays full.
        is_short: Whether a write stores half of its bytes, and the next call is the first that fails.
    """

    number: int
    error: int
    is_lasting: bool
    is_short: bool

    @classmethod
    def draw(cls, rng: random.Random, n_calls: int) -> "Fault":
        """Draw a fault, so that each of so many calls is as likely as any other."""
        return cls(rng.randint(1, n_calls), rng.choice(ERRORS), rng.random() < 0.5, rng.random() < 0.3)


@dataclass
class Disk:
    """The calls that write below a folder.

    Attributes:
        folder: Absolute.
        log: Elsewhere; one line per call: its kind, its path below the folder, and whether it was refused.
        fault: What is refused; None: nothing.
        are_writes_halved: Whether every write stores half of its bytes only, as POSIX allows.
    """

    folder: Path
    log: Path
    fault: Fault | None = None
    are_writes_halved: bool = False
    _n_calls: int = 0
    _is_cut: bool = False

    def arm(self) -> None:
        """Replace the functions of this process by those of the disk."""
        self._note, self._log = os.write, os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for kind in KINDS:
            setattr(os, kind, self._counted(kind, getattr(os, kind)))
        builtins.open = io.open = _open  # type: ignore[assignment]

    def calls(self) -> list[tuple[str, str, bool]]:
        """Return kind and path of each call of the process that was armed, and whether it was refused."""
        lines = (line.split(" ", 2) for line in self.log.read_text().splitlines())
        return [(kind, path, answer == "refused") for answer, kind, path in lines]

    def _counted(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *arguments: Any, **options: Any) -> Any:
            path = _path_of(first)
            if not path.is_relative_to(self.folder) or _changes_nothing(kind, path, arguments):
                return function(first, *arguments, **options)
            self._n_calls += 1
            is_refused = self._refuses(kind)
            answer = "refused" if is_refused else "done"
            self._note(self._log, f"{answer} {kind} {path.relative_to(self.folder)}\n".encode())
            if is_refused and self.fault is not None:
                raise OSError(
                    self.fault.error, os.strerror(self.fault.error), *([] if isinstance(first, int) else [first])
                )
            if kind == "write" and (self._is_cut or self.are_writes_halved):
                arguments = (memoryview(arguments[0])[: max(1, len(arguments[0]) // 2)],)
            return function(first, *arguments, **options)

        return call

    def _refuses(self, kind: str) -> bool:
        if self.fault is None or self._n_calls < self.fault.number:
            return False
        late = self._n_calls - self.fault.number
        self._is_cut = kind == "write" and self.fault.is_short and late == 0
        return not self._is_cut and (self.fault.is_lasting or late == self.fault.is_short)


def _open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    opened = _open_to_write if set(mode) & set("wax+") else _open_to_read
    return opened(file, mode, *arguments, **options)


def _path_of(file: Any) -> Path:
    if isinstance(file, int):
        return Path(os.readlink(f"/proc/self/fd/{file}").removesuffix(" (deleted)"))
    return Path(os.path.abspath(os.fsdecode(file)))


def _changes_nothing(kind: str, path: Path, arguments: tuple[Any, ...]) -> bool:
    if kind == "open":
        return not arguments[0] & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)
    return kind == "mkdir" and path.exists()
