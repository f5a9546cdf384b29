"""F1 in other pools: with fewer lesions, or with singleton lesions as distractors.

Positive pairs grow with the number of images, negative ones with its square, so F1 falls as the pool grows, and falls
faster at a cut that was best in a small pool. Singleton lesions, like most lesions of an archive, add negative pairs
only. They need no special treatment: a singleton is a label that occurs once, and all metrics allow for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.config import CutParams
from skinbit.matching.curves import Choice, Sweep, choice_at, select
from skinbit.matching.cuts.operating_points import OperatingPoints
from skinbit.matching.cuts.search import Vicinity, search_cut, search_threshold, warn_of_uncertain
from skinbit.matching.cuts.survey import PositivePairs, find_positives
from skinbit.matching.cuts.transfer import carry_over
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import NeighbourGraph
from skinbit.matching.scoring.uncertainty import interval

LESIONS, DISTRACTORS = "lesions", "distractors"
"""What a pool has fewer of: lesions with several images, or distractors."""

FOLLOWED = ("cosine", "average")
"""Methods whose F1 is computed for several pool sizes: pairs by threshold, and groups."""

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Pool sizes of a fold: shares of its lesions, or of all distractors."""

_DRAWS = 4
"""Number of pools of each size and fold; the mean over folds is reported."""

CutOfPool = Callable[[int, float], float]
"""Returns the cut for a pool from its number of images and its share of singleton lesions."""

Rules = Mapping[str, Mapping[str, CutOfPool]]
"""By method and name, the rule that selects a cut for a pool."""

OWN = "own"
"""The rule that every curve has: the pool's own best cut, which requires its labels."""

_COLUMNS = ["method", "size", "draw", "n_images", "n_lesions", "n_positive_pairs", "rule", "cut", "f1"]


def carried_cuts(subsets: Sequence[OperatingPoints]) -> dict[str, CutOfPool]:
    """Return the rules that transfer the cuts of other subsets to a pool.

    Args:
        subsets: Operating points of each subset for one method.

    Returns:
        ``fixed``: the mean of the subsets' own best cuts, for any pool. ``corrected``: the best cut for a pool of this
        size from the subsets' summed counts. ``informed``: the same, with a known share of singleton lesions.
    """
    return {
        "fixed": lambda n_images, _: carry_over(subsets, n_images, is_corrected=False).value,
        "corrected": lambda n_images, _: carry_over(subsets, n_images, is_corrected=True).value,
        "informed": lambda n_images, share: carry_over(subsets, n_images, True, share).value,
    }


@dataclass(frozen=True)
class Draws:
    """How the pools of a fold are drawn.

    Attributes:
        seed: Seed, not negative.
        kind: Whether pools have fewer lesions or fewer distractors.
    """

    seed: int
    kind: str = LESIONS


@dataclass(frozen=True)
class DrawnPool:
    """A pool of some lesions with all of their images.

    Attributes:
        size: Number of drawn lesions.
        draw: Number of the draw among pools of this size, from 0.
        lesions: Labels of all lesions in the pool.
    """

    size: int
    draw: int
    lesions: LabelArray


def draw_pools(
    labels: LabelArray, sizes: Sequence[int], n_draws: int, seed: int, kind: str = LESIONS
) -> list[DrawnPool]:
    """Return pools of random lesions.

    Args:
        labels: ``(n,)``, lesion of each image, 0 …
        sizes: Numbers of lesions; for :data:`DISTRACTORS`, numbers of singleton lesions, of which 0 is allowed.
        n_draws: Number of pools of each size; there is only one without any and one with all.
        seed: Seed, not negative. The pools of a size do not depend on the other sizes.
        kind: :data:`LESIONS`: pools of fewer lesions; :data:`DISTRACTORS`: all lesions with several images and fewer
            singleton lesions, so that only the negative pairs differ between pools.

    Returns:
        Pools by size and draw.

    Raises:
        ValueError: If there are fewer lesions than requested.
    """
    lesions, n_images = np.unique(labels, return_counts=True)
    drawn, others = (lesions[n_images == 1], lesions[n_images > 1]) if kind == DISTRACTORS else (lesions, lesions[:0])
    if max(sizes, default=0) > len(drawn):
        raise ValueError(f"{max(sizes)} lesions cannot be drawn from {len(drawn)}")
    pools = []
    for size in sizes:
        for draw in range(n_draws if 0 < size < len(drawn) else 1):
            chosen = np.random.default_rng([seed, size, draw]).choice(drawn, size, replace=False)
            pools.append(DrawnPool(size, draw, np.append(others, chosen)))
    return pools


