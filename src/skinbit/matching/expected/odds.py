"""The log-odds that a pair is positive, given its similarity, whatever the similarity is made of.

A calibration makes similarities of cosines and keypoints; many experiments have none, and re-ranking comes after it.
So the odds are fitted on the finished similarities of out-of-fold pairs, for every experiment alike.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat

from skinbit.config import Block
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.sampling import sample_pairs
from skinbit.matching.similarity.calibration import SOFTNESS, PairSample, Values, fit_calibration

_LARGEST_SIMILARITY = 1.0 - 2.0**-24
"""Of pairs that are not the same photograph twice, in single precision; log-odds stay finite."""


class PairOdds(Block):
    """How log-odds follow from similarities, in a pool with a prior.

    Attributes:
        intercept: Log-odds at similarity 0.
        slope: Log-odds per unit of spread similarity (:func:`spread`), 0 or more.
        prior: Share of positive pairs among all pairs of the pools it was fitted on.
    """

    intercept: float
    slope: NonNegativeFloat
    prior: Annotated[float, Field(gt=0, lt=1)]

    def log_odds(self, similarities: NDArray[np.floating]) -> Values:
        """Return the log-odds of pairs in pools with this prior.

        Args:
            similarities: In [-1, 1], any shape.

        Returns:
            Float64, same shape; never falls where similarities rise.
        """
        return self.intercept + self.slope * spread(similarities)


OddsOfSubset = tuple[PairOdds, ...]
"""Of one subset; empty where it has no pair of one lesion, or none of two."""


def spread(similarities: NDArray[np.floating]) -> Values:
    """Return similarities on the scale of log-odds: the inverse of what :func:`fuse` does to log-odds.

    Args:
        similarities: In [-1, 1], any shape.

    Returns:
        Float64, same shape.
    """
    inside = np.clip(np.asarray(similarities, dtype=np.float64), -_LARGEST_SIMILARITY, _LARGEST_SIMILARITY)
    spread_out: Values = SOFTNESS * np.arctanh(inside)
    return spread_out


def fit_odds(pool: Pool, labels: LabelArray) -> OddsOfSubset:
    """Fit odds on all pairs of a pool, whether columns let them show one lesion or not.

    Args:
        pool: Of lesions that neither model nor calibration has seen.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        The odds.
    """
    pairs, weights = sample_pairs(labels)
    is_positive = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    if is_positive.all() or not is_positive.any():
        return ()
    sample = PairSample(spread(pool.allowing_all().of_pairs(pairs)), is_positive, weights=weights)
    fitted = fit_calibration(sample)
    # Not the recorded share: pairs of one lesion under two ids count as positive here.
    prior = float(np.average(fitted.score(sample.similarity), weights=weights))
    return (PairOdds(intercept=fitted.intercept, slope=fitted.similarity_slope, prior=prior),)


def mean_odds(subsets: Sequence[PairOdds]) -> PairOdds:
    """Return the mean of the odds of several subsets, at least one."""
    from scipy.special import expit, logit

    return PairOdds(
        intercept=float(np.mean([odds.intercept for odds in subsets])),
        slope=float(np.mean([odds.slope for odds in subsets])),
        prior=float(expit(np.mean(logit([odds.prior for odds in subsets])))),
    )
