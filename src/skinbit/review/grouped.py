"""What is reviewed: photographs, the groups that a run made of them, and the pairs that may be asked about."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from skinbit.data.photographs import Photographs
from skinbit.decisions.certified import Frozen
from skinbit.matching.clustering.merges import root_of
from skinbit.matching.expected.candidates import SURE_POINTS, Candidates
from skinbit.matching.expected.odds import LogOdds, PairOdds
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.labels import LabelArray, first_of_lesion, known_labels
from skinbit.matching.similarity.columns import describe_rows

Rows = tuple[int, int]

_UNKNOWN = 0.25
"""Taken for the probability that a pair is not what the run made of it, where none is known."""


@dataclass(frozen=True)
class Grouped:
    """The photographs of a run, new ones before known ones, and what it made of them.

    Attributes:
        photographs: Where they are, with the hash of each.
        lesions: The known lesion of each photograph; empty of a new one.
        said: What the metadata says of each, where columns count.
        group_of: ``(n,)`` the group of each photograph; known lesions that no new photograph joins have numbers after
            those of the groups.
        probability_of: Of pairs, that both show one lesion, as the model says; NaN where nothing is known.
        inliers: On how many points two photographs agree, of the pairs whose keypoints were compared.
        model: Its name.
        document: The groups as the run wrote them down.
        drawn_from: The pairs of which a certificate draws.
        folds: Odds of the folds of the model.
    """

    photographs: Photographs
    lesions: tuple[str, ...]
    said: tuple[str, ...]
    group_of: LabelArray
    probability_of: Mapping[Rows, float]
    inliers: Mapping[Rows, int]
    model: str
    document: Mapping[str, Any]
    drawn_from: Candidates
    folds: tuple[PairOdds, ...]

    @cached_property
    def frozen(self) -> Frozen | None:
        """Return the groups to certify; None of those that cannot be, around known lesions or without odds."""
        log_odds, expected = self.document["log_odds"], self.document["expected"]
        if any(self.lesions) or log_odds is None or expected is None:
            return None
        prior = PoolPrior(LogOdds(**log_odds), expected["n_positive_pairs"], self.folds)
        return Frozen(
            self.group_of, self.drawn_from, self.hashes, prior, (self.document["answers"] or {}).get("read", 0)
        )

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
        known = [lesion for lesion in self.lesions if lesion]
        return known_labels(known, len(self.lesions) - len(known))

    @cached_property
    def joined(self) -> LabelArray:
        """Return what is one lesion without any answer, ``(m, 2)`` rows: of a known lesion, and copies of one file."""
        copies = np.unique(self.hashes, return_inverse=True)[1].astype(np.int64)
        return np.concatenate([first_of_lesion(self.known), first_of_lesion(copies)])

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Return the row of each photograph by its hash; of copies of one file the first."""
        return {photograph: row for row, photograph in reversed([*enumerate(self.hashes)])}

    @cached_property
    def sizes(self) -> list[int]:
        """Return the number of photographs of each group."""
        sizes: list[int] = np.bincount(self.group_of).tolist()
        return sizes

    @cached_property
    def candidates(self) -> Candidates:
        """Return the pairs that may be asked about, the most probable ones first; of copies of one file the first."""
        agreeing = [pair for pair, n_points in self.inliers.items() if n_points >= SURE_POINTS]
        told = dict.fromkeys(agreeing, 0.0) | {
            pair: self._or_unknown(pair, probability) for pair, probability in self.probability_of.items()
        }
        probabilities: dict[Rows, float] = {}
        for (first, second), probability in told.items():
            pair = _pair((self.row_of[self.hashes[first]], self.row_of[self.hashes[second]]))
            if pair[0] != pair[1]:
                probabilities[pair] = max(probability, probabilities.get(pair, 0.0))
        pairs = sorted(probabilities, key=lambda pair: (-probabilities[pair], pair))
        return Candidates(
            pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
            probabilities=np.array([probabilities[pair] for pair in pairs], dtype=np.float64),
            inliers=np.array([self.inliers.get(pair, -1) for pair in pairs], dtype=np.int64),
        )

    def _or_unknown(self, pair: Rows, probability: float) -> float:
        is_inside = self.group_of[pair[0]] == self.group_of[pair[1]]
        return (1.0 - _UNKNOWN if is_inside else _UNKNOWN) if math.isnan(probability) else probability


