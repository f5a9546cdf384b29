"""The metrics of a labelled pool: of its ranking, and of every method at its own best cut and at given cuts."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from skinbit.config import CutParams
from skinbit.matching.clustering.merges import MergeTree, clusters_at, components, sweep_merges
from skinbit.matching.clustering.mutual import MutualPairs, tree_of_groups
from skinbit.matching.curves import UNDEFINED, Choice, Sweep, choice_at, pairwise_f1, select
from skinbit.matching.cuts.operating_points import OperatingPoints, operating_points
from skinbit.matching.cuts.search import (
    ALWAYS,
    BestCut,
    Vicinity,
    first_floor,
    floor_of,
    merge_tree,
    search_cut,
    search_threshold,
    warn_of_uncertain,
)
from skinbit.matching.cuts.survey import PartnerRanks, PositivePairs, Survey, find_positives, survey_pairs
from skinbit.matching.cuts.thresholds import choose_threshold, extend
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.expected.prior import SimilarityHistogram
from skinbit.matching.labels import FloatArray, LabelArray, lesion_labels
from skinbit.matching.methods import CUTS, METHODS, PAGED
from skinbit.matching.pairs.neighbours import NearPairs, singles_at_least
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.retrieval import average_precision, roc_auc
from skinbit.matching.pairs.tiles import look_at, similarity_tiles
from skinbit.matching.scoring.group_metrics import evaluate_groups
from skinbit.matching.scoring.self_calibrated import SelfCalibrated, self_calibrate
from skinbit.matching.scoring.uncertainty import PredictedPairs, predicted_pairs, predicted_pairs_of_groups

logger = logging.getLogger(__name__)

GROUP_METRICS = ("bcubed_f1", "ari", "ami", "n_groups_error")
"""Reported metrics of groups."""

_GROUPED = tuple(method for method in CUTS if METHODS[method].is_group)
"""Methods that group images by a cut."""

_TAIL = np.linspace(-1.0, 1.0, 401)
"""Number of thresholds at which the tail of a curve is computed, besides those at which a positive pair enters; below
the last of these, only the least similar pair is included, so that distant pairs need no counts."""


@dataclass(frozen=True)
class AtCuts:
    """The metrics of a pool at cuts that were selected elsewhere.

    Attributes:
        metrics: ``<method>_bcubed_f1`` and others for every grouping method; NaN without a cut.
        predicted: Predicted pairs by lesion, for every method that has a cut or needs none.
        groups: ``(n,)``, groups by grouping method.
        recall_at_1: Share of images whose nearest image shows the same lesion.
        vicinity: Near pairs from which everything was computed.
        own: The pool's own cuts by method; empty without odds.
    """

    metrics: Mapping[str, float]
    predicted: Mapping[str, PredictedPairs]
    groups: Mapping[str, LabelArray]
    recall_at_1: float
    vicinity: Vicinity
    own: Mapping[str, SelfCalibrated] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The metrics of a labelled pool.

    Attributes:
        metrics: Metrics by name, in the order of reports, at the pool's own best cuts.
        sweeps: Curve of each method; those of groups end at their ``reach``.
        points: Operating points by method.
        clusters: ``(n,)``, DBSCAN's groups at the selected eps.
        reach: Distance up to which the curve of each method is known.
        uncertain: Methods that may have a better cut beyond.
        given: Metrics at the given cuts.
    """

    metrics: Mapping[str, float]
    sweeps: Mapping[str, Sweep]
    points: Mapping[str, OperatingPoints]
    clusters: LabelArray
    reach: Mapping[str, float]
    uncertain: tuple[str, ...]
    given: AtCuts


def score(pool: Pool, lesion_ids: list[str], params: CutParams, cuts: Mapping[str, float] | None = None) -> Score:
    """Return the metrics of a labelled pool at the best cut of every method, at given cuts, and of the ranking.

    One pass over all pairs yields exact ranks and the near pairs, from which the groups of every method are made, up to
    a distance beyond which no cut can be better. If the near pairs do not reach that far, more are collected.

    Args:
        pool: The images.
        lesion_ids: True lesion of each of the ``n`` images.
        params: Searched ranges and largest group.
        cuts: Cuts selected elsewhere, by method, thresholds for ``cosine``, otherwise distances; NaN if undefined.
            None: metrics at given cuts only include methods without a cut.

    Returns:
        The score; without a positive pair, all metrics that need one are NaN. A warning names methods for which the
        limit on pairs was reached before their best cut was certain; the best cut within the reach is used. Likewise, a
        given cut that needs too many pairs is replaced by the loosest possible one.
    """
    labels = lesion_labels(lesion_ids)
    positives = find_positives(pool, labels)
    given = dict(cuts or {})
    survey = survey_pairs(pool, positives, first_floor(pool, len(positives.pairs)), _counted(positives, given, params))
    vicinity = Vicinity(pool, survey.graph)
    given = vicinity.reach(given)
    found = _search_cuts(vicinity, labels, positives, params)
    # If the head is not held, ranks of positive pairs give the exact best threshold.
    head = search_threshold(vicinity.graph, positives)
    uncertain = tuple(method for method, each in found.items() if not each.is_certain)
    warn_of_uncertain(uncertain, pool)
    trees = {**{method: each.tree for method, each in found.items()}, "mutual": tree_of_groups(survey.mutual)}
    sweeps = {
        "cosine": _threshold_curve(survey, head),
        **{method: each.sweep for method, each in found.items()},
        "mutual": sweep_merges(trees["mutual"], labels, "mutual"),
    }
    choices = {
        **{method: each.choice for method, each in found.items()},
        "cosine": _choose_threshold(survey, head, vicinity, params.threshold_range),
        "mutual": choice_at(sweeps["mutual"], ALWAYS),
    }
    return Score(
        metrics=_metrics_of(choices, survey, labels),
        sweeps=sweeps,
        points={
            "cosine": operating_points(sweeps["cosine"], *params.threshold_range, len(labels)),
            **{
                method: operating_points(each.sweep, *params.eps_range, len(labels), each.is_whole)
                for method, each in found.items()
            },
        },
        clusters=clusters_at(found["dbscan"].tree, choices["dbscan"].cut),
        reach={method: each.reach for method, each in found.items()},
        uncertain=uncertain,
        given=_at_cuts(trees, vicinity, labels, given, survey.recall_at[1]),
    )


