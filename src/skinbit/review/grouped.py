"""What is reviewed: photographs, the groups that a run made of them, and the links that hold these together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from skinbit.data.photographs import Photographs
from skinbit.matching.clustering.merges import root_of
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.labels import LabelArray, first_of_lesion, lesion_labels
from skinbit.matching.similarity.columns import describe_rows

Rows = tuple[int, int]


@dataclass(frozen=True)
class Link:
    """Two photographs that a model took for one lesion, or for as good as one.

    Attributes:
        rows: The lower one first.
        probability: That both show one lesion; NaN where nothing is known.
        is_inside: Whether both are in one group of the run.
    """

    rows: Rows
    probability: float
    is_inside: bool


@dataclass(frozen=True)
class Grouped:
    """The photographs of a run, new ones before known ones, and what it made of them.

    Attributes:
        photographs: Where they are, with the hash of each.
        lesions: The known lesion of each photograph; empty of a new one.
        said: What the metadata says of each, where columns count.
        group_of: ``(n,)`` the group of each photograph; -1 of known lesions that no new photograph joins.
        doubts: By group, why a person should look at it.
        links: See :class:`Link`; each pair once, the most probable ones first.
        inliers: On how many points two photographs agree, of the pairs whose keypoints were compared.
        model: Its name.
        document: The groups as the run wrote them down.
    """

    photographs: Photographs
    lesions: tuple[str, ...]
    said: tuple[str, ...]
    group_of: LabelArray
    doubts: tuple[tuple[str, ...], ...]
    links: tuple[Link, ...]
    inliers: Mapping[Rows, int]
    model: str
    document: Mapping[str, Any]

    @cached_property
    def hashes(self) -> list[str]:
        """Return the SHA-256 of each photograph."""
        return self.photographs.hashes

    @cached_property
    def names(self) -> list[str]:
        """Return the image id of each photograph."""
        return [image_id for _, image_id in self.photographs.places]

    @cached_property
    def known(self) -> LabelArray:
        """Return the known lesion of each photograph as a number, -1 of new ones."""
        return number_lesions(self.lesions)

    @cached_property
    def sizes(self) -> list[int]:
        """Return the number of photographs of each group."""
        sizes: list[int] = np.bincount(self.group_of[self.group_of >= 0]).tolist()
        return sizes

    @cached_property
    def probability_of(self) -> dict[Rows, float]:
        """Return the probability of each link that has one."""
        return {link.rows: link.probability for link in self.links if not math.isnan(link.probability)}


def assemble(
    photographs: Photographs,
    clustered: pd.DataFrame,
    document: Mapping[str, Any],
    known: pd.DataFrame,
    shortlist: Shortlist,
    said: tuple[pd.DataFrame, Sequence[str]],
    model: str,
) -> Grouped:
    """Return what a run made of its photographs.

    Args:
        photographs: New ones, then known ones.
        clustered: ``image_id, …, probability_of_nearest`` of the new ones.
        document: The groups, from :func:`skinbit.matching.group_documents.describe_groups`.
        known: ``image_id, …, lesion_id``.
        shortlist: The pairs whose keypoints were compared.
        said: Columns of all photographs, and which of them may be shown.
        model: Its name.
    """
    lesions = ("",) * len(clustered) + tuple(known["lesion_id"])
    inliers = dict(zip(map(_pair, shortlist.pairs.tolist()), shortlist.inliers.tolist(), strict=True))
    members = _members(document["groups"], clustered["image_id"].tolist(), known["image_id"].tolist())
    group_of = np.full(len(lesions), -1, dtype=np.int64)
    for number, rows in enumerate(members):
        group_of[rows] = number
    links = _nearest_links(clustered, document["nearest"], known["image_id"].tolist(), group_of)
    links |= _missing_links(links, document["groups"], members, number_lesions(lesions), inliers)
    ordered = sorted(links.items(), key=lambda link: (-np.nan_to_num(link[1], nan=0.5), link[0]))
    return Grouped(
        photographs=photographs,
        lesions=lesions,
        said=tuple(describe_rows(*said)),
        group_of=group_of,
        doubts=tuple(tuple(group["doubts"]) for group in document["groups"]),
        links=tuple(Link(rows, p, bool(group_of[rows[0]] == group_of[rows[1]])) for rows, p in ordered),
        inliers=inliers,
        model=model,
        document=document,
    )


def number_lesions(lesions: Sequence[str]) -> LabelArray:
    """Return known lesions as numbers, -1 where there is none."""
    is_known = np.array([bool(lesion) for lesion in lesions], dtype=bool)
    return np.where(is_known, lesion_labels(list(lesions)), -1)


def _pair(rows: Sequence[int]) -> Rows:
    first, second = sorted(rows)
    return first, second


def _members(groups: Iterable[Mapping[str, Any]], new: Sequence[str], known: Sequence[str]) -> list[list[int]]:
    new_rows = {image_id: row for row, image_id in enumerate(new)}
    known_rows = {image_id: row for row, image_id in enumerate(known, len(new))}
    return [
        [*(new_rows[each] for each in group["image_ids"]), *(known_rows[each] for each in group["known_ids"])]
        for group in groups
    ]


def _nearest_links(
    clustered: pd.DataFrame, nearest: Sequence[str], known: Sequence[str], group_of: LabelArray
) -> dict[Rows, float]:
    """Return every new photograph with its nearest, and their probability."""
    rows_of: dict[str, list[int]] = {}
    for row, image_id in enumerate([*clustered["image_id"], *known]):
        rows_of.setdefault(image_id, []).append(row)
    links: dict[Rows, float] = {}
    for row, (other, probability) in enumerate(zip(nearest, clustered["probability_of_nearest"], strict=True)):
        found = [each for each in rows_of.get(other, []) if each != row]
        if found:  # a new and a known photograph may share an id: the one in the group is meant
            partner = next((each for each in found if group_of[each] == group_of[row]), found[0])
            links[_pair((row, partner))] = float(probability)
    return links


def _missing_links(
    links: Mapping[Rows, float],
    groups: Sequence[Mapping[str, Any]],
    members: Sequence[Sequence[int]],
    known: LabelArray,
    inliers: Mapping[Rows, int],
) -> dict[Rows, float]:
    """Return the links that groups need beside those of nearest photographs, those with most points first.

    Their own probability is not known: that of their group's weakest link is taken.
    """
    group_of = {row: number for number, rows in enumerate(members) for row in rows}
    root = dict(zip(group_of, group_of, strict=True))
    missing: dict[Rows, float] = {}

    def join(pair: Sequence[int]) -> bool:
        one, other = root_of(root, pair[0]), root_of(root, pair[1])
        root[other] = one
        return one != other

    for pair in (*first_of_lesion(known).tolist(), *links):
        if group_of.get(pair[0], -1) == group_of.get(pair[1], -2):
            join(pair)
    agreed = sorted((pair for pair, n_points in inliers.items() if n_points), key=lambda pair: (-inliers[pair], pair))
    chains = (pair for rows in members for pair in pairwise(sorted(rows)))
    for pair in (*agreed, *chains):
        number = group_of.get(pair[0], -1)
        if number == group_of.get(pair[1], -2) and join(pair):
            probability = groups[number]["probability_inside"]
            missing[_pair(pair)] = math.nan if probability is None else probability
    return missing
