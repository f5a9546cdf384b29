"""Variation of F1 with the sample of lesions: intervals and comparisons by bootstrap over lesions.

Lesions are drawn with replacement within each fold (Efron 1979), because the pairs and images of a lesion are not
independent. A lesion that is drawn twice counts twice in all of its pairs; pairs between its two copies do not count,
as they would be pairs of an image with itself. To compensate, pairs of different lesions are weighted by n / (n - 1),
with n lesions. Predictions do not change: an interval covers the sample of lesions, but neither another training nor
another selection of the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.matching.labels import LabelArray
from skinbit.matching.methods import METHODS
from skinbit.matching.scoring.group_metrics import count_overlaps

_WEIGHTS_AT_ONCE = 2**22
"""Number of weights of lesions that are processed at once: 32 MB."""


@dataclass(frozen=True)
class PredictedPairs:
    """The predicted pairs of a subset, counted by lesion and by pair of lesions, from which F1 follows.

    Attributes:
        n_lesions: Number of lesions in the subset, in the order of their labels.
        true_pairs: ``(n_lesions,)``, predicted pairs within each lesion.
        positive_pairs: ``(n_lesions,)``, all pairs within each lesion.
        false_a: ``(m,)``, lesions with predicted pairs with another lesion.
        false_b: ``(m,)``, the other lesions, with higher numbers; each pair of lesions occurs once.
        false_count: ``(m,)`` float64, predicted pairs between both lesions; half of them if only one lesion is in the
            stratum.
    """

    n_lesions: int
    true_pairs: LabelArray
    positive_pairs: LabelArray
    false_a: LabelArray
    false_b: LabelArray
    false_count: NDArray[np.float64]


def predicted_pairs(pairs: LabelArray, labels: LabelArray) -> PredictedPairs:
    """Return predicted pairs, counted by lesion.

    Args:
        pairs: ``(m, 2)`` rows of two images that are predicted to show the same lesion, each pair once, in either
            order.
        labels: ``(n,)``, lesion of each image, any numbers.

    Raises:
        ValueError: If a pair occurs twice, or is an image with itself.
    """
    if (pairs[:, 0] == pairs[:, 1]).any() or len(np.unique(_keys(pairs[:, 0], pairs[:, 1], len(labels)))) < len(pairs):
        raise ValueError("a predicted pair occurs twice, or is an image with itself")
    lesions, sizes = _number_lesions(labels)
    keys = _keys(lesions[pairs[:, 0]], lesions[pairs[:, 1]], len(sizes))
    return _from_counts(keys, np.ones(len(keys)), sizes)


def predicted_pairs_of_groups(cluster_ids: LabelArray, labels: LabelArray) -> PredictedPairs:
    """Return the pairs that groups predict, all pairs within a group, counted by lesion.

    Args:
        cluster_ids: ``(n,)``, group of each image, any numbers.
        labels: ``(n,)``, lesion of each image, any numbers.
    """
    overlaps = count_overlaps(cluster_ids, labels)
    groups, lesions, n_common = overlaps.groups, overlaps.lesions, overlaps.n_common
    n_lesions = len(overlaps.lesion_sizes)
    keys, counts = [_keys(lesions, lesions, n_lesions)], [n_common * (n_common - 1) // 2]
    # Lesions of a group are adjacent: pair each with its next, its next but one, … while there are any.
    for step in range(1, len(groups)):
        same = groups[:-step] == groups[step:]
        if not same.any():
            break
        keys.append(_keys(lesions[:-step][same], lesions[step:][same], n_lesions))
        counts.append(n_common[:-step][same] * n_common[step:][same])
    return _from_counts(np.concatenate(keys), np.concatenate(counts), overlaps.lesion_sizes)


def _number_lesions(labels: LabelArray) -> tuple[LabelArray, LabelArray]:
    """Return the number of each image's lesion and the number of images of each lesion."""
    _, lesions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return lesions, sizes


