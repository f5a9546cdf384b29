"""Local scaling: by how much more two photographs look alike than each of them looks like its surroundings.

Some photographs look like many others: pale skin with a small lesion, a dark one that fills the frame. Their cosines
are high with strangers, so one cut cannot suit them and photographs with a look of their own. Taking off how alike an
image and its nearest ones are anyway (cross-domain similarity local scaling, Conneau et al. 2018) puts all images on
one scale; what is near counts as a share of the pool, so that the same cut suits pools of other sizes.
"""

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from skinbit.matching.pairs import FloatArray, row_blocks
from skinbit.params import ScalingParams

Crowding = NDArray[np.float64]
"""``(n,)``: how alike each image of a pool and its surroundings are, in [-1, 1]."""

_BLOCK_VALUES = 2**22
"""Similarities held at once: 32 MB in double precision."""

_PATIENCE = 3.0
"""Seconds after which a progress bar shows: 10,000 images take less."""


def crowding(embeddings: FloatArray, params: ScalingParams) -> Crowding:
    """Give the mean cosine of each image with its surroundings, the images nearest to it.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        params: How many images the surroundings are.

    Returns:
        ``(n,)``, the same whatever the order of the images and the size of blocks; 0 for an image without others.
    """
    n_images = len(embeddings)
    n_near = min(params.n_near(n_images), n_images - 1)
    means = np.zeros(n_images)
    if n_near < 1:
        return means
    wide = embeddings.astype(np.float64)
    blocks = list(row_blocks(n_images, _BLOCK_VALUES))
    for start, stop in tqdm(blocks, unit="block", desc="surroundings", delay=_PATIENCE, disable=None):
        alike = np.clip(wide[start:stop] @ wide.T, -1.0, 1.0).astype(np.float32)
        alike[np.arange(stop - start), np.arange(start, stop)] = -np.inf  # no image is its own surroundings
        nearest = np.partition(alike, n_images - n_near, axis=1)[:, n_images - n_near :]
        means[start:stop] = np.sort(nearest, axis=1).mean(axis=1, dtype=np.float64)  # sorted: sums depend on the order
    return means


def scale(cosines: FloatArray, first: Crowding, second: Crowding) -> FloatArray:
    """Take the crowding of both images off their cosine.

    Args:
        cosines: Of some pairs, any shape.
        first: Crowding of the one image of each pair, of a shape that broadcasts to it.
        second: Likewise, of the other image.

    Returns:
        Float32, same shape: the cosine less the mean crowding of the two, cut off at -1 and 1.
    """
    scaled: FloatArray = np.clip(cosines - (first + second) / 2, -1.0, 1.0).astype(np.float32)
    return scaled


def scaled_similarities(cosines: FloatArray, crowded: Crowding) -> FloatArray:
    """Scale the cosines of all pairs of a pool.

    Args:
        cosines: ``(n, n)`` float32, symmetric.
        crowded: Crowding of its images.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric, 1 on the diagonal.
    """
    similarities = np.empty_like(cosines)
    for start, stop in row_blocks(len(cosines)):
        similarities[start:stop] = scale(cosines[start:stop], crowded[start:stop, None], crowded)
    np.fill_diagonal(similarities, 1.0)
    return similarities
