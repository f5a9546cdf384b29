"""Files that are complete or not there, also after a power cut."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def replaced(path: str) -> Iterator[str]:
    """Yield a temporary name beside a file, which becomes the file on disk, as a whole, when the block succeeds.

    Args:
        path: A file, which keeps its old content until then; its folder is made.

    Yields:
        The path to write to.
    """
    target = Path(path)
    temporary = str(target.with_name(f".{target.name}.{uuid4().hex}.tmp"))
    try:
        make_folder(target.parent)
        yield temporary
        _flush_to_disk(temporary, os.O_RDWR)
        os.replace(temporary, path)
        sync_folder(target.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, temporary):  # errors of a full disk have no file name
            error.filename = path
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a name is one of :func:`replaced`, of an unfinished file."""
    return _TEMPORARY.fullmatch(name) is not None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there, so that what is synced in it is not lost with it."""
    if folder.is_dir():
        return
    made = [folder, *(above for above in folder.parents if not above.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Write to disk which files a folder holds: otherwise a power cut could undo a renaming or a removal."""
    if hasattr(os, "O_DIRECTORY"):
        _flush_to_disk(str(folder), os.O_DIRECTORY)


def _flush_to_disk(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
