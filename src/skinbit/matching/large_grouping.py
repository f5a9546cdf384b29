"""Groups of so many photographs that their matrix of similarities would not fit into memory, the same as from it.

Two looks at all pairs: one finds the pairs up to the cut, of which groups are made, and the nearest of every image; the
other, once groups are known, the strongest link of each group to another one.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from skinbit.errors import InputError
from skinbit.matching.blocked import DEFAULT_LIMITS, Limits
from skinbit.matching.blocks import Tile, side_of, similarities_between, similarities_of_pairs, similarity_tiles
from skinbit.matching.clustering import MergeTree, clusters_at, components
from skinbit.matching.grouping import (
    Cut,
    Grouping,
    Joined,
    grouping_of,
    groups_of_links,
    label_known,
    links_within,
)
from skinbit.matching.large_pool import LargePool
from skinbit.matching.linkage import Linkage
from skinbit.matching.neighbours import NearPairs, NeighbourGraph, graph_of, neighbours_above, spanning_forest
from skinbit.matching.pairs import FloatArray, LabelArray
from skinbit.matching.sparse_linkage import linkage_forest
from skinbit.matching.survey import MutualPairs

_BELOW_CUT = 1e-11
"""A graph reaches a little less far than its floor; see :attr:`skinbit.matching.neighbours.NeighbourGraph.reach`."""

_ROOTS = np.float32(2.0)
"""Similarity of known images, above any: they are one root."""

_LINKAGES: dict[str, Linkage] = {"average": "average", "complete": "complete"}


def group_large_pool(
    pool: LargePool,
    known_lesions: tuple[str, ...],
    cut: Cut,
    max_group_size: int | None,
    limits: Limits = DEFAULT_LIMITS,
) -> Grouping:
    """Do as :func:`skinbit.matching.grouping.group_images` without ever holding all pairs.

    Args:
        pool: New images, then known ones.
        known_lesions: ``n_known`` lesion ids.
        cut: From which similarity on images are joined, and how.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.
        limits: How much is held at once.

    Returns:
        The same groups, margins and nearest images; only where an image is exactly as similar to two known lesions, or,
        by linkage without a cap, two groups are exactly as close to a third, the other one may be taken.

    Raises:
        InputError: If more pairs are within the cut than are held.
    """
    n_new = len(pool) - len(known_lesions)
    if n_new == 0:
        return Grouping(np.empty(0, np.int64), (), np.empty(0, np.int64), np.empty(0, np.float32))
    near, mutual, nearest = NearPairs(_floor_of(cut), limits.most_pairs), MutualPairs(len(pool)), _Nearest(len(pool))
    for tile in similarity_tiles(pool, limits.block_bytes, "nearest photographs"):
        nearest.add(tile)
        if cut.method == "mutual":
            mutual.add(_without_known(tile, n_new))
        else:
            near.add(tile)
    if cut.method == "mutual":
        pairs = mutual.pairs()
        links = pairs[pairs[:, 0] < n_new]
        strengths = similarities_of_pairs(pool, links).astype(np.float64)
    else:
        graph = near.graph(len(pool))
        _check_reach(graph, cut, limits)
        links, strengths = links_within(_merges(graph, pool, known_lesions, cut, max_group_size), cut, n_new)
    numbers, weakest = groups_of_links(links, strengths, known_lesions, len(pool))
    if cut.method in _LINKAGES:
        outside = _strongest_links(pool, numbers, _LINKAGES[cut.method], limits.block_bytes)
    else:
        outside = _strongest_pairs(pool, numbers, n_new, limits.block_bytes)
    return grouping_of(Joined(numbers, weakest, outside), known_lesions, *nearest.of_first(n_new))


def groups_at(
    pool: LargePool, cuts: Mapping[str, float], max_group_size: int | None, limits: Limits = DEFAULT_LIMITS
) -> tuple[dict[str, LabelArray], LabelArray]:
    """Give the groups of every method at a cut of its own, without ever holding all pairs.

    Args:
        pool: The images.
        cuts: By method, of ``cosine`` a threshold, else a distance; NaN: nothing is joined.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.
        limits: How much is held at once.

    Returns:
        ``(n,)`` groups by method, of those that :func:`skinbit.matching.evaluation.merge_trees` names; and the pairs
        that the threshold predicts, ``(m, 2)``.

    Raises:
        InputError: If more pairs are within the loosest cut than are held.
    """
    wanted = {method: Cut(method, value, value, value) for method, value in cuts.items()}
    floor = min((_floor_of(cut) for cut in wanted.values()), default=1.0)
    near, mutual = NearPairs(floor, limits.most_pairs), MutualPairs(len(pool))
    for tile in similarity_tiles(pool, limits.block_bytes, "pairs within the cuts"):
        near.add(tile)
        mutual.add(tile)
    graph = near.graph(len(pool))
    for cut in wanted.values():
        _check_reach(graph, cut, limits)
    groups = {}
    for method in ("dbscan", *_LINKAGES):
        part = graph.part_above(max(graph.floor, _floor_of(wanted[method])))
        groups[method] = clusters_at(_merges(part, pool, (), wanted[method], max_group_size), cuts[method])
    groups["mutual"] = components(len(pool), mutual.pairs())
    # A Python float would be rounded to single precision first.
    return groups, graph.pairs[graph.similarities >= np.float64(cuts["cosine"])].astype(np.int64)


def joined_within(pool: LargePool, eps: float, limits: Limits = DEFAULT_LIMITS) -> LabelArray:
    """Give the groups of DBSCAN at one eps, without ever holding all pairs.

    Args:
        pool: The images.
        eps: Largest distance of a pair.
        limits: How much is held at once.

    Returns:
        ``(n,)`` groups.

    Raises:
        InputError: If more pairs are within eps than are held.
    """
    cut = Cut("dbscan", eps, eps, eps)
    graph = neighbours_above(pool, _floor_of(cut), limits.block_bytes, limits.most_pairs)
    _check_reach(graph, cut, limits)
    return clusters_at(spanning_forest(graph), eps)


def _floor_of(cut: Cut) -> float:
    """Give a similarity above which lie all pairs up to the cut, and hardly any other."""
    if np.isnan(cut.value):
        return 1.0
    return max(-1.0, float(np.nextafter(np.float32(cut.similarity - _BELOW_CUT), np.float32(-np.inf))))


def _check_reach(graph: NeighbourGraph, cut: Cut, limits: Limits) -> None:
    if graph.reach < 1.0 - cut.similarity:
        raise InputError(
            f"More than {limits.most_pairs:,} pairs of the {graph.n_images:,} photographs are as similar as the cut of "
            f"{cut.method} asks for, {cut.similarity:.4f}.\n"
            "  Remedy: no photograph many times over; to group photographs, a stricter cut (cluster.threshold, "
            f"cluster.eps, cluster.cut); or memory.max_matrix_images={graph.n_images} where about "
            f"{8e-9 * graph.n_images**2:.1f} GB are free."
        )


def _merges(
    graph: NeighbourGraph, pool: LargePool, known_lesions: tuple[str, ...], cut: Cut, max_group_size: int | None
) -> MergeTree:
    n_new = len(pool) - len(known_lesions)
    if cut.method in _LINKAGES:
        known = label_known(known_lesions, n_new)
        return linkage_forest(graph, pool, max_group_size, _LINKAGES[cut.method], known)
    return spanning_forest(_rooted(graph, n_new))


def _rooted(graph: NeighbourGraph, n_new: int) -> NeighbourGraph:
    """Make the known images one root: a chain of links stronger than any pair."""
    has_new = graph.pairs[:, 0] < n_new
    chain = np.column_stack([np.arange(n_new, graph.n_images - 1), np.arange(n_new + 1, graph.n_images)])
    pairs = np.concatenate([graph.pairs[has_new], chain])
    similarities = np.append(graph.similarities[has_new], np.full(len(chain), _ROOTS))
    return graph_of(graph.n_images, graph.floor, pairs, similarities)


def _without_known(tile: Tile, n_new: int) -> Tile:
    """Give a tile in which known images are not compared with each other."""
    similarities = tile.similarities.copy()
    similarities[max(0, n_new - tile.first_row) :, max(0, n_new - tile.first_column) :] = -np.inf
    return Tile(tile.first_row, tile.first_column, similarities)


class _Nearest:
    """Finds the most similar other image of each image; of equally similar ones the first row.

    Tiles show the other images of each image in ascending order.
    """

    def __init__(self, n_images: int) -> None:
        self._rows = np.full(n_images, -1, dtype=np.int64)
        self._similarities = np.full(n_images, -np.inf, dtype=np.float32)

    def add(self, tile: Tile) -> None:
        """Look at a tile."""
        self._enter(tile.first_row, tile.first_column, tile.similarities)
        if not tile.is_diagonal:
            self._enter(tile.first_column, tile.first_row, np.ascontiguousarray(tile.similarities.T))

    def _enter(self, first_row: int, first_column: int, similarities: FloatArray) -> None:
        places = similarities.argmax(axis=1)
        alike = similarities[np.arange(len(places)), places]
        closer = np.flatnonzero(alike > self._similarities[first_row : first_row + len(places)])
        self._rows[first_row + closer] = first_column + places[closer]
        self._similarities[first_row + closer] = alike[closer]

    def of_first(self, n_new: int) -> tuple[LabelArray, FloatArray]:
        """Give the rows and similarities of the first images' nearest; -1 and NaN where there is none."""
        rows = self._rows[:n_new]
        return rows, np.where(rows < 0, np.float32(np.nan), self._similarities[:n_new])


