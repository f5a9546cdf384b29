"""Nodes: what similarities are computed from: combined embeddings, compared keypoints, calibrations."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import (
    ComputeParams,
    GeometryParams,
    SimilarityParams,
)
from skinbit.embedding import combination
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.errors import InputError
from skinbit.matching.assembly import (
    LabelledPool,
    calibrate,
    evaluate_calibration,
)
from skinbit.matching.keypoints.shortlist import read_shortlist, shortlist_table
from skinbit.matching.keypoints.sift import KeypointTable, join_tables
from skinbit.matching.labels import lesion_labels
from skinbit.matching.pairs.pool import Pool, tiles_of
from skinbit.matching.similarity.calibration import Calibrations
from skinbit.pipelines.evaluation.nodes.folds import by_fold_and_kind

logger = logging.getLogger(__name__)


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
        embeddings: Their nearest are compared.
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
    similarity: SimilarityParams,
    **by_fold: Any,
) -> Calibrations:
    """Fit, for every fold, a calibration on the pairs of the other folds, and one on those of all folds.

    Args:
        split: Holds the lesion of each image.
        similarity: What kind of calibration; whether surroundings count.
        by_fold: ``fold_<k>_embeddings`` of every fold and, where keypoints are compared, ``fold_<k>_shortlist``; a
            single fold is calibrated on its own pairs.

    Returns:
        Calibrations by fold, and that of all folds under ``all``.

    Raises:
        InputError: If there is nothing to learn from.
    """
    pools = {}
    for fold, found in by_fold_and_kind(by_fold).items():
        embedded = found["embeddings"]
        labels = lesion_labels(lesions_of(embedded, split, fold))
        pools[fold] = LabelledPool(embedded.values, labels, read_shortlist(found.get("shortlist"), embedded.image_ids))
    if len(pools) == 1:
        logger.warning("one fold runs, so its similarities are calibrated on its own pairs: figures are optimistic")
    others = {fold: [pool for n, pool in pools.items() if n != fold] or [pools[fold]] for fold in pools}
    try:
        fitted = {str(fold): calibrate(rest, similarity) for fold, rest in others.items()}
        fitted["all"] = calibrate(list(pools.values()), similarity)
    except ValueError as error:
        raise InputError(f"Similarities cannot be calibrated: {error}") from error
    evaluated = [evaluate_calibration(fitted[str(fold)], pool, similarity) for fold, pool in pools.items()]
    brier, off = np.mean(evaluated, axis=0)
    logger.info("calibration: Brier score %.4f, calibration error %.4f on near pairs of unseen folds", brier, off)
    return fitted
