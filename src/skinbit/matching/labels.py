"""Unit vectors, lesions as numbers, and the pairs of one lesion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int64]

GRID_BITS = 22
_GRID = 2.0**GRID_BITS
"""Embeddings are multiples of 2⁻²²: their products have at most 44 fractional bits, so sums over any dimension are
exact in float64, in any order. Similarities therefore do not depend on the block size."""


def unit_vectors(vectors: NDArray[np.floating]) -> FloatArray:
    """Return vectors of unit length, rounded to the grid on which similarities are exact.

    Args:
        vectors: ``(n, d)``, finite, no row all zero.

    Returns:
        ``(n, d)`` float32, unit length to within 1e-6.

    Raises:
        ValueError: If a row is not finite or has no length; names the first such row.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unusable = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if unusable.any():
        raise ValueError(f"row {int(np.argmax(unusable))} is zero or not finite and has no direction")
    on_grid: FloatArray = (np.rint(wide / lengths * _GRID) / _GRID).astype(np.float32)
    return on_grid


def lesion_labels(lesion_ids: list[str]) -> LabelArray:
    """Return lesions as numbers 0, 1, … in sorted order of their ids, one label per image."""
    return np.unique(np.asarray(lesion_ids, dtype=str), return_inverse=True)[1].astype(np.int64)


def known_labels(known_lesions: Sequence[str], n_new: int) -> LabelArray:
    """Return the known lesion of each image of a pool as a number; -1 for new images, which come first."""
    return np.append(np.full(n_new, -1, dtype=np.int64), lesion_labels(list(known_lesions)))


def first_of_lesion(known: LabelArray) -> LabelArray:
    """Return every further image of a known lesion with the lesion's first one.

    Args:
        known: ``(n,)`` the known lesion of each image, -1 where it has none.

    Returns:
        ``(m, 2)`` rows, the lesion's first one first, by the other one.
    """
    rows = np.flatnonzero(known >= 0)
    _, first, inverse = np.unique(known[rows], return_index=True, return_inverse=True)
    pairs = np.column_stack([rows[first][inverse], rows])
    further: LabelArray = pairs[pairs[:, 0] != pairs[:, 1]]
    return further


def positive_pairs(labels: LabelArray) -> LabelArray:
    """Return all positive pairs, of images with the same lesion.

    Args:
        labels: ``(n,)``, the lesion of each image.

    Returns:
        ``(n_positive_pairs, 2)`` rows, lower row first, in no particular order.
    """
    order = np.argsort(labels, kind="stable")
    found = [np.empty((0, 2), dtype=np.int64)]
    # Sorted images of a lesion are adjacent: pair each with its next, its next but one, … while there are any.
    for step in range(1, len(labels)):
        same = labels[order[:-step]] == labels[order[step:]]
        if not same.any():
            break
        found.append(np.column_stack([order[:-step][same], order[step:][same]]))
    return np.concatenate(found)


def ascending_bits(singles: FloatArray) -> NDArray[np.uint32]:
    """Return single-precision numbers as integers of the same order.

    Args:
        singles: Any shape, without NaN; 0 and -0 are equal.

    Returns:
        Same shape.
    """
    bits = (singles + np.float32(0)).view(np.uint32)  # -0 becomes +0
    return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))


def from_ascending_bits(numbers: NDArray[np.uint32]) -> FloatArray:
    """Return the numbers from which :func:`ascending_bits` made these integers."""
    singles: FloatArray = np.where(numbers >> 31, numbers & np.uint32(2**31 - 1), ~numbers).view(np.float32)
    return singles
