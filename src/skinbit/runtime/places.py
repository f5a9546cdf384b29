"""Places: paths and addresses as people write them, and what is in a folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn


def walk(root: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as ``os.walk`` does, which would leave out a folder that cannot be listed.

    Raises:
        OSError: If there is one.
    """

    def fail(error: OSError) -> NoReturn:
        raise error

    return os.walk(root, onerror=fail)


def join_place(*parts: Any) -> str:
    """Return the path of a file in a folder: one that is absolute, begins with ``~`` or is a URL stands for itself."""
    joined = ""
    for part in map(os.path.expanduser, map(str, parts)):
        stands_alone = not joined or Path(part).is_absolute() or "://" in part
        joined = part if stands_alone else f"{joined}/{part}"
    return joined
