"""Groups of photographs that nobody has labelled, around known lesions where there are any, and how sure they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering import MergeTree, components, number_by_appearance, spanning_tree
from skinbit.matching.linkage import Linkage, linkage_tree, mutual_nearest_pairs
from skinbit.matching.pairs import FloatArray, LabelArray, lesion_labels, row_blocks

_ABOVE_ANY = np.float32(2.0)
"""Stands for "joined already": no cosine similarity is as large."""

_NEAREST_RANGE = 0.1
"""Without folds to compare, a cut is taken as known to within this share of its distance."""


@dataclass(frozen=True)
class Cut:
    """From which similarity on photographs are taken to show one lesion.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        value: A threshold (``cosine``, similarity) or a distance; NaN where the method needs none.
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


NO_CUT = Cut("mutual", np.nan, np.inf, -np.inf)
"""Of a method that needs none; no link is near to it."""


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
        """Give how far the cut may move before the group changes, or, without a cut, how far others are behind."""
        if np.isnan(cut.value):
            return max(0.0, self.weakest_link - self.strongest_outside)
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
        method: One that has a cut.
        value: Its threshold, or a distance.
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


def write_cut(cut: Cut) -> dict[str, Any]:
    """Write a cut down as plain values.

    Args:
        cut: The cut.

    Returns:
        ``method``, ``cut``, ``similarity``, ``unsure_from``, ``unsure_to``; None where the method needs no cut.
    """
    values = {"cut": cut.value, "similarity": cut.similarity, "unsure_from": cut.low, "unsure_to": cut.high}
    return {"method": cut.method} | {name: value if np.isfinite(value) else None for name, value in values.items()}


def read_cut(document: Mapping[str, Any]) -> Cut:
    """Read a cut.

    Args:
        document: From :func:`write_cut`.

    Returns:
        The cut.
    """
    if document["cut"] is None:
        return NO_CUT
    return Cut(document["method"], document["cut"], document["unsure_from"], document["unsure_to"])


def group_images(
    similarities: FloatArray, known_lesions: tuple[str, ...], cut: Cut, max_group_size: int | None
) -> Grouping:
    """Join images that are similar enough; known lesions stay apart, and their images together.

    Args:
        similarities: ``(n_new + n_known, n_new + n_known)`` float32 in [-1, 1], symmetric, new images first.
        known_lesions: ``n_known`` lesion ids.
        cut: From which similarity on images are joined, and how.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.

    Returns:
        The groups of the new images.
    """
    n_new = len(similarities) - len(known_lesions)
    join = {"average": _join_by_linkage, "complete": _join_by_linkage, "mutual": _join_mutual}.get(cut.method, _join)
    joined = join(similarities, known_lesions, cut, max_group_size)
    return grouping_of(joined, known_lesions, *_nearest(similarities, n_new))


@dataclass(frozen=True)
class Joined:
    """New and known images in groups.

    Attributes:
        numbers: ``(n_new + n_known,)`` the group of each image, new images first.
        weakest: Per group, the smallest similarity that holds it together; infinite where nothing needs to.
        outside: Per group, the largest similarity to another one; minus infinity where there is none.
    """

    numbers: LabelArray
    weakest: NDArray[np.float64]
    outside: NDArray[np.float64]


def grouping_of(
    joined: Joined, known_lesions: tuple[str, ...], nearest: LabelArray, nearest_similarities: FloatArray
) -> Grouping:
    """Describe the groups that hold new images.

    Args:
        joined: New and known images in groups.
        known_lesions: ``n_known`` lesion ids.
        nearest: As in :class:`Grouping`.
        nearest_similarities: Likewise.

    Returns:
        The groups of the new images.
    """
    numbers, n_new = joined.numbers, len(joined.numbers) - len(known_lesions)
    lesion_of = dict(zip(numbers[n_new:].tolist(), known_lesions, strict=True))
    cluster_ids = number_by_appearance(numbers[:n_new])
    groups = []
    for members in _members(cluster_ids):
        number = int(numbers[members[0]])
        weakest, outside = float(joined.weakest[number]), float(joined.outside[number])
        groups.append(Group(members, lesion_of.get(number, ""), weakest, outside))
    return Grouping(cluster_ids, tuple(groups), nearest, nearest_similarities)


def _join(similarities: FloatArray, known_lesions: tuple[str, ...], cut: Cut, max_group_size: int | None) -> Joined:
    """Join by pairs, through others where need be.

    Without known lesions these are the connected components at the threshold, or DBSCAN's groups at eps
    (:mod:`skinbit.matching.clustering`). With them, the known lesions are roots of a maximum spanning forest: an image
    joins the lesion to which the chain with the strongest weakest link leads.
    """
    n_images, n_new = len(similarities), len(similarities) - len(known_lesions)
    rooted = similarities.copy()
    rooted[n_new:, n_new:] = _ABOVE_ANY  # as one root, so that the tree joins no two known images
    links, strengths = links_within(spanning_tree(rooted), cut, n_new)
    numbers, weakest = groups_of_links(links, strengths, known_lesions, n_images)
    return Joined(numbers, weakest, _strongest_outside(similarities, numbers, n_new))


