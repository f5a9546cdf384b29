"""F1 in other pools: of fewer lesions, or with lesions of one image among them.

Positive pairs grow with the number of images, negative ones with its square, so F1 falls as the pool grows, and falls
faster at a cut that was best in a small one. Lesions of one image, as most lesions of an archive are, add negative
pairs only. They need nothing special: a lesion of one image is a label that occurs once, and all figures allow for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from skinbit.matching.blocked import sweep_in_blocks
from skinbit.matching.blocks import part_of
from skinbit.matching.clustering import sweep_merges
from skinbit.matching.large_pool import LargePool, Similarities
from skinbit.matching.linkage import linkage_tree
from skinbit.matching.operating_points import OperatingPoints, carry_over
from skinbit.matching.pairs import LabelArray
from skinbit.matching.ranking import rank_pairs
from skinbit.matching.selection import Sweep, choice_at, select
from skinbit.matching.uncertainty import interval
from skinbit.matching.verification import sweep_thresholds, with_tail

LESIONS, DISTRACTORS = "lesions", "distractors"
"""What a pool has fewer or more of: lesions of several images, or lesions of one."""

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Sizes of the pools of a fold: shares of its lesions, or of all distractors."""

_DRAWS = 4
"""Pools of each size and fold: their mean over the folds is what is shown."""

SweepOf = Callable[[Similarities, LabelArray, Sequence[float]], Sweep]
"""Gives the curve of a pool by its similarities and labels ``(n,)``, exact at the given cuts, too."""

CutOfPool = Callable[[int, float], float]
"""Gives the cut for a pool of so many images, of which such a share is of lesions of one image; knows nothing else."""

OWN = "own"
"""The rule that every curve has: the pool's own best cut, which only its labels tell."""

_COLUMNS = ["size", "draw", "n_images", "n_lesions", "n_positive_pairs", "rule", "cut", "f1"]


def threshold_curve(similarities: Similarities, labels: LabelArray, thresholds: Sequence[float]) -> Sweep:
    """Give the whole curve of F1 over the cosine threshold.

    Args:
        similarities: Of all pairs, or what they are computed from.
        labels: ``(n,)``, the lesion of each image.
        thresholds: At these, too, the curve is exact.

    Returns:
        The curve.
    """
    if isinstance(similarities, LargePool):
        return sweep_in_blocks(similarities, labels, "cosine", None, thresholds)
    head = sweep_thresholds(similarities, labels)
    return with_tail(head, similarities, rank_pairs(similarities, labels), thresholds)


def average_curve(max_group_size: int | None) -> SweepOf:
    """Give what gives the curve of F1 over the cut of average linkage.

    Args:
        max_group_size: Groups do not grow larger; none: of any size.

    Returns:
        What gives the curve of a pool.
    """

    def sweep(similarities: Similarities, labels: LabelArray, cuts: Sequence[float]) -> Sweep:
        if isinstance(similarities, LargePool):
            return sweep_in_blocks(similarities, labels, "average", max_group_size, cuts)
        return sweep_merges(linkage_tree(similarities, "average", max_group_size), labels, "average")

    return sweep


def curves_of_methods(max_group_size: int | None) -> dict[str, SweepOf]:
    """Give the methods whose F1 is followed over the size of the pool: pairs by threshold, and groups.

    Args:
        max_group_size: Of average linkage.

    Returns:
        By method.
    """
    return {"cosine": threshold_curve, "average": average_curve(max_group_size)}


def carried_cuts(subsets: Sequence[OperatingPoints]) -> dict[str, CutOfPool]:
    """Give the ways to carry the cuts of other subsets over to a pool.

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


def pool_curve(
    similarities: Similarities,
    labels: LabelArray,
    sweep_of: SweepOf,
    cuts: Mapping[str, CutOfPool],
    sizes: Sequence[int],
    n_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Give F1 in pools of fewer lesions, drawn at random from all.

    Args:
        similarities: Of all pairs, or what they are computed from.
        labels: ``(n,)``, the lesion of each image, 0 …
        sweep_of: Whatever predicts pairs.
        cuts: Beside the pool's own best cut, by the name of the rule.
        sizes: Numbers of lesions.
        n_draws: Pools of each size; there is only one of all lesions.
        seed: Not negative. The pools of a size do not depend on the other sizes.

    Returns:
        ``size, draw, n_images, n_lesions, n_positive_pairs, rule, cut, f1``, a row per pool and rule, ``own`` first; F1
        is NaN in a pool without a positive pair.

    Raises:
        ValueError: If there are fewer lesions than asked for.
    """
    pools = _draw_pools(np.unique(labels), sizes, n_draws, seed)
    return _judge_pools(similarities, labels, sweep_of, cuts, pools)


