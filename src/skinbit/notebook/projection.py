"""Embeddings in a plane, for inspection."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray

_PERPLEXITY = 15.0
"""Approximate number of neighbours that determine an image's position; a lesion has few photographs."""


def project_to_plane(embeddings: FloatArray, seed: int) -> NDArray[np.float64]:
    """Return embeddings projected to a plane by t-SNE, which keeps neighbours together; large distances mean nothing.

    Args:
        embeddings: ``(n_images, embedding_dim)``, unit length: Euclidean neighbours are those by similarity.
        seed: Seed of the layout.

    Returns:
        ``(n_images, 2)``, centred; all zero for fewer than three images.
    """
    from sklearn.manifold import TSNE

    n_images = len(embeddings)
    if n_images < 3:
        return np.zeros((n_images, 2))
    perplexity = min(_PERPLEXITY, (n_images - 1) / 3)
    layout = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings.astype(np.float64))
    points: NDArray[np.float64] = layout - layout.mean(axis=0)
    return points
