"""The pairs of a pool whose keypoints were compared, and how they are written down."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.matching.labels import LabelArray

SHORTLIST = ["image_a", "image_b", "inliers", "zoom"]
"""Columns of a shortlist."""


@dataclass(frozen=True)
class Shortlist:
    """The pairs of one pool whose keypoints were compared.

    Attributes:
        pairs: ``(m, 2)`` rows of their images, each pair once, the lower row first.
        inliers: ``(m,)`` keypoints on which the two agree.
        zooms: ``(m,)`` float64, from the smaller of the two to the larger, in [1, 4]; 1 without inliers.
    """

    pairs: LabelArray
    inliers: LabelArray
    zooms: NDArray[np.float64]


NO_SHORTLIST = Shortlist(np.empty((0, 2), np.int64), np.empty(0, np.int64), np.empty(0))
"""Where no keypoints were compared."""


def join_shortlists(first: Shortlist, second: Shortlist) -> Shortlist:
    """Return the pairs of two shortlists of one pool that share none, ascending."""
    pairs, inliers, zooms = (
        np.concatenate(both) for both in zip(*(vars(s).values() for s in (first, second)), strict=True)
    )
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Shortlist(pairs[order], inliers[order], zooms[order])


def inliers_of(shortlist: Shortlist, pairs: LabelArray) -> list[int | None]:
    """Return on how many keypoints pairs, ``(m, 2)`` rows in any order, agree; None where they were not compared."""
    found = {
        (one, other): n for (one, other), n in zip(shortlist.pairs.tolist(), shortlist.inliers.tolist(), strict=True)
    }
    return [found.get((one, other)) for one, other in np.sort(pairs, axis=1).tolist()]


def shortlist_table(shortlist: Shortlist, image_ids: Sequence[str]) -> pd.DataFrame:
    """Write a shortlist down by image.

    Args:
        shortlist: Of a pool.
        image_ids: Of its images.

    Returns:
        ``image_a, image_b, inliers, zoom``.
    """
    ids = np.asarray(image_ids, dtype=object)
    columns = (ids[shortlist.pairs[:, 0]], ids[shortlist.pairs[:, 1]], shortlist.inliers, shortlist.zooms)
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
    return Shortlist(np.sort(pairs, axis=1), *_agreement(table))


def row_table(shortlist: Shortlist) -> pd.DataFrame:
    """Write a shortlist down by the rows of its images.

    Args:
        shortlist: Of a pool whose image ids need not differ: new photographs and known ones may share some.

    Returns:
        ``row_a, row_b, inliers, zoom``.
    """
    columns = {"row_a": shortlist.pairs[:, 0], "row_b": shortlist.pairs[:, 1]}
    return pd.DataFrame({**columns, "inliers": shortlist.inliers, "zoom": shortlist.zooms})


def read_rows(table: pd.DataFrame) -> Shortlist:
    """Read a shortlist.

    Args:
        table: From :func:`row_table`.

    Returns:
        The shortlist.
    """
    return Shortlist(table[["row_a", "row_b"]].to_numpy(np.int64), *_agreement(table))


def _agreement(table: pd.DataFrame) -> tuple[LabelArray, NDArray[np.float64]]:
    return table["inliers"].to_numpy(np.int64), table["zoom"].to_numpy(np.float64)
