"""Groups that merge as a distance grows, from the near pairs of a pool: exact, as far as these pairs reach.

**DBSCAN** joins by single pairs: a minimum spanning forest of the near pairs joins the same images at every distance
(Gower and Ross 1969).

**Average and complete linkage** look at all images of two groups. Two groups whose mean (or largest) distance is at
most h have a pair of images at a distance of at most h, so whatever merges up to h is found among groups that a near
pair joins; distances of these groups that near pairs do not tell are computed from the pool. Groups are merged as if
the two closest of all merged first, again and again, but many at a time: no merge brings groups nearer to each other,
so two groups that are nearer to one another than to any third one merge with each other whatever happens elsewhere
(reciprocal nearest neighbours, Murtagh 1983). That holds with a cap on sizes and with constraints, too: call groups
that may not merge infinitely far apart; groups only grow, so they stay so.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from skinbit.matching.clustering.constraints import Constraints, unconstrained
from skinbit.matching.clustering.merges import MergeTree, components, root_of
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import NeighbourGraph
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import similarity_tiles

Linkage = Literal["average", "complete"]
LINKAGES: dict[str, Linkage] = {"average": "average", "complete": "complete"}
"""The methods that are linkages."""

_Distances = NDArray[np.float64]

DECIMALS = 12
"""Decimals of averages. Rounding errors would separate equal ones by some 1e-16, too little for a cut."""

_SLACK = 1e-12
"""Beyond the reach, so that rounding to 12 decimals drops no merge within it; the floor is twice as far."""

_SINGLES_PER_PAIR = 10
"""A matrix of similarities may take as much memory while groups merge as near pairs may: 40 bytes a pair."""


def spanning_forest(graph: NeighbourGraph, constraints: Constraints | None = None) -> MergeTree:
    """Join the two closest images that are not joined and may be, again and again, as far as the near pairs reach.

    These are the groups of DBSCAN, by :mod:`skinbit.matching.clustering.merges`, at every eps within the reach.

    Args:
        graph: The near pairs.
        constraints: What is known of the images; None: nothing.

    Returns:
        The merges up to the reach, nearest first, beyond those from the start. Of equally close pairs those of the
        lowest rows merge first.
    """
    constraints = unconstrained(graph.n_images) if constraints is None else constraints
    within = int(np.searchsorted(graph.distances, graph.reach, side="right"))
    names = constraints.starts.astype(np.int32)
    if not len(constraints.cannot):  # known lesions are as one then: whichever of them it joins, an image has joined
        is_known = constraints.has_known[names]
        names[is_known] = names[is_known].min(initial=graph.n_images)
    chosen = [np.empty(0, dtype=np.int64)]
    for start, stop in _ranges(graph.distances[:within], graph.n_images):
        kept, names = _forest_of_range(graph, start, stop, names, constraints)
        chosen.append(kept)
    edges = np.concatenate(chosen)
    return MergeTree(graph.pairs[edges].astype(np.int64), np.maximum(graph.distances[edges], 0.0), graph.n_images)


def _forest_of_range(
    graph: NeighbourGraph, start: int, stop: int, names: NDArray[np.int32], constraints: Constraints
) -> tuple[LabelArray, NDArray[np.int32]]:
    """Return which pairs of a range join groups, ascending, and the groups after that."""
    first, second = names[graph.pairs[start:stop, 0]], names[graph.pairs[start:stop, 1]]
    between = np.flatnonzero(first != second)
    lower, higher = np.minimum(first[between], second[between]), np.maximum(first[between], second[between])
    # Of several pairs between two groups the first one counts: a sparse matrix would add them up.
    nearest = np.sort(np.unique(lower.astype(np.int64) * graph.n_images + higher, return_index=True)[1])
    lower, higher = lower[nearest], higher[nearest]
    if len(constraints.cannot):
        kept = _permitted(lower, higher, names, constraints)
    else:
        kept = _minimal(lower, higher, graph.n_images)
    joined = components(graph.n_images, np.column_stack([lower[kept], higher[kept]]))
    return start + between[nearest[kept]], joined[names].astype(np.int32)


def _minimal(first: NDArray[np.int32], second: NDArray[np.int32], n_images: int) -> LabelArray:
    """Return which pairs of groups, nearest first and each once, a minimum spanning forest is made of, ascending."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    # Ranks from 1 stand for distances: SciPy takes a distance of 0 for no pair at all, and equal ones in any order.
    weights = coo_array((np.arange(1.0, len(first) + 1), (first, second)), shape=(n_images, n_images))
    kept: LabelArray = np.sort(minimum_spanning_tree(weights.tocsr()).data.astype(np.int64)) - 1
    return kept


