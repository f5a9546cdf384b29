"""What cuts that were chosen elsewhere are worth: groups as a whole, and how sure the F1 of pairs is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skinbit.matching.clustering import clusters_at
from skinbit.matching.evaluation import ALWAYS, merge_trees
from skinbit.matching.group_metrics import judge_groups
from skinbit.matching.large_grouping import groups_at
from skinbit.matching.large_pool import LargePool, Similarities
from skinbit.matching.methods import METHODS
from skinbit.matching.metrics import recall_at_1
from skinbit.matching.pairs import lesion_labels
from skinbit.matching.strata import STRATUM_COLUMNS, f1_by_stratum
from skinbit.matching.survey import recall_in_tiles
from skinbit.matching.uncertainty import (
    PredictedPairs,
    bootstrap_f1,
    interval,
    join_folds,
    mean_f1,
    predicted_pairs,
    predicted_pairs_at_threshold,
    predicted_pairs_of_groups,
)

GROUP_FIGURES = ("bcubed_f1", "ari", "ami", "n_groups_error")
"""Of the figures of groups, those that are reported."""

STRATIFIED = ("cosine", "average")
"""Methods whose F1 is told apart by stratum."""


@dataclass(frozen=True)
class Judgement:
    """What one subset is worth at given cuts.

    Attributes:
        metrics: ``<method>_bcubed_f1`` and so on, of every method that makes groups; NaN where it has no cut.
        predicted: Per method that has a cut, or needs none, the predicted pairs, by lesion.
    """

    metrics: Mapping[str, float]
    predicted: Mapping[str, PredictedPairs]


def judge_at(
    similarities: Similarities, lesion_ids: list[str], cuts: Mapping[str, float], max_group_size: int | None
) -> Judgement:
    """Group a subset's images at cuts that were chosen elsewhere, and judge groups and pairs.

    Args:
        similarities: Of all pairs, or what they are computed from.
        lesion_ids: ``n`` true lesions.
        cuts: Of every method that has one; NaN where none could be chosen.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.

    Returns:
        The judgement.

    Raises:
        InputError: If similarities are computed, and more pairs are within the loosest cut than are held.
    """
    labels = lesion_labels(lesion_ids)
    if isinstance(similarities, LargePool):
        groups, pairs = groups_at(similarities, cuts, max_group_size)
        predicted = {"cosine": predicted_pairs(pairs, labels)}
    else:
        trees = merge_trees(similarities, max_group_size)
        groups = {method: clusters_at(tree, cuts.get(method, ALWAYS)) for method, tree in trees.items()}
        predicted = {"cosine": predicted_pairs_at_threshold(similarities, labels, cuts["cosine"])}
    predicted |= {method: predicted_pairs_of_groups(ids, labels) for method, ids in groups.items()}
    figures = {method: judge_groups(ids, labels) for method, ids in groups.items()}
    is_cut = {method: not np.isnan(cuts.get(method, ALWAYS)) for method in METHODS}
    metrics = {
        f"{method}_{name}": figures[method][name] if is_cut[method] else float("nan")
        for method in groups
        for name in GROUP_FIGURES
    }
    return Judgement(metrics, {method: predicted[method] for method in METHODS if is_cut[method]})


def transfer_figures(judged: Judgement) -> dict[str, float]:
    """Name the F1 of pairs at cuts that other subsets chose.

    Args:
        judged: Of a subset, at these cuts.

    Returns:
        ``<method>_f1_transfer`` of every method that has a cut, or needs none.
    """
    return {f"{method}_f1_transfer": mean_f1([predicted]) for method, predicted in judged.predicted.items()}


def among_distractors(
    judged: Judgement, similarities: Similarities, lesion_ids: list[str], rho: float, single_share: float
) -> dict[str, float]:
    """Name what a subset is worth among lesions of one image.

    Args:
        judged: Of the subset with the distractors, at cuts that were chosen elsewhere.
        similarities: Of all pairs of the same images, or what they are computed from.
        lesion_ids: ``n`` true lesions.
        rho: Images of the pool / images of the subsets that chose the cuts.
        single_share: Share of distractors.

    Returns:
        ``<method>_f1_distractors``, NaN where a method has no cut; ``recall_at_1_distractors``; ``rho_distractors``,
        ``share_distractors``.
    """
    f1 = {method: mean_f1([judged.predicted[method]]) if method in judged.predicted else np.nan for method in METHODS}
    labels = lesion_labels(lesion_ids)
    if isinstance(similarities, LargePool):
        recall = recall_in_tiles(similarities, labels, 1)
    else:
        recall = recall_at_1(similarities, labels)
    return {
        **{f"{method}_f1_distractors": value for method, value in f1.items()},
        "recall_at_1_distractors": recall,
        "rho_distractors": rho,
        "share_distractors": single_share,
    }


def resample_f1(judged: Sequence[Mapping[str, PredictedPairs]], n_resamples: int, seed: int) -> pd.DataFrame:
    """Give the mean F1 of subsets under resampled lesions: what it might have been, had others been photographed.

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
    """Give the range that holds 95 % of the resampled F1.

    Args:
        resampled_f1: From :func:`resample_f1`.

    Returns:
        Low and high, by method.
    """
    return {method: interval(resampled_f1[method].to_numpy(np.float64)) for method in METHODS}


def judge_strata(
    predicted: Mapping[int, Mapping[str, PredictedPairs]],
    split: pd.DataFrame,
    metadata: pd.DataFrame,
    columns: Sequence[str],
    n_resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Tell how the F1 of pairs differs between sites, diagnoses or other strata, the lesions of all folds together.

    Args:
        predicted: Predicted pairs of every fold, by method.
        split: Tells the lesions of each fold.
        metadata: ``lesion_id, image_id`` and more; a lesion has the first value of its images that is not blank.
        columns: To stratify by; those that the metadata lack are passed over.
        n_resamples: Of lesions, for the intervals.
        seed: Of the resampling.

    Returns:
        ``column, method`` and the columns of :func:`skinbit.matching.strata.f1_by_stratum`, for
        :data:`STRATIFIED` methods that have a cut in every fold.
    """
    methods = [method for method in STRATIFIED if all(method in found for found in predicted.values())]
    joined = {method: join_folds([found[method] for found in predicted.values()]) for method in methods}
    lesions = [lesion for fold in predicted for lesion in np.unique(split.loc[split["fold"] == fold, "lesion_id"])]
    tables = [pd.DataFrame(columns=["column", "method", *STRATUM_COLUMNS])]
    for column in columns:
        if column in metadata:
            strata = _value_of_lesions(metadata, column).reindex(lesions).tolist()
            for method, pairs in joined.items():
                found = f1_by_stratum(pairs, strata, n_resamples, seed)
                tables.append(found.assign(column=column, method=method))
    return pd.concat(tables[1:] or tables, ignore_index=True)[["column", "method", *STRATUM_COLUMNS]]


def _value_of_lesions(metadata: pd.DataFrame, column: str) -> pd.Series:
    filled = metadata.assign(**{column: metadata[column].where(metadata[column] != "")})
    return filled.groupby("lesion_id")[column].first().fillna("(blank)")
