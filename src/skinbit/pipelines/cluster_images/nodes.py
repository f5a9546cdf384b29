"""Nodes: a folder of photographs and a trained model -> groups, as a table and as a page."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skinbit.data.images import ImageFolder, Unreadable, try_images, with_unique_ids
from skinbit.data.metadata import ROW
from skinbit.embedding.checkpoints import Checkpoint, with_backbone
from skinbit.embedding.tables import Features
from skinbit.errors import InputError, ProblemList
from skinbit.matching.evaluation import METHODS
from skinbit.matching.grouping import Cut, Grouping, explain_doubts, group_images, plan_cut
from skinbit.params import (
    BackboneParams,
    ClusterParams,
    ComputeParams,
    DataParams,
    ExperimentParams,
    LoaderParams,
    ReportParams,
)

if TYPE_CHECKING:
    from skinbit.report.gallery import Group

logger = logging.getLogger(__name__)

CACHE = "clusters"
"""Name of the embeddings of new photographs in the feature cache."""

LISTED = ["image_id", "file", "sha256"]


def open_checkpoint(checkpoint_files: Callable[[str], Checkpoint], cluster: ClusterParams) -> Checkpoint:
    """Load the checkpoint that a user names.

    Args:
        checkpoint_files: Looks files up.
        cluster: Names one.

    Returns:
        The checkpoint.

    Raises:
        InputError: If no model is named at all, there is no such file, or it needs another one.
    """
    if cluster.checkpoint is None:
        raise InputError(
            "cluster_images needs a model. Remedy: --params "
            '"cluster.images=FOLDER,cluster.experiment=NAME" (or cluster.checkpoint=FILE).'
        )
    checkpoint = checkpoint_files(cluster.checkpoint)
    if not checkpoint.header["holds_backbone"]:
        raise InputError(
            f"{cluster.checkpoint} holds a fold's head without its frozen backbone.\n"
            "  Remedy: name the final model's checkpoint, or cluster.experiment and cluster.fold instead."
        )
    return checkpoint


def complete_checkpoint(
    checkpoint: Checkpoint, backbone: BackboneParams, experiment: ExperimentParams, seed: int
) -> Checkpoint:
    """Give a fold's head its frozen backbone.

    Args:
        checkpoint: Of a fold.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        seed: Draws the weights where they are not pretrained.

    Returns:
        All weights.
    """
    return with_backbone(checkpoint, experiment.applied_to(backbone), seed)


def choose_cut(checkpoint: Checkpoint, cluster: ClusterParams) -> dict[str, Any]:
    """Settle from which similarity on photographs are joined.

    Args:
        checkpoint: Holds the threshold and eps that cross-validation chose.
        cluster: Method, and a threshold or eps instead.

    Returns:
        The fields of a :class:`skinbit.matching.grouping.Cut`.

    Raises:
        InputError: If no folder is named, the checkpoint has no cut, or the parameters contradict each other.
    """
    if cluster.images is None:
        raise InputError('cluster_images needs a folder. Remedy: --params "cluster.images=FOLDER,…".')
    name = METHODS[cluster.method]
    own = cluster.threshold if cluster.method == "cosine" else cluster.eps
    value = own if own is not None else float(checkpoint.header.get(name, math.nan))
    if math.isnan(value):
        raise InputError(
            f"The model has no {name}: its training had no pair of one lesion to choose it by.\n"
            f"  Remedy: give one, cluster.{'threshold' if cluster.method == 'cosine' else 'eps'}=…"
        )
    folds = tuple(fold for fold in checkpoint.header.get("fold_cuts", {}).get(name, []) if not math.isnan(fold))
    cut = plan_cut(cluster.method, value, folds, cluster.margin)
    logger.info(
        "joining photographs from a similarity of %.4f on (%s %.4f, %s); sure outside of %.4f to %.4f",
        cut.similarity,
        name,
        value,
        "as given" if own is not None else "of the model",
        cut.low,
        cut.high,
    )
    return asdict(cut)


def read_photographs(
    photograph_folders: Callable[[str], ImageFolder],
    cluster_cut: dict[str, Any],
    cluster: ClusterParams,
    data: DataParams,
    report: ReportParams,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Read every photograph of a folder.

    Args:
        photograph_folders: Looks folders up.
        cluster_cut: Unused here; a model that cannot be used ends the run before anything is read.
        cluster: Names the folder.
        data: Pixel limit.
        report: Size of a thumbnail.

    Returns:
        ``image_id, file, sha256``; ``file, reason`` of what cannot be read; thumbnails by image id.

    Raises:
        InputError: If there is no such folder.
    """
    folder = _open_folder(photograph_folders, str(cluster.images), "cluster.images")
    listed, unreadable, thumbnails = _read_folder(folder, data, report)
    logger.info("%d photographs to group, %d files cannot be read", len(listed), len(unreadable))
    for file, reason in unreadable[:5]:
        logger.warning("%s: %s", file, reason)
    return listed, pd.DataFrame(unreadable, columns=["file", "reason"]), thumbnails


