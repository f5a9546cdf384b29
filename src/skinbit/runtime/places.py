"""Places as people write them: paths, relative ones and those with ``~`` included, and addresses."""

import os
from pathlib import Path
from typing import Any


def join_place(*parts: Any) -> str:
    """Return the path of a file in a folder: one that is absolute, begins with ``~`` or is a URL stands for itself."""
    joined = ""
    for part in map(os.path.expanduser, map(str, parts)):
        stands_alone = not joined or Path(part).is_absolute() or "://" in part
        joined = part if stands_alone else f"{joined}/{part}"
    return joined
