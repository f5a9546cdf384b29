"""A pool whose matrix of similarities is never made: what its similarities are computed from, whenever some are needed.

Whatever looks at such similarities finds, bit for bit, those of :func:`skinbit.matching.similarity.pool_similarities`.
"""

from dataclasses import dataclass

import numpy as np

from skinbit.matching.calibration import Calibration, fuse
from skinbit.matching.pairs import FloatArray, LabelArray
from skinbit.matching.scaling import Crowding, scale


@dataclass(frozen=True)
class LargePool:
    """Images, and what makes similarities of their embeddings; from :func:`large_pool`.

    Attributes:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        calibration: Fitted on pairs of other lesions; none: similarities are cosines, scaled or not.
        crowded: ``(n,)`` crowding of the images; none: cosines are not scaled.
        keys: ``(2 m,)`` ``row · n + other row`` of every pair whose keypoints were compared, both ways, ascending.
        inliers: ``(2 m,)`` keypoints on which they agree.
    """

    embeddings: FloatArray
    calibration: Calibration | None
    crowded: Crowding | None
    keys: LabelArray
    inliers: LabelArray

    def __len__(self) -> int:
        """Count the images."""
        return len(self.embeddings)

    def fuse_block(self, cosines: FloatArray, rows: LabelArray, columns: LabelArray) -> FloatArray:
        """Turn the cosines of some images with others into similarities.

        Args:
            cosines: ``(height, width)`` float32.
            rows: ``(height,)`` of the first images, no one twice.
            columns: ``(width,)`` of the second images, no one twice.

        Returns:
            ``(height, width)`` float32 in [-1, 1].
        """
        alike = cosines
        if self.crowded is not None:
            alike = scale(cosines, self.crowded[rows][:, None], self.crowded[columns])
        if self.calibration is None:
            return alike
        fused = fuse(alike, None, self.calibration)
        first, second, inliers = self._listed(rows, columns)
        fused[first, second] = fuse(alike[first, second], inliers, self.calibration)
        return fused

    def fuse_pairs(self, cosines: FloatArray, pairs: LabelArray) -> FloatArray:
        """Turn the cosines of single pairs into similarities.

        Args:
            cosines: ``(m,)`` float32.
            pairs: ``(m, 2)`` rows of both images.

        Returns:
            ``(m,)`` float32 in [-1, 1].
        """
        alike = cosines
        if self.crowded is not None:
            alike = scale(cosines, self.crowded[pairs[:, 0]], self.crowded[pairs[:, 1]])
        if self.calibration is None:
            return alike
        keys = pairs[:, 0] * len(self) + pairs[:, 1]
        places = np.searchsorted(self.keys, keys)
        is_listed = np.append(self.keys, -1)[places] == keys
        fused = fuse(alike, None, self.calibration)
        fused[is_listed] = fuse(alike[is_listed], self.inliers[places[is_listed]], self.calibration)
        return fused

    def subset(self, rows: LabelArray) -> "LargePool":
        """Give some of its images, with the similarities that they have in the pool.

        Args:
            rows: Of these images, no one twice.

        Returns:
            These images in the order of ``rows``; their surroundings stay those of the pool.
        """
        first, second, inliers = self._listed(rows, rows)
        keys = first * len(rows) + second
        order = np.argsort(keys)
        crowded = None if self.crowded is None else self.crowded[rows]
        return LargePool(self.embeddings[rows], self.calibration, crowded, keys[order], inliers[order])

    def _listed(self, rows: LabelArray, columns: LabelArray) -> tuple[LabelArray, LabelArray, LabelArray]:
        """Give the compared pairs among some images: places in ``rows``, places in ``columns``, and inliers."""
        starts, stops = (np.searchsorted(self.keys, edges * len(self)) for edges in (rows, rows + 1))
        n_partners = stops - starts
        first = np.repeat(np.arange(len(rows)), n_partners)
        entries = np.arange(len(first)) + np.repeat(starts - (np.cumsum(n_partners) - n_partners), n_partners)
        partners = self.keys[entries] % max(1, len(self))
        order = np.argsort(columns, kind="stable")
        second = np.append(order, 0)[np.searchsorted(columns, partners, sorter=order)]
        is_there = columns[second] == partners if len(columns) else np.zeros(len(partners), dtype=bool)
        return first[is_there], second[is_there], self.inliers[entries[is_there]]


Similarities = FloatArray | LargePool
"""Those of all pairs: ``(n, n)`` float32 in [-1, 1], symmetric, or what they are computed from."""


def large_pool(
    embeddings: FloatArray,
    pairs: LabelArray | None = None,
    inliers: LabelArray | None = None,
    calibration: Calibration | None = None,
    crowded: Crowding | None = None,
) -> LargePool:
    """Prepare a pool.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        pairs: ``(m, 2)`` rows of pairs whose keypoints were compared, each unordered pair once; none: no such pairs.
        inliers: ``(m,)`` keypoints on which these agree.
        calibration: Fitted on pairs of other lesions; none: similarities are cosines, and ``pairs`` do not count.
        crowded: From :func:`skinbit.matching.scaling.crowding`; none: cosines are not scaled.

    Returns:
        The pool.
    """
    if calibration is None or pairs is None or inliers is None:
        return LargePool(embeddings, calibration, crowded, np.empty(0, np.int64), np.empty(0, np.int64))
    keys = np.concatenate([pairs[:, 0] * len(embeddings) + pairs[:, 1], pairs[:, 1] * len(embeddings) + pairs[:, 0]])
    order = np.argsort(keys)
    return LargePool(embeddings, calibration, crowded, keys[order], np.tile(inliers, 2)[order])
