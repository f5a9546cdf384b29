"""Photographs of a folder, listed as a study lists them, without its checks."""

import hashlib
from pathlib import Path

import fsspec
import pandas as pd

from skinbit.config import DataParams
from skinbit.data.images import find_images
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import LISTED


def list_photographs(root: Path, data: DataParams | None = None) -> ListedPhotographs:
    """Return all photographs of a local folder as they are now, by image id."""
    folder = find_images(fsspec.filesystem("file"), root.as_posix())
    rows = [
        (image_id, file, hashlib.sha256((root / file).read_bytes()).hexdigest())
        for image_id, (file, *_) in sorted(folder.files.items())
    ]
    return ListedPhotographs(folder, pd.DataFrame(rows, columns=LISTED, dtype=str), data or DataParams())
