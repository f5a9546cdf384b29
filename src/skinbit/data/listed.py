"""Photographs that were checked earlier; if one has changed since, the run ends."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from PIL import Image

from skinbit.config import DataParams
from skinbit.data.decoding import decode_image
from skinbit.data.ids import printable
from skinbit.data.images import ImageFolder, read_photograph
from skinbit.data.unusable import UnusableError
from skinbit.errors import InputError
from skinbit.refusals import explain_reading


@dataclass(frozen=True)
class ListedPhotographs:
    """The only access to listed photographs, which ensures that no result is stored under another file's hash.

    Attributes:
        folder: Folder of the photographs.
        table: ``image_id, file, sha256`` of each photograph when it was checked.
        data: Limits of a photograph.
        checked_by: Pipeline that listed them, for messages.
    """

    folder: ImageFolder
    table: pd.DataFrame
    data: DataParams
    checked_by: str = "data_split"

    @property
    def image_ids(self) -> list[str]:
        """Return the image ids, which are unique."""
        return self.table["image_id"].tolist()

    @property
    def hashes(self) -> list[str]:
        """Return the SHA-256 of each file."""
        return self.table["sha256"].tolist()

    @cached_property
    def noted(self) -> dict[str, tuple[str, str]]:
        """Return the file name and the SHA-256 of each photograph, by image id."""
        return dict(zip(self.image_ids, zip(self.table["file"], self.hashes, strict=True), strict=True))

    def decode(self, image_id: str, least_side: int | None = None) -> Image.Image:
        """Return a photograph; see :meth:`decode_sizes`."""
        (image,) = self.decode_sizes(image_id, (least_side,))
        return image

    def decode_sizes(self, image_id: str, least_sides: Sequence[int | None]) -> list[Image.Image]:
        """Return a photograph decoded for several sizes; the file is read once.

        Args:
            image_id: Image id of the photograph.
            least_sides: See :func:`skinbit.data.decoding.decode_image`.

        Returns:
            One image per size.

        Raises:
            InputError: If the file has changed since it was checked, or can no longer be read or decoded.
        """
        if image_id not in self.noted:
            raise InputError(
                f"{self.checked_by} has listed no photograph {printable(image_id)}.\n  Remedy: run it again{self._how}."
            )
        file, sha256 = self.noted[image_id]
        try:
            content = read_photograph(self.folder, file, self.data)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise UnusableError(f"its bytes are not those that {self.checked_by} read: {self._describe(content)}")
            return [decode_image(content, self.data.max_pixels, side) for side in least_sides]
        except UnusableError as error:
            back = "put it back as it was" if error.kind == "unreadable" else "put the file or the setting back"
            remedy = error.remedy or f"{back}, or run {self.checked_by} again{self._how}"
            raise InputError(self._message(file, str(error), remedy)) from error
        except OSError as error:
            why, remedy = explain_reading(error)
            raise InputError(self._message(file, why, f"{remedy}, then run the same command again")) from error

    @property
    def _how(self) -> str:
        return f", with the same --env and --params: kedro run --pipelines {self.checked_by}"

    def _describe(self, content: bytes) -> str:
        """Return what a file with changed bytes is now."""
        try:
            decode_image(content, self.data.max_pixels)
        except UnusableError as error:
            return str(error)
        return "it is another photograph, or was saved again"

    @staticmethod
    def _message(file: str, reason: str, remedy: str) -> str:
        return f"The photograph {printable(file)} can no longer be used: {reason}.\n  Remedy: {remedy}."
