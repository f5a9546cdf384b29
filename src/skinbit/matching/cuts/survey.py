"""One pass over all pairs of a pool that collects everything its metrics need, without keeping the pairs."""

from dataclasses import dataclass

import numpy as np

from skinbit.matching.clustering.merges import components
from skinbit.matching.clustering.mutual import MutualPairs
from skinbit.matching.curves import pairwise_f1
from skinbit.matching.labels import FloatArray, LabelArray, positive_pairs
from skinbit.matching.pairs.neighbours import NearPairs, NeighbourGraph
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.ranking import PairCounter, PairRanking
from skinbit.matching.pairs.retrieval import chance_of_partner, precision_of_partners
from skinbit.matching.pairs.tiles import Tile, look_at

_FEW_PARTNERS = 8
"""Number of partners above which sorting an image's similarities is faster than comparing them with each partner's."""


@dataclass(frozen=True)
class Survey:
    """The results of one pass over all pairs of images.

    Attributes:
        graph: The near pairs.
        ranking: Ranks of positive pairs among all pairs.
        counted: ``(m,)`` float32, further similarities at which all pairs were counted, ascending.
        n_at_least: ``(m,)``, number of pairs with at least each of these similarities.
        lowest: Smallest similarity of a pair; infinite without pairs.
        recall_at: Recall@k, by k.
        mean_average_precision: Mean average precision over images that have a partner.
        mutual: ``(n,)``, groups of mutual nearest neighbours, numbered in order of appearance.
    """

    graph: NeighbourGraph
    ranking: PairRanking
    counted: FloatArray
    n_at_least: LabelArray
    lowest: float
    recall_at: dict[int, float]
    mean_average_precision: float
    mutual: LabelArray