def follow_pools(
    vicinity: Vicinity, labels: LabelArray, rules: Rules, pools: Sequence[DrawnPool], max_group_size: int | None
) -> pd.DataFrame:
    """Return F1 in pools of some of the lesions, at their own best cuts and at cuts selected elsewhere.

    The near pairs of a pool are taken from those of all images, so that one pass over all pairs suffices.

    Args:
        vicinity: Near pairs of all images.
        labels: ``(n,)``, lesion of each image, 0 …
        rules: Further rules besides the pool's own best cut, for every method to evaluate.
        pools: From :func:`draw_pools`.
        max_group_size: Largest group of average linkage; None: no limit.

    Returns:
        ``method, size, draw, n_images, n_lesions, n_positive_pairs, rule, cut, f1``, by method, then by pool, ``own``
        first; F1 is NaN in a pool without a positive pair. If a cut needs more pairs than can be held, a warning is
        logged, and the loosest possible cut replaces it.
    """
    params = CutParams(max_group_size=max_group_size)
    positives = find_positives(vicinity.pool, labels)
    followed: dict[str, list[tuple[object, ...]]] = {method: [] for method in rules}
    uncertain: set[str] = set()
    rows_of = [np.flatnonzero(np.isin(labels, pool.lesions)) for pool in pools]
    cuts_of = [_carried(labels[rows], rules) for rows in rows_of]
    loosest = {
        method: max(
            (cut for cuts in cuts_of for cut in cuts[method].values()), key=partial(_looseness, method), default=np.nan
        )
        for method in rules
    }
    held = vicinity.reach(loosest)  # all at once, so that no pool depends on earlier ones
    for pool, rows, carried in zip(pools, rows_of, cuts_of, strict=True):
        part = _Part(vicinity, rows, labels[rows], positives.subset(rows, len(labels)))
        facts = (pool.size, pool.draw, len(rows), len(pool.lesions), len(part.positives.pairs))
        cuts = {
            method: {rule: min(cut, held[method], key=partial(_looseness, method)) for rule, cut in of_method.items()}
            for method, of_method in carried.items()
        }
        choices_of, uncertain_here = part.choices(cuts, params)
        uncertain |= set(uncertain_here)
        for method, choices in choices_of.items():
            followed[method] += [(method, *facts, rule, choice.cut, choice.f1) for rule, choice in choices.items()]
    warn_of_uncertain(uncertain, vicinity.pool)
    return pd.DataFrame([row for rows in followed.values() for row in rows], columns=_COLUMNS)


def _carried(labels: LabelArray, rules: Rules) -> dict[str, dict[str, float]]:
    """Return the cut of every method and rule for a pool of these lesions."""
    n_single = int((np.unique(labels, return_counts=True)[1] == 1).sum())
    share = n_single / max(1, len(labels))
    return {
        method: {rule: cut_of(len(labels), share) for rule, cut_of in of_method.items()}
        for method, of_method in rules.items()
    }


def _looseness(method: str, cut: float) -> float:
    """Return a number that rises with the number of pairs a cut predicts; an undefined cut predicts none."""
    return -np.inf if np.isnan(cut) else -cut if method == "cosine" else cut


