"""Nodes of the audit: problems of photographs, metadata and split that would falsify F1, listed and shown."""

import logging
from typing import Any

import pandas as pd

from skinbit.config import AuditParams, ComputeParams, DataParams, GeometryParams, ReportParams
from skinbit.data.executor import Execution
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.pieces import PieceStore, of_pairs
from skinbit.embedding.tables import Features
from skinbit.matching.keypoints.compared import ComparedPairs, Comparing
from skinbit.matching.keypoints.sift import KeypointTable, choose_keypoints

logger = logging.getLogger(__name__)


def hash_photographs(images: ImageFolder, image_index: pd.DataFrame, data: DataParams) -> pd.DataFrame:
    """Decode every image used and hash its pixels.

    Args:
        images: The folder of photographs.
        image_index: The images used.
        data: Limits of a photograph.

    Returns:
        ``image_id, pixels_sha256``.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    from skinbit.audit.copies import hash_pixels
    from skinbit.data.progress import Progress

    hashed = hash_pixels(ListedPhotographs(images, image_index, data))
    bar = Progress(hashed, total=len(image_index), unit="image", desc="hashing pixels")
    return pd.DataFrame(list(bar), columns=["image_id", "pixels_sha256"])


def find_findings(
    metadata: pd.DataFrame,
    rejected: pd.DataFrame,
    image_index: pd.DataFrame,
    pixel_hashes: pd.DataFrame,
    split: pd.DataFrame,
    features: Features,
    keypoints: KeypointTable,
    audit: AuditParams,
    geometry: GeometryParams,
    compute: ComputeParams,
    tile_megabytes: float,
    pair_cache: PieceStore[ComparedPairs],
    executor: Execution,
    *,
    experiment: str,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Check copies, split, patients and metadata, and compare all photographs with each other.

    Args:
        metadata: Metadata of the images used.
        rejected: The images left out.
        image_index: The images used, with the hashes of their files.
        pixel_hashes: Hashes of the images' pixels.
        split: The split on disk, all text.
        features: Features of a baseline.
        keypoints: Keypoints of the images used.
        audit: Which problems are findings.
        geometry: How keypoints are compared.
        compute: Number of threads.
        tile_megabytes: Size of the similarities that are held at once.
        pair_cache: Pairs that the study's experiments and earlier audits have compared.
        executor: Size of a piece, and where pieces are made.
        experiment: Name of the baseline.

    Returns:
        The table of findings, and their summary.

    Raises:
        InputError: If the split cannot be audited, or its tables have different images.
    """
    from skinbit.audit.audited_study import AuditedStudy
    from skinbit.audit.similarities import AuditedImages, compare_images
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.embeddings import baseline_embeddings
    from skinbit.matching.pairs.pool import Pool, tiles_of

    study = AuditedStudy.read(metadata, rejected, image_index, pixel_hashes, split)
    image_ids, lesion_ids = list(study.lesion_of), list(study.lesion_of.values())
    pool = Pool(baseline_embeddings(features, image_ids).values, limits=tiles_of(tile_megabytes))
    images = AuditedImages(image_ids, lesion_ids, pool, choose_keypoints([keypoints], image_ids))
    comparing = Comparing(geometry, resolve_compute(compute).threads, pair_cache, of_pairs(executor))
    compared = compare_images(images, audit, comparing)
    findings, summary = study.conclude(compared, audit, experiment)
    for line in summary.lines() or ["nothing"]:
        logger.info("the audit found %s", line)
    for check in summary.unchecked:
        logger.info("the audit did not check %s: %s", check.title, check.note)
    return findings, summary.model_dump()


def show_findings(
    images: ImageFolder,
    image_index: pd.DataFrame,
    keypoints: KeypointTable,
    findings: pd.DataFrame,
    summary: dict[str, Any],
    report: ReportParams,
    geometry: GeometryParams,
    data: DataParams,
    compute: ComputeParams,
) -> str:
    """Make a page with all findings and their photographs side by side.

    Args:
        images: The folder of photographs.
        image_index: The images used, with the hashes of their files.
        keypoints: Keypoints of the images used.
        findings: From :func:`find_findings`.
        summary: Summary from :func:`find_findings`.
        report: Sizes and limits of the page.
        geometry: How keypoints are compared.
        data: Limits of a photograph.
        compute: Number of threads.

    Returns:
        HTML.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    from skinbit.audit.page import pages_images, pairs_to_draw, render_audit
    from skinbit.audit.summary import AuditSummary
    from skinbit.embedding.compute import resolve_compute
    from skinbit.report.drawings import KeypointPhotographs, draw_pairs
    from skinbit.report.thumbnails import make_thumbnails

    photographs = ListedPhotographs(images, image_index, data)
    # An edited split may contain images without a photograph.
    shown = [image_id for image_id in pages_images(findings, report.max_pairs) if image_id in photographs.noted]
    thumbnails = dict(make_thumbnails(photographs, shown, report.thumbnail))
    pairs = pairs_to_draw(findings, report.max_pairs, report.max_drawings)
    rows = [(keypoints.rows[a], keypoints.rows[b]) for a, b in pairs]
    drawn_of = KeypointPhotographs.of_study(keypoints, photographs)
    drawn = draw_pairs(rows, drawn_of, geometry, resolve_compute(compute).threads)
    drawings = dict(zip(pairs, drawn, strict=True))
    return render_audit(findings, AuditSummary.model_validate(summary), thumbnails, drawings, report)
