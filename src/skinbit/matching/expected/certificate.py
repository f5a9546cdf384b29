"""The certificate: precision, recall and F1 of groups, with 95 % intervals, from answers of a person.

The groups are **frozen** first. Pairs that the answers so far decide are a census. Of the others a sample is drawn with
known probabilities, and what is found in it stands for the rest: a wrong pair that was drawn with probability π counts
1/π. Sampled are the joined pairs, and the most probable ones of those that are apart. Beyond these no sample of a few
hundred sees the few positive pairs among millions; there the model stands in, by the share of positive pairs that are
less similar in the folds it was judged by, which differs from fold to fold (a model-assisted estimator: Särndal,
Swensson and Wretman 1992).

Wrong pairs in a sample are few, often none. Intervals are those of weighted Poisson counts, by gamma distributions; to
the upper end one more pair is added (Fay and Feuer 1997), which weighs as much as such a pair does on average (Tiwari,
Clegg and Zou 2006; here the model says where wrong pairs are). Several unsure quantities are combined by drawing from
the confidence distributions of each (Fay, Proschan and Brittain 2015).

A person errs, too. How often, say the pairs that were answered more than once. An answer is then right with a
probability that the model's probability of the pair, the answers and the error rate imply together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from skinbit.config import Block
from skinbit.matching.expected.candidates import (
    CANNOT_TELL,
    DIFFERENT,
    SAME,
    Candidates,
    Said,
    follows,
    places_among,
)
from skinbit.matching.expected.own_cut import Estimate, draw_events, shares_of_one_more
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import LabelArray, positive_pairs
from skinbit.matching.similarity.calibration import Values

N_SAMPLED = 200
"""Pairs that a sample has."""

_PAIRS_EACH = 3
"""So many times as many pairs that are apart are sampled from: an answer must not stand for too many."""

_LEAST_SIZE = 0.05
"""A pair's chance of being drawn grows with the standard deviation of what the model says of it, and from here on."""

_LEAST_DOUBT = 0.01
"""Probability at least that a pair is wrong, before a person answers: the model's own may be far too small."""

_SURE = 0.05
"""Of a pair of which the model is sure one of both verdicts has a smaller probability."""

_ERROR_RATE = (0.5, 24.5)
"""Beta distribution of a reviewer's error rate before anything is known of them: 2 % on average."""

_RATES = np.linspace(0.0, 0.4, 402)[1:-1]

_DRAWS = 2_000

_INTERVAL = (0.025, 0.975)

_ROUNDING = 1e-9
"""Pairs, fewer than which are none."""


@dataclass(frozen=True)
class Plan:
    """Which pairs are drawn from frozen groups; the first answered ones are a sample, too.

    Attributes:
        pairs: ``(m, 2)`` rows, in the order in which they are asked.
        chances: ``(m,)`` probabilities with which they were drawn.
        is_joined: ``(m,)`` whether the groups join them.
        least_probable: Pairs that are apart and less probable are beyond the sample.
        next_weights: ``(3, 2)`` for how many pairs one more wrong pair would stand on average, and the mean square of
            that: of joined pairs, of pairs that are apart, and of both.
    """

    pairs: LabelArray
    chances: Values
    is_joined: NDArray[np.bool_]
    least_probable: float
    next_weights: Values


