"""The near pairs of a large pool, exactly: all pairs above a floor, or the nearest of each image with a certificate.

Whatever joins images up to a cut needs only the pairs up to it. A graph that provably holds all of them gives the same
answer as the whole matrix, and nothing of n by n size is ever held.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.blocks import BLOCK_BYTES, Images, Tile, similarities_between, similarity_tiles
from skinbit.matching.clustering import MergeTree
from skinbit.matching.pairs import FloatArray, LabelArray
from skinbit.matching.verification import singles_at_least

MOST_PAIRS = 30_000_000
"""Pairs held at once: about 1 GB while they are put in order."""

_SAMPLED_ROWS = 512
"""Rows of the matrix that a floor is estimated from."""

_SAMPLED_COLUMNS = 4096
"""Of these rows, looked at together."""

_BYTES_PER_ROW_PAIR = 16
"""Of rows that are looked at again: products, similarities, and a look at them."""

_MARGIN = 2e-12
"""Between the floor and the largest certain distance: more than rounding to 12 decimals moves a mean."""


@dataclass(frozen=True)
class NeighbourGraph:
    """All pairs of images at least as similar as a floor, nearest pairs first.

    Attributes:
        n_images: Number of images n.
        floor: Every pair with at least this similarity is held, and no other; -1: all pairs are.
        pairs: ``(m, 2)`` int32 rows, the lower one first; by distance, then by rows.
        similarities: ``(m,)`` float32 of these pairs.
    """

    n_images: int
    floor: float
    pairs: NDArray[np.int32]
    similarities: FloatArray

    @property
    def is_complete(self) -> bool:
        """Whether all pairs of images are held."""
        return self.floor <= -1.0

    @property
    def distances(self) -> NDArray[np.float64]:
        """1 - similarity of each pair, ascending."""
        return 1.0 - self.similarities.astype(np.float64)

    @property
    def reach(self) -> float:
        """The largest distance at which what joins by these pairs is certainly what joins by all pairs."""
        return 2.0 if self.is_complete else 1.0 - self.floor - _MARGIN

    def nearest_part(self, n_pairs: int) -> "NeighbourGraph":
        """Give the graph of about so many of the nearest pairs, with the floor above which these are all."""
        if n_pairs >= len(self.pairs):
            return self
        floor = np.nextafter(self.similarities[n_pairs], np.float32(np.inf))
        within = int(np.searchsorted(-self.similarities, -floor, side="right"))
        return NeighbourGraph(self.n_images, float(floor), self.pairs[:within], self.similarities[:within])

    def part_above(self, floor: float) -> "NeighbourGraph":
        """Give the graph of the pairs with at least a similarity, that of the graph or more."""
        within = int(np.searchsorted(-self.similarities, -np.float32(floor), side="right"))
        return NeighbourGraph(self.n_images, floor, self.pairs[:within], self.similarities[:within])

    def most_similar(self, n_pairs: int) -> tuple[FloatArray, float]:
        """Do as :func:`skinbit.matching.ranking.most_similar_pairs`; LookupError where that takes pairs not held."""
        descending = np.sort(self.similarities)[::-1][: n_pairs + 1]
        if len(descending) <= n_pairs:
            if not self.is_complete:
                raise LookupError(f"{n_pairs} pairs are wanted, {len(descending)} are held")
            return descending, -1.0
        last = descending[-1]
        return descending[: np.searchsorted(-descending, -last, side="left")], float(last)


def graph_of(n_images: int, floor: float, pairs: NDArray[np.signedinteger], similarities: FloatArray) -> NeighbourGraph:
    """Put pairs in order.

    Args:
        n_images: Number of images.
        floor: Of the graph.
        pairs: ``(m, 2)``, the lower row first: all pairs with at least that similarity, in any order.
        similarities: ``(m,)``.

    Returns:
        The graph.
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 0], 1.0 - similarities.astype(np.float64)))
    return NeighbourGraph(n_images, floor, pairs[order].astype(np.int32), similarities[order])


