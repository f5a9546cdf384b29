"""Groups of unlabelled photographs, around known lesions if there are any, with their uncertainty."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.data.progress import Progress
from skinbit.errors import InputError
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.clustering.forests import LINKAGES, Linkage, spanning_forest
from skinbit.matching.clustering.merges import MergeTree, components, number_by_appearance
from skinbit.matching.clustering.mutual import MutualPairs, without_known, without_pairs
from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.cuts.search import floor_of, merge_tree
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.labels import FloatArray, LabelArray, known_labels
from skinbit.matching.pairs.neighbours import NearestImages, NearPairs, NeighbourGraph, graph_of
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import look_at, side_of, similarity_tiles


@dataclass(frozen=True)
class Group:
    """Photographs that are grouped as the same lesion.

    Attributes:
        members: Rows of its new images, at least one.
        lesion_id: Known lesion of the group; empty if there is none.
        weakest_link: Smallest similarity that connects the group; infinite if it needs none.
        strongest_outside: Largest similarity of one of its images to an image of another group; minus infinity if there
            is none.
    """

    members: tuple[int, ...]
    lesion_id: str
    weakest_link: float
    strongest_outside: float

    def margin(self, cut: Cut) -> float:
        """Return how far the cut may move before the group changes; without a cut, the gap to the next image."""
        if np.isnan(cut.value):
            return max(0.0, self.weakest_link - self.strongest_outside)
        return max(0.0, min(self.weakest_link - cut.similarity, cut.similarity - self.strongest_outside))


@dataclass(frozen=True)
class Grouping:
    """New images in groups.

    Attributes:
        cluster_ids: ``(n_new,)`` 0, 1, … in the order in which rows first show them.
        groups: By cluster id.
        partners: ``(n_new, k)`` rows of the most similar other images, the most similar first; new images first, then
            known ones.
        similarities_to_partners: ``(n_new, k)`` float32, to each of them.
    """

    cluster_ids: LabelArray
    groups: tuple[Group, ...]
    partners: LabelArray
    similarities_to_partners: FloatArray

    @property
    def partner_pairs(self) -> LabelArray:
        """Rows of every new image and each of its partners, ``(n_new · k, 2)``."""
        n_new, n_partners = self.partners.shape
        return np.column_stack([np.repeat(np.arange(n_new), n_partners), self.partners.ravel()])

    @property
    def nearest(self) -> LabelArray:
        """The row of the most similar other image, ``(n_new,)``; -1: there is none."""
        return self.partners[:, 0] if self.partners.shape[1] else np.full(len(self.partners), -1)

    @property
    def similarities(self) -> FloatArray:
        """The similarity to that image, ``(n_new,)``; NaN: there is none."""
        if self.partners.shape[1]:
            return self.similarities_to_partners[:, 0]
        return np.full(len(self.partners), np.nan, dtype=np.float32)


def group_images(
    pool: Pool,
    known_lesions: tuple[str, ...],
    cut: Cut,
    max_group_size: int | None,
    constraints: Constraints | None = None,
    n_partners: int = 1,
) -> Grouping:
    """Join images that are similar enough; known lesions stay apart, and their images together.

    There are two passes over all pairs: one finds the pairs up to the cut, from which groups are made, and the nearest
    image of every image; the other finds the strongest link of each group to another one.

    Images that must be together are so from the start. Then the next closest pair of groups that may come together
    does, until the cut: of ``cosine`` and ``dbscan`` two groups are as close as their closest images, and without
    constraints they are the connected components at the threshold or eps (:mod:`skinbit.matching.clustering.merges`).
    ``mutual`` compares no images that are together from the start or never come together, and joins the most similar
    mutual neighbours first.

    Args:
        pool: ``n_new`` new images, then ``n_known`` known ones.
        known_lesions: ``n_known`` lesion ids.
        cut: From which similarity on images are joined, and how.
        max_group_size: Average and complete linkage make no larger groups; None: of any size.
        constraints: The known lesions, and what people have answered; None: the known lesions alone.
        n_partners: The nearest images of each image that are listed, at least 1.

    Returns:
        The groups of the new images.

    Raises:
        InputError: If more pairs are within the cut than can be held.
    """
    n_images, n_new = len(pool), len(pool) - len(known_lesions)
    if n_new == 0:
        no_partners = np.empty((0, 0), dtype=np.int64)
        return Grouping(np.empty(0, np.int64), (), no_partners, no_partners.astype(np.float32))
    nearest = NearestImages(n_images, n_partners)
    constraints = constraints or Constraints(known_labels(known_lesions, n_new))
    if cut.method == "mutual":
        links, strengths = _mutual_links(pool, nearest, constraints)
    else:
        graph = _graph_up_to(cut, pool, nearest)
        tree = merge_tree(cut.method, graph, pool, max_group_size, constraints)
        links, strengths = _links_within(tree, cut, n_new)
    numbers = components(n_images, np.concatenate([links, constraints.links]))
    if cut.method in LINKAGES:
        outside = _strongest_links(pool, numbers, n_new, LINKAGES[cut.method], constraints.forbidden(numbers))
    else:
        outside = _strongest_pairs(pool, numbers, n_new, constraints.apart(numbers))
    return _grouping_of(_Joined(numbers, _weakest(numbers, links, strengths), outside), known_lesions, nearest)


def _mutual_links(
    pool: Pool, nearest: NearestImages, constraints: Constraints
) -> tuple[LabelArray, NDArray[np.float64]]:
    """Return the pairs of mutual nearest neighbours that join images, ``(m, 2)``, and their similarities, ``(m,)``."""
    of_known = constraints.has_known[constraints.starts]
    mutual = MutualPairs(len(pool), of_known, left_out=constraints.not_compared())
    look_at(pool, [nearest, mutual], "nearest photographs")
    # A forest, because a tie may lead to several known lesions: the image joins one of them.
    tree = spanning_forest(graph_of(len(pool), -1.0, *mutual.links()), constraints)
    return tree.edges, 1.0 - tree.distances


def _graph_up_to(cut: Cut, pool: Pool, nearest: NearestImages) -> NeighbourGraph:
    """Return all pairs up to a cut."""
    floor, most_pairs = floor_of(cut.method, cut.value), pool.limits.most_pairs
    near = NearPairs(floor, most_pairs)
    look_at(pool, [nearest, near], "nearest photographs")
    graph = near.graph(len(pool))
    if graph.floor > floor:
        raise InputError(
            f"More than {most_pairs:,} pairs of the {len(pool):,} photographs are within the cut of "
            f"{cut.method}, {cut.similarity:.4f}.\n"
            "  Remedy: remove duplicate photographs; set a stricter cut (cluster.threshold, cluster.eps, cluster.cut); "
            "or raise memory.max_pairs."
        )
    return graph


@dataclass(frozen=True)
class _Joined:
    """New and known images in groups.

    Attributes:
        numbers: ``(n_new + n_known,)``, group of each image, new images first.
        weakest: Smallest similarity that connects each group; infinite if it needs none.
        outside: Largest similarity of each group to another one; minus infinity if there is none.
    """

    numbers: LabelArray
    weakest: NDArray[np.float64]
    outside: NDArray[np.float64]


def _grouping_of(joined: _Joined, known_lesions: tuple[str, ...], nearest: NearestImages) -> Grouping:
    """Return the groups with new images."""
    numbers, n_new = joined.numbers, len(joined.numbers) - len(known_lesions)
    lesion_of = dict(zip(numbers[n_new:].tolist(), known_lesions, strict=True))
    cluster_ids = number_by_appearance(numbers[:n_new])
    groups = []
    for members in _members(cluster_ids):
        number = int(numbers[members[0]])
        weakest, outside = float(joined.weakest[number]), float(joined.outside[number])
        groups.append(Group(members, lesion_of.get(number, ""), weakest, outside))
    return Grouping(cluster_ids, tuple(groups), nearest.rows[:n_new], nearest.similarities[:n_new])


def _links_within(tree: MergeTree, cut: Cut, n_new: int) -> tuple[LabelArray, NDArray[np.float64]]:
    """Return the merges up to a cut that join a new image, ``(m, 2)``, and the similarity of each, ``(m,)``."""
    strengths = 1.0 - tree.distances
    is_near = strengths >= cut.value if cut.method == "cosine" else tree.distances <= cut.value
    is_joined = is_near & (tree.edges < n_new).any(axis=1)
    return tree.edges[is_joined], strengths[is_joined]


def _weakest(numbers: LabelArray, links: LabelArray, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest similarity that connects each group; infinite if it needs none."""
    weakest = np.full(numbers.max(initial=-1) + 1, np.inf)
    np.minimum.at(weakest, numbers[links[:, 0]], strengths)
    return weakest


