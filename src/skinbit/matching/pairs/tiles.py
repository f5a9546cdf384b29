"""Similarities of all pairs of a pool, tile by tile: the only way in which all pairs are processed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skinbit.data.progress import Progress
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.pool import Pool

_BYTES_PER_PAIR = 24
"""Copies of a tile in memory: products in double precision, similarities, a transposed copy, and an observer's work."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the similarity matrix that no other tile contains, not even mirrored.

    Attributes:
        first_row: First row in the matrix.
        first_column: First column in the matrix, at least ``first_row``; equal for tiles on the diagonal.
        similarities: ``(height, width)`` float32 in [-1, 1]; -inf on the diagonal, as no image is compared with itself.
    """

    first_row: int
    first_column: int
    similarities: FloatArray

    @property
    def is_diagonal(self) -> bool:
        """Whether the tile is on the diagonal of the matrix, so that it contains every pair twice."""
        return self.first_row == self.first_column

    @property
    def rows(self) -> LabelArray:
        """Images of the rows, ``(height,)``."""
        return np.arange(self.first_row, self.first_row + self.similarities.shape[0])

    @property
    def columns(self) -> LabelArray:
        """Images of the columns, ``(width,)``."""
        return np.arange(self.first_column, self.first_column + self.similarities.shape[1])

    def pairs(self) -> FloatArray:
        """Return the similarities of this tile's pairs as a 1-D array, each pair once."""
        if not self.is_diagonal:
            return self.similarities.ravel()
        once: FloatArray = self.similarities[np.triu_indices(len(self.similarities), 1)]
        return once

    def pairs_where(self, is_chosen: np.ndarray) -> tuple[LabelArray, FloatArray]:
        """Return some of the tile's pairs.

        Args:
            is_chosen: ``(height, width)``, the chosen pairs; in a tile on the diagonal, only those above it are used.

        Returns:
            Rows of both images ``(m, 2)``, lower row first, and their similarities.
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
        pool: The images; the memory limit changes the size of tiles, not similarities.
        what: Name of the progress bar.

    Yields:
        Tiles, from left to right in each row of the matrix.
    """
    n_images, side = len(pool), side_of(pool.limits.tile_bytes)
    with Progress(total=pool.n_pairs, unit="pair", unit_scale=True, desc=what, delay=_PATIENCE) as bar:
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
"""Seconds before a progress bar is shown: small pools take less."""


def look_at(pool: Pool, observers: Iterable[Observer], what: str = "pairs") -> None:
    """Show every pair of images once to all observers.

    Args:
        pool: The images.
        observers: Receive every tile.
        what: Name of the progress bar.
    """
    watching = tuple(observers)
    for tile in similarity_tiles(pool, what):
        for observer in watching:
            observer.add(tile)


def side_of(tile_bytes: int) -> int:
    """Return the number of images along one side of a tile, at least 1."""
    return max(1, int((tile_bytes / _BYTES_PER_PAIR) ** 0.5))
