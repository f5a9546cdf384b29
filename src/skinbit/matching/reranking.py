"""Similarities that also ask whether two images have the same neighbours: k-reciprocal re-ranking.

After Zhong et al. (2017), for one pool against itself. Two images of one lesion are among each other's nearest, and so
are the lesion's other images; a chance look-alike is near to one image but not to the images around it. Lesions have a
few images, so neighbourhoods are small and nearly all pairs share no neighbour: neighbourhoods stay sparse matrices.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array

from skinbit.matching.pairs import FloatArray, row_blocks

_GRID = 2.0**40
"""Weights are at most 1 and live on multiples of 2⁻⁴⁰: sums of a few thousand are exact in float64, so that no value
depends on the order of the images."""

_DECAY = 4.0
"""A neighbour at the distance of the k1-th nearest image weighs e⁻⁴ = 2 %. It is relative because networks differ in
scale: images of different lesions are 0.3 similar to one and 0.99 to another."""


def rerank(similarities: FloatArray, k1: int, k2: int, weight: float) -> FloatArray:
    """Mix the similarity of two images with the overlap of their neighbourhoods.

    An image's neighbourhood holds its reciprocal neighbours, those among its nearest that have it among theirs, and
    the closer reciprocal neighbours of each of them that are more than two thirds in it already. A neighbour's weight
    falls with its distance; each image then takes the mean weights of its nearest. The overlap is the Jaccard index of
    two images' weights: the sum of the smaller ones over the sum of the larger ones.

    Neighbourhoods are relative: they say who is nearest, not how near. With ``k2`` of 2 two images that are each
    other's nearest overlap wholly, however far apart. Where every lesion has two photographs or more that helps much;
    where many have one it harms, and a cut from the first kind of pool does not suit the second.

    Args:
        similarities: ``(n, n)`` float32 in [-1, 1], symmetric.
        k1: Nearest other images that count, at least 1 (half as many for closer neighbours); about as many as a lesion
            has images.
        k2: Images whose weights are averaged, an image itself and its nearest, at least 1; 1 averages none.
        weight: Share in [0, 1] of the given similarity; 1 leaves it as it is.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric, 1 on the diagonal; ``weight`` times the similarity for a pair that
        shares no neighbour. Where the last of k nearest images ties with the next one, the tie stays out as a whole:
        no value depends on the order of the images.

    Raises:
        ValueError: If a parameter is out of range; with the remedy.
    """
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(f"k1={k1}, k2={k2}, weight={weight}. Remedy: k1 and k2 of at least 1, a weight from 0 to 1.")
    neighbourhoods = _expanded(_reciprocal(similarities, k1), _reciprocal(similarities, (k1 + 1) // 2))
    weights = _weights(similarities, neighbourhoods, _kth_similarity(similarities, min(k1, len(similarities) - 1)))
    weights = _averaged(weights, _with_self(_nearest(similarities, k2 - 1)))
    reranked = np.empty_like(similarities)
    for start, stop, overlaps in _overlaps(weights):
        reranked[start:stop] = (1 - weight) * overlaps + weight * similarities[start:stop].astype(np.float64)
    np.fill_diagonal(reranked, 1.0)
    return reranked


def _nearest(similarities: FloatArray, k: int) -> csr_array:
    """Mark the k nearest other images of each image with 1, ``(n, n)``; fewer where the last tie would be cut."""
    beyond = _kth_similarity(similarities, k + 1)
    marks = [np.empty((2, 0), dtype=np.int64)]
    for start, stop in row_blocks(len(similarities)):
        is_near = similarities[start:stop] > beyond[start:stop, None]
        is_near[np.arange(stop - start), np.arange(start, stop)] = False
        rows, columns = np.nonzero(is_near)
        marks.append(np.stack([rows + start, columns]))
    rows, columns = np.concatenate(marks, axis=1)
    return _pattern(rows, columns, len(similarities))


def _kth_similarity(similarities: FloatArray, k: int) -> FloatArray:
    """Give each image's similarity to its k-th nearest other one, ``(n,)``; minus infinity where there are fewer."""
    n_images = len(similarities)
    kth = np.full(n_images, -np.inf, dtype=np.float32)
    if 0 < k < n_images:
        for start, stop in row_blocks(n_images):
            others = similarities[start:stop].copy()
            others[np.arange(stop - start), np.arange(start, stop)] = -np.inf
            kth[start:stop] = np.partition(others, n_images - k, axis=1)[:, n_images - k]
    return kth


def _pattern(rows: NDArray[np.integer], columns: NDArray[np.integer], n_images: int) -> csr_array:
    ones = np.ones(len(rows), dtype=np.int32)
    return csr_array(coo_array((ones, (rows, columns)), shape=(n_images, n_images)))


def _with_self(pattern: csr_array) -> csr_array:
    return csr_array(pattern + eye_array(pattern.shape[0], dtype=np.int32))


def _reciprocal(similarities: FloatArray, k: int) -> csr_array:
    nearest = _nearest(similarities, k)
    return _with_self(csr_array(nearest.multiply(nearest.T)))


def _expanded(neighbours: csr_array, closer: csr_array) -> csr_array:
    """Add to each image the closer neighbours of those of its neighbours that share more than two thirds of them."""
    shared = coo_array(neighbours.multiply(neighbours @ closer.T))
    is_joined = 3 * shared.data > 2 * closer.sum(axis=1)[shared.col]
    joined = _pattern(shared.row[is_joined], shared.col[is_joined], neighbours.shape[0])
    return csr_array(neighbours + joined @ closer)


def _weights(similarities: FloatArray, neighbourhoods: csr_array, kth: FloatArray) -> csr_array:
    """Weigh each neighbour by its distance relative to that of the k1-th nearest image, to a sum of 1 per image."""
    rows, columns = neighbourhoods.nonzero()
    distances = np.where(rows == columns, 0.0, 1.0 - similarities[rows, columns].astype(np.float64))
    reach = np.maximum(1.0 - kth.astype(np.float64), 1.0 / _GRID)
    decayed = _on_grid(np.exp(-_DECAY * distances / reach[rows]))
    totals = np.zeros(len(similarities))
    np.add.at(totals, rows, decayed)
    return csr_array((_on_grid(decayed / totals[rows]), (rows, columns)), shape=neighbourhoods.shape)


def _averaged(weights: csr_array, nearest: csr_array) -> csr_array:
    """Give each image the mean weights of some images, those marked in its row."""
    sums = coo_array(nearest @ weights)
    counts = nearest.sum(axis=1)
    return csr_array((_on_grid(sums.data / counts[sums.row]), (sums.row, sums.col)), shape=weights.shape)


def _on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(values * _GRID) / _GRID
    return rounded


def _overlaps(weights: csr_array) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Yield ranges of rows and their Jaccard indices with all images, visiting only pairs that share a neighbour."""
    n_images = weights.shape[0]
    by_neighbour = weights.tocsc()
    starts, n_sharing = by_neighbour.indptr[:-1], np.diff(by_neighbour.indptr)
    totals = weights.sum(axis=1)
    for start, stop in row_blocks(n_images):
        own = coo_array(weights[start:stop])
        counts = n_sharing[own.col]
        entry = np.repeat(np.arange(own.nnz), counts)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = starts[own.col[entry]] + within
        smaller = np.minimum(own.data[entry], by_neighbour.data[theirs])
        pair = own.row[entry].astype(np.int64) * n_images + by_neighbour.indices[theirs]
        shared = np.bincount(pair, smaller, minlength=(stop - start) * n_images).reshape(-1, n_images)
        yield start, stop, shared / (totals[start:stop, None] + totals[None, :] - shared)
