"""The cut that a pool chooses for itself, and intervals for the expected metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat

from skinbit.config import Block
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.cuts.search import first_floor, merge_tree
from skinbit.matching.expected.curve import Expectation, as_similarities, expect_at, expected_cut, joins_of
from skinbit.matching.expected.likeness import unlike_folds
from skinbit.matching.expected.odds import LogOdds, PairOdds
from skinbit.matching.expected.prior import SimilarityHistogram, find_prior
from skinbit.matching.labels import LabelArray
from skinbit.matching.pairs.neighbours import NearestImages, NearPairs
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import look_at
from skinbit.matching.similarity.calibration import Values

_DRAWS_OF_FOLDS, _DRAWS_OF_PAIRS = 100, 100
"""Number of draws of folds for an interval, and of draws of wrong and missed pairs for each."""

_INTERVAL = (0.025, 0.975)

_LARGEST_SHARE = 0.9
"""Largest variation of the share of missed positive pairs, as Student's t is unbounded for few folds."""

_Share = Annotated[float, Field(ge=0, le=1)]


class Estimate(Block):
    """A share with its 95 % interval."""

    value: _Share
    low: _Share
    high: _Share


class Expected(Block):
    """Expected metrics of groups without labels.

    Attributes:
        precision: Precision of pairs; None if none is joined.
        recall: Recall of pairs; None if no positive pair is expected.
        f1: F1 of pairs; None if no positive pair is expected.
        n_positive_pairs: Number of positive pairs in the pool.
        single_share: Share of new images whose nearest image is expected to show another lesion.
        unlike_folds: How the pool differs from the folds on which these expectations are based; empty if it does not.
    """

    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    n_positive_pairs: NonNegativeFloat
    single_share: _Share
    unlike_folds: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnCut:
    """The expected metrics of a pool at a cut.

    Attributes:
        chosen: The cut, with its counts.
        expected: Expected metrics of its groups.
        log_odds: Log-odds of the pool's pairs.
        cuts_of_folds: The cuts that the odds of each single fold choose.
    """

    chosen: Expectation
    expected: Expected
    log_odds: LogOdds
    cuts_of_folds: tuple[float, ...]


def expect_of_pool(
    pool: Pool,
    constraints: Constraints,
    odds: Sequence[PairOdds],
    method: str,
    max_group_size: int | None,
    given: float | None = None,
    precision: float | None = None,
) -> OwnCut:
    """Return a pool's own cut, or a given cut, with the expected metrics.

    Args:
        pool: New images, then known ones.
        constraints: What is known of them; pairs that are joined from the start are certainly positive.
        odds: Of the folds of the model, at least one.
        method: One that has a cut; photographs are grouped at the threshold of ``cosine``, too.
        max_group_size: Average and complete linkage make no larger groups; None: of any size.
        given: The cut, where it is not the pool's to choose.
        precision: Wanted, in place of the greatest F1.

    Returns:
        The cut, and expected precision, recall and F1.
    """
    n_new = int((constraints.known < 0).sum())
    near = NearPairs(first_floor(pool), pool.limits.most_pairs)
    counted, nearest = SimilarityHistogram(n_new), NearestImages(len(pool), 1)
    look_at(pool, [near, counted, nearest], "expected pairs")
    graph = near.graph(len(pool))
    joins = joins_of(graph, merge_tree(method, graph, pool, max_group_size, constraints), constraints)
    joins = as_similarities(joins) if method == "cosine" else joins
    prior = find_prior(counted.counts, odds)
    chosen = expected_cut(joins, prior, precision) if given is None else expect_at(joins, prior, given)
    drawn = _drawn_folds(len(odds))
    by_draw = {
        folds: expect_at(joins, find_prior(counted.counts, [odds[fold] for fold in folds]), chosen.cut)
        for folds in set(drawn)
    }
    of_folds = [expected_cut(joins, find_prior(counted.counts, [each]), precision) for each in odds]
    expected = Expected(
        **estimates(chosen, [by_draw[folds] for folds in drawn]),
        n_positive_pairs=chosen.n_positive,
        single_share=_single_share(nearest, constraints.starts, n_new, prior.log_odds),
        unlike_folds=unlike_folds(counted.counts, prior),
    )
    return OwnCut(chosen, expected, prior.log_odds, tuple(each.cut for each in of_folds))