class Certificate(Block):
    """What answers say of groups.

    Attributes:
        precision: Of pairs.
        recall: Of pairs.
        f1: Of pairs.
        error_rate: Of the reviewer.
        n_census: Pairs that were answered before the groups were frozen.
        n_sampled: Answered pairs of the sample.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    error_rate: Estimate
    n_census: NonNegativeInt
    n_sampled: NonNegativeInt


def plan_sample(groups: LabelArray, candidates: Candidates, census: Said, n: int = N_SAMPLED, seed: int = 0) -> Plan:
    """Draw a sample of the pairs that a census leaves open.

    Args:
        groups: ``(n_images,)`` frozen; they obey the census.
        candidates: Of the pool.
        census: What was said.
        n: How many pairs; all that there are, where there are fewer.
        seed: Draws them.
    """
    joined = np.sort(positive_pairs(groups), axis=1)
    joined = joined[~follows(joined, census, len(groups))]
    is_apart = groups[candidates.pairs[:, 0]] != groups[candidates.pairs[:, 1]]
    is_apart &= ~follows(candidates.pairs, census, len(groups))
    apart = np.flatnonzero(is_apart)
    apart = apart[np.argsort(-candidates.probabilities[apart], kind="stable")][: _PAIRS_EACH * n]

    pairs = np.concatenate([joined, candidates.pairs[apart]])
    is_joined, probabilities = np.arange(len(pairs)) < len(joined), _probabilities(pairs, candidates)
    chances = _chances(np.maximum(_LEAST_SIZE, np.sqrt(probabilities * (1.0 - probabilities))), n)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(part)) for part in (is_joined, ~is_joined)])
    drawn = rng.permutation(order[systematic_sample(chances[order], rng.random())])
    doubts = _doubts(probabilities, is_joined)
    parts = (is_joined, ~is_joined, np.ones(len(pairs), dtype=bool))
    return Plan(
        pairs[drawn],
        chances[drawn],
        is_joined[drawn],
        float(probabilities[~is_joined].min(initial=1.0)),
        np.array([_next_weights(doubts[part], chances[part]) for part in parts]),
    )


def systematic_sample(chances: Values, start: float) -> NDArray[np.bool_]:
    """Draw a sample in which each of some things is with exactly its probability (Madow 1949).

    Args:
        chances: ``(m,)`` in [0, 1].
        start: Drawn uniformly from [0, 1).
    """
    reached = np.floor(np.cumsum(chances) + start)
    is_drawn: NDArray[np.bool_] = np.diff(reached, prepend=0.0) > 0.5
    return is_drawn


def _probabilities(pairs: LabelArray, candidates: Candidates) -> Values:
    """Return the probabilities of pairs; 0 of those that are no candidates."""
    found: Values = np.append(candidates.probabilities, 0.0)[places_among(pairs, candidates.pairs)]
    return found


def _doubts(probabilities: Values, is_joined: NDArray[np.bool_]) -> Values:
    """Return the probability that groups are wrong about pairs."""
    doubts = np.where(is_joined, 1.0 - probabilities, probabilities)
    return np.clip(doubts, _LEAST_DOUBT, 1.0 - _LEAST_DOUBT)


def _chances(sizes: Values, n: int) -> Values:
    """Return probabilities in proportion to sizes, 1 at most, whose sum is n or the number of pairs."""
    is_certain = np.full(len(sizes), len(sizes) <= n)
    chances = np.ones(len(sizes))
    while not is_certain.all():
        chances = np.where(is_certain, 1.0, (n - is_certain.sum()) * sizes / sizes[~is_certain].sum())
        if chances.max() <= 1.0:
            break
        is_certain |= chances >= 1.0
    return chances


def _next_weights(doubts: Values, chances: Values) -> tuple[float, float]:
    if not len(doubts):
        return 0.0, 0.0
    n_expected = float(doubts @ chances)
    return float(doubts.sum()) / n_expected, float(doubts @ (1.0 / chances)) / n_expected


@dataclass(frozen=True)
class _Tally:
    """What was said of pairs.

    Attributes:
        is_joined: ``(m,)`` whether the groups join them.
        doubts: ``(m,)`` probabilities that the groups are wrong, before a person answers.
        against: ``(m,)`` answers that say so.
        agreeing: ``(m,)`` answers that do not.
    """

    is_joined: NDArray[np.bool_]
    doubts: Values
    against: LabelArray
    agreeing: LabelArray

    @property
    def n_answers(self) -> LabelArray:
        return self.against + self.agreeing

    def log_likelihoods(self, rates: Values, doubts: Values) -> Values:
        """Return those of the answers to each pair under each error rate, ``(m, r)``."""
        right, wrong = np.log1p(-rates), np.log(rates)
        if_wrong = np.log(doubts)[:, None] + np.outer(self.against, right) + np.outer(self.agreeing, wrong)
        if_right = np.log1p(-doubts)[:, None] + np.outer(self.against, wrong) + np.outer(self.agreeing, right)
        found: Values = np.logaddexp(if_wrong, if_right)
        return found

    def draw_wrong(self, rates: Values, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw about which pairs the groups are wrong, given the answers and an error rate, ``(r, m)``."""
        from scipy.special import expit, logit

        log_odds = logit(self.doubts) - np.outer(logit(rates), self.against - self.agreeing)
        drawn: NDArray[np.bool_] = rng.random(log_odds.shape) < expit(log_odds)
        return drawn


