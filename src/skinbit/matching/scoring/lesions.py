"""Lesions that are separated at a cut, and groups with several lesions."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from skinbit.matching.labels import FloatArray


def tabulate_positive_pairs(
    similarities: FloatArray, lesion_ids: Sequence[str], image_ids: Sequence[str]
) -> pd.DataFrame:
    """Return a table of all positive pairs, of images with the same lesion.

    Args:
        similarities: ``(n_images, n_images)`` float32 in [-1, 1], symmetric.
        lesion_ids: True lesion of each of the ``n_images`` images.
        image_ids: Distinct id of each of the ``n_images`` images.

    Returns:
        ``lesion_id, image_a, image_b, similarity``, least similar pairs first, ties by id.
    """
    rows_of: dict[str, list[int]] = {}
    for row in sorted(range(len(image_ids)), key=image_ids.__getitem__):
        rows_of.setdefault(lesion_ids[row], []).append(row)
    pairs = np.array(
        [pair for _, rows in sorted(rows_of.items()) for pair in combinations(rows, 2)], dtype=np.int64
    ).reshape(-1, 2)
    described = [
        (lesion_ids[a], image_ids[a], image_ids[b], similarity)
        for (a, b), similarity in zip(pairs.tolist(), similarities[*pairs.T].tolist(), strict=True)
    ]
    table = pd.DataFrame(described, columns=["lesion_id", "image_a", "image_b", "similarity"])
    return table.sort_values("similarity", kind="stable", ignore_index=True)


def evaluate_lesions(positive_pairs: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the number of each lesion's pairs that are missed at a threshold.

    Args:
        positive_pairs: From :func:`tabulate_positive_pairs`.
        threshold: Similarity from which a pair is predicted positive.

    Returns:
        ``lesion_id, n_images, n_pairs, n_missed, lowest, highest`` of every lesion with a pair, the last two being the
        similarities of its least and most similar pair; sorted by missed pairs, most first, then by similarity.
    """
    rows = [
        (
            lesion_id,
            len({*pairs["image_a"], *pairs["image_b"]}),
            len(pairs),
            int((pairs["similarity"] < threshold).sum()),
            pairs["similarity"].min(),
            pairs["similarity"].max(),
        )
        for lesion_id, pairs in positive_pairs.groupby("lesion_id")
    ]
    table = pd.DataFrame(rows, columns=["lesion_id", "n_images", "n_pairs", "n_missed", "lowest", "highest"])
    order = ["n_missed", "lowest", "lesion_id"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)


def summarise_by_size(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return the number of lesions with all, some or none of their pairs found, by number of images.

    Args:
        lesions: From :func:`evaluate_lesions`.

    Returns:
        ``n_images, n_lesions, all_found, some_found, none_found, n_pairs, n_missed``, fewest images first.
    """
    outcomes = lesions.assign(
        n_lesions=1,
        all_found=lesions["n_missed"] == 0,
        some_found=(lesions["n_missed"] > 0) & (lesions["n_missed"] < lesions["n_pairs"]),
        none_found=lesions["n_missed"] == lesions["n_pairs"],
    )
    counted = ["n_lesions", "all_found", "some_found", "none_found", "n_pairs", "n_missed"]
    return outcomes.groupby("n_images")[counted].sum().reset_index()


def find_mixed_groups(clustered_images: pd.DataFrame) -> pd.DataFrame:
    """Return the groups with images of several lesions.

    Args:
        clustered_images: ``image_id, lesion_id, cluster_id``.

    Returns:
        ``cluster_id, n_images, n_lesions, n_false_pairs``, the last one being pairs of two lesions; sorted by these,
        most first, ties by id.
    """
    rows = [
        (cluster_id, len(images), images["lesion_id"].nunique(), _count_false_pairs(images["lesion_id"]))
        for cluster_id, images in clustered_images.groupby("cluster_id")
    ]
    table = pd.DataFrame(rows, columns=["cluster_id", "n_images", "n_lesions", "n_false_pairs"])
    mixed = table[table["n_lesions"] > 1]
    return mixed.sort_values(["n_false_pairs", "cluster_id"], ascending=[False, True], ignore_index=True)


def _count_false_pairs(lesion_ids: pd.Series) -> int:
    sizes = lesion_ids.value_counts()
    return (len(lesion_ids) ** 2 - int((sizes**2).sum())) // 2
