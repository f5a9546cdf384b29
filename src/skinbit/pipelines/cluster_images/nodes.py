"""Nodes: a folder of photographs and a trained model -> groups, as a table and as a page."""

import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from skinbit.config import (
    BackboneParams,
    ClusterParams,
    ComputeParams,
    DataParams,
    EvaluationParams,
    LoaderParams,
    MemoryParams,
    ReportParams,
)
from skinbit.data.images import ImageFolder, check_images, try_images, with_unique_ids
from skinbit.data.metadata import ROW, find_row_problems
from skinbit.data.problems import Problem, raise_errors, tabulate_problems
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, with_backbone
from skinbit.embedding.combination import members_of
from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.matching.cuts.operating_points import KnownCuts, carry_over
from skinbit.matching.grouping import (
    NO_CUT,
    Cut,
    Grouping,
    explain_doubts,
    group_images,
    plan_cut,
    read_cut,
    write_cut,
)
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST, read_rows, row_table
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Pool, limits_of, tiles_of

if TYPE_CHECKING:
    from skinbit.report.gallery import Group, Link

logger = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")

CACHE = "clusters"
"""Name of the embeddings of new photographs in the feature cache."""

LISTED = ["image_id", "file", "sha256"]

_N_LINKS = 3
"""Drawings of one group, at most."""


def open_checkpoint(checkpoint_files: Callable[[str], Checkpoint], cluster: ClusterParams) -> Checkpoint:
    """Load the checkpoint that a user names.

    Args:
        checkpoint_files: Looks files up.
        cluster: Names one.

    Returns:
        The checkpoint.

    Raises:
        InputError: If no model is named at all, there is no such file, it needs another one, or is no model.
    """
    if cluster.checkpoint is None:
        raise InputError(
            "cluster_images needs a model. Remedy: --params "
            '"cluster.images=FOLDER,cluster.experiment=NAME" (or cluster.checkpoint=FILE).'
        )
    checkpoint = checkpoint_files(cluster.checkpoint)
    if not getattr(checkpoint.header, "holds_backbone", True):
        raise InputError(
            f"{cluster.checkpoint} holds a fold's head without its frozen backbone.\n"
            "  Remedy: name the final model's checkpoint, or cluster.experiment and cluster.fold instead."
        )
    try:
        for member in members_of(checkpoint):
            rebuild_model(member)
    except InputError as error:
        raise InputError(f"{cluster.checkpoint} cannot be used. {error.message}") from error
    return checkpoint


def complete_checkpoint(checkpoint: Checkpoint, backbone: BackboneParams, seed: int) -> Checkpoint:
    """Give a fold's head its frozen backbone.

    Args:
        checkpoint: Of a fold.
        backbone: Its settings.
        seed: Draws the weights where they are not pretrained.

    Returns:
        All weights.
    """
    return with_backbone(checkpoint, backbone, seed)


def check_cuts(checkpoint: Checkpoint, cluster: ClusterParams) -> KnownCuts:
    """Make sure that there is a cut to group by, before anything is read.

    Args:
        checkpoint: Holds what every fold of its cross-validation would choose.
        cluster: Method, and a cut instead.

    Returns:
        What the model's folds would choose.

    Raises:
        InputError: If no folder is named, or there is no cut.
    """
    if cluster.images is None:
        raise InputError('cluster_images needs a folder. Remedy: --params "cluster.images=FOLDER,…".')
    points, name = checkpoint.matching.operating_points, CUTS.get(cluster.method, "")
    value = getattr(checkpoint.header, name) if name else None
    value = None if value is None or math.isnan(value) else value
    if name and cluster.given_cut is None and value is None:
        raise InputError(
            f"The model has no {name}: its training had no pair of one lesion to choose it by.\n"
            f"  Remedy: give one, cluster.{METHODS[cluster.method].word}=…"
        )
    return KnownCuts(
        method=cluster.method, given=cluster.given_cut, value=value, operating_points=points.get(cluster.method, ())
    )