def _tally(pairs: LabelArray, said: Said, groups: LabelArray, candidates: Candidates) -> _Tally:
    is_joined = groups[pairs[:, 0]] == groups[pairs[:, 1]]
    is_told = said.verdicts != CANNOT_TELL
    places, verdicts = places_among(said.pairs[is_told], pairs), said.verdicts[is_told]
    same, different = (
        np.bincount(places[(verdicts == verdict) & (places >= 0)], minlength=len(pairs))
        for verdict in (SAME, DIFFERENT)
    )
    against, agreeing = np.where(is_joined, different, same), np.where(is_joined, same, different)
    return _Tally(is_joined, _doubts(_probabilities(pairs, candidates), is_joined), against, agreeing)


def certify(
    groups: LabelArray, candidates: Candidates, census: Said, plan: Plan, sampled: Said, prior: PoolPrior
) -> Certificate | None:
    """Return precision, recall and F1 of groups with 95 % intervals.

    Args:
        groups: ``(n_images,)`` frozen.
        candidates: Of the pool.
        census: What was said before the groups were frozen.
        plan: Of the sample, from the same.
        sampled: What was said of its pairs. Ask those again about which an answer disagrees with the groups.
        prior: What the folds say of pairs that are beyond the sample.

    Returns:
        The certificate; None without an answer in the sample, where the groups join nothing, or where the folds say
        nothing.
    """
    joined = positive_pairs(groups)
    answered = np.unique(census.pairs[census.verdicts != CANNOT_TELL], axis=0)
    sample, earlier = (
        _tally(pairs, said, groups, candidates) for pairs, said in ((plan.pairs, sampled), (answered, census))
    )
    shares = prior.shares_missed(prior.log_odds.similarity(plan.least_probable))
    if not sample.n_answers.any() or not len(joined) or not len(shares):
        return None
    rng = np.random.default_rng(0)
    rates = _error_rates(sample, earlier, rng)
    n_far = int((_probabilities(np.sort(joined, axis=1), candidates) < plan.least_probable).sum())
    of_census = _errors_of_census(groups, answered, earlier, rates, rng)
    is_told, is_wrong = sample.n_answers > 0, sample.draw_wrong(rates[1:], rng).astype(np.float64)
    scores = []
    for with_next in (True, False):
        wrong, missed, both = of_census + _errors_of_sample(plan, is_told, is_wrong, rng, with_next)
        beyond = _missed_beyond(len(joined) - n_far - wrong + missed, n_far, shares, rng)
        n_true = np.maximum(0.0, len(joined) - wrong)
        f1 = 2.0 * n_true / np.maximum(2.0 * n_true + both + beyond, _ROUNDING)
        scores.append((n_true / len(joined), n_true / np.maximum(n_true + missed + beyond, _ROUNDING), f1))
    precision, recall, f1 = (_estimate(low, high) for low, high in zip(*scores, strict=True))
    return Certificate(
        precision=precision,
        recall=recall,
        f1=f1,
        error_rate=_estimate(rates, rates),
        n_census=len(answered),
        n_sampled=int((sample.n_answers > 0).sum()),
    )


# What is unsure is an array below: its first value is the estimate, the others are drawn.


def _with_mean(drawn: Values) -> Values:
    return np.concatenate([drawn.mean(axis=-1, keepdims=True), drawn], axis=-1)


def _estimate(low: Values, high: Values) -> Estimate:
    """Return an estimate with the lower end of what was drawn to find it, and the upper end of the other draws."""
    value = float(np.clip(low[0], 0.0, 1.0))
    ends = np.quantile(low[1:], _INTERVAL[0]), np.quantile(high[1:], _INTERVAL[1])
    return Estimate(
        value=value,
        low=min(float(np.clip(ends[0], 0.0, 1.0)), value),
        high=max(float(np.clip(ends[1], 0.0, 1.0)), value),
    )


