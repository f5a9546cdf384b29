"""Transfer of a cut from folds to another pool: another fold, the test subset, or new photographs.

The best cut depends on the size of the pool (:mod:`skinbit.matching.cuts.operating_points`). Singleton lesions have no
positive pair: if they are a share s of the pool, ρ / (1 - s) replaces ρ. The counts of all folds are summed first, as
near the best cut of a large pool a single fold has only a handful of false positives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.matching.cuts.operating_points import OperatingPoints, PointsOfSubsets


@dataclass(frozen=True)
class CarriedCut:
    """A cut that subsets chose for another pool.

    Attributes:
        value: The cut; NaN if no subset has one.
        chosen: The cut of each single subset; NaN if it has none. Their spread is the uncertainty of the cut.
        rho: Size of the pool / mean size of the subsets, or 1 if cuts are not corrected.
    """

    value: float
    chosen: tuple[float, ...]
    rho: float


def mean_cut(subsets: Sequence[OperatingPoints]) -> CarriedCut:
    """Return the cut for a pool as large as the subsets: the mean of their best ones.

    Args:
        subsets: Operating points of one method.

    """
    chosen = tuple(points.best_cut(1.0) for points in subsets)
    defined = [cut for cut in chosen if not np.isnan(cut)]
    return CarriedCut(float(np.mean(defined)) if defined else float("nan"), chosen, 1.0)


def pooled_cut(subsets: Sequence[OperatingPoints], n_images: int, single_share: float = 0.0) -> CarriedCut:
    """Return the cut for a pool of another size, from the summed counts of all subsets.

    Args:
        subsets: Operating points of one method.
        n_images: Number of images in the pool.
        single_share: Share of its images with singleton lesions, beyond that of the subsets, in [0, 1).

    Returns:
        The cut, within the reach of all subsets; if several are equal, the one with fewest predicted pairs.
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
    """Return the cut for a pool, chosen on other subsets.

    Args:
        subsets: Operating points of one method.
        n_images: Number of images in the pool.
        is_corrected: Whether the cut is corrected for the pool's size and singleton lesions.
        single_share: See :func:`pooled_cut`.

    Returns:
        The result of :func:`pooled_cut` if it is corrected, otherwise of :func:`mean_cut`.
    """
    return pooled_cut(subsets, n_images, single_share) if is_corrected else mean_cut(subsets)


def others_of_folds(points: PointsOfSubsets, folds: Sequence[int]) -> dict[int, dict[str, list[OperatingPoints]]]:
    """Return the subsets that choose the cuts of each fold: the other folds, or a single fold itself.

    Args:
        points: Operating points with one entry per fold.
        folds: Numbers of the folds, in that order.

    Returns:
        Operating points by fold and method.
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
    """Return the cuts at which folds are evaluated: the mean of the other folds' cuts, or a single fold's own.

    Args:
        points: Operating points with one entry per fold.
        folds: Numbers of the folds, in that order.

    Returns:
        Cuts by fold and method; NaN if no other fold has one.
    """
    return {
        fold: {method: mean_cut(subsets).value for method, subsets in others.items()}
        for fold, others in others_of_folds(points, folds).items()
    }


def carry_to_pool(
    points: PointsOfSubsets, n_images: int, is_corrected: bool, single_share: float = 0.0
) -> dict[str, CarriedCut]:
    """Return the cut of every method for a pool.

    Args:
        points: Operating points of the folds.
        n_images: Number of images in the pool.
        is_corrected: Whether cuts are corrected for the sizes of pool and folds.
        single_share: See :func:`pooled_cut`.

    Returns:
        Cuts by method.
    """
    return {method: carry_over(subsets, n_images, is_corrected, single_share) for method, subsets in points.items()}