@dataclass(frozen=True)
class _Part:
    """Some images of a larger pool, ascending."""

    vicinity: Vicinity
    rows: LabelArray
    labels: LabelArray
    positives: PositivePairs

    def choices(
        self, cuts: Mapping[str, Mapping[str, float]], params: CutParams
    ) -> tuple[dict[str, dict[str, Choice]], list[str]]:
        """Return, by method and rule, a cut with its metrics, the part's own best cut first; and uncertain methods."""
        while True:
            graph = self.vicinity.graph.subset(self.rows)
            found = {method: self._curve(method, graph, params) for method in cuts}
            uncertain = [method for method, (_, _, is_certain) in found.items() if not is_certain]
            if not uncertain or not self.vicinity.widen():
                break
        choices = {
            method: {OWN: found[method][1]}
            | {rule: self._choice_at(graph, found[method][0], cut) for rule, cut in of_method.items()}
            for method, of_method in cuts.items()
        }
        return choices, uncertain

    def _curve(self, method: str, graph: NeighbourGraph, params: CutParams) -> tuple[Sweep, Choice, bool]:
        """Return the curve of a method as far as it is known, its best cut, and whether no other cut is better."""
        if method == "cosine":
            head = search_threshold(graph, self.positives)
            curve = self._reached_thresholds(graph) if head is None else head
            best = select(curve) if len(curve.cuts) else choice_at(curve, graph.floor)  # no positive pair is held
            return curve, best, head is not None
        pool = self.vicinity.pool.subset(self.rows)
        found = search_cut(method, Vicinity(pool, graph), self.labels, self.positives, params)
        return found.sweep, found.choice, found.is_certain

    def _choice_at(self, graph: NeighbourGraph, curve: Sweep, cut: float) -> Choice:
        """Return the metrics of any cut within the near pairs; the curve over thresholds may end earlier."""
        if curve.method != "cosine" or np.isnan(cut):
            return choice_at(curve, cut)
        return choice_at(self._thresholds(graph, np.array([cut])), cut)

    def _reached_thresholds(self, graph: NeighbourGraph) -> Sweep:
        reached = np.unique(self.positives.similarities[self.positives.similarities >= graph.floor])
        return self._thresholds(graph, reached[::-1].astype(np.float64))

    def _thresholds(self, graph: NeighbourGraph, thresholds: NDArray[np.float64]) -> Sweep:
        """Return a curve at a few descending thresholds within the near pairs."""
        n_predicted = np.array([graph.n_at_least(threshold) for threshold in thresholds], dtype=np.int64)
        tp = np.array([np.count_nonzero(self.positives.similarities >= each) for each in thresholds], dtype=np.int64)
        return Sweep("cosine", thresholds, thresholds, tp, n_predicted - tp, len(self.positives.pairs))


def summarise_pools(pools: pd.DataFrame) -> pd.DataFrame:
    """Return the mean F1 of each size and rule, and its range over draws.

    Args:
        pools: From :func:`follow_pools`.

    Returns:
        ``method, size, rule, n_images, f1, low, high``: means over draws, and the range of the middle 95 % of their F1.
        Pools of one size share lesions, more so the larger they are, so this is not a confidence interval.
    """
    rows = [
        (method, size, rule, draws["n_images"].mean(), draws["f1"].mean(), *interval(draws["f1"].to_numpy(np.float64)))
        for (method, size, rule), draws in pools.groupby(["method", "size", "rule"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["method", "size", "rule", "n_images", "f1", "low", "high"])


def fold_pools(
    vicinity: Vicinity,
    labels: LabelArray,
    others: Mapping[str, Sequence[OperatingPoints]],
    max_group_size: int | None,
    draws: Draws,
) -> pd.DataFrame:
    """Return a fold's F1 for several pool sizes, at its own best cuts and at those of the other folds.

    Args:
        vicinity: Near pairs of the fold.
        labels: ``(n,)``, lesion of each image, 0 …
        others: Operating points of the other folds, by method.
        max_group_size: Largest group of average linkage.
        draws: How pools are drawn.

    Returns:
        ``pool, method, share, rule, n_images, f1``: means over pools, for each of :data:`SHARES`.
    """
    kind = draws.kind
    _, n_images = np.unique(labels, return_counts=True)
    n_lesions = len(n_images) if kind == LESIONS else int((n_images == 1).sum())
    sizes = {max(1, round(share * n_lesions)): share for share in SHARES} if n_lesions else {}
    rules = {method: carried_cuts(others[method]) for method in FOLLOWED}
    if kind == LESIONS:
        for of_method in rules.values():
            del of_method["informed"]  # folds are alike: their counts include their singleton lesions
    pools = draw_pools(labels, list(sizes), _DRAWS, draws.seed, kind)
    found = summarise_pools(follow_pools(vicinity, labels, rules, pools, max_group_size))
    return found.assign(pool=kind, share=found["size"].map(sizes))[
        ["pool", "method", "share", "rule", "n_images", "f1"]
    ]


def mean_pools(folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean of the folds' F1 for each pool size.

    Args:
        folds: Tables from :func:`fold_pools`, one per fold.

    Returns:
        ``pool, method, share, rule, n_images, f1, std``: mean and standard deviation (n - 1) over the folds with a
        defined F1; NaN for a single fold.
    """
    keys = ["pool", "method", "share", "rule"]
    grouped = pd.concat(folds, ignore_index=True).groupby(keys, sort=False)
    return grouped.agg(n_images=("n_images", "mean"), f1=("f1", "mean"), std=("f1", "std")).reset_index()
