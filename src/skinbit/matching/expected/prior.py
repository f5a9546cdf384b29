"""The share of positive pairs in a pool that nobody has labelled.

Where positive and negative pairs look as in the folds and only their shares differ, the log-odds of every pair shift by
one number. It is the one at which the mean posterior over all pairs is the prior that it stands for (Saerens, Latinne
and Decaestecker 2002). They iterate to it; here a root is sought, of which there is one.
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
"""Of similarities in [-1, 1]. A bin is 0.0005 wide in log-odds around 0 and less than 0.01 where they matter at all."""

_PSEUDO_PAIRS = 0.5
"""Positive pairs, among as many others as in the folds, that are taken as seen before a pool is looked at. A folder of
a few photographs cannot tell its own prior; in a large one half a pair is nothing."""

_WIDEST = 100.0
"""Log-odds of shares between which that of any pool lies."""


class SimilarityHistogram:
    """Counts the pairs of a pool by similarity, whatever the order and size of tiles."""

    def __init__(self, n_new: int) -> None:
        """Prepare to count.

        Args:
            n_new: Images from this one on are known: pairs of two known images are not counted.
        """
        self._n_new = n_new
        self.counts = np.zeros(_N_BINS, dtype=np.int64)

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        similarities = without_known(tile, self._n_new).pairs()
        # Of an image with itself, or of two known ones: -inf. Pairs that columns forbid are no part of the mixture.
        shown = similarities[similarities > LEAST_SIMILARITY]
        bins = np.minimum((shown + np.float32(1.0)) * np.float32(_N_BINS / 2), np.float32(_N_BINS - 1))
        self.counts += np.bincount(bins.astype(np.int32), minlength=_N_BINS)


def middles(bins: LabelArray) -> Values:
    """Return the similarities in the middle of bins."""
    return (bins.astype(np.float64) + 0.5) * (2 / _N_BINS) - 1.0


@dataclass(frozen=True)
class PoolPrior:
    """What a pool says about its positive pairs.

    Attributes:
        log_odds: Of its pairs.
        n_positive: Expected number of positive pairs, 0 or more.
        folds: What the folds say that the log-odds rest on.
    """

    log_odds: LogOdds
    n_positive: float
    folds: tuple[PairOdds, ...] = ()

    def shares_missed(self, similarity: float) -> Values:
        """Return, for every fold that knows it, the share of its positive pairs that are less similar."""
        shares = np.array([fold.share_missed(similarity) for fold in self.folds], dtype=np.float64)
        return shares[np.isfinite(shares)]


def find_prior(counts: LabelArray, folds: Sequence[PairOdds]) -> PoolPrior:
    """Return the prior under which a pool's similarities are most probable.

    Args:
        counts: Of all its pairs, from :class:`SimilarityHistogram`.
        folds: Whose mean odds count, at least one.

    Returns:
        The prior: the most probable one after a Beta prior that is as strong as half a positive pair.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, log_expit, logit

    odds, filled = mean_odds(folds), np.flatnonzero(counts)
    n_pairs = counts[filled].astype(np.float64)
    likelihood = odds.log_odds(middles(filled)) - logit(odds.prior)
    n_all = n_pairs.sum() + _PSEUDO_PAIRS / odds.prior

    def excess(log_odds: float) -> float:
        """Return the logarithm of how far the mean posterior exceeds the share that it stands for; it falls."""
        return float(np.log((n_pairs @ expit(likelihood + log_odds) + _PSEUDO_PAIRS) / n_all) - log_expit(log_odds))

    found = float(brentq(excess, -_WIDEST, _WIDEST))
    log_odds = LogOdds(intercept=odds.intercept + found - float(logit(odds.prior)), slope=odds.slope)
    return PoolPrior(log_odds, float(n_pairs @ expit(likelihood + found)), tuple(folds))
