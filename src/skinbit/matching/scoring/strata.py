"""F1 of the lesions of one site, one diagnosis, or another stratum, among all lesions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.matching.scoring.uncertainty import PredictedPairs, bootstrap_f1, interval, join_folds, mean_f1

STRATIFIED = ("cosine", "average")
"""Methods whose F1 is also computed by stratum."""

STRATUM_COLUMNS = ["stratum", "n_lesions", "n_positive_pairs", "tp", "fp", "precision", "recall", "f1", "low", "high"]
"""Columns of the table from :func:`f1_by_stratum`."""


def f1_by_stratum(predicted: PredictedPairs, strata: Sequence[str], n_resamples: int, seed: int) -> pd.DataFrame:
    """Return pairwise F1 for the lesions of each stratum, among all lesions.

    A positive pair belongs to the stratum of its lesion. A false pair belongs half to the stratum of each image, so the
    counts of all strata sum to those of the whole, and the F1 of the whole is the mean of the strata's, weighted by
    their predicted and positive pairs.

    Args:
        predicted: Predicted pairs of a subset, or of several (:func:`skinbit.matching.scoring.uncertainty.join_folds`).
        strata: Stratum of each lesion, in their order.
        n_resamples: Number of bootstrap samples of lesions for the interval.
        seed: Seed, not negative.

    Returns:
        ``stratum, n_lesions, n_positive_pairs, tp, fp, precision, recall, f1, low, high``, by name. ``fp`` may end in
        .5; ``low`` and ``high`` are the 95 % interval of F1 by bootstrap over lesions. Precision is NaN if nothing is
        predicted; recall, F1 and interval are NaN without a positive pair.

    Raises:
        ValueError: If the numbers of strata and lesions differ.
    """
    if len(strata) != predicted.n_lesions:
        raise ValueError(f"{len(strata)} strata were given for {predicted.n_lesions} lesions")
    of_lesions = np.asarray(strata, dtype=str)
    rows = [
        (name, *_evaluate(_part_of(predicted, of_lesions == name), int((of_lesions == name).sum()), n_resamples, seed))
        for name in np.unique(of_lesions).tolist()
    ]
    return pd.DataFrame(rows, columns=STRATUM_COLUMNS)


def _part_of(predicted: PredictedPairs, is_inside: NDArray[np.bool_]) -> PredictedPairs:
    """Return the counts of some lesions; all lesions remain, to be resampled."""
    n_inside = is_inside[predicted.false_a].astype(np.int64) + is_inside[predicted.false_b]
    touched = n_inside > 0
    return replace(
        predicted,
        true_pairs=predicted.true_pairs * is_inside,
        positive_pairs=predicted.positive_pairs * is_inside,
        false_a=predicted.false_a[touched],
        false_b=predicted.false_b[touched],
        false_count=(predicted.false_count * n_inside / 2)[touched],
    )


def _evaluate(part: PredictedPairs, n_lesions: int, n_resamples: int, seed: int) -> tuple[float, ...]:
    tp, fp, n_positive = int(part.true_pairs.sum()), float(part.false_count.sum()), int(part.positive_pairs.sum())
    precision = tp / (tp + fp) if tp + fp else np.nan
    recall = tp / n_positive if n_positive else np.nan
    bounds = interval(bootstrap_f1([part], n_resamples, seed))
    return n_lesions, n_positive, tp, fp, precision, recall, mean_f1([part]), *bounds


def strata_of_lesions(
    split: pd.DataFrame, folds: Iterable[int], metadata: pd.DataFrame, columns: Sequence[str]
) -> dict[str, list[str]]:
    """Return the stratum of every lesion of some folds, by column.

    Args:
        split: ``lesion_id, fold`` of every image.
        folds: Numbers of the folds, in the order of the result.
        metadata: ``lesion_id`` and other columns; a lesion has the first non-blank value of its images.
        columns: Columns with strata; columns that the metadata lack are skipped.

    Returns:
        Strata of lesions by column: folds in the given order, lesions of a fold by id.
    """
    lesions = [lesion for fold in folds for lesion in np.unique(split.loc[split["fold"] == fold, "lesion_id"])]
    return {
        column: _value_of_lesions(metadata, column).reindex(lesions).tolist()
        for column in columns
        if column in metadata
    }


def evaluate_strata(
    predicted: Sequence[Mapping[str, PredictedPairs]], strata: Mapping[str, list[str]], n_resamples: int, seed: int
) -> pd.DataFrame:
    """Return F1 by site, diagnosis or other strata, for the lesions of all folds together.

    Args:
        predicted: Predicted pairs of every fold, by method.
        strata: Strata from :func:`strata_of_lesions`, for the same folds.
        n_resamples: Number of bootstrap samples of lesions for the intervals.
        seed: Seed of the bootstrap.

    Returns:
        ``column, method`` and the columns of :func:`f1_by_stratum`, for :data:`STRATIFIED` methods that have a cut in
        every fold.
    """
    methods = [method for method in STRATIFIED if all(method in found for found in predicted)]
    joined = {method: join_folds([found[method] for found in predicted]) for method in methods}
    tables = [
        f1_by_stratum(pairs, values, n_resamples, seed).assign(column=column, method=method)
        for column, values in strata.items()
        for method, pairs in joined.items()
    ]
    nothing = pd.DataFrame(columns=["column", "method", *STRATUM_COLUMNS])
    return pd.concat(tables or [nothing], ignore_index=True)[nothing.columns]


def _value_of_lesions(metadata: pd.DataFrame, column: str) -> pd.Series:
    filled = metadata.assign(**{column: metadata[column].where(metadata[column] != "")})
    return filled.groupby("lesion_id")[column].first().fillna("(blank)")
