"""Cosines of photographs with one vector each, or also one vector per zoom.

Photographs of one lesion differ in zoom by up to four times. The mean over zooms hardly changes with it, but blurs
what each zoom shows; of two photographs at different zooms, some view of one shows the same as another view of the
other. If views are compared, the cosine is the average of that of the means and that of the two most similar views.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]


def cosines(rows: Wide, columns: Wide) -> Wide:
    """Return the cosines of photographs with other photographs.

    Args:
        rows: ``(height, d)`` unit vectors of :func:`skinbit.matching.labels.unit_vectors`; or ``(height, 1 + z, d)``,
            the mean and the views of each photograph, whose most similar pair then has half the weight.
        columns: Vectors of the other photographs, ``(width, …)``.

    Returns:
        ``(height, width)``, exact: independent of the rectangle.
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
        other: ``(m, …)``, the second photograph of each pair.

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