def read_known(
    photograph_folders: Callable[[str], ImageFolder],
    metadata_files: Callable[[str], pd.DataFrame],
    cluster_cut: dict[str, Any],
    cluster: ClusterParams,
    data: DataParams,
    report: ReportParams,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read the photographs whose lesions are known.

    Args:
        photograph_folders: Looks folders up.
        metadata_files: Looks tables up.
        cluster_cut: Unused here, as in :func:`read_photographs`.
        cluster: Names the table, and its folder of photographs; none: images beside it.
        data: Pixel limit.
        report: Size of a thumbnail.

    Returns:
        ``image_id, file, sha256, lesion_id`` of images with a lesion, empty where none are known; their thumbnails.

    Raises:
        InputError: If ids are blank or doubled, or photographs are missing or unreadable; lists them.
    """
    if cluster.known is None:
        return pd.DataFrame(columns=[*LISTED, "lesion_id"], dtype=str), {}
    from skinbit.schemas import check_raw_metadata

    table = metadata_files(cluster.known)
    check_raw_metadata(table)
    table = table[table["lesion_id"] != ""]
    folder = _open_folder(photograph_folders, known_folder(cluster), "cluster.known_images")
    wanted = set(table["image_id"])
    folder = ImageFolder(folder.fs, folder.root, {i: files for i, files in folder.files.items() if i in wanted})
    _check_known(folder, table)
    listed, unreadable, thumbnails = _read_folder(folder, data, report)
    problems = ProblemList()
    for file, reason in unreadable:
        problems.add("known photographs that cannot be read", f"{file}: {reason}", "replace them, or remove their rows")
    problems.raise_if_any(folder.root)
    known = listed.merge(table[["image_id", "lesion_id"]], on="image_id", how="left")
    logger.info("%d photographs of %d known lesions", len(known), known["lesion_id"].nunique())
    return known, thumbnails


def known_folder(cluster: ClusterParams) -> str:
    """Give the folder of the known photographs: the one that is named, or images beside the table."""
    if cluster.known_images is not None:
        return cluster.known_images
    parent, separator, _ = str(cluster.known).replace("\\", "/").rpartition("/")
    return f"{parent}{separator}images"


def embed_new(
    checkpoint: Checkpoint,
    photograph_folders: Callable[[str], ImageFolder],
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    feature_cache: Callable[[str, str], Features],
    cluster: ClusterParams,
    loader: LoaderParams,
    compute: ComputeParams,
    data: DataParams,
) -> Features:
    """Embed new and known photographs; those that this model embedded in an earlier run are taken from the cache.

    Args:
        checkpoint: The model, with all weights.
        photograph_folders: Looks folders up.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: The same and ``lesion_id``.
        feature_cache: Looks up embeddings of earlier runs.
        cluster: Names the folders.
        loader: Worker processes and batch size.
        compute: Where to compute.
        data: Pixel limit.

    Returns:
        ``(n_new + n_known, 1, embedding_dim)`` unit-length embeddings, new photographs first.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import feature_key
    from skinbit.embedding.inference import embed_photographs, embedding_key

    resolved = resolve_compute(compute)
    description = {"embedding": embedding_key(checkpoint, resolved, loader.batch_size)}
    photographs = pd.concat([new_photographs[LISTED], known_photographs[LISTED]], ignore_index=True)
    keys = tuple(feature_key(description, sha256) for sha256 in photographs["sha256"])
    stored = feature_cache(CACHE, "features")
    vectors = dict(zip(stored.keys, stored.values, strict=True))
    # The same bytes have the same embedding: a copy under another name is embedded once.
    first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in vectors}
    logger.info("%d embeddings from the cache, %d to compute", len(keys) - len(first), len(first))
    is_missing = np.isin(np.arange(len(keys)), list(first.values()))
    is_new = np.arange(len(keys)) < len(new_photographs)
    for rows, folder in ((is_missing & is_new, cluster.images), (is_missing & ~is_new, known_folder(cluster))):
        if rows.any():
            files = photograph_folders(str(folder))
            chosen = photographs[rows]
            one_each = {image_id: (file,) for image_id, file in zip(chosen["image_id"], chosen["file"], strict=True)}
            source = ImageFolder(files.fs, files.root, one_each)
            values = embed_photographs(checkpoint, source, list(one_each), loader, resolved, data.max_pixels)
            vectors.update(zip(np.array(keys)[rows].tolist(), values[:, None], strict=True))
    values = np.stack([vectors[key] for key in keys]) if keys else np.empty((0, 1, 1), np.float32)
    return Features(tuple(photographs["image_id"]), values, keys, description)