@dataclass(frozen=True)
class Doubts:
    """Reasons why a person should review a group, one sentence each.

    Attributes:
        of_cut: Reasons that depend on the cut: another cut in the range would change the group.
        others: Reasons that do not depend on the cut.
    """

    of_cut: tuple[str, ...]
    others: tuple[str, ...]


def explain_doubts(group: Group, cut: Cut, n_known: int, most_images: int, log_odds: LogOdds | None) -> Doubts:
    """Return the reasons why a person should review a group.

    Args:
        group: The group.
        cut: Cut at which it was made.
        n_known: Number of known images of its lesion.
        most_images: The largest number of images of a lesion that is used in training.
        log_odds: Log-odds of the pairs; None: unknown, and reasons mention similarities.
    """
    of_cut, others = [], []
    n_images, outside = len(group.members) + n_known, group.strongest_outside
    alike = f"similarity {outside:.4f}" if log_odds is None else f"probability {log_odds.percentage(outside)}"
    if group.weakest_link < cut.high:
        of_cut.append(f"Its weakest link, {group.weakest_link:.4f}, is hardly above the cut.")
    if group.lesion_id and outside >= cut.similarity:
        others.append(f"It may also show another known lesion ({alike}).")
    elif outside >= cut.similarity:
        others.append(f"It may show the lesion of another group ({alike}); together they would be too large.")
    elif outside >= cut.low:
        of_cut.append(f"A photograph outside is nearly similar enough, {outside:.4f}.")
    if n_images > most_images and len(group.members) > 1 and math.isfinite(group.weakest_link):  # else people said so
        others.append(f"It has {n_images} photographs; a lesion of the training data has at most {most_images}.")
    return Doubts(tuple(of_cut), tuple(others))


