"""Tables of images: pixels for training, features before a head, embeddings for matching."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from skinbit.data.mapped import take
from skinbit.data.pieces import Keyed
from skinbit.matching.labels import FloatArray

Bytes = NDArray[np.uint8]

_BLOCK: Final = 2**24
"""Number of bytes that are copied at once."""


class Rowed(Keyed, Protocol):
    """A table with one row per image."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Return the image id of each row."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Return how the rows were made; plain values."""


Table = TypeVar("Table", bound=Rowed)


@dataclass(frozen=True)
class Features:
    """Frozen features of images, one vector per test view.

    Attributes:
        image_ids: Image id of each row.
        values: ``(n_images, n_views, feature_dim)`` float32; view 0 is the plain image.
        keys: Fingerprint of everything that a row depends on.
        description: Description of the backbone; plain values.
    """

    image_ids: tuple[str, ...]
    values: FloatArray
    keys: tuple[str, ...]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of images.

    Attributes:
        image_ids: Image id of each row.
        values: ``(n_images, embedding_dim)`` float32, unit length.
        description: How they were made; plain values.
        zooms: ``(n_images, n_zooms, embedding_dim)``, the embedding of every zoom; None if zooms are not compared.
    """

    image_ids: tuple[str, ...]
    values: FloatArray
    description: Mapping[str, Any]
    zooms: FloatArray | None = None

    @property
    def vectors(self) -> FloatArray:
        """Return the vectors from which similarities are computed: embeddings, or embeddings with their zooms."""
        return self.values if self.zooms is None else beside_zooms(self.values, self.zooms)


def beside_zooms(values: FloatArray, zooms: FloatArray) -> FloatArray:
    """Return embeddings with those of their zooms, ``(n_images, 1 + n_zooms, embedding_dim)``."""
    return np.concatenate([values[:, None], zooms], axis=1)


def join_embeddings(first: Embeddings, second: Embeddings) -> Embeddings:
    """Return two sets of embeddings of the same model, concatenated."""
    values = np.concatenate([first.values, second.values])
    zooms = None if first.zooms is None or second.zooms is None else np.concatenate([first.zooms, second.zooms])
    return Embeddings((*first.image_ids, *second.image_ids), values, first.description, zooms)


@dataclass(frozen=True)
class Pixels:
    """Decoded photographs.

    Attributes:
        image_ids: Image id of each row.
        canvases: ``(n_images, c, c, 3)`` uint8, whole central squares, the input of augmentation.
        crops: ``(n_images, n_zooms, s, s, 3)`` uint8, which are rotated for the test views.
        keys: SHA-256 of each row's file.
        description: Sizes, crop, interpolation; plain values.
    """

    image_ids: tuple[str, ...]
    canvases: Bytes
    crops: Bytes
    keys: tuple[str, ...]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Gathered(Generic[Table]):
    """A table whose rows lie in other tables, from which they are copied when it is written.

    Attributes:
        image_ids: Image id of each row.
        keys: Fingerprint of everything that a row depends on.
        description: How the rows were made; plain values.
        places: Table and row in it of each row, or of each view of each row, all views of an image together.
    """

    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    description: Mapping[str, Any]
    places: Sequence[tuple[Table, int]]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of an array of the table."""
        return self._first(name).dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array of the table; views that lie in several places follow each other in a row."""
        n_images, first = len(self.image_ids), self._first(name)
        return n_images, len(self.places) // n_images * first.shape[1], *first.shape[2:]

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield all rows of an array, some at a time, so that a large archive need not fit into the memory."""
        first = self._first(name)
        n_rows = max(1, _BLOCK * len(first) // first.nbytes)
        for start in range(0, len(self.places), n_rows):
            tables, rows = zip(*self.places[start : start + n_rows], strict=True)
            numbers, row_numbers = np.array([id(table) for table in tables]), np.array(rows)
            block = np.empty((len(rows), *first.shape[1:]), first.dtype)
            for number, table in {id(table): table for table in tables}.items():
                own = numbers == number
                block[own] = take(getattr(table, name), row_numbers[own])
            yield block

    def read(self, name: str) -> NDArray[Any]:
        """Return an array of the table as a whole."""
        return np.concatenate(list(self.blocks(name))).reshape(self.shape(name))

    def _first(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self.places[0][0], name)
        return array