def links_within(tree: MergeTree, cut: Cut, n_new: int) -> tuple[LabelArray, NDArray[np.float64]]:
    """Give the merges up to a cut that join a new image.

    Args:
        tree: Merges, at least up to the cut.
        cut: A similarity for ``cosine``, else a distance.
        n_new: Images before the first known one.

    Returns:
        Pairs of rows ``(m, 2)``, and the similarity of each merge ``(m,)``.
    """
    strengths = 1.0 - tree.distances
    is_near = strengths >= cut.value if cut.method == "cosine" else tree.distances <= cut.value
    is_joined = is_near & (tree.edges < n_new).any(axis=1)
    return tree.edges[is_joined], strengths[is_joined]


def groups_of_links(
    links: LabelArray, strengths: NDArray[np.float64], known_lesions: tuple[str, ...], n_images: int
) -> tuple[LabelArray, NDArray[np.float64]]:
    """Give the groups that links make, together with what is known.

    Args:
        links: ``(m, 2)`` rows of images that are joined.
        strengths: ``(m,)`` their similarities.
        known_lesions: ``n_known`` lesion ids, of the last images.
        n_images: Number of images.

    Returns:
        ``numbers`` and ``weakest`` of :class:`Joined`.
    """
    same = _same_lesion(known_lesions, n_images - len(known_lesions))
    numbers = components(n_images, np.concatenate([links, same]))
    return numbers, _weakest(numbers, links, strengths)


def _join_by_linkage(
    similarities: FloatArray, known_lesions: tuple[str, ...], cut: Cut, max_group_size: int | None
) -> Joined:
    """Merge the closest groups up to the cut; the images of each known lesion are a group from the start."""
    n_images, n_new = len(similarities), len(similarities) - len(known_lesions)
    linkage: Linkage = "average" if cut.method == "average" else "complete"
    tree = linkage_tree(similarities, linkage, max_group_size, label_known(known_lesions, n_new))
    numbers, weakest = groups_of_links(*links_within(tree, cut, n_new), known_lesions, n_images)
    return Joined(numbers, weakest, _strongest_link_outside(similarities, numbers, n_new, linkage))


def label_known(known_lesions: tuple[str, ...], n_new: int) -> LabelArray:
    """Number the known lesions.

    Args:
        known_lesions: ``n_known`` lesion ids.
        n_new: Images before the first known one.

    Returns:
        ``(n_new + n_known,)`` the number of each image's lesion, -1 for new images.
    """
    return np.append(np.full(n_new, -1, dtype=np.int64), lesion_labels(list(known_lesions)))


def _join_mutual(
    similarities: FloatArray, known_lesions: tuple[str, ...], cut: Cut, max_group_size: int | None
) -> Joined:
    """Join mutual nearest neighbours; for known images only new ones count."""
    n_images, n_new = len(similarities), len(similarities) - len(known_lesions)
    apart = similarities.copy()
    apart[n_new:, n_new:] = -_ABOVE_ANY
    links = mutual_nearest_pairs(apart)
    links = links[links[:, 0] < n_new]  # without new images, known ones would be each other's nearest
    strengths = similarities[links[:, 0], links[:, 1]].astype(np.float64)
    numbers, weakest = groups_of_links(links, strengths, known_lesions, n_images)
    return Joined(numbers, weakest, _strongest_outside(similarities, numbers, n_new))


def _strongest_link_outside(
    similarities: FloatArray, numbers: LabelArray, n_new: int, linkage: Linkage
) -> NDArray[np.float64]:
    """Give, per group, the largest similarity to another one, also to one that it may not merge with.

    A group that is full, or a second known lesion, may be just as near: a person should know. Two known lesions do not
    count.
    """
    n_groups = numbers.max(initial=-1) + 1
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    sizes = np.bincount(numbers, minlength=n_groups)
    combine = np.add if linkage == "average" else np.minimum
    links = np.empty((n_groups, n_groups))
    for group, rows in enumerate(np.split(order, starts[1:]) if n_groups else []):
        of_images = combine.reduce(similarities[rows].astype(np.float64), axis=0)
        links[group] = combine.reduceat(of_images[order], starts)
    if linkage == "average":
        links /= sizes[:, None] * sizes[None, :]
    has_new = np.zeros(n_groups, dtype=bool)
    has_new[numbers[:n_new]] = True
    links[~(has_new[:, None] | has_new[None, :]) | np.eye(n_groups, dtype=bool)] = -np.inf
    strongest: NDArray[np.float64] = links.max(axis=1, initial=-np.inf)
    return strongest


def _weakest(numbers: LabelArray, links: LabelArray, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give, per group, the smallest similarity that holds it together; infinite where nothing needs to."""
    weakest = np.full(numbers.max(initial=-1) + 1, np.inf)
    np.minimum.at(weakest, numbers[links[:, 0]], strengths)
    return weakest


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
    elif group.strongest_outside >= cut.similarity:
        doubts.append(
            f"Another group is similar enough, {group.strongest_outside:.4f}; together they would be too large."
        )
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
