"""Small copies of photographs as text, and as many of them as a page may hold."""

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
"""Two image ids, the one that comes first as text before the other."""

_QUALITY = 80


def make_thumbnails(photographs: ListedPhotographs, image_ids: Sequence[str], side: int) -> Iterator[tuple[str, str]]:
    """Make small copies of many photographs, in threads.

    Args:
        photographs: Those to copy are among them.
        image_ids: The photographs to copy.
        side: See :func:`shrink`.

    Yields:
        Image id and ``data:`` address of each, in order.

    Raises:
        InputError: If a photograph is not as it was when it was listed; names the first.
    """
    return map_in_order(lambda image_id: (image_id, shrink(photographs.decode(image_id, side), side)), image_ids)


def shrink(image: Image.Image, side: int) -> str:
    """Return a small copy of a decoded photograph.

    Args:
        image: RGB.
        side: Length of the longer side at most, in pixels.

    Returns:
        A JPEG without metadata, as a ``data:`` address; equal pixels give equal text.
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
