"""A disk that refuses: each call by which Python writes below a folder is counted and noted, and some fail.

``_pyio`` is Python's own file in Python: its calls are those of ``os``, so that nothing else need be replaced.
"""

import _pyio
import builtins
import errno
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

WRITING = ("open", "mkdir", "write", "fsync", "replace")
"""Functions of ``os``; ``open`` for writing, or of a folder that is then synced."""

REMOVING = ("unlink", "rmdir")
"""These are noted, but always succeed."""

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


class Call(NamedTuple):
    """What a process did on the disk.

    Attributes:
        kind: Function of ``os``.
        path: Below the folder.
        target: New path of a file that was renamed.
        is_refused: Whether it failed.
    """

    kind: str
    path: str
    target: str
    is_refused: bool


@dataclass
class Disk:
    """The calls that write below a folder.

    Attributes:
        folder: Absolute.
        notes: An empty folder elsewhere.
        fault: What is refused; None: nothing.
        are_writes_halved: Whether every write stores half of its bytes only, as POSIX allows.
        are_syncs_kept: Whether :meth:`synced` shall be known.
    """

    folder: Path
    notes: Path
    fault: Fault | None = None
    are_writes_halved: bool = False
    are_syncs_kept: bool = False
    _n_noted: int = 0
    _n_writing: int = 0
    _is_cut: bool = False

    def arm(self, replace: Callable[[Any, str, Any], None] = setattr) -> None:
        """Replace the functions of this process by those of the disk."""
        self.notes.mkdir(exist_ok=True)
        self._note, self._log = os.write, os.open(self._calls(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for kind in (*WRITING, *REMOVING):
            replace(os, kind, self._noted(kind, getattr(os, kind)))
        for module in (builtins, io):
            replace(module, "open", _open)

    def calls(self) -> list[Call]:
        """Return the calls of the process that was armed."""
        return [Call(*json.loads(line)) for line in self._calls().read_text().splitlines()]

    def synced(self, number: int) -> Path:
        """Return a copy of the file that was synced by a call, of a number from 0."""
        return self.notes / str(number)

    def _calls(self) -> Path:
        return self.notes / "calls.jsonl"

    def _noted(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *arguments: Any, **options: Any) -> Any:
            path = _path_of(first, options.get("dir_fd"))
            if not path.is_relative_to(self.folder) or _changes_nothing(kind, path, arguments):
                return function(first, *arguments, **options)
            is_refused = kind in WRITING and self._refuses(kind)
            target = self._name(_path_of(arguments[0])) if kind == "replace" else ""
            noted = Call(kind, self._name(path), target, is_refused)
            self._note(self._log, f"{json.dumps(noted)}\n".encode())
            self._n_noted += 1
            if is_refused and self.fault is not None:
                named = [] if isinstance(first, int) else [os.fsdecode(first)]
                raise OSError(self.fault.error, os.strerror(self.fault.error), *named)
            if kind == "write" and (self._is_cut or self.are_writes_halved):
                arguments = (memoryview(arguments[0])[: max(1, len(arguments[0]) // 2)],)
            if kind == "fsync" and self.are_syncs_kept and path.is_file():
                shutil.copyfile(path, self.synced(self._n_noted - 1))
            return function(first, *arguments, **options)

        return call

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _refuses(self, kind: str) -> bool:
        self._n_writing += 1
        if self.fault is None or self._n_writing < self.fault.number:
            return False
        late = self._n_writing - self.fault.number
        self._is_cut = kind == "write" and self.fault.is_short and late == 0
        return not self._is_cut and (self.fault.is_lasting or late == self.fault.is_short)


def _open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    opened = _open_to_write if set(mode) & set("wax+") else _open_to_read
    return opened(file, mode, *arguments, **options)


def _path_of(file: Any, folder: int | None = None) -> Path:
    if isinstance(file, int):
        return Path(os.readlink(f"/proc/self/fd/{file}").removesuffix(" (deleted)"))
    return Path(os.path.abspath(os.path.join("" if folder is None else _path_of(folder), os.fsdecode(file))))


def _changes_nothing(kind: str, path: Path, arguments: tuple[Any, ...]) -> bool:
    if kind == "open":
        return not arguments[0] & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)
    return path.exists() if kind == "mkdir" else kind in REMOVING and not path.exists()
