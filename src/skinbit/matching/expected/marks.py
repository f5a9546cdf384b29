"""Which groups a person should look at first: those that are expected to hold most of the wrong pairs."""

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.labels import LabelArray

_WANTED_SHARE = 0.8
"""Of the wrong pairs that are expected, so many are to be in marked groups."""

_MOST_MARKED = 0.05
"""Of all photographs, no more than that are in marked groups."""

_FEWEST_WRONG = 0.5
"""Where fewer wrong pairs are expected in all groups together, none is marked."""


def marked_groups(weakest: NDArray[np.float64], sizes: LabelArray, log_odds: LogOdds) -> dict[int, float]:
    """Choose the groups to look at: most expected wrong pairs per photograph first.

    The link that holds a group together least is wrong with some probability; then at least one photograph is in the
    wrong group, with all its pairs.

    Args:
        weakest: ``(g,)`` smallest similarity that holds each group together; infinite where nothing needs to.
        sizes: ``(g,)`` photographs of each, known ones among them.
        log_odds: Of the pairs.

    Returns:
        By the number of the group, the probability of its weakest link.
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
