"""The cut that a pool chooses for itself, and how sure what it expects there is."""

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
"""For an interval, folds are drawn so often, and for each draw so often which pairs are wrong or missed."""

_INTERVAL = (0.025, 0.975)

_LARGEST_SHARE = 0.9
"""Of positive pairs that are missed: a few folds say little, and Student's t goes beyond all bounds."""

_Share = Annotated[float, Field(ge=0, le=1)]


class Estimate(Block):
    """A share with its 95 % interval."""

    value: _Share
    low: _Share
    high: _Share


class Expected(Block):
    """What is expected of groups without labels.

    Attributes:
        precision: Of pairs; None where none is joined.
        recall: Of pairs; None where no positive pair is expected.
        f1: Of pairs; None where no positive pair is expected.
        n_positive_pairs: In the pool.
        single_share: Share of new images whose most similar other image is expected to show another lesion.
        unlike_folds: In what the pool is unlike what all of this rests on; empty: in nothing.
    """

    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    n_positive_pairs: NonNegativeFloat
    single_share: _Share
    unlike_folds: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnCut:
    """What a pool expects of itself at a cut.

    Attributes:
        chosen: The cut, and counts.
        expected: Of the groups that it makes.
        log_odds: Of the pool's pairs.
        cuts_of_folds: What the odds of each fold alone would choose.
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
    """Let a pool choose its own cut, or say what it expects of a given one.

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
    """Return folds drawn anew, again and again, many of them alike; of a single fold itself.

    Of k folds k - 1 are drawn with replacement: so the means of draws vary as the mean of all folds does (McCarthy and
    Snowden 1985), where k of them would vary too little.
    """
    drawn = np.random.default_rng(0).integers(n_folds, size=(_DRAWS_OF_FOLDS, max(1, n_folds - 1)))
    return [tuple(folds) for folds in np.sort(drawn, axis=1).tolist()]


def estimates(chosen: Expectation, drawn: Sequence[Expectation]) -> dict[str, Estimate | None]:
    """Return precision, recall and F1 with their intervals.

    Unsure are the odds, which differ with the folds that they rest on; the share of positive pairs that are missed,
    which differs from fold to fold and follows Student's t for one more; and, given these, how many pairs are wrong and
    missed. Such pairs come as many at once as a merge joins, and the number of such events follows a Poisson
    distribution: each of them is rare. So an interval reaches 1 where no error at all is likely enough.

    Args:
        chosen: What is expected at the cut.
        drawn: What is expected there by drawn folds, at least one.
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
