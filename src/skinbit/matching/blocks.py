"""Similarities of all pairs of images tile by tile, for pools whose matrix would not fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from skinbit.matching.pairs import FloatArray, LabelArray

BLOCK_BYTES = 2**26
"""Memory for similarities at any moment: 64 MB, tiles of about 1,600 by 1,600 images."""

_BYTES_PER_PAIR = 24
"""Of a tile: its products in double precision, the similarities, a transposed copy, and what a look at them takes."""

_GATHERED = 2**20
"""Values of embeddings gathered at once for single pairs."""


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
        """Whether its pairs stand in it twice, mirrored."""
        return self.first_row == self.first_column

    def pairs(self) -> FloatArray:
        """Give the similarity of each of its pairs once, flat."""
        if not self.is_diagonal:
            return self.similarities.ravel()
        once: FloatArray = self.similarities[np.triu_indices(len(self.similarities), 1)]
        return once

    def pairs_above(self, floor: float) -> tuple[LabelArray, FloatArray]:
        """Give its pairs with at least a similarity: rows of both images ``(m, 2)``, the lower one first, and that."""
        is_near = self.similarities >= np.float32(floor)
        if self.is_diagonal:
            is_near = np.triu(is_near, 1)
        rows, columns = np.divmod(np.flatnonzero(is_near), self.similarities.shape[1])
        return np.column_stack([rows + self.first_row, columns + self.first_column]), self.similarities[rows, columns]


def similarity_tiles(embeddings: FloatArray, block_bytes: int = BLOCK_BYTES, what: str = "pairs") -> Iterator[Tile]:
    """Yield the cosine similarities of all pairs of images in tiles, each pair in one of them.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        block_bytes: Memory for a tile and for looking at it, beside a widened copy of its embeddings; changes speed,
            never a similarity.
        what: The name of the progress bar, which tells the time left.

    Yields:
        Tiles whose similarities are, bit for bit, those of :func:`skinbit.matching.pairs.cosine_similarities`.
    """
    n_images, side = len(embeddings), max(1, int((block_bytes / _BYTES_PER_PAIR) ** 0.5))
    with tqdm(total=n_images * (n_images - 1) // 2, unit="pair", unit_scale=True, desc=what, disable=None) as bar:
        for row in range(0, n_images, side):
            above = embeddings[row : row + side].astype(np.float64)
            for column in range(row, n_images, side):
                tile = Tile(row, column, _products(above, embeddings[column : column + side]))
                if tile.is_diagonal:
                    np.fill_diagonal(tile.similarities, -np.inf)
                yield tile
                height, width = tile.similarities.shape
                bar.update(height * (height - 1) // 2 if tile.is_diagonal else height * width)


def _products(wide: np.ndarray, embeddings: FloatArray) -> FloatArray:
    similarities = np.empty((len(wide), len(embeddings)), dtype=np.float32)
    np.clip(wide @ embeddings.T.astype(np.float64), -1.0, 1.0, out=similarities, casting="same_kind")
    return similarities


def similarities_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Give the cosine similarity of each image of one set with each of another.

    Args:
        first: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        second: ``(m, d)``, likewise.

    Returns:
        ``(n, m)`` float32 in [-1, 1], bit for bit those of :func:`skinbit.matching.pairs.cosine_similarities`.
    """
    return _products(first.astype(np.float64), second)


def similarities_of_pairs(embeddings: FloatArray, pairs: LabelArray) -> FloatArray:
    """Give the cosine similarity of some pairs.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        pairs: ``(m, 2)`` rows of both images.

    Returns:
        ``(m,)`` float32 in [-1, 1], bit for bit those of :func:`skinbit.matching.pairs.cosine_similarities`.
    """
    similarities = np.empty(len(pairs), dtype=np.float32)
    step = max(1, _GATHERED // max(1, embeddings.shape[1]))
    for start in range(0, len(pairs), step):
        first, second = (embeddings[rows].astype(np.float64) for rows in pairs[start : start + step].T)
        similarities[start : start + step] = np.clip((first * second).sum(axis=1), -1.0, 1.0)
    return similarities
