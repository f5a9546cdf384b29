"""The log-odds that a pair is positive, given its final similarity.

A calibration turns cosines and keypoints into similarities, but many experiments have none, and re-ranking comes after
it. So odds are fitted on the final similarities of out-of-fold pairs, in the same way for every experiment.
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
"""Largest similarity of pairs that are not copies, in single precision; log-odds stay finite."""


_TAIL = (0.0, 1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)

LEVELS = (*_TAIL, 0.5, *(1.0 - level for level in reversed(_TAIL)))
"""Levels of the stored quantiles of similarities: many in the tails, where details matter."""

Quantiles = Annotated[tuple[float, ...], Field(max_length=len(LEVELS))]

_NEARLY_IMPOSSIBLE = 0.01
"""Probabilities closer to 0 or 1 than this are not distinguished in words."""


class LogOdds(Block):
    """A map from similarities to log-odds.

    Attributes:
        intercept: Log-odds at similarity 0.
        slope: Log-odds per unit of spread similarity (:func:`spread`), 0 or more.
    """

    intercept: float
    slope: NonNegativeFloat

    def log_odds(self, similarities: NDArray[np.floating]) -> Values:
        """Return the log-odds that pairs are positive.

        Args:
            similarities: Similarities in [-1, 1], any shape.

        Returns:
            Float64, same shape; never falls where similarities rise.
        """
        return self.intercept + self.slope * spread(similarities)

    def probabilities(self, similarities: NDArray[np.floating]) -> Values:
        """Return the probability that pairs are positive.

        Args:
            similarities: Similarities in [-1, 1], any shape; NaN if there is no pair.

        Returns:
            Float64 in [0, 1], same shape; NaN if there is no pair.
        """
        from scipy.special import expit

        probabilities: Values = expit(self.log_odds(similarities))
        return probabilities

    def similarity(self, probability: float) -> float:
        """Return the similarity of pairs that are positive with a probability in (0, 1)."""
        from scipy.special import logit

        log_odds = float(logit(probability)) - self.intercept
        return float(np.tanh(log_odds / self.slope / SOFTNESS)) if self.slope else float(np.sign(log_odds))

    def percentage(self, similarity: float) -> str:
        """Return the probability that a pair is positive, in words."""
        probability = float(self.probabilities(np.asarray(similarity)))
        if not _NEARLY_IMPOSSIBLE <= probability <= 1.0 - _NEARLY_IMPOSSIBLE:
            return f"below {_NEARLY_IMPOSSIBLE:.0%}" if probability < 0.5 else f"above {1 - _NEARLY_IMPOSSIBLE:.0%}"
        return f"{probability:.0%}"


class PairOdds(LogOdds):
    """A map from similarities to log-odds, for pools with a prior.

    Attributes:
        prior: Share of positive pairs in the pool on which it was fitted.
        positives: Quantiles of the spread similarities of its positive pairs, at :data:`LEVELS`; empty if unknown.
        negatives: Quantiles of the spread similarities of its negative pairs; empty if unknown.
    """

    prior: Annotated[float, Field(gt=0, lt=1)]
    positives: Quantiles = ()
    negatives: Quantiles = ()

    def share_missed(self, similarity: float) -> float:
        """Return the share of the fold's positive pairs that are less similar; NaN if unknown."""
        if not self.positives:
            return float("nan")
        return float(np.interp(spread(np.asarray(similarity)), self.positives, LEVELS))


OddsOfSubset = tuple[PairOdds, ...]
"""Odds of one subset; empty if it has no positive or no negative pair."""


def spread(similarities: NDArray[np.floating]) -> Values:
    """Return similarities on the scale of log-odds, the inverse of what :func:`fuse` does to log-odds.

    Args:
        similarities: Similarities in [-1, 1], any shape.

    Returns:
        Float64, same shape.
    """
    inside = np.clip(np.asarray(similarities, dtype=np.float64), -_LARGEST_SIMILARITY, _LARGEST_SIMILARITY)
    spread_out: Values = SOFTNESS * np.arctanh(inside)
    return spread_out


def fit_odds(pool: Pool, labels: LabelArray) -> OddsOfSubset:
    """Return odds fitted on all pairs of a pool, whether required columns agree or not.

    Args:
        pool: Pool of lesions that were not used for the model or its calibration.
        labels: ``(n,)``, the lesion of each image.

    """
    pairs, weights = sample_pairs(labels)
    is_positive = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    if is_positive.all() or not is_positive.any():
        return ()
    sample = PairSample(spread(pool.allowing_all().of_pairs(pairs)), is_positive, weights=weights)
    fitted = fit_calibration(sample)
    # Not the recorded share: pairs of one lesion under two ids count as positive here.
    prior = float(np.average(fitted.score(sample.similarity), weights=weights))
    positives, negatives = (
        tuple(np.quantile(sample.similarity[of_kind], LEVELS, weights=weights[of_kind], method="inverted_cdf").tolist())
        for of_kind in (is_positive, ~is_positive)
    )
    line = {"intercept": fitted.intercept, "slope": fitted.similarity_slope, "prior": prior}
    return (PairOdds(**line, positives=positives, negatives=negatives),)


def mean_odds(subsets: Sequence[PairOdds]) -> PairOdds:
    """Return the mean slope and intercept of several subsets, at least one."""
    from scipy.special import expit, logit

    return PairOdds(
        intercept=float(np.mean([odds.intercept for odds in subsets])),
        slope=float(np.mean([odds.slope for odds in subsets])),
        prior=float(expit(np.mean(logit([odds.prior for odds in subsets])))),
    )
