"""A labelled pool: what every method predicts at any cut, and its metrics at its own best cuts and at others."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from skinbit.reference import metrics
from skinbit.reference.cuts import OwnCut, OwnOdds, own_cut, own_odds, steps_of_merges, steps_of_threshold
from skinbit.reference.groups import (
    LARGEST,
    Merge,
    best_cut,
    groups_at,
    linkage_merges,
    mutual_merges,
    single_merges,
    sweep_merges,
)
from skinbit.reference.metrics import UNDEFINED, Array, Curve, Mask, PairMetrics, Rows

CUT_OF = {"cosine": "cosine_threshold", "dbscan": "dbscan_eps", "average": "average_cut", "complete": "complete_cut"}
"""The metric with the cut of each method that has one."""

METHODS = (*CUT_OF, "mutual")
GROUPING = METHODS[1:]

Range = tuple[float, float]


class LabelledPool:
    """Images with their similarities and lesions."""

    def __init__(self, matrix: Array, lesion_ids: Sequence[str], cap: int | None) -> None:
        """Set the similarities ``(n, n)``, the lesion of each image, and the largest group of linkages."""
        self.matrix, self.cap = matrix, cap
        names = sorted(set(lesion_ids))
        self.lesions: Rows = np.array([names.index(lesion) for lesion in lesion_ids], dtype=np.int64)
        self.n_lesions = len(names)
        self._merges: dict[str, list[Merge]] = {}
        self._curves: dict[str, Curve] = {}

    @cached_property
    def alike(self) -> Array:
        """The similarities of all pairs."""
        alike: Array = metrics.of_pairs(self.matrix).astype(np.float64)
        return alike

    @cached_property
    def positive(self) -> Mask:
        """Which pairs show the same lesion."""
        return metrics.are_together(self.lesions)

    def merges(self, method: str) -> list[Merge]:
        """Return the merges of a grouping method."""
        if method not in self._merges:
            if method in ("average", "complete"):
                self._merges[method] = linkage_merges(self.matrix, method, self.cap)
            else:
                self._merges[method] = {"dbscan": single_merges, "mutual": mutual_merges}[method](self.matrix)
        return self._merges[method]

    def curve(self, method: str) -> Curve:
        """Return the counts at every cut of a method."""
        if method not in self._curves:
            if method == "cosine":
                self._curves[method] = metrics.sweep_thresholds(self.alike, self.positive)
            else:
                self._curves[method] = sweep_merges(self.merges(method), self.lesions)
        return self._curves[method]

    def groups(self, method: str, cut: float) -> Rows:
        """Return the groups of a method at a cut; those of mutual neighbours need none."""
        return groups_at(self.merges(method), len(self.matrix), LARGEST if method == "mutual" else cut)

    def predicted(self, method: str, cut: float) -> Mask:
        """Return the pairs that a method predicts at a cut."""
        return self.alike >= cut if method == "cosine" else metrics.are_together(self.groups(method, cut))

    def metrics_at(self, method: str, cut: float) -> PairMetrics:
        """Return the metrics of pairs at a cut; all are undefined if the cut is."""
        if method in CUT_OF and np.isnan(cut):
            return metrics.NO_METRICS
        return metrics.metrics_of(self.predicted(method, cut), self.positive)

    def best(self, method: str, thresholds: Range, distances: Range) -> tuple[float, PairMetrics]:
        """Return the best cut of a method in the searched ranges, and its metrics."""
        if method == "cosine":
            return metrics.best_threshold(self.alike, self.positive, *thresholds)
        if method == "mutual":
            return UNDEFINED, self.metrics_at(method, UNDEFINED)
        return best_cut(self.curve(method), int(self.positive.sum()), *distances)

    def own(self, method: str, odds: OwnOdds, folds: Sequence[Mapping[str, Any]]) -> OwnCut:
        """Return the cut that the pool chooses for itself by its odds, and the F1 that it expects there."""
        if method == "cosine":
            steps = steps_of_threshold(self.alike)
        else:
            steps = steps_of_merges(self.merges(method), self.matrix)
        return own_cut(steps, odds, folds)

    def self_metrics(self, folds: Sequence[Mapping[str, Any]], suffix: str = "") -> dict[str, float]:
        """Return F1 of every method at the cut that the pool chooses for itself, and the F1 that it expects there."""
        found: dict[str, float] = {}
        odds = own_odds(self.alike, folds)
        for method in CUT_OF:
            own = self.own(method, odds, folds)
            found[f"{method}_f1_self{suffix}"] = self.metrics_at(method, own.cut).f1
            found[f"{method}_f1_expected{suffix}"] = own.f1
        return found

    def ranks(self) -> dict[str, float]:
        """Return the metrics that need no cut, and the numbers of images, lesions and positive pairs."""
        return {
            "roc_auc": metrics.roc_auc(self.alike, self.positive),
            "average_precision": metrics.average_precision(self.alike, self.positive),
            "recall_at_1": metrics.recall_at(self.matrix, self.lesions, 1),
            "recall_at_5": metrics.recall_at(self.matrix, self.lesions, 5),
            "mean_average_precision": metrics.mean_average_precision(self.matrix, self.lesions),
            "n_images": float(len(self.matrix)),
            "n_lesions": float(self.n_lesions),
            "n_positive_pairs": float(self.positive.sum()),
        }

    def group_metrics(self, cuts: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics of whole groups at given cuts, undefined without a cut."""
        found: dict[str, float] = {}
        for method in GROUPING:
            is_defined = method == "mutual" or not np.isnan(cuts[method])
            of_groups = metrics.group_metrics(self.groups(method, cuts.get(method, UNDEFINED)), self.lesions)
            found |= {f"{method}_{name}": value if is_defined else UNDEFINED for name, value in of_groups.items()}
        return found

    def own_metrics(self, thresholds: Range, distances: Range) -> dict[str, float]:
        """Return all metrics of the pool at its own best cuts."""
        found = self.ranks()
        for method in METHODS:
            cut, pairs = self.best(method, thresholds, distances)
            found |= named(method, pairs) | ({CUT_OF[method]: cut} if method in CUT_OF else {})
        return found


def named(method: str, pairs: PairMetrics) -> dict[str, float]:
    """Return metrics of pairs with their names in the tables."""
    infix = "" if method in ("cosine", "dbscan") else "pair_"
    return {
        f"{method}_f1": pairs.f1,
        f"{method}_{infix}precision": pairs.precision,
        f"{method}_{infix}recall": pairs.recall,
    }
