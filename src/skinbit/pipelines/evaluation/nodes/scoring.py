"""Nodes: the figures of every fold, at its own cuts and at those of the other folds."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import (
    CutParams,
    EvaluationParams,
    GeometryParams,
    MemoryParams,
    SimilarityParams,
)
from skinbit.embedding.checkpoints import Checkpoint, with_cuts
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.matching.assembly import Matching, pool_of
from skinbit.matching.cuts.operating_points import (
    PointsOfSubset,
    PointsOfSubsets,
    carry_over,
    cuts_of_folds,
    gather_subsets,
    others_of_folds,
)
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.labels import lesion_labels
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.pool import Pool, limits_of
from skinbit.matching.scoring.judging import (
    distractor_figures,
    f1_intervals,
    judge_strata,
    pooled_figures,
    resample_f1,
    strata_of_lesions,
    transfer_figures,
)
from skinbit.matching.scoring.pools import DISTRACTORS, Draws, fold_pools, mean_pools
from skinbit.matching.scoring.results import (
    curve_table,
    interval_metrics,
    judgement_table,
    metric_table,
)
from skinbit.matching.scoring.score import score, score_at
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import as_mapping, by_fold_and_kind

logger = logging.getLogger(__name__)


def evaluate_embeddings(
    embeddings: Embeddings,
    split: pd.DataFrame,
    cuts: CutParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    weights: Checkpoint | None = None,
    calibration: Calibrations | None = None,
    shortlist: pd.DataFrame | None = None,
    *,
    fold: int,
) -> tuple[pd.DataFrame, pd.DataFrame, PointsOfSubset, pd.DataFrame]:
    """Sweep the cut of every method over one fold's validation images and choose the best of each.

    Args:
        embeddings: Of the images.
        split: Tells the lesion of each image.
        cuts: The ranges that are searched. The nodes that choose cuts take nothing else of the evaluation: models
            depend on cuts, and must not depend on strata or resamples.
        similarity: What makes similarities.
        memory: How many pairs are held at once.
        weights: What made the embeddings, where something was trained.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        shortlist: From :func:`compare_keypoints`, where keypoints are compared.
        fold: Which fold.

    Returns:
        ``metric, value``, with the metric ``best_epoch`` where something was trained; the curves ``method, cut, tp, fp,
        f1``; the cuts that are best for pools of some size; and ``image_id, lesion_id, cluster_id``.
    """
    lesion_ids = lesions_of(embeddings, split, fold)
    pool = _fold_pool(embeddings, similarity, memory, fold, calibration, shortlist)
    found = score(pool, lesion_ids, cuts)
    clusters = pd.DataFrame({"image_id": embeddings.image_ids, "lesion_id": lesion_ids, "cluster_id": found.clusters})
    metrics = dict(found.metrics)
    if weights is not None and weights.model.epoch is not None:
        metrics["best_epoch"] = float(weights.model.epoch)
    return metric_table(metrics), curve_table(found.sweeps), dict(found.points), clusters


def _fold_pool(
    embeddings: Embeddings,
    params: SimilarityParams,
    memory: MemoryParams,
    fold: int,
    calibration: Calibrations | None,
    shortlist: pd.DataFrame | None,
) -> Pool:
    fitted = None if calibration is None else calibration[str(fold)]
    listed = read_shortlist(shortlist, embeddings.image_ids)
    return pool_of(embeddings.values, params, listed, fitted, limits_of(memory))


def package_fold(
    weights: Checkpoint,
    results: pd.DataFrame,
    operating_points: PointsOfSubset,
    max_group_size: int | None,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    calibration: Calibrations | None = None,
    *,
    fold: int,
) -> Checkpoint:
    """Put a fold's weights, its cuts, and how its images were matched, into one checkpoint.

    Args:
        weights: Of the fold's training.
        results: ``metric, value`` of the fold.
        operating_points: What it would choose for a pool of any size.
        max_group_size: Of average and complete linkage.
        similarity: What makes similarities.
        geometry: How keypoints are compared.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated; the fold's own is fitted
            on the other folds.
        fold: Which fold.

    Returns:
        The weights, with a header that says how to group with them.
    """
    metrics = as_mapping(results)
    matching = Matching(
        operating_points=gather_subsets([operating_points]),
        max_group_size=max_group_size,
        similarity=similarity,
        geometry=geometry,
        calibration=None if calibration is None else calibration[str(fold)],
    )
    return with_cuts(weights, {cut: metrics[cut] for cut in CUTS.values()}, matching)


def gather_cuts(
    max_group_size: int | None,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    calibration: Calibrations | None = None,
    **by_fold: Any,
) -> tuple[PointsOfSubsets, Matching, dict[str, float | None]]:
    """Put down what every fold of an experiment would choose for a pool of any size, and how to match with its model.

    Args:
        max_group_size: Of average and complete linkage.
        similarity: What makes similarities.
        geometry: How keypoints are compared.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        by_fold: ``fold_<k>_results`` and ``fold_<k>_operating_points`` of every fold.

    Returns:
        Operating points by method and fold; the same with all that makes similarities of embeddings; and the means of
        the folds' own cuts and best epochs, None where no fold has one.
    """
    folds = by_fold_and_kind(by_fold).values()
    matching = Matching(
        operating_points=gather_subsets([fold["operating_points"] for fold in folds]),
        max_group_size=max_group_size,
        similarity=similarity,
        geometry=geometry,
        calibration=None if calibration is None else calibration["all"],
    )
    return matching.operating_points, matching, _averages([as_mapping(fold["results"]) for fold in folds])


def _averages(figures: list[dict[str, float]]) -> dict[str, float | None]:
    """Average over the folds what a final model takes from them, as :func:`collect_results` averages all figures."""
    means = pd.DataFrame(dict(enumerate(figures))).mean(axis=1)
    taken = means[means.index.isin([*CUTS.values(), "best_epoch"])].astype(object)
    return {str(name): value for name, value in taken.where(taken.notna(), None).items()}


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
    """Group every fold's images at the cuts that the other folds choose for it; where one fold ran, at its own.

    Args:
        operating_points: What every fold would choose.
        split: Tells the lesion of each image.
        metadata: Tells sites, diagnoses and the like.
        evaluation: Size of groups and of resampling, strata.
        similarity: What makes similarities.
        memory: How many pairs are held at once.
        seed: Of the resampling.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        by_fold: ``fold_<k>_embeddings`` of every fold and, where keypoints are compared, ``fold_<k>_shortlist``.

    Returns:
        ``metric, fold_<k>, …, mean, std`` of the transfer F1, of groups, of intervals, and of the pairs of all folds
        together; the mean F1 of every method under resampled lesions; F1 by stratum; and F1 over the size of the pool.
    """
    folds = by_fold_and_kind(by_fold)
    cuts, others = cuts_of_folds(operating_points, list(folds)), others_of_folds(operating_points, list(folds))
    predicted, figures, pools = {}, {}, []
    for fold, found in folds.items():
        embedded = found["embeddings"]
        pool = _fold_pool(embedded, similarity, memory, fold, calibration, found.get("shortlist"))
        labels = lesion_labels(lesions_of(embedded, split, fold))
        judged = score_at(pool, labels, cuts[fold], evaluation.max_group_size)
        predicted[fold] = judged.predicted
        # A single fold is judged at its own cuts: nothing is transferred.
        figures[fold] = (transfer_figures(judged) if len(folds) > 1 else {}) | dict(judged.metrics)
        pools.append(fold_pools(judged.vicinity, labels, others[fold], evaluation.max_group_size, Draws(seed)))
    resampled = resample_f1(list(predicted.values()), evaluation.resamples, seed)
    of_all = interval_metrics(f1_intervals(resampled))
    if len(folds) > 1:
        of_all |= pooled_figures(list(predicted.values()))
    strata = judge_strata(
        list(predicted.values()),
        strata_of_lesions(split, predicted, metadata, evaluation.strata),
        evaluation.resamples,
        seed,
    )
    return judgement_table(figures, of_all), resampled, strata, mean_pools(pools)


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
    *,
    name: str,
    **by_fold: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge every fold's images among lesions of one image, at the cuts that the other folds choose for such a pool.

    Args:
        operating_points: What every fold would choose.
        split: Tells the lesion of each image.
        distractors: ``image_id, lesion_id``.
        judgement: Figures without distractors, which these are added to.
        pools: F1 over the size of the pool, likewise.
        evaluation: Size of groups and of resampling, and whether cuts are chosen for the size of the pool.
        similarity: What makes similarities.
        memory: How many pairs are held at once.
        seed: Of resampling and pools.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        name: Of the experiment.
        by_fold: ``fold_<k>_embeddings`` and ``fold_<k>_distractor_embeddings`` by every fold's model and, where
            keypoints are compared, ``fold_<k>_distractor_shortlist`` of both together.

    Returns:
        Judgement and pools with those among distractors.
    """
    folds = by_fold_and_kind(by_fold)
    others = others_of_folds(operating_points, list(folds))
    figures, predicted, curves = {}, [], []
    for fold, found in folds.items():
        together = join_embeddings(found["embeddings"], found["distractor_embeddings"])
        pool = _fold_pool(together, similarity, memory, fold, calibration, found.get("distractor_shortlist"))
        labels = lesion_labels([*split.loc[split["fold"] == fold, "lesion_id"], *distractors["lesion_id"]])
        share, of_others = len(distractors) / len(pool), others[fold]
        carried = {
            method: carry_over(points, len(pool), evaluation.pool_correction, share)
            for method, points in of_others.items()
        }
        cuts = {method: cut.value for method, cut in carried.items()}
        judged = score_at(pool, labels, cuts, evaluation.max_group_size)
        figures[fold] = distractor_figures(judged, carried["cosine"].rho, share)
        predicted.append(judged.predicted)
        draws = Draws(seed, DISTRACTORS)
        curves.append(fold_pools(judged.vicinity, labels, of_others, evaluation.max_group_size, draws))
    rho = [found["rho_distractors"] for found in figures.values()]
    logger.info(
        "%s: folds among %d distractors have %.2f times as many images (rho)", name, len(distractors), np.mean(rho)
    )
    intervals = f1_intervals(resample_f1(predicted, evaluation.resamples, seed))
    added = judgement_table(figures, interval_metrics(intervals, of="distractors"))
    return pd.concat([judgement, added], ignore_index=True), pd.concat([pools, mean_pools(curves)], ignore_index=True)
