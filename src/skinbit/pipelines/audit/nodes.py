"""Nodes: what in photographs, metadata and split would falsify the F1, listed and shown."""

import logging
from typing import Any

import pandas as pd

from skinbit.audit.tables import Check
from skinbit.config import AuditParams, ComputeParams, DataParams, GeometryParams, ReportParams
from skinbit.data.images import ImageFolder
from skinbit.embedding.tables import Features
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.matching.pairs.pool import Pool, tiles_of

logger = logging.getLogger(__name__)


def hash_photographs(images: ImageFolder, image_index: pd.DataFrame, data: DataParams) -> pd.DataFrame:
    """Decode every image used and hash its pixels.

    Args:
        images: The folder of photographs.
        image_index: The images used.
        data: Pixel limit.

    Returns:
        ``image_id, pixels_sha256``.

    Raises:
        InputError: If a photograph is missing or cannot be read.
    """
    from tqdm import tqdm

    from skinbit.audit.tables import hash_pixels

    hashed = hash_pixels(images, image_index["image_id"].tolist(), data.max_pixels)
    bar = tqdm(hashed, total=len(image_index), unit="image", desc="hashing pixels", disable=None)
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
    *,
    experiment: str,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Check copies, split, patients and metadata, and compare all photographs with each other.

    Args:
        metadata: Of the images used.
        rejected: The images left out.
        image_index: The images used, with the hash of their bytes.
        pixel_hashes: Hashes of their pixels.
        split: As it is on disk, all text.
        features: Of a baseline.
        keypoints: Of the images used.
        audit: What counts as a finding.
        geometry: How keypoints are compared.
        compute: Number of threads.
        tile_megabytes: For similarities at any moment.
        experiment: The baseline's name.

    Returns:
        The table of findings, and their summary.

    Raises:
        InputError: If the split cannot be audited, or its tables are of different images.
    """
    from skinbit.audit import tables
    from skinbit.audit.page import describe_audit, summarise_audit
    from skinbit.audit.similarities import AuditedImages, compare_images, lesions_to_join, without_copies
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.embeddings import baseline_embeddings

    split = tables.read_split(split)
    lesion_of = tables.lesions_of_images(metadata, image_index)
    hashes = image_index[["image_id", "sha256"]].merge(pixel_hashes, on="image_id")
    copies = tables.find_copies(hashes, lesion_of)
    others, checks = tables.check_tables(metadata, split, lesion_of, audit)
    image_ids = sorted(lesion_of)
    lesion_ids = [lesion_of[image_id] for image_id in image_ids]
    pool = Pool(baseline_embeddings(features, image_ids).values, limits=tiles_of(tile_megabytes))
    audited = AuditedImages(image_ids, lesion_ids, pool, keypoints.select(image_ids))
    compared = compare_images(audited, audit, geometry, resolve_compute(compute).threads)
    findings = [*copies, *others, *without_copies(compared.findings, copies)]
    table = tables.tabulate_findings(findings, tables.places_of(split))
    settings = {
        "experiment": experiment,
        "n_images": len(image_ids),
        "n_lesions": len(set(lesion_ids)),
        "split_sha256": tables.hash_split(split),
        "alike_from": compared.alike_from,
        "unlike_below": compared.unlike_below,
        "min_points": audit.min_points,
    }
    checks += [*compared.checks(experiment), *tables.check_left_out(rejected)]
    summary = summarise_audit(table, compared.counts, checks, lesions_to_join(findings), settings)
    _log_audit(describe_audit(summary), [check for check in checks if not check.is_done])
    return table, summary


def _log_audit(found: list[str], unchecked: list[Check]) -> None:
    for line in found or ["nothing"]:
        logger.info("the audit found %s", line)
    for check in unchecked:
        logger.info("the audit did not look at %s: %s", check.title, check.note)


def show_findings(
    images: ImageFolder,
    keypoints: KeypointTable,
    findings: pd.DataFrame,
    summary: dict[str, Any],
    report: ReportParams,
    geometry: GeometryParams,
    data: DataParams,
    compute: ComputeParams,
) -> str:
    """Make a page that shows all findings, their photographs side by side.

    Args:
        images: The folder of photographs.
        keypoints: Of the images used.
        findings: From :func:`find_findings`.
        summary: Likewise.
        report: Sizes and limits of the page.
        geometry: How keypoints are compared.
        data: Pixel limit.
        compute: Number of threads.

    Returns:
        HTML.

    Raises:
        InputError: If a photograph cannot be read any more.
    """
    from skinbit.audit.page import pages_images, pairs_to_draw, render_audit
    from skinbit.embedding.compute import resolve_compute
    from skinbit.report.drawings import draw_pairs
    from skinbit.report.thumbnails import make_thumbnails

    # An edited split may name images that there is no photograph of.
    shown = [image_id for image_id in pages_images(findings, report.max_pairs) if image_id in images.files]
    thumbnails = dict(make_thumbnails(images, shown, report.thumbnail, data.max_pixels))
    pairs = pairs_to_draw(findings, report.max_pairs, report.max_drawings)
    drawn = draw_pairs(
        [(keypoints.rows[a], keypoints.rows[b]) for a, b in pairs],
        keypoints,
        lambda row: images.read(keypoints.image_ids[row]),
        geometry,
        data.max_pixels,
        resolve_compute(compute).threads,
    )
    return render_audit(findings, summary, thumbnails, dict(zip(pairs, drawn, strict=True)), report)
