"""Nodes: the model that a user keeps, and what it is worth on lesions that no choice has seen."""

import logging
import math
from typing import Any

import pandas as pd

from skinbit.config import (
    BackboneParams,
    ComputeParams,
    DataParams,
    EvaluationParams,
    GeometryParams,
    MemoryParams,
    ReportParams,
)
from skinbit.data.images import ImageFolder
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import (
    NO_HEAD,
    Checkpoint,
    whitening_tensors,
    with_backbone,
    with_cuts,
)
from skinbit.embedding.combination import combine_checkpoints
from skinbit.embedding.embeddings import fit_to_training_lesions, lesions_of
from skinbit.embedding.tables import Embeddings, Features
from skinbit.matching.assembly import Matching
from skinbit.matching.cuts.operating_points import carry_to_pool
from skinbit.matching.keypoints.shortlist import SHORTLIST, read_shortlist
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.matching.methods import CUTS, PAGED
from skinbit.matching.pairs.pool import limits_of
from skinbit.matching.scoring.judging import f1_intervals, resample_f1
from skinbit.matching.scoring.mistakes import find_mistakes, mistakes_document
from skinbit.matching.scoring.results import interval_metrics, metric_table
from skinbit.matching.scoring.score import metrics_at_cuts, score

logger = logging.getLogger(__name__)


