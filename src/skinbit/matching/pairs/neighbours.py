"""The near pairs of a pool, exactly: all pairs above a floor, and the nearest images of each image.

A method that joins images up to a cut needs only the pairs up to it: a graph that provably has all of them gives the
same result as all pairs.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.labels import FloatArray, LabelArray, ascending_bits, from_ascending_bits
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import Tile, look_at

_SAMPLED_ROWS = 512
"""Number of rows of the matrix from which a floor is estimated."""

_SAMPLED_COLUMNS = 4096
"""Number of these rows that are processed together."""

_MARGIN = 2e-12
"""Gap between the floor and the largest certain distance, larger than a mean's rounding to 12 decimals."""

_SINGLE_BITS = 32
_LARGEST_PACKED = 2**16
"""Number of images up to which a pair and its similarity fit into 64 bits, which NumPy sorts fast."""


class NotHeldError(LookupError):
    """A result needs pairs that a graph does not have."""


@dataclass(frozen=True)
class NeighbourGraph:
    """All pairs of images at least as similar as a floor, nearest pairs first.

    Attributes:
        n_images: Number of images n.
        floor: Exactly the pairs with at least this similarity are in the graph; -1: all pairs.
        pairs: ``(m, 2)`` int32 rows, lower row first; sorted by similarity, then by rows.
        similarities: ``(m,)`` float32, similarities of these pairs, descending.
    """

    n_images: int
    floor: float
    pairs: NDArray[np.int32]
    similarities: FloatArray

    @property
    def is_complete(self) -> bool:
        """Whether the graph has all pairs of images."""
        return self.floor <= -1.0

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """1 - similarity of each pair, ascending."""
        return 1.0 - self.similarities.astype(np.float64)

    @property
    def reach(self) -> float:
        """The largest distance up to which these pairs certainly lead to the same groups as all pairs."""
        return 2.0 if self.is_complete else 1.0 - self.floor - _MARGIN

    def n_at_least(self, similarity: float) -> int:
        """Return the number of pairs with at least a similarity, which is not below the graph's floor."""
        return bisect_right(self.similarities, -similarity, key=lambda single: -float(single))  # without a copy

    def subset(self, rows: LabelArray) -> "NeighbourGraph":
        """Return the near pairs of some of the images.

        Args:
            rows: Rows of these images, ascending.

        Returns:
            The graph of the subset, with the same floor.
        """
        places = np.full(self.n_images, -1, dtype=np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        first, second = places[self.pairs[:, 0]], places[self.pairs[:, 1]]
        is_inside = (first >= 0) & (second >= 0)
        pairs = np.column_stack([first[is_inside], second[is_inside]])
        return NeighbourGraph(len(rows), self.floor, pairs, self.similarities[is_inside])

    def most_similar(self, n_pairs: int) -> tuple[FloatArray, float]:
        """Return the similarities of the most similar pairs.

        Args:
            n_pairs: Largest number; fewer if the last tied pairs do not all fit.

        Returns:
            Their similarities, descending, and the next similarity below them (-1 where there are no more pairs).

        Raises:
            NotHeldError: If the graph does not have all of these pairs.
        """
        if len(self.similarities) <= n_pairs:
            if not self.is_complete:
                raise NotHeldError(f"{n_pairs} pairs are needed, but only {len(self.similarities)} are held")
            return self.similarities, -1.0
        last = self.similarities[n_pairs]
        n_above = bisect_left(self.similarities, -last, key=lambda single: -single)
        return self.similarities[:n_above], float(last)


def singles_at_least(thresholds: list[float]) -> FloatArray:
    """Return thresholds rounded up to single precision, so that the same similarities are above them.

    Args:
        thresholds: ``m`` similarities.

    Returns:
        ``(m,)`` float32.
    """
    wide = np.array(thresholds, dtype=np.float64)
    rounded = wide.astype(np.float32)
    higher = np.nextafter(rounded, np.float32(np.inf))
    singles: FloatArray = np.where(rounded.astype(np.float64) < wide, higher, rounded)
    return singles


def graph_of(n_images: int, floor: float, pairs: NDArray[np.signedinteger], similarities: FloatArray) -> NeighbourGraph:
    """Return the graph of pairs, most similar first.

    Args:
        n_images: Number of images.
        floor: Smallest similarity of the graph.
        pairs: ``(m, 2)``, lower row first: all pairs with at least that similarity, in any order.
        similarities: ``(m,)``, their similarities.
    """
    if n_images > _LARGEST_PACKED:
        order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarities))
        return NeighbourGraph(n_images, floor, pairs[order].astype(np.int32), similarities[order])
    numbers = pairs[:, 0].astype(np.uint64) * np.uint64(n_images) + pairs[:, 1].astype(np.uint64)
    packed = ((~ascending_bits(similarities)).astype(np.uint64) << np.uint64(_SINGLE_BITS)) | numbers
    packed.sort()
    numbers = packed.astype(np.uint32)  # the lower 32 bits
    rows = numbers // np.uint32(max(1, n_images))
    in_order = np.column_stack([rows, numbers - rows * np.uint32(n_images)]).astype(np.int32)
    return NeighbourGraph(
        n_images, floor, in_order, from_ascending_bits(~(packed >> np.uint64(_SINGLE_BITS)).astype(np.uint32))
    )