def _keys(numbers_a: LabelArray, numbers_b: LabelArray, n_numbers: int) -> LabelArray:
    """Return two numbers below ``n_numbers``, in either order, as one."""
    return np.minimum(numbers_a, numbers_b) * n_numbers + np.maximum(numbers_a, numbers_b)


def _from_counts(keys: LabelArray, counts: NDArray[np.integer | np.float64], sizes: LabelArray) -> PredictedPairs:
    """Return the sums of counts between two lesions, or within one, which may occur several times."""
    distinct, where = np.unique(keys, return_inverse=True)
    totals = np.bincount(where, weights=counts, minlength=len(distinct))  # integers: exact in double precision
    lesions_a, lesions_b = np.divmod(distinct, max(1, len(sizes)))
    is_own = lesions_a == lesions_b
    true_pairs = np.zeros(len(sizes), dtype=np.int64)
    true_pairs[lesions_a[is_own]] = totals[is_own]
    others = ~is_own
    return PredictedPairs(
        n_lesions=len(sizes),
        true_pairs=true_pairs,
        positive_pairs=sizes * (sizes - 1) // 2,
        false_a=lesions_a[others],
        false_b=lesions_b[others],
        false_count=totals[others],
    )


def join_folds(folds: Sequence[PredictedPairs]) -> PredictedPairs:
    """Return folds joined to one subset, in whose F1 every pair has the same weight.

    Args:
        folds: At least one fold; pairs between folds are neither predicted nor counted.

    Returns:
        The lesions of the first fold, then those of the second, …
    """
    first_of = np.cumsum([0, *(fold.n_lesions for fold in folds)])
    return PredictedPairs(
        n_lesions=int(first_of[-1]),
        true_pairs=np.concatenate([fold.true_pairs for fold in folds]),
        positive_pairs=np.concatenate([fold.positive_pairs for fold in folds]),
        false_a=np.concatenate([fold.false_a + first for fold, first in zip(folds, first_of[:-1], strict=True)]),
        false_b=np.concatenate([fold.false_b + first for fold, first in zip(folds, first_of[:-1], strict=True)]),
        false_count=np.concatenate([fold.false_count for fold in folds]),
    )


