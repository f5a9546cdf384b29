"""The share of positive pairs in a pool that nobody has labelled, found by expectation maximisation.

Where positive and negative pairs look as in the folds and only their shares differ, the log-odds of every pair shift by
one number. It is the one at which the mean posterior over all pairs is the prior that it stands for (Saerens, Latinne
and Decaestecker 2002).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering.mutual import without_known
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.pool import LEAST_SIMILARITY
from skinbit.matching.pairs.tiles import Tile
from skinbit.matching.similarity.calibration import Values

_N_BINS = 2**16
"""Of similarities in [-1, 1]. A bin is 0.0005 wide in log-odds around 0 and less than 0.01 where they matter at all."""

_PSEUDO_PAIRS = 0.5
"""Positive pairs, among as many others as in the folds, that are taken as seen before a pool is looked at. A folder of
a few photographs cannot tell its own prior; in a large one half a pair is nothing."""

_TOLERANCE = 1e-10
_MOST_STEPS = 2000


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


@dataclass(frozen=True)
class PoolPrior:
    """What a pool says about its positive pairs.

    Attributes:
        odds: Of pairs in the folds.
        shift: What is added to log-odds in this pool.
        n_positive: Expected number of positive pairs, 0 or more.
        variance: Of that number, given the odds.
    """

    odds: PairOdds
    shift: float
    n_positive: float
    variance: float

    def probabilities(self, similarities: NDArray[np.floating]) -> Values:
        """Return the probability that pairs of this pool are positive.

        Args:
            similarities: Any shape.

        Returns:
            Float64 in [0, 1], same shape.
        """
        from scipy.special import expit

        probabilities: Values = expit(self.odds.log_odds(similarities) + self.shift)
        return probabilities


def find_prior(counts: LabelArray, odds: PairOdds) -> PoolPrior:
    """Return the prior under which a pool's similarities are most probable.

    Args:
        counts: Of all its pairs, from :class:`SimilarityHistogram`.
        odds: Of pairs in the folds.

    Returns:
        The prior: the most probable one after a Beta prior that is as strong as half a positive pair.
    """
    from scipy.special import expit, logit

    filled = np.flatnonzero(counts)
    n_pairs = counts[filled].astype(np.float64)
    likelihood = odds.log_odds((filled + 0.5) * (2 / _N_BINS) - 1.0) - logit(odds.prior)
    n_pseudo = _PSEUDO_PAIRS / odds.prior
    share, posteriors = odds.prior, np.zeros(len(filled))
    for _ in range(_MOST_STEPS):
        posteriors = expit(likelihood + logit(share))
        found = (n_pairs @ posteriors + _PSEUDO_PAIRS) / (n_pairs.sum() + n_pseudo)
        is_settled = abs(np.log(found / share)) < _TOLERANCE
        share = float(found)
        if is_settled:
            break
    return PoolPrior(
        odds=odds,
        shift=float(logit(share) - logit(odds.prior)),
        n_positive=float(n_pairs @ posteriors),
        variance=float(n_pairs @ (posteriors * (1.0 - posteriors))),
    )