def _error_rates(sample: _Tally, census: _Tally, rng: np.random.Generator) -> Values:
    """Return the reviewer's error rate.

    Where the model is sure, in the sample or the census, every answer counts, since nearly all pairs are as it says. Of
    other pairs of the census those count that were answered again, and whether the answers agree.
    """
    before = (_ERROR_RATE[0] - 1.0) * np.log(_RATES) + (_ERROR_RATE[1] - 1.0) * np.log1p(-_RATES)
    of_sample = sample.log_likelihoods(_RATES, sample.doubts)
    is_sure = np.minimum(census.doubts, 1.0 - census.doubts) < _SURE
    of_census = census.log_likelihoods(_RATES, np.where(is_sure, census.doubts, 0.5))[is_sure | (census.n_answers > 1)]
    logarithms = before + of_sample.sum(axis=0) + of_census.sum(axis=0)
    weights = np.exp(logarithms - logarithms.max())
    return _with_mean(rng.choice(_RATES, _DRAWS, p=weights / weights.sum()))


def _errors_of_census(
    groups: LabelArray, pairs: LabelArray, census: _Tally, rates: Values, rng: np.random.Generator
) -> Values:
    """Return pairs that are wrongly joined, that are missed, and both, as answers to questions were wrong."""
    is_wrong = census.draw_wrong(rates[1:], rng)
    sizes = np.bincount(groups)[groups[pairs]]
    n_decided = np.where(census.is_joined, sizes[:, 0] - 1, sizes.prod(axis=1))
    wrong, missed = (is_wrong[:, part] @ n_decided[part] for part in (census.is_joined, ~census.is_joined))
    return _with_mean(np.array([wrong, missed, wrong + missed]))


def _errors_of_sample(
    plan: Plan, is_told: NDArray[np.bool_], is_wrong: Values, rng: np.random.Generator, with_next: bool
) -> Values:
    """Return pairs that are wrongly joined, that are missed, and both, among those that could be drawn.

    Those in the sample are known. Those beside it are unsure: a wrong pair that is drawn with probability π stands for
    1/π - 1 of them. The most there may be are found with one more wrong pair, the fewest without.
    """
    parts = plan.is_joined, ~plan.is_joined, np.ones(len(is_told), dtype=bool)
    shares = [is_told[part].mean() if is_told[part].any() else 1.0 for part in parts]
    weights = 1.0 / (plan.chances * np.where(plan.is_joined, shares[0], shares[1]))
    found = []
    for part, share, (weight, square) in zip(parts, shares, plan.next_weights, strict=True):
        seen, beside = (np.where(part & is_told, each, 0.0) for each in (1.0, weights - 1.0))
        means = is_wrong @ beside + with_next * max(0.0, weight / share - 1.0)
        variances = is_wrong @ beside**2 + with_next * max(0.0, square / share**2 - 2.0 * weight / share + 1.0)
        is_any = np.minimum(means, variances) > _ROUNDING
        scales = np.divide(variances, means, out=np.zeros(_DRAWS), where=is_any)
        unseen = scales * rng.standard_gamma(np.divide(means, scales, out=np.zeros(_DRAWS), where=is_any))
        found.append(np.append((is_wrong @ (seen + beside)).mean(), is_wrong @ seen + unseen))
    return np.array(found)


def _missed_beyond(n_near: Values, n_joined: int, shares: Values, rng: np.random.Generator) -> Values:
    """Return positive pairs that are apart and beyond the sample.

    Args:
        n_near: Positive pairs that are not beyond it.
        n_joined: Joined pairs as improbable as those beyond it: they are taken as positive.
        shares: Of the positive pairs, by fold, that are so improbable.
        rng: Draws.
    """
    share = np.append(shares.mean(), shares_of_one_more(shares, (_DRAWS, 1), rng))
    expected = np.maximum(0.0, n_near * share / (1.0 - share) - n_joined)
    return np.append(expected[0], draw_events(expected[1:, None], 1.0, (_DRAWS, 1), rng))
