"""Similarities of all pairs of images tile by tile, for pools whose matrix would not fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from skinbit.matching.large_pool import LargePool, Similarities
from skinbit.matching.pairs import FloatArray, LabelArray, row_blocks

Images = FloatArray | LargePool
"""Embeddings, whose similarities are their cosines, or a pool whose similarities are made of these."""

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


def similarity_tiles(images: Images, block_bytes: int = BLOCK_BYTES, what: str = "pairs") -> Iterator[Tile]:
    """Yield the similarities of all pairs of images in tiles, each pair in one of them.

    Args:
        images: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`, or a pool of these.
        block_bytes: Memory for a tile and for looking at it, beside a widened copy of its embeddings; changes speed,
            never a similarity.
        what: The name of the progress bar, which tells the time left.

    Yields:
        Tiles whose similarities are, bit for bit, those of :func:`skinbit.matching.similarity.pool_similarities`;
        without a calibration those of :func:`skinbit.matching.pairs.cosine_similarities`.
    """
    embeddings = embeddings_of(images)
    n_images, side = len(embeddings), side_of(block_bytes)
    with tqdm(total=n_images * (n_images - 1) // 2, unit="pair", unit_scale=True, desc=what, disable=None) as bar:
        for row in range(0, n_images, side):
            above = embeddings[row : row + side].astype(np.float64)
            for column in range(row, n_images, side):
                alike = _products(above, embeddings[column : column + side])
                if isinstance(images, LargePool):
                    height, width = alike.shape
                    alike = images.fuse_block(alike, np.arange(row, row + height), np.arange(column, column + width))
                tile = Tile(row, column, alike)
                if tile.is_diagonal:
                    np.fill_diagonal(tile.similarities, -np.inf)
                yield tile
                height, width = tile.similarities.shape
                bar.update(height * (height - 1) // 2 if tile.is_diagonal else height * width)


def embeddings_of(images: Images) -> FloatArray:
    """Give the embeddings of images, ``(n, d)``."""
    return images.embeddings if isinstance(images, LargePool) else images


def side_of(block_bytes: int) -> int:
    """Give the number of images along one side of a tile, at least 1."""
    return max(1, int((block_bytes / _BYTES_PER_PAIR) ** 0.5))


def _products(wide: np.ndarray, embeddings: FloatArray) -> FloatArray:
    similarities = np.empty((len(wide), len(embeddings)), dtype=np.float32)
    np.clip(wide @ embeddings.T.astype(np.float64), -1.0, 1.0, out=similarities, casting="same_kind")
    return similarities


def similarities_between(images: Images, rows: LabelArray, columns: LabelArray) -> FloatArray:
    """Give the similarity of each of some images with each of others.

    Args:
        images: As for :func:`similarity_tiles`.
        rows: ``(height,)`` of some, no one twice.
        columns: ``(width,)`` of others, no one twice.

    Returns:
        ``(height, width)`` float32 in [-1, 1], bit for bit those of the tiles.
    """
    embeddings = embeddings_of(images)
    alike = _products(embeddings[rows].astype(np.float64), embeddings[columns])
    return images.fuse_block(alike, rows, columns) if isinstance(images, LargePool) else alike


def similarities_of_pairs(images: Images, pairs: LabelArray) -> FloatArray:
    """Give the similarity of some pairs.

    Args:
        images: As for :func:`similarity_tiles`.
        pairs: ``(m, 2)`` rows of both images.

    Returns:
        ``(m,)`` float32 in [-1, 1], bit for bit those of the tiles.
    """
    embeddings = embeddings_of(images)
    similarities = np.empty(len(pairs), dtype=np.float32)
    step = max(1, _GATHERED // max(1, embeddings.shape[1]))
    for start in range(0, len(pairs), step):
        first, second = (embeddings[rows].astype(np.float64) for rows in pairs[start : start + step].T)
        similarities[start : start + step] = np.clip((first * second).sum(axis=1), -1.0, 1.0)
    return images.fuse_pairs(similarities, pairs) if isinstance(images, LargePool) else similarities


def upper_rows(similarities: Similarities, what: str = "pairs") -> Iterator[tuple[int, int, FloatArray]]:
    """Walk all pairs once, some rows of the matrix at a time.

    Args:
        similarities: Of all pairs, or what they are computed from.
        what: The name of the progress bar where they are computed.

    Yields:
        First row and first row beyond, and the similarities of these images with all from the first row on.
    """
    if not isinstance(similarities, LargePool):
        for start, stop in row_blocks(len(similarities)):
            yield start, stop, similarities[start:stop, start:]
        return
    n_images = len(similarities)
    blocks = list(row_blocks(n_images, BLOCK_BYTES // _BYTES_PER_PAIR))
    for start, stop in tqdm(blocks, unit="block", desc=what, disable=None):
        yield start, stop, similarities_between(similarities, np.arange(start, stop), np.arange(start, n_images))


def pairs_of(similarities: Similarities, pairs: LabelArray) -> FloatArray:
    """Give the similarities of some pairs, ``(m,)``, whose rows are ``(m, 2)``."""
    if isinstance(similarities, LargePool):
        return similarities_of_pairs(similarities, pairs)
    found: FloatArray = similarities[pairs[:, 0], pairs[:, 1]]
    return found


def part_of(similarities: Similarities, rows: LabelArray) -> Similarities:
    """Give the similarities of some images with each other, in the order of ``rows``."""
    return similarities.subset(rows) if isinstance(similarities, LargePool) else similarities[np.ix_(rows, rows)]
