"""The curve of pairwise F1 over a cut, and the choice of a cut on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sweep:
    """Pairwise counts at every cut at which they change, from few predicted pairs to many.

    ``method`` tells what a cut is. For ``cosine`` it is a similarity and rows descend: a threshold ``t`` predicts
    what the row with the smallest ``cut >= t`` predicts. For every other method it is a distance and rows ascend: a cut
    predicts what the row with the largest one that it reaches predicts. Outside the first row nothing is predicted.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        cuts: Similarities or distances that occur, ``(m,)`` float64.
        reported: Midway between the cut and the next one that would change the counts, ``(m,)`` float64.
        tp: Predicted pairs of one lesion, ``(m,)``.
        fp: Predicted pairs of two lesions, ``(m,)``.
        n_positive_pairs: All pairs of one lesion.
    """

    method: str
    cuts: NDArray[np.float64]
    reported: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    n_positive_pairs: int

    @property
    def f1(self) -> NDArray[np.float64]:
        """Pairwise F1 per row, ``2·TP / (predicted + positive)``; NaN where there is no positive pair."""
        return pairwise_f1(self.tp, self.fp, self.n_positive_pairs)


@dataclass(frozen=True)
class Choice:
    """A chosen cut and what it gives; all NaN where F1 is undefined."""

    cut: float
    f1: float
    precision: float
    recall: float


UNDEFINED = Choice(np.nan, np.nan, np.nan, np.nan)


def pairwise_f1(tp: NDArray[np.int64], fp: NDArray[np.int64], n_positive_pairs: int) -> NDArray[np.float64]:
    """Return F1 over pairs from counts.

    Args:
        tp: Predicted pairs of one lesion, any shape.
        fp: Predicted pairs of two lesions, same shape.
        n_positive_pairs: All pairs of one lesion.

    Returns:
        F1 in [0, 1], same shape; 0 where nothing is predicted, NaN where there is no positive pair.
    """
    if n_positive_pairs == 0:
        return np.full(np.shape(tp), np.nan)
    return 2.0 * tp / (tp + fp + n_positive_pairs)


def select(sweep: Sweep) -> Choice:
    """Choose the cut with the highest pairwise F1; of equals, the one that predicts the fewest pairs.

    Returns:
        The choice with its reported cut, ``UNDEFINED`` where there is no positive pair.
    """
    if sweep.n_positive_pairs == 0:
        return UNDEFINED
    best = int(np.argmax(sweep.f1))
    return _choice(sweep, best, float(sweep.reported[best]))


def choice_at(sweep: Sweep, cut: float) -> Choice:
    """Read what any cut gives off a curve.

    Args:
        sweep: The curve of one subset.
        cut: A threshold (``cosine``) or a distance.

    Returns:
        What it gives: F1 0 and undefined precision where it predicts nothing, ``UNDEFINED`` where there is no positive
        pair or the cut is NaN.
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
    """Whether no value is less than the one before it."""
    return all(first <= second for first, second in pairwise(values))
