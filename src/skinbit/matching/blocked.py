"""All figures of embeddings whose matrix of similarities would not fit into memory, the same as from the matrix."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skinbit.matching.blocks import BLOCK_BYTES, Images, similarity_tiles
from skinbit.matching.clustering import MergeTree, clusters_at, select_cut, sweep_merges
from skinbit.matching.evaluation import ALWAYS, Evaluation, beyond_reach, evaluate_similarities, metrics_of
from skinbit.matching.large_pool import LargePool, Similarities
from skinbit.matching.linkage import tree_of_groups
from skinbit.matching.methods import CUTS
from skinbit.matching.neighbours import (
    MOST_PAIRS,
    NeighbourGraph,
    estimate_floor,
    neighbours_above,
    spanning_forest,
)
from skinbit.matching.operating_points import operating_points
from skinbit.matching.pairs import LabelArray, lesion_labels
from skinbit.matching.selection import Choice, Sweep, choice_at, select
from skinbit.matching.sparse_linkage import linkage_forest
from skinbit.matching.survey import PositivePairs, Survey, find_positives, survey_pairs
from skinbit.matching.verification import choose_threshold, extend, singles_at_least, sweep_most_similar
from skinbit.params import EvaluationParams

logger = logging.getLogger(__name__)

_FIRST_AT_LEAST = 2_000
_FIRST_PER_IMAGE = 80
_GROWTH = 4


@dataclass(frozen=True)
class Limits:
    """How much is held at once; none of it changes a figure.

    Attributes:
        block_bytes: Memory for similarities at any moment.
        most_pairs: Near pairs held at most; where certainty takes more, methods stay uncertain.
        first_pairs: About so many are looked for at first, and four times as many again until all is certain. None: 80
            per image or positive pair.
        first_part: Of the near pairs that are held, a method first tries this part, then twice as many until its best
            cut is certain. 1: all; curves then reach farther.
    """

    block_bytes: int = BLOCK_BYTES
    most_pairs: int = MOST_PAIRS
    first_pairs: int | None = None
    first_part: int = 8


DEFAULT_LIMITS = Limits()


def evaluate_embeddings_in_blocks(
    images: Images,
    lesion_ids: list[str],
    params: EvaluationParams,
    thresholds: Sequence[float] = (),
    cuts: Mapping[str, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Evaluation:
    """Do as :func:`skinbit.matching.evaluation.evaluate_subset` without ever holding all pairs.

    One look at all pairs gives what ranks them, exactly, and the nearest of them; the groups of every method are made
    of these, up to a distance beyond which no cut could be better. Where they do not reach so far, more are looked for.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        lesion_ids: ``n_images`` true lesions.
        params: Searched ranges, cap of groups.
        thresholds: Chosen elsewhere; the curve gives their exact figures too.
        cuts: Chosen elsewhere, by method, distances; the curves reach them.
        limits: How much is held at once.

    Returns:
        The same metrics and groups. Curves of groups end at their ``reach``; that of ``cosine`` has a row per positive
        pair and threshold below its head. Operating points are those of these curves: for pools that are not smaller
        than the subset they choose the same cuts. ``uncertain`` names methods for which the limit on pairs was reached
        first: their best cut within the reach is given.
    """
    labels = lesion_labels(lesion_ids)
    subset = _Subset(images, labels, find_positives(images, labels), params, dict(cuts or {}))
    return _evaluation(*_search(subset, thresholds, tuple(_TREES), limits), subset, limits)


def evaluate_pool(
    similarities: Similarities,
    lesion_ids: list[str],
    params: EvaluationParams,
    cuts: Mapping[str, float] | None = None,
) -> Evaluation:
    """Evaluate a subset of any size: by :func:`skinbit.matching.evaluation.evaluate_similarities`, or in blocks.

    Args:
        similarities: Of all pairs, or what they are computed from.
        lesion_ids: ``n`` true lesions.
        params: Searched ranges, cap of groups.
        cuts: Chosen elsewhere, by method; figures at them are exact. None: none are.

    Returns:
        Metrics, curves and groups; a warning names the methods that remain uncertain.
    """
    given = dict(cuts or {})
    thresholds = [given.pop("cosine")] if "cosine" in given else []
    if not isinstance(similarities, LargePool):
        return evaluate_similarities(similarities, lesion_ids, params, thresholds)
    defined = {method: cut for method, cut in given.items() if not np.isnan(cut)}
    asked = [threshold for threshold in thresholds if not np.isnan(threshold)]
    # Cuts for smaller pools are looser than the best one here: the curves that they are chosen by shall reach far.
    found = evaluate_embeddings_in_blocks(similarities, lesion_ids, params, asked, defined, Limits(first_part=1))
    _warn_of_uncertain(found.uncertain, len(lesion_ids))
    return found


def _warn_of_uncertain(methods: Sequence[str], n_images: int) -> None:
    if methods:
        logger.warning(
            "%s among %d images: the best of the cuts that %d near pairs reach is given, a looser one might be better; "
            "memory.max_matrix_images=%d would tell, and takes some %.0f GB",
            ", ".join(methods),
            n_images,
            MOST_PAIRS,
            n_images,
            8e-9 * n_images**2,
        )


def sweep_in_blocks(
    images: Images,
    labels: LabelArray,
    method: str,
    max_group_size: int | None,
    cuts: Sequence[float],
    limits: Limits = DEFAULT_LIMITS,
) -> Sweep:
    """Give the curve of one method without ever holding all pairs.

    Args:
        images: As for :func:`skinbit.matching.blocks.similarity_tiles`.
        labels: ``(n,)``, the lesion of each image.
        method: ``cosine``, ``dbscan``, ``average`` or ``complete``.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.
        cuts: At these, too, the curve is exact; NaN ones do not count.
        limits: How much is held at once.

    Returns:
        The curve, as :func:`evaluate_embeddings_in_blocks` draws it; a warning says where its best cut is uncertain.

    Raises:
        InputError: If the curve ends before one of the cuts.
    """
    params, given = EvaluationParams(max_group_size=max_group_size), [cut for cut in cuts if not np.isnan(cut)]
    loosest = {} if method == "cosine" or not given else {method: max(given)}
    subset = _Subset(images, labels, find_positives(images, labels), params, loosest)
    methods, thresholds = ((), given) if method == "cosine" else ((method,), [])
    survey, judged, head = _search(subset, thresholds, methods, limits)
    if method == "cosine":
        if head is None:
            _warn_of_uncertain(["cosine"], len(labels))
        return _threshold_curve(survey, head)
    found = judged[method]
    if not found.is_certain:
        _warn_of_uncertain([method], len(labels))
    if loosest and loosest[method] > found.reach:
        raise beyond_reach(method, loosest[method], found.reach)
    return found.sweep


def _search(
    subset: "_Subset", thresholds: Sequence[float], methods: Sequence[str], limits: Limits
) -> tuple[Survey, dict[str, "_Judged"], Sweep | None]:
    """Look at all pairs, and for near ones until the best cut of each method, and the threshold's, is certain."""
    images, params = subset.images, subset.params
    counted = np.unique(singles_at_least([*thresholds, params.threshold_range[1]]))
    per_image = _FIRST_PER_IMAGE * max(len(subset.labels), subset.n_positive_pairs)
    n_wanted = limits.first_pairs or max(_FIRST_AT_LEAST, per_image)
    floor = estimate_floor(images, min(n_wanted, limits.most_pairs))
    survey = survey_pairs(images, subset.positives, floor, counted, limits.block_bytes, limits.most_pairs)
    first_part = -(-len(survey.graph.pairs) // limits.first_part)
    judged = {method: _judge(method, survey.graph, subset, first_part) for method in methods}
    head = _head(survey, subset)
    while head is None or any(not found.is_certain for found in judged.values()):
        graph = _looser(survey.graph, images, limits)
        if graph is None:
            break
        first_part, survey = 2 * len(survey.graph.pairs), replace(survey, graph=graph)
        judged = {
            method: found if found.is_certain else _judge(method, graph, subset, first_part)
            for method, found in judged.items()
        }
        head = _head(survey, subset)
    return survey, judged, head


@dataclass(frozen=True)
class _Subset:
    """What is evaluated, and how."""

    images: Images
    labels: LabelArray
    positives: PositivePairs
    params: EvaluationParams
    cuts: Mapping[str, float]

    @property
    def n_positive_pairs(self) -> int:
        return len(self.positives.pairs)


def _looser(graph: NeighbourGraph, images: Images, limits: Limits) -> NeighbourGraph | None:
    """Look for several times as many pairs; None where there are no more, or too many."""
    n_wanted = max(1, len(graph.pairs))
    while not graph.is_complete and n_wanted < limits.most_pairs:
        n_wanted *= _GROWTH
        floor = estimate_floor(images, min(n_wanted, limits.most_pairs))
        if floor < graph.floor:  # not where many pairs are equally similar
            looser = neighbours_above(images, floor, limits.block_bytes, limits.most_pairs)
            return looser if looser.floor < graph.floor else None
    return None


def _head(survey: Survey, subset: _Subset) -> Sweep | None:
    """Give the head of the curve over thresholds; None where it takes more pairs than are held."""
    try:
        return sweep_most_similar(survey.graph.most_similar, subset.positives.similarities, survey.ranking.n_pairs)
    except LookupError:
        return None


@dataclass(frozen=True)
class _Judged:
    """A method that makes groups of near pairs: merges and curve up to a reach, the best cut, whether it is certain."""

    tree: MergeTree
    sweep: Sweep
    choice: Choice
    reach: float
    is_certain: bool
    is_whole: bool  # as far as cuts are searched


def _judge(method: str, graph: NeighbourGraph, subset: _Subset, first_part: int) -> _Judged:
    """Judge a method by as few of the nearest pairs as make its best cut certain, else by all that are held."""
    n_pairs = max(1, first_part)
    while True:
        part = graph.nearest_part(n_pairs)
        judged = _judge_part(method, part, subset)
        if judged.is_certain or part is graph:
            return judged
        n_pairs *= 2


def _judge_part(method: str, graph: NeighbourGraph, subset: _Subset) -> _Judged:
    params = subset.params
    tree = _TREES[method](graph, subset.images, params.max_group_size)
    sweep = sweep_merges(tree, subset.labels, method)
    ends = np.append(sweep.cuts[1:], [graph.reach][: len(sweep.cuts)])
    sweep = replace(sweep, reported=(sweep.cuts + ends) / 2)
    reach = max(0.0, graph.reach)  # below 0 where only equal images are held: nothing is joined
    choice = select_cut(sweep, *(min(end, reach) for end in params.eps_range))
    is_certain = subset.cuts.get(method, ALWAYS) <= reach and (
        graph.is_complete or _is_certain(tree, sweep, choice, graph.reach, subset)
    )
    is_whole = graph.is_complete or params.eps_range[1] <= graph.reach
    return _Judged(tree, sweep, choice, graph.reach, is_certain, is_whole)


_TREES: Mapping[str, Callable[[NeighbourGraph, Images, int | None], MergeTree]] = {
    "dbscan": lambda graph, _images, _max_group_size: spanning_forest(graph),
    "average": partial(linkage_forest, linkage="average"),
    "complete": partial(linkage_forest, linkage="complete"),
}


def _is_certain(tree: MergeTree, sweep: Sweep, choice: Choice, reach: float, subset: _Subset) -> bool:
    """Tell whether no cut beyond the reach gives a higher F1, nor another end to the range of the best cut."""
    low, high = subset.params.eps_range
    if high <= reach or sweep.n_positive_pairs == 0:
        return True
    if low > reach or choice.f1 == 0 or choice.cut >= sweep.cuts.max(initial=0.0):
        return False
    cap = None if sweep.method == "dbscan" else subset.params.max_group_size
    return not could_gain(sweep, choice.cut, clusters_at(tree, reach), subset.positives.pairs, cap)


def could_gain(
    sweep: Sweep, cut: float, groups: LabelArray, positive_pairs: LabelArray, max_group_size: int | None
) -> bool:
    """Tell whether a curve might rise above its best row beyond its last one, where the last row's groups only merge.

    Let F = 2·tp / (tp + fp + P) be that of the best row. Any cut with TP and FP is better if and only if
    ``2·TP - F·(TP + FP) > F·P``. Beyond the last row TP and TP + FP grow, for every two groups a and b of the last row
    that come together, by their n positive pairs and by all their ``size(a)·size(b)`` pairs: the left side grows by
    ``2·n - F·size(a)·size(b)``. Whichever groups come together, it grows by no more than the sum of these terms over
    all a and b for which they are positive, and a and b that would be too large together never meet. If even this sum
    does not lift it above F·P, no cut beyond is better. All of it is in whole numbers, times ``tp + fp + P``.

    If a cut beyond is no better for this subset, it is no better for a pool ρ ≥ 1 times as large: with TP ≥ tp there,
    ``ρ·(tp·FP - TP·fp) ≥ P·(TP - tp) ≥ 0`` holds for ρ = 1 and so for every larger ρ.

    Args:
        sweep: The curve, by distance.
        cut: At its best row.
        groups: ``(n,)`` the groups of its last row.
        positive_pairs: ``(P, 2)`` rows of all positive pairs, at least one.
        max_group_size: Groups that would be larger together do not merge; none: of any size.

    Returns:
        False only if no cut beyond the last row is better.
    """
    counts = np.concatenate([[[0], [0]], [sweep.tp, sweep.fp]], axis=1).astype(np.int64)
    tp, fp = counts[:, np.searchsorted(sweep.cuts, cut, side="right")].tolist()
    last_tp, last_fp = counts[:, -1].tolist()
    n_positive = len(positive_pairs)
    numerator, denominator = 2 * tp, tp + fp + n_positive
    sizes = np.bincount(groups)
    apart = np.sort(groups[positive_pairs], axis=1)
    apart = apart[apart[:, 0] != apart[:, 1]]
    if max_group_size is not None:
        apart = apart[sizes[apart].sum(axis=1) <= max_group_size]
    both, n_joined = np.unique(apart, axis=0, return_counts=True)
    gains = 2 * denominator * n_joined - numerator * sizes[both[:, 0]] * sizes[both[:, 1]]
    reached = 2 * denominator * last_tp - numerator * (last_tp + last_fp)
    most = int(reached) + int(gains[gains > 0].sum())
    return most > int(numerator) * n_positive


def _evaluation(
    survey: Survey, judged: Mapping[str, _Judged], head: Sweep | None, subset: _Subset, limits: Limits
) -> Evaluation:
    params, labels = subset.params, subset.labels
    mutual = sweep_merges(tree_of_groups(survey.mutual), labels, "mutual")
    sweeps = {"cosine": _threshold_curve(survey, head)}
    sweeps |= {method: found.sweep for method, found in judged.items()} | {"mutual": mutual}
    choices = {method: found.choice for method, found in judged.items()} | {"mutual": choice_at(mutual, ALWAYS)}
    if head is not None and params.threshold_range == (-1.0, 1.0):
        choices["cosine"] = select(head)
    else:
        at_high = np.searchsorted(survey.counted, singles_at_least([params.threshold_range[1]])[0])
        below = partial(_largest_below, survey.graph, subset.images, limits.block_bytes)
        n_at_high = int(survey.n_at_least[at_high])
        choices["cosine"] = choose_threshold(survey.ranking, params.threshold_range, n_at_high, below)
    figures = {f"recall_at_{k}": recall for k, recall in survey.recall_at.items()}
    figures["mean_average_precision"] = survey.mean_average_precision
    ranges = {method: params.threshold_range if method == "cosine" else params.eps_range for method in CUTS}
    return Evaluation(
        metrics=metrics_of(choices, survey.ranking, figures, labels),
        sweeps=sweeps,
        points={
            method: operating_points(
                sweeps[method], *ranges[method], len(labels), method not in judged or judged[method].is_whole
            )
            for method in CUTS
        },
        clusters=clusters_at(judged["dbscan"].tree, choices["dbscan"].cut),
        reach={method: found.reach for method, found in judged.items()},
        uncertain=tuple(method for method, found in judged.items() if not found.is_certain),
    )


def _threshold_curve(survey: Survey, head: Sweep | None) -> Sweep:
    """Draw the curve on through the positive pairs and counted similarities below its head."""
    ranking = survey.ranking
    none = np.empty(0)
    nothing = Sweep("cosine", none, none, none.astype(np.int64), none.astype(np.int64), ranking.n_positive_pairs)
    cuts, first = np.unique(np.concatenate([ranking.positives, survey.counted]), return_index=True)
    n_at_least = np.concatenate([ranking.n_at_least, survey.n_at_least])[first]
    start = nothing if head is None else head
    is_below = cuts < start.cuts.min(initial=np.inf)
    return extend(start, ranking, cuts[is_below], n_at_least[is_below])


def _largest_below(graph: NeighbourGraph, images: Images, block_bytes: int, threshold: float) -> float:
    """Give the largest similarity below another one; -1 where there is none."""
    limit = np.float64(threshold)  # a Python float would be rounded to single precision first
    held = graph.similarities[graph.similarities < limit]
    if len(held) or graph.is_complete:
        return float(held.max(initial=-1.0))
    tiles = similarity_tiles(images, block_bytes, "next similarity")
    below = (float(tile.pairs()[tile.pairs() < limit].max(initial=-1.0)) for tile in tiles)
    return max(below, default=-1.0)
