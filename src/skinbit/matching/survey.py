"""One look at all pairs of a large pool: what its figures need of them, without holding them."""

from dataclasses import dataclass

import numpy as np

from skinbit.matching.blocks import BLOCK_BYTES, Images, Tile, similarities_of_pairs, similarity_tiles
from skinbit.matching.clustering import components
from skinbit.matching.metrics import chance_of_partner, precision_of_partners
from skinbit.matching.neighbours import MOST_PAIRS, NearPairs, NeighbourGraph
from skinbit.matching.pairs import FloatArray, LabelArray, positive_pairs
from skinbit.matching.ranking import PairCounter, PairRanking
from skinbit.matching.selection import pairwise_f1

_FEW_PARTNERS = 8
"""An image with more partners has its similarities sorted: comparing them with each partner's would take longer."""


@dataclass(frozen=True)
class Survey:
    """What a look at all pairs of images gives.

    Attributes:
        graph: The near pairs.
        ranking: Where positive pairs stand among all pairs.
        counted: Similarities at which pairs were counted beside, ``(m,)`` float32, ascending.
        n_at_least: Pairs of any kind with at least each of them, ``(m,)``.
        recall_at: Recall@k, by k.
        mean_average_precision: Over images that have a partner.
        mutual: ``(n,)`` groups of mutual nearest neighbours, as :func:`skinbit.matching.linkage.mutual_groups` numbers
            them.
    """

    graph: NeighbourGraph
    ranking: PairRanking
    counted: FloatArray
    n_at_least: LabelArray
    recall_at: dict[int, float]
    mean_average_precision: float
    mutual: LabelArray


@dataclass(frozen=True)
class PositivePairs:
    """The pairs of one lesion.

    Attributes:
        pairs: ``(P, 2)`` rows, the lower one first.
        similarities: ``(P,)`` float32.
    """

    pairs: LabelArray
    similarities: FloatArray


def find_positives(images: Images, labels: LabelArray) -> PositivePairs:
    """Compare the images of each lesion.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        All positive pairs.
    """
    pairs = positive_pairs(labels)
    return PositivePairs(pairs, similarities_of_pairs(images, pairs))


def survey_pairs(
    images: Images,
    positives: PositivePairs,
    floor: float,
    counted: FloatArray,
    block_bytes: int = BLOCK_BYTES,
    most_pairs: int = MOST_PAIRS,
) -> Survey:
    """Look at every pair of images once.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        positives: From :func:`find_positives`.
        floor: Pairs with at least this similarity are kept.
        counted: ``(m,)`` float32, ascending: at these, too, pairs are counted.
        block_bytes: Memory for similarities at any moment; changes speed, never a figure.
        most_pairs: How many pairs are kept at most; where more are so near, the floor rises.

    Returns:
        What was seen.
    """
    n_images = len(images)
    values, n_positives_at = np.unique(positives.similarities, return_counts=True)
    asked = np.union1d(values, counted)
    near, counter = NearPairs(floor, most_pairs), PairCounter(asked)
    ranks, mutual = PartnerRanks(n_images, positives), MutualPairs(n_images)
    for tile in similarity_tiles(images, block_bytes, "pairs"):
        near.add(tile)
        counter.add(tile.pairs())
        mutual.add(tile)
        ranks.add_tile(tile)
    n_at_least, n_above = counter.counts()
    own, others = np.searchsorted(asked, values), np.searchsorted(asked, counted)
    n_pairs = n_images * (n_images - 1) // 2
    ranking = PairRanking(values[::-1], n_positives_at[::-1], n_at_least[own][::-1], n_above[own][::-1], n_pairs)
    return Survey(
        graph=near.graph(n_images),
        ranking=ranking,
        counted=counted,
        n_at_least=n_at_least[others],
        recall_at={k: ranks.recall_at(k) for k in (1, 5)},
        mean_average_precision=ranks.mean_average_precision(),
        mutual=components(n_images, mutual.pairs()),
    )


