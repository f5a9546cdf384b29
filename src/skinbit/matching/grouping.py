"""Groups of photographs that nobody has labelled, around known lesions where there are any, and how sure they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering import components, number_by_appearance, spanning_tree
from skinbit.matching.pairs import FloatArray, LabelArray, cosine_similarities, row_blocks

_ABOVE_ANY = np.float32(2.0)
"""Stands for "joined already": no cosine similarity is as large."""

_NEAREST_RANGE = 0.1
"""Without folds to compare, a cut is taken as known to within this share of its distance."""


@dataclass(frozen=True)
class Cut:
    """From which similarity on photographs are taken to show one lesion.

    Attributes:
        method: ``cosine`` or ``dbscan``.
        value: A threshold (``cosine``, similarity) or an eps (``dbscan``, cosine distance).
        low: Least similarity that the cut might as well have been.
        high: Largest one; ``low <= similarity <= high``.
    """

    method: str
    value: float
    low: float
    high: float

    @property
    def similarity(self) -> float:
        """Give the cut as a similarity, whatever the method."""
        return self.value if self.method == "cosine" else 1.0 - self.value


@dataclass(frozen=True)
class Group:
    """Photographs taken to show one lesion.

    Attributes:
        members: Rows of its new images, at least one.
        lesion_id: The known lesion that they join; empty where there is none.
        weakest_link: Smallest of the similarities that hold the group together; infinite where nothing needs to.
        strongest_outside: Largest similarity of one of its images to an image of another group; minus infinity where
            there is none.
    """

    members: tuple[int, ...]
    lesion_id: str
    weakest_link: float
    strongest_outside: float

    def margin(self, cut: Cut) -> float:
        """Give how far the cut may move before the group changes; 0 or more."""
        return max(0.0, min(self.weakest_link - cut.similarity, cut.similarity - self.strongest_outside))


@dataclass(frozen=True)
class Grouping:
    """New images in groups.

    Attributes:
        cluster_ids: ``(n_new,)`` 0, 1, … in the order in which rows first show them.
        groups: By cluster id.
        nearest: ``(n_new,)`` row of the most similar other image, new images first, then known ones; -1: none.
        similarities: ``(n_new,)`` float32, to that image; NaN: none.
    """

    cluster_ids: LabelArray
    groups: tuple[Group, ...]
    nearest: LabelArray
    similarities: FloatArray


def plan_cut(method: str, value: float, fold_values: tuple[float, ...], margin: float | None) -> Cut:
    """Put a cut into the range in which it might as well have been.

    Args:
        method: ``cosine`` or ``dbscan``.
        value: Its threshold or eps.
        fold_values: What each fold would have chosen; their spread around their mean is that of the cut.
        margin: A range of so much on either side instead; none: the folds' or, with fewer than two, a tenth of the
            cut's distance.

    Returns:
        The cut.
    """
    at = value if method == "cosine" else 1.0 - value
    if margin is None and len(fold_values) > 1:
        spread = np.array(fold_values) - np.mean(fold_values)
        below, above = (-spread.min(), spread.max()) if method == "cosine" else (spread.max(), -spread.min())
    else:
        below = above = margin if margin is not None else _NEAREST_RANGE * (1.0 - at)
    return Cut(method, value, float(at - below), float(at + above))


def group_images(embeddings: FloatArray, known_lesions: tuple[str, ...], cut: Cut) -> Grouping:
    """Join images by pairs that are similar enough, through others where need be; known lesions stay apart.

    Without known lesions these are the connected components at the threshold, or DBSCAN's groups at eps
    (:mod:`skinbit.matching.clustering`). With them, the known lesions are roots of a maximum spanning forest: an image
    joins the lesion to which the chain with the strongest weakest link leads.

    Args:
        embeddings: ``(n_new + n_known, d)`` from :func:`skinbit.matching.pairs.unit_vectors`, new images first.
        known_lesions: ``n_known`` lesion ids.
        cut: From which similarity on images are joined.

    Returns:
        The groups of the new images.
    """
    n_images, n_new = len(embeddings), len(embeddings) - len(known_lesions)
    similarities = cosine_similarities(embeddings)
    similarities[n_new:, n_new:] = _ABOVE_ANY  # as one root, so that the tree joins no two known images
    tree = spanning_tree(similarities)
    is_link = (tree.edges < n_new).any(axis=1)
    strengths = 1.0 - tree.distances
    is_joined = is_link & ((tree.distances <= cut.value) if cut.method == "dbscan" else (strengths >= cut.value))
    numbers = components(n_images, np.concatenate([tree.edges[is_joined], _same_lesion(known_lesions, n_new)]))
    weakest = np.full(numbers.max(initial=-1) + 1, np.inf)
    np.minimum.at(weakest, numbers[tree.edges[is_joined, 0]], strengths[is_joined])
    outside = _strongest_outside(similarities, numbers, n_new)
    lesion_of = dict(zip(numbers[n_new:].tolist(), known_lesions, strict=True))
    cluster_ids = number_by_appearance(numbers[:n_new])
    groups = []
    for members in _members(cluster_ids):
        number = int(numbers[members[0]])
        groups.append(Group(members, lesion_of.get(number, ""), float(weakest[number]), float(outside[number])))
    nearest, nearest_similarities = _nearest(similarities, n_new)
    return Grouping(cluster_ids, tuple(groups), nearest, nearest_similarities)


def explain_doubts(group: Group, cut: Cut, n_known: int, most_images: int) -> tuple[str, ...]:
    """Say why a person should look at a group.

    Args:
        group: The group.
        cut: Where it was made.
        n_known: Known images of its lesion.
        most_images: Of a lesion that takes part in training.

    Returns:
        One sentence per reason; none where every cut in the range gives the same group.
    """
    doubts = []
    n_images = len(group.members) + n_known
    if group.weakest_link < cut.high:
        doubts.append(f"Its weakest link, {group.weakest_link:.4f}, is hardly above the cut.")
    if group.lesion_id and group.strongest_outside >= cut.similarity:
        doubts.append(f"It is similar enough, {group.strongest_outside:.4f}, to another known lesion, too.")
    elif group.strongest_outside >= cut.low:
        doubts.append(f"A photograph outside is nearly similar enough, {group.strongest_outside:.4f}.")
    if n_images > most_images and len(group.members) > 1:
        doubts.append(f"It has {n_images} photographs; a lesion of the training data has at most {most_images}.")
    return tuple(doubts)


def _same_lesion(known_lesions: tuple[str, ...], n_new: int) -> NDArray[np.int64]:
    """Give pairs of rows that join the known images of each lesion."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(lesion, row), row) for row, lesion in enumerate(known_lesions, n_new)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _members(cluster_ids: LabelArray) -> list[tuple[int, ...]]:
    order = np.argsort(cluster_ids, kind="stable")
    starts = np.flatnonzero(np.diff(cluster_ids[order])) + 1
    return [tuple(rows.tolist()) for rows in np.split(order, starts) if len(rows)]


