"""Links of a group of new photographs: pairs with matched keypoints that connect it, and their drawings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinbit.config import GeometryParams
from skinbit.data.photographs import Photographs
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.report.drawings import KeypointPhotographs, draw_pairs, strongest_links

_N_LINKS = 3
"""Largest number of links of a group."""

Rows = tuple[int, int]


@dataclass(frozen=True)
class FoundLink:
    """Two photographs of a group with matched keypoints.

    Attributes:
        cluster_id: Number of the group.
        rows: Rows of both, lower row first; new photographs come before known ones.
        inliers: Number of matched keypoints, at least 1.
    """

    cluster_id: int
    rows: Rows
    inliers: int


def find_links(
    groups: Sequence[Mapping[str, Any]], new_ids: Sequence[str], known_ids: Sequence[str], shortlist: Shortlist
) -> list[list[FoundLink]]:
    """Return the strongest links of each group that has links, in the order of the page.

    Args:
        groups: From :func:`skinbit.matching.group_documents.describe_groups`.
        new_ids: Ids of the new photographs.
        known_ids: Ids of the known photographs, which may be the same as new ones.
        shortlist: The compared pairs.
    """
    ordered = sorted(groups, key=_urgency)
    new_rows = {image_id: row for row, image_id in enumerate(new_ids)}
    known_rows = {image_id: row for row, image_id in enumerate(known_ids, len(new_ids))}
    members = [
        ([new_rows[image_id] for image_id in group["image_ids"]], [known_rows[each] for each in group["known_ids"]])
        for group in ordered
    ]
    links = strongest_links(members, shortlist, _N_LINKS)
    return [
        [FoundLink(group["cluster_id"], (a, b), inliers) for a, b, inliers in found]
        for group, found in zip(ordered, links, strict=True)
        if found
    ]


def _urgency(group: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """Return what the page sorts groups by: contradictions, those to be checked, then the smallest margin."""
    return not group["contradictory_ids"], not group["doubts"], math.inf if group["margin"] is None else group["margin"]


def draw_rows(
    photographs: Photographs,
    keypoints: KeypointTable,
    pairs: Sequence[Rows],
    geometry: GeometryParams,
    n_workers: int,
) -> dict[Rows, str]:
    """Return drawings of pairs of photographs with their matched keypoints.

    Args:
        photographs: Photographs, of which only the drawn ones are read.
        keypoints: Keypoints of all photographs, in their order.
        pairs: Rows of the photographs, each pair once.
        geometry: How keypoints are compared.
        n_workers: Number of threads; changes only the speed.

    Returns:
        ``data:`` address of each pair.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """
    made = draw_pairs(pairs, KeypointPhotographs(keypoints, photographs.decode), geometry, n_workers)
    return dict(zip(pairs, made, strict=True))


def link_records(
    linked: Sequence[Sequence[FoundLink]], image_ids: Sequence[str], drawings: Mapping[Rows, str]
) -> list[dict[str, Any]]:
    """Return ``cluster_id, image_ids, inliers, drawing`` of each link; the drawing is None if there is none."""
    return [
        {
            "cluster_id": link.cluster_id,
            "image_ids": [image_ids[row] for row in link.rows],
            "inliers": link.inliers,
            "drawing": drawings.get(link.rows),
        }
        for links in linked
        for link in links
    ]
