"""Metrics that need no cut: how well positive pairs rank above negative ones, and nearest neighbours."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.ranking import PairRanking


def roc_auc(ranking: PairRanking) -> float:
    """Return the chance that a positive pair is more similar than a negative one, ties counting half.

    Returns:
        Area under the ROC curve in [0, 1] (Mann-Whitney form); NaN without positive or without negative pairs.
    """
    n_positive = ranking.n_positive_pairs
    n_negative = ranking.n_pairs - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    positives_above = np.cumsum(ranking.n_positives_at) - ranking.n_positives_at
    negatives_above = ranking.n_above - positives_above
    negatives_equal = ranking.n_at_least - ranking.n_above - ranking.n_positives_at
    outranked = n_negative - negatives_above - negatives_equal / 2
    return float((ranking.n_positives_at * outranked).sum() / (n_positive * n_negative))


def average_precision(ranking: PairRanking) -> float:
    """Return the mean precision over the positive pairs; equal similarities enter together.

    Returns:
        Average precision in (0, 1], as scikit-learn defines it (no interpolation); NaN without a positive pair.
    """
    if ranking.n_positive_pairs == 0:
        return float("nan")
    precision = np.cumsum(ranking.n_positives_at) / ranking.n_at_least
    return float((ranking.n_positives_at * precision).sum() / ranking.n_positive_pairs)


def chance_of_partner(n_nearer: LabelArray, n_tied: LabelArray, n_partners: LabelArray, k: int) -> NDArray[np.float64]:
    """Return the chance that an image's most similar partner, or an equally similar one, is among its k most similar.

    Args:
        n_nearer: ``(n,)`` images more similar than its most similar partner.
        n_tied: ``(n,)`` images as similar as that one, itself included.
        n_partners: ``(n,)`` of the tied, those of the same lesion.
        k: At least 1.

    Returns:
        ``(n,)`` in [0, 1].
    """
    n_drawn = np.clip(k - n_nearer, 0, n_tied)  # of the tied, those among the k
    return _chance_of_one(n_drawn, n_partners, n_tied)


def _chance_of_one(n_drawn: LabelArray, n_wanted: LabelArray, n_all: LabelArray) -> NDArray[np.float64]:
    """Return the chance that at least one of some images drawn without replacement is a wanted one, elementwise.

    The first wanted image comes first, or second, …: these chances add up, and none is a difference of nearly equal
    numbers. There are as many terms as images drawn, at most k.
    """
    chance, chance_of_none = np.zeros(len(n_all)), np.ones(len(n_all))
    for n_before in range(int(n_drawn.max(initial=0))):
        is_drawn = n_before < n_drawn
        n_left = np.maximum(n_all - n_before, 1)
        chance += np.where(is_drawn, chance_of_none * n_wanted / n_left, 0.0)
        chance_of_none *= np.maximum(n_left - n_wanted, 0) / n_left
    is_certain = n_drawn > n_all - n_wanted
    return np.where(is_certain, 1.0, np.minimum(chance, 1.0))  # free of rounding errors at the end


def precision_of_partners(partners: FloatArray, n_at_least: LabelArray) -> float:
    """Return the average precision of one image's partners among its others.

    Args:
        partners: ``(m,)`` their similarities to the image, ascending, at least one.
        n_at_least: ``(m,)`` other images at least as similar as each partner.

    Returns:
        In (0, 1].
    """
    n_positives = len(partners) - np.searchsorted(partners, partners)
    return float((n_positives / n_at_least).mean())
