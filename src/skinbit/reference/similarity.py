"""Similarities of all pairs of a pool: cosines, zoom pairs, local scaling, and fusion with keypoints.

What was fitted elsewhere is given: the coefficients of a calibration are read from its file.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skinbit.reference.metrics import Array

INLIER_STEPS = (0, 3, 6, 12, 24)
"""Numbers of matched keypoints at which the slope of the log-odds changes."""

SOFTNESS = 8.0
"""Log-odds are divided by this before tanh makes similarities of them."""


class Compared(NamedTuple):
    """A pair whose keypoints were compared: its images, matched keypoints, and the zoom from one to the other."""

    one: int
    other: int
    inliers: int
    zoom: float


def similarities(
    vectors: NDArray[np.float32],
    scaling: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    compared: Sequence[Compared] = (),
) -> Array:
    """Return the similarities of all pairs, ``(n, n)``, in single precision after each stage.

    Args:
        vectors: ``(n, d)`` unit vectors, or ``(n, 1 + z, d)`` with one for each zoom after the first.
        scaling: ``share``, ``least`` and ``most`` of the nearest neighbours; None: cosines are not scaled.
        calibration: Coefficients; None: cosines, scaled or not, are the similarities.
        compared: The pairs whose keypoints were compared.
    """
    matrix = single(np.clip(cosines(vectors.astype(np.float64)), -1.0, 1.0))
    if scaling is not None:
        crowded = crowdedness(matrix, scaling) + missing_crowdedness(len(matrix), calibration or {})
        matrix = single(np.clip(matrix - (crowded[:, None] + crowded) / 2, -1.0, 1.0))
    if calibration is not None:
        evidence = calibration["intercept"] + calibration["similarity_slope"] * matrix
        for one, other, inliers, zoom in compared:
            evidence[one, other] = evidence[other, one] = evidence[one, other] + support(calibration, inliers, zoom)
        matrix = single(np.tanh(evidence / SOFTNESS))
    return matrix


def single(values: Array) -> Array:
    """Return numbers rounded to single precision."""
    return values.astype(np.float32).astype(np.float64)


def cosines(vectors: Array) -> Array:
    """Return the products of all vectors; with zooms, the mean of that of the first ones and the largest of zooms."""
    if vectors.ndim == 2:
        products: Array = vectors @ vectors.T
        return products
    means: Array = vectors[:, 0] @ vectors[:, 0].T
    zooms = range(1, vectors.shape[1])
    if not zooms:
        return means
    of_zooms = [vectors[:, one] @ vectors[:, other].T for one, other in product(zooms, zooms)]
    both: Array = (means + np.max(of_zooms, axis=0)) / 2
    return both


def crowdedness(matrix: Array, scaling: Mapping[str, Any]) -> Array:
    """Return the mean cosine of each image with its nearest neighbours, a share of the pool; 0 for a single image."""
    n = len(matrix)
    n_near = max(scaling["least"], round(scaling["share"] * n))
    n_near = min(n_near, n - 1, scaling.get("most") or n)
    if n_near < 1:
        return np.zeros(n)
    nearest = [np.sort(np.delete(matrix[row], row))[-n_near:] for row in range(n)]
    return np.array([math.fsum(values) / n_near for values in nearest])


def missing_crowdedness(n_images: int, calibration: Mapping[str, Any]) -> float:
    """Return how much less crowded a small pool is than the folds: linear in the logarithm of its size."""
    sizes, means = calibration.get("pool_sizes", ()), calibration.get("crowdings", ())
    if not len(sizes) or n_images >= sizes[-1]:
        return 0.0
    usual = np.interp(math.log(max(1, n_images)), [math.log(size) for size in sizes], means)
    return max(0.0, float(means[-1] - usual))


def support(calibration: Mapping[str, Any], inliers: int, zoom: float) -> float:
    """Return the log-odds that comparing keypoints adds to a pair: less for the comparison, more for what agrees."""
    added = -float(calibration["comparison_cost"])
    steps = [math.log1p(step) for step in INLIER_STEPS] + [math.inf]
    for slope, low, high in zip(calibration["inliers_slopes"], steps, steps[1:], strict=False):
        added += slope * (min(max(math.log1p(inliers), low), high) - low)
    return added + (calibration["zoom_slope"] * math.log(zoom) if inliers > 0 else 0.0)
