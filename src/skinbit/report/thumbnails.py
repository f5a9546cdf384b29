"""Small copies of photographs, as text that a page holds itself."""

import base64
import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from skinbit.data.images import ImageFolder, decode_image
from skinbit.errors import InputError

Key = TypeVar("Key")

_QUALITY = 80


def make_thumbnail(content: bytes, side: int, max_pixels: int) -> str:
    """Make a small copy of a photograph.

    Args:
        content: A JPEG or PNG file.
        side: Its longer side, in pixels, is at most this.
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
        folder: Where the photographs are.
        image_ids: Which photographs.
        side: See :func:`make_thumbnail`.
        max_pixels: See :func:`skinbit.data.images.decode_image`.

    Yields:
        Image id and ``data:`` address of each, in order.

    Raises:
        InputError: If a photograph is missing or cannot be read; names the first.
    """

    def make(image_id: str) -> str:
        try:
            if image_id not in folder.files:
                raise FileNotFoundError(f"there is no such file in {folder.root}")
            return make_thumbnail(folder.read(image_id), side, max_pixels)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The photograph {image_id} cannot be shown: {error}.\n"
                "  Remedy: the photographs have changed since they were checked; `kedro run --pipelines data_split` "
                "lists all that cannot be used."
            ) from error

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        yield from zip(image_ids, pool.map(make, image_ids), strict=True)


def shrink(image: Image.Image, side: int) -> str:
    """Make a small copy of a decoded photograph.

    Args:
        image: RGB.
        side: The copy's longer side, in pixels, is at most this.

    Returns:
        As :func:`make_thumbnail`.
    """
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def within_size(pictures: dict[Key, str], megabytes: float) -> dict[Key, str]:
    """Take as many thumbnails or drawings as a page may hold.

    Args:
        pictures: ``data:`` addresses by name, those that are needed most first.
        megabytes: Their total length at most, in 10^6 characters.

    Returns:
        The first of them.
    """
    total = itertools.accumulate(map(len, pictures.values()))
    return {name: pictures[name] for name, length in zip(pictures, total, strict=True) if length <= megabytes * 1e6}
