"""Labels that similarities and keypoints contradict: one lesion under two ids, or two lesions under one id.

Embeddings propose pairs, and keypoints verify them: photographs of two lesions with matching keypoints show the same
skin, whatever their labels. Pairs that are similar, or dissimilar, without such evidence are possible label errors,
which a person should check.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from skinbit.audit.findings import KINDS, Check, Finding, Severity
from skinbit.config import AuditParams
from skinbit.matching.keypoints.compared import Comparing, compare_pairs, shortlist_pairs
from skinbit.matching.keypoints.sift import KeypointSets
from skinbit.matching.labels import FloatArray, LabelArray, lesion_labels, positive_pairs
from skinbit.matching.pairs.neighbours import NearestImages
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.ranking import quantile_of_pairs
from skinbit.matching.pairs.tiles import Tile, look_at


@dataclass(frozen=True)
class AuditedImages:
    """The images that an audit compares.

    Attributes:
        image_ids: Ids of the ``n_images`` images, distinct and ascending, which orders equal pairs.
        lesion_ids: Lesion of each image.
        pool: Similarities of the images, in the same order.
        keypoints: Keypoints of the images, in the same order.
    """

    image_ids: Sequence[str]
    lesion_ids: Sequence[str]
    pool: Pool
    keypoints: KeypointSets


@dataclass(frozen=True)
class Comparison:
    """The results of comparing all images.

    Attributes:
        findings: All ``near_duplicate``, and the ``max_pairs`` strongest of ``look_alike``, ``unlike_pair`` and
            ``foreign_neighbours`` each.
        counts: Number of all findings by kind, listed or not.
        alike_from: See :class:`skinbit.audit.summary.AuditSummary`.
        unlike_below: See :class:`skinbit.audit.summary.AuditSummary`.
        n_compared: Number of pairs whose keypoints were compared.
    """

    findings: tuple[Finding, ...]
    counts: dict[str, int]
    alike_from: float | None
    unlike_below: float | None
    n_compared: int

    def checks(self, experiment: str) -> list[Check]:
        """Return the checks, made with the embeddings of an experiment."""
        rests = f"keypoints of {self.n_compared:,} pairs, chosen by the embeddings of {experiment}"
        found = [Check("near-duplicates across lesions", True, rests)]
        for title, cut, needed in (
            ("two lesions that look alike", self.alike_from, "one lesion"),
            ("one lesion that looks like two", self.unlike_below, "two lesions"),
        ):
            note = f"there is no pair of {needed}, so no threshold" if cut is None else f"cut at similarity {cut:.4f}"
            found.append(Check(title, cut is not None, note))
        return found


def compare_images(images: AuditedImages, audit: AuditParams, comparing: Comparing) -> Comparison:
    """Compare the similarities of all pairs of images, and the keypoints of relevant pairs.

    Keypoints are compared between each image and its nearest images, in the most similar pairs of two lesions, and in
    pairs of one lesion that are less similar than most pairs of two lesions.

    Args:
        images: All audited images.
        audit: Thresholds, and how many pairs are listed.
        comparing: Number of nearest images, and how keypoints are compared.
    """
    n_neighbours = comparing.params.neighbours
    pool, labels = images.pool, lesion_labels(list(images.lesion_ids))
    positives = _in_order(positive_pairs(labels))
    of_positives = pool.of_pairs(positives)
    alike_from = _alike_from(of_positives, audit)
    unlike_below = quantile_of_pairs(pool, audit.unlike_quantile, labels)
    nearest = NearestImages(len(pool), max(n_neighbours, audit.nearest))
    alike = _AlikePairs(labels, alike_from, audit)
    look_at(pool, [nearest, alike], "look-alikes")
    unlike = positives[of_positives < np.float64(-np.inf if unlike_below is None else unlike_below)]
    foreign = _foreign_pairs(nearest.rows, labels, audit.nearest)
    near = shortlist_pairs(nearest.rows[:, :n_neighbours])
    pairs = np.unique(np.concatenate([near, alike.pairs, unlike, np.sort(foreign, axis=1)]), axis=0)
    counted = compare_pairs(images.keypoints, pairs, comparing).inliers
    evidence = _Evidence(images, pairs, counted)
    is_foreign = labels[pairs[:, 0]] != labels[pairs[:, 1]]
    copies = pairs[is_foreign & (counted >= audit.min_points)]
    undecided = {"look_alike": alike.pairs, "unlike_pair": unlike, "foreign_neighbours": foreign}
    found = {
        "near_duplicate": list(evidence.findings("near_duplicate", copies)),
        **{
            kind: list(evidence.findings(kind, evidence.without_agreement(pairs, audit.min_points)))
            for kind, pairs in undecided.items()
        },
    }
    counts = {kind: len(findings) for kind, findings in found.items()}
    if alike_from is not None:  # not all of them are compared
        counts["look_alike"] = alike.n_pairs - int((pool.of_pairs(copies) >= np.float64(alike_from)).sum())
    listed = (finding for findings in found.values() for finding in _strongest(findings, audit.max_pairs))
    return Comparison(tuple(listed), counts, alike_from, unlike_below, len(pairs))


class _Evidence:
    """The compared pairs with their keypoints."""

    def __init__(self, images: AuditedImages, pairs: LabelArray, points: LabelArray) -> None:
        self._images = images
        self._points: dict[tuple[int, ...], int] = dict(zip(map(tuple, pairs.tolist()), points.tolist(), strict=True))

    def points(self, a: int, b: int) -> int:
        """Return the number of matched keypoints of two images."""
        return self._points[min(a, b), max(a, b)]

    def without_agreement(self, pairs: LabelArray, min_points: int) -> LabelArray:
        """Return the pairs without matching keypoints: those with them are correctly labelled, or reported already."""
        return pairs[[self.points(a, b) < min_points for a, b in pairs.tolist()]]

    def findings(self, kind: str, pairs: LabelArray) -> Iterator[Finding]:
        """Return a finding for each pair."""
        ids, lesions = self._images.image_ids, self._images.lesion_ids
        similarities = self._images.pool.of_pairs(pairs).tolist()
        for (a, b), similarity in zip(pairs.tolist(), similarities, strict=True):
            points = self.points(a, b)
            detail = f"{points} keypoints match" if points else "no keypoint matches"
            severity: Severity = "warning" if KINDS[kind].is_label_error else "error"
            weight = {"near_duplicate": points + similarity, "unlike_pair": -similarity}.get(kind, similarity)
            yield Finding(kind, severity, (ids[a], ids[b]), (lesions[a], lesions[b]), detail, similarity, weight)


def _strongest(findings: Sequence[Finding], max_pairs: int) -> Iterable[Finding]:
    """Return all errors, and the most important warnings."""
    ranked = sorted(findings, key=lambda finding: (-finding.weight, finding.images))
    return islice(ranked, None if ranked and ranked[0].severity == "error" else max_pairs)


def _alike_from(of_positives: FloatArray, audit: AuditParams) -> float | None:
    if audit.similarity is not None:
        return audit.similarity
    return float(np.quantile(of_positives, audit.alike_quantile)) if len(of_positives) else None


def _in_order(pairs: LabelArray) -> LabelArray:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


class _AlikePairs:
    """Collects the most similar pairs of two lesions above a similarity, and counts all such pairs.

    Attributes:
        pairs: ``(m, 2)`` rows, lower row first, most similar first; ties are ordered by row.
        n_pairs: Number of all such pairs.
    """

    def __init__(self, labels: LabelArray, alike_from: float | None, audit: AuditParams) -> None:
        self.pairs, self.n_pairs = np.empty((0, 2), np.int64), 0
        self._values = np.empty(0, np.float32)
        self._labels, self._max_pairs = labels, audit.max_pairs
        # A Python float would be rounded to single precision first.
        self._from = np.float64(np.inf if alike_from is None else alike_from)

    def add(self, tile: Tile) -> None:
        """Add the pairs of a tile."""
        is_foreign = self._labels[tile.rows, None] != self._labels[tile.columns]
        pairs, values = tile.pairs_where(is_foreign & (tile.similarities >= self._from))
        self.n_pairs += len(pairs)
        kept, alike = np.concatenate([self.pairs, pairs]), np.concatenate([self._values, values])
        strongest = np.lexsort((kept[:, 1], kept[:, 0], -alike))[: self._max_pairs]
        self.pairs, self._values = kept[strongest], alike[strongest]


def _foreign_pairs(nearest: LabelArray, labels: LabelArray, n_nearest: int) -> LabelArray:
    """Return each image whose nearest images all show one other lesion, with the nearest of them."""
    if nearest.shape[1] < n_nearest:
        return np.empty((0, 2), dtype=np.int64)
    owners = labels[nearest[:, :n_nearest]]
    rows = np.flatnonzero((owners == owners[:, :1]).all(axis=1) & (owners[:, 0] != labels))
    return np.column_stack([rows, nearest[rows, 0]])


def without_copies(findings: Iterable[Finding], copies: Iterable[Finding]) -> list[Finding]:
    """Return the findings without near-duplicates that are reported as copies.

    Args:
        findings: From :func:`compare_images`.
        copies: From :func:`skinbit.audit.copies.find_copies`.
    """
    copied = {frozenset(copy.images) for copy in copies}
    return [each for each in findings if each.kind != "near_duplicate" or frozenset(each.images) not in copied]
