"""Groups: DBSCAN, average and complete linkage, and mutual nearest neighbours, one merge at a time.

Every method starts from single images and joins two groups at a time, the closest first; its groups at a cut are those
after all merges at a distance up to the cut. A distance is 1 - similarity.

Constraints: images of one known lesion, and images that must be together, are joined from the start; groups of two
known lesions, and groups with images that cannot be together, never merge: the next closest pair that may does.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from skinbit.reference.metrics import NO_METRICS, UNDEFINED, Array, Curve, Mask, PairMetrics, Rows, pair_metrics

LARGEST = 2.0
"""The largest distance."""


class Merge(NamedTuple):
    """Two groups of images that merge, and their distance."""

    distance: float
    one: list[int]
    other: list[int]


@dataclass(frozen=True)
class Rules:
    """What is known of images.

    Attributes:
        known: Known lesion of each image, -1 if it has none.
        must: Pairs of images that are joined from the start.
        cannot: Pairs of images that never come together.
    """

    known: list[int]
    must: list[tuple[int, int]] = field(default_factory=list)
    cannot: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def none(cls, n_images: int) -> "Rules":
        """Return that nothing is known."""
        return cls([-1] * n_images)

    def starts(self) -> list[list[int]]:
        """Return the groups from the start, by first image."""
        group_of = list(range(len(self.known)))
        first_of = {lesion: self.known.index(lesion) for lesion in set(self.known) - {-1}}
        of_lesions = [(first_of[lesion], row) for row, lesion in enumerate(self.known) if lesion >= 0]
        for one, other in [*self.must, *of_lesions]:
            low, high = sorted((group_of[one], group_of[other]))
            if low < high:
                group_of = [low if group == high else group for group in group_of]
        groups: dict[int, list[int]] = {}
        for row, group in enumerate(group_of):
            groups.setdefault(group, []).append(row)
        return list(groups.values())

    def bar(self, one: list[int], other: list[int]) -> bool:
        """Whether two groups never merge."""
        if any(self.known[row] >= 0 for row in one) and any(self.known[row] >= 0 for row in other):
            return True
        return any((a in one and b in other) or (b in one and a in other) for a, b in self.cannot)


def single_merges(matrix: Array, rules: Rules | None = None, linked: Mask | None = None) -> list[Merge]:
    """Return the merges of DBSCAN (``min_samples`` 2, an image without a neighbour is a group of its own).

    From the most similar pair of images down, equally similar ones by their rows, a pair joins the groups of its images
    if these may merge.

    Args:
        matrix: ``(n, n)`` similarities.
        rules: What is known of the images; None: nothing.
        linked: ``(n, n)`` the pairs that may join groups; None: all.
    """
    rules = rules or Rules.none(len(matrix))
    rows, columns = np.nonzero(np.triu(np.ones(matrix.shape, bool) if linked is None else linked, 1))
    order = np.argsort(-matrix[rows, columns], kind="stable")
    group_of = {row: group for group in rules.starts() for row in group}
    merges: list[Merge] = []
    for row, column in zip(rows[order], columns[order], strict=True):
        one, other = group_of[row], group_of[column]
        if one is not other and not rules.bar(one, other):
            merges.append(Merge(max(0.0, 1.0 - float(matrix[row, column])), one, other))
            joined = sorted(one + other)
            group_of.update(dict.fromkeys(joined, joined))
            if len(joined) == len(matrix):
                break
    return merges


def mutual_merges(matrix: Array, rules: Rules | None = None) -> list[Merge]:
    """Return the merges of mutual nearest neighbours, the most similar first.

    Two images are linked if no image that either is compared with is more similar. Images that are together from the
    start, or never come together, are not compared.
    """
    compared = matrix.copy()
    np.fill_diagonal(compared, -np.inf)
    groups = [] if rules is None else rules.starts()
    for one in groups:
        for other in groups:
            if one is other or (rules is not None and rules.bar(one, other)):
                compared[np.ix_(one, other)] = -np.inf
    nearest = compared.max(axis=1, initial=-np.inf)
    is_nearest = (compared == nearest[:, None]) & (compared > -np.inf)
    return single_merges(matrix, rules, is_nearest & is_nearest.T)


def linkage_merges(matrix: Array, linkage: str, cap: int | None, rules: Rules | None = None) -> list[Merge]:
    """Return the merges of average or complete linkage.

    The two groups with the smallest mean (largest) distance between their images merge, again and again; of equally
    close ones those whose first images come first. Groups that together hold more than ``cap`` images without a known
    lesion do not merge. Mean distances are rounded to 12 decimals in the end.
    """
    rules = rules or Rules.none(len(matrix))
    table = _Distances(1.0 - matrix, linkage == "average", len(matrix) if cap is None else cap, rules)
    merges: list[Merge] = []
    while (closest := table.closest()) is not None:
        distance, one, other = closest
        if linkage == "average":
            distance = max(round(distance, 12), merges[-1].distance if merges else 0.0)
        merges.append(Merge(distance, table.members[one], table.members[other]))
        table.merge(one, other)
    return merges


class _Distances:
    """The distances between all groups, each at the row of its first image; infinite if two groups may not merge."""

    def __init__(self, apart: Array, is_average: bool, cap: int, rules: Rules) -> None:
        n = len(apart)
        known = np.array(rules.known, dtype=np.int64)
        self._apart, self._combine, self._cap = apart, np.add if is_average else np.maximum, cap
        self._sizes, self._n_new, self._has_known = np.ones(n), (known < 0).astype(int), known >= 0
        self._is_gone, self._barred = np.zeros(n, bool), np.zeros((n, n), bool)
        for one, other in rules.cannot:
            self._barred[one, other] = self._barred[other, one] = True
        self.members = [[row] for row in range(n)]
        for first, *others in rules.starts():
            for row in others:
                self._join(first, row)
        self._table = np.array([self._distances_of(row) for row in range(n)]).reshape(n, n)
        self._nearest = self._table.min(axis=1, initial=np.inf)

    def _join(self, one: int, other: int) -> None:
        self._apart[one] = self._apart[:, one] = self._combine(self._apart[one], self._apart[other])
        self._barred[one] |= self._barred[other]
        self._barred[:, one] |= self._barred[:, other]
        self._sizes[one] += self._sizes[other]
        self._n_new[one] += self._n_new[other]
        self._has_known[one] |= self._has_known[other]
        self._is_gone[other] = True
        self.members[one] = sorted(self.members[one] + self.members[other])

    def _distances_of(self, one: int) -> Array:
        may_not = self._is_gone | self._barred[one] | (self._n_new[one] + self._n_new > self._cap)
        may_not |= self._is_gone[one] | (self._has_known[one] & self._has_known)
        may_not[one] = True
        n_pairs = self._sizes[one] * self._sizes if self._combine is np.add else 1.0
        return np.where(may_not, np.inf, self._apart[one] / n_pairs)

    def closest(self) -> tuple[float, int, int] | None:
        """Return the distance and first rows of the two closest groups; None if no two may merge."""
        if not (self._nearest < np.inf).any():
            return None
        one = int(self._nearest.argmin())  # the first of equals
        other = int(self._table[one].argmin())
        return float(self._nearest[one]), one, other

    def merge(self, one: int, other: int) -> None:
        """Merge the group at a row into that at an earlier one."""
        had = (self._nearest == self._table[one]) | (self._nearest == self._table[other])
        self._join(one, other)
        for row in (one, other):
            self._table[row] = self._table[:, row] = self._distances_of(row)
        had |= self._nearest >= self._table[one]
        had &= self._nearest < np.inf
        had[[one, other]] = True
        self._nearest[had] = self._table[had].min(axis=1)


def groups_at(merges: list[Merge], n_images: int, cut: float, rules: Rules | None = None) -> Rows:
    """Return the groups after all merges up to a cut, each named by its first image; NaN: no merge."""
    groups = np.arange(n_images)
    for group in (rules or Rules.none(n_images)).starts():
        groups[group] = group[0]
    for merge in merges:
        if merge.distance <= cut:
            groups[merge.one + merge.other] = min(merge.one + merge.other)
    return groups


def numbered(groups: Rows) -> Rows:
    """Return groups numbered 0, 1, … in the order of their first images."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups.tolist()], dtype=np.int64)


