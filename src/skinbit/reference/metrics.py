"""Metrics of the pairs, ranks and groups of a labelled pool, each from its definition.

A pool of n images has a matrix of similarities, ``(n, n)`` and symmetric. Its pairs are those above the diagonal, row
by row; ``positive`` says which of them show the same lesion.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

UNDEFINED = float("nan")


class Curve(NamedTuple):
    """Counts of predicted pairs at each cut, from few predicted pairs to many."""

    cuts: Array
    tp: Rows
    fp: Rows


class PairMetrics(NamedTuple):
    """F1, precision and recall of pairs."""

    f1: float
    precision: float
    recall: float


NO_METRICS = PairMetrics(UNDEFINED, UNDEFINED, UNDEFINED)


def of_pairs(matrix: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the values of all pairs of a matrix, ``(n (n - 1) / 2,)``."""
    return matrix[np.triu_indices(len(matrix), 1)]


def are_together(groups: Rows) -> Mask:
    """Return which pairs are in the same group, or show the same lesion."""
    together: Mask = of_pairs(np.equal.outer(groups, groups)).astype(bool)
    return together


def pair_metrics(tp: int, fp: int, n_positive: int) -> PairMetrics:
    """Return the metrics of predicted pairs; precision is undefined if none is predicted, all if none is positive."""
    if n_positive == 0:
        return NO_METRICS
    predicted = tp + fp
    return PairMetrics(2 * tp / (predicted + n_positive), tp / predicted if predicted else UNDEFINED, tp / n_positive)


def metrics_of(predicted: Mask, positive: Mask) -> PairMetrics:
    """Return the metrics of predicted pairs."""
    tp = int((predicted & positive).sum())
    return pair_metrics(tp, int(predicted.sum()) - tp, int(positive.sum()))


def sweep_thresholds(alike: Array, positive: Mask) -> Curve:
    """Return the counts at every distinct similarity, the most similar pairs first; equal ones enter together."""
    order = np.argsort(-alike, kind="stable")
    ranked, found = alike[order], np.cumsum(positive[order], dtype=np.int64)
    last = np.flatnonzero(np.diff(ranked, append=-np.inf))
    return Curve(ranked[last], found[last], last + 1 - found[last])


def best_threshold(alike: Array, positive: Mask, low: float = -1.0, high: float = 1.0) -> tuple[float, PairMetrics]:
    """Return the threshold with the highest F1 and its metrics; of several, that with fewest predicted pairs.

    It is midway between the lowest similarity that it includes, or the upper end of the range, and the next one below,
    or the lower end.
    """
    if not positive.any():
        return UNDEFINED, NO_METRICS
    curve = sweep_thresholds(alike, positive)
    inside = (curve.cuts >= low) & (curve.cuts < high)
    at_high = alike >= high
    found = int((at_high & positive).sum())
    cuts = [high, *curve.cuts[inside]]
    steps = [
        (found, int(at_high.sum()) - found),
        *zip(curve.tp[inside].tolist(), curve.fp[inside].tolist(), strict=True),
    ]
    n_positive = int(positive.sum())
    metrics = [pair_metrics(tp, fp, n_positive) for tp, fp in steps]
    best = max(range(len(cuts)), key=lambda step: metrics[step].f1)  # the first of equals
    next_lower = alike[alike < cuts[best]].max(initial=-1.0)
    return float(cuts[best] + max(low, next_lower)) / 2, metrics[best]


def roc_auc(alike: Array, positive: Mask) -> float:
    """Return the probability that a positive pair is more similar than a negative one; ties count half."""
    if positive.all() or not positive.any():
        return UNDEFINED
    curve = sweep_thresholds(alike, positive)
    won, above = 0.0, 0
    for n_positive, n_negative in zip(np.diff(curve.tp, prepend=0), np.diff(curve.fp, prepend=0), strict=True):
        won += float(n_positive) * (curve.fp[-1] - above - n_negative / 2)
        above += n_negative
    return won / (float(curve.tp[-1]) * float(curve.fp[-1]))


def average_precision(alike: Array, positive: Mask) -> float:
    """Return the mean precision over positive pairs; equally similar pairs enter together."""
    if not positive.any():
        return UNDEFINED
    curve = sweep_thresholds(alike, positive)
    entered = np.diff(curve.tp, prepend=0)
    return float((entered * curve.tp / (curve.tp + curve.fp)).sum() / curve.tp[-1])


