"""Expected precision, recall and F1 of a pool over a cut, and the cut with the largest expected F1.

A pair that a threshold predicts is a true positive with its own probability. Groups are transitive: if two groups show
the same lesion, all pairs between them are positive. So all pairs of a merge have the probability of its strongest
link, the most similar pair between the two groups.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.clustering.merges import MergeTree
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.neighbours import NeighbourGraph
from skinbit.matching.similarity.calibration import Values

_LEAST_POSITIVE = 0.5
"""With fewer expected positive pairs, nothing is joined and F1 is undefined."""

_MOST_MISSED = 0.5
"""Share of missed positive pairs in the folds above which the pool's own similarities determine the number of pairs."""

_NOTHING_JOINED = {True: 1.0, False: 0.0}
"""A threshold or a distance at which only identical photographs are joined."""


@dataclass(frozen=True)
class Joins:
    """Steps in which a method joins pairs, most similar pairs first.

    Attributes:
        cuts: ``(m,)``, cut of each step: descending similarities for a threshold, otherwise ascending distances.
        end: Cut up to which all steps are known.
        n_pairs: ``(m,)``, number of pairs that each step joins.
        links: ``(m,)``, similarity at which they are joined.
        is_similarity: Whether cuts are similarities.
        n_given: Pairs that are joined before the first step, and certainly positive.
    """

    cuts: NDArray[np.float64]
    end: float
    n_pairs: LabelArray
    links: FloatArray
    is_similarity: bool
    n_given: int = 0


def joins_of_threshold(graph: NeighbourGraph, n_new: int) -> Joins:
    """Return the pairs that a descending threshold joins, one by one.

    Args:
        graph: The near pairs.
        n_new: Number of new images, which come first; pairs of two known images are left out.
    """
    links = graph.similarities[(graph.pairs < n_new).any(axis=1)]
    return Joins(links.astype(np.float64), graph.floor, np.ones(len(links), np.int64), links, is_similarity=True)


def joins_of_merges(tree: MergeTree, graph: NeighbourGraph, constraints: Constraints) -> Joins:
    """Return the pairs that a method's merges join.

    Args:
        tree: The merges.
        graph: The near pairs that they were made of.
        constraints: What is known of the images.
    """
    neighbours = _Neighbours(graph)
    groups = _Groups(constraints)
    n_pairs, links = np.zeros(len(tree.edges), np.int64), np.full(len(tree.edges), -1.0, np.float32)
    for step, (left, right) in enumerate(tree.edges.tolist()):
        small, large = groups.of(left), groups.of(right)
        links[step] = neighbours.strongest(small, large, groups)
        n_pairs[step] = groups.merge(small, large)
    return Joins(tree.distances, graph.reach, n_pairs, links, is_similarity=False, n_given=constraints.n_together)


def joins_of(graph: NeighbourGraph, tree: MergeTree | None, constraints: Constraints) -> Joins:
    """Return the steps in which a method joins pairs.

    Args:
        graph: The near pairs.
        tree: Its merges; none of ``cosine``, which makes no groups.
        constraints: What is known of the images.
    """
    if tree is None:
        return joins_of_threshold(graph, int((constraints.known < 0).sum()))
    return joins_of_merges(tree, graph, constraints)


def as_similarities(joins: Joins) -> Joins:
    """Return steps with distances as steps with similarities."""
    return replace(joins, cuts=1.0 - joins.cuts, end=1.0 - joins.end, is_similarity=True)


class _Groups:
    """Groups that merge, smaller into larger; known images of different groups are never joined."""

    def __init__(self, constraints: Constraints) -> None:
        known = constraints.known
        self.root_of = constraints.starts.copy()
        self.members: dict[int, list[int]] = {}
        for row, root in enumerate(self.root_of.tolist()):
            self.members.setdefault(root, []).append(row)
        self._n_known = {root: int((known[rows] >= 0).sum()) for root, rows in self.members.items()}

    def of(self, row: int) -> int:
        root: int = self.root_of[row].item()
        return root

    def merge(self, first: int, second: int) -> int:
        """Merge two groups and return the number of pairs this joins, without pairs of two known images."""
        n_pairs = len(self.members[first]) * len(self.members[second]) - self._n_known[first] * self._n_known[second]
        small, large = sorted((first, second), key=lambda root: len(self.members[root]))
        self.root_of[self.members[small]] = large
        self.members[large] += self.members.pop(small)
        self._n_known[large] += self._n_known.pop(small)
        return n_pairs


class _Neighbours:
    """The near pairs of every image."""

    def __init__(self, graph: NeighbourGraph) -> None:
        first, second = graph.pairs.T
        rows = np.concatenate([first, second])
        order = np.argsort(rows, kind="stable")
        self._others = np.concatenate([second, first])[order]
        self._similarities = np.tile(graph.similarities, 2)[order]
        self._starts = np.searchsorted(rows[order], np.arange(graph.n_images + 1))

    def strongest(self, first: int, second: int, groups: _Groups) -> float:
        """Return the largest similarity between two groups; -1 if no near pair links them."""
        small, large = sorted((first, second), key=lambda root: len(groups.members[root]))
        found = -1.0
        for row in groups.members[small]:
            own = slice(self._starts[row], self._starts[row + 1])
            is_between = groups.root_of[self._others[own]] == large
            found = max(found, float(self._similarities[own][is_between].max(initial=-1.0)))
        return found