def choose_cut(
    known_cuts: KnownCuts,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    evaluation: EvaluationParams,
) -> dict[str, Any]:
    """Settle from which similarity on photographs are joined; the more there are, the higher it is.

    Args:
        known_cuts: From :func:`check_cuts`.
        new_photographs: To be grouped.
        known_photographs: Whose lesions are known.
        cluster: How far around the cut a group counts as unsure.
        evaluation: Whether cuts are chosen for the number of photographs.

    Returns:
        From :func:`skinbit.matching.grouping.write_cut`.
    """
    method = known_cuts.method
    if method not in CUTS:
        return write_cut(NO_CUT)
    n_images = len(new_photographs) + len(known_photographs)
    points = known_cuts.operating_points
    carried = carry_over(points, n_images, evaluation.pool_correction, cluster.single_share)
    chosen = tuple(fold for fold in carried.chosen if not math.isnan(fold))
    if known_cuts.given is not None:
        value, origin = known_cuts.given, "as given"
    elif chosen:
        value = carried.value
        origin = f"of the model, for {n_images} photographs, {carried.rho:.2f} times as many as in a fold (rho)"
        if cluster.single_share and evaluation.pool_correction:
            origin += f", {cluster.single_share:.0%} of them without a partner"
    else:
        value, origin = math.nan if known_cuts.value is None else known_cuts.value, "of the model"
    cut = plan_cut(method, value, chosen, cluster.margin)
    logger.info(
        "joining photographs from a similarity of %.4f on (%s %.4f, %s); sure outside of %.4f to %.4f",
        cut.similarity,
        CUTS[method],
        value,
        origin,
        cut.low,
        cut.high,
    )
    return write_cut(cut)


