"""What images are turned into: features before a head, embeddings for matching."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skinbit.matching.pairs import FloatArray


@dataclass(frozen=True)
class Features:
    """Frozen features of images, one vector per test view.

    Attributes:
        image_ids: One per row.
        values: ``(n_images, n_views, feature_dim)`` float32; view 0 is the plain image.
        keys: Per row, the fingerprint of everything that the values depend on.
        description: The backbone they come from; plain values.
    """

    image_ids: tuple[str, ...]
    values: FloatArray
    keys: tuple[str, ...]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of images.

    Attributes:
        image_ids: One per row.
        values: ``(n_images, embedding_dim)`` float32, unit length.
        description: What made them; plain values.
    """

    image_ids: tuple[str, ...]
    values: FloatArray
    description: Mapping[str, Any]
