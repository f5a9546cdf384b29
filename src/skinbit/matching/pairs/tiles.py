"""Similarities of all pairs of a pool tile by tile: the one way in which all pairs are looked at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.pool import Pool

_BYTES_PER_PAIR = 24
"""Of a tile: its products in double precision, the similarities, a transposed copy, and what a look at them takes."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the matrix of similarities that no other tile shows, not even mirrored.

    Attributes:
        first_row: Of the matrix.
        first_column: Of the matrix, at least ``first_row``; equal for a tile on the diagonal.
        similarities: ``(height, width)`` float32 in [-1, 1]; on the diagonal -inf: no image is compared with itself.
    """

    first_row: int
    first_column: int
    similarities: FloatArray

    @property
    def is_diagonal(self) -> bool:
        """Whether the tile lies on the diagonal of the matrix, so that it holds every pair twice."""
        return self.first_row == self.first_column

    @property
    def rows(self) -> LabelArray:
        """The images of its rows, ``(height,)``."""
        return np.arange(self.first_row, self.first_row + self.similarities.shape[0])

    @property
    def columns(self) -> LabelArray:
        """The images of its columns, ``(width,)``."""
        return np.arange(self.first_column, self.first_column + self.similarities.shape[1])

    def pairs(self) -> FloatArray:
        """Return the similarity of each of its pairs once, flat."""
        if not self.is_diagonal:
            return self.similarities.ravel()
        once: FloatArray = self.similarities[np.triu_indices(len(self.similarities), 1)]
        return once

    def pairs_where(self, is_chosen: np.ndarray) -> tuple[LabelArray, FloatArray]:
        """Return some of its pairs.

        Args:
            is_chosen: ``(height, width)``, which pairs; on the diagonal those above it are looked at.

        Returns:
            Rows of both images ``(m, 2)``, the lower one first, and their similarities.
        """
        if self.is_diagonal:
            is_chosen = np.triu(is_chosen, 1)
        rows, columns = np.divmod(np.flatnonzero(is_chosen), self.similarities.shape[1])
        return np.column_stack([rows + self.first_row, columns + self.first_column]), self.similarities[rows, columns]

    def sides(self) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield first image, first other image and similarities, so that every image of the tile has a row once."""
        yield self.first_row, self.first_column, self.similarities
        if not self.is_diagonal:
            yield self.first_column, self.first_row, np.ascontiguousarray(self.similarities.T)


class Observer(Protocol):
    """Consumes the tiles of a pool, which show every pair once."""

    def add(self, tile: Tile) -> None:
        """Process one tile."""


def similarity_tiles(pool: Pool, what: str = "pairs") -> Iterator[Tile]:
    """Yield the similarities of all pairs of images in tiles, each pair in one of them.

    Args:
        pool: The images; its limit on memory changes the size of tiles, never a similarity.
        what: The name of the progress bar, which shows the time left.

    Yields:
        Tiles; those of a row of the matrix from left to right.
    """
    n_images, side = len(pool), side_of(pool.limits.tile_bytes)
    with tqdm(total=pool.n_pairs, unit="pair", unit_scale=True, desc=what, disable=None, delay=_PATIENCE) as bar:
        for row in range(0, n_images, side):
            rows = np.arange(row, min(n_images, row + side))
            for column in range(row, n_images, side):
                tile = Tile(row, column, pool.between(rows, np.arange(column, min(n_images, column + side))))
                if tile.is_diagonal:
                    np.fill_diagonal(tile.similarities, -np.inf)
                yield tile
                height, width = tile.similarities.shape
                bar.update(height * (height - 1) // 2 if tile.is_diagonal else height * width)


_PATIENCE = 1.0
"""Seconds after which a progress bar shows: small pools take less."""


def look_at(pool: Pool, observers: Iterable[Observer], what: str = "pairs") -> None:
    """Show every pair of images once to some observers.

    Args:
        pool: The images.
        observers: Receive every tile.
        what: The name of the progress bar.
    """
    watching = tuple(observers)
    for tile in similarity_tiles(pool, what):
        for observer in watching:
            observer.add(tile)


def side_of(tile_bytes: int) -> int:
    """Return the number of images along one side of a tile, at least 1."""
    return max(1, int((tile_bytes / _BYTES_PER_PAIR) ** 0.5))