def read_photographs(
    photograph_folders: Callable[[str], ImageFolder],
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    data: DataParams,
    report: ReportParams,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Read every photograph of a folder.

    Args:
        photograph_folders: Looks folders up.
        known_cuts: Unused here; a model that cannot be used ends the run before anything is read.
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
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    data: DataParams,
    report: ReportParams,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read the photographs whose lesions are known.

    Args:
        photograph_folders: Looks folders up.
        metadata_files: Looks tables up.
        known_cuts: Unused here, as in :func:`read_photographs`.
        cluster: Names the table, and its folder of photographs; none: images beside it.
        data: Pixel limit.
        report: Size of a thumbnail.

    Returns:
        ``image_id, file, sha256, lesion_id`` of images with a lesion, empty where none are known; their thumbnails.

    Raises:
        InputError: If rows or photographs have problems that are errors; lists them.
    """
    if cluster.known is None:
        return pd.DataFrame(columns=[*LISTED, "lesion_id"], dtype=str), {}
    table = metadata_files(cluster.known)
    source = str(table.attrs.get("source", "cluster.known"))
    row_problems = tabulate_problems(find_row_problems(table, source))
    wanted = table[(table["lesion_id"] != "") & ~table[ROW].isin(row_problems["row"])]
    folder = _open_folder(photograph_folders, known_folder(cluster), "cluster.known_images")
    listed, image_problems, thumbnails = _read_listed(folder, wanted, data, report)
    problems = pd.concat([row_problems, tabulate_problems(image_problems)], ignore_index=True)
    raise_errors(problems, data.policy, source, f"Photographs are looked for in {folder.root}.")
    if len(problems):
        logger.warning("%d rows of known photographs are left out: %s", problems["row"].nunique(), _first_of(problems))
    known = listed.merge(wanted[["image_id", "lesion_id"]], on="image_id", how="left")
    logger.info("%d photographs of %d known lesions", len(known), known["lesion_id"].nunique())
    return known, thumbnails


def _first_of(problems: pd.DataFrame) -> str:
    shown = problems.drop_duplicates("row").head(5)
    return "; ".join(f"row {row}: {problem}" for row, problem in zip(shown["row"], shown["problem"], strict=True))


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
    from skinbit.embedding.features import Extraction, feature_key
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
            source = _listed(photograph_folders(str(folder)), photographs[rows])
            extraction = Extraction(source, loader, resolved, data.max_pixels)
            values = embed_photographs(checkpoint, extraction, list(source.files))
            vectors.update(zip(np.array(keys)[rows].tolist(), values[:, None], strict=True))
    values = np.stack([vectors[key] for key in keys]) if keys else np.empty((0, 1, 1), np.float32)
    return Features(tuple(photographs["image_id"]), values, keys, description)


def compare_photographs(
    checkpoint: Checkpoint,
    features: Features,
    photograph_folders: Callable[[str], ImageFolder],
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    compute: ComputeParams,
    data: DataParams,
    tile_megabytes: float,
) -> pd.DataFrame:
    """Compare each photograph with its nearest by their keypoints, where the model was evaluated so.

    Args:
        checkpoint: Says whether, and how.
        features: Embeddings of new, then of known photographs.
        photograph_folders: Looks folders up.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: The same and ``lesion_id``.
        cluster: Names the folders.
        compute: Number of threads.
        data: Pixel limit.
        tile_megabytes: For similarities at any moment.

    Returns:
        ``row_a, row_b, inliers``, rows of the embeddings; none where no keypoints count.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.matching.keypoints.geometry import shortlist_by_keypoints
    from skinbit.matching.keypoints.sift import extract_table, join_tables

    matching = checkpoint.matching
    if not matching.similarity.verification:
        return row_table(NO_SHORTLIST)
    geometry = matching.geometry
    threads = resolve_compute(compute).threads
    tables = [
        extract_table(files, photographs, NO_TABLE, geometry, data.max_pixels, threads)
        for files, photographs in _sources(photograph_folders, new_photographs, known_photographs, cluster)
    ]
    pool = Pool(features.values[:, 0], limits=tiles_of(tile_megabytes))
    return row_table(shortlist_by_keypoints(pool, join_tables(tables), geometry, threads))


def group_photographs(
    checkpoint: Checkpoint,
    features: Features,
    compared: pd.DataFrame,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster_cut: dict[str, Any],
    data: DataParams,
    memory: MemoryParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Group new photographs, around known lesions where there are any, and say which groups need a look.

    Args:
        checkpoint: Says what makes similarities.
        features: Embeddings of new, then of known photographs.
        compared: From :func:`compare_photographs`.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: The same and ``lesion_id``.
        cluster_cut: From which similarity on photographs are joined.
        data: The most images that a lesion has.
        memory: How many pairs are held at once.

    Returns:
        ``image_id, cluster_id, similarity_to_nearest``, with known lesions also ``lesion_id``; and a document of the
        groups: members, known lesion, margin, doubts.

    Raises:
        InputError: If the cut asks for more pairs than may be held.
    """
    cut, lesions = read_cut(cluster_cut), tuple(known_photographs["lesion_id"])
    matching = checkpoint.matching
    pool = matching.pool(features.values[:, 0], read_rows(compared), limits_of(memory))
    found = group_images(pool, lesions, cut, matching.max_group_size)
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
        **write_cut(cut),
        "groups": groups,
        "nearest": nearest,
    }


def draw_links(
    checkpoint: Checkpoint,
    compared: pd.DataFrame,
    cluster_groups: dict[str, Any],
    photograph_folders: Callable[[str], ImageFolder],
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
    compute: ComputeParams,
    data: DataParams,
    report: ReportParams,
) -> list[dict[str, Any]]:
    """Draw the points on which the photographs of a group agree, groups to be checked first.

    Args:
        checkpoint: Says how keypoints are compared.
        compared: From :func:`compare_photographs`.
        cluster_groups: The document of groups.
        photograph_folders: Looks folders up.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: The same and ``lesion_id``.
        cluster: Names the folders.
        compute: Number of threads.
        data: Pixel limit.
        report: How many groups are drawn.

    Returns:
        ``cluster_id, image_ids, inliers, drawing`` of the strongest links of each group, in the order of the page; the
        drawing is a ``data:`` address, None beyond the limit. Empty where no keypoints are compared.

    Raises:
        InputError: If a photograph is missing or cannot be read.
    """
    from skinbit.report.drawings import strongest_links

    groups = sorted(cluster_groups["groups"], key=_urgency)
    new_rows = {image_id: row for row, image_id in enumerate(new_photographs["image_id"])}
    known_rows = {image_id: row for row, image_id in enumerate(known_photographs["image_id"], len(new_rows))}
    members = [
        ([new_rows[image_id] for image_id in group["image_ids"]], [known_rows[each] for each in group["known_ids"]])
        for group in groups
    ]
    links = strongest_links(members, read_rows(compared), _N_LINKS)
    linked = [(group["cluster_id"], found) for group, found in zip(groups, links, strict=True) if found]
    drawn = [(a, b) for _, found in linked[: report.max_drawings] for a, b, _ in found]
    chosen = np.unique(np.array(drawn, dtype=np.int64))
    is_new = chosen < len(new_rows)
    new, known = new_photographs.iloc[chosen[is_new]], known_photographs.iloc[chosen[~is_new] - len(new_rows)]
    sources = _sources(photograph_folders, new, known, cluster)
    place = {row: number for number, row in enumerate(chosen.tolist())}
    pairs = [(place[a], place[b]) for a, b in drawn]
    drawings = dict(zip(drawn, _draw(pairs, sources, checkpoint, compute, data), strict=True))
    image_ids = [*new_rows, *known_rows]
    return [
        {
            "cluster_id": cluster_id,
            "image_ids": [image_ids[a], image_ids[b]],
            "inliers": inliers,
            "drawing": drawings.get((a, b)),
        }
        for cluster_id, found in linked
        for a, b, inliers in found
    ]


def _urgency(group: dict[str, Any]) -> tuple[bool, float]:
    """Order groups as the page does: those to be checked first, then by margin."""
    return not group["doubts"], math.inf if group["margin"] is None else group["margin"]


def _draw(
    pairs: list[tuple[int, int]],
    sources: list[tuple[ImageFolder, pd.DataFrame]],
    checkpoint: Checkpoint,
    compute: ComputeParams,
    data: DataParams,
) -> Iterable[str]:
    """Draw pairs of the sources' photographs, counted from the first source to the last."""
    from tqdm import tqdm

    from skinbit.embedding.compute import resolve_compute
    from skinbit.matching.keypoints.sift import extract_table, join_tables
    from skinbit.report.drawings import KeypointPhotographs, draw_pairs

    geometry = checkpoint.matching.geometry
    threads = resolve_compute(compute).threads
    tables = [extract_table(*source, NO_TABLE, geometry, data.max_pixels, threads) for source in sources]
    places = [(files, image_id) for files, photographs in sources for image_id in photographs["image_id"]]

    def read(row: int) -> bytes:
        files, image_id = places[row]
        return files.read(image_id)

    photographs = KeypointPhotographs(join_tables(tables), read, data.max_pixels)
    made = draw_pairs(pairs, photographs, geometry, threads)
    return tqdm(made, total=len(pairs), unit="pair", desc="drawing matches", disable=None)


def write_gallery(
    clustered_images: pd.DataFrame,
    cluster_groups: dict[str, Any],
    known_photographs: pd.DataFrame,
    unreadable: pd.DataFrame,
    new_thumbnails: dict[str, str],
    known_thumbnails: dict[str, str],
    cluster_links: list[dict[str, Any]],
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
        cluster_links: From :func:`draw_links`.
        checkpoint: The model.
        report: How many megabytes of thumbnails and drawings a page may hold.

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
    thumbnails = within_size(_by_need(groups, new_thumbnails, known_thumbnails), report.max_megabytes)
    gallery = Gallery(
        title=f"{len(clustered_images)} photographs, {n_shared} groups of two and more",
        settings=_settings(cluster_groups, checkpoint),
        photographs=(
            *(Photograph(image_id, _as_in_csv(value), nearest, "") for image_id, value, nearest in new),
            *(Photograph(image_id, "", "", lesion_id) for image_id, lesion_id in known),
        ),
        groups=groups,
        unreadable=tuple(zip(unreadable["file"], unreadable["reason"], strict=True)),
        thumbnails=thumbnails,
        csv_columns=tuple(clustered_images.columns),
        links=_links(cluster_links, report.max_megabytes - sum(map(len, thumbnails.values())) / 1e6),
    )
    return render_gallery(gallery)


def _links(records: list[dict[str, Any]], megabytes: float) -> dict[int, tuple["Link", ...]]:
    """Give the links of each group, with as many drawings as fit."""
    from skinbit.report.gallery import Link
    from skinbit.report.thumbnails import within_size

    drawn = {number: record["drawing"] for number, record in enumerate(records) if record["drawing"]}
    fitting = within_size(drawn, megabytes)
    links: dict[int, tuple[Link, ...]] = {}
    for number, record in enumerate(records):
        image_a, image_b = record["image_ids"]
        link = Link((image_a, image_b), record["inliers"], fitting.get(number))
        links[record["cluster_id"]] = (*links.get(record["cluster_id"], ()), link)
    return links


def _settings(document: dict[str, Any], checkpoint: Checkpoint) -> dict[str, str]:
    headers = [member.model for member in members_of(checkpoint)]
    model = " + ".join(f"{header.backbone.model}, {header.loss}" for header in headers)
    method = METHODS[document["method"]]
    if document["cut"] is None:
        return {"model": model, "method": f"{method.title.lower()}, which needs no cut"}
    return {
        "model": model,
        "method": f"{document['method']}, {method.word} {document['cut']:.4f}",
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


def _sources(
    photograph_folders: Callable[[str], ImageFolder], new: pd.DataFrame, known: pd.DataFrame, cluster: ClusterParams
) -> list[tuple[ImageFolder, pd.DataFrame]]:
    """Give the folders that hold the photographs, new ones first, with the photographs of each."""
    named = ((new, cluster.images), (known, known_folder(cluster)))
    return [
        (_listed(photograph_folders(str(folder)), photographs), photographs)
        for photographs, folder in named
        if len(photographs)
    ]


def _listed(folder: ImageFolder, photographs: pd.DataFrame) -> ImageFolder:
    """Give a folder with one file per listed photograph."""
    files = {image_id: (file,) for image_id, file in zip(photographs["image_id"], photographs["file"], strict=True)}
    return ImageFolder(folder.fs, folder.root, files)


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
    from skinbit.report.thumbnails import shrink

    folder = with_unique_ids(folder)
    attempts = try_images(folder, data, lambda image: shrink(image, report.thumbnail))
    records, unreadable, thumbnails = [], [], {}
    for attempt in _watched(attempts, len(folder.files)):
        if isinstance(attempt, Problem):
            unreadable.append((attempt.file, attempt.problem))
        else:
            records.append(attempt.record)
            thumbnails[attempt.record["image_id"]] = attempt.used
    return pd.DataFrame(records, columns=LISTED, dtype=str), unreadable, thumbnails


def _read_listed(
    folder: ImageFolder, images: pd.DataFrame, data: DataParams, report: ReportParams
) -> tuple[pd.DataFrame, list[Problem], dict[str, str]]:
    """Give the photographs that rows name, what is wrong with the others, and thumbnails by image id."""
    from skinbit.report.thumbnails import shrink

    outcomes = check_images(folder, images, data, lambda image: shrink(image, report.thumbnail))
    records, problems, thumbnails = [], [], {}
    for outcome in _watched(outcomes, len(images)):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            records.append(outcome.record)
            thumbnails[outcome.record["image_id"]] = outcome.used
    return pd.DataFrame(records, columns=LISTED, dtype=str), problems, thumbnails


def _watched(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    from tqdm import tqdm

    return tqdm(outcomes, total=total, unit="image", desc="reading images", disable=None)
