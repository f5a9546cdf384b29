"""Batches of lesions; the usual class samplers repeat or drop lesions with two to four photographs."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray, LabelArray

Rows = NDArray[np.int64]


def lesion_batches(
    labels: LabelArray,
    lesions_per_batch: int,
    images_per_lesion: int,
    rng: np.random.Generator,
    order: Rows | None = None,
) -> list[Rows]:
    """Return the batches of one epoch; every lesion is in one of them.

    Args:
        labels: ``(n_images,)``, the lesion of each image, 0 … n_lesions - 1.
        lesions_per_batch: Largest number; batch sizes differ by at most one lesion, so that no lesion is alone.
        images_per_lesion: Distinct images per lesion; all of them if a lesion has fewer.
        rng: Random generator of this epoch.
        order: ``(n_lesions,)``, the order of lesions; None: random.

    Returns:
        Rows of the images in each batch, grouped by lesion; no image twice.
    """
    n_lesions = int(labels.max()) + 1
    dealt = rng.permutation(n_lesions) if order is None else order
    by_lesion = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    return [
        np.concatenate([_choose(by_lesion[lesion], images_per_lesion, rng) for lesion in lesions])
        for lesions in np.array_split(dealt, -(-n_lesions // lesions_per_batch))
    ]


def _choose(rows: Rows, n_images: int, rng: np.random.Generator) -> Rows:
    return rng.permutation(rows)[:n_images]


def hard_order(centroids: FloatArray, group_size: int, rng: np.random.Generator) -> Rows:
    """Return an order in which similar lesions are neighbours: hard negatives for the next epoch.

    Each group starts with a random lesion, followed by its most similar lesions that are not yet in a group.

    Args:
        centroids: ``(n_lesions, embedding_dim)``, mean embeddings of the last epoch.
        group_size: Lesions per group, at least 2.
        rng: Random generator of this epoch.

    Returns:
        ``(n_lesions,)``, each lesion once.
    """
    free = np.ones(len(centroids), dtype=bool)
    order: list[int] = []
    for anchor in rng.permutation(len(centroids)):
        if free[anchor]:
            free[anchor] = False
            others = np.flatnonzero(free)
            nearest = np.argsort(-(centroids[others] @ centroids[anchor]), kind="stable")[: group_size - 1]
            free[others[nearest]] = False
            order += [int(anchor), *others[nearest].tolist()]
    return np.array(order, dtype=np.int64)
