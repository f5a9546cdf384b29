"""The pairs of a pool whose keypoints were compared, in memory and as tables."""

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
    """The pairs of a pool whose keypoints were compared.

    Attributes:
        pairs: ``(m, 2)`` rows of both images, each pair once, lower row first.
        inliers: ``(m,)``, number of keypoints on which both images agree.
        zooms: ``(m,)`` float64, zooms from the smaller to the larger image, in [1, 4]; 1 without inliers.
    """

    pairs: LabelArray
    inliers: LabelArray
    zooms: NDArray[np.float64]


NO_SHORTLIST = Shortlist(np.empty((0, 2), np.int64), np.empty(0, np.int64), np.empty(0))
"""The shortlist if no keypoints were compared."""


def join_shortlists(first: Shortlist, second: Shortlist) -> Shortlist:
    """Return two disjoint shortlists of one pool as one, ascending."""
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
    """Return a shortlist as a table of image ids.

    Args:
        shortlist: Shortlist of a pool.
        image_ids: Image ids of the pool.

    Returns:
        ``image_a, image_b, inliers, zoom``.
    """
    ids = np.asarray(image_ids, dtype=object)
    columns = (ids[shortlist.pairs[:, 0]], ids[shortlist.pairs[:, 1]], shortlist.inliers, shortlist.zooms)
    return pd.DataFrame(dict(zip(SHORTLIST, columns, strict=True))).astype({"image_a": "str", "image_b": "str"})


def read_shortlist(table: pd.DataFrame | None, image_ids: Sequence[str]) -> Shortlist:
    """Return a shortlist from a table of image ids.

    Args:
        table: Table from :func:`shortlist_table`; None if no keypoints were compared.
        image_ids: Image ids of the pool, in the order of its embeddings.

    """
    if table is None:
        return NO_SHORTLIST
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    pairs = np.stack([table[column].map(row_of).to_numpy(np.int64) for column in SHORTLIST[:2]], axis=1)
    return Shortlist(np.sort(pairs, axis=1), *_agreement(table))


def row_table(shortlist: Shortlist) -> pd.DataFrame:
    """Return a shortlist as a table of rows.

    Args:
        shortlist: Shortlist of a pool; new and known photographs may share image ids.

    Returns:
        ``row_a, row_b, inliers, zoom``.
    """
    columns = {"row_a": shortlist.pairs[:, 0], "row_b": shortlist.pairs[:, 1]}
    return pd.DataFrame({**columns, "inliers": shortlist.inliers, "zoom": shortlist.zooms})


def read_rows(table: pd.DataFrame) -> Shortlist:
    """Return a shortlist from a table of rows.

    Args:
        table: Table from :func:`row_table`.

    """
    return Shortlist(table[["row_a", "row_b"]].to_numpy(np.int64), *_agreement(table))


def _agreement(table: pd.DataFrame) -> tuple[LabelArray, NDArray[np.float64]]:
    return table["inliers"].to_numpy(np.int64), table["zoom"].to_numpy(np.float64)
