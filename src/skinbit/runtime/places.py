"""Paths and addresses as people write them, and the contents of folders."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn


def walk(root: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder like ``os.walk``, but fail for folders that cannot be listed.

    Raises:
        OSError: If a folder cannot be listed.
    """

    def fail(error: OSError) -> NoReturn:
        raise error

    return os.walk(root, onerror=fail)


def join_place(*parts: Any) -> str:
    """Return the joined path; a part that is absolute, begins with ``~`` or is a URL replaces the parts before it."""
    joined = ""
    for part in map(os.path.expanduser, map(str, parts)):
        stands_alone = not joined or Path(part).is_absolute() or "://" in part
        joined = part if stands_alone else f"{joined}/{part}"
    return joined
