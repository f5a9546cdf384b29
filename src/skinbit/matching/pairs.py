"""Similarities of all pairs, and how the pairs of one lesion rank among all others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int64]

_GRID = 2.0**22
"""Embeddings live on multiples of 2⁻²²: their products then have at most 44 fractional bits, so sums over any
dimension are exact in float64, whatever the order. That is what makes similarities independent of block size."""

BLOCK_VALUES = 2**20
"""Pairs handled at once: 4 MB of float32, near the processor's cache."""

_TOP_PAIRS_PER_POSITIVE = 10
_TOP_PAIRS_AT_LEAST = 1_000


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
    order = np.argsort(labels, kind="stable")
    found = [np.empty(0, dtype=np.float32)]
    # Images of one lesion stand side by side: pair each with its next, its next but one, … while any is left.
    for step in range(1, len(labels)):
        same = labels[order[:-step]] == labels[order[step:]]
        if not same.any():
            break
        found.append(similarities[order[:-step][same], order[step:][same]])
    return np.concatenate(found)


@dataclass(frozen=True)
class PairRanking:
    """Where the positive pairs stand among all pairs, and the most similar pairs one by one.

    Attributes:
        positives: Distinct similarities of positive pairs, descending, ``(m,)``.
        n_positives_at: Positive pairs with exactly that similarity, ``(m,)``.
        n_at_least: Pairs of any kind with at least that similarity, ``(m,)``.
        n_above: Pairs of any kind with more than that similarity, ``(m,)``.
        top: The most similar pairs of any kind, descending; complete: no tie is cut in two.
        below_top: The largest similarity below ``top``, -1 where ``top`` holds all pairs.
        n_pairs: All pairs.
    """

    positives: FloatArray
    n_positives_at: LabelArray
    n_at_least: LabelArray
    n_above: LabelArray
    top: FloatArray
    below_top: float
    n_pairs: int

    @property
    def n_positive_pairs(self) -> int:
        """All pairs of one lesion."""
        return int(self.n_positives_at.sum())


def rank_pairs(similarities: FloatArray, labels: LabelArray, block_values: int = BLOCK_VALUES) -> PairRanking:
    """Rank the positive pairs among all pairs, exactly, in one pass of bounded memory.

    Args:
        similarities: ``(n, n)`` float32, symmetric; only the upper triangle is read.
        labels: ``(n,)``, the lesion of each image.
        block_values: Pairs handled at once; changes memory and speed, never a figure.

    Returns:
        The ranking; ``top`` holds at least 10 pairs per positive one (and 1,000) where there are so many: beyond
        them pairwise F1 is below 0.19.
    """
    positives, n_positives_at = np.unique(positive_similarities(similarities, labels), return_counts=True)
    counter = _PairCounter(positives)
    top = _TopPairs(max(_TOP_PAIRS_AT_LEAST, _TOP_PAIRS_PER_POSITIVE * int(n_positives_at.sum())))
    for values in pair_blocks(similarities, block_values):
        counter.add(values)
        top.add(values)
    n_at_least, n_above = counter.counts()
    whole, below_top = top.whole_ties()
    return PairRanking(
        positives=positives[::-1],
        n_positives_at=n_positives_at[::-1],
        n_at_least=n_at_least[::-1],
        n_above=n_above[::-1],
        top=whole,
        below_top=below_top,
        n_pairs=len(labels) * (len(labels) - 1) // 2,
    )


def pair_blocks(similarities: FloatArray, block_values: int = BLOCK_VALUES) -> Iterator[FloatArray]:
    """Yield the similarities of all unordered pairs, row by row, in flat blocks of about ``block_values``."""
    n_images = len(similarities)
    for start, stop in row_blocks(n_images, block_values):
        yield np.concatenate([similarities[row, row + 1 :] for row in range(start, stop)])


class _PairCounter:
    """Counts the pairs above each of a few values exactly, without sorting the pairs.

    A histogram counts pairs per bin. Binning keeps the order (rounding is monotone), so only pairs that share a
    bin with one of the values need a closer look: they are kept and sorted.
    """

    N_BINS = 2**16

    def __init__(self, ascending: FloatArray) -> None:
        self._values = ascending
        self._low = np.float32(ascending[0] if len(ascending) else 0)
        width = float(ascending[-1] - self._low) if len(ascending) else 1.0
        self._scale = np.float32((self.N_BINS - 3) / max(width, 1e-6))
        self._bins = self._bin(ascending)
        self._is_shared = np.zeros(self.N_BINS, dtype=bool)
        self._is_shared[self._bins] = True
        self._histogram = np.zeros(self.N_BINS, dtype=np.int64)
        self._kept: list[FloatArray] = []

    def _bin(self, values: FloatArray) -> NDArray[np.int32]:
        scaled = values - self._low
        scaled *= self._scale
        scaled += 1  # bin 0 is for what lies below all values, the last one for what lies above
        np.clip(scaled, 0, self.N_BINS - 1, out=scaled)
        bins: NDArray[np.int32] = scaled.astype(np.int32)
        return bins

    def add(self, pairs: FloatArray) -> None:
        """Count a block of pairs."""
        bins = self._bin(pairs)
        self._histogram += np.bincount(bins, minlength=self.N_BINS)
        self._kept.append(pairs[self._is_shared[bins]])

    def counts(self) -> tuple[LabelArray, LabelArray]:
        """Give, for each value, the pairs at least as similar and the pairs more similar."""
        kept = np.sort(np.concatenate([np.empty(0, np.float32), *self._kept]))
        end_of_bin = np.searchsorted(self._bin(kept), self._bins, side="right")
        in_higher_bins = (np.cumsum(self._histogram[::-1])[::-1] - self._histogram)[self._bins]
        at_least = end_of_bin - np.searchsorted(kept, self._values, side="left")
        above = end_of_bin - np.searchsorted(kept, self._values, side="right")
        return in_higher_bins + at_least, in_higher_bins + above


class _TopPairs:
    """Keeps the most similar pairs of a stream."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept + 1  # one more shows whether the last tie is complete
        self._kept = np.empty(0, dtype=np.float32)
        self._floor = np.float32(-np.inf)

    def add(self, pairs: FloatArray) -> None:
        """Take in a block of pairs."""
        self._kept = np.concatenate([self._kept, pairs[pairs >= self._floor]])
        if len(self._kept) > 2 * self._n_kept:
            self._cut()

    def _cut(self) -> None:
        first = len(self._kept) - self._n_kept
        self._kept = np.partition(self._kept, first)[first:]
        self._floor = self._kept[0]

    def whole_ties(self) -> tuple[FloatArray, float]:
        """Give the kept pairs, descending, and the next similarity below them (-1 where none is below)."""
        if len(self._kept) < self._n_kept:
            return np.sort(self._kept)[::-1], -1.0
        self._cut()
        # The last tie may go on below what was kept: it is dropped, and is itself the next similarity.
        return np.sort(self._kept[self._kept > self._floor])[::-1], float(self._floor)
