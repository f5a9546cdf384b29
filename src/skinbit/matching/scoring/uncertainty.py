"""How far F1 would differ with other lesions: intervals and comparisons by bootstrap over lesions.

Lesions are drawn with replacement within each fold (Efron 1979), because the pairs of one lesion, and its images, stand
and fall together. A lesion that is drawn twice counts twice in every pair that it takes part in; pairs between its two
copies do not count, for they would be pairs of an image with itself. So that the pool has its false pairs nonetheless,
those of different lesions count n / (n - 1) times, with n lesions. Predictions stay as they are: an interval covers
the choice of lesions, not another training, nor another choice of the cut.
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
"""Weights of lesions handled at once: 32 MB."""


@dataclass(frozen=True)
class PredictedPairs:
    """The predicted pairs of a subset, counted by lesion and by pair of lesions: all that F1 needs.

    Attributes:
        n_lesions: Of the subset; they are numbered in the order of their labels.
        true_pairs: Predicted pairs within each lesion, ``(n_lesions,)``.
        positive_pairs: All pairs within each lesion, ``(n_lesions,)``.
        false_a: A lesion that has predicted pairs with another one, ``(m,)``.
        false_b: The other one, a higher number; no two lesions occur twice together, ``(m,)``.
        false_count: Predicted pairs between them, ``(m,)`` float64; half of them where a stratum bears half the blame.
    """

    n_lesions: int
    true_pairs: LabelArray
    positive_pairs: LabelArray
    false_a: LabelArray
    false_b: LabelArray
    false_count: NDArray[np.float64]


def predicted_pairs(pairs: LabelArray, labels: LabelArray) -> PredictedPairs:
    """Count predicted pairs by lesion.

    Args:
        pairs: ``(m, 2)`` rows of two images that are predicted to show one lesion, each pair once, in either order.
        labels: ``(n,)`` the lesion of each image, any numbers.

    Raises:
        ValueError: If a pair occurs twice, or is an image with itself.
    """
    if (pairs[:, 0] == pairs[:, 1]).any() or len(np.unique(_keys(pairs[:, 0], pairs[:, 1], len(labels)))) < len(pairs):
        raise ValueError("a predicted pair occurs twice, or is an image with itself")
    lesions, sizes = _number_lesions(labels)
    keys = _keys(lesions[pairs[:, 0]], lesions[pairs[:, 1]], len(sizes))
    return _from_counts(keys, np.ones(len(keys)), sizes)


def predicted_pairs_of_groups(cluster_ids: LabelArray, labels: LabelArray) -> PredictedPairs:
    """Count, by lesion, the pairs that groups predict: every two images of one group.

    Args:
        cluster_ids: ``(n,)`` the group of each image, any numbers.
        labels: ``(n,)`` the lesion of each image, any numbers.
    """
    overlaps = count_overlaps(cluster_ids, labels)
    groups, lesions, n_common = overlaps.groups, overlaps.lesions, overlaps.n_common
    n_lesions = len(overlaps.lesion_sizes)
    keys, counts = [_keys(lesions, lesions, n_lesions)], [n_common * (n_common - 1) // 2]
    # Lesions of one group stand side by side: pair each with its next, its next but one, … while any is left.
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
    """Write two numbers below ``n_numbers``, in either order, as one."""
    return np.minimum(numbers_a, numbers_b) * n_numbers + np.maximum(numbers_a, numbers_b)


def _from_counts(keys: LabelArray, counts: NDArray[np.integer | np.float64], sizes: LabelArray) -> PredictedPairs:
    """Add up what was counted between two lesions, or within one; they may come several times."""
    distinct, where = np.unique(keys, return_inverse=True)
    totals = np.bincount(where, weights=counts, minlength=len(distinct))  # whole numbers: exact in double precision
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
    """Return the folds joined to one subset, in whose F1 every pair weighs the same.

    Args:
        folds: At least one; no pair between folds is predicted, nor counted.

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
    """Return F1 over pairs where lesions count several times, or not at all.

    A pair of one lesion counts as often as the lesion; one of two lesions as often as the product of both.

    Args:
        predicted: Of one subset.
        weights: ``(n_resamples, n_lesions)``, how often each lesion counts; 1: plain F1, exactly.

    Returns:
        ``(n_resamples,)`` F1 in [0, 1]; NaN where no positive pair counts.
    """
    return _weigh(predicted, weights, 1.0)


