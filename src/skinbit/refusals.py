"""What a system refuses, by its own number: what that is, and what mends it where a file is written or read."""

import errno
import sqlite3
from typing import NamedTuple


class Refusal(NamedTuple):
    """One thing that a system refuses.

    Attributes:
        what: As the beginning of a sentence.
        written: The remedy where outputs are written.
        read: The remedy where a file of the user's is read.
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
    f"let this user read and write there, {_MOVE} to a folder of this user's",
    "let this user read it",
)
_NO_FOLDER = Refusal(
    "A file is where a folder should be",
    f"move it away, {_MOVE}",
    "correct the path: a part of it is a file, not a folder",
)
_STEADY = "see that it is connected and sound (the system's log says more)"
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
        "The file system can only be read",
        f"mount it for writing, {_MOVE} to a disk that can be written",
        "mount it for writing",
    ),
    errno.EMLINK: Refusal(
        "There are more links or folders than the file system allows",
        f"remove some, {_MOVE} to another",
        "remove some",
    ),
    errno.ENAMETOOLONG: Refusal(
        "A name is longer than the file system allows",
        f"shorten the names of experiments and backbones, {_MOVE} to a folder with a shorter path",
        "shorten its name or path",
    ),
    errno.ELOOP: Refusal("Links lead in a circle", "remove the link", "remove the link"),
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
    """Return why a file or folder of the user's cannot be read, without its path, and the remedy."""
    why = (error.strerror or type(error).__name__).lower()
    refusal = REFUSALS.get(error.errno or 0)
    return why, refusal.read if refusal else "see that the disk or network that holds it is connected and sound"


def explain_database(error: sqlite3.Error, setting: str) -> tuple[str, str]:
    """Return what is wrong with a database, as the end of a sentence that begins with its path, and the remedy.

    Args:
        error: Of SQLite.
        setting: What names the database.
    """
    number = getattr(error, "sqlite_errorcode", 0) & 0xFF
    what, remedy = _DATABASE_REFUSALS.get(number, ("cannot be opened", "correct {setting}"))
    return what, remedy.format(setting=setting)
