"""Where the pairs of one lesion rank among all pairs, exactly, without sorting all pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.pairs import BLOCK_VALUES, FloatArray, LabelArray, pair_blocks, positive_similarities

_TOP_PAIRS_PER_POSITIVE = 10
_TOP_PAIRS_AT_LEAST = 1_000


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
