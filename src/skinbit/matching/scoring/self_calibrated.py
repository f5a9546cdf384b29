"""F1 at the cut that a pool chooses from its similarities alone, with the F1 that it expects there."""

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
        expected: The cut and its expected metrics.
        f1: F1 of pairs, from the labels; NaN without a positive pair.
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
    """Return the cuts that a labelled pool chooses without its labels, evaluated on its labels.

    Args:
        counts: Counts of all its pairs, from :class:`skinbit.matching.expected.prior.SimilarityHistogram`.
        odds: Odds of other subsets.
        graph: Its near pairs.
        trees: Merges of every grouping method.
        labels: ``(n,)``, lesion of each image.

    Returns:
        Results by method that has a cut; empty without odds.
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
