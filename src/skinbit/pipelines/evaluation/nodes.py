"""Nodes: embeddings -> figures of a fold -> results of an experiment -> leaderboard."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import (
    BackboneParams,
    Block,
    ComputeParams,
    DataParams,
    EvaluationParams,
    ExperimentParams,
    GeometryParams,
    LoaderParams,
    LossesParams,
    MemoryParams,
    Parameters,
    ReportParams,
    SampleParams,
    SimilarityParams,
    SplitParams,
    StudyParams,
    TrainingBlock,
    setup_of,
)
from skinbit.embedding import combination
from skinbit.embedding.checkpoints import Checkpoint, with_cuts
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.errors import InputError
from skinbit.matching.assembly import (
    LabelledPool,
    calibrate,
    judge_calibration,
    pool_of,
    read_calibration,
    write_calibration,
    write_matching,
)
from skinbit.matching.cuts.operating_points import (
    Document,
    carry_over,
    carry_to_pool,
    cuts_of_folds,
    others_of_folds,
    write_points,
)
from skinbit.matching.keypoints.shortlist import read_shortlist, shortlist_table
from skinbit.matching.keypoints.sift import KeypointTable, join_tables
from skinbit.matching.labels import lesion_labels
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Pool, limits_of, tiles_of
from skinbit.matching.scoring.judging import (
    distractor_figures,
    f1_intervals,
    judge_strata,
    pooled_figures,
    resample_f1,
    transfer_figures,
)
from skinbit.matching.scoring.pools import DISTRACTORS, fold_pools, mean_pools
from skinbit.matching.scoring.results import (
    add_gaps,
    collect_folds,
    curve_table,
    group_sizes,
    interval_metrics,
    judgement_table,
    metric_table,
    points_table,
    rank_experiments,
    reach_metrics,
    read_points_table,
    thin_curves,
)
from skinbit.matching.scoring.score import score, score_at
from skinbit.report.console import describe_cuts
from skinbit.runtime.provenance import software_versions

logger = logging.getLogger(__name__)

CURVE_POINTS = 400
"""Points per fold and method in a summary: more than a screen shows."""


def combine_embeddings(*, shares: Mapping[str, float], **members: Embeddings) -> Embeddings:
    """Combine the embeddings of several experiments: cosines become the mean of theirs.

    Args:
        shares: Of each in that mean, by name.
        members: ``member_<experiment>`` of every member, of the same images.

    Returns:
        One embedding per image.

    Raises:
        InputError: If the members are not of the same images.
    """
    return combination.combine_embeddings([members[f"member_{name}"] for name in shares], tuple(shares.values()))


def compare_keypoints(
    embeddings: Embeddings,
    keypoints: KeypointTable,
    geometry: GeometryParams,
    compute: ComputeParams,
    tile_megabytes: float,
) -> pd.DataFrame:
    """Compare each image with its nearest by their keypoints.

    Args:
        embeddings: Tell which images are near.
        keypoints: Of at least these images.
        geometry: How many are compared, and how.
        compute: Number of threads.
        tile_megabytes: For similarities at any moment.

    Returns:
        ``image_a, image_b, inliers``.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.matching.keypoints.geometry import shortlist_by_keypoints

    threads = resolve_compute(compute).threads
    pool = Pool(embeddings.values, limits=tiles_of(tile_megabytes))
    found = shortlist_by_keypoints(pool, keypoints.select(embeddings.image_ids), geometry, threads)
    return shortlist_table(found, embeddings.image_ids)


def compare_keypoints_among(
    embeddings: Embeddings,
    distractor_embeddings: Embeddings,
    keypoints: KeypointTable,
    distractor_keypoints: KeypointTable,
    geometry: GeometryParams,
    compute: ComputeParams,
    tile_megabytes: float,
) -> pd.DataFrame:
    """Compare each image of a fold, and each distractor, with its nearest among all of them by their keypoints.

    Args:
        embeddings: Of the fold's images.
        distractor_embeddings: By the same model.
        keypoints: Of at least the fold's images.
        distractor_keypoints: Of the distractors.
        geometry: How many are compared, and how.
        compute: Number of threads.
        tile_megabytes: For similarities at any moment.

    Returns:
        ``image_a, image_b, inliers``.
    """
    together = join_tables([keypoints.select(embeddings.image_ids), distractor_keypoints])
    return compare_keypoints(
        join_embeddings(embeddings, distractor_embeddings), together, geometry, compute, tile_megabytes
    )