def _weigh(predicted: PredictedPairs, weights: NDArray[np.float64], false_weight: float) -> NDArray[np.float64]:
    """Return F1 as :func:`weighted_f1` does, each false pair counting ``false_weight`` times more."""
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
    """Return the mean over folds of F1 over pairs.

    Returns:
        Mean in [0, 1] over the folds that have a positive pair; NaN where none has.
    """
    each = [weighted_f1(fold, np.ones((1, fold.n_lesions))) for fold in folds]
    return float(_mean_of_defined(np.array(each).reshape(len(folds), 1))[0])


def _mean_of_defined(by_fold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the rows that are not NaN, ``(n_folds, m)`` to ``(m,)``; NaN where all are."""
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
        folds: One or more.
        n_resamples: How often lesions are drawn anew.
        seed: Not negative. The same seed draws the same lesions from folds of as many lesions, so the results of two
            experiments on the same folds are paired: the difference of both is that on the same lesions. More
            resamples begin with those of fewer.
        weights_at_once: Weights of lesions held in memory; changes no figure.

    Returns:
        ``(n_resamples,)`` F1 in [0, 1]. A fold without a positive pair in a resample is left out of the mean there; NaN
        where all are.
    """
    by_fold = [
        _resample(fold, n_resamples, np.random.default_rng([seed, n]), weights_at_once) for n, fold in enumerate(folds)
    ]
    return _mean_of_defined(np.array(by_fold).reshape(len(folds), n_resamples))


def _resample(
    fold: PredictedPairs, n_resamples: int, rng: np.random.Generator, weights_at_once: int
) -> NDArray[np.float64]:
    n_lesions = fold.n_lesions
    # One in n pairs of drawn lesions is, on average, a lesion and its copy, which cannot be taken for another.
    false_weight = n_lesions / (n_lesions - 1) if n_lesions > 1 else 1.0
    n_at_once = max(1, weights_at_once // max(1, n_lesions))
    sizes = [min(n_at_once, n_resamples - start) for start in range(0, n_resamples, n_at_once)]
    drawn = (_draw_weights(n_lesions, size, rng) for size in sizes)
    return np.concatenate([np.empty(0), *(_weigh(fold, weights, false_weight) for weights in drawn)])


def _draw_weights(n_lesions: int, n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw as many lesions as there are, with replacement, and count how often each is drawn."""
    drawn = rng.integers(0, max(1, n_lesions), size=(n_resamples, n_lesions))
    drawn += np.arange(n_resamples)[:, None] * n_lesions
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_lesions)
    return counts.reshape(n_resamples, n_lesions).astype(np.float64)


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the range that holds the middle share of resampled values.

    Args:
        values: ``(n_resamples,)``; NaN are left out.
        level: The share, in (0, 1).

    Returns:
        Lower and upper end (percentile interval); NaN where every value is.

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
    """Return the mean F1 of subsets under resampled lesions, as if others had been photographed.

    Args:
        subsets: Predicted pairs of every subset, by method; a subset without a cut of a method is left out of its mean.
        n_resamples: Of lesions, within each subset.
        seed: Of the resampling; with the same one, rows of experiments on the same subsets belong together.

    Returns:
        A column per method, a row per resample; NaN where no subset has a positive pair.
    """
    defined = {method: [subset[method] for subset in subsets if method in subset] for method in METHODS}
    undefined = np.full(n_resamples, np.nan)
    return pd.DataFrame(
        {method: bootstrap_f1(found, n_resamples, seed) if found else undefined for method, found in defined.items()}
    )


def f1_intervals(resampled_f1: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the range that holds 95 % of the resampled F1.

    Args:
        resampled_f1: From :func:`resample_f1`.

    Returns:
        Low and high, by method.
    """
    return {method: interval(resampled_f1[method].to_numpy(np.float64)) for method in METHODS}
