"""The curve of pairwise F1 over a cut, and the selection of a cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sweep:
    """Pairwise counts at every cut at which they change, ordered from few to many predicted pairs.

    The meaning of a cut depends on ``method``. For ``cosine`` it is a similarity and rows descend: a threshold ``t``
    predicts the pairs of the row with the smallest ``cut >= t``. For every other method it is a distance and rows
    ascend: a cut predicts the pairs of the row with the largest cut up to it. Before the first row nothing is
        predicted.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        cuts: ``(m,)`` float64, similarities or distances that occur.
        reported: ``(m,)`` float64, midpoints between the cut and the next one that changes the counts.
        tp: ``(m,)``, predicted positive pairs.
        fp: ``(m,)``, predicted negative pairs.
        n_positive_pairs: Number of positive pairs.
    """

    method: str
    cuts: NDArray[np.float64]
    reported: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    n_positive_pairs: int

    @property
    def f1(self) -> NDArray[np.float64]:
        """Pairwise F1 per row, ``2·TP / (predicted + positive)``; NaN if there is no positive pair."""
        return pairwise_f1(self.tp, self.fp, self.n_positive_pairs)


@dataclass(frozen=True)
class Choice:
    """A chosen cut with its metrics; all NaN if F1 is undefined."""

    cut: float
    f1: float
    precision: float
    recall: float


UNDEFINED = Choice(np.nan, np.nan, np.nan, np.nan)


def pairwise_f1(tp: NDArray[np.int64], fp: NDArray[np.int64], n_positive_pairs: int) -> NDArray[np.float64]:
    """Return pairwise F1 from counts.

    Args:
        tp: Predicted positive pairs, any shape.
        fp: Predicted negative pairs, same shape.
        n_positive_pairs: Number of positive pairs.

    Returns:
        F1 in [0, 1], same shape; 0 if nothing is predicted, NaN if there is no positive pair.
    """
    if n_positive_pairs == 0:
        return np.full(np.shape(tp), np.nan)
    return 2.0 * tp / (tp + fp + n_positive_pairs)


def select(sweep: Sweep) -> Choice:
    """Return the cut with the highest pairwise F1; if several are equal, the one with fewest predicted pairs.

    Returns:
        The choice with its reported cut, ``UNDEFINED`` if there is no positive pair.
    """
    if sweep.n_positive_pairs == 0:
        return UNDEFINED
    best = int(np.argmax(sweep.f1))
    return _choice(sweep, best, float(sweep.reported[best]))


def choice_at(sweep: Sweep, cut: float) -> Choice:
    """Return the metrics of any cut from a curve.

    Args:
        sweep: The curve of one subset.
        cut: A threshold (``cosine``) or a distance.

    Returns:
        The metrics: F1 of 0 and undefined precision if nothing is predicted, ``UNDEFINED`` if there is no positive pair
        or the cut is NaN.
    """
    if sweep.n_positive_pairs == 0 or np.isnan(cut):
        return UNDEFINED
    direction = -1.0 if sweep.method == "cosine" else 1.0
    row = int(np.searchsorted(direction * sweep.cuts, direction * cut, side="right")) - 1
    return _choice(sweep, row, cut) if row >= 0 else Choice(cut, 0.0, np.nan, 0.0)


def _choice(sweep: Sweep, row: int, cut: float) -> Choice:
    tp, fp = int(sweep.tp[row]), int(sweep.fp[row])
    precision = tp / (tp + fp) if tp + fp else np.nan
    return Choice(cut, float(sweep.f1[row]), precision, recall=tp / sweep.n_positive_pairs)


def never_falls(values: Sequence[float]) -> bool:
    """Whether every value is at least as large as the one before it."""
    return all(first <= second for first, second in pairwise(values))