class NearPairs:
    """Collects pairs above a floor from tiles; the floor rises where there would be too many."""

    def __init__(self, floor: float, most_pairs: int) -> None:
        """Prepare to collect.

        Args:
            floor: Least similarity.
            most_pairs: How many pairs are kept at most.
        """
        self.floor = floor
        self._most_pairs = most_pairs
        self._pairs = [np.empty((0, 2), dtype=np.int32)]
        self._similarities = [np.empty(0, dtype=np.float32)]
        self._n_held = 0

    def add(self, tile: Tile) -> None:
        """Take the near pairs of a tile."""
        pairs, similarities = tile.pairs_above(self.floor)
        self._pairs.append(pairs.astype(np.int32))
        self._similarities.append(similarities)
        self._n_held += len(pairs)
        if self._n_held > self._most_pairs:
            self._raise_floor()

    def _raise_floor(self) -> None:
        pairs, similarities = np.concatenate(self._pairs), np.concatenate(self._similarities)
        dropped = np.partition(similarities, -(self._most_pairs // 2 + 1))[-(self._most_pairs // 2 + 1)]
        self.floor = float(np.nextafter(dropped, np.float32(np.inf)))
        is_kept = similarities > dropped
        self._pairs, self._similarities = [pairs[is_kept]], [similarities[is_kept]]
        self._n_held = int(is_kept.sum())

    def graph(self, n_images: int) -> NeighbourGraph:
        """Give all pairs with at least the similarity that the floor has reached."""
        pairs, similarities = np.concatenate(self._pairs), np.concatenate(self._similarities)
        self._pairs, self._similarities = [], []
        return graph_of(n_images, self.floor, pairs, similarities)


def neighbours_above(
    images: Images, floor: float, block_bytes: int = BLOCK_BYTES, most_pairs: int = MOST_PAIRS
) -> NeighbourGraph:
    """Find all pairs with at least a similarity.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        floor: The similarity, in [-1, 1]; rounded up to single precision, which changes no pair.
        block_bytes: Memory for similarities at any moment; changes speed, never a pair.
        most_pairs: How many pairs are kept at most, 2 or more. Where more are so near, only the nearest are, and the
            floor of the graph is higher than asked for: look at it.

    Returns:
        The graph.
    """
    near = NearPairs(float(singles_at_least([floor])[0]), most_pairs)
    for tile in similarity_tiles(images, block_bytes, "near pairs"):
        near.add(tile)
    return near.graph(len(images))


def estimate_floor(images: Images, n_pairs: int) -> float:
    """Estimate, from evenly spaced rows of the matrix, above which similarity so many pairs lie.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        n_pairs: How many.

    Returns:
        A similarity; -1 where that is about half of all pairs or more.
    """
    n_images = len(images)
    share = n_pairs / max(1, n_images * (n_images - 1) // 2)
    if share >= 0.5:
        return -1.0
    sampled = np.arange(0, n_images, -(-n_images // _SAMPLED_ROWS))
    n_above = int(share * len(sampled) * (n_images - 1)) + 1
    ranked = np.empty(0, dtype=np.float32)
    for start in range(0, n_images, _SAMPLED_COLUMNS):
        columns = np.arange(start, min(n_images, start + _SAMPLED_COLUMNS))
        alike = similarities_between(images, sampled, columns)
        is_other = sampled[:, None] != columns
        ranked = np.append(ranked, alike[is_other])
        ranked = np.partition(ranked, max(0, len(ranked) - n_above))[-n_above:]
    return float(ranked.min())


@dataclass(frozen=True)
class NearestNeighbours:
    """The nearest other images of each image, most similar first.

    Attributes:
        rows: ``(n, k)`` their rows; of equally similar images the first rows come first.
        similarities: ``(n, k)`` float32, descending along a row.
    """

    rows: LabelArray
    similarities: FloatArray

    @property
    def certified_floor(self) -> float:
        """The least similarity down to which every image certainly shows all of its neighbours.

        An image shows all neighbours that are more similar than its last one, and may miss some that are equally
        similar. Where images show all others, that is -1.
        """
        n_images, n_shown = self.rows.shape
        if n_shown >= n_images - 1:
            return -1.0
        return float(np.nextafter(self.similarities[:, -1].max(), np.float32(np.inf)))


def nearest_neighbours(images: Images, k: int, block_bytes: int = BLOCK_BYTES) -> NearestNeighbours:
    """Find the nearest other images of each image, exactly.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        k: How many, at least 1; with fewer other images, all of them.
        block_bytes: Memory for similarities at any moment; changes speed, never a neighbour.

    Returns:
        The neighbours.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"{k} neighbours: at least one must be looked for")
    n_images = len(images)
    n_shown = min(k, max(0, n_images - 1))
    rows = np.full((n_images, n_shown), n_images, dtype=np.int64)
    similarities = np.full((n_images, n_shown), -np.inf, dtype=np.float32)
    if n_shown:
        for tile in similarity_tiles(images, block_bytes, "nearest neighbours"):
            _enter(rows, similarities, tile.similarities, tile.first_row, tile.first_column)
            if not tile.is_diagonal:
                mirrored = np.ascontiguousarray(tile.similarities.T)
                _enter(rows, similarities, mirrored, tile.first_column, tile.first_row)
    return NearestNeighbours(rows, similarities)


def _enter(rows: LabelArray, similarities: FloatArray, tile: FloatArray, first_row: int, first_column: int) -> None:
    """Let the images of a tile take the places of less similar ones."""
    n_shown = rows.shape[1]
    inside = slice(first_row, first_row + len(tile))
    to_reach = similarities[inside, -1:]
    if n_shown < tile.shape[1] and np.isneginf(to_reach).any():
        of_tile = np.partition(tile, tile.shape[1] - n_shown, axis=1)[:, -n_shown, None]
        to_reach = np.maximum(to_reach, of_tile)
    # An equally similar image with a lower row still enters: tiles come in no order of columns.
    near, columns = np.nonzero((tile >= to_reach) & (tile > -np.inf))
    touched = np.unique(near)
    of_row = np.concatenate([np.repeat(touched, n_shown), near])
    found = np.concatenate([rows[inside][touched].ravel(), columns + first_column])
    alike = np.concatenate([similarities[inside][touched].ravel(), tile[near, columns]])
    order = np.lexsort((found, -alike, of_row))
    starts = np.searchsorted(of_row[order], touched)
    places = order[starts[:, None] + np.arange(n_shown)]
    rows[first_row + touched], similarities[first_row + touched] = found[places], alike[places]


def certified_graph(
    images: Images, neighbours: NearestNeighbours, floor: float, block_bytes: int = BLOCK_BYTES
) -> NeighbourGraph:
    """Give all pairs with at least a similarity; images that show too few neighbours are looked at again.

    An image whose last shown neighbour lies below the floor shows all that lie above it. Every other image is compared
    with all images anew, which raises its k as far as it takes.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        neighbours: Of the same images.
        floor: The similarity, in [-1, 1].
        block_bytes: Memory for similarities at any moment; changes speed, never a pair.

    Returns:
        The same graph as :func:`neighbours_above`, without its limit.
    """
    n_images, n_shown = neighbours.rows.shape
    least = singles_at_least([floor])[0]
    rows, places = np.nonzero(neighbours.similarities >= least)
    pairs = [np.column_stack([rows, neighbours.rows[rows, places]])]
    similarities = [neighbours.similarities[rows, places]]
    is_short = neighbours.similarities[:, -1] >= least if n_shown < n_images - 1 else np.zeros(n_images, dtype=bool)
    short = np.flatnonzero(is_short)
    height = max(1, block_bytes // (_BYTES_PER_ROW_PAIR * n_images)) if n_images else 1
    for start in range(0, len(short), height):
        again = short[start : start + height]
        alike = similarities_between(images, again, np.arange(n_images))
        alike[np.arange(len(again)), again] = -np.inf
        near, columns = np.nonzero(alike >= least)
        pairs.append(np.column_stack([again[near], columns]))
        similarities.append(alike[near, columns])
    ordered = np.sort(np.concatenate(pairs), axis=1)
    once = np.unique(ordered[:, 0] * n_images + ordered[:, 1], return_index=True)[1]
    return graph_of(n_images, float(least), ordered[once], np.concatenate(similarities)[once])


def spanning_forest(graph: NeighbourGraph) -> MergeTree:
    """Give the groups of DBSCAN, by :mod:`skinbit.matching.clustering`, at every eps within a graph's reach.

    Images are joined up to a distance by the pairs up to it alone, and a minimum spanning forest of these joins the
    same images at every smaller distance (Gower and Ross 1969).

    Args:
        graph: The near pairs.

    Returns:
        The merges of :func:`skinbit.matching.clustering.spanning_tree` up to the reach; of equally near ones others may
        stand for the same groups.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    within = np.searchsorted(graph.distances, graph.reach, side="right")
    distances, ranks = np.unique(graph.distances[:within], return_inverse=True)
    # Ranks from 1 stand for distances: SciPy takes a distance of 0 for no pair at all.
    shape = (graph.n_images, graph.n_images)
    weights = coo_array((ranks + 1.0, tuple(graph.pairs[:within].T)), shape=shape)
    tree = minimum_spanning_tree(weights.tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    edges = np.column_stack([tree.row, tree.col])[order].astype(np.int64)
    return MergeTree(edges, np.maximum(distances[tree.data[order].astype(np.int64) - 1], 0.0), graph.n_images)
