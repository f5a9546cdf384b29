"""What the engine has to find, by plain loops over a whole matrix: an independent reference for small pools."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np


def similarities_of(pool):
    """Return the matrix of similarities of a pool that is not re-ranked, a pair at a time; 1 on the diagonal."""
    n, found, vectors = len(pool), np.eye(len(pool), dtype=np.float32), pool.embeddings.astype(np.float64)
    support = {divmod(int(key), n): float(value) for key, value in zip(pool.keys, pool.support, strict=True)}
    for i, j in combinations(range(n), 2):
        alike = np.float32(min(1.0, max(-1.0, cosine_of(vectors[i], vectors[j]))))
        if pool.hubness is not None:
            alike = np.float32(np.clip(float(alike) - (pool.hubness[i] + pool.hubness[j]) / 2, -1, 1))
        if pool.calibration is not None:
            of_both = pool.calibration.evidence(np.float64(alike), np.float64(support.get((i, j), 0.0)))
            alike = np.float32(np.tanh(of_both / 8))
        found[i, j] = found[j, i] = alike
    return found


def cosine_of(one, other):
    """Return the cosine of two photographs; of two with a vector per zoom half of it is that of the nearest zooms."""
    if one.ndim == 1:
        return sum(a * b for a, b in zip(one, other, strict=True))
    nearest = max(cosine_of(a, b) for a, b in product(one[1:], other[1:]))
    return (cosine_of(one[0], other[0]) + nearest) / 2


def groups_within(similarities, eps):
    """Return DBSCAN's groups: join every two images at a distance of at most eps."""
    groups = list(range(len(similarities)))
    for i, j in combinations(range(len(groups)), 2):
        if 1.0 - float(similarities[i, j]) <= eps:
            groups = [groups[i] if group == groups[j] else group for group in groups]
    return np.array(groups, dtype=np.int64)


def greedy_merges(similarities, linkage, cap=None, known=None, must=(), cannot=()):
    """Merge the closest two groups that may merge, again and again; of equally close ones those of the first rows.

    Distances are exact fractions; the linkage is ``single``, ``average`` or ``complete``. Returns first rows of both
    groups and their distance, averages to 12 decimals.
    """
    n_images = len(similarities)
    known = [-1] * n_images if known is None else list(known)
    exact = [[Fraction(1) - Fraction(float(value)) for value in row] for row in similarities]
    groups = starting_groups(known, must)
    merges, reached = [], 0.0
    while True:
        allowed = []
        for a, b in combinations(sorted(groups), 2):
            is_small = cap is None or sum(known[row] < 0 for row in a + b) <= cap
            if is_small and may_meet(a, b, known, cannot):
                between = [exact[i][j] for i, j in product(a, b)]
                apart = {"single": min, "complete": max, "average": lambda all_: sum(all_) / len(all_)}[linkage](
                    between
                )
                allowed.append((apart, a[0], b[0], a, b))
        if not allowed:
            return merges
        apart, first, second, a, b = min(allowed)
        reached = max(reached, round(float(apart), 12)) if linkage == "average" else float(apart)
        merges.append((first, second, reached))
        groups = [group for group in groups if group not in (a, b)] + [sorted(a + b)]


def greedy_pairs(similarities, known, must, cannot, pairs=None):
    """Join the most similar two images whose groups may meet, again and again; of equals those of the first rows.

    Returns the rows of both images and their distance.
    """
    groups, found = starting_groups(known, must), []
    pairs = combinations(range(len(known)), 2) if pairs is None else pairs
    for i, j in sorted(pairs, key=lambda pair: (-similarities[pair[0], pair[1]], *pair)):
        a, b = (next(group for group in groups if row in group) for row in (i, j))
        if a is not b and may_meet(a, b, known, cannot):
            found.append((i, j, max(0.0, 1.0 - float(similarities[i, j]))))
            groups = [group for group in groups if group not in (a, b)] + [sorted(a + b)]
    return found


def starting_groups(known, must):
    """Return the groups in which images of one known lesion, and those that must be together, are from the start."""
    groups = [[row] for row in range(len(known))]
    for i, j in [*combinations(range(len(known)), 2), *must]:
        if (i, j) in {*map(tuple, must)} or known[i] == known[j] >= 0:
            a, b = (next(group for group in groups if row in group) for row in (i, j))
            if a is not b:
                groups = [group for group in groups if group not in (a, b)] + [sorted(a + b)]
    return groups


def may_meet(a, b, known, cannot):
    """Whether two groups hold no images of two known lesions, and none that cannot be together."""
    parted = any((i in a and j in b) or (i in b and j in a) for i, j in cannot)
    return not parted and len({known[row] for row in a + b} - {-1}) < 2


def groups_at(merges, n_images, cut):
    """Return the groups after all merges at a distance of at most a cut."""
    groups = list(range(n_images))
    for first, second, _ in (merge for merge in merges if merge[2] <= cut):
        groups = [groups[first] if group == groups[second] else group for group in groups]
    return np.array(groups, dtype=np.int64)


def mutual_links(similarities, n_new=None, left_out=()):
    """Return the pairs in which no image is more similar to either; known images, from n_new on, are not compared."""
    rows = range(len(similarities))
    may = {(i, j) for i in rows for j in rows if i != j and (n_new is None or min(i, j) < n_new)}
    may -= {(i, j) for pair in left_out for i, j in (pair, tuple(reversed(pair)))}
    best = {i: max((similarities[i, j] for j in rows if (i, j) in may), default=np.inf) for i in rows}
    return [[i, j] for i, j in sorted(may) if i < j and similarities[i, j] == best[i] == best[j]]


def partition(groups):
    """Return groups without their numbers."""
    return {tuple(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


def counts(predicted, positive):
    """Return true and false positives."""
    return int((predicted & positive).sum()), int((predicted & ~positive).sum())


def together(groups):
    """Return, of every pair of images in the order of ``pairs``, whether they are in one group."""
    return np.equal.outer(groups, groups)[np.triu_indices(len(groups), 1)]


def best_of(steps, n_positive):
    """Return cut, F1, precision and recall of the step with the highest F1; of equals that of the fewest pairs.

    Steps are cut, true and false positives, from few predicted pairs to many.
    """
    best = max(steps, key=lambda step: Fraction(2 * step[1], step[1] + step[2] + n_positive))  # max takes the first
    cut, tp, fp = best
    return cut, 2 * tp / (tp + fp + n_positive), tp / (tp + fp) if tp + fp else np.nan, tp / n_positive


def best_threshold(alike, positive, low=-1.0, high=1.0):
    """Try every threshold in a range; the reported one is midway to the next lower one, or to the range's end."""
    tried = sorted({high, *(value for value in alike.tolist() if low <= value < high)}, reverse=True)
    steps = [(cut, *counts(alike.astype(np.float64) >= cut, positive)) for cut in tried]
    cut, *figures = best_of(steps, int(positive.sum()))
    return ((cut + max(low, max((value for value in alike.tolist() if value < cut), default=-1.0))) / 2, *figures)


def best_cut(merges, positive, low=0.0, high=2.0):
    """Try every distance in a range; the reported cut is midway to the next distance, or to the range's end."""
    n_images = int((1 + (1 + 8 * len(positive)) ** 0.5) / 2)
    starts = sorted({0.0, *(distance for *_, distance in merges)})
    steps = []
    for start, end in zip(starts, [*starts[1:], 2.0], strict=True):
        if start <= high and (end > low or start == 2.0):
            found = counts(together(groups_at(merges, n_images, start)), positive)
            steps.append(((max(start, low) + min(end, high)) / 2, *found))
    return best_of(steps, int(positive.sum()))
