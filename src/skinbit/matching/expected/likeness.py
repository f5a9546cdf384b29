"""Whether the pairs of a pool are similar to those of the folds, on which all expected metrics are based.

A pool's pairs are a mixture of positive and negative ones in unknown shares. Its negative pairs are compared with the
folds' by quantiles, in the bulk and in the upper tail; its positive pairs by the share that is less similar than nearly
all of the folds'. Both kinds are weighted by their posteriors. Only changes that make groups worse count: negative
pairs that are more similar, such as those of grey photographs, and positive pairs that are less similar, such as those
of another device.
"""

import numpy as np

from skinbit.matching.expected.odds import LEVELS, spread
from skinbit.matching.expected.prior import PoolPrior, middles
from skinbit.matching.labels import LabelArray
from skinbit.matching.similarity.calibration import Values

_COMPARED = (0.5, 0.9, 0.99)
"""Quantiles of negative pairs; those above which a pool has too few pairs are skipped."""

_FEWEST_BEYOND = 5

_MOST_RAISED = 0.35
"""Largest rise of a quantile, relative to the distance between the folds' median and highest quantile. It is 0.2 among
thousands of photographs without a partner, and 0.7 for HAM10000 in grey."""

_LOW = 0.2
"""Quantile of the folds' positive pairs; by chance and variation, 0.3 of a pool's are below the lowest fold's."""

_MOST_LOW = 0.4
_DEVIATIONS = 3.5
"""Tolerance for pools with few positive pairs, standard deviations."""


def unlike_folds(counts: LabelArray, prior: PoolPrior) -> tuple[str, ...]:
    """Return how the pairs of a pool differ from those of the folds; empty if they do not, or this is unknown.

    Args:
        counts: Counts of all its pairs, from :class:`skinbit.matching.expected.prior.SimilarityHistogram`.
        prior: Prior of the pool.
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
        found.append("photographs of different lesions are more similar")
    lowest = min(fold.positives[LEVELS.index(_LOW)] for fold in folds)
    if _share_below(alike, n_positive, lowest) > _MOST_LOW:
        found.append("photographs of the same lesion are less similar")
    return tuple(found)


def _raised(alike: Values, n_negative: Values, usual: Values) -> float:
    """Return the largest rise of a quantile."""
    total = n_negative.sum()
    raised = [
        alike[np.searchsorted(np.cumsum(n_negative), level * total)] - before
        for level, before in zip(_COMPARED, usual, strict=True)
        if (1.0 - level) * total >= _FEWEST_BEYOND
    ]
    return float(max(raised, default=0.0) / max(usual[-1] - usual[0], np.finfo(np.float64).tiny))


def _share_below(alike: Values, n_positive: Values, lowest: float) -> float:
    """Return the share of positive pairs below a similarity, minus the tolerance for chance."""
    total = n_positive.sum()
    if total == 0.0:
        return 0.0
    return float(n_positive[alike < lowest].sum() / total - _DEVIATIONS * np.sqrt(_LOW * (1.0 - _LOW) / total))
