"""Nodes: the metrics of every fold at its own cuts."""

import logging

import pandas as pd

from skinbit.config import CutParams, MemoryParams, SimilarityParams
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.embeddings import hardly_differ, lesions_of
from skinbit.embedding.tables import Embeddings
from skinbit.matching.cuts.operating_points import PointsOfSubset
from skinbit.matching.expected.odds import OddsOfSubset, fit_odds
from skinbit.matching.labels import lesion_labels
from skinbit.matching.scoring.results import curve_table, metric_table
from skinbit.matching.scoring.score import score
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import Matcher

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
    metadata: pd.DataFrame | None = None,
    *,
    name: str,
    fold: int,
) -> tuple[pd.DataFrame, pd.DataFrame, PointsOfSubset, pd.DataFrame, OddsOfSubset]:
    """Evaluate all cuts of every method on one fold's validation images and select the best of each.

    Args:
        embeddings: Embeddings of the images.
        split: Lesion of each image.
        cuts: The searched ranges. Nodes that select cuts use no other setting of the evaluation, as models depend on
            cuts and must not depend on strata or resamples.
        similarity: Settings of the similarity.
        memory: Limit on the pairs held at once.
        weights: Weights with which the embeddings were made, for trained experiments.
        calibration: Result of :func:`calibrate_similarities`, if similarities are calibrated.
        shortlist: Result of :func:`compare_keypoints`, if keypoints are compared.
        metadata: Metadata of the images, if columns are used.
        name: Name of the experiment.
        fold: Number of the fold.

    Returns:
        ``metric, value``, with ``best_epoch`` for trained experiments; the curves ``method, cut, tp, fp, f1``; the
        operating points; ``image_id, lesion_id, cluster_id``; and the map from similarities to log-odds.
    """
    lesion_ids = lesions_of(embeddings, split, fold)
    if hardly_differ(embeddings.values):
        logger.warning(
            "fold %d of %s: the embeddings of all images are nearly the same, so no threshold separates lesions. A "
            "network without pretrained weights, or a training that has collapsed (all images on one point), does this",
            fold,
            name,
        )
    pool = Matcher(similarity, memory, calibration, metadata).pool(fold, embeddings, shortlist)
    found, odds = score(pool, lesion_ids, cuts), fit_odds(pool, lesion_labels(lesion_ids))
    clusters = pd.DataFrame({"image_id": embeddings.image_ids, "lesion_id": lesion_ids, "cluster_id": found.clusters})
    metrics = dict(found.metrics)
    if weights is not None and weights.model.epoch is not None:
        metrics["best_epoch"] = float(weights.model.epoch)
    return metric_table(metrics), curve_table(found.sweeps), dict(found.points), clusters, odds
