"""K-reciprocal re-ranking: similarities that include the overlap of two images' neighbourhoods.

After Zhong et al. (2017), for one pool against itself. Two images of one lesion are among each other's nearest, and so
are the lesion's other images; a chance look-alike is near to one image but not to the images around it. Lesions have a
few images, so neighbourhoods are small and nearly all pairs share no neighbour: neighbourhoods stay sparse matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array

from skinbit.matching.labels import FloatArray, LabelArray

_GRID = 2.0**40
"""Weights are at most 1 and multiples of 2⁻⁴⁰: sums of a few thousand are exact in float64 and do not depend on the
order of the images."""

_DECAY = 4.0
"""A neighbour at the distance of the k1-th nearest image has weight e⁻⁴ = 2 %. This is relative, as networks differ
in scale: images of different lesions have a similarity of 0.3 for one and of 0.99 for another."""

_PAIRS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Neighbourhoods:
    """The neighbourhoods of a pool's images, which are mixed into their similarities.

    Attributes:
        weights: ``(n, n_of_all)`` sparse, weight of each image in the neighbourhood of the row's image.
        share: Weight of the given similarity in the mixed one, in [0, 1]; the overlap of neighbourhoods has the
            remaining weight.
    """

    weights: csr_array
    share: float

    def mix_block(self, similarities: FloatArray, rows: LabelArray, columns: LabelArray) -> FloatArray:
        """Return the mixed similarities of images with other images.

        Args:
            similarities: ``(height, width)`` float32.
            rows: ``(height,)`` rows of the first images.
            columns: ``(width,)`` rows of the second images.

        Returns:
            ``(height, width)`` float32 in [-1, 1].
        """
        own, others = self.weights[rows], self.weights[columns]
        shared = _shared(own, others)
        either = own.sum(axis=1)[:, None] + others.sum(axis=1) - shared
        return self._mix(shared / either, similarities)

    def mix_pairs(self, similarities: FloatArray, pairs: LabelArray, at_once: int = _PAIRS_AT_ONCE) -> FloatArray:
        """Return the mixed similarities of single pairs.

        Args:
            similarities: ``(m,)`` float32.
            pairs: ``(m, 2)`` rows of both images.
            at_once: Number of pairs whose neighbourhoods are compared at once; changes no value.

        Returns:
            ``(m,)`` float32 in [-1, 1].
        """
        overlaps = np.empty(len(pairs))
        for start in range(0, len(pairs), at_once):
            part = slice(start, start + at_once)
            one, other = (self.weights[rows] for rows in pairs[part].T)
            shared = one.minimum(other).sum(axis=1)
            overlaps[part] = shared / (one.sum(axis=1) + other.sum(axis=1) - shared)
        return self._mix(overlaps, similarities)

    def subset(self, rows: LabelArray) -> "Neighbourhoods":
        """Return the neighbourhoods of some of the images; they still contain all images."""
        return Neighbourhoods(csr_array(self.weights[rows]), self.share)

    def _mix(self, overlaps: NDArray[np.float64], similarities: FloatArray) -> FloatArray:
        mixed = (1 - self.share) * overlaps + self.share * similarities.astype(np.float64)
        return mixed.astype(np.float32)


def find_neighbourhoods(
    nearest: LabelArray,
    similarities: FloatArray,
    similarities_of_pairs: Callable[[LabelArray], FloatArray],
    sizes: tuple[int, int],
    share: float,
) -> Neighbourhoods:
    """Return the neighbourhoods of all images of a pool.

    An image's neighbourhood has its reciprocal neighbours, which are among its nearest and vice versa, and the closer
    reciprocal neighbours of each of them if more than two thirds of these are already in it. A neighbour's weight falls
    with its distance; each image then takes the mean weights of its nearest. The overlap of two images is the Jaccard
    index of their weights: the sum of the smaller ones over the sum of the larger ones. A pair without common
    neighbours keeps ``share`` of its similarity.

    Neighbourhoods are relative: they tell who is nearest, not how near. With ``k2`` of 2, two images that are each
    other's nearest overlap completely, however far apart. This helps if every lesion has two photographs or more, and
    harms if many have one, and a cut from the first kind of pool does not suit the second.

    Args:
        nearest: ``(n, k)`` rows of the most similar other images of each image, most similar first;
            k is at least :func:`n_nearest`, or all others.
        similarities: ``(n, k)`` float32, similarities to these images.
        similarities_of_pairs: Function that returns ``(m,)`` similarities of ``(m, 2)`` pairs of rows.
        sizes: k1, the number of nearest images, at least 1 (half as many for closer neighbours), about the number of
            images of a lesion; and k2, the number of images whose weights are averaged, including the image itself, at
            least 1.
        share: Weight of the given similarity, in [0, 1]; 1 leaves it unchanged.

    Returns:
        The neighbourhoods. If the last of the k nearest images ties with the next one, all tied images are excluded, so
        that no value depends on the order of images.

    Raises:
        ValueError: If a parameter is out of range.
    """
    k1, k2 = sizes
    if k1 < 1 or k2 < 1 or not 0 <= share <= 1:
        raise ValueError(f"k1={k1}, k2={k2}, weight={share}. Remedy: k1 and k2 of at least 1, a weight from 0 to 1.")
    near = _Nearest(nearest, similarities)
    neighbours = _expanded(_reciprocal(near.marked(k1)), _reciprocal(near.marked((k1 + 1) // 2)))
    rows, columns = neighbours.nonzero()
    alike = similarities_of_pairs(np.column_stack([rows, columns]).astype(np.int64))
    weights = _weights(neighbours, alike, near.kth_similarity(min(k1, len(nearest) - 1)))
    return Neighbourhoods(_averaged(weights, _with_self(near.marked(k2 - 1))), share)


def n_nearest(k1: int, k2: int) -> int:
    """Return the number of nearest images that :func:`find_neighbourhoods` needs, including one more to detect ties."""
    return max(k1, k2 - 1) + 1


@dataclass(frozen=True)
class _Nearest:
    """The nearest other images of each image, most similar first."""

    rows: LabelArray
    similarities: FloatArray

    def kth_similarity(self, k: int) -> FloatArray:
        """Return each image's similarity to its k-th nearest other image, ``(n,)``; -inf if there are fewer."""
        if 0 < k <= self.rows.shape[1]:
            return self.similarities[:, k - 1]
        return np.full(len(self.rows), -np.inf, dtype=np.float32)

    def marked(self, k: int) -> csr_array:
        """Return a matrix with 1 for the k nearest other images of each image, ``(n, n)``, without ties at the end."""
        rows, places = np.nonzero(self.similarities[:, :k] > self.kth_similarity(k + 1)[:, None])
        return _pattern(rows, self.rows[rows, places], len(self.rows))