def score_test(
    embeddings: Embeddings,
    split: pd.DataFrame,
    checkpoint: Checkpoint,
    evaluation: EvaluationParams,
    report: ReportParams,
    memory: MemoryParams,
    seed: int,
    shortlist: pd.DataFrame | None = None,
    *,
    name: str,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Score the test images at the cuts that the folds choose for a pool of this size; nothing is tuned here.

    Args:
        embeddings: Of the test images.
        split: Tells the lesion of each image.
        checkpoint: The final model.
        evaluation: Searched ranges, for the oracle that shows what the transfer of the cuts costs; resampling.
        report: How many misclassified pairs of each kind are listed.
        memory: How many pairs are held at once.
        seed: Of the resampling.
        shortlist: Of the test images, where keypoints are compared.
        name: Of the experiment.

    Returns:
        ``metric, value`` at these cuts, with intervals, and ``<method>_f1_oracle`` at the test images' own best cuts;
        and the misclassified pairs by cosine threshold and by DBSCAN, see
        :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
    """
    matching = checkpoint.matching
    carried = carry_to_pool(matching.operating_points, len(embeddings.image_ids), evaluation.pool_correction)
    cuts = {method: cut.value for method, cut in carried.items()}
    lesion_ids = lesions_of(embeddings, split, TEST_FOLD)
    compared = read_shortlist(shortlist, embeddings.image_ids)
    pool = matching.pool(embeddings.values, compared, limits_of(memory))
    found = score(pool, lesion_ids, evaluation, cuts)
    logger.info(
        "%s test: %d images, %.2f times as many as in a fold (rho), so the threshold is %.4f",
        name,
        len(lesion_ids),
        carried["cosine"].rho,
        cuts["cosine"],
    )
    intervals = f1_intervals(resample_f1([found.given.predicted], evaluation.resamples, seed))
    metrics = metrics_at_cuts(found, cuts) | {"rho": carried["cosine"].rho} | dict(found.given.metrics)
    paged = {method: cuts[method] for method in PAGED}
    images = list(zip(embeddings.image_ids, lesion_ids, strict=True))
    mistakes = find_mistakes(pool, images, paged, found.given.groups, report.max_pairs)
    by_cosine, by_dbscan = (mistakes_document(name, mistakes[method]) for method in PAGED)
    return metric_table(metrics | interval_metrics(intervals)), by_cosine, by_dbscan


def make_test_thumbnails(
    images: ImageFolder, split: pd.DataFrame, data: DataParams, report: ReportParams
) -> dict[str, str]:
    """Make small copies of all test photographs, for the pages of every experiment.

    Args:
        images: The folder of photographs.
        split: Tells which images are the test subset.
        data: Pixel limit.
        report: Size of a thumbnail.

    Returns:
        ``data:`` addresses by image id.

    Raises:
        InputError: If a photograph is missing or cannot be read.
    """
    from tqdm import tqdm

    from skinbit.report.thumbnails import make_thumbnails

    image_ids = split.loc[split["fold"] == TEST_FOLD, "image_id"].tolist()
    made = make_thumbnails(images, image_ids, report.thumbnail, data.max_pixels)
    return dict(tqdm(made, total=len(image_ids), unit="image", desc="thumbnails", disable=None))


def draw_matches(
    images: ImageFolder,
    keypoints: KeypointTable,
    shortlist: pd.DataFrame,
    by_cosine: dict[str, Any],
    by_dbscan: dict[str, Any],
    geometry: GeometryParams,
    data: DataParams,
    compute: ComputeParams,
    report: ReportParams,
) -> list[dict[str, Any]]:
    """Draw the points on which misclassified pairs agree, the worst pairs first.

    Args:
        images: The folder of photographs.
        keypoints: Of at least the test images.
        shortlist: ``image_a, image_b, inliers`` of the test images.
        by_cosine: Misclassified pairs by cosine threshold.
        by_dbscan: Misclassified pairs by DBSCAN.
        geometry: How keypoints are compared.
        data: Pixel limit.
        compute: Number of threads.
        report: How many pairs are drawn.

    Returns:
        ``image_a, image_b, inliers, drawing`` of every misclassified pair whose keypoints were compared; the drawing is
        a ``data:`` address, None without inliers and beyond the limit.

    Raises:
        InputError: If a photograph is missing or cannot be read.
    """
    from tqdm import tqdm

    from skinbit.embedding.compute import resolve_compute
    from skinbit.report.drawings import KeypointPhotographs, count_points, draw_pairs, ordered

    columns = (shortlist[column].tolist() for column in SHORTLIST)
    compared = {ordered(a, b): inliers for a, b, inliers in zip(*columns, strict=True)}
    counts = count_points([by_cosine["pairs"], by_dbscan["pairs"]], compared)
    chosen = [pair for pair, inliers in counts.items() if inliers][: report.max_drawings]
    rows = [(keypoints.rows[a], keypoints.rows[b]) for a, b in chosen]
    photographs = KeypointPhotographs(keypoints, lambda row: images.read(keypoints.image_ids[row]), data.max_pixels)
    made = draw_pairs(rows, photographs, geometry, resolve_compute(compute).threads)
    bar = tqdm(made, total=len(chosen), unit="pair", desc="drawing matches", disable=None)
    drawings = dict(zip(chosen, bar, strict=True))
    return [
        {"image_a": a, "image_b": b, "inliers": inliers, "drawing": drawings.get((a, b))}
        for (a, b), inliers in counts.items()
    ]


def show_mistakes(
    thumbnails: dict[str, str],
    by_cosine: dict[str, Any],
    by_dbscan: dict[str, Any],
    report: ReportParams,
    match_drawings: list[dict[str, Any]] | None = None,
) -> tuple[str, str]:
    """Make pages that show misclassified pairs side by side.

    Args:
        thumbnails: Of the test images.
        by_cosine: Misclassified pairs by cosine threshold.
        by_dbscan: Misclassified pairs by DBSCAN.
        report: How many megabytes of thumbnails and drawings a page may hold.
        match_drawings: From :func:`draw_matches`, where keypoints are compared.

    Returns:
        HTML of each method.
    """
    from skinbit.report.mistakes import render_mistakes

    by_method = (by_cosine, by_dbscan)
    shown_by_cosine, shown_by_dbscan = (
        render_mistakes(document, thumbnails, report, match_drawings) for document in by_method
    )
    return shown_by_cosine, shown_by_dbscan


def package_trained(
    weights: Checkpoint,
    averages: dict[str, Any],
    matching: Matching,
    backbone: BackboneParams,
    seed: int,
) -> Checkpoint:
    """Put the trained weights, those of a frozen backbone, and the averaged cuts into one checkpoint.

    Args:
        weights: Of the final training.
        averages: Of the folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        backbone: Its settings.
        seed: Draws the backbone's weights where they are not pretrained.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    whole = weights if weights.model.holds_backbone else with_backbone(weights, backbone, seed)
    return with_cuts(whole, _average_cuts(averages), matching)


def _average_cuts(averages: dict[str, Any]) -> dict[str, float]:
    return {cut: math.nan if averages[cut] is None else averages[cut] for cut in CUTS.values()}


def package_combination(
    averages: dict[str, Any], matching: Matching, *, shares: dict[str, float], **checkpoints: Checkpoint
) -> Checkpoint:
    """Put the final models of a combination's members and the averaged cuts into one checkpoint.

    Args:
        averages: Of its folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        shares: Of each member in the mean of the cosines, by name.
        checkpoints: Of the members, under ``checkpoint_<name>``: no member's name is then that of another argument.

    Returns:
        All weights; the header rebuilds every model without any other file.
    """
    members = {member: checkpoints[f"checkpoint_{member}"] for member in shares}
    return combine_checkpoints(members, tuple(shares.values()), _average_cuts(averages), matching)


def package_model(
    averages: dict[str, Any],
    matching: Matching,
    backbone: BackboneParams,
    seed: int,
    features: Features | None = None,
    split: pd.DataFrame | None = None,
) -> Checkpoint:
    """Put a baseline's backbone and the averaged cuts into one checkpoint.

    Args:
        averages: Of its folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        backbone: Its settings.
        seed: Draws the weights where they are not pretrained.
        features: Of all images used, where embeddings are whitened.
        split: Tells the training lesions, where embeddings are whitened.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    import timm
    import torch

    from skinbit import __version__
    from skinbit.embedding.backbones import load_backbone
    from skinbit.embedding.headers import ModelHeader

    loaded = load_backbone(backbone, seed)
    header = ModelHeader(
        backbone=backbone.model_copy(update={"weights": None}),
        preprocessing=loaded.preprocessing,
        weights_sha256=loaded.weights_sha256(),
        holds_backbone=True,
        head=NO_HEAD,
        loss="baseline",
        epoch=None,
        seed=seed,
        versions={"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    )
    weights = {f"backbone.{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    params = matching.similarity.whitening
    if params is not None and features is not None and split is not None:
        weights |= whitening_tensors(fit_to_training_lesions(features, split, TEST_FOLD, params))
    return with_cuts(Checkpoint(weights, header), _average_cuts(averages), matching)