def distractor_curve(
    similarities: Similarities,
    labels: LabelArray,
    sweep_of: SweepOf,
    cuts: Mapping[str, CutOfPool],
    sizes: Sequence[int],
    n_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Give F1 where all lesions of several images meet more and more lesions of one image, drawn at random.

    Positive pairs are the same in every pool, negative ones are not.

    Args:
        similarities: Of all pairs, or what they are computed from.
        labels: ``(n,)``, the lesion of each image, 0 …
        sweep_of: Whatever predicts pairs.
        cuts: Beside the pool's own best cut, by the name of the rule.
        sizes: Numbers of lesions of one image; 0 is a pool without.
        n_draws: Pools of each size; there is only one without such lesions, and one with all.
        seed: Not negative. The pools of a size do not depend on the other sizes.

    Returns:
        As :func:`pool_curve`, where ``size`` counts the lesions of one image and ``n_lesions`` all.

    Raises:
        ValueError: If there are fewer lesions of one image than asked for.
    """
    lesions, n_images = np.unique(labels, return_counts=True)
    drawn = _draw_pools(lesions[n_images == 1], sizes, n_draws, seed)
    pools = [replace(pool, lesions=np.append(lesions[n_images > 1], pool.lesions)) for pool in drawn]
    return _judge_pools(similarities, labels, sweep_of, cuts, pools)


@dataclass(frozen=True)
class _Pool:
    """Some lesions, all images of which are in the pool."""

    size: int
    draw: int
    lesions: LabelArray


def _draw_pools(lesions: LabelArray, sizes: Sequence[int], n_draws: int, seed: int) -> list[_Pool]:
    if max(sizes, default=0) > len(lesions):
        raise ValueError(f"{max(sizes)} lesions cannot be drawn from {len(lesions)}")
    return [
        _Pool(size, draw, np.random.default_rng([seed, size, draw]).choice(lesions, size, replace=False))
        for size in sizes
        for draw in range(n_draws if 0 < size < len(lesions) else 1)
    ]


def _judge_pools(
    similarities: Similarities,
    labels: LabelArray,
    sweep_of: SweepOf,
    cuts: Mapping[str, CutOfPool],
    pools: Sequence[_Pool],
) -> pd.DataFrame:
    judged = []
    for pool in pools:
        rows = np.flatnonzero(np.isin(labels, pool.lesions))
        share = float((np.unique(labels[rows], return_counts=True)[1] == 1).sum()) / len(rows)
        carried = {rule: cut_of(len(rows), share) for rule, cut_of in cuts.items()}
        sweep = sweep_of(part_of(similarities, rows), labels[rows], list(carried.values()))
        choices = {OWN: select(sweep)} | {rule: choice_at(sweep, cut) for rule, cut in carried.items()}
        facts = (pool.size, pool.draw, len(rows), len(pool.lesions), sweep.n_positive_pairs)
        judged += [(*facts, rule, choice.cut, choice.f1) for rule, choice in choices.items()]
    return pd.DataFrame(judged, columns=_COLUMNS)


def summarise_pools(pools: pd.DataFrame) -> pd.DataFrame:
    """Give the mean F1 of each size and rule, and how far it varies from draw to draw.

    Args:
        pools: From :func:`pool_curve` or :func:`distractor_curve`.

    Returns:
        ``size, rule, n_images, f1, low, high``: means over the draws, and the range that holds the middle 95 % of their
        F1. Pools of one size share lesions, the more of them the larger they are: the range is no confidence interval.
    """
    rows = [
        (size, rule, draws["n_images"].mean(), draws["f1"].mean(), *interval(draws["f1"].to_numpy(np.float64)))
        for (size, rule), draws in pools.groupby(["size", "rule"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["size", "rule", "n_images", "f1", "low", "high"])


def fold_pools(
    similarities: Similarities,
    labels: LabelArray,
    others: Mapping[str, Sequence[OperatingPoints]],
    max_group_size: int | None,
    seed: int,
    kind: str = LESIONS,
) -> pd.DataFrame:
    """Follow a fold's F1 over the size of its pool, at its own best cuts and at those that the other folds choose.

    Args:
        similarities: Of all pairs, or what they are computed from.
        labels: ``(n,)``, the lesion of each image, 0 …
        others: What the other folds would choose, by method.
        max_group_size: Of average linkage.
        seed: Of the pools.
        kind: Pools of fewer lesions, or with fewer distractors.

    Returns:
        ``pool, method, share, rule, n_images, f1``: means over some pools of each of :data:`SHARES`.
    """
    curve = pool_curve if kind == LESIONS else distractor_curve
    _, n_images = np.unique(labels, return_counts=True)
    n_lesions = len(n_images) if kind == LESIONS else int((n_images == 1).sum())
    sizes = {max(1, round(share * n_lesions)): share for share in SHARES} if n_lesions else {}
    tables = []
    for method, sweep_of in curves_of_methods(max_group_size).items():
        cuts = carried_cuts(others[method])
        if kind == LESIONS:
            del cuts["informed"]  # folds are alike: what they have of single images is in their counts
        found = summarise_pools(curve(similarities, labels, sweep_of, cuts, list(sizes), _DRAWS, seed))
        tables.append(found.assign(pool=kind, method=method, share=found["size"].map(sizes)))
    return pd.concat(tables, ignore_index=True)[["pool", "method", "share", "rule", "n_images", "f1"]]


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