def assemble(
    photographs: Photographs,
    document: Mapping[str, Any],
    partners: pd.DataFrame,
    known: pd.DataFrame,
    pairs: tuple[Shortlist, Candidates],
    said: tuple[pd.DataFrame, Sequence[str]],
    model: tuple[str, Sequence[PairOdds]],
) -> Grouped:
    """Return what a run made of its photographs.

    Args:
        photographs: New ones, then known ones.
        document: The groups, from :func:`skinbit.matching.group_documents.describe_groups`.
        partners: Of the new ones, from :func:`skinbit.matching.group_documents.partner_table`.
        known: ``image_id, …, lesion_id``.
        pairs: Those whose keypoints were compared, and those of which a certificate draws.
        said: Columns of all photographs, and which of them may be shown.
        model: Its name, and the odds of its folds.

    Raises:
        LookupError: If these are not of the same photographs.
        ValueError: Likewise.
    """
    image_ids = [image_id for _, image_id in photographs.places]
    n_new = len(image_ids) - len(known)
    new_rows = {image_id: row for row, image_id in enumerate(image_ids[:n_new])}
    known_rows = {image_id: row for row, image_id in enumerate(image_ids[n_new:], n_new)}
    groups = document["groups"]
    if sorted(new_rows) != sorted(each for group in groups for each in group["image_ids"]):
        raise ValueError("the groups are not of these photographs")
    members = [
        [*(new_rows[each] for each in group["image_ids"]), *(known_rows[each] for each in group["known_ids"])]
        for group in groups
    ]
    labels = known_labels(known["lesion_id"].tolist(), n_new)
    group_of = labels + len(groups)
    for number, rows in enumerate(members):
        group_of[rows] = number
    is_known = partners["lesion_id"] != "" if "lesion_id" in partners else np.zeros(len(partners), dtype=bool)
    others = [
        (known_rows if of_known else new_rows)[partner]
        for partner, of_known in zip(partners["partner"], is_known, strict=True)
    ]
    shortlist, drawn_from = pairs
    listed = zip(partners["image_id"].map(new_rows), others, strict=True)
    probability_of = dict(zip(map(_pair, listed), partners["probability"].astype(float), strict=True))
    inliers = dict(zip(map(_pair, shortlist.pairs.tolist()), shortlist.inliers.tolist(), strict=True))
    inside = [group["probability_inside"] for group in groups]
    for pair, number in _missing_links(probability_of, members, labels, inliers).items():
        probability_of[pair] = math.nan if inside[number] is None else inside[number]
    return Grouped(
        photographs=photographs,
        lesions=("",) * n_new + tuple(known["lesion_id"]),
        said=tuple(describe_rows(*said)),
        group_of=group_of,
        probability_of=probability_of,
        inliers=inliers,
        model=model[0],
        document=document,
        drawn_from=drawn_from,
        folds=tuple(model[1]),
    )


def _pair(rows: Sequence[int]) -> Rows:
    first, second = sorted(rows)
    return first, second


def _missing_links(
    pairs: Mapping[Rows, float], members: Sequence[Sequence[int]], known: LabelArray, inliers: Mapping[Rows, int]
) -> dict[Rows, int]:
    """Return the links that groups need beside some pairs, those with most points first, and the group of each.

    Their own probability is not known.
    """
    group_of = {row: number for number, rows in enumerate(members) for row in rows}
    root = dict(zip(group_of, group_of, strict=True))

    def join(pair: Sequence[int]) -> bool:
        if group_of.get(pair[0], -1) != group_of.get(pair[1], -2):
            return False
        one, other = root_of(root, pair[0]), root_of(root, pair[1])
        root[other] = one
        return one != other

    for pair in (*first_of_lesion(known).tolist(), *pairs):
        join(pair)
    agreeing = sorted((pair for pair, n_points in inliers.items() if n_points), key=lambda pair: (-inliers[pair], pair))
    chains = (pair for rows in members for pair in pairwise(sorted(rows)))
    return {_pair(pair): group_of[pair[0]] for pair in (*agreeing, *chains) if join(pair)}
