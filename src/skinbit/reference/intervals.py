"""F1 for resampled lesions, given how often each was drawn, and the intervals of these values."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from skinbit.reference.metrics import UNDEFINED, Array, Mask, PairMetrics, Rows, pair_metrics


def draws(n_lesions: int, n_resamples: int, seed: Sequence[int]) -> Rows:
    """Return how often each lesion of a fold is drawn, ``(n_resamples, n_lesions)``."""
    drawn = np.random.default_rng(seed).integers(0, max(1, n_lesions), size=(n_resamples, n_lesions))
    return np.array([np.bincount(row, minlength=n_lesions) for row in drawn]).reshape(n_resamples, n_lesions)


class LesionCounts(NamedTuple):
    """Pairs of a fold by lesion.

    Attributes:
        positive: ``(n,)`` pairs within each lesion.
        found: ``(n,)`` predicted pairs within each lesion.
        wrong: ``(m, 2)`` lesions of each predicted pair of two lesions.
    """

    positive: Rows
    found: Rows
    wrong: Rows

    @property
    def metrics(self) -> PairMetrics:
        """The metrics of the predicted pairs."""
        return pair_metrics(int(self.found.sum()), len(self.wrong), int(self.positive.sum()))


def count_by_lesion(predicted: Mask, lesions: Rows) -> LesionCounts:
    """Return the pairs of a fold by lesion.

    Args:
        predicted: The predicted pairs.
        lesions: Lesion of each image, 0 to n - 1.
    """
    rows, columns = np.triu_indices(len(lesions), 1)
    one, other = lesions[rows], lesions[columns]
    n_lesions = int(lesions.max(initial=-1)) + 1
    is_own = one == other
    wrong = predicted & ~is_own
    return LesionCounts(
        np.bincount(one[is_own], minlength=n_lesions),
        np.bincount(one[is_own & predicted], minlength=n_lesions),
        np.column_stack([one[wrong], other[wrong]]),
    )


def resampled_f1(counts: LesionCounts, drawn: Rows) -> Array:
    """Return pairwise F1 of a fold for each resample, ``(n_resamples,)``.

    A lesion that was drawn k times counts k times in its own pairs; a pair of two lesions counts as often as the
    product of their draws, times n / (n - 1), with n lesions.

    Args:
        counts: Pairs of the fold.
        drawn: From :func:`draws`.
    """
    n_lesions = drawn.shape[1]
    values = []
    for times in drawn:
        tp, n_positive = int(times @ counts.found), int(times @ counts.positive)
        fp = float((times[counts.wrong[:, 0]] * times[counts.wrong[:, 1]]).sum())
        fp *= n_lesions / (n_lesions - 1) if n_lesions > 1 else 1.0
        values.append(2.0 * tp / (tp + fp + n_positive) if n_positive else UNDEFINED)
    return np.array(values)


def pooled_f1(folds: Iterable[LesionCounts]) -> float:
    """Return F1 over the pairs of all folds together."""
    sums = np.array([[fold.found.sum(), len(fold.wrong), fold.positive.sum()] for fold in folds]).sum(axis=0)
    return pair_metrics(*sums.tolist()).f1


def mean_of_defined(values: Iterable[float]) -> float:
    """Return the mean of the values that are defined; undefined if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else UNDEFINED


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Return the range of the middle 95 % of the defined values, interpolated between them."""
    ranked = sorted(value for value in values if not math.isnan(value))
    if not ranked:
        return UNDEFINED, UNDEFINED
    ends = []
    for share in (0.025, 0.975):
        place = share * (len(ranked) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ranked) - 1)
        ends.append(ranked[below] + (place - below) * (ranked[above] - ranked[below]))
    return ends[0], ends[1]
