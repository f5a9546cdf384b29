"""Nodes: everything that a model takes from the folds, and the checkpoints of folds."""

from typing import Any

import pandas as pd

from skinbit.config import GeometryParams, SimilarityParams
from skinbit.embedding.checkpoints import Checkpoint, with_cuts
from skinbit.matching.assembly import Matching
from skinbit.matching.cuts.operating_points import PointsOfSubset, PointsOfSubsets, gather_subsets
from skinbit.matching.expected.odds import OddsOfSubset
from skinbit.matching.methods import CUTS
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import as_mapping, by_fold_and_kind


def package_fold(
    weights: Checkpoint,
    results: pd.DataFrame,
    operating_points: PointsOfSubset,
    odds: OddsOfSubset,
    max_group_size: int | None,
    similarity: SimilarityParams,
    geometry: GeometryParams,
    calibration: Calibrations | None = None,
    *,
    fold: int,
) -> Checkpoint:
    """Return the checkpoint of a fold: its weights, its cuts, and how images are matched.

    Args:
        weights: Trained weights of the fold.
        results: ``metric, value`` of the fold.
        operating_points: Cuts of the fold for pools of any size.
        odds: Odds of its pairs.
        max_group_size: Largest group of average and complete linkage.
        similarity: Settings of the similarity.
        geometry: Settings of keypoints.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated; the fold's own is fitted
            on the other folds.
        fold: Number of the fold.

    Returns:
        The weights, with a header for grouping.
    """
    metrics = as_mapping(results)
    matching = Matching(
        operating_points=gather_subsets([operating_points]),
        odds=odds,
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
    is_synthetic: bool,
    calibration: Calibrations | None = None,
    **by_fold: Any,
) -> tuple[PointsOfSubsets, Matching, dict[str, float | None]]:
    """Return the cuts of every fold of an experiment for pools of any size, and how its model matches images.

    Args:
        max_group_size: Largest group of average and complete linkage.
        similarity: Settings of the similarity.
        geometry: Settings of keypoints.
        is_synthetic: Whether the study made its own photographs.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated.
        by_fold: ``fold_<k>_results``, ``fold_<k>_operating_points`` and ``fold_<k>_odds`` of every fold.

    Returns:
        Operating points by method and fold; everything needed to match images; and the means of the folds' own cuts and
        best epochs, None if no fold has one.
    """
    folds = by_fold_and_kind(by_fold).values()
    matching = Matching(
        operating_points=gather_subsets([fold["operating_points"] for fold in folds]),
        odds=tuple(odds for fold in folds for odds in fold["odds"]),
        max_group_size=max_group_size,
        similarity=similarity,
        geometry=geometry,
        calibration=None if calibration is None else calibration["all"],
        is_synthetic=is_synthetic,
    )
    return matching.operating_points, matching, _averages([as_mapping(fold["results"]) for fold in folds])


def _averages(metrics: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the averages over folds that a final model uses, computed like in :func:`collect_results`."""
    means = pd.DataFrame(dict(enumerate(metrics))).mean(axis=1)
    taken = means[means.index.isin([*CUTS.values(), "best_epoch"])].astype(object)
    return {str(name): value for name, value in taken.where(taken.notna(), None).items()}