def _permitted(
    first: NDArray[np.int32], second: NDArray[np.int32], names: NDArray[np.int32], constraints: Constraints
) -> LabelArray:
    """Return which pairs of groups, nearest first, join two that may come together then, ascending."""
    parents, kept = list(range(len(names))), []
    lesions = {*names[constraints.known >= 0].tolist()}
    foes: dict[int, set[int]] = defaultdict(set)
    for one, other in constraints.forbidden(names.astype(np.int64)).tolist():
        foes[one].add(other)
        foes[other].add(one)
    for place, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        one, other = (root_of(parents, name) for name in pair)
        if one == other or other in foes[one] or {one, other} <= lesions:
            continue
        kept.append(place)
        parents[other] = one
        for foe in foes.pop(other, set()):
            foes[foe].remove(other)
            foes[foe].add(one)
            foes[one].add(foe)
        if other in lesions:
            lesions.add(one)
    return np.array(kept, dtype=np.int64)


def _ranges(distances: _Distances, n_images: int) -> Iterator[tuple[int, int]]:
    """Cut ascending distances into ranges, each twice as long as the one before and none within a tie."""
    start, length = 0, max(1, n_images)
    while start < len(distances):
        last = distances[min(start + length, len(distances)) - 1]
        stop = int(np.searchsorted(distances, last, side="right"))
        yield start, stop
        start, length = stop, 2 * length


def linkage_forest(
    graph: NeighbourGraph,
    pool: Pool,
    max_group_size: int | None,
    linkage: Linkage,
    constraints: Constraints | None = None,
) -> MergeTree:
    """Return the merges of a linkage: the two closest groups, from single images, as far as near pairs reach.

    Args:
        graph: All near pairs of the pool.
        pool: The images.
        max_group_size: Groups that would be larger together do not merge, and the closest others do; at least 1. None:
            groups of any size.
        linkage: How far apart two groups are: the mean (``average``) or the largest (``complete``) of the distances,
            1 - similarity, between an image of the one and an image of the other.
        constraints: What is known of the images: those joined from the start may be more than a group may hold, and
            images of known lesions do not count towards its size. None: nothing.

    Returns:
        The merges within the graph's reach, beyond those from the start, each with the first row of either group;
        averages to 12 decimals. Of equally close groups those with the lowest first rows merge first.
    """
    largest = graph.n_images if max_group_size is None else max_group_size
    given = unconstrained(graph.n_images) if constraints is None else constraints
    groups = _Groups(graph, pool, linkage == "average", largest, given)
    with _libraries().limit(limits=1):  # many small products: starting threads for each would take longer
        merges = [
            merged for start, stop in _ranges(graph.distances, graph.n_images) for merged in groups.take_in(start, stop)
        ]
    edges = np.concatenate([np.empty((0, 2), dtype=np.int64), *(pairs for pairs, _ in merges)])
    distances = np.concatenate([np.empty(0), *(found for _, found in merges)])
    order = np.lexsort((edges[:, 1], edges[:, 0], distances))
    edges, distances = edges[order], distances[order]
    if linkage == "average":
        distances = np.maximum.accumulate(np.round(distances, DECIMALS))
    within = int(np.searchsorted(distances, graph.reach, side="right"))
    return MergeTree(edges[:within], distances[:within], graph.n_images)


