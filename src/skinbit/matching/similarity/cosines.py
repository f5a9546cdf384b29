"""Cosines of photographs that have one vector each, or also one per zoom.

Photographs of one lesion differ in zoom by up to four times. The mean over zooms hardly changes with it, but blurs what
each of them shows; of two photographs at different zooms, one view of the one shows what another view of the other
does. Where views are compared one with another, half of a cosine is that of the means, half that of the two most
similar views.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]


def cosines(rows: Wide, columns: Wide) -> Wide:
    """Return the cosine of each of some photographs with each of others.

    Args:
        rows: ``(height, d)`` unit vectors of :func:`skinbit.matching.labels.unit_vectors`; or ``(height, 1 + z, d)``,
            of each photograph its mean and its views, whose pairs then count for one half.
        columns: Likewise ``(width, …)``.

    Returns:
        ``(height, width)``, exact: the same in any rectangle.
    """
    if rows.ndim == 2:
        return rows @ columns.T
    means: Wide = rows[:, 0] @ columns[:, 0].T
    if rows.shape[1] == 1:
        return means
    best, product = np.full_like(means, -np.inf), np.empty_like(means)
    for one, other in itertools.product(range(1, rows.shape[1]), range(1, columns.shape[1])):
        np.maximum(best, np.matmul(rows[:, one], columns[:, other].T, out=product), out=best)
    return (means + best) / 2


def cosines_of_pairs(one: Wide, other: Wide) -> Wide:
    """Return the cosine of single pairs of photographs, bit for bit as in :func:`cosines`.

    Args:
        one: ``(m, …)``, the first photograph of each pair.
        other: Likewise, the second.

    Returns:
        ``(m,)``.
    """
    if one.ndim == 2:
        alike: Wide = np.vecdot(one, other)
        return alike
    means: Wide = np.vecdot(one[:, 0], other[:, 0])
    if one.shape[1] == 1:
        return means
    best: Wide = (one[:, 1:] @ other[:, 1:].transpose(0, 2, 1)).max(axis=(1, 2), initial=-np.inf)
    return (means + best) / 2
