"""Nodes: new photographs and those of known lesions, their embeddings and keypoints."""

from collections.abc import Callable

import pandas as pd

from skinbit.config import ClusterParams, ComputeParams, DataParams, LoaderParams
from skinbit.data.columns import find_columns
from skinbit.data.executor import Execution
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.metadata import source_of
from skinbit.data.photographs import (
    LISTED,
    Photographs,
    check_folder,
    read_folder,
    read_known_lesions,
)
from skinbit.data.pieces import PieceStore, Wanted, complete, of_pairs, of_photographs
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.tables import Features, Gathered
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.keypoints.compared import ComparedPairs, Comparing, shortlist_by_keypoints
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST, row_table
from skinbit.matching.keypoints.sift import NO_TABLE, KeypointTable, extract_photographs
from skinbit.matching.pairs.pool import Pool, tiles_of
from skinbit.matching.similarity.columns import columns_of, context_of_rows

Folders = Callable[[str], ImageFolder]

CACHE = "clusters"
"""Name of the embeddings of new photographs in the feature cache."""


def read_photographs(
    folders: Folders, known_cuts: KnownCuts, images: str, data: DataParams, thumbnail: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Read every photograph of a folder.

    Args:
        folders: Looks up folders.
        known_cuts: Not used; an unusable model must end the run before photographs are read.
        images: Path of the folder.
        data: Limits of a photograph.
        thumbnail: Longer side of thumbnails, pixels.

    Returns:
        ``image_id, file, sha256``; ``file, reason`` of unreadable files; thumbnails by image id.

    Raises:
        InputError: If there is no such folder.
    """
    from skinbit.report.thumbnails import shrink

    folder = check_folder(folders(images), "cluster.images")
    return read_folder(folder, data, lambda image: shrink(image, thumbnail))


def read_known(
    folders: Folders,
    metadata_files: Callable[[str], pd.DataFrame],
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    data: DataParams,
    thumbnail: int,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read the photographs with known lesions.

    Args:
        folders: Looks up folders.
        metadata_files: Looks up tables.
        known_cuts: Not used, as in :func:`read_photographs`.
        cluster: The table, and its image folder; None: ``images`` beside it.
        data: Limits of a photograph, and which problems are errors.
        thumbnail: Longer side of thumbnails, pixels.

    Returns:
        ``image_id, file, sha256, lesion_id`` of images with a lesion, empty if there are none; their thumbnails.

    Raises:
        InputError: If rows or photographs have problems that are errors; lists them.
    """
    from skinbit.report.thumbnails import shrink

    if cluster.known is None:
        return pd.DataFrame(columns=[*LISTED, "lesion_id"], dtype=str), {}
    folder = check_folder(folders(cluster.known_folder), "cluster.known_images")
    table = metadata_files(cluster.known)
    return read_known_lesions(folder, table, data, lambda image: shrink(image, thumbnail))


def open_listed(
    folders: Folders,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    data: DataParams,
) -> Photographs:
    """Return the new photographs, followed by the known ones."""
    named = ((new_photographs, str(cluster.images)), (known_photographs, cluster.known_folder))
    return Photographs(
        tuple(
            ListedPhotographs(folders(folder), table, data, "cluster_images") for table, folder in named if len(table)
        )
    )


def read_columns(
    checkpoint: Checkpoint,
    column_files: Callable[[str], pd.DataFrame],
    metadata_files: Callable[[str], pd.DataFrame],
    folders: Folders,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    data: DataParams,
) -> pd.DataFrame:
    """Read the metadata columns that are used when images are compared.

    Args:
        checkpoint: The model, with its columns.
        column_files: Looks up tables of new photographs.
        metadata_files: Looks up tables of known photographs.
        folders: Looks up folders.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: ``image_id, file, sha256, lesion_id``.
        cluster: The tables, and further columns in which photographs must agree.
        data: Whether subfolders are read.

    Returns:
        ``image_id, …`` as text, of new, then of known photographs; blank if unknown.

    Raises:
        InputError: If a table does not match the photographs.
    """
    same, evidence = columns_of(checkpoint.matching.similarity.context, cluster.same)
    columns = (*same, *evidence)
    sources = (
        (new_photographs, cluster.metadata, column_files, str(cluster.images)),
        (known_photographs, cluster.known, metadata_files, cluster.known_folder),
    )
    parts = []
    for listed, name, files, folder in sources:
        said = pd.DataFrame("", index=range(len(listed)), columns=[*columns])
        if name is not None and len(listed) and columns:
            table = files(name)
            said = find_columns(listed, folders(folder).choose(data.subfolders), table, columns, source_of(table))
        parts.append(said.assign(image_id=listed["image_id"].to_numpy())[["image_id", *columns]])
    return pd.concat(parts, ignore_index=True)


def embed_new(
    checkpoint: Checkpoint,
    folders: Folders,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    feature_cache: Callable[[str, str], PieceStore[Features]],
    cluster: ClusterParams,
    loader: LoaderParams,
    compute: ComputeParams,
    data: DataParams,
    executor: Execution,
) -> Gathered[Features]:
    """Embed new and known photographs, except those that are cached from an earlier run of this model.

    Returns:
        Where the ``(n_new + n_known, n_vectors, embedding_dim)`` unit-length embeddings are, new photographs first.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import feature_key
    from skinbit.embedding.inference import embedding_key
    from skinbit.embedding.makers import EmbeddingMaker

    resolved = resolve_compute(compute)
    description = {"embedding": embedding_key(checkpoint, resolved, loader.batch_size)}
    photographs = open_listed(folders, new_photographs, known_photographs, cluster, data)
    keys = tuple(feature_key(description, sha256) for sha256 in photographs.hashes)
    image_ids = tuple(image_id for _, image_id in photographs.places)
    maker = EmbeddingMaker(checkpoint, photographs, loader, resolved, keys, description)
    wanted = Wanted(f"embeddings of {len(keys)} photographs", "embedding", keys, image_ids, photographs.source_numbers)
    places = complete(wanted, feature_cache(CACHE, "features"), maker, of_photographs(executor, loader.batch_size))
    return Gathered(image_ids, keys, description, places)


def find_keypoints(
    checkpoint: Checkpoint,
    folders: Folders,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    keypoint_cache: PieceStore[KeypointTable],
    cluster: ClusterParams,
    compute: ComputeParams,
    data: DataParams,
    executor: Execution,
) -> KeypointTable:
    """Find the keypoints of new and known photographs, except those that are cached from an earlier run.

    Returns:
        Keypoints of new, then of known photographs; empty if the model does not use keypoints.
    """
    from skinbit.embedding.compute import resolve_compute

    matching = checkpoint.matching
    if not matching.similarity.verification:
        return NO_TABLE
    photographs = open_listed(folders, new_photographs, known_photographs, cluster, data)
    threads = resolve_compute(compute).threads
    return extract_photographs(photographs, keypoint_cache, matching.geometry, threads, of_photographs(executor))


def compare_photographs(
    checkpoint: Checkpoint,
    features: Features,
    keypoints: KeypointTable,
    columns: pd.DataFrame,
    cluster: ClusterParams,
    compute: ComputeParams,
    tile_megabytes: float,
    pair_cache: PieceStore[ComparedPairs],
    executor: Execution,
) -> pd.DataFrame:
    """Compare the keypoints of each photograph with those of its nearest photographs, if the model uses keypoints.

    Photographs that differ in a column that must agree are not compared.

    Returns:
        ``row_a, row_b, inliers``, rows of the embeddings; empty if the model does not use keypoints.
    """
    from skinbit.embedding.compute import resolve_compute

    matching = checkpoint.matching
    if not matching.similarity.verification:
        return row_table(NO_SHORTLIST)
    threads = resolve_compute(compute).threads
    comparing = Comparing(matching.geometry, threads, pair_cache, of_pairs(executor))
    context = context_of_rows(columns, *columns_of(matching.similarity.context, cluster.same))
    pool = Pool(features.values, context=context, limits=tiles_of(tile_megabytes))
    return row_table(shortlist_by_keypoints(pool, keypoints, comparing))