def weighted_f1(predicted: PredictedPairs, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return F1 over pairs for weighted lesions.

    A pair of the same lesion has the lesion's weight, a pair of two lesions the product of both weights.

    Args:
        predicted: Predicted pairs of one subset.
        weights: ``(n_resamples, n_lesions)``, weight of each lesion; with 1 everywhere, F1 is exact.

    Returns:
        ``(n_resamples,)`` F1 in [0, 1]; NaN if no positive pair has a weight.
    """
    return _weigh(predicted, weights, 1.0)


def _weigh(predicted: PredictedPairs, weights: NDArray[np.float64], false_weight: float) -> NDArray[np.float64]:
    """Return F1 like :func:`weighted_f1`, with false pairs weighted by ``false_weight``."""
    tp, positive = weights @ predicted.true_pairs, weights @ predicted.positive_pairs
    fp = false_weight * _weighted_false_pairs(predicted, weights)
    f1 = np.full(len(weights), np.nan)
    np.divide(2.0 * tp, tp + fp + positive, out=f1, where=positive > 0)
    return f1


def _weighted_false_pairs(predicted: PredictedPairs, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    if len(predicted.false_count) == 0:
        return np.zeros(len(weights))
    by_lesion: NDArray[np.float64] = np.ascontiguousarray(weights.T)
    shape = (predicted.n_lesions, predicted.n_lesions)
    between = csr_array((predicted.false_count, (predicted.false_a, predicted.false_b)), shape=shape)
    false_pairs: NDArray[np.float64] = (by_lesion * np.asarray(between @ by_lesion)).sum(axis=0)
    return false_pairs


def mean_f1(folds: Sequence[PredictedPairs]) -> float:
    """Return the mean over folds of pairwise F1.

    Returns:
        Mean in [0, 1] over the folds with a positive pair; NaN if there are none.
    """
    each = [weighted_f1(fold, np.ones((1, fold.n_lesions))) for fold in folds]
    return float(_mean_of_defined(np.array(each).reshape(len(folds), 1))[0])


def _mean_of_defined(by_fold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the rows that are not NaN, ``(n_folds, m)`` to ``(m,)``; NaN if all are."""
    is_defined = ~np.isnan(by_fold)
    means = np.full(by_fold.shape[1], np.nan)
    n_defined = is_defined.sum(axis=0)
    np.divide(np.where(is_defined, by_fold, 0.0).sum(axis=0), n_defined, out=means, where=n_defined > 0)
    return means


def bootstrap_f1(
    folds: Sequence[PredictedPairs], n_resamples: int, seed: int, weights_at_once: int = _WEIGHTS_AT_ONCE
) -> NDArray[np.float64]:
    """Return the mean F1 over folds for lesions drawn with replacement within each fold.

    Args:
        folds: At least one fold.
        n_resamples: Number of bootstrap samples.
        seed: Seed, not negative. The same seed draws the same lesions from folds with the same number of lesions, so
            the results of two experiments on the same folds are paired. A larger number of samples starts with the same
            samples.
        weights_at_once: Number of weights of lesions in memory; changes no result.

    Returns:
        ``(n_resamples,)`` F1 in [0, 1]. Folds without a positive pair in a sample are left out of the mean; NaN if all
        are.
    """
    by_fold = [
        _resample(fold, n_resamples, np.random.default_rng([seed, n]), weights_at_once) for n, fold in enumerate(folds)
    ]
    return _mean_of_defined(np.array(by_fold).reshape(len(folds), n_resamples))


def _resample(
    fold: PredictedPairs, n_resamples: int, rng: np.random.Generator, weights_at_once: int
) -> NDArray[np.float64]:
    n_lesions = fold.n_lesions
    # On average, one in n pairs of drawn lesions is a lesion with its copy, which cannot be confused.
    false_weight = n_lesions / (n_lesions - 1) if n_lesions > 1 else 1.0
    n_at_once = max(1, weights_at_once // max(1, n_lesions))
    sizes = [min(n_at_once, n_resamples - start) for start in range(0, n_resamples, n_at_once)]
    drawn = (_draw_weights(n_lesions, size, rng) for size in sizes)
    return np.concatenate([np.empty(0), *(_weigh(fold, weights, false_weight) for weights in drawn)])


def _draw_weights(n_lesions: int, n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each lesion is drawn when as many lesions as there are are drawn with replacement."""
    drawn = rng.integers(0, max(1, n_lesions), size=(n_resamples, n_lesions))
    drawn += np.arange(n_resamples)[:, None] * n_lesions
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_lesions)
    return counts.reshape(n_resamples, n_lesions).astype(np.float64)


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the range of the middle share of resampled values.

    Args:
        values: ``(n_resamples,)``; NaN are ignored.
        level: Share of the values, in (0, 1).

    Returns:
        Lower and upper end (percentile interval); NaN if all values are.

    Raises:
        ValueError: If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_f1(subsets: Sequence[Mapping[str, PredictedPairs]], n_resamples: int, seed: int) -> pd.DataFrame:
    """Return the mean F1 of subsets for bootstrap samples of lesions.

    Args:
        subsets: Predicted pairs of every subset, by method; a subset without a cut of a method is left out of its mean.
        n_resamples: Number of bootstrap samples of lesions, within each subset.
        seed: Seed of the bootstrap; with the same seed, rows of experiments on the same subsets are paired.

    Returns:
        One column per method, one row per sample; NaN if no subset has a positive pair.
    """
    defined = {method: [subset[method] for subset in subsets if method in subset] for method in METHODS}
    undefined = np.full(n_resamples, np.nan)
    return pd.DataFrame(
        {method: bootstrap_f1(found, n_resamples, seed) if found else undefined for method, found in defined.items()}
    )


def f1_intervals(resampled_f1: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the range of the middle 95 % of resampled F1.

    Args:
        resampled_f1: From :func:`resample_f1`.

    Returns:
        Low and high end, by method.
    """
    return {method: interval(resampled_f1[method].to_numpy(np.float64)) for method in METHODS}