@dataclass(frozen=True)
class PositivePairs:
    """The positive pairs, of images with the same lesion.

    Attributes:
        pairs: ``(P, 2)`` rows, lower row first.
        similarities: ``(P,)`` float32.
    """

    pairs: LabelArray
    similarities: FloatArray

    def subset(self, rows: LabelArray, n_images: int) -> "PositivePairs":
        """Return the positive pairs among some images.

        Args:
            rows: Rows of these images, ascending.
            n_images: Number of all images.

        Returns:
            The pairs, as positions in ``rows``.
        """
        places = np.full(n_images, -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        inside = places[self.pairs]
        is_inside = (inside >= 0).all(axis=1)
        return PositivePairs(inside[is_inside], self.similarities[is_inside])


def find_positives(pool: Pool, labels: LabelArray) -> PositivePairs:
    """Return the positive pairs with their similarities.

    Args:
        pool: The images.
        labels: ``(n,)``, the lesion of each image.
    """
    pairs = positive_pairs(labels)
    return PositivePairs(pairs, pool.of_pairs(pairs))


def survey_pairs(pool: Pool, positives: PositivePairs, floor: float, counted: FloatArray) -> Survey:
    """Return the results of one pass over all pairs of images.

    Args:
        pool: The images.
        positives: From :func:`find_positives`.
        floor: Pairs with at least this similarity are kept; it rises if there are more than the limit.
        counted: ``(m,)`` float32, ascending: further similarities at which pairs are counted.
    """
    n_images = len(pool)
    values, n_positives_at = np.unique(positives.similarities, return_counts=True)
    asked = np.union1d(values, counted)
    near, counter, lowest = NearPairs(floor, pool.limits.most_pairs), PairCounter(asked), _Lowest()
    ranks, mutual = PartnerRanks(n_images, positives), MutualPairs(n_images)
    look_at(pool, [near, counter, lowest, ranks, mutual])
    n_at_least, n_above = counter.counts()
    own, others = np.searchsorted(asked, values), np.searchsorted(asked, counted)
    ranking = PairRanking(values[::-1], n_positives_at[::-1], n_at_least[own][::-1], n_above[own][::-1], pool.n_pairs)
    return Survey(
        graph=near.graph(n_images),
        ranking=ranking,
        counted=counted,
        n_at_least=n_at_least[others],
        lowest=lowest.similarity,
        recall_at={k: ranks.recall_at(k) for k in (1, 5)},
        mean_average_precision=ranks.mean_average_precision(),
        mutual=components(n_images, mutual.links()[0]),
    )


class _Lowest:
    """Finds the smallest similarity of a pair; infinite without pairs."""

    def __init__(self) -> None:
        self.similarity = float("inf")

    def add(self, tile: Tile) -> None:
        """Look at the pairs of a tile."""
        alike = tile.similarities
        shown = alike if not tile.is_diagonal else np.where(np.isneginf(alike), np.inf, alike)
        self.similarity = min(self.similarity, float(shown.min(initial=np.inf)))


class PartnerRanks:
    """Counts, for every image and each of its partners, the images that are at least as similar as that partner."""

    def __init__(self, n_images: int, positives: PositivePairs, few: int = _FEW_PARTNERS) -> None:
        """Set the positive pairs.

        Args:
            n_images: Number of images.
            positives: All positive pairs.
            few: Up to this number, partners are compared one by one; for images with more, similarities are sorted.
        """
        self._few = few
        rows = np.concatenate([positives.pairs[:, 0], positives.pairs[:, 1]])
        partners = np.tile(positives.similarities, 2)
        order = np.lexsort((partners, rows))
        self._partners = partners[order]  # sorted by image, ascending
        self._n_partners = np.bincount(rows, minlength=n_images)
        self._starts = np.append(0, np.cumsum(self._n_partners))
        self._n_at_least = np.zeros(len(partners), dtype=np.int64)
        self._n_nearer = np.zeros(n_images, dtype=np.int64)  # number of images nearer than the nearest partner

    def add(self, tile: Tile) -> None:
        """Count the similarities of a tile, for the images of its rows and of its columns."""
        for first_row, _, similarities in tile.sides():
            self._count(first_row, similarities)

    def _count(self, first_row: int, similarities: FloatArray) -> None:
        n_partners = self._n_partners[first_row : first_row + len(similarities)]
        starts = self._starts[first_row : first_row + len(similarities)]
        with_few = np.flatnonzero((n_partners > 0) & (n_partners <= self._few))
        for place in range(int(n_partners[with_few].max(initial=0))):
            rows = with_few[n_partners[with_few] > place]
            asked = starts[rows] + n_partners[rows] - 1 - place
            self._n_at_least[asked] += _count(similarities[rows] >= self._partners[asked, None])
        best = starts[with_few] + n_partners[with_few] - 1
        self._n_nearer[first_row + with_few] += _count(similarities[with_few] > self._partners[best, None])
        for row in np.flatnonzero(n_partners > self._few).tolist():
            ranked = np.sort(similarities[row])
            own = slice(starts[row], starts[row] + n_partners[row])
            self._n_at_least[own] += len(ranked) - np.searchsorted(ranked, self._partners[own])
            most_similar = self._partners[own.stop - 1]
            self._n_nearer[first_row + row] += len(ranked) - np.searchsorted(ranked, most_similar, side="right")

    def recall_at(self, k: int) -> float:
        """Return the share of images with an image of the same lesion among their k nearest images.

        Args:
            k: Number of nearest images, at least 1; all others if there are fewer.

        Returns:
            Recall@k in [0, 1] over images that have a partner. If only some of several equally similar images are among
            the k, an image counts with the probability that one of them shows its lesion, in random order. NaN if no
            image has a partner.

        Raises:
            ValueError: If ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"recall at {k}: k must be at least 1")
        with_partner = np.flatnonzero(self._n_partners)
        if len(with_partner) == 0:
            return float("nan")
        best = self._starts[with_partner + 1] - 1
        is_best = self._partners == np.repeat(self._partners[best], self._n_partners[with_partner])
        n_best = np.add.reduceat(is_best.astype(np.int64), self._starts[with_partner])
        n_nearer = self._n_nearer[with_partner]
        return float(chance_of_partner(n_nearer, self._n_at_least[best] - n_nearer, n_best, k).mean())

    def mean_average_precision(self) -> float:
        """Return the mean average precision over images.

        Returns:
            Mean average precision over images that have a partner, in (0, 1]; equally similar images enter together.
            NaN if no image has a partner.
        """
        with_partner = np.flatnonzero(self._n_partners)
        if len(with_partner) == 0:
            return float("nan")
        own = [slice(self._starts[row], self._starts[row + 1]) for row in with_partner.tolist()]
        return float(np.mean([precision_of_partners(self._partners[one], self._n_at_least[one]) for one in own]))


def best_f1_and_recall(pool: Pool, labels: LabelArray) -> tuple[float, float]:
    """Return pairwise F1 at the best threshold, and recall@1.

    The best threshold is one at which a positive pair enters, as between these only false positives are added.

    Args:
        pool: The images.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        Both, in [0, 1]; NaN without a positive pair.
    """
    positives = find_positives(pool, labels)
    if len(positives.pairs) == 0:
        return float("nan"), float("nan")
    values, n_positives_at = np.unique(positives.similarities, return_counts=True)
    counter, ranks = PairCounter(values), PartnerRanks(len(pool), positives)
    look_at(pool, [counter, ranks])
    tp = np.cumsum(n_positives_at[::-1])
    f1 = pairwise_f1(tp, counter.counts()[0][::-1] - tp, len(positives.pairs))
    return float(f1.max()), ranks.recall_at(1)


def _count(is_counted: np.ndarray) -> LabelArray:
    # NumPy counts row by row with vector instructions, but not along an axis.
    return np.array([np.count_nonzero(row) for row in is_counted], dtype=np.int64)
