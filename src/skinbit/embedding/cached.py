"""Embeddings of photographs, computed only if no earlier run has done so."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.data.progress import count
from skinbit.embedding.features import feature_key
from skinbit.embedding.tables import Features
from skinbit.matching.labels import FloatArray

logger = logging.getLogger(__name__)


def embed_missing(
    photographs: Photographs,
    description: Mapping[str, Any],
    stored: Features,
    embed: Callable[[ListedPhotographs], FloatArray],
) -> Features:
    """Embed photographs, except those that an earlier run has embedded in the same way.

    Args:
        photographs: Photographs, in the order of the result.
        description: Everything except the photograph that an embedding depends on.
        stored: Embeddings of earlier runs.
        embed: Function that returns the embeddings of photographs, ``(n, n_vectors, d)``.

    Returns:
        ``(n_photographs, n_vectors, d)``.
    """
    keys = tuple(feature_key(dict(description), sha256) for sha256 in photographs.hashes)
    vectors = dict(zip(stored.keys, stored.values, strict=True))
    # Equal bytes have equal embeddings: copies under other names are embedded once.
    first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in vectors}
    logger.info("%d embeddings from the cache, %d to compute", len(keys) - len(first), len(first))
    count("embedding", made=len(first), found=len(keys) - len(first))
    rows = sorted(first.values())
    embedded = [vector for source in photographs.take(rows).sources for vector in embed(source)]
    vectors.update((keys[row], vector) for row, vector in zip(rows, embedded, strict=True))
    values = np.stack([vectors[key] for key in keys]) if keys else np.empty((0, 1, 1), np.float32)
    return Features(tuple(image_id for _, image_id in photographs.places), values, keys, description)
