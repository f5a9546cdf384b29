"""Metrics without a cut: how well positive pairs rank above negative ones, and nearest neighbours."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.ranking import PairRanking


def roc_auc(ranking: PairRanking) -> float:
    """Return the probability that a positive pair is more similar than a negative one; ties count half.

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
    """Return the mean precision over positive pairs; equally similar pairs enter together.

    Returns:
        Average precision in (0, 1], as scikit-learn defines it (no interpolation); NaN without a positive pair.
    """
    if ranking.n_positive_pairs == 0:
        return float("nan")
    precision = np.cumsum(ranking.n_positives_at) / ranking.n_at_least
    return float((ranking.n_positives_at * precision).sum() / ranking.n_positive_pairs)


def chance_of_partner(n_nearer: LabelArray, n_tied: LabelArray, n_partners: LabelArray, k: int) -> NDArray[np.float64]:
    """Return the probability that an image's nearest partner, or a tied one, is among its k nearest images.

    Args:
        n_nearer: ``(n,)``, number of images more similar than the nearest partner.
        n_tied: ``(n,)``, number of images as similar as the nearest partner, including it.
        n_partners: ``(n,)``, number of these tied images with the same lesion.
        k: Number of nearest images, at least 1.

    Returns:
        ``(n,)`` in [0, 1].
    """
    n_drawn = np.clip(k - n_nearer, 0, n_tied)  # tied images among the k nearest
    return _chance_of_one(n_drawn, n_partners, n_tied)


def _chance_of_one(n_drawn: LabelArray, n_wanted: LabelArray, n_all: LabelArray) -> NDArray[np.float64]:
    """Return the probability that a draw without replacement has at least one wanted image, elementwise.

    The first wanted image is drawn first, or second, …: these probabilities are summed, so that no difference of nearly
    equal numbers occurs. There are as many terms as images drawn, at most k.
    """
    chance, chance_of_none = np.zeros(len(n_all)), np.ones(len(n_all))
    for n_before in range(int(n_drawn.max(initial=0))):
        is_drawn = n_before < n_drawn
        n_left = np.maximum(n_all - n_before, 1)
        chance += np.where(is_drawn, chance_of_none * n_wanted / n_left, 0.0)
        chance_of_none *= np.maximum(n_left - n_wanted, 0) / n_left
    is_certain = n_drawn > n_all - n_wanted
    return np.where(is_certain, 1.0, np.minimum(chance, 1.0))  # without rounding errors at the end


def precision_of_partners(partners: FloatArray, n_at_least: LabelArray) -> float:
    """Return the average precision of an image's partners among all other images.

    Args:
        partners: ``(m,)``, similarities of the partners to the image, ascending, at least one.
        n_at_least: ``(m,)``, number of other images at least as similar as each partner.

    Returns:
        Average precision in (0, 1].
    """
    n_positives = len(partners) - np.searchsorted(partners, partners)
    return float((n_positives / n_at_least).mean())
