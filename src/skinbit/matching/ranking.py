"""Where the pairs of one lesion rank among all pairs, exactly, without sorting all pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.pairs import BLOCK_VALUES, FloatArray, LabelArray, pair_blocks, positive_similarities, row_blocks

_HEAD_BLOCK_VALUES = 2**16
"""Values compared at once in search of the most similar pairs: 256 kB, within the processor's cache."""


def most_similar_pairs(
    similarities: FloatArray, n_pairs: int, block_values: int = _HEAD_BLOCK_VALUES
) -> tuple[FloatArray, float]:
    """Give the similarities of the most similar pairs of any kind.

    Args:
        similarities: ``(n, n)`` float32, symmetric; only the upper triangle is read.
        n_pairs: How many at most; fewer where the last tie would be cut in two.
        block_values: Values compared at once; changes memory and speed, never a figure.

    Returns:
        Their similarities, descending, and the next similarity below them (-1 where there are no more pairs).
    """
    n_kept = n_pairs + 1  # one more shows where the last tie goes on
    kept, floor = np.empty(0, dtype=np.float32), np.float32(-np.inf)
    for start, stop in row_blocks(len(similarities), block_values):
        block = similarities[start:stop, start:]
        is_near = block >= floor
        is_near[:, : stop - start] &= ~np.tri(stop - start, dtype=bool)  # each pair once, and no image with itself
        kept = np.concatenate([kept, block[is_near]])
        if len(kept) > 2 * n_kept:
            kept = np.partition(kept, len(kept) - n_kept)[-n_kept:]
            floor = kept[0]
    descending = np.sort(kept)[::-1][:n_kept]
    if len(descending) < n_kept:
        return descending, -1.0
    last = descending[-1]
    return descending[: np.searchsorted(-descending, -last, side="left")], float(last)


def nearest_images(similarities: FloatArray, row: int, n_images: int) -> LabelArray:
    """Give the images most similar to one image.

    Args:
        similarities: ``(n, n)`` float32, symmetric.
        row: The image.
        n_images: How many others at most.

    Returns:
        Rows of other images, most similar first, of equally similar ones the first rows.
    """
    order = np.argsort(-similarities[row], kind="stable")
    nearest: LabelArray = order[order != row][:n_images]
    return nearest


@dataclass(frozen=True)
class PairRanking:
    """Where the positive pairs stand among all pairs.

    Attributes:
        positives: Distinct similarities of positive pairs, descending, ``(m,)``.
        n_positives_at: Positive pairs with exactly that similarity, ``(m,)``.
        n_at_least: Pairs of any kind with at least that similarity, ``(m,)``.
        n_above: Pairs of any kind with more than that similarity, ``(m,)``.
        n_pairs: All pairs.
    """

    positives: FloatArray
    n_positives_at: LabelArray
    n_at_least: LabelArray
    n_above: LabelArray
    n_pairs: int

    @property
    def n_positive_pairs(self) -> int:
        """All pairs of one lesion."""
        return int(self.n_positives_at.sum())


def rank_pairs(similarities: FloatArray, labels: LabelArray) -> PairRanking:
    """Rank the positive pairs among all pairs.

    Args:
        similarities: ``(n, n)`` float32, symmetric; only the upper triangle is read.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        The ranking.
    """
    positives, n_positives_at = np.unique(positive_similarities(similarities, labels), return_counts=True)
    n_at_least, n_above = count_pairs(similarities, positives)
    n_pairs = len(labels) * (len(labels) - 1) // 2
    return PairRanking(positives[::-1], n_positives_at[::-1], n_at_least[::-1], n_above[::-1], n_pairs)


def count_pairs(
    similarities: FloatArray, values: FloatArray, block_values: int = BLOCK_VALUES
) -> tuple[LabelArray, LabelArray]:
    """Count the pairs at and above each of a few similarities, exactly, in one pass of bounded memory.

    Args:
        similarities: ``(n, n)`` float32, symmetric; only the upper triangle is read.
        values: ``(m,)`` float32, ascending.
        block_values: Pairs handled at once; changes memory and speed, never a figure.

    Returns:
        Pairs at least as similar as each value, and pairs more similar, ``(m,)`` each.
    """
    counter = PairCounter(values)
    for pairs in pair_blocks(similarities, block_values):
        counter.add(pairs)
    return counter.counts()


class PairCounter:
    """Counts the pairs above each of a few values exactly, without sorting or keeping the pairs.

    A histogram counts pairs per bin. Binning keeps the order (rounding is monotone), so only pairs that share a
    bin with one of the values need a closer look: their places among the values are found by bisection.
    """

    FEWEST_BINS, MOST_BINS = 2**16, 2**22

    def __init__(self, ascending: FloatArray) -> None:
        """Prepare to count.

        Args:
            ascending: ``(m,)`` float32, the values.
        """
        self._values = ascending
        # With many bins per value few pairs share one; beyond 4 million the histogram leaves the cache.
        self._n_bins = int(np.clip(32 * len(ascending), self.FEWEST_BINS, self.MOST_BINS))
        self._low = np.float32(ascending[0] if len(ascending) else 0)
        width = float(ascending[-1] - self._low) if len(ascending) else 1.0
        self._scale = np.float32((self._n_bins - 3) / max(width, 1e-6))
        self._bins = self._bin(ascending)
        self._is_shared = np.zeros(self._n_bins, dtype=bool)
        self._is_shared[self._bins] = True
        self._histogram = np.zeros(self._n_bins, dtype=np.int64)
        self._n_from = np.zeros(len(ascending) + 1, dtype=np.int64)  # pairs with so many values at or below them
        self._n_beyond = np.zeros(len(ascending) + 1, dtype=np.int64)  # pairs with so many values below them

    def _bin(self, values: FloatArray) -> NDArray[np.int32]:
        scaled = values - self._low
        scaled *= self._scale
        scaled += 1  # bin 0 is for what lies below all values, the last one for what lies above
        np.clip(scaled, 0, self._n_bins - 1, out=scaled)
        bins: NDArray[np.int32] = scaled.astype(np.int32)
        return bins

    def add(self, pairs: FloatArray) -> None:
        """Count a block of pairs."""
        if len(self._values) == 0:
            return
        reaching = pairs[pairs >= self._low]  # what lies below all values counts for none
        bins = self._bin(reaching)
        self._histogram += np.bincount(bins, minlength=self._n_bins)
        close = reaching[self._is_shared[bins]]
        n_places = len(self._n_from)
        self._n_from += np.bincount(np.searchsorted(self._values, close, side="right"), minlength=n_places)
        self._n_beyond += np.bincount(np.searchsorted(self._values, close, side="left"), minlength=n_places)

    def counts(self) -> tuple[LabelArray, LabelArray]:
        """Give, for each value, the pairs at least as similar and the pairs more similar."""
        in_plain_bins = np.where(self._is_shared, 0, self._histogram)
        in_higher_bins = (np.cumsum(in_plain_bins[::-1])[::-1])[self._bins]
        at_least, above = (np.cumsum(counts[::-1])[::-1][1:] for counts in (self._n_from, self._n_beyond))
        return in_higher_bins + at_least, in_higher_bins + above