@dataclass(frozen=True)
class Expectation:
    """A cut with its expected counts.

    Attributes:
        cut: A threshold or a distance.
        n_joined: Pairs that it joins.
        true_positives: How many of them are expected to be positive.
        n_positive: Positive pairs that are expected in the pool.
        at_once: Pairs that are joined in one step, on average over pairs; 1 where none is.
        shares_missed: By fold, the share of its positive pairs that are less similar than the cut.
        n_given: Joined pairs that are certainly positive, whatever the cut.
    """

    cut: float
    n_joined: int
    true_positives: float
    n_positive: float
    at_once: float = 1.0
    shares_missed: tuple[float, ...] = ()
    n_given: int = 0

    @property
    def wrong(self) -> float:
        """Expected number of joined negative pairs."""
        return max(0.0, self.n_joined - self.true_positives)

    @property
    def missed(self) -> float:
        """Expected number of positive pairs that are not joined."""
        return self.n_positive - self.true_positives

    @property
    def precision(self) -> float:
        """Expected precision; NaN if nothing is joined."""
        return self.true_positives / self.n_joined if self.n_joined else float("nan")

    @property
    def recall(self) -> float:
        """Expected recall; NaN if no positive pair is expected."""
        return self.true_positives / self.n_positive if self.n_positive >= _LEAST_POSITIVE else float("nan")

    @property
    def f1(self) -> float:
        """Expected F1; NaN if no positive pair is expected."""
        if self.n_positive < _LEAST_POSITIVE:
            return float("nan")
        return 2.0 * self.true_positives / (self.n_joined + self.n_positive)


def expected_cut(joins: Joins, prior: PoolPrior, precision: float | None = None) -> Expectation:
    """Return the cut with the largest expected F1; if several are equal, the one that joins fewest pairs.

    Args:
        joins: Steps of a method.
        prior: Prior of the pool.
        precision: Wanted precision: the cut then joins as many pairs as possible at this expected precision; None:
            largest F1.

    Returns:
        The cut midway to the next step. Where less than half a positive pair is expected, or no step is worth it, one
        that joins nothing beyond what is given.
    """
    last = _last_of_ties(joins.cuts)
    probabilities = prior.log_odds.probabilities(joins.links)
    n_joined = joins.n_given + np.cumsum(joins.n_pairs)[last]
    true_positives = joins.n_given + np.cumsum(joins.n_pairs * probabilities)[last]
    n_positive = np.maximum(prior.n_positive, true_positives)
    if precision is None:
        worth = 2.0 * true_positives / np.maximum(n_joined + n_positive, 1.0)
        least = 2.0 * joins.n_given / max(joins.n_given + prior.n_positive, 2.0 * joins.n_given, 1.0)
    else:
        worth = np.where(true_positives >= precision * n_joined, n_joined, 0).astype(np.float64)
        least = float(joins.n_given)
    if max(prior.n_positive, joins.n_given) < _LEAST_POSITIVE or worth.max(initial=0.0) <= least:
        cut, n_given = _NOTHING_JOINED[joins.is_similarity], joins.n_given
        return Expectation(cut, n_given, float(n_given), max(prior.n_positive, float(n_given)), n_given=n_given)
    best = int(worth.argmax())
    following = joins.cuts[last[best + 1]] if best + 1 < len(last) else joins.end
    return _at(joins, probabilities, prior, last[best] + 1, (joins.cuts[last[best]] + following) / 2)


def expect_at(joins: Joins, prior: PoolPrior, cut: float) -> Expectation:
    """Return the expected counts of a given cut."""
    sign = -1.0 if joins.is_similarity else 1.0
    n_steps = int(np.searchsorted(sign * joins.cuts, sign * cut, side="right"))
    return _at(joins, prior.log_odds.probabilities(joins.links), prior, n_steps, cut)


def _at(joins: Joins, probabilities: Values, prior: PoolPrior, n_steps: int, cut: float) -> Expectation:
    n_pairs, likely = joins.n_pairs[:n_steps].astype(np.float64), probabilities[:n_steps]
    found = float(n_pairs @ likely)
    true_positives = joins.n_given + found
    shares = prior.shares_missed(cut if joins.is_similarity else 1.0 - cut)
    is_known = n_steps > 0 and len(shares) > 0 and shares.mean() <= _MOST_MISSED
    return Expectation(
        cut=float(cut),
        n_joined=joins.n_given + int(n_pairs.sum()),
        true_positives=true_positives,
        n_positive=joins.n_given + found / (1.0 - shares.mean()) if is_known else max(prior.n_positive, true_positives),
        at_once=float(np.average(n_pairs, weights=n_pairs)) if n_pairs.any() else 1.0,
        shares_missed=tuple(shares.tolist()) if is_known else (),
        n_given=joins.n_given,
    )


def _last_of_ties(cuts: NDArray[np.float64]) -> LabelArray:
    return np.flatnonzero(np.append(np.diff(cuts) != 0, [True][: len(cuts)]))
