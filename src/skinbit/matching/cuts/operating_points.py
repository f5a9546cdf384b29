"""Operating points of a subset: cuts with counts of true and false positives, from which cuts for any pool size follow.

Positive pairs grow with the number of images, negative ones with its square. A cut that is best on a fold is therefore
too loose for a pool ρ times as large, where every true positive of the fold meets ρ times as many false ones: the
best cut there maximises ``2·TP / (TP + ρ·FP + P)``; with ρ = 1 this is pairwise F1.
"""

from collections.abc import Sequence
from dataclasses import replace
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
"""Largest number of points per subset and method; enough for folds of a few hundred lesions."""

_LARGEST = 2.0
"""The largest possible distance."""


class OperatingPoints(Block):
    """Cuts of one subset with their counts, fewest predicted pairs first, for a method with distances.

    Attributes:
        cuts: Strictly monotone.
        tp: Number of predicted positive pairs at each cut.
        fp: Number of predicted negative pairs at each cut.
        n_positive_pairs: Number of positive pairs in the subset.
        n_images: Number of images in the subset.
        reach: Distance beyond which counts are unknown, because the curve ended there; usually the largest distance,
            which is not stored.
        is_similarity: Whether cuts are similarities, so that a lower cut predicts more pairs, or distances.
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
            raise ValueError("cuts, tp and fp have different lengths")
        if not (never_falls(self.tp) and never_falls(self.fp)):
            raise ValueError("tp and fp must not fall")
        if not (never_falls(self.cuts) or never_falls(self.cuts[::-1])):
            raise ValueError("cuts must rise, or fall")
        if self.tp and self.tp[-1] > self.n_positive_pairs:
            raise ValueError("there are more true positives than positive pairs")
        return self

    def best_cut(self, rho: float) -> float:
        """Return the cut for a pool ``rho`` times as large; if several are equal, the one with fewest predicted pairs.

        Args:
            rho: Size of the pool / size of the subset.

        Returns:
            The cut; NaN if there is none.
        """
        if not self.cuts:
            return float("nan")
        tp, fp = np.array(self.tp), np.array(self.fp)
        return self.cuts[np.argmax(2.0 * tp / (tp + rho * fp + self.n_positive_pairs))]

    def counts_at(self, cuts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return true and false positives at any cuts: 0 before the first row, interpolated linearly between rows."""
        direction = -1.0 if self.is_similarity else 1.0
        places, own = direction * cuts, direction * np.array(self.cuts)
        tp, fp = (np.interp(places, own, counts, left=0.0) for counts in (self.tp, self.fp))
        return tp, fp


class Thresholds(OperatingPoints):
    """Operating points of a method with similarities."""

    is_similarity: ClassVar[bool] = True


def _of_method(method: str, points: OperatingPoints) -> OperatingPoints:
    """Return operating points as the class of their method, since files only contain the method's name."""
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
"""Subsets by method."""


class KnownCuts(Block):
    """The cuts of a model for one method: the user's, the folds' mean, and those of the folds for other pools.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        given: Cut set by the user.
        value: Mean of the folds' own cuts; None if the method or the folds have none.
        operating_points: Operating points of the folds.
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


def operating_points(sweep: Sweep, low: float, high: float, n_images: int, is_whole: bool = True) -> OperatingPoints:
    """Return the points of a curve that determine the cuts for pools of any size.

    Between two rows at which a positive pair enters, only false positives are added, so no other row is ever best. Some
    of these rows are left out, but never one that is best for some ρ: in the plane of false against true positives,
    that is the row with the steepest line from the point ``(-P/ρ, 0)``, a corner of the upper convex hull, as in ROC
    analysis (Provost and Fawcett 2001).

    Args:
        sweep: The curve.
        low: Smallest allowed cut.
        high: Largest allowed cut.
        n_images: Number of images in the subset.
        is_whole: Whether the curve is complete; otherwise only the rows before its last one are certain, and the last
            of these at which a positive pair enters is the reach.

    Returns:
        The points; none if there is no positive pair, or no pair is predicted in the range.
    """
    inside = _within(sweep if is_whole else _without_last(sweep), low, high)
    enters = np.flatnonzero(np.diff(inside.tp, prepend=0) > 0)
    if len(enters) == 0 and sweep.n_positive_pairs:
        enters = np.arange(min(1, len(inside.tp)))  # every cut has an F1 of 0: the one with fewest predicted pairs
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
    """Return the rows at the corners of the upper convex hull of false against true positives (Andrew 1979)."""
    hull: list[int] = []
    for row in rows.tolist():
        while len(hull) > 1 and not _turns_right(sweep, hull[-2], hull[-1], row):
            hull.pop()
        if hull and sweep.fp[row] == sweep.fp[hull[-1]]:
            hull.pop()  # more true positives without more false ones
        hull.append(row)
    return hull


def _turns_right(sweep: Sweep, first: int, middle: int, last: int) -> bool:
    """Whether the middle one of three rows is above the line through the others; exact, in integers."""
    run, rise = int(sweep.fp[middle] - sweep.fp[first]), int(sweep.tp[middle] - sweep.tp[first])
    whole_run, whole_rise = int(sweep.fp[last] - sweep.fp[first]), int(sweep.tp[last] - sweep.tp[first])
    return rise * whole_run > whole_rise * run


def _within(sweep: Sweep, low: float, high: float) -> Sweep:
    """Return the rows that some cut in the range predicts, with their reported cuts moved into it."""
    beyond = 2.0 * sweep.reported - sweep.cuts  # the next cut that changes the counts
    lowest, highest = np.minimum(sweep.cuts, beyond), np.maximum(sweep.cuts, beyond)
    kept = (highest >= low) & (lowest <= high)
    clipped = (np.maximum(lowest, low) + np.minimum(highest, high)) / 2
    middles = np.where((lowest >= low) & (highest <= high), sweep.reported, clipped)
    return Sweep(sweep.method, sweep.cuts[kept], middles[kept], sweep.tp[kept], sweep.fp[kept], sweep.n_positive_pairs)
