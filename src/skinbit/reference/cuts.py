"""Cuts from elsewhere: of other folds, corrected for the size of a pool, and the one that a pool chooses for itself."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skinbit.reference.groups import LARGEST, Merge
from skinbit.reference.metrics import UNDEFINED, Array, Curve
from skinbit.reference.similarity import SOFTNESS, single

TAIL = (0.0, 1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
LEVELS = (*TAIL, 0.5, *(1.0 - level for level in reversed(TAIL)))
"""Levels of the stored quantiles of positive pairs."""

N_BINS = 2**16
"""The similarities of a pool are counted in so many bins of equal width."""

LEAST_POSITIVE = 0.5
"""With fewer expected positive pairs nothing is joined."""

MOST_MISSED = 0.5
"""If the folds miss a larger share, the pool's own sum of probabilities is its number of positive pairs."""


def f1_of(tp: float, fp: float, rho: float, n_positive: int) -> float:
    """Return F1 in a pool ρ times as large as that of the counts."""
    return 2.0 * tp / (tp + rho * fp + n_positive)


def best_f1(tp: Iterable[float], fp: Iterable[float], rho: float, n_positive: int) -> float:
    """Return the highest F1 of several cuts in a pool ρ times as large; 0 without a cut."""
    return max((f1_of(*counts, rho, n_positive) for counts in zip(tp, fp, strict=True)), default=0.0)


def within(curve: Curve, searched: tuple[float, float], is_similarity: bool) -> Curve:
    """Return the rows of a curve that some cut in a range predicts."""
    end = -1.0 if is_similarity else LARGEST
    following = np.append(curve.cuts[1:], [end][: len(curve.cuts)])
    lowest, highest = np.minimum(curve.cuts, following), np.maximum(curve.cuts, following)
    inside = (highest >= searched[0]) & (lowest <= searched[1])
    return Curve(curve.cuts[inside], curve.tp[inside], curve.fp[inside])


def reported(curve: Curve, searched: tuple[float, float], is_similarity: bool) -> Array:
    """Return all cuts that a curve may report: midpoints within a range and, far below the best threshold, its rows."""
    inside = within(curve, searched, is_similarity)
    end = -1.0 if is_similarity else LARGEST
    following = np.append(inside.cuts[1:], [end][: len(inside.cuts)])
    lowest = np.maximum(np.minimum(inside.cuts, following), searched[0])
    highest = np.minimum(np.maximum(inside.cuts, following), searched[1])
    return np.concatenate([(lowest + highest) / 2, inside.cuts])


def best_point(points: Mapping[str, Any], rho: float) -> float:
    """Return the cut of a fold that maximises ``2·TP / (TP + ρ·FP + P)``; of several, that with fewest pairs."""
    found, best = UNDEFINED, -1.0
    for cut, tp, fp in zip(points["cuts"], points["tp"], points["fp"], strict=True):
        f1 = f1_of(tp, fp, rho, points["n_positive_pairs"])
        if f1 > best:
            found, best = cut, f1
    return float(found)


