"""The cut of every method with the highest F1, found from as few pairs as prove that no other cut is better."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from skinbit.config import CutParams
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.clustering.forests import LINKAGES, linkage_forest, spanning_forest
from skinbit.matching.clustering.merges import MergeTree, clusters_at, select_cut, sweep_merges
from skinbit.matching.curves import UNDEFINED, Choice, Sweep
from skinbit.matching.cuts.survey import PositivePairs
from skinbit.matching.cuts.thresholds import DEFAULT_HEAD, HeadSize, sweep_most_similar
from skinbit.matching.labels import LabelArray
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.neighbours import NeighbourGraph, NotHeldError, estimate_floor, neighbours_above
from skinbit.matching.pairs.pool import Pool

logger = logging.getLogger(__name__)

ALWAYS = 0.0
"""Cut of a method that needs none: its pairs are joined at every distance."""

_FIRST_PER_IMAGE = 80

_ALMOST_ALL = 0.9
"""Share of the largest number of pairs that is requested, as the estimate of a floor may be off."""

_BELOW_CUT = 1e-11
"""Gap between a graph's floor and its :attr:`~skinbit.matching.pairs.neighbours.NeighbourGraph.reach`."""


def first_floor(pool: Pool, n_positive_pairs: int = 0) -> float:
    """Return the similarity above which pairs are collected first.

    Args:
        pool: The images.
        n_positive_pairs: Number of positive pairs that should be among the near pairs.

    Returns:
        A similarity; -1 if all pairs can be held.
    """
    wanted = max(pool.limits.first_pairs, _FIRST_PER_IMAGE * max(len(pool), n_positive_pairs))
    return estimate_floor(pool, min(wanted, int(_ALMOST_ALL * pool.limits.most_pairs)))


class Vicinity:
    """The near pairs of a pool, extended on demand up to the pool's limit."""

    def __init__(self, pool: Pool, graph: NeighbourGraph) -> None:
        """Start with a first part of the near pairs."""
        self.pool, self.graph = pool, graph
        self._is_widest = False

    def widen(self) -> bool:
        """Collect more near pairs; return whether there are more than before."""
        if self._is_widest or self.graph.is_complete:
            return False
        self._is_widest = True
        n_wanted = self.pool.limits.most_pairs
        floor = estimate_floor(self.pool, n_wanted if self.pool.n_pairs <= n_wanted else int(_ALMOST_ALL * n_wanted))
        wider = neighbours_above(self.pool, floor) if floor < self.graph.floor else self.graph
        is_wider = wider.floor < self.graph.floor
        self.graph = wider if is_wider else self.graph
        return is_wider

    def reach(self, cuts: Mapping[str, float]) -> dict[str, float]:
        """Collect all pairs that cuts need, up to the limit, and return the cuts that can be evaluated.

        Args:
            cuts: Cuts by method, thresholds for ``cosine``, otherwise distances; NaN needs no pair.

        Returns:
            The same cuts; one that needs too many pairs is replaced by the loosest possible one.
        """
        floors = {method: floor_of(method, cut) for method, cut in cuts.items() if not np.isnan(cut)}
        if floors and min(floors.values()) < self.graph.floor:
            wider = neighbours_above(self.pool, min(floors.values()))
            self.graph = wider if wider.floor < self.graph.floor else self.graph
        return {method: self._within(method, cut, floors.get(method, 1.0)) for method, cut in cuts.items()}

    def _within(self, method: str, cut: float, floor: float) -> float:
        if floor >= self.graph.floor or np.isnan(cut):
            return cut
        held = self.graph.floor if method == "cosine" else max(0.0, self.graph.reach)
        logger.warning(
            "%s among %d images: %d near pairs do not reach the cut %.4f, so metrics are those at %.4f; "
            "memory.max_pairs is %d",
            method,
            len(self.pool),
            len(self.graph.pairs),
            cut,
            held,
            self.pool.limits.most_pairs,
        )
        return held


def similarity_of(method: str, cut: float) -> float:
    """Return a cut as a similarity, for any method."""
    return cut if method == "cosine" else 1.0 - cut


def floor_of(method: str, cut: float) -> float:
    """Return a similarity above which all pairs up to a cut lie, and hardly any others.

    Args:
        method: A method with a cut.
        cut: A threshold for ``cosine``, otherwise a distance; NaN: nothing is joined.

    Returns:
        The similarity, in [-1, 1].
    """
    if np.isnan(cut):
        return 1.0
    return max(-1.0, float(np.nextafter(np.float32(similarity_of(method, cut) - _BELOW_CUT), np.float32(-np.inf))))


def merge_tree(
    method: str,
    graph: NeighbourGraph,
    pool: Pool,
    max_group_size: int | None,
    constraints: Constraints | None = None,
) -> MergeTree:
    """Return all merges of a method, as far as near pairs reach.

    Args:
        method: ``dbscan``, ``average`` or ``complete``; ``cosine`` groups as ``dbscan`` does.
        graph: All near pairs of the pool.
        pool: The images.
        max_group_size: Average and complete linkage make no larger groups; None: of any size.
        constraints: What is known of the images; None: nothing.
    """
    if method in LINKAGES:
        return linkage_forest(graph, pool, max_group_size, LINKAGES[method], constraints)
    return spanning_forest(graph, constraints)


@dataclass(frozen=True)
class BestCut:
    """The best cut of a grouping method, as far as near pairs determine it.

    Attributes:
        tree: Merges up to the reach.
        sweep: Curve up to the reach.
        choice: Best cut within the reach and the searched range.
        reach: Distance up to which near pairs determine the groups.
        is_certain: Whether no cut beyond the reach is better.
        is_whole: Whether the curve covers the whole searched range.
    """

    tree: MergeTree
    sweep: Sweep
    choice: Choice
    reach: float
    is_certain: bool
    is_whole: bool