@cache
def _libraries() -> ThreadpoolController:
    """Return the libraries that have threads; finding them takes longer than grouping a small pool."""
    return ThreadpoolController()


class _Groups:
    """Groups that grow, each named by its first row, and the pairs of groups that near pairs of images touch.

    Of a touched pair of groups the sum of the distances of its images is kept, or the largest of those seen so far.
    """

    def __init__(
        self, graph: NeighbourGraph, pool: Pool, is_average: bool, max_size: int, constraints: Constraints
    ) -> None:
        n_images = graph.n_images
        self._graph, self._pool, self._is_average, self._max_size = graph, pool, is_average, max_size
        self._matrix = _laid_out(graph, pool, max_size < n_images) if is_average else None
        self._constraints, self._names = constraints, constraints.starts
        self._forbidden = constraints.forbidden(self._names)
        self._is_known = constraints.has_known.copy()
        self._sizes = np.bincount(self._names, minlength=n_images)
        new = self._names[constraints.known < 0]
        self._counted = np.bincount(new, minlength=n_images)  # towards the largest size: known images do not
        self._first = np.empty(0, dtype=np.int64)  # names of touched pairs of groups, the lower one first
        self._second = np.empty(0, dtype=np.int64)
        self._combined = np.empty(0)  # distances of their images: summed, or the largest
        self._n_seen = np.empty(0, dtype=np.int64)  # pairs of images that this is made of

    def take_in(self, start: int, stop: int) -> Iterator[tuple[LabelArray, _Distances]]:
        """Take in a range of near pairs, and merge all groups that are no farther apart than the last of them.

        Yields:
            Names of groups that merge ``(m, 2)``, the lower one first, and their distances.
        """
        self._touch(start, stop)
        is_last = stop == len(self._graph.pairs)
        limit = self._graph.reach + _SLACK if is_last else self._graph.distances[stop - 1]
        while True:
            near, distances = self._nearer_than(limit)
            if len(near) == 0:
                return
            chosen = _reciprocal(self._first[near], self._second[near], distances, self._graph.n_images)
            yield np.column_stack([self._first[near[chosen]], self._second[near[chosen]]]), distances[chosen]
            self._merge(near[chosen])

    def _nearer_than(self, limit: float) -> tuple[LabelArray, _Distances]:
        n_pairs = self._sizes[self._first] * self._sizes[self._second]
        if self._is_average:
            distances = self._combined / n_pairs
            near = np.flatnonzero(distances <= limit)
        else:
            distances = self._combined
            near = np.flatnonzero(self._n_seen == n_pairs)  # only seen pairs are within the limit
        return near, distances[near]

    def _may_merge(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether groups differ, are together no more than a group may hold, and may be of one lesion."""
        is_small = self._counted[first] + self._counted[second] <= self._max_size
        may_merge: NDArray[np.bool_] = (first != second) & is_small & ~(self._is_known[first] & self._is_known[second])
        if len(self._forbidden):
            n_images, lower, higher = self._graph.n_images, np.minimum(first, second), np.maximum(first, second)
            keys = lower.astype(np.int64) * n_images + higher
            may_merge &= ~np.isin(keys, self._forbidden @ (n_images, 1))
        return may_merge

    def _touch(self, start: int, stop: int) -> None:
        """Note the pairs of groups that a range of near pairs joins."""
        first, second = self._names[self._graph.pairs[start:stop].T]
        is_open = self._may_merge(first, second)
        first, second, distances = first[is_open], second[is_open], self._graph.distances[start:stop][is_open]
        first, second = np.minimum(first, second), np.maximum(first, second)
        if self._is_average:
            is_single = self._sizes[first] * self._sizes[second] == 1
            self._add(first[is_single], second[is_single], distances[is_single], 1)
            n_images = self._graph.n_images
            touched = np.unique(first[~is_single] * n_images + second[~is_single])
            touched = touched[~np.isin(touched, self._first * n_images + self._second)]
            first, second = np.divmod(touched, n_images)
            self._add(first, second, self._sum_of(first, second), self._sizes[first] * self._sizes[second])
        else:
            self._add(first, second, distances, 1)
            self._put_together(np.arange(len(self._first)))

    def _add(self, first: LabelArray, second: LabelArray, combined: _Distances, n_seen: LabelArray | int) -> None:
        self._first, self._second = np.append(self._first, first), np.append(self._second, second)
        self._combined = np.append(self._combined, combined)
        self._n_seen = np.append(self._n_seen, np.broadcast_to(n_seen, len(first)))

    def _merge(self, places: LabelArray) -> None:
        """Merge the second group of some touched pairs into the first; no group stands in two of these pairs."""
        first, second = self._first[places], self._second[places]
        into = np.arange(self._graph.n_images)
        into[second] = first
        self._names = into[self._names]
        self._forbidden = self._constraints.forbidden(self._names)
        self._sizes[first] += self._sizes[second]
        self._sizes[second] = 0
        self._counted[first] += self._counted[second]
        self._is_known[first] |= self._is_known[second]
        has_changed = np.zeros(len(into), dtype=bool)
        has_changed[first] = has_changed[second] = True
        touched = np.flatnonzero(has_changed[self._first] | has_changed[self._second])
        first, second = into[self._first[touched]], into[self._second[touched]]
        self._first[touched], self._second[touched] = np.minimum(first, second), np.maximum(first, second)
        self._put_together(touched)

    def _put_together(self, places: LabelArray) -> None:
        """Make one of touched pairs that have become pairs of the same two groups; drop what may not merge."""
        n_images = self._graph.n_images
        of_places = np.zeros(len(self._first), dtype=bool)
        of_places[places] = True
        places = places[self._may_merge(self._first[places], self._second[places])]
        keys, which = np.unique(self._first[places] * n_images + self._second[places], return_inverse=True)
        n_seen = np.bincount(which, weights=self._n_seen[places], minlength=len(keys)).astype(np.int64)
        first, second = np.divmod(keys, n_images)
        combined = np.zeros(len(keys))
        if self._is_average:
            combined += np.bincount(which, weights=self._combined[places], minlength=len(keys))
            n_pairs = self._sizes[first] * self._sizes[second]
            is_short = n_seen < n_pairs
            combined[is_short] = self._sum_of(first[is_short], second[is_short])
            n_seen = n_pairs
        else:
            np.maximum.at(combined, which, self._combined[places])
        self._first, self._second = self._first[~of_places], self._second[~of_places]
        self._combined, self._n_seen = self._combined[~of_places], self._n_seen[~of_places]
        self._add(first, second, combined, n_seen)

    def _sum_of(self, first: LabelArray, second: LabelArray) -> _Distances:
        """Return the sum of the distances between the images of some groups and those of others."""
        sums = np.empty(len(first))
        if len(first) == 0:
            return sums
        order = np.argsort(self._names, kind="stable")
        starts = np.cumsum(self._sizes) - self._sizes  # of a group's images in that order; a name without any has none
        n_pairs, limits = self._sizes[first] * self._sizes[second], self._pool.limits
        for place in np.flatnonzero(n_pairs > limits.few_pairs).tolist():
            rows, columns = (
                order[starts[name] : starts[name] + self._sizes[name]] for name in (first[place], second[place])
            )
            side = max(1, limits.pairs_at_once // len(columns))
            sums[place] = sum(
                (1.0 - self._pool.between(rows[start : start + side], columns).astype(np.float64)).sum()
                for start in range(0, len(rows), side)
            )
        few = np.flatnonzero(n_pairs <= limits.few_pairs)
        ends = np.cumsum(n_pairs[few])
        last = ends[-1] if len(ends) else 0
        for part in np.split(few, np.searchsorted(ends, np.arange(limits.pairs_at_once, last, limits.pairs_at_once))):
            if len(part):
                sums[part] = self._sum_of_few(first[part], second[part], order, starts)
        return sums

    def _sum_of_few(self, first: LabelArray, second: LabelArray, order: LabelArray, starts: LabelArray) -> _Distances:
        """Sum the distances of small groups, image pair by image pair; see :meth:`_sum_of`."""
        n_pairs = self._sizes[first] * self._sizes[second]
        ends = np.cumsum(n_pairs)
        within = np.arange(ends[-1]) - np.repeat(ends - n_pairs, n_pairs)
        rows, columns = np.divmod(within, np.repeat(self._sizes[second], n_pairs))
        pairs = np.column_stack(
            [order[np.repeat(starts[first], n_pairs) + rows], order[np.repeat(starts[second], n_pairs) + columns]]
        )
        if self._matrix is not None:
            alike = self._matrix[pairs.min(axis=1), pairs.max(axis=1)]
        else:
            alike = self._pool.of_pairs(pairs)
        sums: _Distances = np.add.reduceat(1.0 - alike.astype(np.float64), ends - n_pairs)
        return sums


def _laid_out(graph: NeighbourGraph, pool: Pool, has_cap: bool) -> NDArray[np.float32] | None:
    """Return the similarities of all pairs as the upper half of a matrix, for distances that near pairs do not tell.

    Groups of any size come to ask for nearly all pairs, small groups for few. None where few are asked for, or a matrix
    is too large.
    """
    if graph.n_images**2 > _SINGLES_PER_PAIR * pool.limits.most_pairs or (has_cap and not graph.is_complete):
        return None
    matrix = np.empty((graph.n_images, graph.n_images), dtype=np.float32)
    if graph.is_complete:
        matrix[graph.pairs[:, 0], graph.pairs[:, 1]] = graph.similarities
    else:
        for tile in similarity_tiles(pool, "pairs to merge by"):
            height, width = tile.similarities.shape
            rows, columns = tile.first_row, tile.first_column
            matrix[rows : rows + height, columns : columns + width] = tile.similarities
    return matrix


def _reciprocal(first: LabelArray, second: LabelArray, distances: _Distances, n_images: int) -> LabelArray:
    """Choose the pairs of groups that merge whatever happens elsewhere.

    These are groups that are nearest to each other. Where several are equally near, the pair of the lowest names is
    next, but only once none of them has a still nearer group somewhere else: it would be another group by then.

    Args:
        first: ``(m,)`` names, each lower than the other.
        second: ``(m,)`` names.
        distances: ``(m,)`` of these pairs: all that are no farther apart than some distance.
        n_images: More than any name.

    Returns:
        Places of the chosen pairs, no group in two of them; at least one.
    """
    nearest = np.full(n_images, np.inf)
    np.minimum.at(nearest, first, distances)
    np.minimum.at(nearest, second, distances)
    of_first, of_second = nearest[first], nearest[second]
    is_nearest = (distances == of_first) & (distances == of_second)
    waits = np.zeros(n_images, dtype=bool)
    waits[first[(distances == of_first) & (of_second < distances)]] = True
    waits[second[(distances == of_second) & (of_first < distances)]] = True
    places = np.flatnonzero(is_nearest)
    if (np.bincount(np.append(first[places], second[places])) <= 1).all():
        return places[~(waits[first[places]] | waits[second[places]])]
    tied = components(n_images, np.column_stack([first[places], second[places]]))
    tie_waits = np.zeros(n_images, dtype=bool)
    tie_waits[tied[waits]] = True
    places = places[~tie_waits[tied[first[places]]]]
    places = places[np.lexsort((second[places], first[places]))]
    chosen: LabelArray = places[np.unique(tied[first[places]], return_index=True)[1]]
    return chosen
