"""Thumbnails of photographs as text, and as many of them as fit on a page."""

import base64
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from skinbit.data.listed import ListedPhotographs
from skinbit.data.threads import map_in_order

Key = TypeVar("Key")

Pair = tuple[str, str]
"""Two image ids in text order."""

_QUALITY = 80


def make_thumbnails(photographs: ListedPhotographs, image_ids: Sequence[str], side: int) -> Iterator[tuple[str, str]]:
    """Yield thumbnails of many photographs, made in threads.

    Args:
        photographs: Photographs that include those to copy.
        image_ids: Image ids of the photographs to copy.
        side: See :func:`shrink`.

    Yields:
        Image id and ``data:`` address of each, in order.

    Raises:
        InputError: If a photograph has changed since it was listed; names the first.
    """
    return map_in_order(lambda image_id: (image_id, shrink(photographs.decode(image_id, side), side)), image_ids)


def shrink(image: Image.Image, side: int) -> str:
    """Return a thumbnail of a decoded photograph.

    Args:
        image: RGB.
        side: Largest length of the longer side, pixels.

    Returns:
        A JPEG without metadata, as a ``data:`` address; equal pixels have equal thumbnails.
    """
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def within_size(pictures: Mapping[Key, str], megabytes: float) -> dict[Key, str]:
    """Return the first thumbnails or drawings that fit on a page.

    Args:
        pictures: ``data:`` addresses by name, most important first.
        megabytes: Largest total length, in 10^6 characters.
    """
    total = itertools.accumulate(map(len, pictures.values()))
    return {name: pictures[name] for name, length in zip(pictures, total, strict=True) if length <= megabytes * 1e6}


@dataclass(frozen=True)
class Pictures:
    """The thumbnails and drawings of a page with pairs.

    Attributes:
        photographs: ``data:`` address by image id.
        n_photographs: Number of photographs before any were left out.
        drawings: Drawing of matched keypoints by pair, as ``data:`` address.
        max_megabytes: Largest total size.
    """

    photographs: Mapping[str, str]
    n_photographs: int
    drawings: Mapping[Pair, str]
    max_megabytes: float

    @property
    def n_photographs_left_out(self) -> int:
        """Return the number of photographs that do not fit."""
        return self.n_photographs - len(self.photographs)

    def row_of_photograph(self) -> dict[str, int]:
        """Return the position of each photograph by image id."""
        return {image_id: row for row, image_id in enumerate(self.photographs)}

    def row_of_drawing(self) -> dict[Pair, int]:
        """Return the position of each drawing by pair."""
        return {pair: row for row, pair in enumerate(self.drawings)}


def fit_pictures(photographs: Mapping[str, str], drawings: Mapping[Pair, str], megabytes: float) -> Pictures:
    """Return the thumbnails and drawings that fit on a page, photographs first.

    Args:
        photographs: ``data:`` addresses, most important first.
        drawings: ``data:`` addresses, most important first.
        megabytes: Largest total length, in 10^6 characters.
    """
    shown = within_size(photographs, megabytes)
    room = megabytes - sum(map(len, shown.values())) / 1e6
    return Pictures(shown, len(photographs), within_size(drawings, room), megabytes)