def recall_at(matrix: Array, lesions: Rows, k: int) -> float:
    """Return the share of images with a partner that have one among their k nearest images.

    If equally similar images do not all fit, an image counts with the probability that a partner is among them.
    """
    chances = []
    for others, partners in _others(matrix, lesions):
        nearest = partners.max()
        nearer, tied = int((others > nearest).sum()), int((others == nearest).sum())
        drawn = min(max(0, k - nearer), tied)
        foreign = tied - int((partners == nearest).sum())
        chances.append(1 - math.comb(foreign, drawn) / math.comb(tied, drawn))
    return sum(chances) / len(chances) if chances else UNDEFINED


def mean_average_precision(matrix: Array, lesions: Rows) -> float:
    """Return the mean over images with a partner of the mean precision at each partner; ties enter together."""
    found = [
        np.mean([(partners >= partner).sum() / (others >= partner).sum() for partner in partners])
        for others, partners in _others(matrix, lesions)
    ]
    return float(np.mean(found)) if found else UNDEFINED


def _others(matrix: Array, lesions: Rows) -> list[tuple[Array, Array]]:
    """Return, of each image with a partner, its similarities to all other images and to its partners."""
    found = []
    for row in range(len(matrix)):
        is_partner = lesions == lesions[row]
        is_partner[row] = False
        if is_partner.any():
            found.append((np.delete(matrix[row], row), matrix[row][is_partner]))
    return found


def group_metrics(groups: Rows, lesions: Rows) -> dict[str, float]:
    """Return BCubed F1, adjusted Rand index, adjusted mutual information and the relative error of the group count."""
    n_groups, n_lesions = len(set(groups.tolist())), len(set(lesions.tolist()))
    return {
        "bcubed_f1": bcubed_f1(groups, lesions),
        "ari": adjusted_rand(groups, lesions),
        "ami": adjusted_information(groups, lesions),
        "n_groups_error": (n_groups - n_lesions) / n_lesions,
    }


def bcubed_f1(groups: Rows, lesions: Rows) -> float:
    """Return the harmonic mean of BCubed precision and recall, both means over images (Amigó et al. 2009)."""
    in_group, of_lesion = Counter(groups.tolist()), Counter(lesions.tolist())
    in_both = Counter(zip(groups.tolist(), lesions.tolist(), strict=True))
    images = list(zip(groups.tolist(), lesions.tolist(), strict=True))
    precision = math.fsum(in_both[group, lesion] / in_group[group] for group, lesion in images) / len(images)
    recall = math.fsum(in_both[group, lesion] / of_lesion[lesion] for group, lesion in images) / len(images)
    return 2 * precision * recall / (precision + recall)


def adjusted_rand(groups: Rows, lesions: Rows) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985); undefined if no pair, or every pair, is positive."""
    together, positive = are_together(groups), are_together(lesions)
    if positive.all() or not positive.any():
        return UNDEFINED
    n_together, n_positive = int(together.sum()), int(positive.sum())
    by_chance = n_together * n_positive / len(positive)
    return (int((together & positive).sum()) - by_chance) / ((n_together + n_positive) / 2 - by_chance)


def adjusted_information(groups: Rows, lesions: Rows) -> float:
    """Return the adjusted mutual information with the mean of both entropies (Vinh et al. 2010).

    It is undefined if no pair, or every pair, is positive, and 0 if groups are trivial in this way.
    """
    n = len(groups)
    in_group, of_lesion = Counter(groups.tolist()), Counter(lesions.tolist())
    if len(of_lesion) in (1, n):
        return UNDEFINED
    if len(in_group) in (1, n):
        return 0.0
    in_both = Counter(zip(groups.tolist(), lesions.tolist(), strict=True))
    shared = math.fsum(
        common / n * math.log(n * common / (in_group[group] * of_lesion[lesion]))
        for (group, lesion), common in in_both.items()
    )
    entropy = math.fsum(-size / n * math.log(size / n) for sizes in (in_group, of_lesion) for size in sizes.values())
    sizes, other_sizes = Counter(in_group.values()), Counter(of_lesion.values())
    by_chance = math.fsum(
        times * other_times * _expected_information(size, other, n)
        for size, times in sizes.items()
        for other, other_times in other_sizes.items()
    )
    return min(1.0, (shared - by_chance) / (entropy / 2 - by_chance))


def _expected_information(size: int, other: int, n: int) -> float:
    """Return the mean contribution of two random sets of images to mutual information, by the number in common."""
    return math.fsum(
        math.comb(size, common)
        * math.comb(n - size, other - common)
        / math.comb(n, other)
        * (common / n)
        * math.log(n * common / (size * other))
        for common in range(max(1, size + other - n), min(size, other) + 1)
    )