class NearPairs:
    """Collects pairs above a floor from tiles; the floor rises if there are too many."""

    def __init__(self, floor: float, most_pairs: int) -> None:
        """Set the floor and the largest number of pairs.

        Args:
            floor: Smallest similarity; rounded up to single precision, which changes no pair.
            most_pairs: Largest number of pairs, 2 or more.
        """
        self.floor = float(singles_at_least([floor])[0])
        self._most_pairs = most_pairs
        self._pairs = [np.empty((0, 2), dtype=np.int32)]
        self._similarities = [np.empty(0, dtype=np.float32)]
        self._n_held = 0

    def add(self, tile: Tile) -> None:
        """Add the near pairs of a tile."""
        pairs, similarities = tile.pairs_where(tile.similarities >= np.float32(self.floor))
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
        """Return all pairs with at least the similarity of the current floor."""
        pairs, similarities = np.concatenate(self._pairs), np.concatenate(self._similarities)
        self._pairs, self._similarities = [], []
        return graph_of(n_images, self.floor, pairs, similarities)


def neighbours_above(pool: Pool, floor: float) -> NeighbourGraph:
    """Return all pairs with at least a similarity.

    Args:
        pool: The images.
        floor: Smallest similarity, in [-1, 1]; rounded up to single precision, which changes no pair.

    Returns:
        The graph. If there are more pairs than the pool's limit, only the nearest are kept, and the graph's floor is
        higher than ``floor``.
    """
    near = NearPairs(floor, pool.limits.most_pairs)
    look_at(pool, [near], "near pairs")
    return near.graph(len(pool))


def estimate_floor(pool: Pool, n_pairs: int) -> float:
    """Return the estimated similarity above which there are ``n_pairs`` pairs, from evenly spaced rows of the matrix.

    Returns:
        A similarity; -1 if all pairs are needed.
    """
    n_images = len(pool)
    share = n_pairs / max(1, pool.n_pairs)
    if share >= 1:
        return -1.0
    sampled = np.arange(0, n_images, -(-n_images // _SAMPLED_ROWS))
    n_above = int(share * len(sampled) * (n_images - 1)) + 1
    ranked = np.empty(0, dtype=np.float32)
    for start in range(0, n_images, _SAMPLED_COLUMNS):
        columns = np.arange(start, min(n_images, start + _SAMPLED_COLUMNS))
        alike = pool.between(sampled, columns)
        is_other = sampled[:, None] != columns
        ranked = np.append(ranked, alike[is_other])
        ranked = np.partition(ranked, max(0, len(ranked) - n_above))[-n_above:]
    return float(ranked.min())


class NearestImages:
    """Finds the nearest other images of each image; equally similar images are ordered by row."""

    def __init__(self, n_images: int, k: int) -> None:
        """Set the number of images and of neighbours.

        Args:
            n_images: Number of images n.
            k: Number of neighbours, at least 1; all other images if there are fewer.

        Raises:
            ValueError: If ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"{k} neighbours: at least one is needed")
        n_shown = min(k, max(0, n_images - 1))
        self.rows = np.full((n_images, n_shown), n_images, dtype=np.int64)
        self.similarities = np.full((n_images, n_shown), -np.inf, dtype=np.float32)

    def add(self, tile: Tile) -> None:
        """Update the nearest images of the tile's rows and columns."""
        for first_row, first_column, similarities in tile.sides():
            if self.rows.shape[1]:
                self._enter(similarities, first_row, first_column)

    def _enter(self, tile: FloatArray, first_row: int, first_column: int) -> None:
        n_shown = self.rows.shape[1]
        inside = slice(first_row, first_row + len(tile))
        to_reach = self.similarities[inside, -1:]
        if n_shown < tile.shape[1] and np.isneginf(to_reach).any():
            of_tile = np.partition(tile, tile.shape[1] - n_shown, axis=1)[:, -n_shown, None]
            to_reach = np.maximum(to_reach, of_tile)
        # An equally similar image with a lower row is still added, as tiles come in no order of columns.
        near, columns = np.nonzero((tile >= to_reach) & (tile > -np.inf))
        touched = np.unique(near)
        of_row = np.concatenate([np.repeat(touched, n_shown), near])
        found = np.concatenate([self.rows[inside][touched].ravel(), columns + first_column])
        alike = np.concatenate([self.similarities[inside][touched].ravel(), tile[near, columns]])
        order = np.lexsort((found, -alike, of_row))
        places = order[np.searchsorted(of_row[order], touched)[:, None] + np.arange(n_shown)]
        self.rows[first_row + touched], self.similarities[first_row + touched] = found[places], alike[places]


def nearest_images(pool: Pool, k: int) -> NearestImages:
    """Return the nearest other images of each image, exactly.

    Args:
        pool: The images.
        k: Number of neighbours, at least 1; all other images if there are fewer.

    Returns:
        ``rows`` and ``similarities``, ``(n, k)`` each, most similar first; equally similar images are ordered by row.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    nearest = NearestImages(len(pool), k)
    look_at(pool, [nearest], "nearest images")
    return nearest
