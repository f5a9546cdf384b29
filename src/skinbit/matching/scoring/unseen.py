"""Metrics of the test subset, whose lesions were not used for any selection."""

from collections.abc import Mapping
from dataclasses import dataclass

from skinbit.config import EvaluationParams
from skinbit.matching.cuts.operating_points import PointsOfSubsets
from skinbit.matching.cuts.transfer import carry_to_pool
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.results import interval_metrics
from skinbit.matching.scoring.score import metrics_at_cuts, score
from skinbit.matching.scoring.uncertainty import f1_intervals, resample_f1


@dataclass(frozen=True)
class Unseen:
    """The metrics of a pool of other lesions at the cuts of the folds.

    Attributes:
        metrics: Metrics at these cuts, with intervals and rho; ``<method>_f1_oracle`` at the pool's own best cuts.
        cuts: Cuts by method.
        groups: Groups of images by method.
    """

    metrics: Mapping[str, float]
    cuts: Mapping[str, float]
    groups: Mapping[str, LabelArray]


def score_unseen(
    pool: Pool, lesion_ids: list[str], points: PointsOfSubsets, evaluation: EvaluationParams, seed: int
) -> Unseen:
    """Return the metrics of a pool at the cuts that the folds choose for its size.

    Args:
        pool: Images of lesions that are in no fold.
        lesion_ids: True lesion of each of the ``n`` images.
        points: Operating points of the folds.
        evaluation: Searched ranges of the oracle, and settings of the bootstrap.
        seed: Seed of the bootstrap.
    """
    carried = carry_to_pool(points, len(pool), evaluation.pool_correction)
    cuts = {method: cut.value for method, cut in carried.items()}
    found = score(pool, lesion_ids, evaluation, cuts)
    intervals = f1_intervals(resample_f1([found.given.predicted], evaluation.resamples, seed))
    metrics = metrics_at_cuts(found, cuts) | {"rho": carried["cosine"].rho} | dict(found.given.metrics)
    return Unseen(metrics | interval_metrics(intervals), cuts, found.given.groups)
