"""F1 for resampled lesions, given how often each was drawn, and the intervals of these values."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from skinbit.reference.metrics import UNDEFINED, Array, Mask, Rows


def draws(n_lesions: int, n_resamples: int, seed: Sequence[int]) -> Rows:
    """Return how often each lesion of a fold is drawn, ``(n_resamples, n_lesions)``."""
    drawn = np.random.default_rng(seed).integers(0, max(1, n_lesions), size=(n_resamples, n_lesions))
    return np.array([np.bincount(row, minlength=n_lesions) for row in drawn]).reshape(n_resamples, n_lesions)


def resampled_f1(predicted: Mask, lesions: Rows, drawn: Rows) -> Array:
    """Return pairwise F1 of a fold for each resample.

    A lesion that was drawn k times counts k times in its own pairs; a pair of two lesions counts as often as the
    product of their draws, times n / (n - 1), with n lesions.

    Args:
        predicted: The predicted pairs.
        lesions: Lesion of each image, 0 to n - 1.
        drawn: From :func:`draws`.
    """
    one, other = (lesions[rows] for rows in np.triu_indices(len(lesions), 1))
    n_lesions = drawn.shape[1]
    n_positive = np.bincount(one[one == other], minlength=n_lesions)
    found = np.bincount(one[predicted & (one == other)], minlength=n_lesions)
    wrong = [(a, b) for a, b in zip(one[predicted].tolist(), other[predicted].tolist(), strict=True) if a != b]
    first, second = np.array(wrong, dtype=np.int64).reshape(-1, 2).T
    values = []
    for times in drawn:
        tp, fp = float(times @ found), float((times[first] * times[second]).sum())
        fp *= n_lesions / (n_lesions - 1) if n_lesions > 1 else 1.0
        of_all = float(times @ n_positive)
        values.append(2.0 * tp / (tp + fp + of_all) if of_all else UNDEFINED)
    return np.array(values)


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
