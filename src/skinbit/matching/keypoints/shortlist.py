"""The pairs of a pool whose keypoints were compared, and how they are written down."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skinbit.matching.labels import LabelArray

SHORTLIST = ["image_a", "image_b", "inliers"]
"""Columns of a shortlist."""


@dataclass(frozen=True)
class Shortlist:
    """The pairs of one pool whose keypoints were compared.

    Attributes:
        pairs: ``(m, 2)`` rows of their images, each pair once, the lower row first.
        inliers: ``(m,)`` keypoints on which the two agree.
    """

    pairs: LabelArray
    inliers: LabelArray


NO_SHORTLIST = Shortlist(np.empty((0, 2), np.int64), np.empty(0, np.int64))
"""Where no keypoints were compared."""


def shortlist_table(shortlist: Shortlist, image_ids: Sequence[str]) -> pd.DataFrame:
    """Write a shortlist down by image.

    Args:
        shortlist: Of a pool.
        image_ids: Of its images.

    Returns:
        ``image_a, image_b, inliers``.
    """
    ids = np.asarray(image_ids, dtype=object)
    columns = (ids[shortlist.pairs[:, 0]], ids[shortlist.pairs[:, 1]], shortlist.inliers)
    return pd.DataFrame(dict(zip(SHORTLIST, columns, strict=True))).astype({"image_a": "str", "image_b": "str"})


def read_shortlist(table: pd.DataFrame | None, image_ids: Sequence[str]) -> Shortlist:
    """Find the rows of a shortlist's images.

    Args:
        table: From :func:`shortlist_table`; none where no keypoints were compared.
        image_ids: Of the pool, in the order of its embeddings.

    Returns:
        The shortlist.
    """
    if table is None:
        return NO_SHORTLIST
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    pairs = np.stack([table[column].map(row_of).to_numpy(np.int64) for column in SHORTLIST[:2]], axis=1)
    return Shortlist(np.sort(pairs, axis=1), table["inliers"].to_numpy(np.int64))


def row_table(shortlist: Shortlist) -> pd.DataFrame:
    """Write a shortlist down by the rows of its images.

    Args:
        shortlist: Of a pool whose image ids need not differ: new photographs and known ones may share some.

    Returns:
        ``row_a, row_b, inliers``.
    """
    return pd.DataFrame({"row_a": shortlist.pairs[:, 0], "row_b": shortlist.pairs[:, 1], "inliers": shortlist.inliers})


def read_rows(table: pd.DataFrame) -> Shortlist:
    """Read a shortlist.

    Args:
        table: From :func:`row_table`.

    Returns:
        The shortlist.
    """
    return Shortlist(table[["row_a", "row_b"]].to_numpy(np.int64), table["inliers"].to_numpy(np.int64))