def group_photographs(
    features: Features,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster_cut: dict[str, Any],
    data: DataParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Group new photographs, around known lesions where there are any, and say which groups need a look.

    Args:
        features: Embeddings of new, then of known photographs.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: The same and ``lesion_id``.
        cluster_cut: From which similarity on photographs are joined.
        data: The most images that a lesion has.

    Returns:
        ``image_id, cluster_id, similarity_to_nearest``, with known lesions also ``lesion_id``; and a document of the
        groups: members, known lesion, margin, doubts.
    """
    cut, lesions = Cut(**cluster_cut), tuple(known_photographs["lesion_id"])
    found = group_images(features.values[:, 0], lesions, cut)
    table = pd.DataFrame(
        {
            "image_id": new_photographs["image_id"].tolist(),
            "cluster_id": found.cluster_ids,
            "similarity_to_nearest": found.similarities.astype(np.float64),
        }
    )
    if lesions:
        table["lesion_id"] = [found.groups[group].lesion_id for group in found.cluster_ids]
    document = _describe_groups(found, features.image_ids, known_photographs, cut, data)
    n_shared = sum(len(group["image_ids"]) + len(group["known_ids"]) > 1 for group in document["groups"])
    n_doubtful = sum(bool(group["doubts"]) for group in document["groups"])
    logger.info("%d groups of two and more photographs; %d groups to be checked", n_shared, n_doubtful)
    return table, document


def _describe_groups(
    found: Grouping, image_ids: tuple[str, ...], known: pd.DataFrame, cut: Cut, data: DataParams
) -> dict[str, Any]:
    known_ids = known.groupby("lesion_id")["image_id"].agg(list).to_dict()
    groups = []
    for number, group in enumerate(found.groups):
        partners = known_ids.get(group.lesion_id, [])
        margin = group.margin(cut)
        groups.append(
            {
                "cluster_id": number,
                "lesion_id": group.lesion_id,
                "image_ids": [image_ids[row] for row in group.members],
                "known_ids": partners,
                "margin": margin if math.isfinite(margin) else None,
                "doubts": list(explain_doubts(group, cut, len(partners), data.max_images_per_lesion)),
            }
        )
    nearest = [image_ids[row] if row >= 0 else "" for row in found.nearest]
    return {
        "method": cut.method,
        "cut": cut.value,
        "similarity": cut.similarity,
        "unsure_from": cut.low,
        "unsure_to": cut.high,
        "groups": groups,
        "nearest": nearest,
    }


def write_gallery(
    clustered_images: pd.DataFrame,
    cluster_groups: dict[str, Any],
    known_photographs: pd.DataFrame,
    unreadable: pd.DataFrame,
    new_thumbnails: dict[str, str],
    known_thumbnails: dict[str, str],
    checkpoint: Checkpoint,
    report: ReportParams,
) -> str:
    """Show the groups on a page where a person corrects them.

    Args:
        clustered_images: The table of groups.
        cluster_groups: The document of groups.
        known_photographs: ``image_id, …, lesion_id``.
        unreadable: ``file, reason``.
        new_thumbnails: By image id.
        known_thumbnails: By image id.
        checkpoint: The model.
        report: How many megabytes of thumbnails a page may hold.

    Returns:
        A self-contained HTML page.
    """
    from skinbit.report.gallery import Gallery, Group, Photograph, render_gallery
    from skinbit.report.thumbnails import within_size

    groups = tuple(
        Group(
            cluster_id=group["cluster_id"],
            lesion_id=group["lesion_id"],
            image_ids=tuple(group["image_ids"]),
            known_ids=tuple(group["known_ids"]),
            margin=math.inf if group["margin"] is None else group["margin"],
            needs_check=bool(group["doubts"]),
            reasons=tuple(group["doubts"]),
        )
        for group in cluster_groups["groups"]
    )
    new = zip(
        clustered_images["image_id"],
        clustered_images["similarity_to_nearest"],
        cluster_groups["nearest"],
        strict=True,
    )
    known = zip(known_photographs["image_id"], known_photographs["lesion_id"], strict=True)
    n_shared = sum(len(group.image_ids) + len(group.known_ids) > 1 for group in groups)
    gallery = Gallery(
        title=f"{len(clustered_images)} photographs, {n_shared} groups of two and more",
        settings=_settings(cluster_groups, checkpoint),
        photographs=(
            *(Photograph(image_id, _as_in_csv(value), nearest, "") for image_id, value, nearest in new),
            *(Photograph(image_id, "", "", lesion_id) for image_id, lesion_id in known),
        ),
        groups=groups,
        unreadable=tuple(zip(unreadable["file"], unreadable["reason"], strict=True)),
        thumbnails=within_size(_by_need(groups, new_thumbnails, known_thumbnails), report.max_megabytes),
        csv_columns=tuple(clustered_images.columns),
    )
    return render_gallery(gallery)


def _settings(document: dict[str, Any], checkpoint: Checkpoint) -> dict[str, str]:
    header = checkpoint.header
    unit = "threshold" if document["method"] == "cosine" else "eps"
    return {
        "model": f"{header['backbone']['model']}, {header['loss']}",
        "method": f"{document['method']}, {unit} {document['cut']:.4f}",
        "joined from": f"similarity {document['similarity']:.4f}",
        "unsure between": f"similarities {document['unsure_from']:.4f} and {document['unsure_to']:.4f}",
    }


def _as_in_csv(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _by_need(groups: Iterable["Group"], new: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """Order thumbnails: those of groups that need a look first, images without partner last."""
    ordered: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: (len(group.image_ids) + len(group.known_ids) < 2, group.margin)):
        ordered |= {image_id: new[image_id] for image_id in group.image_ids}
        ordered |= {f"known:{image_id}": known[image_id] for image_id in group.known_ids}
    return ordered


def _open_folder(photograph_folders: Callable[[str], ImageFolder], path: str, parameter: str) -> ImageFolder:
    folder = photograph_folders(path)
    if not folder.fs.isdir(folder.root):
        raise InputError(
            f"There is no folder {folder.root}.\n  Remedy: correct {parameter}; a relative path starts at the project."
        )
    return folder


def _read_folder(
    folder: ImageFolder, data: DataParams, report: ReportParams
) -> tuple[pd.DataFrame, list[tuple[str, str]], dict[str, str]]:
    """Give the photographs, the files that cannot be read with the reason, and thumbnails by image id."""
    from tqdm.auto import tqdm

    from skinbit.report.thumbnails import shrink

    folder = with_unique_ids(folder)
    attempts = try_images(folder, data.max_pixels, lambda image: shrink(image, report.thumbnail))
    records, unreadable, thumbnails = [], [], {}
    for attempt in tqdm(attempts, total=len(folder.files), unit="image", desc="reading images", disable=None):
        if isinstance(attempt, Unreadable):
            unreadable.append((attempt.file, attempt.reason))
        else:
            records.append(attempt.record)
            thumbnails[attempt.record["image_id"]] = attempt.used
    return pd.DataFrame(records, columns=LISTED, dtype=str), unreadable, thumbnails


def _check_known(folder: ImageFolder, table: pd.DataFrame) -> None:
    problems = ProblemList()
    for image_id, row in zip(table["image_id"], table[ROW], strict=True):
        n_files = len(folder.files.get(image_id, ()))
        if n_files != 1:
            problems.add(
                "known photographs without a file" if n_files == 0 else "known photographs with more than one file",
                f"{image_id} (row {row} of {table.attrs.get('source', 'cluster.known')})",
                f"put one file per image_id into {folder.root}, or remove the row",
            )
    problems.raise_if_any("cluster.known")
