"""Local copies of files on object stores, as a memory map needs a file on this machine."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from skinbit.runtime.datasets.files import atomic_target


@cache
def _scratch() -> TemporaryDirectory[str]:
    """Return the folder of this process's copies, which is removed when the process ends."""
    return TemporaryDirectory(prefix="skinbit-")


def prepare_copies(fs: Any) -> None:
    """Make the folder of copies if a file system needs it, so that forked workers share it and it is removed once."""
    if not isinstance(fs, LocalFileSystem):
        _scratch()


def local_copy(fs: Any, path: str) -> str:
    """Return the path of a file on this machine; a file of another machine is fetched once per process and version.

    Args:
        fs: An fsspec file system.
        path: Path of the file.
    """
    if isinstance(fs, LocalFileSystem):
        return path
    copy = Path(_scratch().name, fs.ukey(path))
    if not copy.exists():
        with atomic_target(LocalFileSystem(), str(copy)) as temporary:
            fs.get_file(path, temporary)
    return str(copy)