class PartnerRanks:
    """Counts, for every image and each of its partners, the images that are at least as similar as that partner."""

    def __init__(self, n_images: int, positives: PositivePairs) -> None:
        """Prepare to count.

        Args:
            n_images: Number of images.
            positives: All positive pairs.
        """
        rows = np.concatenate([positives.pairs[:, 0], positives.pairs[:, 1]])
        partners = np.tile(positives.similarities, 2)
        order = np.lexsort((partners, rows))
        self._partners = partners[order]  # of one image after the other, ascending
        self._n_partners = np.bincount(rows, minlength=n_images)
        self._starts = np.append(0, np.cumsum(self._n_partners))
        self._n_at_least = np.zeros(len(partners), dtype=np.int64)
        self._n_nearer = np.zeros(n_images, dtype=np.int64)  # than the most similar partner

    def add_tile(self, tile: Tile) -> None:
        """Count the similarities of a tile, for the images of its rows and of its columns."""
        self.add(tile.first_row, tile.similarities)
        if not tile.is_diagonal:
            self.add(tile.first_column, np.ascontiguousarray(tile.similarities.T))

    def add(self, first_row: int, similarities: FloatArray) -> None:
        """Count some similarities of some images.

        Args:
            first_row: Of the images, which stand in a row.
            similarities: ``(height, width)``, no other image twice; -inf where there is none.
        """
        n_partners = self._n_partners[first_row : first_row + len(similarities)]
        starts = self._starts[first_row : first_row + len(similarities)]
        with_few = np.flatnonzero((n_partners > 0) & (n_partners <= _FEW_PARTNERS))
        for place in range(int(n_partners[with_few].max(initial=0))):
            rows = with_few[n_partners[with_few] > place]
            asked = starts[rows] + n_partners[rows] - 1 - place
            self._n_at_least[asked] += _count(similarities[rows] >= self._partners[asked, None])
        best = starts[with_few] + n_partners[with_few] - 1
        self._n_nearer[first_row + with_few] += _count(similarities[with_few] > self._partners[best, None])
        for row in np.flatnonzero(n_partners > _FEW_PARTNERS).tolist():
            ranked = np.sort(similarities[row])
            own = slice(starts[row], starts[row] + n_partners[row])
            self._n_at_least[own] += len(ranked) - np.searchsorted(ranked, self._partners[own])
            most_similar = self._partners[own.stop - 1]
            self._n_nearer[first_row + row] += len(ranked) - np.searchsorted(ranked, most_similar, side="right")

    def recall_at(self, k: int) -> float:
        """Give what :func:`skinbit.matching.metrics.recall_at` gives."""
        with_partner = np.flatnonzero(self._n_partners)
        if len(with_partner) == 0:
            return float("nan")
        best = self._starts[with_partner + 1] - 1
        is_best = self._partners == np.repeat(self._partners[best], self._n_partners[with_partner])
        n_best = np.add.reduceat(is_best.astype(np.int64), self._starts[with_partner])
        n_nearer = self._n_nearer[with_partner]
        return float(chance_of_partner(n_nearer, self._n_at_least[best] - n_nearer, n_best, k).mean())

    def mean_average_precision(self) -> float:
        """Give what :func:`skinbit.matching.metrics.mean_average_precision` gives."""
        with_partner = np.flatnonzero(self._n_partners)
        if len(with_partner) == 0:
            return float("nan")
        own = [slice(self._starts[row], self._starts[row + 1]) for row in with_partner.tolist()]
        return float(np.mean([precision_of_partners(self._partners[one], self._n_at_least[one]) for one in own]))


def recall_in_tiles(images: Images, labels: LabelArray, k: int, block_bytes: int = BLOCK_BYTES) -> float:
    """Do as :func:`skinbit.matching.metrics.recall_at` without ever holding all pairs.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        labels: ``(n,)``, the lesion of each image.
        k: At least 1.
        block_bytes: Memory for similarities at any moment; changes speed, never the figure.

    Returns:
        Recall@k.
    """
    ranks = PartnerRanks(len(images), find_positives(images, labels))
    for tile in similarity_tiles(images, block_bytes, "nearest images"):
        ranks.add_tile(tile)
    return ranks.recall_at(k)


def best_f1_and_recall(images: Images, labels: LabelArray, block_bytes: int = BLOCK_BYTES) -> tuple[float, float]:
    """Give F1 at the best of all thresholds, and recall@1, without ever holding all pairs.

    The best threshold is one at which a positive pair enters: between these only false positives are added.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        labels: ``(n,)``, the lesion of each image.
        block_bytes: Memory for similarities at any moment; changes speed, never a figure.

    Returns:
        Both, in [0, 1]; NaN without a positive pair.
    """
    nothing = np.empty(0, dtype=np.float32)
    seen = survey_pairs(images, find_positives(images, labels), 1.0, nothing, block_bytes)
    if seen.ranking.n_positive_pairs == 0:
        return float("nan"), float("nan")
    tp = np.cumsum(seen.ranking.n_positives_at)
    f1 = pairwise_f1(tp, seen.ranking.n_at_least - tp, seen.ranking.n_positive_pairs)
    return float(f1.max()), seen.recall_at[1]


def _count(is_counted: np.ndarray) -> LabelArray:
    # Row by row NumPy counts with vector instructions, along an axis it does not.
    return np.array([np.count_nonzero(row) for row in is_counted], dtype=np.int64)


class MutualPairs:
    """Collects the pairs in which either image is the other's most similar one.

    A pair that is so in the end is so among the tiles up to its own, too: only such pairs are kept, and fewer and fewer
    enter.
    """

    _MANY = 2**20

    def __init__(self, n_images: int) -> None:
        """Prepare to collect.

        Args:
            n_images: Number of images.
        """
        self._highest = np.full(n_images, -np.inf, dtype=np.float32)
        self._kept = [(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32))]
        self._n_kept = 0
        self._n_to_tidy = self._MANY

    def add(self, tile: Tile) -> None:
        """Take the pairs of a tile that are mutual so far."""
        alike = tile.similarities
        rows = slice(tile.first_row, tile.first_row + alike.shape[0])
        columns = slice(tile.first_column, tile.first_column + alike.shape[1])
        self._highest[rows] = np.maximum(self._highest[rows], alike.max(axis=1, initial=-np.inf))
        self._highest[columns] = np.maximum(self._highest[columns], alike.max(axis=0, initial=-np.inf))
        is_mutual = (alike == self._highest[rows, None]) & (alike == self._highest[None, columns])
        if tile.is_diagonal:
            is_mutual = np.triu(is_mutual, 1)
        first, second = np.nonzero(is_mutual)
        self._kept.append((np.column_stack([first + tile.first_row, second + tile.first_column]), alike[first, second]))
        self._n_kept += len(first)
        if self._n_kept > self._n_to_tidy:
            self._tidy()

    def _tidy(self) -> None:
        pairs, alike = (np.concatenate(part) for part in zip(*self._kept, strict=True))
        is_kept = (alike == self._highest[pairs[:, 0]]) & (alike == self._highest[pairs[:, 1]])
        self._kept = [(pairs[is_kept], alike[is_kept])]
        self._n_kept = int(is_kept.sum())
        self._n_to_tidy = max(self._MANY, 2 * self._n_kept)

    def pairs(self) -> LabelArray:
        """Give the pairs that are mutual among all tiles, in no particular order."""
        self._tidy()
        return self._kept[0][0]