def _single_share(nearest: NearestImages, starts: LabelArray, n_new: int, log_odds: LogOdds) -> float:
    most_similar = nearest.similarities[:n_new].max(axis=1, initial=-1.0)
    is_alone = (np.bincount(starts)[starts] == 1)[:n_new]
    return float(np.mean((1.0 - log_odds.probabilities(most_similar)) * is_alone))


def _drawn_folds(n_folds: int) -> list[tuple[int, ...]]:
    """Return many bootstrap samples of folds; a single fold is its own sample.

    Of k folds, k - 1 are drawn with replacement, so that the means of samples vary like the mean of all folds (McCarthy
    and Snowden 1985); with k of them they would vary too little.
    """
    drawn = np.random.default_rng(0).integers(n_folds, size=(_DRAWS_OF_FOLDS, max(1, n_folds - 1)))
    return [tuple(folds) for folds in np.sort(drawn, axis=1).tolist()]


def estimates(chosen: Expectation, drawn: Sequence[Expectation]) -> dict[str, Estimate | None]:
    """Return precision, recall and F1 with their intervals.

    There are three sources of uncertainty: the odds, which differ with the folds; the share of missed positive pairs,
    which differs between folds and follows Student's t for another fold; and, given these, the number of wrong and
    missed pairs. Such pairs come in groups of the size that a merge joins, and the number of these events follows a
    Poisson distribution, as each is rare. So an interval includes 1 if no error at all is sufficiently probable.

    Args:
        chosen: Expected counts at the cut.
        drawn: Expected counts of each bootstrap sample of folds, at least one.
    """
    rng = np.random.default_rng(0)
    shape = len(drawn), _DRAWS_OF_PAIRS
    wrong = draw_events(np.array([each.wrong for each in drawn])[:, None], chosen.at_once, shape, rng)
    true = np.maximum(0.0, chosen.n_joined - wrong)
    if chosen.shares_missed:
        shares = shares_of_one_more(np.array(chosen.shares_missed), shape, rng)
        found = np.maximum(0.0, true - chosen.n_given)
        missed = draw_events(found * shares / (1.0 - shares), chosen.at_once, shape, rng)
    else:
        missed = draw_events(np.array([each.missed for each in drawn])[:, None], chosen.at_once, shape, rng)
    with np.errstate(invalid="ignore"):  # a draw without a pair of the kind that counts tells nothing
        values_of = {
            "precision": true / chosen.n_joined,
            "recall": true / (true + missed),
            "f1": 2.0 * true / (chosen.n_joined + true + missed),
        }
    return {name: _estimate(getattr(chosen, name), values) for name, values in values_of.items()}


def draw_events(n_expected: Values, at_once: float, shape: tuple[int, int], rng: np.random.Generator) -> Values:
    """Draw numbers of pairs that come some at once."""
    return at_once * rng.poisson(n_expected / at_once, shape).astype(np.float64)


def shares_of_one_more(shares: Values, shape: tuple[int, int], rng: np.random.Generator) -> Values:
    """Draw the share of one more fold; with a single fold to go by, its own."""
    n_folds = len(shares)
    if n_folds == 1:
        return np.full(shape, shares[0])
    spread = float(np.std(shares, ddof=1)) * np.sqrt(1.0 + 1.0 / n_folds)
    drawn: Values = np.clip(shares.mean() + spread * rng.standard_t(n_folds - 1, shape), 0.0, _LARGEST_SHARE)
    return drawn


def _estimate(value: float, drawn: Values) -> Estimate | None:
    """Return a value with the interval that holds most of what was drawn, and the value itself."""
    if np.isnan(value):
        return None
    low, high = np.nanquantile(np.append(drawn, value), _INTERVAL).tolist()
    return Estimate(value=value, low=min(low, value), high=max(high, value))
