"""Nodes: the metrics of the final model on the test subset, and the pairs that it misclassifies."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from skinbit.config import (
    ComputeParams,
    DataParams,
    EvaluationParams,
    GeometryParams,
    MemoryParams,
    ReportParams,
    SimilarityParams,
)
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.matching.methods import PAGED
from skinbit.matching.pairs.pool import limits_of
from skinbit.matching.scoring.mistakes import find_mistakes, mistakes_document
from skinbit.matching.scoring.results import metric_table
from skinbit.matching.scoring.unseen import score_unseen
from skinbit.matching.similarity.columns import describe_rows, read_context

logger = logging.getLogger(__name__)


def score_test(
    embeddings: Embeddings,
    split: pd.DataFrame,
    checkpoint: Checkpoint,
    evaluation: EvaluationParams,
    max_pairs: int,
    memory: MemoryParams,
    seed: int,
    shortlist: pd.DataFrame | None = None,
    metadata: pd.DataFrame | None = None,
    *,
    name: str,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Score the test images at the cuts that the folds choose for a pool of this size; nothing is tuned here.

    Args:
        embeddings: Embeddings of the test images.
        split: Lesion of each image.
        checkpoint: The final model.
        evaluation: Searched ranges of the oracle, which shows the cost of transferring cuts; settings of the bootstrap.
        max_pairs: Largest number of listed misclassified pairs of each kind.
        memory: Limit on the pairs held at once.
        seed: Seed of the bootstrap.
        shortlist: Compared keypoints of the test images, if there are any.
        metadata: Metadata of the test images, if columns are used.
        name: Name of the experiment.

    Returns:
        ``metric, value`` at these cuts, with intervals, and ``<method>_f1_oracle`` at the test images' own best cuts;
        and the misclassified pairs by cosine threshold and by DBSCAN, see
        :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
    """
    matching, image_ids = checkpoint.matching, embeddings.image_ids
    lesion_ids = lesions_of(embeddings, split, TEST_FOLD)
    context = read_context(metadata, image_ids, matching.similarity.context)
    pool = matching.pool(embeddings.vectors, read_shortlist(shortlist, image_ids), context, limits_of(memory))
    found = score_unseen(pool, lesion_ids, matching.operating_points, evaluation, seed)
    logger.info(
        "%s test: %d images, %.2f times as many as in a fold (rho), so the threshold is %.4f",
        *(name, len(lesion_ids), found.metrics["rho"], found.cuts["cosine"]),
    )
    paged = {method: found.cuts[method] for method in PAGED}
    images = list(zip(image_ids, lesion_ids, strict=True))
    mistakes = find_mistakes(pool, images, paged, found.groups, max_pairs)
    by_cosine, by_dbscan = (mistakes_document(name, mistakes[method]) for method in PAGED)
    return metric_table(found.metrics), by_cosine, by_dbscan


def make_test_thumbnails(
    images: ImageFolder, image_index: pd.DataFrame, split: pd.DataFrame, data: DataParams, thumbnail: int
) -> dict[str, str]:
    """Make small copies of all test photographs, for the pages of every experiment.

    Returns:
        ``data:`` addresses by image id.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    from skinbit.data.progress import Progress
    from skinbit.report.thumbnails import make_thumbnails

    image_ids = split.loc[split["fold"] == TEST_FOLD, "image_id"].tolist()
    made = make_thumbnails(ListedPhotographs(images, image_index, data), image_ids, thumbnail)
    return dict(Progress(made, total=len(image_ids), unit="image", desc="thumbnails"))


def draw_matches(
    images: ImageFolder,
    image_index: pd.DataFrame,
    keypoints: KeypointTable,
    shortlist: pd.DataFrame,
    by_cosine: dict[str, Any],
    by_dbscan: dict[str, Any],
    geometry: GeometryParams,
    compute: ComputeParams,
    data: DataParams,
    max_drawings: int,
) -> list[dict[str, Any]]:
    """Draw the matched keypoints of misclassified pairs, worst pairs first.

    Returns:
        Records from :func:`skinbit.report.drawings.list_matches`.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.report.drawings import KeypointPhotographs, draw_pairs, list_matches

    def draw(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
        rows = [(keypoints.rows[a], keypoints.rows[b]) for a, b in pairs]
        photographs = KeypointPhotographs.of_study(keypoints, ListedPhotographs(images, image_index, data))
        return draw_pairs(rows, photographs, geometry, resolve_compute(compute).threads)

    return list_matches(shortlist, [by_cosine["pairs"], by_dbscan["pairs"]], max_drawings, draw)


def show_mistakes(
    thumbnails: dict[str, str],
    by_cosine: dict[str, Any],
    by_dbscan: dict[str, Any],
    report: ReportParams,
    match_drawings: list[dict[str, Any]] | None = None,
    similarity: SimilarityParams | None = None,
    metadata: pd.DataFrame | None = None,
) -> tuple[str, str]:
    """Make pages with the misclassified pairs side by side, by cosine threshold and by DBSCAN.

    If metadata columns are used, the pages show their values for both photographs.
    """
    from skinbit.report.mistakes import render_mistakes

    said = {}
    if metadata is not None and similarity is not None and similarity.context is not None:
        said = dict(zip(metadata["image_id"], describe_rows(metadata, similarity.context.evidence), strict=True))
    return (
        render_mistakes(by_cosine, thumbnails, report, match_drawings, said),
        render_mistakes(by_dbscan, thumbnails, report, match_drawings, said),
    )
