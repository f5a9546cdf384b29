"""F1 in other pools: of fewer lesions, or with lesions of one image among them.

Positive pairs grow with the number of images, negative ones with its square, so F1 falls as the pool grows, and falls
faster at a cut that was best in a small one. Lesions of one image, as most lesions of an archive are, add negative
pairs only. They need nothing special: a lesion of one image is a label that occurs once, and all metrics allow for it.
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
"""What a pool has fewer or more of: lesions of several images, or lesions of one."""

FOLLOWED = ("cosine", "average")
"""The methods whose F1 is followed over the size of the pool: pairs by threshold, and groups."""

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Sizes of the pools of a fold: shares of its lesions, or of all distractors."""

_DRAWS = 4
"""Pools of each size and fold: their mean over the folds is what is shown."""

CutOfPool = Callable[[int, float], float]
"""Returns the cut for a pool by its number of images and the share of them whose lesion was photographed once."""

Rules = Mapping[str, Mapping[str, CutOfPool]]
"""By method and name, the rule that chooses a cut for a pool."""

OWN = "own"
"""The rule that every curve has: the pool's own best cut, which only its labels tell."""

_COLUMNS = ["method", "size", "draw", "n_images", "n_lesions", "n_positive_pairs", "rule", "cut", "f1"]


def carried_cuts(subsets: Sequence[OperatingPoints]) -> dict[str, CutOfPool]:
    """Return the ways to carry the cuts of other subsets over to a pool.

    Args:
        subsets: The cuts of each that are best for pools of some size, of one method.

    Returns:
        ``fixed``: the mean of the subsets' own best cuts, whatever the pool. ``corrected``: the best one for a pool of
        this size by their counts together. ``informed``: likewise, knowing how many images are alone, too.
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
        seed: Not negative.
        kind: Pools of fewer lesions, or with fewer distractors.
    """

    seed: int
    kind: str = LESIONS


@dataclass(frozen=True)
class DrawnPool:
    """Some lesions, all images of which are in the pool.

    Attributes:
        size: Number of lesions that were drawn.
        draw: Of the pools of this size, from 0.
        lesions: All lesions of the pool, by label.
    """

    size: int
    draw: int
    lesions: LabelArray


def draw_pools(
    labels: LabelArray, sizes: Sequence[int], n_draws: int, seed: int, kind: str = LESIONS
) -> list[DrawnPool]:
    """Draw lesions at random.

    Args:
        labels: ``(n,)``, the lesion of each image, 0 …
        sizes: Numbers of lesions; of :data:`DISTRACTORS`, of lesions of one image, 0 is a pool without.
        n_draws: Pools of each size; there is only one without and one with all.
        seed: Not negative. The pools of a size do not depend on the other sizes.
        kind: :data:`LESIONS`: pools of fewer lesions; :data:`DISTRACTORS`: all lesions of several images with fewer
            lesions of one, so that positive pairs are the same in every pool, and negative ones are not.

    Returns:
        The pools, by size and draw.

    Raises:
        ValueError: If there are fewer lesions than asked for.
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
    """Return F1 in pools of some of the lesions, at their own best cuts and at cuts chosen elsewhere.

    The near pairs of a pool are those of all images that are in it: all pairs are looked at once, for all pools.

    Args:
        vicinity: Near pairs of all images.
        labels: ``(n,)``, the lesion of each image, 0 …
        rules: Beside the pool's own best cut, of every method that is followed.
        pools: From :func:`draw_pools`.
        max_group_size: Average linkage makes no larger groups; None: of any size.

    Returns:
        ``method, size, draw, n_images, n_lesions, n_positive_pairs, rule, cut, f1``, by method, then by pool, ``own``
        first; F1 is NaN in a pool without a positive pair. Where a cut asks for more pairs than may be held, a warning
        says so, and the loosest cut that does not takes its place.
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
    held = vicinity.reach(loosest)  # at once, so that no pool depends on those before it
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
    """Return the cut of every method and rule for a pool of such lesions."""
    n_single = int((np.unique(labels, return_counts=True)[1] == 1).sum())
    share = n_single / max(1, len(labels))
    return {
        method: {rule: cut_of(len(labels), share) for rule, cut_of in of_method.items()}
        for method, of_method in rules.items()
    }


def _looseness(method: str, cut: float) -> float:
    """Return a number that rises the more pairs a cut lets in; a cut that could not be chosen lets none in."""
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
        """Return, by method and rule, a cut and what it gives, the part's own best cut first; and uncertain methods."""
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
        """Return the curve of a method as far as it is drawn, its best cut, and whether no other one is better."""
        if method == "cosine":
            head = search_threshold(graph, self.positives)
            curve = self._reached_thresholds(graph) if head is None else head
            best = select(curve) if len(curve.cuts) else choice_at(curve, graph.floor)  # no pair of one lesion is held
            return curve, best, head is not None
        pool = self.vicinity.pool.subset(self.rows)
        found = search_cut(method, Vicinity(pool, graph), self.labels, self.positives, params)
        return found.sweep, found.choice, found.is_certain

    def _choice_at(self, graph: NeighbourGraph, curve: Sweep, cut: float) -> Choice:
        """Return what any cut within the near pairs gives; the curve over thresholds may end before."""
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
    """Return the mean F1 of each size and rule, and how far it varies from draw to draw.

    Args:
        pools: From :func:`follow_pools`.

    Returns:
        ``method, size, rule, n_images, f1, low, high``: means over the draws, and the range that holds the middle 95 %
        of their F1. Pools of one size share lesions, the more the larger they are: it is no confidence interval.
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
    """Follow a fold's F1 over the size of its pool, at its own best cuts and at those that the other folds choose.

    Args:
        vicinity: Near pairs of the fold.
        labels: ``(n,)``, the lesion of each image, 0 …
        others: What the other folds would choose, by method.
        max_group_size: Of average linkage.
        draws: How pools are drawn.

    Returns:
        ``pool, method, share, rule, n_images, f1``: means over some pools of each of :data:`SHARES`.
    """
    kind = draws.kind
    _, n_images = np.unique(labels, return_counts=True)
    n_lesions = len(n_images) if kind == LESIONS else int((n_images == 1).sum())
    sizes = {max(1, round(share * n_lesions)): share for share in SHARES} if n_lesions else {}
    rules = {method: carried_cuts(others[method]) for method in FOLLOWED}
    if kind == LESIONS:
        for of_method in rules.values():
            del of_method["informed"]  # folds are alike: what they have of single images is in their counts
    pools = draw_pools(labels, list(sizes), _DRAWS, draws.seed, kind)
    found = summarise_pools(follow_pools(vicinity, labels, rules, pools, max_group_size))
    return found.assign(pool=kind, share=found["size"].map(sizes))[
        ["pool", "method", "share", "rule", "n_images", "f1"]
    ]


def mean_pools(folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average the folds' F1 over the size of the pool.

    Args:
        folds: From :func:`fold_pools`, one of each fold.

    Returns:
        ``pool, method, share, rule, n_images, f1, std``: the mean over the folds in which F1 is defined, and its
        standard deviation (n - 1), NaN for a single fold.
    """
    keys = ["pool", "method", "share", "rule"]
    grouped = pd.concat(folds, ignore_index=True).groupby(keys, sort=False)
    return grouped.agg(n_images=("n_images", "mean"), f1=("f1", "mean"), std=("f1", "std")).reset_index()
