"""Groups of images that only merge as a distance grows, so that one walk along the merges evaluates every cut exactly.

DBSCAN's groups on cosine distance are of this kind. With ``min_samples`` of 1 or 2, and noise images as groups of one,
its groups at ``eps`` are the connected components of the graph of all pairs at a distance of at most ``eps`` (Ester et
al. 1996, definitions 2 to 5: with so few samples every image with a neighbour is a core point). Those components only
merge as eps grows, in the order of a minimum spanning tree's edges (Gower and Ross 1969).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.matching.curves import Choice, Sweep, select
from skinbit.matching.labels import LabelArray

_LARGEST_DISTANCE = 2.0


@dataclass(frozen=True)
class MergeTree:
    """Groups of images that merge two by two, starting from single images, nearest merges first.

    Attributes:
        edges: ``(m, 2)``, an image row of each of the two groups that merge; m is n - 1, or less if some groups never
            merge.
        distances: ``(m,)`` float64, distances at which they merge, in [0, 2], ascending.
        n_images: Number of images n.
    """

    edges: NDArray[np.int64]
    distances: NDArray[np.float64]
    n_images: int


def sweep_merges(tree: MergeTree, labels: LabelArray, method: str) -> Sweep:
    """Return pairwise F1 of the groups at every cut, exactly; equal distances merge together.

    Counts of labels per group are merged smaller into larger, so the whole walk takes O(n log n) steps.

    Args:
        tree: The merges.
        labels: ``(n,)``, the lesion of each image.
        method: Method that made the merges.

    Returns:
        The curve. A reported cut is midway between neighbouring merge distances; the neighbour of the last one is 2,
        the largest cosine distance.
    """
    gained_tp, gained_pairs = _merge_gains(tree, labels)
    last_of_tie = np.flatnonzero(np.diff(tree.distances, append=np.inf))
    cuts = tree.distances[last_of_tie]
    tp = np.cumsum(gained_tp)[last_of_tie]
    next_higher = np.concatenate([cuts[1:], [_LARGEST_DISTANCE][: len(cuts)]])
    sizes = np.bincount(labels)
    return Sweep(
        method=method,
        cuts=cuts,
        reported=(cuts + next_higher) / 2,
        tp=tp,
        fp=np.cumsum(gained_pairs)[last_of_tie] - tp,
        n_positive_pairs=int((sizes * (sizes - 1) // 2).sum()),
    )


def select_cut(sweep: Sweep, low: float, high: float) -> Choice:
    """Return the cut in a range with the highest pairwise F1; if several are equal, the smallest.

    Args:
        sweep: Curve from :func:`sweep_merges`.
        low: Smallest cut, a distance.
        high: Largest cut.

    Returns:
        The choice; its cut is midway between neighbouring merge distances, or between one and an end of the range;
        ``UNDEFINED`` if there is no positive pair.
    """
    # Below the first merge nothing is joined; the last groups stay up to the largest distance.
    starts = np.concatenate([[0.0], sweep.cuts])
    ends = np.concatenate([sweep.cuts, [_LARGEST_DISTANCE]])
    is_real = (ends > starts) | (starts == _LARGEST_DISTANCE)
    reached = (starts <= high) & (ends > low) & is_real
    middles = (np.maximum(starts, low) + np.minimum(ends, high))[reached] / 2
    tp, fp = (np.append(0, counts)[reached] for counts in (sweep.tp, sweep.fp))
    return select(Sweep(sweep.method, starts[reached], middles, tp, fp, sweep.n_positive_pairs))


def _merge_gains(tree: MergeTree, labels: LabelArray) -> tuple[LabelArray, LabelArray]:
    """Return the numbers of positive pairs and of all pairs that each merge joins."""
    groups = {i: Counter([label]) for i, label in enumerate(labels.tolist())}
    sizes = [1] * tree.n_images
    parents = list(range(tree.n_images))
    gained = np.zeros((2, len(tree.edges)), dtype=np.int64)
    for step, (left, right) in enumerate(tree.edges.tolist()):
        a, b = root_of(parents, left), root_of(parents, right)
        small, large = (a, b) if sizes[a] <= sizes[b] else (b, a)
        gained[0, step] = sum(count * groups[large][label] for label, count in groups[small].items())
        gained[1, step] = sizes[small] * sizes[large]
        groups[large].update(groups.pop(small))
        sizes[large] += sizes[small]
        parents[small] = large
    return gained[0], gained[1]


def root_of(parents: list[int] | dict[int, int], node: int) -> int:
    """Return the representative node of a node's group, with path shortening (Tarjan 1975)."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


def clusters_at(tree: MergeTree, cut: float) -> LabelArray:
    """Return the groups at a cut; an image without a partner is a group of one.

    Args:
        tree: The merges.
        cut: Largest distance of a merge; NaN (undefined) leaves every image single.

    Returns:
        ``(n,)`` cluster ids 0, 1, … in order of appearance.
    """
    return components(tree.n_images, tree.edges[tree.distances <= cut])


def components(n_images: int, edges: NDArray[np.int64]) -> LabelArray:
    """Return the connected components of a graph over images.

    Args:
        n_images: Number of images n.
        edges: Pairs of image rows, ``(m, 2)``.

    Returns:
        ``(n,)`` cluster ids 0, 1, … in order of appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(edges), dtype=np.int8)
    graph = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(n_images, n_images))
    return number_by_appearance(connected_components(graph, directed=False)[1])


def number_by_appearance(groups: NDArray[np.integer]) -> LabelArray:
    """Return groups numbered 0, 1, … in order of appearance.

    Args:
        groups: ``(n,)``, any numbers.

    Returns:
        ``(n,)``, equal for equal input.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
