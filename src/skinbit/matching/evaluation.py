"""All figures of one set of embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skinbit.errors import InputError
from skinbit.matching.clustering import (
    MergeTree,
    clusters_at,
    select_cut,
    spanning_tree,
    sweep_merges,
)
from skinbit.matching.linkage import linkage_tree, mutual_tree
from skinbit.matching.methods import CUTS, METHODS, PAGED
from skinbit.matching.metrics import average_precision, mean_average_precision, recall_at, recall_at_1, roc_auc
from skinbit.matching.operating_points import OperatingPoints, operating_points
from skinbit.matching.pairs import FloatArray, LabelArray, cosine_similarities, lesion_labels
from skinbit.matching.ranking import PairRanking, rank_pairs
from skinbit.matching.selection import Choice, Sweep, choice_at
from skinbit.matching.verification import select_threshold, sweep_thresholds, with_tail
from skinbit.params import EvaluationParams

ALWAYS = 0.0
"""Stands for the cut of a method that needs none: its pairs are joined at every distance."""


@dataclass(frozen=True)
class Evaluation:
    """What similarities of one subset are worth.

    Attributes:
        metrics: Figures by name, in the order in which they are reported.
        sweeps: The whole curve of each method.
        points: Per method that has a cut, the cuts that are best for pools of some size.
        clusters: ``(n_images,)`` DBSCAN's groups at the chosen eps.
        reach: By method, the distance up to which its curve goes; none: all the way.
        uncertain: Methods whose best cut might lie beyond.
    """

    metrics: Mapping[str, float]
    sweeps: Mapping[str, Sweep]
    points: Mapping[str, OperatingPoints]
    clusters: LabelArray
    reach: Mapping[str, float] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()


def evaluate_subset(
    embeddings: FloatArray, lesion_ids: list[str], params: EvaluationParams, thresholds: Sequence[float] = ()
) -> Evaluation:
    """Do as :func:`evaluate_similarities` with the cosine similarities of embeddings.

    Args:
        embeddings: ``(n_images, embedding_dim)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        lesion_ids: ``n_images`` true lesions.
        params: Searched ranges, cap of groups.
        thresholds: Chosen elsewhere; the curve gives their exact figures too.

    Returns:
        Metrics, curves and groups.
    """
    return evaluate_similarities(cosine_similarities(embeddings), lesion_ids, params, thresholds)


def evaluate_similarities(
    similarities: FloatArray, lesion_ids: list[str], params: EvaluationParams, thresholds: Sequence[float] = ()
) -> Evaluation:
    """Choose the cut of every method on a subset and tell how well they, and the ranking itself, do there.

    Args:
        similarities: ``(n, n)`` float32 in [-1, 1], symmetric.
        lesion_ids: ``n`` true lesions.
        params: Searched ranges, cap of groups.
        thresholds: Chosen elsewhere; the curve gives their exact figures too.

    Returns:
        Metrics, curves and groups; without a positive pair all figures that need one are NaN.
    """
    labels = lesion_labels(lesion_ids)
    ranking = rank_pairs(similarities, labels)
    trees = merge_trees(similarities, params.max_group_size)
    sweeps = {"cosine": with_tail(sweep_thresholds(similarities, labels), similarities, ranking, thresholds)}
    sweeps |= {method: sweep_merges(tree, labels, method) for method, tree in trees.items()}
    ranges = {method: params.threshold_range if method == "cosine" else params.eps_range for method in CUTS}
    choices = {method: select_cut(sweeps[method], *ranges[method]) for method in CUTS if method != "cosine"}
    choices["cosine"] = select_threshold(similarities, ranking, sweeps["cosine"], *params.threshold_range)
    choices["mutual"] = choice_at(sweeps["mutual"], ALWAYS)
    figures = {
        "recall_at_1": recall_at_1(similarities, labels),
        "recall_at_5": recall_at(similarities, labels, 5),
        "mean_average_precision": mean_average_precision(similarities, labels),
    }
    metrics = metrics_of(choices, ranking, figures, labels)
    points = {method: operating_points(sweeps[method], *ranges[method], len(labels)) for method in CUTS}
    return Evaluation(metrics, sweeps, points, clusters_at(trees["dbscan"], choices["dbscan"].cut))


def metrics_of(
    choices: Mapping[str, Choice], ranking: PairRanking, figures: Mapping[str, float], labels: LabelArray
) -> dict[str, float]:
    """Put the figures of a subset in the order in which they are reported.

    Args:
        choices: The cut of every method, and what it gives.
        ranking: Of all pairs.
        figures: ``recall_at_1``, ``recall_at_5``, ``mean_average_precision``.
        labels: ``(n,)`` the lesion of each image.

    Returns:
        Figures by name.
    """
    metrics = {
        **_figures_of("cosine", choices["cosine"]),
        **_figures_of("dbscan", choices["dbscan"]),
        CUTS["cosine"]: choices["cosine"].cut,
        CUTS["dbscan"]: choices["dbscan"].cut,
        "roc_auc": roc_auc(ranking),
        "average_precision": average_precision(ranking),
        "recall_at_1": figures["recall_at_1"],
        "n_images": float(len(labels)),
        "n_lesions": float(len(np.unique(labels))),
        "n_positive_pairs": float(ranking.n_positive_pairs),
    }
    for method in METHODS:
        metrics |= _figures_of(method, choices[method])  # those of cosine and DBSCAN stay where they are
    metrics |= {cut: choices[method].cut for method, cut in CUTS.items()}
    return metrics | {name: figures[name] for name in ("recall_at_5", "mean_average_precision")}


def merge_trees(similarities: FloatArray, max_group_size: int | None) -> dict[str, MergeTree]:
    """Give, for every method that puts images into groups, all of its groups at once.

    Args:
        similarities: ``(n, n)`` float32 in [-1, 1], symmetric.
        max_group_size: Average and complete linkage make no larger groups; none: of any size.

    Returns:
        By method, in the order of :data:`skinbit.matching.methods.METHODS`.
    """
    return {
        "dbscan": spanning_tree(similarities),
        "average": linkage_tree(similarities, "average", max_group_size),
        "complete": linkage_tree(similarities, "complete", max_group_size),
        "mutual": mutual_tree(similarities),
    }


def evaluate_at(found: Evaluation, cuts: Mapping[str, float]) -> dict[str, float]:
    """Tell how well given cuts do on a subset, beside the subset's own best ones.

    Args:
        found: Of the subset, its curves exact at the threshold.
        cuts: Per method a cut that was chosen elsewhere.

    Returns:
        F1, precision and recall at the given cuts, the cuts, every figure that needs no cut, and
        ``<method>_f1_oracle`` at the subset's own best cut.

    Raises:
        InputError: If a cut lies beyond the reach of the curves.
    """
    metrics = dict(found.metrics)
    for method, cut in cuts.items():
        reach = found.reach.get(method, np.inf)
        if cut > reach:
            raise beyond_reach(method, cut, reach)
        metrics |= {f"{method}_f1_oracle": found.metrics[f"{method}_f1"], CUTS[method]: cut}
        metrics |= _figures_of(method, choice_at(found.sweeps[method], cut))
    return metrics


def beyond_reach(method: str, cut: float, reach: float) -> InputError:
    """Say that a curve ends before a cut."""
    return InputError(
        f"the cut {cut} of {method} lies beyond {reach}, where its curve ends: too many pairs are as near.\n"
        "  Remedy: raise memory.max_matrix_images above the number of images, where memory allows."
    )


def _figures_of(method: str, choice: Choice) -> dict[str, float]:
    # `average_precision` is a figure of the ranking: precision by average linkage needs another name.
    of_pairs = "" if method in PAGED else "pair_"
    return {
        f"{method}_f1": choice.f1,
        f"{method}_{of_pairs}precision": choice.precision,
        f"{method}_{of_pairs}recall": choice.recall,
    }
