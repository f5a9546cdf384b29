"""How sure the F1 of pairs is at cuts that were chosen elsewhere: its intervals, its strata, and all folds together."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from skinbit.matching.methods import METHODS
from skinbit.matching.scoring.score import AtCuts
from skinbit.matching.scoring.strata import STRATUM_COLUMNS, f1_by_stratum
from skinbit.matching.scoring.uncertainty import PredictedPairs, bootstrap_f1, interval, join_folds, mean_f1

STRATIFIED = ("cosine", "average")
"""Methods whose F1 is told apart by stratum."""


def transfer_figures(judged: AtCuts) -> dict[str, float]:
    """Name the F1 of pairs at cuts that other subsets chose.

    Args:
        judged: Of a subset, at these cuts.

    Returns:
        ``<method>_f1_transfer`` of every method, NaN where it has no cut.
    """
    return {f"{method}_f1_transfer": f1 for method, f1 in _f1_of(judged).items()}


def distractor_figures(judged: AtCuts, rho: float, single_share: float) -> dict[str, float]:
    """Name what a subset is worth among lesions of one image.

    Args:
        judged: Of the subset with the distractors, at cuts that were chosen elsewhere.
        rho: Images of the pool / images of the subsets that chose the cuts.
        single_share: Share of distractors.

    Returns:
        ``<method>_f1_distractors``, NaN where a method has no cut; ``recall_at_1_distractors``; ``rho_distractors``,
        ``share_distractors``.
    """
    return {
        **{f"{method}_f1_distractors": f1 for method, f1 in _f1_of(judged).items()},
        "recall_at_1_distractors": judged.recall_at_1,
        "rho_distractors": rho,
        "share_distractors": single_share,
    }


def _f1_of(judged: AtCuts) -> dict[str, float]:
    predicted = judged.predicted
    return {method: mean_f1([predicted[method]]) if method in predicted else float("nan") for method in METHODS}


def resample_f1(judged: Sequence[Mapping[str, PredictedPairs]], n_resamples: int, seed: int) -> pd.DataFrame:
    """Return the mean F1 of subsets under resampled lesions, as if others had been photographed.

    Args:
        judged: Predicted pairs of every subset, by method; a subset without a cut of a method is left out of its mean.
        n_resamples: Of lesions, within each subset.
        seed: Of the resampling; with the same one, rows of experiments on the same subsets belong together.

    Returns:
        A column per method, a row per resample; NaN where no subset has a positive pair.
    """
    defined = {method: [subset[method] for subset in judged if method in subset] for method in METHODS}
    undefined = np.full(n_resamples, np.nan)
    return pd.DataFrame(
        {method: bootstrap_f1(found, n_resamples, seed) if found else undefined for method, found in defined.items()}
    )


def pooled_figures(judged: Sequence[Mapping[str, PredictedPairs]]) -> dict[str, float]:
    """Name the F1 over the pairs of all folds together, which a fold with few positive pairs hardly sways.

    Its parts are added up first, as Forman and Scholz (2010) advise: 2·ΣTP / (ΣTP + ΣFP + ΣP). No pair between folds is
    predicted, nor counted.

    Args:
        judged: Predicted pairs of every fold, by method, at cuts that the other folds chose.

    Returns:
        ``<method>_f1_pooled``; NaN where a fold has no cut.
    """
    return {
        f"{method}_f1_pooled": mean_f1([join_folds([fold[method] for fold in judged])])
        if all(method in fold for fold in judged)
        else float("nan")
        for method in METHODS
    }


def f1_intervals(resampled_f1: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the range that holds 95 % of the resampled F1.

    Args:
        resampled_f1: From :func:`resample_f1`.

    Returns:
        Low and high, by method.
    """
    return {method: interval(resampled_f1[method].to_numpy(np.float64)) for method in METHODS}


def strata_of_lesions(
    split: pd.DataFrame, folds: Iterable[int], metadata: pd.DataFrame, columns: Sequence[str]
) -> dict[str, list[str]]:
    """Return the stratum of every lesion of some folds, by column.

    Args:
        split: ``lesion_id, fold`` of every image.
        folds: In the order in which their lesions are wanted.
        metadata: ``lesion_id`` and more; a lesion has the first value of its images that is not blank.
        columns: To stratify by; those that the metadata lack are passed over.

    Returns:
        By column, a value per lesion: folds in the given order, lesions of a fold by id.
    """
    lesions = [lesion for fold in folds for lesion in np.unique(split.loc[split["fold"] == fold, "lesion_id"])]
    return {
        column: _value_of_lesions(metadata, column).reindex(lesions).tolist()
        for column in columns
        if column in metadata
    }


def judge_strata(
    predicted: Sequence[Mapping[str, PredictedPairs]], strata: Mapping[str, list[str]], n_resamples: int, seed: int
) -> pd.DataFrame:
    """Return how the F1 of pairs differs between sites, diagnoses or other strata, the lesions of all folds together.

    Args:
        predicted: Predicted pairs of every fold, by method.
        strata: From :func:`strata_of_lesions`, of the same folds.
        n_resamples: Of lesions, for the intervals.
        seed: Of the resampling.

    Returns:
        ``column, method`` and the columns of :func:`skinbit.matching.scoring.strata.f1_by_stratum`, for
        :data:`STRATIFIED` methods that have a cut in every fold.
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