def _strongest_pairs(pool: LargePool, numbers: LabelArray, n_new: int, block_bytes: int) -> NDArray[np.float64]:
    """Give, per group, the largest similarity to an image of another one; two known images do not count."""
    of_images = np.full(len(pool), -np.inf, dtype=np.float32)
    for tile in similarity_tiles(pool, block_bytes, "photographs outside of groups"):
        others = _without_known(tile, n_new).similarities
        height, width = others.shape
        rows, columns = tile.first_row + np.arange(height), tile.first_column + np.arange(width)
        others[numbers[rows, None] == numbers[columns]] = -np.inf
        of_images[rows] = np.maximum(of_images[rows], others.max(axis=1))
        of_images[columns] = np.maximum(of_images[columns], others.max(axis=0))
    strongest = np.full(numbers.max(initial=-1) + 1, -np.inf)
    np.maximum.at(strongest, numbers, of_images)
    return strongest


def _strongest_links(pool: LargePool, numbers: LabelArray, linkage: Linkage, block_bytes: int) -> NDArray[np.float64]:
    """Give, per group, the largest link to another one: the mean or the smallest similarity of their images.

    Also to one that it may not merge with.
    """
    combine = np.add if linkage == "average" else np.minimum
    sizes = np.bincount(numbers)
    strongest = np.full(len(sizes), -np.inf)
    for above, left, links in _links_of_groups(pool, numbers, sizes, combine, block_bytes):
        if linkage == "average":
            np.divide(links, sizes[above, None] * sizes[left], out=links)
        links[above[:, None] == left] = -np.inf
        strongest[above] = np.maximum(strongest[above], links.max(axis=1))
        strongest[left] = np.maximum(strongest[left], links.max(axis=0))
    return strongest


