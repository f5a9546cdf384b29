"""What operating systems refuse, by error number: the reason in words, and remedies for writing and reading."""

import errno
import sqlite3
from typing import NamedTuple


class Refusal(NamedTuple):
    """One reason for which a system refuses an operation.

    Attributes:
        what: The reason, as the beginning of a sentence.
        written: Remedy if the file is an output.
        read: Remedy if the file is an input.
    """

    what: str
    written: str
    read: str


_MOVE = "or move `root` in globals.yml"
_FULL = Refusal(
    "The disk is full, or a quota or limit is reached",
    "free some space, have the quota raised, or move `root` in globals.yml to a larger disk",
    "free some space, or have the quota raised",
)
_NO_ACCESS = Refusal(
    "Permission is denied",
    f"give this user permission to read and write there, {_MOVE} to a folder of this user's",
    "give this user permission to read it",
)
_NO_FOLDER = Refusal(
    "A file is where a folder should be",
    f"move it away, {_MOVE}",
    "correct the path: a part of it is a file, not a folder",
)
_STEADY = "check that it is connected and healthy (see the system's log)"
_UNSTEADY = Refusal("The disk or network drive fails", _STEADY, _STEADY)
_FEWER = "raise the limit (`ulimit -n 8192`), or lower loader.workers"
_TOO_MANY_FILES = Refusal("Too many files are open", _FEWER, _FEWER)

REFUSALS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: Refusal(
        "The file system is read-only",
        f"mount it for writing, {_MOVE} to a writable disk",
        "mount it for writing",
    ),
    errno.EMLINK: Refusal(
        "The file system allows no more links or folders",
        f"remove some, {_MOVE} to another",
        "remove some",
    ),
    errno.ENAMETOOLONG: Refusal(
        "A name is longer than the file system allows",
        f"shorten the names of experiments and backbones, {_MOVE} to a folder with a shorter path",
        "shorten its name or path",
    ),
    errno.ELOOP: Refusal("Links form a circle", "remove the link", "remove the link"),
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: Refusal(
        "A folder is where a file should be", f"move it away, {_MOVE}", "name the file itself, not its folder"
    ),
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.EIO: _UNSTEADY,
    errno.ENODEV: _UNSTEADY,
    errno.ENXIO: _UNSTEADY,
    getattr(errno, "ESTALE", errno.EIO): _UNSTEADY,
    getattr(errno, "EHOSTDOWN", errno.EIO): _UNSTEADY,
}

_ACCESS = ("cannot be opened", "let this user read and write it and its folder")
_IN_USE = ("is in use", "end the program that holds it, or wait for it")

_DATABASE_REFUSALS = {
    sqlite3.SQLITE_NOTADB: ("is no database", "move it away, or correct {setting}"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away, or put a sound copy in its place"),
    sqlite3.SQLITE_CANTOPEN: _ACCESS,
    sqlite3.SQLITE_PERM: _ACCESS,
    sqlite3.SQLITE_READONLY: _ACCESS,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_IOERR: ("cannot be read", "see that its disk or network drive is connected and sound"),
    sqlite3.SQLITE_FULL: ("cannot be used", "free some space on its disk"),
}
"""What SQLite refuses, by its number, and the remedy."""


def explain_reading(error: OSError) -> tuple[str, str]:
    """Return why an input file or folder cannot be read, without its path, and the remedy."""
    why = (error.strerror or type(error).__name__).lower()
    number = errno.EACCES if isinstance(error, PermissionError) else error.errno or 0  # object stores set no number
    refusal = REFUSALS.get(number)
    return why, refusal.read if refusal else "check that its disk or network drive is connected and healthy"


def explain_database(error: sqlite3.Error, setting: str) -> tuple[str, str]:
    """Return what is wrong with a database, as the end of a sentence that begins with its path, and the remedy.

    Args:
        error: Of SQLite.
        setting: What names the database.
    """
    number = getattr(error, "sqlite_errorcode", 0) & 0xFF
    what, remedy = _DATABASE_REFUSALS.get(number, ("cannot be opened", "correct {setting}"))
    return what, remedy.format(setting=setting)
