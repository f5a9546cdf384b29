"""Nodes: the metrics of every fold at the cuts of the other folds, alone and among distractors."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import EvaluationParams, MemoryParams, SimilarityParams
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import join_embeddings
from skinbit.matching.cuts.operating_points import PointsOfSubsets
from skinbit.matching.cuts.transfer import carry_over, cuts_of_folds, others_of_folds
from skinbit.matching.labels import lesion_labels
from skinbit.matching.scoring.pools import DISTRACTORS, Draws, fold_pools, mean_pools
from skinbit.matching.scoring.results import interval_metrics, judgement_table
from skinbit.matching.scoring.score import score_at
from skinbit.matching.scoring.strata import evaluate_strata, strata_of_lesions
from skinbit.matching.scoring.transfer_metrics import distractor_metrics, pooled_metrics, self_metrics, transfer_metrics
from skinbit.matching.scoring.uncertainty import f1_intervals, resample_f1
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import Matcher, by_fold_and_kind, odds_of_others, with_distractors

logger = logging.getLogger(__name__)


def judge_folds(
    operating_points: PointsOfSubsets,
    split: pd.DataFrame,
    metadata: pd.DataFrame,
    evaluation: EvaluationParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    seed: int,
    calibration: Calibrations | None = None,
    **by_fold: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Evaluate every fold at the cuts that the other folds choose for it; a single fold at its own.

    Args:
        operating_points: Operating points of every fold.
        split: Lesion of each image.
        metadata: Sites, diagnoses and other strata, and columns that are used as evidence.
        evaluation: Largest group, bootstrap, strata.
        similarity: Settings of the similarity.
        memory: Limit on the pairs held at once.
        seed: Seed of the bootstrap.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated.
        by_fold: ``fold_<k>_embeddings`` and ``fold_<k>_odds`` of every fold and, if keypoints are compared,
            ``fold_<k>_shortlist``.

    Returns:
        ``metric, fold_<k>, …, mean, std`` with the transfer F1, F1 at cuts that folds choose for themselves, metrics
        of groups, intervals, and F1 over the pairs of all folds together; the mean F1 of every method for resampled
        lesions; F1 by stratum; and F1 over pool size.
    """
    matcher, folds = Matcher(similarity, memory, calibration, metadata), by_fold_and_kind(by_fold)
    cuts, others = cuts_of_folds(operating_points, list(folds)), others_of_folds(operating_points, list(folds))
    predicted, metrics, pools = {}, {}, []
    for fold, found in folds.items():
        embedded = found["embeddings"]
        pool = matcher.pool(fold, embedded, found.get("shortlist"))
        labels = lesion_labels(lesions_of(embedded, split, fold))
        evaluated = score_at(pool, labels, cuts[fold], evaluation.max_group_size, odds_of_others(folds, fold))
        predicted[fold] = evaluated.predicted
        # A single fold is evaluated at its own cuts: nothing is transferred.
        carried = {**transfer_metrics(evaluated), **self_metrics(evaluated)} if len(folds) > 1 else {}
        metrics[fold] = carried | dict(evaluated.metrics)
        pools.append(fold_pools(evaluated.vicinity, labels, others[fold], evaluation.max_group_size, Draws(seed)))
    resampled = resample_f1(list(predicted.values()), evaluation.resamples, seed)
    of_all = interval_metrics(f1_intervals(resampled))
    if len(folds) > 1:
        of_all |= pooled_metrics(list(predicted.values()))
    strata = evaluate_strata(
        list(predicted.values()),
        strata_of_lesions(split, predicted, metadata, evaluation.strata),
        evaluation.resamples,
        seed,
    )
    return judgement_table(metrics, of_all), resampled, strata, mean_pools(pools)


def judge_among_distractors(
    operating_points: PointsOfSubsets,
    split: pd.DataFrame,
    distractors: pd.DataFrame,
    judgement: pd.DataFrame,
    pools: pd.DataFrame,
    evaluation: EvaluationParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    seed: int,
    calibration: Calibrations | None = None,
    metadata: pd.DataFrame | None = None,
    *,
    name: str,
    **by_fold: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate every fold with singleton lesions as distractors, at the cuts that the other folds choose for it.

    Args:
        operating_points: Operating points of every fold.
        split: Lesion of each image.
        distractors: ``image_id, lesion_id, …``.
        judgement: Metrics without distractors.
        pools: F1 over pool size without distractors.
        evaluation: Largest group, bootstrap, and whether cuts are corrected for the size of the pool.
        similarity: Settings of the similarity.
        memory: Limit on the pairs held at once.
        seed: Seed of bootstrap and pools.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated.
        metadata: Metadata of the folds' images, if columns are used.
        name: Name of the experiment.
        by_fold: ``fold_<k>_embeddings`` and ``fold_<k>_distractor_embeddings`` of every fold's model,
            ``fold_<k>_odds`` and, if keypoints are compared, ``fold_<k>_distractor_shortlist`` of both together.

    Returns:
        Both tables with the rows for distractors added.
    """
    columns = with_distractors(metadata, distractors)
    matcher, folds = Matcher(similarity, memory, calibration, columns), by_fold_and_kind(by_fold)
    others = others_of_folds(operating_points, list(folds))
    metrics, predicted, curves = {}, [], []
    for fold, found in folds.items():
        together = join_embeddings(found["embeddings"], found["distractor_embeddings"])
        pool = matcher.pool(fold, together, found.get("distractor_shortlist"))
        labels = lesion_labels([*split.loc[split["fold"] == fold, "lesion_id"], *distractors["lesion_id"]])
        share = len(distractors) / len(pool)
        carried = {
            method: carry_over(points, len(pool), evaluation.pool_correction, share)
            for method, points in others[fold].items()
        }
        cuts = {method: cut.value for method, cut in carried.items()}
        evaluated = score_at(pool, labels, cuts, evaluation.max_group_size, odds_of_others(folds, fold))
        metrics[fold] = distractor_metrics(evaluated, carried["cosine"].rho, share)
        predicted.append(evaluated.predicted)
        draws = Draws(seed, DISTRACTORS)
        curves.append(fold_pools(evaluated.vicinity, labels, others[fold], evaluation.max_group_size, draws))
    rho = [found["rho_distractors"] for found in metrics.values()]
    logger.info(
        "%s: folds with %d distractors have %.2f times as many images (rho)", name, len(distractors), np.mean(rho)
    )
    intervals = f1_intervals(resample_f1(predicted, evaluation.resamples, seed))
    added = judgement_table(metrics, interval_metrics(intervals, of="distractors"))
    return pd.concat([judgement, added], ignore_index=True), pd.concat([pools, mean_pools(curves)], ignore_index=True)