def _members(cluster_ids: LabelArray) -> list[tuple[int, ...]]:
    order = np.argsort(cluster_ids, kind="stable")
    starts = np.flatnonzero(np.diff(cluster_ids[order])) + 1
    return [tuple(rows.tolist()) for rows in np.split(order, starts) if len(rows)]


def _strongest_pairs(pool: Pool, numbers: LabelArray, n_new: int, apart: LabelArray) -> NDArray[np.float64]:
    """Return, per group, the largest similarity to an image of another one.

    Two known images do not count, nor do pairs ``(p, 2)`` that answers keep apart.
    """
    of_images = np.full(len(pool), -np.inf, dtype=np.float32)
    for tile in similarity_tiles(pool, "photographs outside of groups"):
        rows, columns = tile.rows, tile.columns
        others = without_pairs(without_known(tile, n_new), apart).similarities.copy()
        others[numbers[rows, None] == numbers[columns]] = -np.inf
        of_images[rows] = np.maximum(of_images[rows], others.max(axis=1))
        of_images[columns] = np.maximum(of_images[columns], others.max(axis=0))
    strongest = np.full(numbers.max(initial=-1) + 1, -np.inf)
    np.maximum.at(strongest, numbers, of_images)
    return strongest


def _strongest_links(
    pool: Pool, numbers: LabelArray, n_new: int, linkage: Linkage, forbidden: LabelArray
) -> NDArray[np.float64]:
    """Return, per group, the largest link to another one: the mean or the smallest similarity of their images.

    Also to one that it may not merge with: a group that is full, or a second known lesion, may be just as near, and a
    person should know. Two known lesions do not count, nor do groups ``(p, 2)`` that answers keep apart.
    """
    combine = np.add if linkage == "average" else np.minimum
    sizes, has_new = np.bincount(numbers), np.zeros(numbers.max(initial=-1) + 1, dtype=bool)
    has_new[numbers[:n_new]] = True
    strongest = np.full(len(sizes), -np.inf)
    for above, left, links in _links_of_groups(pool, numbers, sizes, combine):
        if linkage == "average":
            np.divide(links, sizes[above, None] * sizes[left], out=links)
        links[(above[:, None] == left) | ~(has_new[above, None] | has_new[left])] = -np.inf
        places = np.concatenate([forbidden, forbidden[:, ::-1]]) - (above[0], left[0])
        links[tuple(places[((places >= 0) & (places < links.shape)).all(axis=1)].T)] = -np.inf
        strongest[above] = np.maximum(strongest[above], links.max(axis=1))
        strongest[left] = np.maximum(strongest[left], links.max(axis=0))
    return strongest


def _links_of_groups(
    pool: Pool, numbers: LabelArray, sizes: LabelArray, combine: np.ufunc
) -> Iterator[tuple[LabelArray, LabelArray, NDArray[np.float64]]]:
    """Yield groups, other groups, and the combined similarities of their images, for any two groups once.

    Tiles end at the ends of groups; a group larger than a tile's side has its own.
    """
    order, ends = np.argsort(numbers, kind="stable"), np.cumsum(sizes)
    blocks = _blocks_of_groups(ends, side_of(pool.limits.tile_bytes))
    images_of = [order[ends[first] - sizes[first] : ends[last]] for first, last in blocks]
    starts_of = [np.cumsum(sizes[first : last + 1]) - sizes[first : last + 1] for first, last in blocks]
    with Progress(total=pool.n_pairs, unit="pair", unit_scale=True, desc="links between groups") as bar:
        for row, above in enumerate(blocks):
            for column in range(row, len(blocks)):
                alike = pool.between(images_of[row], images_of[column]).astype(np.float64)
                of_images = combine.reduceat(alike, starts_of[row], axis=0)
                links = combine.reduceat(of_images, starts_of[column], axis=1)
                yield np.arange(above[0], above[1] + 1), np.arange(blocks[column][0], blocks[column][1] + 1), links
                bar.update(alike.size if row < column else len(alike) * (len(alike) - 1) // 2)


def _blocks_of_groups(ends: LabelArray, side: int) -> list[tuple[int, int]]:
    """Return first and last group of blocks of about ``side`` images, at least one group each."""
    blocks, first, start = [], 0, 0
    while first < len(ends):
        last = max(first, int(np.searchsorted(ends, start + side, side="right")) - 1)
        blocks.append((first, last))
        first, start = last + 1, int(ends[last])
    return blocks
