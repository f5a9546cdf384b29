"""Average and complete linkage from the near pairs of a large pool, exactly up to the distance that these reach.

Two groups whose mean (or largest) distance is at most h have a pair of images at a distance of at most h. So whatever
merges up to h is found among groups that a near pair joins; how far apart these are, pairs beyond h included, is
computed from the embeddings when it is needed. And a merged group is within h of a third one only if one of its parts
was, since its distance is the larger of theirs or a mean of both: groups that no near pair joins never need a look.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from skinbit.matching.blocks import Images, similarities_between
from skinbit.matching.clustering import MergeTree
from skinbit.matching.linkage import DECIMALS, Linkage, first_of_lesion
from skinbit.matching.neighbours import NeighbourGraph
from skinbit.matching.pairs import LabelArray

_Distances = NDArray[np.float64]

_NO_IMAGES = np.empty(0, dtype=np.int64)
_NO_DISTANCES: _Distances = np.empty(0)

_SLACK = 1e-12
"""Beyond the reach, so that rounding to 12 decimals drops no merge within it; the floor is twice as far."""

_PAIRS_AT_ONCE = 2**20
"""Distances computed at once: 24 MB."""

_SINGLES_AT_ONCE = 2**16
"""Pairs of images that are made Python numbers of at once."""


def linkage_forest(
    graph: NeighbourGraph,
    images: Images,
    max_group_size: int | None,
    linkage: Linkage,
    known: LabelArray | None = None,
) -> MergeTree:
    """Merge the two closest groups, again and again, from every image alone, as far as the near pairs reach.

    Args:
        graph: All near pairs of the images.
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        max_group_size: Groups that would be larger together do not merge; at least 1. None: groups of any size.
        linkage: How far apart two groups are: the mean (``average``) or the largest (``complete``) distance.
        known: ``(n,)`` the known lesion of each image, -1 where it has none: images of one lesion are a group from the
            start and do not count towards its size, and no two lesions merge. None: no image has one.

    Returns:
        The merges of :func:`skinbit.matching.linkage.linkage_tree` up to the graph's reach, beyond those of known
        lesions. Of equally close groups those with the lowest first rows merge first, with or without a cap.
    """
    largest = graph.n_images if max_group_size is None else max_group_size
    lesions = np.full(graph.n_images, -1) if known is None else known
    with threadpool_limits(1):  # thousands of small products: starting threads for each would take longer
        groups = _Groups(graph, images, linkage == "average", largest, lesions >= 0)
        merges = _merges(graph, groups, first_of_lesion(lesions))
    edges = np.array([merge[1:] for merge in merges], dtype=np.int64).reshape(-1, 2)
    distances = np.array([merge[0] for merge in merges], dtype=np.float64)
    if linkage == "average":
        distances = np.maximum.accumulate(np.round(distances, DECIMALS))
    within = int(np.searchsorted(distances, graph.reach, side="right"))
    return MergeTree(edges[:within], distances[:within], graph.n_images)


_Merge = tuple[float, int, int]
"""A distance, and the names of both groups, the lower one first."""


def _merges(graph: NeighbourGraph, groups: "_Groups", joined: list[tuple[int, int]]) -> list[_Merge]:
    """Merge greedily: pairs of images wait in the graph's order, pairs of larger groups on a heap.

    Some pairs are joined from the start, whatever their distance.
    """
    merges: list[_Merge] = []
    of_groups = [candidate for first, second in joined for candidate in groups.merge(first, second)]
    heapify(of_groups)
    of_images = _pairs_of_images(graph, groups)
    next_images = next(of_images, None)
    while True:
        while of_groups and not groups.are_as_they_were(of_groups[0]):
            heappop(of_groups)
        while next_images is not None and not groups.are_open(next_images):
            next_images = next(of_images, None)
        if of_groups and (next_images is None or of_groups[0][0] < next_images):
            merge = heappop(of_groups)[0]
        elif next_images is not None:
            merge = next_images
        else:
            return merges
        merges.append(merge)
        for candidate in groups.merge(merge[1], merge[2]):
            heappush(of_groups, candidate)


def _pairs_of_images(graph: NeighbourGraph, groups: "_Groups") -> Iterator[_Merge]:
    """Yield the near pairs whose images are still alone and may merge, nearest first."""
    distances = graph.distances
    for start in range(0, len(distances), _SINGLES_AT_ONCE):
        part = slice(start, start + _SINGLES_AT_ONCE)
        pairs = graph.pairs[part]
        is_open = (groups.sizes[pairs] == 1).all(axis=1) & groups.may_merge(pairs[:, 0], pairs[:, 1])
        first, second = pairs[is_open].T.tolist()
        yield from zip(distances[part][is_open].tolist(), first, second, strict=True)


class _Groups:
    """Groups that grow up to a size, each named by its first row.

    Of a group of two or more, the distances to the images of near groups are kept, summed over its own images or the
    largest of them.
    """

    def __init__(
        self, graph: NeighbourGraph, images: Images, is_average: bool, max_size: int, is_known: NDArray[np.bool_]
    ) -> None:
        self.sizes = np.ones(graph.n_images, dtype=np.int64)  # 0: another group has taken this one in
        self._graph, self._images = graph, images
        self._is_average, self._max_size = is_average, max_size
        self._is_known, self._has_known = is_known.copy(), bool(is_known.any())
        self._counted = np.where(is_known, 0, 1)  # towards the largest size: known images do not
        self._names = np.arange(graph.n_images)
        self._members: dict[int, LabelArray] = {}
        self._near: dict[int, LabelArray] = {}
        self._rows: dict[int, tuple[LabelArray, _Distances]] = {}
        self._starts, self._neighbours = _neighbour_lists(graph)

    def are_open(self, merge: _Merge) -> bool:
        """Tell whether both are images that are still alone."""
        return bool(self.sizes[merge[1]] == 1 and self.sizes[merge[2]] == 1)

    def may_merge(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which images are together no more than a group may hold, and of one known lesion at most."""
        is_small: NDArray[np.bool_] = self._counted[first] + self._counted[second] <= self._max_size
        is_one: NDArray[np.bool_] = ~(self._is_known[first] & self._is_known[second])
        return is_small & is_one

    def are_as_they_were(self, candidate: tuple[_Merge, int, int]) -> bool:
        """Tell whether neither group has changed since; a group changes whenever its size does."""
        (_, first, second), first_size, second_size = candidate
        return bool(self.sizes[first] == first_size and self.sizes[second] == second_size)

    def merge(self, first: int, second: int) -> list[tuple[_Merge, int, int]]:
        """Let the first group take in the second; give the merges that this makes possible, with both sizes."""
        size = int(self.sizes[first] + self.sizes[second])
        counted = int(self._counted[first] + self._counted[second])
        if counted >= self._max_size and not self._has_known:
            self._take_in(first, second)
            self._near[first], self._rows[first] = _NO_IMAGES, (_NO_IMAGES, _NO_DISTANCES)
            return []
        # By complete linkage groups are near only if all of their images are.
        meet = np.union1d if self._is_average else np.intersect1d
        near = meet(self._near_images(first), self._near_images(second))
        of_near = self._names[near]
        # What is too large for this group now stays so: groups only grow.
        is_small = self._counted[of_near] + counted <= self._max_size
        is_stranger = ~(self._is_known[of_near] & (self._is_known[first] | self._is_known[second]))
        is_open = (of_near != first) & (of_near != second) & is_small & is_stranger
        near, names = near[is_open], np.unique(of_near[is_open])
        is_alone = self.sizes[names] == 1
        larger = [self._members[name] for name in names[~is_alone].tolist()]
        images = np.sort(np.concatenate([names[is_alone], *larger]))
        join = np.add if self._is_average else np.maximum
        row = join(self._row(first, images), self._row(second, images))
        self._take_in(first, second)
        self._near[first], self._rows[first] = near, (images, row)
        distances = self._distances(row, np.searchsorted(names, self._names[images]), self.sizes[names] * size)
        is_near = distances <= self._graph.reach + _SLACK
        others = names[is_near]
        return [
            ((distance, first, name), size, other) if first < name else ((distance, name, first), other, size)
            for distance, name, other in zip(
                distances[is_near].tolist(), others.tolist(), self.sizes[others].tolist(), strict=True
            )
        ]

    def _take_in(self, first: int, second: int) -> None:
        joined = np.concatenate([self._images_of(first), self._images_of(second)])
        self._names[joined] = first
        self._members[first] = joined
        self.sizes[first], self.sizes[second] = len(joined), 0
        self._counted[first] += self._counted[second]
        self._is_known[first] |= self._is_known[second]
        for kept in (self._members, self._near, self._rows):
            kept.pop(second, None)

    def _distances(self, row: _Distances, places: LabelArray, n_pairs: LabelArray) -> _Distances:
        if self._is_average:
            return np.bincount(places, weights=row, minlength=len(n_pairs)) / n_pairs
        distances = np.zeros(len(n_pairs))
        np.maximum.at(distances, places, row)
        return distances

    def _images_of(self, group: int) -> LabelArray:
        return self._members[group] if group in self._members else np.array([group])

    def _near_images(self, group: int) -> LabelArray:
        if group in self._near:
            return self._near[group]
        return self._neighbours[self._starts[group] : self._starts[group + 1]].astype(np.int64)

    def _row(self, group: int, images: LabelArray) -> _Distances:
        """Give the distances of images to those of a group, combined; what is not kept is computed."""
        kept, combined = self._rows.get(group, (_NO_IMAGES, _NO_DISTANCES))
        places = np.searchsorted(kept, images)
        is_kept = np.append(kept, -1)[places] == images
        row = np.empty(len(images))
        row[is_kept] = combined[places[is_kept]]
        row[~is_kept] = self._compare(self._images_of(group), images[~is_kept])
        return row

    def _compare(self, members: LabelArray, images: LabelArray) -> _Distances:
        combine = np.add if self._is_average else np.maximum
        width = max(1, _PAIRS_AT_ONCE // len(members))
        parts = [_NO_DISTANCES]
        for start in range(0, len(images), width):
            alike = similarities_between(self._images, members, images[start : start + width])
            parts.append(combine.reduce(1.0 - alike.astype(np.float64), axis=0))
        return np.concatenate(parts)


def _neighbour_lists(graph: NeighbourGraph) -> tuple[LabelArray, NDArray[np.int32]]:
    """Give where the neighbours of each image start, and the neighbours of one image after the other, ascending."""
    from scipy.sparse import coo_array

    first, second = graph.pairs.T
    rows, neighbours = np.concatenate([first, second]), np.concatenate([second, first])
    shape = (graph.n_images, graph.n_images)
    lists = coo_array((np.ones(len(rows), dtype=np.int8), (rows, neighbours)), shape=shape).tocsr()
    lists.sort_indices()
    return lists.indptr.astype(np.int64), lists.indices
