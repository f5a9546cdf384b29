"""The groups that a person should review first, which are expected to contain most of the wrong pairs."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.labels import LabelArray

_WANTED_SHARE = 0.8
"""Share of the expected wrong pairs that marked groups should contain."""

_MOST_MARKED = 0.05
"""Largest share of all photographs in marked groups."""

_FEWEST_WRONG = 0.5
"""If fewer wrong pairs are expected in all groups together, no group is marked."""


def marked_groups(weakest: NDArray[np.float64], sizes: LabelArray, log_odds: LogOdds) -> dict[int, float]:
    """Return the groups to review, by expected wrong pairs per photograph.

    The weakest link of a group is wrong with some probability; then at least one photograph is in the wrong group, with
    all of its pairs.

    Args:
        weakest: ``(g,)``, similarity of each group's weakest link; infinite if it needs none.
        sizes: ``(g,)``, number of photographs in each group, including known ones.
        log_odds: Log-odds of the pairs.

    Returns:
        Probability of the weakest link, by number of the group.
    """
    is_joined = np.isfinite(weakest) & (sizes > 1)
    probabilities = np.where(is_joined, log_odds.probabilities(np.where(is_joined, weakest, 1.0)), 1.0)
    wrong = (sizes - 1) * (1.0 - probabilities)
    if wrong.sum() < _FEWEST_WRONG:
        return {}
    order = np.argsort(-wrong / np.maximum(sizes, 1), kind="stable")
    held_before = np.cumsum(wrong[order]) - wrong[order]
    is_wanted = (held_before < _WANTED_SHARE * wrong.sum()) & is_joined[order]
    is_affordable = np.cumsum(sizes[order]) <= max(_MOST_MARKED * sizes.sum(), sizes[order[0]])
    return {int(group): float(probabilities[group]) for group in order[is_wanted & is_affordable]}
