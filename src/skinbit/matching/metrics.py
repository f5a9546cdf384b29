"""Figures that need no cut: how well positive pairs rank above negative ones, and nearest neighbours."""

import numpy as np

from skinbit.matching.pairs import FloatArray, LabelArray, row_blocks
from skinbit.matching.ranking import PairRanking


def roc_auc(ranking: PairRanking) -> float:
    """Give the chance that a positive pair is more similar than a negative one, ties counting half.

    Args:
        ranking: From :func:`skinbit.matching.ranking.rank_pairs`.

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
    """Give the mean of precision over the positive pairs, equal similarities entering together.

    Args:
        ranking: From :func:`skinbit.matching.ranking.rank_pairs`.

    Returns:
        Average precision in (0, 1], as scikit-learn defines it (no interpolation); NaN without a positive pair.
    """
    if ranking.n_positive_pairs == 0:
        return float("nan")
    precision = np.cumsum(ranking.n_positives_at) / ranking.n_at_least
    return float((ranking.n_positives_at * precision).sum() / ranking.n_positive_pairs)


def recall_at_1(similarities: FloatArray, labels: LabelArray) -> float:
    """Give the share of images whose most similar other image shows the same lesion.

    Args:
        similarities: ``(n, n)`` float32.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        Recall@1 in [0, 1] over images that have a partner; of several equally near images the share that shows
        the same lesion counts; NaN where no image has a partner.
    """
    has_partner = np.bincount(labels)[labels] > 1
    if not has_partner.any():
        return float("nan")
    hits = np.empty(len(labels))
    for start, stop in row_blocks(len(labels)):
        others = similarities[start:stop].copy()
        others[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        nearest = others == others.max(axis=1, keepdims=True)
        same = labels[start:stop, None] == labels[None, :]
        hits[start:stop] = (nearest & same).sum(axis=1) / nearest.sum(axis=1)
    return float(hits[has_partner].mean())
