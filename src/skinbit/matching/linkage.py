"""Groups that do not chain: average and complete linkage, capped in size if wanted, and mutual nearest neighbours.

DBSCAN joins two groups by their nearest images alone. Linkages look at all of their images, mutual nearest neighbours
at both sides of a pair.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering import MergeTree, components
from skinbit.matching.pairs import BLOCK_VALUES, FloatArray, LabelArray, pair_blocks, row_blocks

Linkage = Literal["average", "complete"]
Distances = NDArray[np.float64]

DECIMALS = 12
"""Of averages. Rounding errors would tell equal ones apart by some 1e-16, too little for a cut to lie between them."""


def linkage_tree(
    similarities: FloatArray, linkage: Linkage, max_group_size: int | None, known: LabelArray | None = None
) -> MergeTree:
    """Merge the two closest groups, again and again, from every image alone.

    Args:
        similarities: ``(n, n)`` float32 in [-1, 1], symmetric; the diagonal is not read.
        linkage: How far apart two groups are: the mean (``average``) or the largest (``complete``) of the distances,
            1 - similarity, between an image of the one and an image of the other.
        max_group_size: Groups that would be larger together do not merge, and the closest others do; at least 1. None:
            groups of any size.
        known: ``(n,)`` the known lesion of each image, -1 where it has none: images of one lesion are a group from the
            start and do not count towards its size, and no two lesions merge. None: no image has one.

    Returns:
        The merges beyond those of known lesions, each with the first row of either group; averages to 12 decimals.
        Image order matters only among equally close groups: those with the lowest first rows merge first, or, where
        there is neither a cap nor a known lesion, SciPy chooses.
    """
    n_images = len(similarities)
    largest = n_images if max_group_size is None else min(max_group_size, n_images)
    is_known = np.zeros(n_images, dtype=bool) if known is None else known >= 0
    if largest == n_images and not is_known.any():
        edges, distances = _uncapped_merges(similarities, linkage)
    else:
        groups = _Groups(similarities, linkage, largest, is_known)
        joined = groups.join(first_of_lesion(known)) if known is not None else []
        edges, distances = _constrained_merges(groups, joined)
    if linkage == "average":
        distances = np.maximum.accumulate(np.round(distances, DECIMALS))
    return MergeTree(edges, distances, n_images)


def _uncapped_merges(similarities: FloatArray, linkage: Linkage) -> tuple[LabelArray, Distances]:
    from scipy.cluster import hierarchy

    n_images = len(similarities)
    if n_images < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    pairs = np.concatenate([_distances(block) for block in pair_blocks(similarities)])
    merges = hierarchy.linkage(pairs, linkage)
    first_rows = list(range(n_images))
    edges = np.empty((n_images - 1, 2), dtype=np.int64)
    for step, (left, right) in enumerate(merges[:, :2].astype(np.int64).tolist()):
        edges[step] = sorted((first_rows[left], first_rows[right]))
        first_rows.append(int(edges[step, 0]))
    return edges, merges[:, 2]


def first_of_lesion(known: LabelArray) -> list[tuple[int, int]]:
    """Give every further image of a known lesion with the lesion's first one.

    Args:
        known: ``(n,)`` the known lesion of each image, -1 where it has none.

    Returns:
        Pairs of rows, the lesion's first one first, by the other one.
    """
    first: dict[int, int] = {}
    rows = np.flatnonzero(known >= 0).tolist()
    pairs = [(first.setdefault(int(known[row]), row), row) for row in rows]
    return [(leader, row) for leader, row in pairs if leader != row]


def _constrained_merges(groups: "_Groups", gone: list[int]) -> tuple[LabelArray, Distances]:
    """Merge greedily where some groups may not merge; names that are gone already stay so.

    Call two groups that may not merge infinitely far apart. Then no merge brings groups nearer to each other. Groups
    only grow, so what is infinite stays so; and where a merged group may still merge with a third one, both of its
    parts might have, and its distance to the third, being the larger of theirs or a mean of both, is not below the
    smaller. So merges come in ascending order, and the distance from a group to its nearest, once found, stays a lower
    bound. Only the group with the lowest bound has to be looked at: if its bound still holds, no two groups are closer.
    """
    at_least = np.zeros(groups.n_images)
    at_least[gone] = np.inf
    edges, heights = [], []
    while (bound := at_least[first := int(np.argmin(at_least))]) < np.inf:
        distances = groups.distances_from(first)
        second = int(np.argmin(distances))
        if distances[second] > bound:
            at_least[first] = distances[second]
            continue
        edges.append((first, second))
        heights.append(distances[second])
        groups.merge(first, second)
        at_least[second] = np.inf
    return np.array(edges, dtype=np.int64).reshape(-1, 2), np.array(heights, dtype=np.float64)


class _Groups:
    """Groups that grow up to a size, each named by its first row.

    Of every group the distances to single images are kept, summed over its images or the largest of them: a merge
    then takes one row, and memory only for groups of two or more that may still grow.
    """

    def __init__(self, similarities: FloatArray, linkage: Linkage, max_size: int, is_known: NDArray[np.bool_]) -> None:
        self.n_images = len(similarities)
        self._is_known = is_known
        self._similarities = similarities
        self._is_average = linkage == "average"
        self._max_size = max_size
        self._names = np.arange(len(similarities))
        self._sizes = np.ones(len(similarities), dtype=np.int64)
        self._counted = np.where(is_known, 0, 1)  # towards the largest size: known images do not
        self._rows: dict[int, Distances] = {}

    def distances_from(self, group: int) -> Distances:
        """Give the distance to the group of each name, ``(n,)``; infinite where the two may not merge."""
        row, n_images = self._row(group), len(self._names)
        if self._is_average:
            totals = np.bincount(self._names, weights=row, minlength=n_images)
            distances: Distances = totals / (self._sizes * self._sizes[group])
        else:
            distances = np.zeros(n_images)
            np.maximum.at(distances, self._names, row)
        distances[self._counted + self._counted[group] > self._max_size] = np.inf
        if self._is_known[group]:
            distances[self._is_known] = np.inf
        distances[group] = np.inf
        return distances

    def join(self, pairs: list[tuple[int, int]]) -> list[int]:
        """Let groups of images be one from the start, whatever its size; give the names that are given up."""
        for first, second in pairs:
            self.merge(first, second)
        return [second for _, second in pairs]

    def merge(self, first: int, second: int) -> None:
        """Let the first group take in the second one, whose name is given up."""
        join = np.add if self._is_average else np.maximum
        self._rows[first] = join(self._row(first), self._row(second))
        self._names[self._names == second] = first
        self._sizes[first] += self._sizes[second]
        self._counted[first] += self._counted[second]
        self._is_known[first] |= self._is_known[second]
        self._counted[second] = self._max_size + 1  # as if overfull: no group has this name any more
        self._rows.pop(second, None)
        if self._counted[first] >= self._max_size and not self._is_known.any():
            del self._rows[first]

    def _row(self, group: int) -> Distances:
        if group in self._rows:
            return self._rows[group]
        return _distances(self._similarities[group])


def _distances(similarities: FloatArray) -> Distances:
    distances: Distances = np.subtract(1.0, similarities, dtype=np.float64)
    return distances


def mutual_nearest_pairs(similarities: FloatArray, block_values: int = BLOCK_VALUES) -> LabelArray:
    """Give the pairs in which either image is the other's most similar one.

    Where several images are equally similar to one, each of them is its most similar one: all such pairs are given, and
    no order of images matters.

    Args:
        similarities: ``(n, n)`` float32, symmetric; the diagonal is not read.
        block_values: Values compared at once; changes memory and speed, never a pair.

    Returns:
        ``(m, 2)`` rows, the lower one first, in ascending order.
    """
    highest = np.empty(len(similarities), dtype=np.float32)
    for start, stop in row_blocks(len(similarities), block_values):
        others = similarities[start:stop].copy()
        others[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        highest[start:stop] = others.max(axis=1)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start, stop in row_blocks(len(similarities), block_values):
        block = similarities[start:stop, start:]
        is_mutual = (block == highest[start:stop, None]) & (block == highest[start:])
        pairs.append(np.argwhere(np.triu(is_mutual, 1)) + start)
    return np.concatenate(pairs)


def mutual_groups(similarities: FloatArray) -> LabelArray:
    """Join mutual nearest neighbours; without ties every group has one or two images.

    Args:
        similarities: ``(n, n)`` float32, symmetric.

    Returns:
        ``(n,)`` cluster ids 0, 1, … in the order in which rows first show them.
    """
    return components(len(similarities), mutual_nearest_pairs(similarities))


def mutual_tree(similarities: FloatArray) -> MergeTree:
    """Give the groups of mutual nearest neighbours as merges; they need no cut and are there from distance 0 on.

    Args:
        similarities: ``(n, n)`` float32, symmetric.

    Returns:
        The merges, all at distance 0, each with the first row of a group and another row of it.
    """
    return tree_of_groups(mutual_groups(similarities))


def tree_of_groups(groups: LabelArray) -> MergeTree:
    """Give groups that need no cut as merges.

    Args:
        groups: ``(n,)`` the group of each image, any numbers.

    Returns:
        The merges, all at distance 0, each with the first row of a group and another row of it.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    first_rows = first[inverse]
    others = np.flatnonzero(first_rows != np.arange(len(groups)))
    return MergeTree(np.column_stack([first_rows[others], others]), np.zeros(len(others)), len(groups))
