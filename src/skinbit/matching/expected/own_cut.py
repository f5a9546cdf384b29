"""The cut that a pool chooses for itself, and how sure what it expects there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinbit.matching.cuts.search import first_floor, merge_tree
from skinbit.matching.expected.curve import Expectation, as_similarities, expect_at, expected_cut, joins_of
from skinbit.matching.expected.odds import PairOdds, mean_odds
from skinbit.matching.expected.prior import PoolPrior, SimilarityHistogram, find_prior
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import NearestImages, NearPairs
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import look_at

_QUANTILE = 1.959964
"""Of the normal distribution: 95 % lie within so many standard deviations."""

_NEAR_CERTAIN = 1e-4
"""Shares are taken as no nearer to 0 or 1 where the width of an interval is worked out."""


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval; all NaN where it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OwnCut:
    """What a pool expects of itself at a cut.

    Attributes:
        expected: The cut, and counts.
        precision: Of pairs.
        recall: Of pairs.
        f1: Of pairs.
        single_share: Share of new images whose most similar other image is expected to show another lesion.
        prior: Of the pool.
        cuts_of_folds: What the odds of each fold alone would choose.
    """

    expected: Expectation
    precision: Estimate
    recall: Estimate
    f1: Estimate
    single_share: float
    prior: PoolPrior
    cuts_of_folds: tuple[float, ...]


def expect_of_pool(
    pool: Pool,
    known: LabelArray,
    odds: Sequence[PairOdds],
    method: str,
    max_group_size: int | None,
    given: float | None = None,
    precision: float | None = None,
) -> OwnCut:
    """Let a pool choose its own cut, or say what it expects of a given one.

    Args:
        pool: New images, then known ones.
        known: ``(n,)`` the known lesion of each image, -1 of new ones.
        odds: Of the folds of the model, at least one.
        method: One that has a cut; photographs are grouped at the threshold of ``cosine``, too.
        max_group_size: Average and complete linkage make no larger groups; None: of any size.
        given: The cut, where it is not the pool's to choose.
        precision: Wanted, in place of the greatest F1.

    Returns:
        The cut, and expected precision, recall and F1.
    """
    n_new = int((known < 0).sum())
    near = NearPairs(first_floor(pool), pool.limits.most_pairs)
    counted, nearest = SimilarityHistogram(n_new), NearestImages(len(pool), 1)
    look_at(pool, [near, counted, nearest], "expected pairs")
    graph = near.graph(len(pool))
    joins = joins_of(graph, merge_tree(method, graph, pool, max_group_size, known), known)
    joins = as_similarities(joins) if method == "cosine" else joins
    prior = find_prior(counted.counts, mean_odds(odds))
    chosen = expected_cut(joins, prior, precision) if given is None else expect_at(joins, prior, given)
    priors = [find_prior(counted.counts, each) for each in odds]
    return OwnCut(
        expected=chosen,
        **_estimates(chosen, [expect_at(joins, each, chosen.cut) for each in priors]),
        single_share=_single_share(nearest, n_new, prior),
        prior=prior,
        cuts_of_folds=tuple(expected_cut(joins, each, precision).cut for each in priors),
    )


def _single_share(nearest: NearestImages, n_new: int, prior: PoolPrior) -> float:
    if n_new == 0:
        return float("nan")
    most_similar = nearest.similarities[:n_new].max(axis=1, initial=-1.0)
    return float(np.mean(1.0 - prior.probabilities(most_similar)))


def _estimates(chosen: Expectation, of_folds: Sequence[Expectation]) -> dict[str, Any]:
    """Return precision, recall and F1 with their intervals.

    Two things make them unsure: which of the likely pairs are positive, given the odds; and the odds themselves. These
    differ from fold to fold, and the pool's own differ from their mean as those of one more fold would.
    """
    true, missed = chosen.true_positives, max(0.0, chosen.n_positive - chosen.true_positives)
    joined, positive = max(chosen.n_joined, 1), max(chosen.n_positive, np.finfo(np.float64).tiny)
    both = joined + positive
    # Derivatives by true positives and by missed pairs, which are independent: they are of different pairs.
    slopes = {
        "precision": (1.0 / joined, 0.0),
        "recall": (missed / positive**2, -true / positive**2),
        "f1": (2.0 * (joined + missed) / both**2, -2.0 * true / both**2),
    }
    found = {}
    for name, (by_true, by_missed) in slopes.items():
        values = np.array([getattr(each, name) for each in of_folds])
        of_odds = float(np.var(values, ddof=1) * (1.0 + 1.0 / len(values))) if len(values) > 1 else 0.0
        variance = by_true**2 * chosen.variance_joined + by_missed**2 * chosen.variance_missed + of_odds
        found[name] = _estimate(getattr(chosen, name), variance)
    return found


def _estimate(value: float, variance: float) -> Estimate:
    """Return a share with an interval that is symmetric in log-odds, so that it stays within 0 and 1."""
    from scipy.special import expit, logit

    if np.isnan(value) or np.isnan(variance):
        return Estimate(value, float("nan"), float("nan"))
    inside = float(np.clip(value, _NEAR_CERTAIN, 1.0 - _NEAR_CERTAIN))
    half = _QUANTILE * np.sqrt(variance) / (inside * (1.0 - inside))
    low, high = (float(expit(logit(inside) + sign * half)) for sign in (-1.0, 1.0))
    return Estimate(value, min(low, value), max(high, value))
