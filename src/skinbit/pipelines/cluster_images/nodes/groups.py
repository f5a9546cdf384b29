"""Nodes: groups of photographs, as tables and as a page."""

import logging
from typing import Any, Unpack

import pandas as pd

from skinbit.config import ClusterParams, ComputeParams, DataParams, MemoryParams
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.tables import Features
from skinbit.matching.cuts.grouping_cut import read_cut
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.documents import settle_cut
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.group_documents import describe_groups, group_table
from skinbit.matching.grouping import group_images
from skinbit.matching.keypoints.shortlist import read_rows
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.matching.labels import known_labels
from skinbit.matching.pairs.pool import limits_of
from skinbit.matching.similarity.columns import columns_of, context_of_rows
from skinbit.pipelines.cluster_images.nodes.photographs import Folders, open_listed
from skinbit.report.cluster_gallery import ClusterFiles

logger = logging.getLogger(__name__)


def group_photographs(
    checkpoint: Checkpoint,
    features: Features,
    compared: pd.DataFrame,
    known_photographs: pd.DataFrame,
    columns: pd.DataFrame,
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    is_corrected: bool,
    max_images_per_lesion: int,
    memory: MemoryParams,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Group new photographs, around known lesions if there are any, and list the reasons to review each group.

    The photographs' own similarities determine the cut, unless the user sets it.

    Args:
        checkpoint: The model, with its similarity and its odds.
        features: Embeddings of new, then of known photographs.
        compared: From :func:`compare_photographs`.
        known_photographs: ``image_id, …, lesion_id``.
        columns: ``image_id, …`` of new, then of known photographs.
        known_cuts: Cuts of the user and of the model's folds.
        cluster: The method and the user's settings.
        is_corrected: Whether the folds' cut is corrected for the number of photographs.
        max_images_per_lesion: Larger groups are marked for review.
        memory: Limit on the pairs held at once.

    Returns:
        ``image_id, cluster_id, similarity_to_nearest, probability_of_nearest``, with known lesions also ``lesion_id``;
        a document of the groups: members, known lesion, margin, reasons for review, and expected metrics; and the cut,
        from :func:`skinbit.matching.expected.documents.settle_cut`.

    Raises:
        InputError: If the cut needs more pairs than can be held.
    """
    matching, lesions = checkpoint.matching, tuple(known_photographs["lesion_id"])
    context = context_of_rows(columns, *columns_of(matching.similarity.context, cluster.same))
    pool = matching.pool(features.values, read_rows(compared), context, limits_of(memory))
    known = known_labels(lesions, len(pool) - len(lesions))
    settled = settle_cut(pool, known, matching.odds, known_cuts, cluster, is_corrected)
    cut = read_cut(settled)
    log_odds = None if settled["log_odds"] is None else LogOdds(**settled["log_odds"])
    found = group_images(pool, lesions, cut, cluster.max_group_size)
    document = describe_groups(found, features.image_ids, known_photographs, cut, log_odds, max_images_per_lesion)
    n_shared = sum(len(group["image_ids"]) + len(group["known_ids"]) > 1 for group in document["groups"])
    n_doubtful = sum(bool(group["doubts"]) for group in document["groups"])
    logger.info("%d groups of two or more photographs, %d groups to review", n_shared, n_doubtful)
    table = group_table(found, features.image_ids, log_odds, with_lesions=bool(lesions))
    return table, {**settled, **document}, settled


def draw_links(
    checkpoint: Checkpoint,
    keypoints: KeypointTable,
    compared: pd.DataFrame,
    cluster_groups: dict[str, Any],
    folders: Folders,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    compute: ComputeParams,
    data: DataParams,
    max_drawings: int,
) -> list[dict[str, Any]]:
    """Draw the matched keypoints of the photographs in each group, groups to review first.

    Returns:
        ``cluster_id, image_ids, inliers, drawing`` of the strongest links of each group, in the order of the page; the
        drawing is a ``data:`` address, None beyond the limit. Empty if no keypoints are compared.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.report.links import draw_rows, find_links, link_records

    new_ids, known_ids = new_photographs["image_id"].tolist(), known_photographs["image_id"].tolist()
    linked = find_links(cluster_groups["groups"], new_ids, known_ids, read_rows(compared))
    pairs = [link.rows for links in linked[:max_drawings] for link in links]
    photographs = open_listed(folders, new_photographs, known_photographs, cluster, data)
    threads = resolve_compute(compute).threads
    drawings = draw_rows(photographs, keypoints, pairs, checkpoint.matching.geometry, threads)
    return link_records(linked, [*new_ids, *known_ids], drawings)


def write_gallery(checkpoint: Checkpoint, max_megabytes: float, **files: Unpack[ClusterFiles]) -> str:
    """Show the groups on a page where a person can correct them."""
    from skinbit.report.cluster_gallery import assemble_gallery
    from skinbit.report.gallery import render_gallery

    return render_gallery(assemble_gallery(files, checkpoint, max_megabytes))
