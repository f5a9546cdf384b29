"""Nodes: results of an experiment, leaderboard and report."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import LICENCES, MEMBERS, BackboneParams, ComputeParams, EvaluationParams, StudyParams
from skinbit.matching.cuts.operating_points import PointsOfSubsets
from skinbit.matching.cuts.transfer import carry_to_pool
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.scoring.leaderboard import add_gaps, rank_experiments
from skinbit.matching.scoring.results import collect_folds, group_sizes, thin_curves
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import as_mapping, by_fold_and_kind
from skinbit.report.console import describe_cuts
from skinbit.runtime.provenance import software_versions

logger = logging.getLogger(__name__)


def collect_results(judgement: pd.DataFrame, *, name: str, **by_fold: pd.DataFrame) -> pd.DataFrame:
    """Return the results of an experiment: metrics of its folds side by side, with transfer F1.

    Args:
        judgement: Metrics at the cuts of the other folds, with those of groups and intervals.
        name: Name of the experiment.
        by_fold: ``fold_<k>_results`` of every fold.

    Returns:
        ``metric, fold_<k>, …, mean, std``.
    """
    metrics = {fold: as_mapping(found["results"]) for fold, found in by_fold_and_kind(by_fold).items()}
    is_transfer = judgement["metric"].isin([f"{method}_f1_transfer" for method in METHODS])
    transfers = judgement[is_transfer].set_index("metric")
    transfer_f1 = {fold: {str(row): value for row, value in transfers[f"fold_{fold}"].items()} for fold in metrics}
    results: pd.DataFrame = pd.concat([collect_folds(metrics, transfer_f1), judgement[~is_transfer]], ignore_index=True)
    logger.info("%s: %s", name, describe_cuts(results))
    return results


def add_test_results(
    cross_validation: pd.DataFrame,
    operating_points: PointsOfSubsets,
    test_metrics: pd.DataFrame,
    evaluation: EvaluationParams,
) -> pd.DataFrame:
    """Add the test column to an experiment's results.

    Returns:
        The results; without a ``test`` column if there are no test metrics, or only those of other cuts.
    """
    if test_metrics.empty:
        logger.warning("there are no test metrics yet: run the pipeline final_model")
        return cross_validation
    test = test_metrics.set_index("metric")["value"]
    carried = carry_to_pool(operating_points, int(test["n_images"]), evaluation.pool_correction)
    cuts = {CUTS[method]: cut.value for method, cut in carried.items()}
    if not np.array_equal(test.reindex(list(cuts)), list(cuts.values()), equal_nan=True):
        logger.warning("the test metrics on disk are from another threshold or eps: run the pipeline final_model")
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
    calibration: Calibrations | None = None,
    reliability: pd.DataFrame | None = None,
    **by_fold: pd.DataFrame,
) -> dict[str, Any]:
    """Return what a report shows about an experiment, as one document.

    Args:
        results: Metrics by fold.
        resampled_f1: Mean F1 of every method for resampled lesions.
        strata: F1 by stratum.
        pools: F1 for several pool sizes.
        resolved_config: Settings of the experiment.
        calibration: Calibrations of its similarities, if there are any.
        reliability: Reliability of these calibrations.
        by_fold: ``fold_<k>_sweep`` and ``fold_<k>_clustered_images`` of every fold and, for trained experiments,
            ``fold_<k>_history``.

    Returns:
        Settings, metrics, weights of metadata columns in bits, reliability, thinned curves, group sizes, histories;
        plain values, undefined ones None.
    """
    folds = {f"fold_{fold}": found for fold, found in by_fold_and_kind(by_fold).items()}
    return {
        # The loader changes no result, so it must not change this file.
        "settings": {name: block for name, block in resolved_config.items() if name != "loader"},
        "figures": _plain(results.set_index("metric")).to_dict(orient="index"),
        "strata": _plain(strata).to_dict(orient="records"),
        "pools": _plain(pools).to_dict(orient="records"),
        "columns": [] if calibration is None else [list(each.in_bits) for each in calibration["all"].columns],
        "reliability": [] if reliability is None else reliability.to_dict(orient="records"),
        "resampled_f1": _plain(resampled_f1).to_dict(orient="list"),
        "curves": {fold: thin_curves(found["sweep"], CURVE_POINTS) for fold, found in folds.items()},
        "groups_by_size": {
            fold: group_sizes(found["clustered_images"]["cluster_id"].tolist()) for fold, found in folds.items()
        },
        "histories": {
            fold: _plain(found["history"]).to_dict(orient="list") for fold, found in folds.items() if "history" in found
        },
    }


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with None instead of NaN."""
    return table.astype(object).where(table.notna(), None)