def _counted(positives: PositivePairs, cuts: Mapping[str, float], params: CutParams) -> FloatArray:
    """Return the similarities, besides those of positive pairs, at which all pairs are counted, ascending."""
    thresholds = [cuts["cosine"]] if not np.isnan(cuts.get("cosine", np.nan)) else []
    tail = _TAIL[positives.similarities.min(initial=np.inf) <= _TAIL]
    return np.unique(singles_at_least([*thresholds, params.threshold_range[1], *tail.tolist()]))


def _search_cuts(
    vicinity: Vicinity, labels: LabelArray, positives: PositivePairs, params: CutParams
) -> dict[str, BestCut]:
    """Return the best cut of every grouping method, with more near pairs until all are certain."""
    found: dict[str, BestCut] = {}
    while True:
        for method in _GROUPED:
            if method not in found or not found[method].is_certain:
                found[method] = search_cut(method, vicinity, labels, positives, params)
        if all(each.is_certain for each in found.values()) or not vicinity.widen():
            return found


def score_at(
    pool: Pool,
    labels: LabelArray,
    cuts: Mapping[str, float],
    max_group_size: int | None,
    odds: Sequence[PairOdds] = (),
) -> AtCuts:
    """Return the metrics of a labelled pool at cuts that were selected elsewhere, and no others.

    Args:
        pool: The images.
        labels: ``(n,)``, lesion of each image.
        cuts: Cut of every method that has one, a threshold for ``cosine``, otherwise a distance; NaN if undefined.
        max_group_size: Largest group of average and complete linkage; None: no limit.
        odds: Odds of other subsets, from which the pool chooses its own cuts; empty: it chooses none.

    Returns:
        Metrics, predicted pairs and groups. If a cut needs more pairs than can be held, a warning is logged, and
        metrics are those at the loosest possible cut.
    """
    floor = min([first_floor(pool), *(floor_of(method, cut) for method, cut in cuts.items())])
    near, mutual = NearPairs(floor, pool.limits.most_pairs), MutualPairs(len(pool))
    ranks, histogram = PartnerRanks(len(pool), find_positives(pool, labels)), SimilarityHistogram(len(pool))
    look_at(pool, [near, mutual, ranks, *([histogram] if odds else [])])
    vicinity = Vicinity(pool, near.graph(len(pool)))
    held = vicinity.reach(cuts)
    trees = {method: merge_tree(method, vicinity.graph, pool, max_group_size) for method in _GROUPED}
    own = self_calibrate(histogram.counts, odds, vicinity.graph, trees, labels)
    trees["mutual"] = tree_of_groups(components(len(pool), mutual.links()[0]))
    return replace(_at_cuts(trees, vicinity, labels, held, ranks.recall_at(1)), own=own)


def _at_cuts(
    trees: Mapping[str, MergeTree],
    vicinity: Vicinity,
    labels: LabelArray,
    cuts: Mapping[str, float],
    recall_at_1: float,
) -> AtCuts:
    chosen = {method: cuts.get(method, np.nan) if method in CUTS else ALWAYS for method in METHODS}
    groups = {method: clusters_at(tree, chosen[method]) for method, tree in trees.items()}
    n_predicted = 0 if np.isnan(chosen["cosine"]) else vicinity.graph.n_at_least(chosen["cosine"])
    predicted = {"cosine": predicted_pairs(vicinity.graph.pairs[:n_predicted].astype(np.int64), labels)}
    predicted |= {method: predicted_pairs_of_groups(ids, labels) for method, ids in groups.items()}
    of_groups = {method: evaluate_groups(ids, labels) for method, ids in groups.items()}
    is_cut = {method: not np.isnan(cut) for method, cut in chosen.items()}
    metrics = {
        f"{method}_{name}": of_groups[method][name] if is_cut[method] else float("nan")
        for method in groups
        for name in GROUP_METRICS
    }
    defined = {method: predicted[method] for method in METHODS if is_cut[method]}
    return AtCuts(metrics, defined, groups, recall_at_1, vicinity)


