"""Same lesion or not, by cosine threshold: similarity >= threshold predicts a positive pair."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skinbit.matching.curves import UNDEFINED, Choice, Sweep, select
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.ranking import PairRanking


class HeadSize(NamedTuple):
    """How many of the most similar pairs a curve starts with; changes the number of its rows, never its maximum."""

    at_least: int = 1_000
    per_positive: int = 10
    growth: int = 8


DEFAULT_HEAD = HeadSize()


def sweep_most_similar(
    most_similar: Callable[[int], tuple[FloatArray, float]],
    positives: FloatArray,
    n_pairs: int,
    size: HeadSize = DEFAULT_HEAD,
) -> Sweep:
    """Evaluate every distinct threshold that could give the highest F1; equal similarities enter together.

    Beyond the k most similar pairs F1 is at most ``2P / (k + 1 + P)``, with P positive pairs. The sweep starts with ten
    pairs per positive one (and at least 1,000) and goes on until no pair beyond could raise the maximum.

    Args:
        most_similar: Returns so many of the most similar pairs, as
            :meth:`skinbit.matching.pairs.neighbours.NeighbourGraph.most_similar` does.
        positives: Similarities of all positive pairs, in any order.
        n_pairs: All pairs.
        size: How many pairs the sweep starts with, and by how many times more it goes on.

    Returns:
        The curve's head: a row per distinct similarity, ``method`` ``cosine``; its maximum is that over all thresholds.
        A reported threshold lies midway between two neighbouring similarities (-1 is the neighbour of the lowest one).

    Raises:
        NotHeldError: If that takes pairs which are not held.
    """
    descending = np.sort(positives)[::-1]
    n_head = max(size.at_least, size.per_positive * len(positives))
    while True:
        nearest, below = most_similar(n_head)
        head = _sweep_of(nearest, below, descending)
        highest_beyond = 2 * len(positives) / (len(nearest) + 1 + len(positives))
        if len(positives) == 0 or len(nearest) == n_pairs or head.f1.max(initial=0.0) >= highest_beyond:
            return head
        n_head *= size.growth


def _sweep_of(nearest: FloatArray, below: float, positives: FloatArray) -> Sweep:
    negated, n_equal = np.unique(-nearest, return_counts=True)
    cuts = -negated.astype(np.float64)
    tp = np.searchsorted(-positives, negated, side="right")
    next_lower = np.append(cuts[1:], below)[: len(cuts)]
    return Sweep("cosine", cuts, (cuts + next_lower) / 2, tp, np.cumsum(n_equal) - tp, len(positives))


def extend(head: Sweep, ranking: PairRanking, cuts: FloatArray, n_at_least: LabelArray) -> Sweep:
    """Draw a curve on through given similarities.

    Args:
        head: From :func:`sweep_most_similar`.
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


def choose_threshold(
    ranking: PairRanking, within: tuple[float, float], n_at_high: int, largest_below: Callable[[float], float]
) -> Choice:
    """Choose the threshold in a range with the highest pairwise F1; of equals the highest threshold.

    In a range F1 peaks at its upper end or where a positive pair enters: between these only false positives are added.

    Args:
        ranking: Of the pairs.
        within: Lowest and highest threshold.
        n_at_high: Pairs of at least the highest threshold.
        largest_below: Returns the largest similarity below another one; -1 where there is none.

    Returns:
        The choice, its threshold midway between the lowest similarity that it takes in (or the highest threshold) and
        the next one below (or the lowest threshold); ``UNDEFINED`` where there is no positive pair.
    """
    low, high = within
    if ranking.n_positive_pairs == 0:
        return UNDEFINED
    positives = ranking.positives.astype(np.float64)  # the ends would be rounded to single precision
    inside = positives[(positives >= low) & (positives < high)]
    cuts = np.append(high, inside)
    n_predicted = np.append(n_at_high, ranking.n_at_least[np.isin(ranking.positives, inside)])
    tp = np.append(0, np.cumsum(ranking.n_positives_at))[np.searchsorted(-ranking.positives, -cuts, side="right")]
    choice = select(Sweep("cosine", cuts, cuts, tp, n_predicted - tp, ranking.n_positive_pairs))
    return replace(choice, cut=(choice.cut + max(low, largest_below(choice.cut))) / 2)
