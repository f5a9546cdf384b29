"""What subsets say about the best cut for a pool of another size.

Positive pairs grow with the number of images, negative ones with its square. A cut that is best on a fold is therefore
too loose for a pool ρ times as large, where every true positive of the fold meets ρ times as many false ones: the
best cut there maximises ``2·TP / (TP + ρ·FP + P)``; with ρ = 1 this is pairwise F1. Images whose lesion was
photographed once are in no positive pair: where they are a share s of the pool, ρ / (1 - s) stands in place of ρ. The
counts of all folds are added up first: near the best cut of a large pool a single fold has a handful of false
positives, too few to choose by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from skinbit.config import Block
from skinbit.matching.curves import Sweep, never_falls
from skinbit.matching.methods import CutValue, MethodName, MethodWithCut

_MOST_ROWS = 400
"""Of a subset and method: finer than folds of a few hundred lesions tell cuts apart."""

_LARGEST = 2.0
"""No distance is larger."""


class OperatingPoints(Block):
    """Cuts of one subset with their counts, fewest predicted pairs first, of a method whose cut is a distance.

    Attributes:
        cuts: Strictly monotone.
        tp: Predicted pairs of one lesion, of each cut.
        fp: Predicted pairs of two lesions, of each cut.
        n_positive_pairs: All pairs of one lesion in the subset.
        n_images: Of the subset.
        reach: Distance beyond which counts are not known, because the curve ended there; the largest one as a rule,
            which is not written down.
        is_similarity: Whether a lower cut predicts more pairs, as a threshold does, or fewer, as a distance.
    """

    cuts: tuple[CutValue, ...]
    tp: tuple[NonNegativeInt, ...]
    fp: tuple[NonNegativeInt, ...]
    n_positive_pairs: NonNegativeInt
    n_images: PositiveInt
    reach: Annotated[float, Field(ge=0, le=_LARGEST, exclude_if=lambda reach: reach == _LARGEST)] = _LARGEST

    is_similarity: ClassVar[bool] = False

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if not len(self.cuts) == len(self.tp) == len(self.fp):
            raise ValueError("cuts, tp and fp are of different lengths")
        if not (never_falls(self.tp) and never_falls(self.fp)):
            raise ValueError("tp and fp must not fall")
        if not (never_falls(self.cuts) or never_falls(self.cuts[::-1])):
            raise ValueError("cuts must rise, or fall")
        if self.tp and self.tp[-1] > self.n_positive_pairs:
            raise ValueError("there are more true positives than positive pairs")
        return self

    def best_cut(self, rho: float) -> float:
        """Return the cut for a pool ``rho`` times as large; of equals the one that predicts the fewest pairs.

        Args:
            rho: Size of the pool / size of the subset; 1: the subset itself.

        Returns:
            The cut; NaN where there is none.
        """
        if not self.cuts:
            return float("nan")
        tp, fp = np.array(self.tp), np.array(self.fp)
        return self.cuts[np.argmax(2.0 * tp / (tp + rho * fp + self.n_positive_pairs))]

    def counts_at(self, cuts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return true and false positives at any cuts: nothing before the first row, straight lines between rows."""
        direction = -1.0 if self.is_similarity else 1.0
        places, own = direction * cuts, direction * np.array(self.cuts)
        tp, fp = (np.interp(places, own, counts, left=0.0) for counts in (self.tp, self.fp))
        return tp, fp


class Thresholds(OperatingPoints):
    """Operating points of a method whose cut is a similarity."""

    is_similarity: ClassVar[bool] = True


def _of_method(method: str, points: OperatingPoints) -> OperatingPoints:
    """Return operating points as the class that the method asks for: files tell it by the method's name alone."""
    return Thresholds.model_construct(**dict(points)) if method == "cosine" else points


def _of_subset(points: dict[str, OperatingPoints]) -> dict[str, OperatingPoints]:
    return {method: _of_method(method, each) for method, each in points.items()}


def _of_subsets(points: dict[str, tuple[OperatingPoints, ...]]) -> dict[str, tuple[OperatingPoints, ...]]:
    if len({len(subsets) for subsets in points.values()}) > 1:
        raise ValueError("the methods have different numbers of subsets")
    return {method: tuple(_of_method(method, each) for each in subsets) for method, subsets in points.items()}


PointsOfSubset = Annotated[dict[MethodWithCut, OperatingPoints], AfterValidator(_of_subset)]
"""By method."""

PointsOfSubsets = Annotated[dict[MethodWithCut, tuple[OperatingPoints, ...]], AfterValidator(_of_subsets)]
"""By method, one entry per subset."""


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