def _links_of_groups(
    pool: LargePool, numbers: LabelArray, sizes: LabelArray, combine: np.ufunc, block_bytes: int
) -> Iterator[tuple[LabelArray, LabelArray, NDArray[np.float64]]]:
    """Yield groups, other groups, and the combined similarities of their images, of any two groups once.

    Tiles end where groups end: a group that is larger than a tile's side has one of its own.
    """
    order, ends = np.argsort(numbers, kind="stable"), np.cumsum(sizes)
    blocks = _blocks_of_groups(ends, side_of(block_bytes))
    images_of = [order[ends[first] - sizes[first] : ends[last]] for first, last in blocks]
    starts_of = [np.cumsum(sizes[first : last + 1]) - sizes[first : last + 1] for first, last in blocks]
    n_images = len(order)
    with tqdm(
        total=n_images * (n_images + 1) // 2, unit="pair", unit_scale=True, desc="links between groups", disable=None
    ) as bar:
        for row, above in enumerate(blocks):
            for column in range(row, len(blocks)):
                alike = similarities_between(pool, images_of[row], images_of[column]).astype(np.float64)
                of_images = combine.reduceat(alike, starts_of[row], axis=0)
                links = combine.reduceat(of_images, starts_of[column], axis=1)
                yield np.arange(above[0], above[1] + 1), np.arange(blocks[column][0], blocks[column][1] + 1), links
                bar.update(alike.size if row < column else len(alike) * (len(alike) + 1) // 2)


def _blocks_of_groups(ends: LabelArray, side: int) -> list[tuple[int, int]]:
    """Give first and last group of blocks of about so many images, at least one group each."""
    blocks, first, start = [], 0, 0
    while first < len(ends):
        last = max(first, int(np.searchsorted(ends, start + side, side="right")) - 1)
        blocks.append((first, last))
        first, start = last + 1, int(ends[last])
    return blocks
