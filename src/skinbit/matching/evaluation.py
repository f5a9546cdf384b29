"""All figures of one set of embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.matching.clustering import clusters_at, select_eps, spanning_tree, sweep_eps
from skinbit.matching.metrics import average_precision, recall_at_1, roc_auc
from skinbit.matching.pairs import FloatArray, LabelArray, cosine_similarities, lesion_labels
from skinbit.matching.ranking import rank_pairs
from skinbit.matching.selection import Choice, Sweep, choice_at
from skinbit.matching.verification import select_threshold, sweep_thresholds, with_tail
from skinbit.params import EvaluationParams

METHODS = {"cosine": "cosine_threshold", "dbscan": "dbscan_eps"}
"""Each method with the metric that holds its cut."""


@dataclass(frozen=True)
class Evaluation:
    """What embeddings of one subset are worth.

    Attributes:
        metrics: Figures by name, in the order in which they are reported.
        sweeps: The whole curve of each method.
        clusters: ``(n_images,)`` DBSCAN's groups at the chosen eps.
    """

    metrics: Mapping[str, float]
    sweeps: Mapping[str, Sweep]
    clusters: LabelArray


def evaluate_subset(
    embeddings: FloatArray, lesion_ids: list[str], params: EvaluationParams, thresholds: Sequence[float] = ()
) -> Evaluation:
    """Choose threshold and eps on a subset and tell how well they, and the ranking itself, do there.

    Args:
        embeddings: ``(n_images, embedding_dim)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        lesion_ids: ``n_images`` true lesions.
        params: Searched ranges.
        thresholds: Chosen elsewhere; the curve gives their exact figures too.

    Returns:
        Metrics, curves and groups; without a positive pair all figures that need one are NaN.
    """
    labels = lesion_labels(lesion_ids)
    similarities = cosine_similarities(embeddings)
    ranking = rank_pairs(similarities, labels)
    tree = spanning_tree(similarities)
    curve = with_tail(sweep_thresholds(similarities, labels), similarities, ranking, thresholds)
    epses = sweep_eps(tree, labels)
    threshold = select_threshold(similarities, ranking, curve, *params.threshold_range)
    eps = select_eps(epses, *params.eps_range)
    metrics = {
        **_figures_of("cosine", threshold),
        **_figures_of("dbscan", eps),
        METHODS["cosine"]: threshold.cut,
        METHODS["dbscan"]: eps.cut,
        "roc_auc": roc_auc(ranking),
        "average_precision": average_precision(ranking),
        "recall_at_1": recall_at_1(similarities, labels),
        "n_images": float(len(labels)),
        "n_lesions": float(len(np.unique(labels))),
        "n_positive_pairs": float(ranking.n_positive_pairs),
    }
    return Evaluation(metrics, {"cosine": curve, "dbscan": epses}, clusters_at(tree, eps.cut))


def evaluate_at(found: Evaluation, cuts: Mapping[str, float]) -> dict[str, float]:
    """Tell how well given cuts do on a subset, beside the subset's own best ones.

    Args:
        found: Of the subset, its curves exact at the threshold.
        cuts: The threshold for ``cosine`` and the eps for ``dbscan``, chosen elsewhere.

    Returns:
        F1, precision and recall at the given cuts, the cuts, every figure that needs no cut, and
        ``<method>_f1_oracle`` at the subset's own best cut.
    """
    metrics = dict(found.metrics)
    for method, cut in cuts.items():
        metrics |= {f"{method}_f1_oracle": found.metrics[f"{method}_f1"], METHODS[method]: cut}
        metrics |= _figures_of(method, choice_at(found.sweeps[method], cut))
    return metrics


def _figures_of(method: str, choice: Choice) -> dict[str, float]:
    return {f"{method}_f1": choice.f1, f"{method}_precision": choice.precision, f"{method}_recall": choice.recall}
