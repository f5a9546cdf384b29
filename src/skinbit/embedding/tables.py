"""Tables of images: pixels for training, features before a head, embeddings for matching."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray

Bytes = NDArray[np.uint8]


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
