"""Nodes: the inputs of similarities: combined embeddings, compared keypoints, calibrations."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from skinbit.config import (
    ComputeParams,
    GeometryParams,
    SimilarityParams,
)
from skinbit.data.executor import Execution
from skinbit.data.pieces import PieceStore, of_pairs
from skinbit.embedding import combination
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.errors import InputError
from skinbit.matching.assembly import (
    LabelledPool,
    calibrate,
    judged_pairs,
)
from skinbit.matching.keypoints.compared import ComparedPairs, Comparing, shortlist_by_keypoints
from skinbit.matching.keypoints.shortlist import read_shortlist, shortlist_table
from skinbit.matching.keypoints.sift import KeypointTable, choose_keypoints
from skinbit.matching.labels import lesion_labels
from skinbit.matching.pairs.pool import Pool, tiles_of
from skinbit.matching.similarity.calibration import Calibrations, Reliability, calibration_error, join_judged
from skinbit.matching.similarity.columns import read_context
from skinbit.matching.similarity.context import Context
from skinbit.pipelines.evaluation.nodes.folds import by_fold_and_kind, with_distractors

logger = logging.getLogger(__name__)


def combine_embeddings(*, shares: Mapping[str, float], **members: Embeddings) -> Embeddings:
    """Combine the embeddings of several experiments, so that cosines are the mean of theirs.

    Args:
        shares: Weight of each member in the mean, by name.
        members: ``member_<experiment>`` of every member, for the same images.

    Returns:
        One embedding per image.

    Raises:
        InputError: If the members have different images.
    """
    return combination.combine_embeddings([members[f"member_{name}"] for name in shares], tuple(shares.values()))


def compare_keypoints(
    embeddings: Embeddings,
    keypoints: KeypointTable,
    geometry: GeometryParams,
    compute: ComputeParams,
    tile_megabytes: float,
    pair_cache: PieceStore[ComparedPairs],
    executor: Execution,
    similarity: SimilarityParams | None = None,
    metadata: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare the keypoints of each image with those of its nearest images.

    Args:
        embeddings: Embeddings that determine the nearest images.
        keypoints: Keypoints of at least these images.
        geometry: Number of nearest images, and how keypoints are compared.
        compute: Number of threads.
        tile_megabytes: Size of the similarities that are held at once.
        pair_cache: Pairs that other experiments, folds and earlier runs have compared.
        executor: Size of a piece, and where pieces are made.
        similarity: Settings with the columns in which compared images must agree, if there are any.
        metadata: Metadata with these columns.

    Returns:
        ``image_a, image_b, inliers``.
    """
    comparing = _comparing(geometry, compute, pair_cache, executor)
    context = read_context(metadata, embeddings.image_ids, None if similarity is None else similarity.context)
    return _compare(embeddings, [keypoints], context, comparing, tile_megabytes)


def compare_keypoints_among(
    embeddings: Embeddings,
    distractor_embeddings: Embeddings,
    keypoints: KeypointTable,
    distractor_keypoints: KeypointTable,
    geometry: GeometryParams,
    compute: ComputeParams,
    tile_megabytes: float,
    pair_cache: PieceStore[ComparedPairs],
    executor: Execution,
    similarity: SimilarityParams | None = None,
    metadata: pd.DataFrame | None = None,
    distractors: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare the keypoints of each image of a fold, and of each distractor, with its nearest images of both.

    Args:
        embeddings: Embeddings of the fold's images.
        distractor_embeddings: Embeddings of the distractors by the same model.
        keypoints: Keypoints of at least the fold's images.
        distractor_keypoints: Keypoints of the distractors.
        geometry: Number of nearest images, and how keypoints are compared.
        compute: Number of threads.
        tile_megabytes: Size of the similarities that are held at once.
        pair_cache: Pairs that other experiments, folds and earlier runs have compared.
        executor: Size of a piece, and where pieces are made.
        similarity: Settings with the columns in which compared images must agree, if there are any.
        metadata: Metadata of the fold's images with these columns.
        distractors: Metadata of the distractors with these columns.

    Returns:
        ``image_a, image_b, inliers``.
    """
    comparing = _comparing(geometry, compute, pair_cache, executor)
    joined, columns = join_embeddings(embeddings, distractor_embeddings), with_distractors(metadata, distractors)
    context = read_context(columns, joined.image_ids, None if similarity is None else similarity.context)
    return _compare(joined, [keypoints, distractor_keypoints], context, comparing, tile_megabytes)


def _compare(
    embeddings: Embeddings,
    tables: Sequence[KeypointTable],
    context: Context | None,
    comparing: Comparing,
    tile_megabytes: float,
) -> pd.DataFrame:
    pool = Pool(embeddings.vectors, context=context, limits=tiles_of(tile_megabytes))
    chosen = choose_keypoints(tables, embeddings.image_ids)
    return shortlist_table(shortlist_by_keypoints(pool, chosen, comparing), embeddings.image_ids)


def _comparing(
    geometry: GeometryParams, compute: ComputeParams, pair_cache: PieceStore[ComparedPairs], executor: Execution
) -> Comparing:
    from skinbit.embedding.compute import resolve_compute

    return Comparing(geometry, resolve_compute(compute).threads, pair_cache, of_pairs(executor))


def calibrate_similarities(
    split: pd.DataFrame,
    similarity: SimilarityParams,
    metadata: pd.DataFrame | None = None,
    **by_fold: Any,
) -> tuple[Calibrations, pd.DataFrame]:
    """Fit a calibration for every fold on the pairs of the other folds, and one on those of all folds.

    Args:
        split: Lesion of each image.
        similarity: Kind of calibration, and whether similarities are scaled.
        metadata: Metadata of the images, if columns are used.
        by_fold: ``fold_<k>_embeddings`` of every fold and, if keypoints are compared, ``fold_<k>_shortlist``; a single
            fold is calibrated on its own pairs.

    Returns:
        Calibrations by fold, and that of all folds under ``all``; and the reliability of their probabilities on near
        pairs of other folds, ``low, high, n_pairs, expected, found``.

    Raises:
        InputError: If there are too few pairs.
    """
    pools = {}
    for fold, found in by_fold_and_kind(by_fold).items():
        embedded = found["embeddings"]
        labels = lesion_labels(lesions_of(embedded, split, fold))
        listed = read_shortlist(found.get("shortlist"), embedded.image_ids)
        context = read_context(metadata, embedded.image_ids, similarity.context)
        pools[fold] = LabelledPool(embedded.vectors, labels, listed, context)
    if len(pools) == 1:
        logger.warning("with a single fold, similarities are calibrated on its own pairs: metrics are optimistic")
    others = {fold: [pool for n, pool in pools.items() if n != fold] or [pools[fold]] for fold in pools}
    try:
        fitted = {str(fold): calibrate(rest, similarity) for fold, rest in others.items()}
        fitted["all"] = calibrate(list(pools.values()), similarity)
    except ValueError as error:
        raise InputError(f"Similarities cannot be calibrated: {error}") from error
    judged = join_judged([judged_pairs(fitted[str(fold)], pool, similarity) for fold, pool in pools.items()])
    ranges = judged.reliability()
    logger.info(
        "calibration: Brier score %.4f, calibration error %.4f on near pairs of unseen folds",
        *(judged.brier_score, calibration_error(ranges)),
    )
    for weight in fitted["all"].columns:
        logger.info("%s: pairs that agree gain %.1f bits, pairs that differ lose %.1f bits", *weight.in_bits)
    return fitted, pd.DataFrame(ranges, columns=list(Reliability._fields))