def plot_f1(summary: dict[str, Any], *, experiment: str) -> Any:
    """Draw pairwise F1 over threshold and eps, one line per fold."""
    from skinbit.report.figures import f1_curves

    return f1_curves(experiment, summary["figures"], summary["curves"])


def plot_training(summary: dict[str, Any], *, experiment: str) -> Any:
    """Draw loss and validation F1 over epochs, one line per fold."""
    from skinbit.report.figures import training_curves

    return training_curves(experiment, summary["histories"])


def resolve_machine(*, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as used on this machine, with ``auto`` and 0 of ``compute`` resolved and licences of weights.

    Args:
        settings: Plain values by block, including ``compute``.
    """
    from dataclasses import asdict

    from skinbit.embedding.compute import resolve_compute

    compute = asdict(resolve_compute(ComputeParams.model_validate(settings["compute"])))
    licences = _licences(settings, *settings.get(MEMBERS, {}).values())
    return {**settings, "compute": compute, **({LICENCES: licences} if licences else {})}


def _licences(*settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the licence of each backbone's weights, by name of the backbone."""
    from skinbit.embedding.hub import licence_of

    return {
        own["experiment"]["backbone"]: licence_of(BackboneParams.model_validate(own["backbone"]))
        for own in settings
        if "backbone" in own
    }


def list_software(lock_file: str | None) -> dict[str, Any]:
    """Write the software with which the study was run.

    Returns:
        ``versions`` of the software that results depend on, by name, and ``uv_lock_sha256``.
    """
    return {"versions": software_versions(), "uv_lock_sha256": lock_file}


def make_leaderboard(*, setups: Mapping[str, tuple[str, str]], **of_experiments: Any) -> pd.DataFrame:
    """Order the experiments of the study by F1, with intervals of their differences.

    Args:
        setups: Backbone and loss of every running experiment, by name.
        of_experiments: ``results_<experiment>`` and ``summary_<experiment>`` of every running experiment.

    """
    results, summaries = _named(of_experiments, "results_"), _named(of_experiments, "summary_")
    resampled = {name: summary["resampled_f1"]["cosine"] for name, summary in summaries.items()}
    return add_gaps(rank_experiments(results, setups), resampled)


def _named(inputs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the inputs of one kind, by the names after the prefix."""
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def write_report(
    study: StudyParams,
    leaderboard: pd.DataFrame,
    split: pd.DataFrame,
    rejected: pd.DataFrame,
    audit: dict[str, Any],
    **of_experiments: dict[str, Any],
) -> str:
    """Return the report of the study, one HTML page.

    Args:
        study: The folds that ran.
        leaderboard: From :func:`make_leaderboard`.
        split: ``image_id, lesion_id, subset, fold``.
        rejected: ``image_id, lesion_id, reason``.
        audit: Summary of an audit; empty if there was none.
        of_experiments: ``summary_<experiment>`` of every running experiment.
    """
    from skinbit.audit.split import hash_split
    from skinbit.audit.summary import AuditSummary
    from skinbit.report.pages import render_page
    from skinbit.report.study_report import prepare_report

    report = prepare_report(leaderboard, split, rejected, _named(of_experiments, "summary_"), study.folds)
    made = AuditSummary.model_validate(audit) if audit else None
    return render_page("report.html.j2", report=report, audit=made, split_sha256=hash_split(split))


CURVE_POINTS = 400
"""Points per fold and method in a summary, more than a screen can show."""
