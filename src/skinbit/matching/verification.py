"""Same lesion or not, by cosine threshold: similarity >= threshold predicts a positive pair."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from skinbit.matching.pairs import FloatArray, LabelArray, pair_blocks, positive_similarities
from skinbit.matching.ranking import PairRanking, count_pairs, most_similar_pairs
from skinbit.matching.selection import UNDEFINED, Choice, Sweep, select

_HEAD_AT_LEAST = 1_000
_HEAD_PER_POSITIVE = 10
_HEAD_GROWTH = 8

_TAIL_STEPS = 500
"""Cuts that the tail of a curve is drawn with, beside those of positive pairs."""


def sweep_thresholds(similarities: FloatArray, labels: LabelArray) -> Sweep:
    """Evaluate every distinct threshold that could give the highest F1; equal similarities enter together.

    Beyond the k most similar pairs F1 is at most ``2P / (k + 1 + P)``, with P positive pairs. The sweep starts with ten
    pairs per positive one (and at least 1,000) and goes on until no pair beyond could raise the maximum.

    Args:
        similarities: ``(n, n)`` float32, symmetric.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        The curve's head: a row per distinct similarity, ``method`` ``cosine``; its maximum is that over all thresholds.
        A reported threshold lies midway between two neighbouring similarities (-1 is the neighbour of the lowest one).
    """
    n_pairs = len(labels) * (len(labels) - 1) // 2
    positives = positive_similarities(similarities, labels)
    return sweep_most_similar(lambda n_head: most_similar_pairs(similarities, n_head), positives, n_pairs)


def sweep_most_similar(
    most_similar: Callable[[int], tuple[FloatArray, float]], positives: FloatArray, n_pairs: int
) -> Sweep:
    """Do as :func:`sweep_thresholds`, wherever the most similar pairs come from.

    Args:
        most_similar: Gives so many, as :func:`skinbit.matching.ranking.most_similar_pairs` does.
        positives: Similarities of all positive pairs, in any order.
        n_pairs: All pairs.

    Returns:
        The curve's head.
    """
    descending = np.sort(positives)[::-1]
    n_head = max(_HEAD_AT_LEAST, _HEAD_PER_POSITIVE * len(positives))
    while True:
        nearest, below = most_similar(n_head)
        head = _sweep_of(nearest, below, descending)
        highest_beyond = 2 * len(positives) / (len(nearest) + 1 + len(positives))
        if len(positives) == 0 or len(nearest) == n_pairs or head.f1.max(initial=0.0) >= highest_beyond:
            return head
        n_head *= _HEAD_GROWTH


def _sweep_of(nearest: FloatArray, below: float, positives: FloatArray) -> Sweep:
    negated, n_equal = np.unique(-nearest, return_counts=True)
    cuts = -negated.astype(np.float64)
    tp = np.searchsorted(-positives, negated, side="right")
    next_lower = np.append(cuts[1:], below)[: len(cuts)]
    return Sweep("cosine", cuts, (cuts + next_lower) / 2, tp, np.cumsum(n_equal) - tp, len(positives))


def with_tail(head: Sweep, similarities: FloatArray, ranking: PairRanking, thresholds: Sequence[float] = ()) -> Sweep:
    """Draw a curve on to the least similar pairs, in a few hundred steps.

    Args:
        head: From :func:`sweep_thresholds`.
        similarities: ``(n, n)`` float32, what it was made of.
        ranking: Of the same pairs.
        thresholds: At these, too, the curve gives exact counts.

    Returns:
        The head, then a row per positive pair beyond it, one per given threshold, and about 500 more, each with its
        exact counts; a reported threshold there is the similarity itself.
    """
    n_tail = ranking.n_pairs - int(head.tp[-1] + head.fp[-1]) if len(head.cuts) else 0
    if n_tail == 0:
        return head
    rows = np.append(ranking.positives, singles_at_least(thresholds))
    cuts = np.union1d(rows[rows < head.cuts[-1]], _sample_below(similarities, head.cuts[-1]))
    return extend(head, ranking, cuts, count_pairs(similarities, cuts)[0])


def extend(head: Sweep, ranking: PairRanking, cuts: FloatArray, n_at_least: LabelArray) -> Sweep:
    """Draw a curve on through given similarities.

    Args:
        head: From :func:`sweep_thresholds`.
        ranking: Of the same pairs.
        cuts: ``(m,)`` float32, ascending, below the head.
        n_at_least: ``(m,)`` pairs of any kind with at least each of these similarities.

    Returns:
        The head, then a row per similarity; a reported threshold there is the similarity itself.
    """
    n_predicted = n_at_least[::-1]
    descending = cuts[::-1].astype(np.float64)
    tp = np.append(0, np.cumsum(ranking.n_positives_at))[np.searchsorted(-ranking.positives, -cuts[::-1], side="right")]
    return Sweep(
        head.method,
        np.append(head.cuts, descending),
        np.append(head.reported, descending),
        np.append(head.tp, tp),
        np.append(head.fp, n_predicted - tp),
        head.n_positive_pairs,
    )


def singles_at_least(thresholds: Sequence[float]) -> FloatArray:
    """Round thresholds up to single precision, in which the same similarities lie above.

    Args:
        thresholds: ``m`` similarities.

    Returns:
        ``(m,)`` float32.
    """
    return np.array([_single_at_least(threshold) for threshold in thresholds], dtype=np.float32)


def _single_at_least(threshold: float) -> np.float32:
    """Round up to single precision: the same similarities lie above."""
    rounded = np.float32(threshold)
    return rounded if np.float64(rounded) >= threshold else np.nextafter(rounded, np.float32(np.inf))


def _sample_below(similarities: FloatArray, highest: float) -> FloatArray:
    """Choose similarities below the head whose ranks rise by about the same factor from each to the next."""
    row = np.concatenate([block[block < highest][::97] for block in pair_blocks(similarities)])
    if len(row) == 0:
        return np.empty(0, dtype=np.float32)
    ranks = np.unique(np.geomspace(1, len(row), _TAIL_STEPS).astype(int)) - 1
    chosen: FloatArray = np.sort(row)[::-1][ranks]
    return chosen


def select_threshold(similarities: FloatArray, ranking: PairRanking, sweep: Sweep, low: float, high: float) -> Choice:
    """Choose the threshold in a range with the highest pairwise F1; of equals the highest threshold.

    In a range F1 peaks at its upper end or where a positive pair enters: between these only false positives are added.

    Args:
        similarities: ``(n, n)`` float32.
        ranking: Of its pairs.
        sweep: From :func:`sweep_thresholds`, of the same pairs.
        low: Lowest threshold.
        high: Highest threshold.

    Returns:
        The choice, its threshold midway between the lowest similarity that it takes in (or ``high``) and the next one
        below (or ``low``); ``UNDEFINED`` where there is no positive pair.
    """
    if (low, high) == (-1.0, 1.0):
        return select(sweep)
    return choose_threshold(
        ranking,
        (low, high),
        _count_at_least(similarities, high),
        lambda threshold: _largest_below(similarities, threshold),
    )


def choose_threshold(
    ranking: PairRanking, within: tuple[float, float], n_at_high: int, largest_below: Callable[[float], float]
) -> Choice:
    """Do as :func:`select_threshold` without a curve, wherever the pairs are looked at.

    Args:
        ranking: Of the pairs.
        within: Lowest and highest threshold.
        n_at_high: Pairs of at least the highest threshold.
        largest_below: Gives the largest similarity below another one; -1 where there is none.

    Returns:
        The choice.
    """
    low, high = within
    if ranking.n_positive_pairs == 0:
        return UNDEFINED
    inside = ranking.positives[(ranking.positives >= low) & (ranking.positives < high)].astype(np.float64)
    cuts = np.append(high, inside)
    n_predicted = np.append(n_at_high, ranking.n_at_least[np.isin(ranking.positives, inside)])
    tp = np.append(0, np.cumsum(ranking.n_positives_at))[np.searchsorted(-ranking.positives, -cuts, side="right")]
    choice = select(Sweep("cosine", cuts, cuts, tp, n_predicted - tp, ranking.n_positive_pairs))
    return replace(choice, cut=(choice.cut + max(low, largest_below(choice.cut))) / 2)


def _count_at_least(similarities: FloatArray, threshold: float) -> int:
    return sum(int(np.count_nonzero(pairs >= np.float64(threshold))) for pairs in pair_blocks(similarities))


def _largest_below(similarities: FloatArray, threshold: float) -> float:
    limit = np.float64(threshold)  # a Python float would be rounded to single precision first
    return max((float(pairs[pairs < limit].max(initial=-1.0)) for pairs in pair_blocks(similarities)), default=-1.0)
