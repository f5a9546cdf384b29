"""Groups of mutual nearest neighbours, which need no cut: two images are joined if each is the other's nearest."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering.merges import MergeTree
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.tiles import Tile


class MutualPairs:
    """Collects the pairs of images that are each other's nearest.

    If several images are equally near, each counts as the nearest, so that the order of images does not matter. A pair
    that is mutual in the end is also mutual among the tiles up to its own, so only such pairs are kept.
    """

    def __init__(
        self,
        n_images: int,
        of_known: NDArray[np.bool_] | None = None,
        tidy_from: int = 2**20,
        left_out: LabelArray | None = None,
    ) -> None:
        """Prepare to collect.

        Args:
            n_images: Number of images.
            of_known: ``(n_images,)``, which images are of a known lesion, by themselves or by what they are joined with
                from the start; they are not compared with each other. None: no image is.
            tidy_from: From so many collected pairs on, those that are no longer mutual are dropped.
            left_out: ``(p, 2)`` further pairs that are not compared. None: no pair.
        """
        self._of_known = np.zeros(n_images, dtype=bool) if of_known is None else of_known
        self._left_out = np.empty((0, 2), dtype=np.int64) if left_out is None else left_out
        self._highest = np.full(n_images, -np.inf, dtype=np.float32)
        self._kept = [(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32))]
        self._n_kept = 0
        self._tidy_from = self._n_to_tidy = tidy_from

    def add(self, tile: Tile) -> None:
        """Take the pairs of a tile that are mutual so far."""
        settled = _without_block(tile, self._of_known[tile.rows], self._of_known[tile.columns])
        tile = without_pairs(settled, self._left_out)
        alike, rows, columns = tile.similarities, tile.rows, tile.columns
        self._highest[rows] = np.maximum(self._highest[rows], alike.max(axis=1, initial=-np.inf))
        self._highest[columns] = np.maximum(self._highest[columns], alike.max(axis=0, initial=-np.inf))
        is_mutual = (alike == self._highest[rows, None]) & (alike == self._highest[columns]) & (alike > -np.inf)
        self._kept.append(tile.pairs_where(is_mutual))
        self._n_kept += len(self._kept[-1][0])
        if self._n_kept > self._n_to_tidy:
            self._tidy()

    def _tidy(self) -> None:
        pairs, alike = (np.concatenate(part) for part in zip(*self._kept, strict=True))
        is_kept = (alike == self._highest[pairs[:, 0]]) & (alike == self._highest[pairs[:, 1]])
        self._kept = [(pairs[is_kept], alike[is_kept])]
        self._n_kept = int(is_kept.sum())
        self._n_to_tidy = max(self._tidy_from, 2 * self._n_kept)

    def links(self) -> tuple[LabelArray, NDArray[np.float32]]:
        """Return the pairs that are mutual among all tiles ``(m, 2)``, ascending, and their similarities."""
        self._tidy()
        pairs, alike = self._kept[0]
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        return pairs[order], alike[order]


def without_known(tile: Tile, n_new: int) -> Tile:
    """Return a tile in which known images, from ``n_new`` on, are not compared with each other."""
    return _without_block(tile, tile.rows >= n_new, tile.columns >= n_new)


def _without_block(tile: Tile, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Tile:
    """Return a tile in which some of its rows are not compared with some of its columns."""
    if not (rows.any() and columns.any()):
        return tile
    similarities = tile.similarities.copy()
    similarities[np.ix_(rows, columns)] = -np.inf
    return Tile(tile.first_row, tile.first_column, similarities)


def without_pairs(tile: Tile, pairs: LabelArray) -> Tile:
    """Return a tile in which some pairs of images, ``(p, 2)``, are not compared."""
    both_ways = np.concatenate([pairs, pairs[:, ::-1]]) - (tile.first_row, tile.first_column)
    inside = both_ways[((both_ways >= 0) & (both_ways < tile.similarities.shape)).all(axis=1)]
    if not len(inside):
        return tile
    similarities = tile.similarities.copy()
    similarities[tuple(inside.T)] = -np.inf
    return Tile(tile.first_row, tile.first_column, similarities)


def tree_of_groups(groups: LabelArray) -> MergeTree:
    """Return groups that need no cut as merges.

    Args:
        groups: ``(n,)``, group of each image, any numbers.

    Returns:
        The merges, all at distance 0, each with the first row of a group and another of its rows.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    first_rows = first[inverse]
    others = np.flatnonzero(first_rows != np.arange(len(groups)))
    return MergeTree(np.column_stack([first_rows[others], others]), np.zeros(len(others)), len(groups))