def sweep_merges(merges: list[Merge], lesions: Rows) -> Curve:
    """Return the counts of pairs in groups after every distance at which groups merge; equal ones merge together."""
    tp = fp = 0
    rows: dict[float, tuple[int, int]] = {}
    for distance, one, other in merges:
        positive = int(np.equal.outer(lesions[one], lesions[other]).sum())
        tp, fp = tp + positive, fp + len(one) * len(other) - positive
        rows[distance] = tp, fp
    counts = np.array(list(rows.values()), dtype=np.int64).reshape(-1, 2)
    return Curve(np.array(list(rows)), counts[:, 0], counts[:, 1])


def best_cut(curve: Curve, n_positive: int, low: float = 0.0, high: float = LARGEST) -> tuple[float, PairMetrics]:
    """Return the distance with the highest F1 and its metrics; of several, the smallest.

    It is midway between the distance from which its groups exist (or the lower end of the range) and that at which the
    next ones merge (or the upper end).
    """
    if n_positive == 0:
        return UNDEFINED, NO_METRICS
    starts, ends = [0.0, *curve.cuts], [*curve.cuts, LARGEST]
    found = [(UNDEFINED, NO_METRICS)]
    for start, end, tp, fp in zip(starts, ends, [0, *curve.tp], [0, *curve.fp], strict=True):
        if start <= high and end > low and (end > start or start == LARGEST):
            metrics = pair_metrics(int(tp), int(fp), n_positive)
            if len(found) == 1 or metrics.f1 > found[-1][1].f1:
                found.append(((max(start, low) + min(end, high)) / 2, metrics))
    return found[-1]
