"""Figures that need no cut: how well positive pairs rank above negative ones, and nearest neighbours."""

import numpy as np
from numpy.typing import NDArray

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
    return recall_at(similarities, labels, 1)


def recall_at(similarities: FloatArray, labels: LabelArray, k: int) -> float:
    """Give the share of images with an image of the same lesion among their k most similar other images.

    Args:
        similarities: ``(n, n)`` float32.
        labels: ``(n,)``, the lesion of each image.
        k: At least 1; with more images than there are others, all of them count.

    Returns:
        Recall@k in [0, 1] over images that have a partner. Where only some of several equally similar images are
        among the k, an image counts by the chance that one of them shows its lesion, any of them being equally
        likely to come first. NaN where no image has a partner.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"recall at {k}: at least one image must be looked at")
    has_partner = _has_partner(labels)
    if not has_partner.any():
        return float("nan")
    hits = np.empty(len(labels))
    for start, stop in row_blocks(len(labels)):
        others = similarities[start:stop].copy()
        others[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        same = labels[start:stop, None] == labels[None, :]
        best = np.where(same, others, -np.inf).max(axis=1, keepdims=True)  # most similar partner
        tied = others == best
        n_tied = tied.sum(axis=1)
        hits[start:stop] = chance_of_partner((others > best).sum(axis=1), n_tied, (tied & same).sum(axis=1), k)
    return float(hits[has_partner].mean())


def chance_of_partner(n_nearer: LabelArray, n_tied: LabelArray, n_partners: LabelArray, k: int) -> NDArray[np.float64]:
    """Give the chance that an image's most similar partner, or an equally similar one, is among its k most similar.

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


def _has_partner(labels: LabelArray) -> NDArray[np.bool_]:
    is_shared: NDArray[np.bool_] = np.bincount(labels)[labels] > 1
    return is_shared


def _chance_of_one(n_drawn: LabelArray, n_wanted: LabelArray, n_all: LabelArray) -> NDArray[np.float64]:
    """Give the chance that at least one of some images drawn without replacement is a wanted one, elementwise.

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


def mean_average_precision(similarities: FloatArray, labels: LabelArray) -> float:
    """Give the mean, over images, of how far up the images of their lesion stand among all others.

    Args:
        similarities: ``(n, n)`` float32.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        Mean over images that have a partner of the average precision of their other images, in (0, 1]; equally similar
        images enter together, as in :func:`average_precision`. NaN where no image has a partner.
    """
    has_partner = _has_partner(labels)
    if not has_partner.any():
        return float("nan")
    precisions = [_average_precision_of(similarities[row], labels, row) for row in np.flatnonzero(has_partner).tolist()]
    return float(np.mean(precisions))


def _average_precision_of(similarities: FloatArray, labels: LabelArray, row: int) -> float:
    """Give the average precision of one image's partners among its others, by its similarities to all."""
    is_partner = labels == labels[row]
    is_partner[row] = False
    positives = np.sort(similarities[is_partner])
    # Below the last partner nothing counts; as a rule that leaves few images to sort.
    ranked = np.sort(similarities[similarities >= positives[0]])
    n_at_least = len(ranked) - np.searchsorted(ranked, positives) - (similarities[row] >= positives)
    return precision_of_partners(positives, n_at_least)


def precision_of_partners(partners: FloatArray, n_at_least: LabelArray) -> float:
    """Give the average precision of one image's partners among its others.

    Args:
        partners: ``(m,)`` their similarities to the image, ascending, at least one.
        n_at_least: ``(m,)`` other images at least as similar as each partner.

    Returns:
        In (0, 1].
    """
    n_positives = len(partners) - np.searchsorted(partners, partners)
    return float((n_positives / n_at_least).mean())