def _strongest_outside(similarities: FloatArray, numbers: LabelArray, n_new: int) -> NDArray[np.float64]:
    """Give, per group, the largest similarity to an image of another one; two known images do not count."""
    strongest = np.full(numbers.max(initial=-1) + 1, -np.inf)
    for start, stop in row_blocks(n_new):
        is_inside = numbers[start:stop, None] == numbers[None, :]
        outside = np.where(is_inside, -np.inf, similarities[start:stop])
        np.maximum.at(strongest, numbers[start:stop], outside.max(axis=1, initial=-np.inf))
        # A known image's nearest outsider is a new one, so it is seen from there.
        np.maximum.at(strongest, numbers[n_new:], outside[:, n_new:].max(axis=0, initial=-np.inf))
    return strongest


def _nearest(similarities: FloatArray, n_new: int) -> tuple[LabelArray, FloatArray]:
    nearest = np.full(n_new, -1, dtype=np.int64)
    strongest = np.full(n_new, np.nan, dtype=np.float32)
    if len(similarities) < 2:
        return nearest, strongest
    for start, stop in row_blocks(n_new):
        others = similarities[start:stop].copy()
        rows = np.arange(stop - start)
        others[rows, np.arange(start, stop)] = -np.inf
        nearest[start:stop] = others.argmax(axis=1)
        strongest[start:stop] = others[rows, nearest[start:stop]]
    return nearest, strongest
