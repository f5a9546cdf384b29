"""The share of positive pairs in an unlabelled pool.

If positive and negative pairs are distributed as in the folds and only their shares differ, the log-odds of all pairs
shift by the same number: the one at which the mean posterior over all pairs equals the prior (Saerens, Latinne and
Decaestecker 2002). Instead of iterating, this module finds the root of which there is exactly one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.matching.clustering.mutual import without_known
from skinbit.matching.expected.odds import LogOdds, PairOdds, mean_odds
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.pool import LEAST_SIMILARITY
from skinbit.matching.pairs.tiles import Tile
from skinbit.matching.similarity.calibration import Values

_N_BINS = 2**16
"""Number of bins in [-1, 1]. A bin is 0.0005 wide in log-odds around 0 and less than 0.01 wherever they matter."""

_PSEUDO_PAIRS = 0.5
"""Pseudo-count of positive pairs, among as many negative ones as in the folds. A folder of a few photographs cannot
determine its own prior; in a large one, half a pair has no effect."""

_WIDEST = 100.0
"""Range of the log-odds of a pool's share of positive pairs."""


class SimilarityHistogram:
    """Counts the pairs of a pool by similarity, in tiles of any order and size."""

    def __init__(self, n_new: int) -> None:
        """Set the number of new images.

        Args:
            n_new: Number of new images, which come first; pairs of two known images are not counted.
        """
        self._n_new = n_new
        self.counts = np.zeros(_N_BINS, dtype=np.int64)

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        similarities = without_known(tile, self._n_new).pairs()
        # -inf for an image with itself or two known ones. Pairs that columns forbid are no part of the mixture.
        shown = similarities[similarities > LEAST_SIMILARITY]
        bins = np.minimum((shown + np.float32(1.0)) * np.float32(_N_BINS / 2), np.float32(_N_BINS - 1))
        self.counts += np.bincount(bins.astype(np.int32), minlength=_N_BINS)


def middles(bins: LabelArray) -> Values:
    """Return the similarities in the middle of bins."""
    return (bins.astype(np.float64) + 0.5) * (2 / _N_BINS) - 1.0


@dataclass(frozen=True)
class PoolPrior:
    """A pool's estimate of its positive pairs.

    Attributes:
        log_odds: Log-odds of its pairs.
        n_positive: Expected number of positive pairs, 0 or more.
        folds: Odds of the folds from which the log-odds are derived.
    """

    log_odds: LogOdds
    n_positive: float
    folds: tuple[PairOdds, ...] = ()

    def shares_missed(self, similarity: float) -> Values:
        """Return the share of each fold's positive pairs that are less similar, for folds where it is known."""
        shares = np.array([fold.share_missed(similarity) for fold in self.folds], dtype=np.float64)
        return shares[np.isfinite(shares)]


def find_prior(counts: LabelArray, folds: Sequence[PairOdds]) -> PoolPrior:
    """Return the prior under which a pool's similarities are most probable.

    Args:
        counts: Counts of all its pairs, from :class:`SimilarityHistogram`.
        folds: Odds of the folds, whose mean is used; at least one.

    Returns:
        The prior: the most probable one, given a Beta prior as strong as half a positive pair.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, log_expit, logit

    odds, filled = mean_odds(folds), np.flatnonzero(counts)
    n_pairs = counts[filled].astype(np.float64)
    likelihood = odds.log_odds(middles(filled)) - logit(odds.prior)
    n_all = n_pairs.sum() + _PSEUDO_PAIRS / odds.prior

    def excess(log_odds: float) -> float:
        """Return the log ratio of the mean posterior to the prior; it falls."""
        return float(np.log((n_pairs @ expit(likelihood + log_odds) + _PSEUDO_PAIRS) / n_all) - log_expit(log_odds))

    found = float(brentq(excess, -_WIDEST, _WIDEST))
    log_odds = LogOdds(intercept=odds.intercept + found - float(logit(odds.prior)), slope=odds.slope)
    return PoolPrior(log_odds, float(n_pairs @ expit(likelihood + found)), tuple(folds))
