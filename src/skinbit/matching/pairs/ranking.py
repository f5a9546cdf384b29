"""The ranks of positive pairs among all pairs, exactly, without sorting all pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray, LabelArray, ascending_bits, from_ascending_bits
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import Tile, look_at


@dataclass(frozen=True)
class PairRanking:
    """The ranks of positive pairs among all pairs.

    Attributes:
        positives: ``(m,)``, distinct similarities of positive pairs, descending.
        n_positives_at: ``(m,)``, number of positive pairs with exactly this similarity.
        n_at_least: ``(m,)``, number of all pairs with at least this similarity.
        n_above: ``(m,)``, number of all pairs with more than this similarity.
        n_pairs: Number of all pairs.
    """

    positives: FloatArray
    n_positives_at: LabelArray
    n_at_least: LabelArray
    n_above: LabelArray
    n_pairs: int

    @property
    def n_positive_pairs(self) -> int:
        """Number of positive pairs."""
        return int(self.n_positives_at.sum())


class PairCounter:
    """Counts the pairs above given values exactly, without sorting or keeping pairs.

    A histogram counts pairs per bin. Binning preserves the order (rounding is monotone), so only pairs in a bin with
    one of the values need a closer look: their places among the values are found by bisection.
    """

    def __init__(self, ascending: FloatArray, bins: tuple[int, int] = (2**16, 2**22)) -> None:
        """Set the values.

        Args:
            ascending: ``(m,)`` float32, values.
            bins: Smallest and largest number of bins; beyond 4 million, the histogram leaves the cache.
        """
        self._values = ascending
        # With many bins per value, few pairs share a bin with one.
        self._n_bins = int(np.clip(32 * len(ascending), *bins))
        self._low = np.float32(ascending[0] if len(ascending) else 0)
        width = float(ascending[-1] - self._low) if len(ascending) else 1.0
        self._scale = np.float32((self._n_bins - 3) / max(width, 1e-6))
        self._bins = self._bin(ascending)
        self._is_shared = np.zeros(self._n_bins, dtype=bool)
        self._is_shared[self._bins] = True
        self._histogram = np.zeros(self._n_bins, dtype=np.int64)
        self._n_from = np.zeros(len(ascending) + 1, dtype=np.int64)  # pairs by the number of values at or below them
        self._n_beyond = np.zeros(len(ascending) + 1, dtype=np.int64)  # pairs by the number of values below them

    def _bin(self, values: FloatArray) -> NDArray[np.int32]:
        scaled = values - self._low
        scaled *= self._scale
        scaled += 1  # bin 0 is for pairs below all values, the last bin for pairs above all
        np.clip(scaled, 0, self._n_bins - 1, out=scaled)
        bins: NDArray[np.int32] = scaled.astype(np.int32)
        return bins

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        if len(self._values):
            self._count(tile.pairs())

    def _count(self, pairs: FloatArray) -> None:
        reaching = pairs[pairs >= self._low]  # pairs below all values do not count
        bins = self._bin(reaching)
        self._histogram += np.bincount(bins, minlength=self._n_bins)
        close = reaching[self._is_shared[bins]]
        n_places = len(self._n_from)
        self._n_from += np.bincount(np.searchsorted(self._values, close, side="right"), minlength=n_places)
        self._n_beyond += np.bincount(np.searchsorted(self._values, close, side="left"), minlength=n_places)

    def counts(self) -> tuple[LabelArray, LabelArray]:
        """Return for each value the number of pairs at least as similar, and of more similar pairs."""
        in_plain_bins = np.where(self._is_shared, 0, self._histogram)
        in_higher_bins = (np.cumsum(in_plain_bins[::-1])[::-1])[self._bins]
        at_least, above = (np.cumsum(counts[::-1])[::-1][1:] for counts in (self._n_from, self._n_beyond))
        return in_higher_bins + at_least, in_higher_bins + above


def quantile_of_pairs(pool: Pool, share: float, labels: LabelArray) -> float | None:
    """Return a quantile of the similarities of all pairs of two lesions, exactly, in bounded memory.

    This takes two passes over all pairs. Similarities are mapped to 32-bit integers of the same order; counts of the
    upper 16 bits select the interval of the quantile, and counts of the lower 16 bits in this interval find its value.

    Args:
        pool: The images.
        share: Share of the pairs that are less similar, in [0, 1]; interpolated linearly between pairs.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        The similarity; None if there is no pair of two lesions.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    n_pairs = pool.n_pairs - int((sizes * (sizes - 1) // 2).sum())
    if n_pairs == 0:
        return None
    rank = share * (n_pairs - 1)
    below = int(rank)
    ranks = np.array([below, min(below + 1, n_pairs - 1)])
    upper = _HalfCounter(labels, None)
    look_at(pool, [upper], "similarities of two lesions")
    halves, ranks = _places_of(upper.counts, ranks)
    lower = {half: _HalfCounter(labels, half) for half in set(halves.tolist())}
    look_at(pool, lower.values(), "similarities of two lesions")
    found = [
        _places_of(lower[half].counts, np.array([rank]))[0][0]
        for half, rank in zip(halves.tolist(), ranks, strict=True)
    ]
    singles = from_ascending_bits(np.array(halves, dtype=np.uint32) << np.uint32(16) | np.array(found, dtype=np.uint32))
    low, high = float(singles[0]), float(singles[1])
    return low + (high - low) * (rank - below)


def _places_of(counts: LabelArray, ranks: LabelArray) -> tuple[LabelArray, LabelArray]:
    """Return the bins of given ranks, and the ranks within these bins."""
    ends = np.cumsum(counts)
    bins = np.searchsorted(ends, ranks, side="right")
    return bins, ranks - (ends - counts)[bins]


class _HalfCounter:
    """Counts pairs of two lesions by the upper 16 bits of their similarity, or the lower 16 of one upper value."""

    def __init__(self, labels: LabelArray, upper: int | None) -> None:
        self.counts = np.zeros(2**16, dtype=np.int64)
        self._labels, self._upper = labels, upper

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        is_foreign = self._labels[tile.rows, None] != self._labels[tile.columns]
        numbers = ascending_bits(tile.pairs_where(is_foreign)[1])
        if self._upper is None:
            halves = numbers >> np.uint32(16)
        else:
            halves = numbers[numbers >> np.uint32(16) == self._upper] & np.uint32(2**16 - 1)
        self.counts += np.bincount(halves, minlength=2**16)