def _pattern(rows: NDArray[np.integer], columns: NDArray[np.integer], n_images: int) -> csr_array:
    ones = np.ones(len(rows), dtype=np.int32)
    return csr_array(coo_array((ones, (rows, columns)), shape=(n_images, n_images)))


def _with_self(pattern: csr_array) -> csr_array:
    return csr_array(pattern + eye_array(pattern.shape[0], dtype=np.int32))


def _reciprocal(nearest: csr_array) -> csr_array:
    return _with_self(csr_array(nearest.multiply(nearest.T)))


def _expanded(neighbours: csr_array, closer: csr_array) -> csr_array:
    """Return neighbourhoods with the closer neighbours of each neighbour that shares more than two thirds of them."""
    shared = coo_array(neighbours.multiply(neighbours @ closer.T))
    is_joined = 3 * shared.data > 2 * closer.sum(axis=1)[shared.col]
    joined = _pattern(shared.row[is_joined], shared.col[is_joined], neighbours.shape[0])
    return csr_array(neighbours + joined @ closer)


def _weights(neighbours: csr_array, alike: FloatArray, kth: FloatArray) -> csr_array:
    """Return the weight of each neighbour by its distance relative to the k1-th nearest image; each row sums to 1."""
    rows, columns = neighbours.nonzero()
    distances = np.where(rows == columns, 0.0, 1.0 - alike.astype(np.float64))
    reach = np.maximum(1.0 - kth.astype(np.float64), 1.0 / _GRID)
    decayed = _on_grid(np.exp(-_DECAY * distances / reach[rows]))
    totals = np.zeros(neighbours.shape[0])
    np.add.at(totals, rows, decayed)
    return csr_array((_on_grid(decayed / totals[rows]), (rows, columns)), shape=neighbours.shape)


def _averaged(weights: csr_array, nearest: csr_array) -> csr_array:
    """Return for each image the mean weights of the images marked in its row."""
    sums = coo_array(nearest @ weights)
    counts = nearest.sum(axis=1)
    return csr_array((_on_grid(sums.data / counts[sums.row]), (sums.row, sums.col)), shape=weights.shape)


def _on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(values * _GRID) / _GRID
    return rounded


def _shared(own: csr_array, others: csr_array) -> NDArray[np.float64]:
    """Return the weight that images (rows) share with others (columns), visiting only pairs that share some."""
    by_neighbour, entries = others.tocsc(), coo_array(own)
    starts, n_sharing = by_neighbour.indptr[:-1], np.diff(by_neighbour.indptr)
    counts = n_sharing[entries.col]
    entry = np.repeat(np.arange(entries.nnz), counts)
    within = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts)
    theirs = starts[entries.col[entry]] + within
    smaller = np.minimum(entries.data[entry], by_neighbour.data[theirs])
    pair = entries.row[entry].astype(np.int64) * others.shape[0] + by_neighbour.indices[theirs]
    shared = np.bincount(pair, weights=smaller, minlength=own.shape[0] * others.shape[0])
    return shared.astype(np.float64).reshape(own.shape[0], others.shape[0])
