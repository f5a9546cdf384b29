"""Transfer of a cut from folds to another pool: another fold, the test subset, new photographs.

A pool of another size has another best cut (:mod:`skinbit.matching.cuts.operating_points`). Images whose lesion was
photographed once are in no positive pair: where they are a share s of the pool, ρ / (1 - s) stands in place of ρ. The
counts of all folds are added up first: near the best cut of a large pool a single fold has a handful of false
positives, too few to choose by.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.matching.cuts.operating_points import OperatingPoints, PointsOfSubsets


@dataclass(frozen=True)
class CarriedCut:
    """A cut that subsets chose for another pool.

    Attributes:
        value: The cut; NaN where no subset has one.
        chosen: What each subset alone would choose; NaN where it has no cut. Their spread tells how sure the cut is.
        rho: Size of the pool / mean size of the subsets, or 1 where cuts are carried over as they are.
    """

    value: float
    chosen: tuple[float, ...]
    rho: float


def mean_cut(subsets: Sequence[OperatingPoints]) -> CarriedCut:
    """Choose the cut for a pool as large as the subsets: the mean of their best ones.

    Args:
        subsets: Of one method.

    Returns:
        The cut.
    """
    chosen = tuple(points.best_cut(1.0) for points in subsets)
    defined = [cut for cut in chosen if not np.isnan(cut)]
    return CarriedCut(float(np.mean(defined)) if defined else float("nan"), chosen, 1.0)


def pooled_cut(subsets: Sequence[OperatingPoints], n_images: int, single_share: float = 0.0) -> CarriedCut:
    """Choose the cut for a pool of another size by the counts of all subsets together.

    Args:
        subsets: Of one method.
        n_images: Of the pool.
        single_share: Share of its images whose lesion was photographed once, beyond that of the subsets, in [0, 1).

    Returns:
        The cut, within the reach of all subsets; of equals the one that predicts the fewest pairs.
    """
    usable = [points for points in subsets if len(points.cuts)]
    if not usable:
        return CarriedCut(float("nan"), (float("nan"),) * len(subsets), float("nan"))
    rho = n_images / float(np.mean([points.n_images for points in usable]))
    cuts = np.unique(np.concatenate([points.cuts for points in usable]))
    cuts = cuts[cuts <= min(points.reach for points in usable)]
    counts = [points.counts_at(cuts) for points in usable]
    tp, fp = (np.sum(kind, axis=0) for kind in zip(*counts, strict=True))
    met = 1.0 / (1.0 - single_share)
    f1 = 2.0 * tp / (tp + met * rho * fp + sum(points.n_positive_pairs for points in usable))
    best = np.flatnonzero(f1 == f1.max())
    value = float(cuts[best[np.argmin(tp[best] + fp[best])]])
    return CarriedCut(value, tuple(points.best_cut(met * n_images / points.n_images) for points in subsets), rho)


def carry_over(
    subsets: Sequence[OperatingPoints], n_images: int, is_corrected: bool, single_share: float = 0.0
) -> CarriedCut:
    """Choose the cut for a pool by what is best on other subsets.

    Args:
        subsets: Of one method.
        n_images: Of the pool.
        is_corrected: Whether size and single images of the pool count.
        single_share: See :func:`pooled_cut`.

    Returns:
        By :func:`pooled_cut`, or else by :func:`mean_cut`.
    """
    return pooled_cut(subsets, n_images, single_share) if is_corrected else mean_cut(subsets)


def others_of_folds(points: PointsOfSubsets, folds: Sequence[int]) -> dict[int, dict[str, list[OperatingPoints]]]:
    """Return what chooses the cuts of folds: the other folds, or a single fold itself.

    Args:
        points: One entry per fold.
        folds: Their numbers, in that order.

    Returns:
        By fold and method.
    """
    by_fold = {method: dict(zip(folds, subsets, strict=True)) for method, subsets in points.items()}
    return {
        fold: {
            method: [found for other, found in of_folds.items() if other != fold] or [of_folds[fold]]
            for method, of_folds in by_fold.items()
        }
        for fold in folds
    }


def cuts_of_folds(points: PointsOfSubsets, folds: Sequence[int]) -> dict[int, dict[str, float]]:
    """Return the cuts at which folds are evaluated: the mean of what the other folds choose, or a single fold's own.

    Args:
        points: One entry per fold.
        folds: Their numbers, in that order.

    Returns:
        By fold and method; NaN where no other fold has a cut.
    """
    return {
        fold: {method: mean_cut(subsets).value for method, subsets in others.items()}
        for fold, others in others_of_folds(points, folds).items()
    }


def carry_to_pool(
    points: PointsOfSubsets, n_images: int, is_corrected: bool, single_share: float = 0.0
) -> dict[str, CarriedCut]:
    """Choose the cut of every method for a pool.

    Args:
        points: Of the folds.
        n_images: Of the pool.
        is_corrected: Whether the sizes of pool and folds count.
        single_share: See :func:`pooled_cut`.

    Returns:
        By method.
    """
    return {method: carry_over(subsets, n_images, is_corrected, single_share) for method, subsets in points.items()}