def search_cut(
    method: str, vicinity: Vicinity, labels: LabelArray, positives: PositivePairs, params: CutParams
) -> BestCut:
    """Return the best cut of a method among near pairs.

    Args:
        method: ``dbscan``, ``average`` or ``complete``.
        vicinity: The images and their near pairs.
        labels: ``(n,)``, the lesion of each image.
        positives: All positive pairs.
        params: Searched range and largest group.

    Returns:
        The cut, and whether it is certainly the best of all.
    """
    graph = vicinity.graph
    tree = merge_tree(method, graph, vicinity.pool, params.max_group_size)
    sweep = sweep_merges(tree, labels, method)
    ends = np.append(sweep.cuts[1:], [graph.reach][: len(sweep.cuts)])
    sweep = replace(sweep, reported=(sweep.cuts + ends) / 2)
    reach = max(0.0, graph.reach)  # below 0 if only equal images are held: nothing is joined
    low, high = params.eps_range
    choice = select_cut(sweep, low, min(high, reach)) if low <= reach else UNDEFINED
    is_whole = graph.is_complete or high <= graph.reach
    found = BestCut(tree, sweep, choice, graph.reach, is_whole, is_whole)
    return found if is_whole else replace(found, is_certain=_is_certain(found, positives, params))


def search_threshold(graph: NeighbourGraph, positives: PositivePairs, size: HeadSize = DEFAULT_HEAD) -> Sweep | None:
    """Return the part of the curve over thresholds with its maximum; None if that needs pairs that are not held."""
    n_pairs = graph.n_images * (graph.n_images - 1) // 2
    try:
        return sweep_most_similar(graph.most_similar, positives.similarities, n_pairs, size)
    except NotHeldError:
        return None


def _is_certain(found: BestCut, positives: PositivePairs, params: CutParams) -> bool:
    """Whether no cut beyond the reach has a higher F1, and the next merge after the best cut is known."""
    sweep, choice = found.sweep, found.choice
    if sweep.n_positive_pairs == 0:
        return True
    if params.eps_range[0] > found.reach or choice.f1 == 0 or choice.cut >= sweep.cuts.max(initial=0.0):
        return False
    cap = None if sweep.method == "dbscan" else params.max_group_size
    return not could_gain(sweep, choice.cut, clusters_at(found.tree, found.reach), positives.pairs, cap)


def could_gain(
    sweep: Sweep, cut: float, groups: LabelArray, positive_pairs: LabelArray, max_group_size: int | None
) -> bool:
    """Whether a curve might rise above its best row beyond its last one, where its groups only merge.

    Let F = 2·tp / (tp + fp + P) be that of the best row. A cut with TP and FP is better if and only if
    ``2·TP - F·(TP + FP) > F·P``. Beyond the last row, if two groups a and b of the last row merge, TP grows by their n
    positive pairs and TP + FP by all of their ``size(a)·size(b)`` pairs, so the left side grows by
    ``2·n - F·size(a)·size(b)``. Whichever groups merge, it grows by no more than the sum of these terms over all a and
    b for which they are positive, except a and b that would be too large together. If even this sum does not lift it
    above F·P, no cut beyond is better. All values are integers, times ``tp + fp + P``.

    If a cut beyond is no better for this subset, it is no better for a pool ρ ≥ 1 times as large: with TP ≥ tp there,
    ``ρ·(tp·FP - TP·fp) ≥ P·(TP - tp) ≥ 0`` holds for ρ = 1 and so for every larger ρ.

    Args:
        sweep: The curve, by distance.
        cut: Cut of its best row.
        groups: ``(n,)``, groups of its last row.
        positive_pairs: ``(P, 2)`` rows of all positive pairs, at least one.
        max_group_size: Groups that would be larger together do not merge; None: no limit.

    Returns:
        False only if no cut beyond the last row is better.
    """
    counts = np.concatenate([[[0], [0]], [sweep.tp, sweep.fp]], axis=1).astype(np.int64)
    tp, fp = counts[:, np.searchsorted(sweep.cuts, cut, side="right")].tolist()
    last_tp, last_fp = counts[:, -1].tolist()
    n_positive = len(positive_pairs)
    numerator, denominator = 2 * tp, tp + fp + n_positive
    sizes = np.bincount(groups)
    apart = np.sort(groups[positive_pairs], axis=1)
    apart = apart[apart[:, 0] != apart[:, 1]]
    if max_group_size is not None:
        apart = apart[sizes[apart].sum(axis=1) <= max_group_size]
    both, n_joined = np.unique(apart, axis=0, return_counts=True)
    gains = 2 * denominator * n_joined - numerator * sizes[both[:, 0]] * sizes[both[:, 1]]
    reached = 2 * denominator * last_tp - numerator * (last_tp + last_fp)
    most = int(reached) + int(gains[gains > 0].sum())
    return most > int(numerator) * n_positive


def warn_of_uncertain(methods: Collection[str], pool: Pool) -> None:
    """Log the methods that may have a better cut than the reported one."""
    named = [method for method in CUTS if method in methods]
    if named:
        logger.warning(
            "%s among %d images: the best cut that near pairs reach is reported, a looser one might be better; "
            "memory.max_pairs is %d, and %d would prove it",
            ", ".join(named),
            len(pool),
            pool.limits.most_pairs,
            pool.n_pairs,
        )