def calibrate_similarities(
    split: pd.DataFrame,
    experiment: ExperimentParams,
    similarity: SimilarityParams,
    **by_fold: Any,
) -> dict[str, Any]:
    """Fit, for every fold, a calibration on the pairs of the other folds, and one on those of all folds.

    Args:
        split: Tells the lesion of each image.
        experiment: Its entry.
        similarity: What makes similarities, before the experiment's overrides.
        by_fold: ``fold_<k>_embeddings`` of every fold and, where keypoints are compared, ``fold_<k>_shortlist``; a
            single fold is calibrated on its own pairs.

    Returns:
        Calibrations by fold, and that of all folds under ``all``.

    Raises:
        InputError: If there is nothing to learn from.
    """
    params = experiment.similarity_params(similarity)
    pools = {}
    for fold, found in _by_fold(by_fold).items():
        embedded = found["embeddings"]
        labels = lesion_labels(lesions_of(embedded, split, fold))
        pools[fold] = LabelledPool(embedded.values, labels, read_shortlist(found.get("shortlist"), embedded.image_ids))
    if len(pools) == 1:
        logger.warning("one fold runs, so its similarities are calibrated on its own pairs: figures are optimistic")
    others = {fold: [pool for n, pool in pools.items() if n != fold] or [pools[fold]] for fold in pools}
    try:
        fitted = {str(fold): calibrate(rest, params) for fold, rest in others.items()}
        fitted["all"] = calibrate(list(pools.values()), params)
    except ValueError as error:
        raise InputError(f"Similarities cannot be calibrated: {error}") from error
    judged = [judge_calibration(fitted[str(fold)], pool, params) for fold, pool in pools.items()]
    brier, off = np.mean(judged, axis=0)
    logger.info("calibration: Brier score %.4f, calibration error %.4f on near pairs of unseen folds", brier, off)
    return {fold: write_calibration(calibration) for fold, calibration in fitted.items()}


