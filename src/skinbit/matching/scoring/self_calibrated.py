"""F1 at the cut that a pool chooses for itself, by its similarities alone, beside the F1 that it expects there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.matching.clustering.constraints import unconstrained
from skinbit.matching.clustering.merges import MergeTree, clusters_at
from skinbit.matching.expected.curve import Expectation, expected_cut, joins_of
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.expected.prior import find_prior
from skinbit.matching.labels import LabelArray
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.neighbours import NeighbourGraph
from skinbit.matching.scoring.uncertainty import mean_f1, predicted_pairs, predicted_pairs_of_groups


@dataclass(frozen=True)
class SelfCalibrated:
    """A labelled pool at the cut of a method that it chose without its labels.

    Attributes:
        expected: The cut, and what was expected of it.
        f1: Over pairs, by the labels; NaN without a positive pair.
    """

    expected: Expectation
    f1: float


def self_calibrate(
    counts: LabelArray,
    odds: Sequence[PairOdds],
    graph: NeighbourGraph,
    trees: Mapping[str, MergeTree],
    labels: LabelArray,
) -> dict[str, SelfCalibrated]:
    """Let a labelled pool choose its own cuts without its labels, and measure them by its labels.

    Args:
        counts: Of all its pairs, from :class:`skinbit.matching.expected.prior.SimilarityHistogram`.
        odds: Of other subsets.
        graph: Its near pairs.
        trees: The merges of every method that makes groups.
        labels: ``(n,)``, the lesion of each image.

    Returns:
        By method that has a cut; nothing without odds.
    """
    if not odds:
        return {}
    prior = find_prior(counts, odds)
    found = {}
    for method in CUTS:
        expected = expected_cut(joins_of(graph, trees.get(method), unconstrained(len(labels))), prior)
        if method == "cosine":
            n_joined = graph.n_at_least(expected.cut)
            predicted = predicted_pairs(graph.pairs[:n_joined].astype(np.int64), labels)
        else:
            predicted = predicted_pairs_of_groups(clusters_at(trees[method], expected.cut), labels)
        found[method] = SelfCalibrated(expected, mean_f1([predicted]))
    return found
