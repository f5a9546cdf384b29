"""Groups of new photographs as outputs: a table for the user, a document for the page."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.expected.marks import marked_groups
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.grouping import Doubts, Grouping, explain_doubts

_DIGITS = 4
"""Decimals of a probability; more would suggest certainty."""


def group_table(
    found: Grouping, image_ids: Sequence[str], log_odds: LogOdds | None, with_lesions: bool
) -> pd.DataFrame:
    """Return the groups of new photographs as a table.

    Args:
        found: The groups.
        image_ids: Ids of new, then of known photographs.
        log_odds: Log-odds of the pairs; None if unknown.
        with_lesions: Whether there are known lesions.

    Returns:
        ``image_id, cluster_id, similarity_to_nearest, probability_of_nearest``, and ``lesion_id`` with known lesions.
    """
    n_new, similarities = len(found.cluster_ids), found.similarities.astype(np.float64)
    probabilities = np.full(n_new, np.nan) if log_odds is None else log_odds.probabilities(similarities)
    table = pd.DataFrame(
        {
            "image_id": list(image_ids[:n_new]),
            "cluster_id": found.cluster_ids,
            "similarity_to_nearest": similarities,
            "probability_of_nearest": np.round(probabilities, _DIGITS),
        }
    )
    if with_lesions:
        table["lesion_id"] = [found.groups[group].lesion_id for group in found.cluster_ids]
    return table


def partner_table(
    found: Grouping,
    image_ids: Sequence[str],
    lesions: Sequence[str],
    log_odds: LogOdds | None,
    inliers: Sequence[int | None],
    evidence: Sequence[str],
) -> pd.DataFrame:
    """Return the most probable partners of new photographs as a table, whichever groups they are in.

    Args:
        found: The groups, and the partners.
        image_ids: Of new, then of known photographs.
        lesions: Of the known photographs.
        log_odds: Of the pairs; None: nothing is known.
        inliers: Of each of the pairs of photographs and partners; None where keypoints were not compared.
        evidence: What columns of the metadata say of both, likewise.

    Returns:
        ``image_id, partner, rank, similarity, probability, inliers, evidence, same_group``, and with known lesions
        ``lesion_id``, that of a known partner.
    """
    n_new, n_partners = found.partners.shape
    first, second = found.partner_pairs.T.tolist()
    similarities = found.similarities_to_partners.ravel().astype(np.float64)
    probabilities = np.full(len(first), np.nan) if log_odds is None else log_odds.probabilities(similarities)
    numbers = found.cluster_ids.tolist()
    lesion_of = [*(found.groups[number].lesion_id for number in numbers), *lesions]
    is_same = [
        numbers[one] == numbers[other] if other < n_new else lesion_of[one] == lesion_of[other]
        for one, other in zip(first, second, strict=True)
    ]
    table = pd.DataFrame(
        {
            "image_id": [image_ids[row] for row in first],
            "partner": [image_ids[row] for row in second],
            "rank": np.tile(np.arange(1, n_partners + 1), n_new),
            "similarity": similarities,
            "probability": np.round(probabilities, _DIGITS),
            "inliers": pd.array(list(inliers), dtype="Int64"),
            "evidence": list(evidence),
            "same_group": ["yes" if same else "no" for same in is_same],
        }
    )
    if len(lesions):
        table["lesion_id"] = [lesion_of[row] if row >= n_new else "" for row in second]
    return table


def describe_groups(
    found: Grouping,
    image_ids: Sequence[str],
    known: pd.DataFrame,
    cut: Cut,
    log_odds: LogOdds | None,
    most_images: int,
    contradictory: Collection[int] = (),
) -> dict[str, Any]:
    """Return the groups with reasons to review them, and the nearest photograph of each new one; plain values.

    Args:
        found: The groups.
        image_ids: Of new, then of known photographs.
        known: ``image_id, lesion_id`` of the known ones.
        cut: Where the groups were made.
        log_odds: Of the pairs; None: nothing is known.
        most_images: Of a lesion that takes part in training.
        contradictory: Rows of photographs whose answers contradict each other, new ones first.
    """
    group_of = [*found.cluster_ids.tolist(), *known["lesion_id"]]
    known_ids = known.groupby("lesion_id")["image_id"].agg(list).to_dict()
    sizes = np.array([len(group.members) + len(known_ids.get(group.lesion_id, [])) for group in found.groups], int)
    weakest = np.array([group.weakest_link for group in found.groups])
    unsure = None if log_odds is None else marked_groups(weakest, sizes, log_odds)
    groups = []
    for number, group in enumerate(found.groups):
        partners = known_ids.get(group.lesion_id, [])
        margin = group.margin(cut)
        marked = [image_ids[row] for row in contradictory if group_of[row] in {number, group.lesion_id or number}]
        doubts = explain_doubts(group, cut, len(partners), most_images, log_odds)
        groups.append(
            {
                "cluster_id": number,
                "lesion_id": group.lesion_id,
                "image_ids": [image_ids[row] for row in group.members],
                "known_ids": partners,
                "margin": margin if math.isfinite(margin) else None,
                "probability_inside": _probability(group.weakest_link, log_odds),
                "probability_outside": _probability(group.strongest_outside, log_odds),
                "contradictory_ids": marked,
                "doubts": [*_contradictions(marked), *_doubts(number, unsure, doubts)],
            }
        )
    nearest = [image_ids[row] if row >= 0 else "" for row in found.nearest]
    return {"groups": groups, "nearest": nearest}


def _contradictions(image_ids: Sequence[str]) -> list[str]:
    """Return why a person should look at a group with photographs whose answers contradict each other."""
    if not image_ids:
        return []
    return [f"Answers about {', '.join(image_ids)} contradict each other; it is grouped without them."]


def _probability(similarity: float, log_odds: LogOdds | None) -> float | None:
    """Return the probability that the images of a link show the same lesion; None if unknown or without a link."""
    if log_odds is None or not math.isfinite(similarity):
        return None
    return round(float(log_odds.probabilities(np.asarray(similarity))), _DIGITS)


def _doubts(number: int, unsure: Mapping[int, float] | None, doubts: Doubts) -> list[str]:
    """Return why a person should review a group: by probabilities if known, otherwise by the cut."""
    if unsure is None:
        return [*doubts.of_cut, *doubts.others]
    if number not in unsure:
        return list(doubts.others)
    return [f"Its weakest link shows the same lesion with a probability of {unsure[number]:.0%}.", *doubts.others]