def _by_fold(named: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Sort inputs that are named ``fold_<k>_<kind>`` by fold and kind."""
    by_fold: dict[int, dict[str, Any]] = {}
    for name, value in named.items():
        fold, kind = name.removeprefix("fold_").split("_", 1)
        by_fold.setdefault(int(fold), {})[kind] = value
    return by_fold


def evaluate_embeddings(
    embeddings: Embeddings,
    split: pd.DataFrame,
    threshold_range: tuple[float, float],
    eps_range: tuple[float, float],
    max_group_size: int | None,
    experiment: ExperimentParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    weights: Checkpoint | None = None,
    calibration: dict[str, Any] | None = None,
    shortlist: pd.DataFrame | None = None,
    *,
    fold: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Sweep the cut of every method over one fold's validation images and choose the best of each.

    Args:
        embeddings: Of the images.
        split: Tells the lesion of each image.
        threshold_range: Similarities that are searched. The nodes that choose cuts take these three settings alone:
            models depend on cuts, and must not on anything else of the evaluation.
        eps_range: Distances that are searched.
        max_group_size: Of average and complete linkage.
        experiment: Its entry.
        similarity: What makes similarities, before the experiment's overrides.
        memory: How many pairs are held at once.
        weights: What made the embeddings, where something was trained.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        shortlist: From :func:`compare_keypoints`, where keypoints are compared.
        fold: Which fold.

    Returns:
        ``metric, value``, with the metric ``best_epoch`` where something was trained, and ``<method>_reach`` where the
        curve of a method ends there; the curves ``method, cut, tp, fp,
        f1``; the cuts that are best for pools of some size, ``method, cut, tp, fp``; and ``image_id, lesion_id,
        cluster_id``.
    """
    lesion_ids = lesions_of(embeddings, split, fold)
    params = experiment.similarity_params(similarity)
    pool = _fold_pool(embeddings, params, memory, fold, calibration, shortlist)
    evaluation = EvaluationParams(threshold_range=threshold_range, eps_range=eps_range, max_group_size=max_group_size)
    found = score(pool, lesion_ids, evaluation)
    clusters = pd.DataFrame({"image_id": embeddings.image_ids, "lesion_id": lesion_ids, "cluster_id": found.clusters})
    metrics = dict(found.metrics)
    if weights is not None:
        metrics["best_epoch"] = float(weights.header["epoch"])
    metrics |= reach_metrics(found.points)
    return metric_table(metrics), curve_table(found.sweeps), points_table(found.points), clusters


def _fold_pool(
    embeddings: Embeddings,
    params: SimilarityParams,
    memory: MemoryParams,
    fold: int,
    calibration: dict[str, Any] | None,
    shortlist: pd.DataFrame | None,
) -> Pool:
    fitted = None if calibration is None else read_calibration(calibration[str(fold)])
    listed = read_shortlist(shortlist, embeddings.image_ids)
    return pool_of(embeddings.values, params, listed, fitted, limits_of(memory))


def package_fold(
    weights: Checkpoint,
    results: pd.DataFrame,
    operating_points: pd.DataFrame,
    max_group_size: int | None,
    experiment: ExperimentParams,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    calibration: dict[str, Any] | None = None,
    *,
    fold: int,
) -> Checkpoint:
    """Put a fold's weights, its cuts, and how its images were matched, into one checkpoint.

    Args:
        weights: Of the fold's training.
        results: ``metric, value`` of the fold.
        operating_points: What it would choose for a pool of any size.
        max_group_size: Of average and complete linkage.
        experiment: Its entry.
        similarity: What makes similarities, before the experiment's overrides.
        geometry: How keypoints are compared.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated; the fold's own is fitted
            on the other folds.
        fold: Which fold.

    Returns:
        The weights, with a header that says how to group with them.
    """
    metrics = _as_mapping(results)
    points = write_points([read_points_table(operating_points, metrics)])
    fitted = None if calibration is None else calibration[str(fold)]
    matching = write_matching(points, max_group_size, experiment.similarity_params(similarity), geometry, fitted)
    return with_cuts(weights, {cut: metrics[cut] for cut in CUTS.values()}, matching)


def gather_cuts(
    experiment: ExperimentParams,
    max_group_size: int | None,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    calibration: dict[str, Any] | None = None,
    **by_fold: pd.DataFrame,
) -> tuple[Document, dict[str, Any], dict[str, float | None]]:
    """Put down what every fold of an experiment would choose for a pool of any size, and how to match with its model.

    Args:
        experiment: Its entry.
        max_group_size: Of average and complete linkage.
        similarity: What makes similarities, before the experiment's overrides.
        geometry: How keypoints are compared.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        by_fold: ``fold_<k>_results`` and ``fold_<k>_operating_points`` of every fold.

    Returns:
        Operating points by method and fold; the same with all that makes similarities of embeddings; and the means of
        the folds' own cuts and best epochs, None where no fold has one.
    """
    folds = _by_fold(by_fold).values()
    figures = [_as_mapping(fold["results"]) for fold in folds]
    points = [fold["operating_points"] for fold in folds]
    cuts = write_points([read_points_table(kept, found) for found, kept in zip(figures, points, strict=True)])
    fitted = None if calibration is None else calibration["all"]
    own = experiment.similarity_params(similarity)
    return cuts, write_matching(cuts, max_group_size, own, geometry, fitted), _averages(figures)


def _averages(figures: list[dict[str, float]]) -> dict[str, float | None]:
    """Average over the folds what a final model takes from them, as :func:`collect_results` averages all figures."""
    means = pd.DataFrame(dict(enumerate(figures))).mean(axis=1)
    taken = means[means.index.isin([*CUTS.values(), "best_epoch"])].astype(object)
    return {str(name): value for name, value in taken.where(taken.notna(), None).items()}


def judge_folds(
    operating_points: Document,
    split: pd.DataFrame,
    metadata: pd.DataFrame,
    evaluation: EvaluationParams,
    experiment: ExperimentParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    seed: int,
    calibration: dict[str, Any] | None = None,
    **by_fold: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Group every fold's images at the cuts that the other folds choose for it; where one fold ran, at its own.

    Args:
        operating_points: What every fold would choose.
        split: Tells the lesion of each image.
        metadata: Tells sites, diagnoses and the like.
        evaluation: Size of groups and of resampling, strata.
        experiment: Its entry.
        similarity: What makes similarities, before the experiment's overrides.
        memory: How many pairs are held at once.
        seed: Of the resampling.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        by_fold: ``fold_<k>_embeddings`` of every fold and, where keypoints are compared, ``fold_<k>_shortlist``.

    Returns:
        ``metric, fold_<k>, …, mean, std`` of the transfer F1, of groups, of intervals, and of the pairs of all folds
        together; the mean F1 of every method under resampled lesions; F1 by stratum; and F1 over the size of the pool.
    """
    params, folds = experiment.similarity_params(similarity), _by_fold(by_fold)
    cuts, others = cuts_of_folds(operating_points, list(folds)), others_of_folds(operating_points, list(folds))
    predicted, figures, pools = {}, {}, []
    for fold, found in folds.items():
        embedded = found["embeddings"]
        pool = _fold_pool(embedded, params, memory, fold, calibration, found.get("shortlist"))
        labels = lesion_labels(lesions_of(embedded, split, fold))
        judged = score_at(pool, labels, cuts[fold], evaluation.max_group_size)
        predicted[fold] = judged.predicted
        # A single fold is judged at its own cuts: nothing is transferred.
        figures[fold] = (transfer_figures(judged) if len(folds) > 1 else {}) | dict(judged.metrics)
        pools.append(fold_pools(judged.vicinity, labels, others[fold], evaluation.max_group_size, seed))
    resampled = resample_f1(list(predicted.values()), evaluation.resamples, seed)
    of_all = interval_metrics(f1_intervals(resampled))
    if len(folds) > 1:
        of_all |= pooled_figures(list(predicted.values()))
    strata = judge_strata(predicted, split, metadata, evaluation.strata, evaluation.resamples, seed)
    return judgement_table(figures, of_all), resampled, strata, mean_pools(pools)


def judge_among_distractors(
    operating_points: Document,
    split: pd.DataFrame,
    distractors: pd.DataFrame,
    judgement: pd.DataFrame,
    pools: pd.DataFrame,
    evaluation: EvaluationParams,
    experiment: ExperimentParams,
    similarity: SimilarityParams,
    memory: MemoryParams,
    seed: int,
    calibration: dict[str, Any] | None = None,
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
        experiment: Its entry.
        similarity: What makes similarities, before the experiment's overrides.
        memory: How many pairs are held at once.
        seed: Of resampling and pools.
        calibration: From :func:`calibrate_similarities`, where similarities are calibrated.
        name: Of the experiment.
        by_fold: ``fold_<k>_embeddings`` and ``fold_<k>_distractor_embeddings`` by every fold's model and, where
            keypoints are compared, ``fold_<k>_distractor_shortlist`` of both together.

    Returns:
        Judgement and pools with those among distractors.
    """
    params, folds = experiment.similarity_params(similarity), _by_fold(by_fold)
    others = others_of_folds(operating_points, list(folds))
    figures, predicted, curves = {}, [], []
    for fold, found in folds.items():
        together = join_embeddings(found["embeddings"], found["distractor_embeddings"])
        pool = _fold_pool(together, params, memory, fold, calibration, found.get("distractor_shortlist"))
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
        curves.append(fold_pools(judged.vicinity, labels, of_others, evaluation.max_group_size, seed, DISTRACTORS))
    rho = [found["rho_distractors"] for found in figures.values()]
    logger.info(
        "%s: folds among %d distractors have %.2f times as many images (rho)", name, len(distractors), np.mean(rho)
    )
    intervals = f1_intervals(resample_f1(predicted, evaluation.resamples, seed))
    added = judgement_table(figures, interval_metrics(intervals, of="distractors"))
    return pd.concat([judgement, added], ignore_index=True), pd.concat([pools, mean_pools(curves)], ignore_index=True)


def collect_results(judgement: pd.DataFrame, *, name: str, **by_fold: pd.DataFrame) -> pd.DataFrame:
    """Put an experiment's folds side by side and add the transfer F1.

    Args:
        judgement: Figures at the cuts of the other folds, of groups, intervals.
        name: Of the experiment.
        by_fold: ``fold_<k>_results`` of every fold.

    Returns:
        ``metric, fold_<k>, …, mean, std``.
    """
    metrics = {fold: _as_mapping(found["results"]) for fold, found in _by_fold(by_fold).items()}
    is_transfer = judgement["metric"].isin([f"{method}_f1_transfer" for method in METHODS])
    transfers = judgement[is_transfer].set_index("metric")
    transfer_f1 = {fold: {str(row): value for row, value in transfers[f"fold_{fold}"].items()} for fold in metrics}
    results: pd.DataFrame = pd.concat([collect_folds(metrics, transfer_f1), judgement[~is_transfer]], ignore_index=True)
    logger.info("%s: %s", name, describe_cuts(results))
    return results


def _as_mapping(table: pd.DataFrame) -> dict[str, float]:
    return dict(zip(table["metric"], table["value"], strict=True))


def add_test_results(
    cross_validation: pd.DataFrame, operating_points: Document, test_metrics: pd.DataFrame, evaluation: EvaluationParams
) -> pd.DataFrame:
    """Add the test column to an experiment's results.

    Args:
        cross_validation: From :func:`collect_results`.
        operating_points: Likewise.
        test_metrics: ``metric, value``; empty where the final model has not been evaluated.
        evaluation: Whether cuts are chosen for the size of the test subset.

    Returns:
        The results; without a ``test`` column where there are no test figures, or only those of other cuts.
    """
    if test_metrics.empty:
        logger.warning("there are no test figures yet: run the pipeline final_model")
        return cross_validation
    test = test_metrics.set_index("metric")["value"]
    carried = carry_to_pool(operating_points, int(test["n_images"]), evaluation.pool_correction)
    cuts = {CUTS[method]: cut.value for method, cut in carried.items()}
    if not np.array_equal(test.reindex(list(cuts)), list(cuts.values()), equal_nan=True):
        logger.warning("the test figures on disk are of another threshold or eps: run the pipeline final_model")
        return cross_validation
    joined = cross_validation.merge(test.rename("test"), on="metric", how="outer", sort=False)
    order = [*cross_validation["metric"], *(name for name in test.index if name.endswith("_oracle")), "rho"]
    return joined.set_index("metric").loc[order].reset_index()


def summarise_experiment(
    results: pd.DataFrame,
    resampled_f1: pd.DataFrame,
    strata: pd.DataFrame,
    pools: pd.DataFrame,
    resolved_config: dict[str, Any],
    **by_fold: pd.DataFrame,
) -> dict[str, Any]:
    """Put all that a report shows of an experiment into one document.

    Args:
        results: Of the experiment.
        resampled_f1: Mean F1 of every method under resampled lesions.
        strata: F1 by stratum.
        pools: F1 over the size of the pool.
        resolved_config: Its settings.
        by_fold: ``fold_<k>_sweep`` and ``fold_<k>_clustered_images`` of every fold and, where something was trained,
            ``fold_<k>_history``.

    Returns:
        Settings, figures, thinned curves, groups by size, histories; plain values, undefined ones None.
    """
    folds = {f"fold_{fold}": found for fold, found in _by_fold(by_fold).items()}
    figures = results.set_index("metric").astype(object)
    return {
        # The loader changes no figure, so it must not change this file.
        "settings": {name: block for name, block in resolved_config.items() if name != "loader"},
        "figures": figures.where(figures.notna(), None).to_dict(orient="index"),
        "strata": strata.astype(object).where(strata.notna(), None).to_dict(orient="records"),
        "pools": pools.astype(object).where(pools.notna(), None).to_dict(orient="records"),
        "resampled_f1": resampled_f1.astype(object).where(resampled_f1.notna(), None).to_dict(orient="list"),
        "curves": {fold: thin_curves(found["sweep"], CURVE_POINTS) for fold, found in folds.items()},
        "groups_by_size": {
            fold: group_sizes(found["clustered_images"]["cluster_id"].tolist()) for fold, found in folds.items()
        },
        "histories": {
            fold: found["history"].astype(object).where(found["history"].notna(), None).to_dict(orient="list")
            for fold, found in folds.items()
            if "history" in found
        },
    }


def plot_f1(summary: dict[str, Any], *, experiment: str) -> Any:
    """Draw pairwise F1 against threshold and eps, a line per fold.

    Args:
        summary: Of the experiment.
        experiment: For the title.

    Returns:
        A matplotlib figure.
    """
    from skinbit.report.figures import f1_curves

    return f1_curves(experiment, summary["figures"], summary["curves"])


def plot_training(summary: dict[str, Any], *, experiment: str) -> Any:
    """Draw loss and validation F1 against the epoch, a line per fold.

    Args:
        summary: Of the experiment.
        experiment: For the title.

    Returns:
        A matplotlib figure.
    """
    from skinbit.report.figures import training_curves

    return training_curves(experiment, summary["histories"])


def resolve_config(
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    data: DataParams,
    split: SplitParams,
    evaluation: EvaluationParams,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    loader: LoaderParams,
    compute: ComputeParams,
    study: StudyParams,
    seed: int,
) -> dict[str, Any]:
    """Write down every value that an experiment runs with, defaults included.

    Args:
        backbone: Of the experiment, before its overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        data: Which lesions take part.
        split: How they are dealt.
        evaluation: Searched ranges.
        similarity: What makes similarities, before its overrides.
        geometry: How keypoints are compared.
        loader: Batch size.
        compute: Device, precision, threads; ``auto`` and 0 are resolved.
        study: The folds that run.
        seed: The seed.

    Returns:
        Plain values, ready for YAML.
    """
    own = experiment.similarity_params(similarity)
    shared = _shared_settings(own, data, split, evaluation, geometry, loader, compute, study, seed)
    return shared | experiment.settings(backbone, training, losses)


def resolve_combination(
    experiment: ExperimentParams,
    data: DataParams,
    split: SplitParams,
    evaluation: EvaluationParams,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    loader: LoaderParams,
    compute: ComputeParams,
    study: StudyParams,
    seed: int,
    **members: dict[str, Any],
) -> dict[str, Any]:
    """Write down every value that a combination runs with, those of its members included.

    Args:
        experiment: Its entry.
        data: Which lesions take part.
        split: How they are dealt.
        evaluation: Searched ranges.
        similarity: What makes similarities, before its overrides.
        geometry: How keypoints are compared.
        loader: Batch size.
        compute: Device, precision, threads; ``auto`` and 0 are resolved.
        study: The folds that run.
        seed: The seed.
        members: ``member_<experiment>`` of every member, from :func:`resolve_config`.

    Returns:
        Plain values, ready for YAML.
    """
    own = experiment.similarity_params(similarity)
    shared = _shared_settings(own, data, split, evaluation, geometry, loader, compute, study, seed)
    return shared | experiment.combined_settings({name: members[f"member_{name}"] for name in experiment.combine})


def _shared_settings(
    own: SimilarityParams,
    data: DataParams,
    split: SplitParams,
    evaluation: EvaluationParams,
    geometry: GeometryParams,
    loader: LoaderParams,
    compute: ComputeParams,
    study: StudyParams,
    seed: int,
) -> dict[str, Any]:
    from dataclasses import asdict

    from skinbit.embedding.compute import resolve_compute

    blocks: dict[str, Block] = {"data": data, "split": split, "evaluation": evaluation, "loader": loader}
    blocks |= {"similarity": own} | ({"geometry": geometry} if own.verification else {})
    plain = {name: block.model_dump(mode="json") for name, block in blocks.items()}
    return plain | {"compute": asdict(resolve_compute(compute)), "folds": list(study.folds), "seed": seed}


def write_parameters(
    seed: int,
    study: StudyParams,
    data: DataParams,
    split: SplitParams,
    loader: LoaderParams,
    compute: ComputeParams,
    evaluation: EvaluationParams,
    memory: MemoryParams,
    sample: SampleParams,
    report: ReportParams,
    training: TrainingBlock,
    losses: LossesParams,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    backbones: dict[str, Any],
    experiments: dict[str, Any],
) -> dict[str, Any]:
    """Write down all parameters of the study, as a Kedro environment that makes the same files again.

    Args:
        seed: The seed.
        study: The experiments and folds that run.
        data: Which lesions take part.
        split: How they are dealt.
        loader: Batch size and workers.
        compute: Device, precision, threads; ``auto`` and 0 are resolved, so that another machine does the same.
        evaluation: Searched ranges.
        memory: How many near pairs are held.
        sample: Synthetic photographs.
        report: What pages show.
        training: Settings of trainings.
        losses: Settings of losses.
        similarity: What makes similarities.
        geometry: How keypoints are compared.
        backbones: All declared entries.
        experiments: All declared entries.

    Returns:
        Plain values, ready for YAML; without ``audit``, ``cluster``, ``tracking`` and the size of tiles, on which no
        file of the study depends, and without the folders of weights files, which say where on a machine they are.
    """
    from dataclasses import asdict

    from skinbit.embedding.compute import resolve_compute

    shared: dict[str, Block] = {"study": study, "data": data, "split": split, "loader": loader, "sample": sample}
    shared |= {"evaluation": evaluation, "report": report, "training": training, "losses": losses}
    shared |= {"similarity": similarity, "geometry": geometry, "memory": memory}
    plain: dict[str, Any] = {name: block.model_dump(mode="json") for name, block in shared.items()}
    plain |= {"seed": seed, "compute": asdict(resolve_compute(compute))}
    parameters = Parameters.model_validate(plain | {"backbones": backbones, "experiments": experiments})
    named = {name: backbone.without_folder() for name, backbone in parameters.backbones.items()}
    written = parameters.model_copy(update={"backbones": named})
    tiles = {"memory": {"tile_megabytes"}}
    return written.model_dump(mode="json", exclude={"audit": True, "cluster": True, "tracking": True, **tiles})


def list_software(lock_file: str | None) -> dict[str, Any]:
    """Write down the software that the study ran with.

    Args:
        lock_file: SHA-256 of ``uv.lock``; None where there is none.

    Returns:
        ``versions`` of all that decides results, by name, and ``uv_lock_sha256``.
    """
    return {"versions": software_versions(), "uv_lock_sha256": lock_file}


def make_leaderboard(experiments: dict[str, Any], **of_experiments: Any) -> pd.DataFrame:
    """Order the experiments of the study, and say how sure their order is.

    Args:
        experiments: All declared entries.
        of_experiments: ``results_<experiment>`` and ``summary_<experiment>`` of every experiment that runs.

    Returns:
        The leaderboard.
    """
    results, summaries = _named(of_experiments, "results_"), _named(of_experiments, "summary_")
    entries = {name: ExperimentParams.model_validate(entry) for name, entry in experiments.items()}
    settings = {name: setup_of(name, entries) for name in results}
    resampled = {name: summary["resampled_f1"]["cosine"] for name, summary in summaries.items()}
    return add_gaps(rank_experiments(results, settings), resampled)


def _named(inputs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the inputs of one kind by what follows the prefix of their names."""
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def write_report(
    study: StudyParams,
    leaderboard: pd.DataFrame,
    split: pd.DataFrame,
    rejected: pd.DataFrame,
    audit: dict[str, Any],
    **of_experiments: dict[str, Any],
) -> str:
    """Put the whole study on one page.

    Args:
        study: The folds that run.
        leaderboard: From :func:`make_leaderboard`.
        split: ``image_id, lesion_id, subset, fold``.
        rejected: ``image_id, lesion_id, reason``.
        audit: Summary of an audit; empty where none was made.
        of_experiments: ``summary_<experiment>`` of every experiment that runs.

    Returns:
        An HTML page.
    """
    from skinbit.audit.page import prepare_audit
    from skinbit.audit.tables import hash_split
    from skinbit.report.pages import render_page
    from skinbit.report.study import prepare_report

    report = prepare_report(leaderboard, split, rejected, _named(of_experiments, "summary_"), study.folds)
    return render_page("report.html.j2", report=report, audit=prepare_audit(audit, hash_split(split)))
