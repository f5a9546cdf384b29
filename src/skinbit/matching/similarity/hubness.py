"""Local scaling against hubs: each image's mean similarity to its nearest neighbours is subtracted.

Some photographs are hubs, similar to many others: pale skin with a small lesion, or a dark lesion that fills the frame.
Their cosines with other lesions are high, so no single cut suits both hubs and distinctive photographs. Local scaling
(Zelnik-Manor and Perona 2004), here in the form of CSLS (cross-domain similarity local scaling, Conneau et al. 2018),
subtracts an image's mean cosine with its nearest neighbours. The number of neighbours is a share of the pool, so that
one cut suits pools of several sizes.

This works from some hundreds of images on. In a pool of a few photographs, the nearest neighbours show other lesions,
and the hubness of every image is too low. This bias is measured on random subsets of the folds of the same size, and
corrected: a calibration has the mean hubness of small and of large pools.
"""

from collections.abc import Sequence
from math import ceil, fsum, log

import numpy as np
from numpy.typing import NDArray

from skinbit.config import ScalingParams
from skinbit.data.progress import Progress
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.similarity.cosines import cosines

Hubness = NDArray[np.float64]
"""``(n,)``: mean cosine of each image with its nearest neighbours, in [-1, 1]."""

UsualHubness = tuple[tuple[int, ...], tuple[float, ...]]
"""Sizes of pools, ascending, and their mean hubness; both empty if unknown."""

_BLOCK_VALUES = 2**22
"""48 MB, in double and in single precision."""

_DRAWS = 5
"""Number of random pools of each size per subset."""

_GROWTH = 1.5
"""Ratio of subsequent pool sizes."""

_PATIENCE = 3.0
"""Seconds before a progress bar is shown: 10,000 images take less."""


def hubness(embeddings: FloatArray, params: ScalingParams, block_values: int = _BLOCK_VALUES) -> Hubness:
    """Return the hubness of each image: its mean cosine with its nearest neighbours.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        params: Number of neighbours.
        block_values: Number of similarities in memory at once.

    Returns:
        ``(n,)``, independent of the order of images and the block size; 0 for a single image.
    """
    n_images = len(embeddings)
    n_near = min(params.n_near(n_images), n_images - 1)
    means = np.zeros(n_images)
    if n_near < 1:
        return means
    wide = embeddings.astype(np.float64)
    height = max(1, block_values // n_images)  # whole rows: the nearest neighbours of an image depend on all others
    starts = range(0, n_images, height)
    for start in Progress(starts, unit="block", desc="nearest neighbours", delay=_PATIENCE):
        stop = min(n_images, start + height)
        products = cosines(wide[start:stop], wide)
        alike = np.clip(products, -1.0, 1.0, out=products).astype(np.float32)
        alike[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # no image is its own neighbour
        alike.partition(n_images - n_near, axis=1)
        nearest = alike[:, n_images - n_near :]
        means[start:stop] = np.sort(nearest, axis=1).mean(axis=1, dtype=np.float64)  # sorted: sums depend on the order
    return means


def usual_hubness(subsets: Sequence[tuple[FloatArray, LabelArray]], params: ScalingParams) -> UsualHubness:
    """Return the mean hubness of small pools without positive pairs: one image each of lesions drawn from subsets.

    Args:
        subsets: Embeddings and lesions of each subset, at least two lesions.
        params: Number of neighbours.

    Returns:
        Sizes of pools, ascending, up to the size from which the number of neighbours is a share of the pool, or to the
        smallest subset; and the mean hubness of pools of each size.
    """
    most = min([params.least_pool, *(len(np.unique(labels)) for _, labels in subsets)])
    n_steps = ceil(log(most / 2) / log(_GROWTH)) if most > 2 else 0
    sizes = sorted({min(most, round(2 * _GROWTH**step)) for step in range(n_steps + 1)})
    means = []
    for size in sizes:
        rng = np.random.default_rng(size)
        drawn = [_one_of_each(labels, size, rng) for _, labels in subsets for _ in range(_DRAWS)]
        found = [hubness(subsets[n // _DRAWS][0][rows], params).mean() for n, rows in enumerate(drawn)]
        means.append(fsum(found) / len(found))
    return tuple(sizes), tuple(means)


def _one_of_each(labels: LabelArray, n_lesions: int, rng: np.random.Generator) -> LabelArray:
    """Return some random lesions and one image of each."""
    shuffled = rng.permutation(len(labels))
    rows: LabelArray = shuffled[np.unique(labels[shuffled], return_index=True)[1]]
    return rng.permutation(rows)[:n_lesions]


def missing_hubness(n_images: int, sizes: Sequence[int], means: Sequence[float]) -> float:
    """Return how much the hubness of a pool's images would rise in a pool as large as the folds.

    Args:
        n_images: Number of images in the pool.
        sizes: Sizes from :func:`usual_hubness`; empty if unknown, then nothing is added.
        means: Mean hubness of pools of these sizes.

    Returns:
        0 or more, the same for all images; 0 from the largest size on.
    """
    if not sizes or n_images >= sizes[-1]:
        return 0.0
    usual = np.interp(log(max(1, n_images)), np.log(sizes), means)
    return max(0.0, float(means[-1] - usual))


def scale(cosines: FloatArray, first: Hubness, second: Hubness) -> FloatArray:
    """Return cosines minus the mean hubness of both images.

    Args:
        cosines: Cosines of pairs, any shape.
        first: Hubness of the first image of each pair, of a shape that broadcasts to the cosines.
        second: Hubness of the second image.

    Returns:
        Float32, same shape, clipped to [-1, 1].
    """
    scaled: FloatArray = np.clip(cosines - (first + second) / 2, -1.0, 1.0).astype(np.float32)
    return scaled