def metrics_at_cuts(found: Score, cuts: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a pool at given cuts, with its best F1.

    Args:
        found: Score of the pool, at these cuts.
        cuts: Cut of each method, selected elsewhere.

    Returns:
        F1, precision and recall at the given cuts, the cuts, all metrics without a cut, and ``<method>_f1_oracle`` at
        the pool's own best cut.
    """
    metrics = dict(found.metrics)
    for method, cut in cuts.items():
        metrics |= {f"{method}_f1_oracle": found.metrics[f"{method}_f1"], CUTS[method]: cut}
        predicted = found.given.predicted.get(method)
        metrics |= _pair_metrics(method, UNDEFINED if predicted is None else _choice_of(predicted, cut))
    return metrics


def _choice_of(predicted: PredictedPairs, cut: float) -> Choice:
    tp, fp, n_positive = (
        int(counts.sum()) for counts in (predicted.true_pairs, predicted.false_count, predicted.positive_pairs)
    )
    if n_positive == 0:
        return UNDEFINED
    f1 = float(pairwise_f1(np.array(tp), np.array(fp), n_positive))
    return Choice(cut, f1, tp / (tp + fp) if tp + fp else np.nan, tp / n_positive)


def _choose_threshold(survey: Survey, head: Sweep | None, vicinity: Vicinity, within: tuple[float, float]) -> Choice:
    if head is not None and within == (-1.0, 1.0):
        return select(head)
    at_high = np.searchsorted(survey.counted, singles_at_least([within[1]])[0])
    n_at_high = int(survey.n_at_least[at_high])
    return choose_threshold(survey.ranking, within, n_at_high, lambda threshold: _largest_below(vicinity, threshold))


def _threshold_curve(survey: Survey, head: Sweep | None) -> Sweep:
    """Return the curve extended below its head through positive pairs and counted similarities to the last pair."""
    ranking = survey.ranking
    none = np.empty(0)
    nothing = Sweep("cosine", none, none, none.astype(np.int64), none.astype(np.int64), ranking.n_positive_pairs)
    start = nothing if head is None else head
    lowest = np.array([survey.lowest] if np.isfinite(survey.lowest) else [], dtype=np.float32)
    cuts, first = np.unique(np.concatenate([ranking.positives, survey.counted, lowest]), return_index=True)
    n_at_least = np.concatenate([ranking.n_at_least, survey.n_at_least, np.full(len(lowest), ranking.n_pairs)])[first]
    is_drawn = (cuts < start.cuts.min(initial=np.inf)) & (cuts >= lowest.min(initial=np.inf))
    return extend(start, ranking, cuts[is_drawn], n_at_least[is_drawn])


def _largest_below(vicinity: Vicinity, threshold: float) -> float:
    """Return the largest similarity below another one; -1 if there is none."""
    limit, graph = np.float64(threshold), vicinity.graph  # a Python float would be rounded to single precision first
    held = graph.similarities[graph.similarities < limit]
    if len(held) or graph.is_complete:
        return float(held.max(initial=-1.0))
    tiles = similarity_tiles(vicinity.pool, "next similarity")
    below = (float(tile.pairs()[tile.pairs() < limit].max(initial=-1.0)) for tile in tiles)
    return max(below, default=-1.0)


def _metrics_of(choices: Mapping[str, Choice], survey: Survey, labels: LabelArray) -> dict[str, float]:
    """Return the metrics of a pool in the order of reports."""
    metrics = {
        **_pair_metrics("cosine", choices["cosine"]),
        **_pair_metrics("dbscan", choices["dbscan"]),
        CUTS["cosine"]: choices["cosine"].cut,
        CUTS["dbscan"]: choices["dbscan"].cut,
        "roc_auc": roc_auc(survey.ranking),
        "average_precision": average_precision(survey.ranking),
        "recall_at_1": survey.recall_at[1],
        "n_images": float(len(labels)),
        "n_lesions": float(len(np.unique(labels))),
        "n_positive_pairs": float(survey.ranking.n_positive_pairs),
    }
    for method in METHODS:
        metrics |= _pair_metrics(method, choices[method])  # those of cosine and DBSCAN keep their place
    metrics |= {cut: choices[method].cut for method, cut in CUTS.items()}
    return metrics | {"recall_at_5": survey.recall_at[5], "mean_average_precision": survey.mean_average_precision}


def _pair_metrics(method: str, choice: Choice) -> dict[str, float]:
    # `average_precision` is a metric of the ranking: precision by average linkage needs another name.
    of_pairs = "" if method in PAGED else "pair_"
    return {
        f"{method}_f1": choice.f1,
        f"{method}_{of_pairs}precision": choice.precision,
        f"{method}_{of_pairs}recall": choice.recall,
    }