def mean_cut(folds: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean of the folds' best cuts; undefined if none has one."""
    cuts = [cut for cut in (best_point(points, 1.0) for points in folds) if not math.isnan(cut)]
    return math.fsum(cuts) / len(cuts) if cuts else UNDEFINED


def pooled_cut(folds: Sequence[Mapping[str, Any]], n_images: int, single_share: float, is_similarity: bool) -> float:
    """Return the cut for a pool that maximises ``2·TP / (TP + ρ·FP + P)`` of the summed counts of all folds.

    ρ is the size of the pool relative to the mean of the folds; if a share s of its images have no partner,
    ρ / (1 - s). Between the rows of a fold counts are interpolated; before the first they are 0, beyond the last those
    of the last. Of several cuts, that with fewest predicted pairs.
    """
    folds = [points for points in folds if points["cuts"]]
    if not folds:
        return UNDEFINED
    rho = relative_size(folds, n_images) / (1.0 - single_share)
    reach = min(points.get("reach", LARGEST) for points in folds)
    n_positive = sum(points["n_positive_pairs"] for points in folds)
    best = (-1.0, -math.inf, UNDEFINED)
    for cut in sorted({cut for points in folds for cut in points["cuts"] if cut <= reach}):
        tp = sum(count_at(points, "tp", cut, is_similarity) for points in folds)
        fp = sum(count_at(points, "fp", cut, is_similarity) for points in folds)
        best = max(best, (f1_of(tp, fp, rho, n_positive), -(tp + fp), cut), key=lambda found: found[:2])
    return best[2]


def relative_size(folds: Sequence[Mapping[str, Any]], n_images: int) -> float:
    """Return ρ, the size of a pool relative to the mean of the folds that have a cut."""
    sizes = [points["n_images"] for points in folds if points["cuts"]]
    return n_images / (sum(sizes) / len(sizes)) if sizes else UNDEFINED


def count_at(points: Mapping[str, Any], kind: str, cut: float, is_similarity: bool) -> float:
    """Return the true (``tp``) or false (``fp``) positives of a fold at any cut."""
    sign = -1.0 if is_similarity else 1.0
    cuts, counts = points["cuts"], points[kind]
    before = bisect_right(cuts, sign * cut, key=lambda each: sign * each) - 1
    if before < 0:
        return 0.0
    if before + 1 == len(cuts):
        return float(counts[before])
    share = (cut - cuts[before]) / (cuts[before + 1] - cuts[before])
    return float(counts[before] + share * (counts[before + 1] - counts[before]))


class Steps(NamedTuple):
    """The steps in which a method joins pairs, the most similar first.

    Attributes:
        cuts: ``(m,)`` cut of each step.
        n_pairs: ``(m,)`` number of pairs that it joins.
        links: ``(m,)`` similarity that determines the probability of these pairs.
        is_similarity: Whether cuts are similarities, which descend, or distances, which ascend.
    """

    cuts: Array
    n_pairs: Array
    links: Array
    is_similarity: bool


def steps_of_threshold(alike: Array) -> Steps:
    """Return the steps of a threshold: every pair joins at its own similarity."""
    descending = -np.sort(-alike)
    return Steps(descending, np.ones(len(alike)), descending, is_similarity=True)


def steps_of_merges(merges: Sequence[Merge], matrix: Array) -> Steps:
    """Return the steps of merges: all pairs of two groups join, with the similarity of the most similar of them."""
    links = [float(matrix[np.ix_(one, other)].max()) for _, one, other in merges]
    n_pairs = [float(len(one) * len(other)) for _, one, other in merges]
    return Steps(np.array([merge.distance for merge in merges]), np.array(n_pairs), np.array(links), False)


class OwnOdds(NamedTuple):
    """The line from spread similarity to log-odds of a pool, and its expected number of positive pairs."""

    intercept: float
    slope: float
    n_positive: float


def spread(similarities: Array) -> Array:
    """Return similarities on the scale of log-odds; those of copies stay finite."""
    largest = 1.0 - 2.0**-24
    spread_out: Array = SOFTNESS * np.arctanh(np.clip(similarities, -largest, largest))
    return spread_out


def expit(log_odds: Array) -> Array:
    """Return the probabilities of log-odds."""
    probabilities: Array = np.exp(-np.logaddexp(0.0, -log_odds))
    return probabilities


def own_odds(alike: Array, folds: Sequence[Mapping[str, Any]]) -> OwnOdds:
    """Return the odds of a pool: the mean line of the folds, shifted to the pool's prior.

    The prior π is the fixed point of ``π = (Σ p(π) + ½) / (n + ½/π₀)``, with π₀ that of the folds; an interval of its
    log-odds is halved until it is found. Pairs count at the middle of their bin, and not if their similarity is -1.
    """
    intercept, slope = (math.fsum(fold[name] for fold in folds) / len(folds) for name in ("intercept", "slope"))
    usual = math.fsum(math.log(fold["prior"] / (1.0 - fold["prior"])) for fold in folds) / len(folds)
    bins = np.minimum(single(alike[alike > -1.0] + 1.0) * (N_BINS / 2), N_BINS - 1).astype(np.int64)
    filled, n_pairs = np.unique(bins, return_counts=True)
    likelihood = intercept + slope * spread((filled + 0.5) * 2 / N_BINS - 1.0) - usual
    n_all = n_pairs.sum() + 0.5 * (1.0 + math.exp(-usual))
    low, high = -100.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        mean = ((n_pairs * expit(likelihood + middle)).sum() + 0.5) / n_all
        low, high = (middle, high) if math.log(mean) > -np.logaddexp(0.0, -middle) else (low, middle)
    return OwnOdds(intercept + low - usual, slope, float((n_pairs * expit(likelihood + low)).sum()))


class OwnCut(NamedTuple):
    """The cut that a pool chooses for itself, and the F1 that it expects there."""

    cut: float
    f1: float


def own_cut(steps: Steps, odds: OwnOdds, folds: Sequence[Mapping[str, Any]]) -> OwnCut:
    """Return the cut with the largest expected F1, midway to the next step; of several, that which joins fewest pairs.

    If less than half a positive pair is expected, nothing is joined. F1 at the cut is expected with the number of
    missed pairs that the folds imply.
    """
    true = np.cumsum(steps.n_pairs * expit(odds.intercept + odds.slope * spread(steps.links)))
    n_joined = np.cumsum(steps.n_pairs)
    worth = 2.0 * true / np.maximum(n_joined + np.maximum(odds.n_positive, true), 1.0)
    worth[:-1][steps.cuts[1:] == steps.cuts[:-1]] = 0.0  # equal cuts join together
    if odds.n_positive < LEAST_POSITIVE:
        return OwnCut(1.0 if steps.is_similarity else 0.0, UNDEFINED)
    if worth.max(initial=0.0) <= 0.0:
        return OwnCut(1.0 if steps.is_similarity else 0.0, 0.0)
    best = int(worth.argmax())  # the first of equals
    end = -1.0 if steps.is_similarity else LARGEST
    cut = float(steps.cuts[best] + (steps.cuts[best + 1] if best + 1 < len(worth) else end)) / 2
    missed = [share_missed(fold, cut if steps.is_similarity else 1.0 - cut) for fold in folds if fold["positives"]]
    share = sum(missed) / len(missed) if missed else 1.0
    n_positive = true[best] / (1.0 - share) if share <= MOST_MISSED else max(odds.n_positive, true[best])
    f1 = 2.0 * true[best] / (n_joined[best] + n_positive) if n_positive >= LEAST_POSITIVE else UNDEFINED
    return OwnCut(cut, float(f1))


def share_missed(fold: Mapping[str, Any], similarity: float) -> float:
    """Return the share of a fold's positive pairs that are less similar, by its quantiles."""
    return float(np.interp(spread(np.array(similarity)), fold["positives"], LEVELS))
