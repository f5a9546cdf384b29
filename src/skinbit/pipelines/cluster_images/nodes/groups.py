"""Nodes: groups of photographs, as tables and as a page."""

import logging
from typing import Any, Unpack

import pandas as pd

from skinbit.config import ClusterParams, ComputeParams, DataParams, MemoryParams
from skinbit.decisions.verdicts import Verdicts
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.tables import Features
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.cuts.grouping_cut import read_cut
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.candidates import NO_CANDIDATES, candidate_table, find_candidates
from skinbit.matching.expected.documents import settle_cut
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.group_documents import describe_groups, group_table, partner_table
from skinbit.matching.grouping import group_images
from skinbit.matching.keypoints.shortlist import Shortlist, inliers_of, read_rows
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.matching.labels import known_labels
from skinbit.matching.pairs.pool import Pool, limits_of
from skinbit.matching.similarity.columns import columns_of, context_of_rows, describe_pairs
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
    decisions: Verdicts,
    certificate: dict[str, Any],
    cluster: ClusterParams,
    is_corrected: bool,
    max_images_per_lesion: int,
    memory: MemoryParams,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Group new photographs, around known lesions where there are any, and list the doubts about each group.

    They are joined from where their own similarities say, unless the user says where; what people have answered holds.

    Args:
        checkpoint: The model, with its similarity and its odds.
        features: Embeddings of new, then of known photographs.
        compared: From :func:`compare_photographs`.
        known_photographs: ``image_id, …, lesion_id``.
        columns: ``image_id, …`` of new, then of known photographs.
        known_cuts: What the user and the folds of the model say.
        decisions: What answers say of new and known photographs.
        certificate: From :func:`skinbit.pipelines.cluster_images.nodes.certificate.certify_groups`.
        cluster: The method, and what the user wants.
        is_corrected: Whether the number of photographs counts where the folds' cut is taken.
        max_images_per_lesion: A larger group is to be checked.
        memory: How many pairs are held at once.

    Returns:
        ``image_id, cluster_id, similarity_to_nearest, probability_of_nearest``, with known lesions also ``lesion_id``;
        the partners of each photograph, from :func:`skinbit.matching.group_documents.partner_table`; the pairs that may
        show one lesion, from :func:`skinbit.matching.expected.candidates.candidate_table`; a document of the groups:
        members, known lesion, margin, doubts, what is expected of them, and the certificate; and the cut, from
        :func:`skinbit.matching.expected.documents.settle_cut`.

    Raises:
        InputError: If the cut needs more pairs than can be held.
    """
    matching, lesions = checkpoint.matching, tuple(known_photographs["lesion_id"])
    pool, shortlist = pool_of_photographs(checkpoint, features, compared, columns, cluster, memory)
    constraints = Constraints(known_labels(lesions, len(pool) - len(lesions)), *decisions.as_arrays())
    settled = settle_cut(pool, constraints, matching.odds, known_cuts, cluster, is_corrected)
    cut = read_cut(settled)
    log_odds = None if settled["log_odds"] is None else LogOdds(**settled["log_odds"])
    found = group_images(pool, lesions, cut, cluster.max_group_size, constraints, cluster.n_partners)
    document = describe_groups(
        *(found, features.image_ids, known_photographs, cut, log_odds, max_images_per_lesion),
        contradictory=decisions.contradictory,
    )
    n_shared = sum(len(group["image_ids"]) + len(group["known_ids"]) > 1 for group in document["groups"])
    n_doubtful = sum(bool(group["doubts"]) for group in document["groups"])
    logger.info("%d groups of two or more photographs, %d groups to review", n_shared, n_doubtful)
    table = group_table(found, features.image_ids, log_odds, with_lesions=bool(lesions))
    pairs = found.partner_pairs
    _, evidence = columns_of(matching.similarity.context, cluster.same)
    inliers, said = inliers_of(shortlist, pairs), describe_pairs(columns, evidence, pairs)
    partners = partner_table(found, features.image_ids, lesions, log_odds, inliers, said)
    candidates = candidate_table(NO_CANDIDATES if log_odds is None else find_candidates(pool, shortlist, log_odds))
    is_told = decisions.model_copy(update={"n_read": 0}) != Verdicts()
    answers = _count_answers(decisions, constraints) if is_told else None
    return table, partners, candidates, {**settled, **document, "answers": answers, **certificate}, settled


def pool_of_photographs(
    checkpoint: Checkpoint,
    features: Features,
    compared: pd.DataFrame,
    columns: pd.DataFrame,
    cluster: ClusterParams,
    memory: MemoryParams,
) -> tuple[Pool, Shortlist]:
    """Return the photographs as the model compares them, and the pairs whose keypoints were compared."""
    shortlist, matching = read_rows(compared), checkpoint.matching
    context = context_of_rows(columns, *columns_of(matching.similarity.context, cluster.same))
    return matching.pool(features.values, shortlist, context, limits_of(memory)), shortlist


def _count_answers(decisions: Verdicts, constraints: Constraints) -> dict[str, int]:
    """Return how much of the groups answers decide."""
    return {
        "obeyed": decisions.n_obeyed,
        "elsewhere": decisions.n_elsewhere,
        "pairs_together": constraints.n_together,
        "pairs_apart": constraints.n_apart,
        "contradictory": len(decisions.contradictory),
        "read": decisions.n_read,
    }


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


def note_for_review(checkpoint: Checkpoint, cluster: ClusterParams) -> dict[str, Any]:
    """Return what `kedro review` and `kedro verify`, which load no model, have to know of the run: plain values.

    Args:
        checkpoint: The model.
        cluster: Names the folders.
    """
    from skinbit.report.cluster_gallery import name_model

    matching = checkpoint.matching
    _, evidence = columns_of(matching.similarity.context, ())
    return {
        "images": str(cluster.images),
        "known_images": None if cluster.known is None else cluster.known_folder,
        "model": name_model(checkpoint),
        "geometry": matching.geometry.model_dump(mode="json"),
        "evidence": list(evidence),
        "odds": [each.model_dump(mode="json") for each in matching.odds],
        "max_group_size": cluster.max_group_size,
    }


def write_gallery(checkpoint: Checkpoint, max_megabytes: float, **files: Unpack[ClusterFiles]) -> str:
    """Show the groups on a page where a person can correct them."""
    from skinbit.report.cluster_gallery import assemble_gallery
    from skinbit.report.gallery import render_gallery

    return render_gallery(assemble_gallery(files, checkpoint, max_megabytes))
