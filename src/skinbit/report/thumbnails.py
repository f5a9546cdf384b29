"""Small copies of photographs as text, and as many of them as a page may hold."""

import base64
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from skinbit.data.images import ImageFolder, decode_image
from skinbit.data.threads import map_in_order
from skinbit.errors import InputError

Key = TypeVar("Key")
Result = TypeVar("Result")

Pair = tuple[str, str]
"""Two image ids, the one that comes first as text before the other."""

_QUALITY = 80


def make_thumbnail(content: bytes, side: int, max_pixels: int) -> str:
    """Return a small copy of a photograph.

    Args:
        content: A JPEG or PNG file.
        side: Length of the longer side at most, in pixels.
        max_pixels: See :func:`skinbit.data.images.decode_image`.

    Returns:
        A JPEG without metadata, as a ``data:`` address; equal bytes give equal text.

    Raises:
        ValueError: If the photograph cannot be read.
    """
    return shrink(decode_image(content, max_pixels, side), side)


def make_thumbnails(
    folder: ImageFolder, image_ids: Sequence[str], side: int, max_pixels: int
) -> Iterator[tuple[str, str]]:
    """Make small copies of many photographs, in threads.

    Args:
        folder: Holds the photographs.
        image_ids: The photographs to copy.
        side: See :func:`make_thumbnail`.
        max_pixels: See :func:`skinbit.data.images.decode_image`.

    Yields:
        Image id and ``data:`` address of each, in order.

    Raises:
        InputError: If a photograph is missing or cannot be read; names the first.
    """
    return map_photographs(folder, image_ids, lambda content: make_thumbnail(content, side, max_pixels), "shown")


def map_photographs(
    folder: ImageFolder, image_ids: Sequence[str], function: Callable[[bytes], Result], participle: str
) -> Iterator[tuple[str, Result]]:
    """Apply a function to photographs that could be read when they were checked, in threads.

    Args:
        folder: Holds the photographs.
        image_ids: The photographs to read.
        function: Of the content of a file; a ``ValueError`` means that it cannot be read.
        participle: For the message, e.g. ``shown``.

    Yields:
        Image id and result of each, in order.

    Raises:
        InputError: If a photograph is missing or cannot be read; names the first.
    """

    def apply(image_id: str) -> tuple[str, Result]:
        try:
            if image_id not in folder.files:
                raise FileNotFoundError(f"there is no such file in {folder.root}")
            return image_id, function(folder.read(image_id))
        except (OSError, ValueError) as error:
            raise InputError(
                f"The photograph {image_id} cannot be {participle}: {error}.\n"
                "  Remedy: the photographs have changed since they were checked; `kedro run --pipelines data_split` "
                "lists all that cannot be used."
            ) from error

    return map_in_order(apply, image_ids)


def shrink(image: Image.Image, side: int) -> str:
    """Return a small copy of a decoded photograph, like :func:`make_thumbnail`.

    Args:
        image: RGB.
        side: Length of the longer side at most, in pixels.
    """
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def within_size(pictures: Mapping[Key, str], megabytes: float) -> dict[Key, str]:
    """Return the first thumbnails or drawings, as many as a page may hold.

    Args:
        pictures: ``data:`` addresses by name, those that are needed most first.
        megabytes: Their total length at most, in 10^6 characters.
    """
    total = itertools.accumulate(map(len, pictures.values()))
    return {name: pictures[name] for name, length in zip(pictures, total, strict=True) if length <= megabytes * 1e6}


@dataclass(frozen=True)
class Pictures:
    """The pictures of a page that lists pairs.

    Attributes:
        photographs: ``data:`` address by image id.
        n_photographs: Number of those that were to be shown.
        drawings: ``data:`` address of matched points by pair.
        max_megabytes: Room for all of them.
    """

    photographs: Mapping[str, str]
    n_photographs: int
    drawings: Mapping[Pair, str]
    max_megabytes: float

    @property
    def n_photographs_left_out(self) -> int:
        """Return the number of photographs for which there is no room."""
        return self.n_photographs - len(self.photographs)

    def row_of_photograph(self) -> dict[str, int]:
        """Return the position of each photograph by image id."""
        return {image_id: row for row, image_id in enumerate(self.photographs)}

    def row_of_drawing(self) -> dict[Pair, int]:
        """Return the position of each drawing by pair."""
        return {pair: row for row, pair in enumerate(self.drawings)}


def fit_pictures(photographs: Mapping[str, str], drawings: Mapping[Pair, str], megabytes: float) -> Pictures:
    """Return the pictures for which a page has room: photographs first, then drawings.

    Args:
        photographs: ``data:`` addresses, those that are needed most first.
        drawings: Likewise.
        megabytes: Their total length at most, in 10^6 characters.
    """
    shown = within_size(photographs, megabytes)
    room = megabytes - sum(map(len, shown.values())) / 1e6
    return Pictures(shown, len(photographs), within_size(drawings, room), megabytes)
