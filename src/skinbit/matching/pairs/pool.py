"""A pool of images: embeddings, and everything needed to compute similarities.

Observers of a pool compute the similarities that they need, of rectangles of the matrix or of single pairs; both give
identical values.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from skinbit.config import MemoryParams
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.similarity.calibration import Calibration, Values, fuse
from skinbit.matching.similarity.context import Context
from skinbit.matching.similarity.cosines import cosines, cosines_of_pairs
from skinbit.matching.similarity.hubness import Hubness, scale
from skinbit.matching.similarity.reranking import Neighbourhoods


@dataclass(frozen=True)
class Limits:
    """Limits on the pairs that are held in memory; they do not change metrics that are certain.

    Attributes:
        tile_bytes: Memory for one tile of similarities and its processing.
        most_pairs: Largest number of near pairs, 2 or more; if certainty needs more, results stay uncertain.
        first_pairs: Number of near pairs that are collected first, at least 80 per image; if they do not suffice, up to
            ``most_pairs``.
        pairs_at_once: Number of single pairs that are compared at once while groups merge.
        few_pairs: Number of pairs between two groups above which a matrix product is faster than single pairs.
    """

    tile_bytes: int = 2**26
    most_pairs: int = 30_000_000
    first_pairs: int = 2**21
    pairs_at_once: int = 2**18
    few_pairs: int = 2**6


DEFAULT_LIMITS = Limits()
"""64 MB: tiles of about 1,600 x 1,600 images; some 1 GB while pairs are sorted."""


def limits_of(memory: MemoryParams) -> Limits:
    """Return the limits of the configuration."""
    return replace(tiles_of(memory.tile_megabytes), most_pairs=memory.max_pairs)


def tiles_of(megabytes: float) -> Limits:
    """Return the limits for observers that process all pairs and keep none."""
    return Limits(tile_bytes=max(1, int(megabytes * 2**20)))


def _nothing() -> LabelArray:
    return np.empty(0, dtype=np.int64)


def _no_values() -> Values:
    return np.empty(0)


LEAST_SIMILARITY = -1.0
"""Similarity of pairs that cannot show the same lesion, as required columns differ."""

_PAIRS_AT_ONCE = 256
"""Number of single pairs whose embeddings are gathered at once, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Pool:
    """Images with everything needed to compute their similarities; see :func:`skinbit.matching.assembly.pool_of`.

    Attributes:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        calibration: Calibration from other lesions; None: similarities are cosines, scaled or not.
        hubness: ``(n,)``, hubness of each image; None: cosines are not scaled.
        keys: ``(2 m,)``, ``row · n + other row`` of every pair with compared keypoints, in both directions, ascending.
        support: ``(2 m,)``, log-odds from these keypoints.
        neighbourhoods: Neighbourhoods for re-ranking; None: similarities are not re-ranked.
        context: Metadata columns; None: no column is used.
        limits: Limits on the pairs that observers hold at once.
    """

    embeddings: FloatArray
    calibration: Calibration | None = None
    hubness: Hubness | None = None
    keys: LabelArray = field(default_factory=_nothing)
    support: Values = field(default_factory=_no_values)
    neighbourhoods: Neighbourhoods | None = None
    context: Context | None = None
    limits: Limits = DEFAULT_LIMITS

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.embeddings)

    @property
    def n_pairs(self) -> int:
        """Return the number of unordered pairs of images."""
        return len(self) * (len(self) - 1) // 2

    def between(self, rows: LabelArray, columns: LabelArray) -> FloatArray:
        """Return the similarities of images with other images.

        Args:
            rows: ``(height,)``, distinct.
            columns: ``(width,)``, distinct.

        Returns:
            ``(height, width)`` float32 in [-1, 1]; values of an image with itself are meaningless.
        """
        wide, other = (self.embeddings[some].astype(np.float64) for some in (rows, columns))
        alike = np.empty((len(rows), len(columns)), dtype=np.float32)
        np.clip(cosines(wide, other), -1.0, 1.0, out=alike, casting="same_kind")
        if self.hubness is not None:
            alike = scale(alike, self.hubness[rows][:, None], self.hubness[columns])
        if self.calibration is not None:
            first, second, support = self._compared(rows, columns)
            of_columns = self._support_of_columns(rows[:, None], columns)
            support = support if of_columns is None else support + of_columns[first, second]
            verified = fuse(alike[first, second], support, self.calibration)
            alike = fuse(alike, of_columns, self.calibration)
            alike[first, second] = verified
        if self.neighbourhoods is not None:
            alike = self.neighbourhoods.mix_block(alike, rows, columns)
        return self._lowered(alike, rows[:, None], columns)

    def of_pairs(self, pairs: LabelArray) -> FloatArray:
        """Return the similarity of single pairs of images.

        Args:
            pairs: ``(m, 2)`` rows of both images.

        Returns:
            ``(m,)`` float32 in [-1, 1].
        """
        first, second = pairs.T
        alike = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            one, other = (self.embeddings[rows[part]].astype(np.float64) for rows in (first, second))
            np.clip(cosines_of_pairs(one, other), -1.0, 1.0, out=alike[part], casting="same_kind")
        if self.hubness is not None:
            alike = scale(alike, self.hubness[first], self.hubness[second])
        if self.calibration is not None:
            keys = first * len(self) + second
            places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            is_compared = self.keys[places] == keys if len(self.keys) else np.zeros(len(keys), dtype=bool)
            of_columns = self._support_of_columns(first, second)
            support = np.zeros(len(pairs)) if of_columns is None else of_columns
            support[is_compared] += self.support[places[is_compared]]
            alike = fuse(alike, support, self.calibration)
        if self.neighbourhoods is not None:
            alike = self.neighbourhoods.mix_pairs(alike, pairs)
        return self._lowered(alike, first, second)

    def _support_of_columns(self, first: LabelArray, second: LabelArray) -> Values | None:
        """Return the log-odds of pairs from metadata columns as a new array; None if no column is used."""
        if self.context is None or self.calibration is None or not self.calibration.columns:
            return None
        return self.context.support(first, second, self.calibration.columns)

    def _lowered(self, alike: FloatArray, first: LabelArray, second: LabelArray) -> FloatArray:
        """Return similarities, with the smallest value for pairs that differ in a required column."""
        if self.context is not None and len(self.context.same):
            alike[self.context.forbids(first, second)] = LEAST_SIMILARITY
        return alike

    def allowing_all(self) -> "Pool":
        """Return the pool without required columns, so that the evidence of images is learned from all pairs."""
        context = self.context
        return self if context is None else replace(self, context=replace(context, same=context.same[:0]))

    def without_forbidden(self, pairs: LabelArray) -> LabelArray:
        """Return those of ``(m, 2)`` pairs that do not differ in a required column."""
        return pairs if self.context is None else pairs[~self.context.forbids(*pairs.T)]

    def subset(self, rows: LabelArray) -> "Pool":
        """Return some of the images as a pool, with the same similarities.

        Args:
            rows: Rows of these images, distinct.

        Returns:
            These images in the order of ``rows``; hubness and neighbourhoods stay those of this pool.
        """
        first, second, support = self._compared(rows, rows)
        keys = first * len(rows) + second
        order = np.argsort(keys)
        return Pool(
            self.embeddings[rows],
            self.calibration,
            None if self.hubness is None else self.hubness[rows],
            keys[order],
            support[order],
            None if self.neighbourhoods is None else self.neighbourhoods.subset(rows),
            None if self.context is None else self.context.subset(rows),
            self.limits,
        )

    def _compared(self, rows: LabelArray, columns: LabelArray) -> tuple[LabelArray, LabelArray, Values]:
        """Return the compared pairs among images: places in ``rows``, places in ``columns``, and log-odds."""
        starts, stops = (np.searchsorted(self.keys, edges * len(self)) for edges in (rows, rows + 1))
        n_partners = stops - starts
        first = np.repeat(np.arange(len(rows)), n_partners)
        entries = np.arange(len(first)) + np.repeat(starts - (np.cumsum(n_partners) - n_partners), n_partners)
        partners = self.keys[entries] % max(1, len(self))
        order = np.argsort(columns, kind="stable")
        second = np.append(order, 0)[np.searchsorted(columns, partners, sorter=order)]
        is_there = columns[second] == partners if len(columns) else np.zeros(len(partners), dtype=bool)
        return first[is_there], second[is_there], self.support[entries[is_there]]


def similarity_matrix(pool: Pool) -> FloatArray:
    """Return the similarities of all pairs of a small pool, for notebooks.

    Args:
        pool: Pool of ``n`` images; the matrix takes ``4 n²`` bytes.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric, 1 on the diagonal.
    """
    every = np.arange(len(pool))
    matrix = pool.between(every, every)
    np.fill_diagonal(matrix, 1.0)
    return matrix
