"""Whether the pairs of a pool look like those of the folds, on which everything that is expected rests.

A pool's pairs are a mixture of two kinds, in whatever shares. Its negative pairs are compared with the folds' by
quantiles, in the bulk and in the upper tail; of its positive pairs it is asked how many are less similar than nearly
all of the folds'. Both kinds are weighted by their posteriors. Only what makes groups worse counts: negative pairs that
look more alike, as those of grey photographs do, and positive pairs that look less alike, as through another device.
"""

import numpy as np

from skinbit.matching.expected.odds import LEVELS, spread
from skinbit.matching.expected.prior import PoolPrior, middles
from skinbit.matching.labels import LabelArray
from skinbit.matching.similarity.calibration import Values

_COMPARED = (0.5, 0.9, 0.99)
"""Quantiles of negative pairs; those beyond which a pool has too few pairs are left out."""

_FEWEST_BEYOND = 5

_MOST_RAISED = 0.35
"""So far a quantile may rise, in distances between the folds' median and their highest compared quantile. Among
thousands of photographs without a partner it rises by 0.2, as those of HAM10000 turned grey by 0.7."""

_LOW = 0.2
"""Level of the folds' positive pairs; by chance, and as folds differ, 0.3 of a pool's are below the lowest fold's."""

_MOST_LOW = 0.4
_DEVIATIONS = 3.5
"""A pool with few positive pairs may have more of them below, by so many standard deviations."""


def unlike_folds(counts: LabelArray, prior: PoolPrior) -> tuple[str, ...]:
    """Return in what the pairs of a pool are unlike those of the folds; nothing where it is not known.

    Args:
        counts: Of all its pairs, from :class:`skinbit.matching.expected.prior.SimilarityHistogram`.
        prior: Of the pool.
    """
    folds = [fold for fold in prior.folds if fold.positives and fold.negatives]
    if not folds:
        return ()
    filled = np.flatnonzero(counts)
    similarities, n_pairs = middles(filled), counts[filled].astype(np.float64)
    n_positive = n_pairs * prior.log_odds.probabilities(similarities)
    alike = spread(similarities)
    found = []
    usual = np.mean([fold.negatives for fold in folds], axis=0)[[LEVELS.index(level) for level in _COMPARED]]
    if _raised(alike, n_pairs - n_positive, usual) > _MOST_RAISED:
        found.append("photographs of different lesions look more alike")
    lowest = min(fold.positives[LEVELS.index(_LOW)] for fold in folds)
    if _share_below(alike, n_positive, lowest) > _MOST_LOW:
        found.append("photographs of one lesion look less alike")
    return tuple(found)


def _raised(alike: Values, n_negative: Values, usual: Values) -> float:
    """Return by how much the quantile that has risen most has risen."""
    total = n_negative.sum()
    raised = [
        alike[np.searchsorted(np.cumsum(n_negative), level * total)] - before
        for level, before in zip(_COMPARED, usual, strict=True)
        if (1.0 - level) * total >= _FEWEST_BEYOND
    ]
    return float(max(raised, default=0.0) / max(usual[-1] - usual[0], np.finfo(np.float64).tiny))


def _share_below(alike: Values, n_positive: Values, lowest: float) -> float:
    """Return the share of positive pairs below a similarity, less what chance may add."""
    total = n_positive.sum()
    if total == 0.0:
        return 0.0
    return float(n_positive[alike < lowest].sum() / total - _DEVIATIONS * np.sqrt(_LOW * (1.0 - _LOW) / total))
