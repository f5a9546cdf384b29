"""Prediction by cosine threshold: a pair is positive if similarity >= threshold."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skinbit.matching.curves import UNDEFINED, Choice, Sweep, select
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.ranking import PairRanking


class HeadSize(NamedTuple):
    """Number of most similar pairs with which a curve starts; changes the number of its rows, not its maximum."""

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
    """Return the curve over all distinct thresholds that may have the highest F1; equal similarities enter together.

    Beyond the k most similar pairs, F1 is at most ``2P / (k + 1 + P)``, with P positive pairs. The sweep starts with
    ten pairs per positive pair (and at least 1,000) and continues until no further pair can raise the maximum.

    Args:
        most_similar: Function that returns the most similar pairs, like
            :meth:`skinbit.matching.pairs.neighbours.NeighbourGraph.most_similar`.
        positives: Similarities of all positive pairs, in any order.
        n_pairs: Number of all pairs.
        size: Number of pairs with which the sweep starts, and the factor by which it grows.

    Returns:
        The head of the curve: one row per distinct similarity, ``method`` ``cosine``; its maximum is that over all
        thresholds. A reported threshold is midway between neighbouring similarities (-1 is the neighbour of the
        lowest).

    Raises:
        NotHeldError: If pairs are needed that are not held.
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
    """Return a curve that is extended through given similarities.

    Args:
        head: From :func:`sweep_most_similar`.
        ranking: Ranks of the same pairs.
        cuts: ``(m,)`` float32, ascending, below the head.
        n_at_least: ``(m,)``, number of all pairs with at least each of these similarities.

    Returns:
        The head, then one row per similarity, which is also the reported threshold.
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
    """Return the threshold in a range with the highest pairwise F1; if several are equal, the highest threshold.

    In a range, F1 peaks at its upper end or where a positive pair enters, as between these only false positives are
    added.

    Args:
        ranking: Ranks of positive pairs.
        within: Lowest and highest threshold.
        n_at_high: Number of pairs with at least the highest threshold.
        largest_below: Function that returns the largest similarity below another one; -1 if there is none.

    Returns:
        The choice; its threshold is midway between the lowest included similarity (or the highest threshold) and the
        next one below (or the lowest threshold); ``UNDEFINED`` if there is no positive pair.
    """
    low, high = within
    if ranking.n_positive_pairs == 0:
        return UNDEFINED
    positives = ranking.positives.astype(np.float64)  # otherwise the ends would be rounded to single precision
    inside = positives[(positives >= low) & (positives < high)]
    cuts = np.append(high, inside)
    n_predicted = np.append(n_at_high, ranking.n_at_least[np.isin(ranking.positives, inside)])
    tp = np.append(0, np.cumsum(ranking.n_positives_at))[np.searchsorted(-ranking.positives, -cuts, side="right")]
    choice = select(Sweep("cosine", cuts, cuts, tp, n_predicted - tp, ranking.n_positive_pairs))
    return replace(choice, cut=(choice.cut + max(low, largest_below(choice.cut))) / 2)
