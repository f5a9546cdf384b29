"""Nodes: embeddings -> figures of a fold -> results of an experiment -> leaderboard."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings
from skinbit.matching.evaluation import METHODS, evaluate_subset
from skinbit.matching.results import (
    collect_folds,
    curve_table,
    group_sizes,
    metric_table,
    rank_experiments,
    thin_curves,
)
from skinbit.params import (
    BackboneParams,
    Block,
    ComputeParams,
    DataParams,
    EvaluationParams,
    ExperimentParams,
    LoaderParams,
    LossesParams,
    SplitParams,
    StudyParams,
    TrainingBlock,
)
from skinbit.report.console import describe_cuts

logger = logging.getLogger(__name__)

CURVE_POINTS = 400
"""Points per fold and method in a summary: more than a screen shows."""


def evaluate_embeddings(
    embeddings: Embeddings, split: pd.DataFrame, evaluation: EvaluationParams, *, fold: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Sweep threshold and eps over one fold's validation images and choose the best of each.

    Args:
        embeddings: Of the images.
        split: Tells the lesion of each image.
        evaluation: Searched ranges.
        fold: Which fold.

    Returns:
        ``metric, value``; the curves ``method, cut, tp, fp, f1``; and ``image_id, lesion_id, cluster_id``.
    """
    lesion_ids = lesions_of(embeddings, split, fold)
    found = evaluate_subset(embeddings.values, lesion_ids, evaluation)
    clusters = pd.DataFrame({"image_id": embeddings.image_ids, "lesion_id": lesion_ids, "cluster_id": found.clusters})
    return metric_table(found.metrics), curve_table(found.sweeps), clusters


