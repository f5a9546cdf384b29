"""Similarities of all pairs of images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int64]

GRID_BITS = 22
_GRID = 2.0**GRID_BITS
"""Embeddings live on multiples of 2⁻²²: their products then have at most 44 fractional bits, so sums over any
dimension are exact in float64, whatever the order. That is what makes similarities independent of block size."""

BLOCK_VALUES = 2**20
"""Pairs handled at once: 4 MB of float32, near the processor's cache."""


def unit_vectors(vectors: NDArray[np.floating]) -> FloatArray:
    """Scale vectors to unit length and round them to the grid on which similarities are exact.

    Args:
        vectors: ``(n, d)``, finite, no row all zero.

    Returns:
        ``(n, d)`` float32, unit length to within 1e-6.

    Raises:
        ValueError: If a row is not finite or has no length; the message names the first such row.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unusable = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if unusable.any():
        raise ValueError(f"row {int(np.argmax(unusable))} is zero or not finite and has no direction")
    on_grid: FloatArray = (np.rint(wide / lengths * _GRID) / _GRID).astype(np.float32)
    return on_grid


def cosine_similarities(embeddings: FloatArray) -> FloatArray:
    """Give the cosine similarity of every pair of embeddings.

    Args:
        embeddings: ``(n, d)`` from :func:`unit_vectors`.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric; computed in float64 and rounded once, so that no value depends
        on the block size.
    """
    wide = embeddings.astype(np.float64)
    n_images = len(wide)
    similarities = np.empty((n_images, n_images), dtype=np.float32)
    for start, stop in row_blocks(n_images):
        np.clip(wide[start:stop] @ wide.T, -1.0, 1.0, out=similarities[start:stop], casting="same_kind")
    return similarities


def row_blocks(n_images: int, block_values: int = BLOCK_VALUES) -> Iterator[tuple[int, int]]:
    """Cut the rows of an ``(n, n)`` matrix into ranges of at most ``block_values`` values, at least one row."""
    height = max(1, block_values // max(1, n_images))
    for start in range(0, n_images, height):
        yield start, min(start + height, n_images)


def lesion_labels(lesion_ids: list[str]) -> LabelArray:
    """Number the lesions 0, 1, … in sorted order of their ids, one label per image."""
    return np.unique(np.asarray(lesion_ids, dtype=str), return_inverse=True)[1].astype(np.int64)


def positive_similarities(similarities: FloatArray, labels: LabelArray) -> FloatArray:
    """Give the similarities of all positive pairs, each unordered pair once.

    Args:
        similarities: ``(n, n)``, symmetric.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        ``(n_positive_pairs,)`` float32, in no particular order.
    """
    first, second = positive_pairs(labels).T
    alike: FloatArray = similarities[first, second]
    return alike


def positive_pairs(labels: LabelArray) -> LabelArray:
    """Give all pairs of images of one lesion.

    Args:
        labels: ``(n,)``, the lesion of each image.

    Returns:
        ``(n_positive_pairs, 2)`` rows, the lower one first, in no particular order.
    """
    order = np.argsort(labels, kind="stable")
    found = [np.empty((0, 2), dtype=np.int64)]
    # Images of one lesion stand side by side: pair each with its next, its next but one, … while any is left.
    for step in range(1, len(labels)):
        same = labels[order[:-step]] == labels[order[step:]]
        if not same.any():
            break
        found.append(np.column_stack([order[:-step][same], order[step:][same]]))
    return np.concatenate(found)


def pair_blocks(similarities: FloatArray, block_values: int = BLOCK_VALUES) -> Iterator[FloatArray]:
    """Yield the similarities of all unordered pairs, row by row, in flat blocks of about ``block_values``."""
    n_images = len(similarities)
    for start, stop in row_blocks(n_images, block_values):
        yield np.concatenate([similarities[row, row + 1 :] for row in range(start, stop)])


def count_by_similarity(
    similarities: FloatArray, labels: LabelArray, edges: NDArray[np.float64]
) -> tuple[LabelArray, LabelArray]:
    """Count positive and negative pairs in ranges of similarity.

    Args:
        similarities: ``(n, n)``, symmetric.
        labels: ``(n,)``, the lesion of each image.
        edges: ``(m + 1,)`` ascending; a range holds its lower edge, the last one both. Pairs beyond are not counted.

    Returns:
        Positive pairs and negative pairs of each range, ``(m,)`` each.
    """
    positive = np.histogram(positive_similarities(similarities, labels), edges)[0]
    both = np.zeros(len(edges) - 1, dtype=np.int64)
    for pairs in pair_blocks(similarities):
        both += np.histogram(pairs, edges)[0]
    return positive, both - positive
