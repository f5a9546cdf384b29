"""A pool of images: their embeddings, and what makes similarities of them.

Whatever looks at a pool computes the similarities that it needs, of rectangles of the matrix or of single pairs; both
give the same values, bit for bit.
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
    """Limits on what is held in memory of a pool's pairs; none changes a metric that is certain.

    Attributes:
        tile_bytes: Memory for a tile of similarities and for looking at it.
        most_pairs: Near pairs held at most, 2 or more; where certainty takes more, methods stay uncertain.
        first_pairs: Near pairs that are collected first, at least 80 per image; if they are not enough, as many as may
            be held.
        pairs_at_once: Single pairs that are compared at once while groups merge.
        few_pairs: Of two groups with more pairs of images than that, a matrix product is faster than single pairs.
    """

    tile_bytes: int = 2**26
    most_pairs: int = 30_000_000
    first_pairs: int = 2**21
    pairs_at_once: int = 2**18
    few_pairs: int = 2**6


DEFAULT_LIMITS = Limits()
"""64 MB, tiles of about 1,600 by 1,600 images; some 1 GB while pairs are put in order."""


def limits_of(memory: MemoryParams) -> Limits:
    """Return the limits that a user sets."""
    return replace(tiles_of(memory.tile_megabytes), most_pairs=memory.max_pairs)


def tiles_of(megabytes: float) -> Limits:
    """Return the limits of whatever looks at all pairs and holds none."""
    return Limits(tile_bytes=max(1, int(megabytes * 2**20)))


def _nothing() -> LabelArray:
    return np.empty(0, dtype=np.int64)


def _no_values() -> Values:
    return np.empty(0)


LEAST_SIMILARITY = -1.0
"""Of pairs that cannot show one lesion, as columns differ in which they must agree."""

_PAIRS_AT_ONCE = 256
"""Single pairs whose embeddings are gathered at once: they stay in the processor's cache."""


@dataclass(frozen=True)
class Pool:
    """Images, and what makes similarities of their embeddings; see :func:`skinbit.matching.assembly.pool_of`.

    Attributes:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        calibration: Fitted on pairs of other lesions; None: similarities are cosines, scaled or not.
        hubness: ``(n,)`` hubness of the images; None: cosines are not scaled.
        keys: ``(2 m,)`` ``row · n + other row`` of every pair whose keypoints were compared, both ways, ascending.
        support: ``(2 m,)`` log-odds that their keypoints add.
        neighbourhoods: Of the images; None: similarities are not re-ranked.
        context: Columns of the metadata; None: none counts.
        limits: How much is held of its pairs at once by whatever looks at them.
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
        """Count the images."""
        return len(self.embeddings)

    @property
    def n_pairs(self) -> int:
        """Count the unordered pairs of images."""
        return len(self) * (len(self) - 1) // 2

    def between(self, rows: LabelArray, columns: LabelArray) -> FloatArray:
        """Return the similarity of each of some images with each of others.

        Args:
            rows: ``(height,)``, no one twice.
            columns: ``(width,)``, no one twice.

        Returns:
            ``(height, width)`` float32 in [-1, 1]; what stands there for an image with itself means nothing.
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
        """Return what columns of the metadata add to the log-odds of pairs, in an array of its own, if any counts."""
        if self.context is None or self.calibration is None or not self.calibration.columns:
            return None
        return self.context.support(first, second, self.calibration.columns)

    def _lowered(self, alike: FloatArray, first: LabelArray, second: LabelArray) -> FloatArray:
        """Return similarities, the least of all where columns differ that must agree."""
        if self.context is not None and len(self.context.same):
            alike[self.context.forbids(first, second)] = LEAST_SIMILARITY
        return alike

    def allowing_all(self) -> "Pool":
        """Return the same images as if no column had to agree: what pictures say is learned from all pairs."""
        context = self.context
        return self if context is None else replace(self, context=replace(context, same=context.same[:0]))

    def without_forbidden(self, pairs: LabelArray) -> LabelArray:
        """Return those of ``(m, 2)`` pairs that do not differ in a column in which they must agree."""
        return pairs if self.context is None else pairs[~self.context.forbids(*pairs.T)]

    def subset(self, rows: LabelArray) -> "Pool":
        """Return some of the images as a pool, with the similarities that they have in this one.

        Args:
            rows: Of these images, no one twice.

        Returns:
            These images in the order of ``rows``; their surroundings and neighbourhoods stay those of this pool.
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
        """Return the compared pairs among some images: places in ``rows``, places in ``columns``, and support."""
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
    """Return the similarities of all pairs of a small pool, for a look at them in a notebook.

    Args:
        pool: Of ``n`` images; the matrix takes ``4 n²`` bytes.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric, 1 on the diagonal.
    """
    every = np.arange(len(pool))
    matrix = pool.between(every, every)
    np.fill_diagonal(matrix, 1.0)
    return matrix