def evaluate_training(
    embeddings: Embeddings, split: pd.DataFrame, checkpoint: Checkpoint, evaluation: EvaluationParams, *, fold: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Do the same for a fold that was trained.

    Args:
        embeddings: Of the images.
        split: Tells the lesion of each image.
        checkpoint: What made the embeddings.
        evaluation: Searched ranges.
        fold: Which fold.

    Returns:
        As :func:`evaluate_embeddings`, with the metric ``best_epoch``.
    """
    metrics, sweeps, clusters = evaluate_embeddings(embeddings, split, evaluation, fold=fold)
    best_epoch = metric_table({"best_epoch": float(checkpoint.header["epoch"])})
    return pd.concat([metrics, best_epoch], ignore_index=True), sweeps, clusters


def collect_results(study: StudyParams, *tables: pd.DataFrame, name: str) -> pd.DataFrame:
    """Put an experiment's folds side by side and add the transfer F1.

    Args:
        study: The folds that run.
        tables: Metrics of every fold, then curves of every fold, in the order of ``study.folds``.
        name: Of the experiment.

    Returns:
        ``metric, fold_<k>, …, mean, std``.
    """
    n_folds = len(study.folds)
    metrics = [dict(zip(table["metric"], table["value"], strict=True)) for table in tables[:n_folds]]
    results = collect_folds(
        dict(zip(study.folds, metrics, strict=True)), dict(zip(study.folds, tables[n_folds:], strict=True))
    )
    logger.info("%s: %s", name, describe_cuts(results))
    return results


def add_test_results(cross_validation: pd.DataFrame, test_metrics: pd.DataFrame) -> pd.DataFrame:
    """Add the test column to an experiment's results.

    Args:
        cross_validation: From :func:`collect_results`.
        test_metrics: ``metric, value``; empty where the final model has not been evaluated.

    Returns:
        The results; without a ``test`` column where there are no test figures, or only those of other cuts.
    """
    if test_metrics.empty:
        logger.warning("there are no test figures yet: run the pipeline final_model")
        return cross_validation
    test = test_metrics.set_index("metric")["value"]
    average = cross_validation.set_index("metric")["mean"]
    cuts = list(METHODS.values())
    if not np.array_equal(test.reindex(cuts), average.reindex(cuts), equal_nan=True):
        logger.warning("the test figures on disk are of another threshold or eps: run the pipeline final_model")
        return cross_validation
    joined = cross_validation.merge(test.rename("test"), on="metric", how="outer", sort=False)
    order = [*cross_validation["metric"], *(name for name in test.index if name.endswith("_oracle"))]
    return joined.set_index("metric").loc[order].reset_index()


def summarise_experiment(
    study: StudyParams, results: pd.DataFrame, resolved_config: dict[str, Any], *tables: pd.DataFrame
) -> dict[str, Any]:
    """Put all that a report shows of an experiment into one document.

    Args:
        study: The folds that run.
        results: Of the experiment.
        resolved_config: Its settings.
        tables: Curves of every fold, then groups of every fold, then, where something was trained, histories of every
            fold, in the order of ``study.folds``.

    Returns:
        Settings, figures, thinned curves, groups by size, histories; plain values, undefined ones None.
    """
    folds = [f"fold_{fold}" for fold in study.folds]
    kinds = [tables[start : start + len(folds)] for start in range(0, len(tables), len(folds))]
    curves, clusters, *histories = (dict(zip(folds, kind, strict=True)) for kind in kinds)
    figures = results.set_index("metric").astype(object)
    return {
        # The loader changes no figure, so it must not change this file.
        "settings": {name: block for name, block in resolved_config.items() if name != "loader"},
        "figures": figures.where(figures.notna(), None).to_dict(orient="index"),
        "curves": {fold: thin_curves(table, CURVE_POINTS) for fold, table in curves.items()},
        "groups_by_size": {fold: group_sizes(table["cluster_id"].tolist()) for fold, table in clusters.items()},
        "histories": {
            fold: table.astype(object).where(table.notna(), None).to_dict(orient="list")
            for by_fold in histories
            for fold, table in by_fold.items()
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
        loader: Batch size.
        compute: Device, precision, threads; ``auto`` and 0 are resolved.
        study: The folds that run.
        seed: The seed.

    Returns:
        Plain values, ready for YAML.
    """
    from dataclasses import asdict

    from skinbit.embedding.compute import resolve_compute

    shared: dict[str, Block] = {"data": data, "split": split, "evaluation": evaluation, "loader": loader}
    plain = {name: block.model_dump(mode="json") for name, block in shared.items()}
    plain |= experiment.settings(backbone, training, losses)
    return plain | {"compute": asdict(resolve_compute(compute)), "folds": list(study.folds), "seed": seed}


def make_leaderboard(study: StudyParams, experiments: dict[str, Any], *results: pd.DataFrame) -> pd.DataFrame:
    """Order the experiments of the study.

    Args:
        study: The experiments that run.
        experiments: All declared entries.
        results: Of every experiment, in the order of ``study.experiments``.

    Returns:
        The leaderboard.
    """
    entries = {name: ExperimentParams.model_validate(experiments[name]) for name in study.experiments}
    settings = {name: (entry.backbone, str(entry.loss)) for name, entry in entries.items()}
    return rank_experiments(dict(zip(study.experiments, results, strict=True)), settings)


def write_report(
    study: StudyParams,
    leaderboard: pd.DataFrame,
    split: pd.DataFrame,
    rejected: pd.DataFrame,
    *summaries: dict[str, Any],
) -> str:
    """Put the whole study on one page.

    Args:
        study: The experiments and folds that run.
        leaderboard: From :func:`make_leaderboard`.
        split: ``image_id, lesion_id, subset, fold``.
        rejected: ``image_id, lesion_id, reason``.
        summaries: Of every experiment, in the order of ``study.experiments``.

    Returns:
        An HTML page.
    """
    from skinbit.report.pages import render_page
    from skinbit.report.study import prepare_report

    by_name = dict(zip(study.experiments, summaries, strict=True))
    return render_page("report.html.j2", report=prepare_report(leaderboard, split, rejected, by_name, study.folds))
