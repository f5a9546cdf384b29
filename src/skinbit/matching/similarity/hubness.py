"""Local scaling against hubs: how much more alike two photographs are than each of them and its neighbours.

Some photographs are hubs, similar to many others: pale skin with a small lesion, a dark one that fills the frame. Their
cosines are high with strangers, so no single cut suits both them and photographs with a look of their own. Local
scaling (Zelnik-Manor and Perona 2004), here in the form of CSLS (cross-domain similarity local scaling, Conneau et al.
2018), subtracts the mean cosine of an image with its nearest neighbours. The number of neighbours is a share of the
pool, so that one cut suits pools of several sizes.

That holds from some hundreds of images on. In a pool of a few photographs the nearest neighbours are strangers, and the
hubness of every image is too low. The folds tell by how much: their calibration holds the mean hubness of as few of
their lesions, and of many.
"""

from collections.abc import Sequence
from math import ceil, fsum, log

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from skinbit.config import ScalingParams
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.similarity.cosines import cosines

Hubness = NDArray[np.float64]
"""``(n,)``: mean cosine of each image of a pool with its nearest neighbours, in [-1, 1]."""

UsualHubness = tuple[tuple[int, ...], tuple[float, ...]]
"""Sizes of pools, ascending, and the mean hubness of pools of each size; both empty where nothing is known."""

_BLOCK_VALUES = 2**22
"""48 MB, in double and in single precision."""

_DRAWS = 5
"""Pools of each size that are drawn from each subset."""

_GROWTH = 1.5
"""From one size of pool to the next."""

_PATIENCE = 3.0
"""Seconds after which a progress bar shows: 10,000 images take less."""


def hubness(embeddings: FloatArray, params: ScalingParams, block_values: int = _BLOCK_VALUES) -> Hubness:
    """Return the mean cosine of each image with its nearest neighbours.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        params: How many neighbours count.
        block_values: Similarities held in memory at once.

    Returns:
        ``(n,)``, the same whatever the order of the images and the size of blocks; 0 for an image without others.
    """
    n_images = len(embeddings)
    n_near = min(params.n_near(n_images), n_images - 1)
    means = np.zeros(n_images)
    if n_near < 1:
        return means
    wide = embeddings.astype(np.float64)
    height = max(1, block_values // n_images)  # whole rows: what is nearest to an image is known only from all others
    starts = range(0, n_images, height)
    for start in tqdm(starts, unit="block", desc="nearest neighbours", delay=_PATIENCE, disable=None):
        stop = min(n_images, start + height)
        products = cosines(wide[start:stop], wide)
        alike = np.clip(products, -1.0, 1.0, out=products).astype(np.float32)
        alike[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # no image is its own neighbour
        alike.partition(n_images - n_near, axis=1)
        nearest = alike[:, n_images - n_near :]
        means[start:stop] = np.sort(nearest, axis=1).mean(axis=1, dtype=np.float64)  # sorted: sums depend on the order
    return means


def usual_hubness(subsets: Sequence[tuple[FloatArray, LabelArray]], params: ScalingParams) -> UsualHubness:
    """Return the mean hubness of pools of few strangers: lesions drawn from subsets, one image of each.

    Args:
        subsets: Embeddings and lesions of each, two lesions or more.
        params: How many neighbours count.

    Returns:
        Sizes of pools, ascending, up to that from which the neighbours are a share of the pool, or to the smallest
        subset; and the mean hubness of pools of each size.
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
    """Draw some lesions and an image of each."""
    shuffled = rng.permutation(len(labels))
    rows: LabelArray = shuffled[np.unique(labels[shuffled], return_index=True)[1]]
    return rng.permutation(rows)[:n_lesions]


def missing_hubness(n_images: int, sizes: Sequence[int], means: Sequence[float]) -> float:
    """Return by how much the hubness of a pool's images would rise in a pool as large as those that chose a cut.

    Args:
        n_images: Of the pool.
        sizes: From :func:`usual_hubness`; empty where nothing is known, and nothing is missing.
        means: Likewise.

    Returns:
        0 or more, for all its images alike; 0 from the largest size on.
    """
    if not sizes or n_images >= sizes[-1]:
        return 0.0
    usual = np.interp(log(max(1, n_images)), np.log(sizes), means)
    return max(0.0, float(means[-1] - usual))


def scale(cosines: FloatArray, first: Hubness, second: Hubness) -> FloatArray:
    """Subtract the mean hubness of both images from their cosine.

    Args:
        cosines: Of some pairs, any shape.
        first: Hubness of the one image of each pair, of a shape that broadcasts to it.
        second: Likewise, of the other image.

    Returns:
        Float32, same shape: the cosine less the mean hubness of the two, cut off at -1 and 1.
    """
    scaled: FloatArray = np.clip(cosines - (first + second) / 2, -1.0, 1.0).astype(np.float32)
    return scaled
