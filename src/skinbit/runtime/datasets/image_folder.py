"""A folder of photographs."""

import base64
import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview
from PIL import Image, ImageDraw

from skinbit.config import DataParams
from skinbit.data.images import Checked, ImageFolder, find_images, try_images
from skinbit.data.threads import map_in_order
from skinbit.runtime.datasets.files import check_store, connect, write_file

logger = logging.getLogger(__name__)

_CELL = (96, 72)
"""Size of a thumbnail in pixels: most dermoscopes have 4:3."""


def _crossed_out() -> Image.Image:
    """Return the placeholder for an unreadable photograph."""
    width, height = _CELL
    cell = Image.new("RGB", _CELL, "white")
    draw = ImageDraw.Draw(cell)
    draw.line((0, 0, width, height), "red")
    draw.line((0, height, width, 0), "red")
    return cell


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    image.thumbnail(size)
    return image


class ImageFolderDataset(AbstractDataset[Mapping[str, bytes], ImageFolder]):
    """Lists a folder once and finds photographs by image id; decodes them only on request.

    Kedro's ``PartitionedDataset`` builds one dataset per file and loads one by one, but a data loader needs the files.
    """

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Set the folder.

        Args:
            path: Local folder or fsspec URL.
            credentials: Arguments for the file system's login.
            fs_args: Further arguments of the file system.
            metadata: For Kedro-Viz; not read here.
        """
        self._fs, self._path, self._protocol = connect(path, credentials, fs_args)
        self.metadata = metadata

    def load(self) -> ImageFolder:
        """Return the listed folder; a missing folder is empty, a missing bucket is an error."""
        self._fs.invalidate_cache(self._path)
        check_store(self._fs, self._path)
        return find_images(self._fs, self._path)

    def save(self, data: Mapping[str, bytes]) -> None:
        """Write files by name, each atomically; other files in the folder stay."""
        for name, content in data.items():
            write_file(self._fs, f"{self._path}/{name}", content)

    def fingerprint(self) -> str:
        """Return the hash of names and bytes of all photographs: 0.6 s for 7,000 of 5 kB, 0.2 s for 1,000 of 270 kB.

        Subfolders count, too, as a dataset does not know the parameter that decides about them. Bytes and not
        modification times are hashed, so that copying an archive does not cause new trainings.
        """
        files = sorted(path for paths in self.load().deep.files.values() for path in paths)
        digests = map_in_order(self._hash_file, files)  # reading and hashing release the interpreter lock
        return hashlib.sha256(json.dumps(list(zip(files, digests, strict=True))).encode()).hexdigest()

    def _hash_file(self, name: str) -> str:
        """Return the hash of a file, or the kind of what is unreadable or not a file; the run reports the error."""
        path = f"{self._path}/{name}"
        try:
            kind = self._fs.info(path)["type"]
            if kind == "other":  # reading a pipe would never end
                return str(kind)
            with self._fs.open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return type(error).__name__

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path, "protocol": self._protocol}

    def _exists(self) -> bool:
        folder = self.load()
        return bool(folder.files or folder.deep.files)

    def preview(self, columns: int = 6, rows: int = 4) -> ImagePreview:
        """Show the first photographs as a contact sheet in Kedro-Viz."""
        folder = self.load()
        width, height = _CELL
        sheet = Image.new("RGB", (columns * width, rows * height))
        shown = replace(folder, files=dict(islice(folder.files.items(), columns * rows)))
        for position, tried in enumerate(try_images(shown, DataParams(min_side=1), lambda image: _fit(image, _CELL))):
            place = (position % columns * width, position // columns * height)
            if isinstance(tried, Checked):
                sheet.paste(tried.used, place)
            else:
                sheet.paste(_crossed_out(), place)
                logger.warning("not shown: %s: %s", tried.file, tried.problem)
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