class KnownCuts(Block):
    """What the folds of a model would choose by one method.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        given: A cut that the user names instead.
        value: The mean of the folds' own cuts; None where the method has none, or no fold.
        operating_points: Of the folds.
    """

    method: MethodName
    given: CutValue | None
    value: CutValue | None
    operating_points: tuple[OperatingPoints, ...]

    @field_validator("operating_points")
    @classmethod
    def _of_its_method(cls, points: tuple[OperatingPoints, ...], info: ValidationInfo) -> tuple[OperatingPoints, ...]:
        return tuple(_of_method(info.data.get("method", ""), each) for each in points)


def gather_subsets(subsets: Sequence[PointsOfSubset]) -> PointsOfSubsets:
    """Return the operating points of several subsets by method."""
    methods = subsets[0] if subsets else ()
    return {method: tuple(points[method] for points in subsets) for method in methods}


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
    """Return the cuts at which folds are judged: the mean of what the other folds choose, or a single fold's own.

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


def operating_points(sweep: Sweep, low: float, high: float, n_images: int, is_whole: bool = True) -> OperatingPoints:
    """Keep what a curve says about cuts for pools of any size.

    Between two rows at which a pair of one lesion enters only false positives are added, so no other row is ever best.
    Of many such rows some are left out, never one that is best for some ρ: that is the row which the point
    ``(-P/ρ, 0)`` sees steepest in the plane of false against true positives, a corner of the upper convex hull, as in
    ROC analysis (Provost and Fawcett 2001).

    Args:
        sweep: The curve.
        low: Least cut that is allowed.
        high: Largest cut.
        n_images: Of the subset.
        is_whole: Whether the curve goes all the way; else only the rows before its last one are known for sure, and the
            last of these at which a pair of one lesion enters is as far as they reach.

    Returns:
        The rows; none where there is no positive pair, or no pair is predicted in the range.
    """
    inside = _within(sweep if is_whole else _without_last(sweep), low, high)
    enters = np.flatnonzero(np.diff(inside.tp, prepend=0) > 0)
    if len(enters) == 0 and sweep.n_positive_pairs:
        enters = np.arange(min(1, len(inside.tp)))  # every cut is worth 0: the one that predicts the fewest pairs
    evenly = enters[np.linspace(0, len(enters) - 1, min(_MOST_ROWS, len(enters))).astype(int)]
    last = [len(inside.tp) - 1] if len(enters) and is_whole else []
    kept = np.union1d(np.concatenate([evenly, last]).astype(int), _hull(inside, enters)).astype(int)
    kind = Thresholds if sweep.method == "cosine" else OperatingPoints
    return kind(
        cuts=tuple(inside.reported[kept].tolist()),
        tp=tuple(inside.tp[kept].tolist()),
        fp=tuple(inside.fp[kept].tolist()),
        n_positive_pairs=sweep.n_positive_pairs,
        n_images=n_images,
        reach=_LARGEST if is_whole or len(kept) == 0 else float(inside.reported[kept[-1]]),
    )


def _without_last(sweep: Sweep) -> Sweep:
    return replace(sweep, cuts=sweep.cuts[:-1], reported=sweep.reported[:-1], tp=sweep.tp[:-1], fp=sweep.fp[:-1])


def _hull(sweep: Sweep, rows: NDArray[np.int64]) -> list[int]:
    """Give the rows at the corners of the upper convex hull of false against true positives (Andrew 1979)."""
    hull: list[int] = []
    for row in rows.tolist():
        while len(hull) > 1 and not _turns_right(sweep, hull[-2], hull[-1], row):
            hull.pop()
        if hull and sweep.fp[row] == sweep.fp[hull[-1]]:
            hull.pop()  # more true positives at no cost
        hull.append(row)
    return hull


def _turns_right(sweep: Sweep, first: int, middle: int, last: int) -> bool:
    """Tell whether the middle one of three rows lies above the line through the others; exact, in whole numbers."""
    run, rise = int(sweep.fp[middle] - sweep.fp[first]), int(sweep.tp[middle] - sweep.tp[first])
    whole_run, whole_rise = int(sweep.fp[last] - sweep.fp[first]), int(sweep.tp[last] - sweep.tp[first])
    return rise * whole_run > whole_rise * run


def _within(sweep: Sweep, low: float, high: float) -> Sweep:
    """Keep the rows that some cut in the range gives, their reported cuts moved into it."""
    beyond = 2.0 * sweep.reported - sweep.cuts  # the next cut that would change the counts
    lowest, highest = np.minimum(sweep.cuts, beyond), np.maximum(sweep.cuts, beyond)
    kept = (highest >= low) & (lowest <= high)
    clipped = (np.maximum(lowest, low) + np.minimum(highest, high)) / 2
    middles = np.where((lowest >= low) & (highest <= high), sweep.reported, clipped)
    return Sweep(sweep.method, sweep.cuts[kept], middles[kept], sweep.tp[kept], sweep.fp[kept], sweep.n_positive_pairs)
