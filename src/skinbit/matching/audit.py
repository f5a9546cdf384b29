"""What similarities and keypoints say against labels: one lesion under two ids, or two lesions under one.

Embeddings propose pairs, keypoints decide: photographs of two lesions whose places agree show the same skin, whatever
the labels say. What is alike, or unlike, without such evidence is a possible label error, for a person to look at.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from skinbit.data.audit import KINDS, Check, Finding, Severity
from skinbit.matching.clustering import components
from skinbit.matching.geometry import count_inliers, shortlist_pairs
from skinbit.matching.keypoints import KeypointTable
from skinbit.matching.pairs import (
    FloatArray,
    LabelArray,
    cosine_similarities,
    lesion_labels,
    positive_similarities,
    row_blocks,
)
from skinbit.matching.ranking import nearest_images
from skinbit.params import AuditParams, GeometryParams

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class AuditedImages:
    """The images that an audit compares.

    Attributes:
        image_ids: ``n_images`` distinct ids, ascending: of equal pairs the first ids come first.
        lesion_ids: Their lesions.
        embeddings: ``(n_images, d)`` from :func:`skinbit.matching.pairs.unit_vectors`.
        keypoints: Of the same images, in the same order.
    """

    image_ids: Sequence[str]
    lesion_ids: Sequence[str]
    embeddings: FloatArray
    keypoints: KeypointTable


@dataclass(frozen=True)
class Comparison:
    """What a comparison of all images found.

    Attributes:
        findings: ``near_duplicate``, all of them; ``look_alike``, ``unlike_pair`` and ``foreign_neighbours``, of each
            kind the ``max_pairs`` strongest.
        counts: All findings by kind, listed or not.
        alike_from: Similarity from which on images of two lesions look alike; None: there is no pair of one lesion.
        unlike_below: Similarity below which images of one lesion look like two; None: there is no pair of two lesions.
        n_compared: Pairs whose keypoints were compared.
    """

    findings: tuple[Finding, ...]
    counts: dict[str, int]
    alike_from: float | None
    unlike_below: float | None
    n_compared: int

    def checks(self, experiment: str) -> list[Check]:
        """Say what was compared, by the embeddings of which experiment."""
        rests = f"keypoints of {self.n_compared:,} pairs, chosen by the embeddings of {experiment}"
        found = [Check("near-duplicates across lesions", True, rests)]
        for title, cut, needed in (
            ("two lesions that look alike", self.alike_from, "one lesion"),
            ("one lesion that looks like two", self.unlike_below, "two lesions"),
        ):
            note = f"there is no pair of {needed} to take a cut from" if cut is None else f"cut at similarity {cut:.4f}"
            found.append(Check(title, cut is not None, note))
        return found


def compare_images(images: AuditedImages, audit: AuditParams, geometry: GeometryParams, n_workers: int) -> Comparison:
    """Look at all pairs of images, and compare the keypoints of those that matter.

    Compared by keypoints are each image and its nearest, the most similar pairs of two lesions, and the pairs of one
    lesion that are less alike than two lesions mostly are.

    Args:
        images: The images.
        audit: Cuts, and how many pairs are listed.
        geometry: How many nearest are compared, and how.
        n_workers: Threads; changes the speed, never a figure.

    Returns:
        What was found.
    """
    similarities = cosine_similarities(images.embeddings)
    labels = lesion_labels(list(images.lesion_ids))
    alike_from = _alike_from(similarities, labels, audit)
    unlike_below = _unlike_below(similarities, labels, audit)
    alike, n_alike = _alike_pairs(similarities, labels, alike_from, audit.max_pairs)
    unlike = _unlike_pairs(similarities, labels, unlike_below)
    foreign = _foreign_pairs(similarities, labels, audit.nearest)
    nearest = shortlist_pairs(similarities, geometry.neighbours)
    pairs = np.unique(np.concatenate([nearest, alike, unlike, np.sort(foreign, axis=1)]), axis=0)
    counted = count_inliers(images.keypoints, pairs, geometry, n_workers)
    evidence = _Evidence(images, similarities, dict(zip(map(tuple, pairs.tolist()), counted.tolist(), strict=True)))
    is_foreign = labels[pairs[:, 0]] != labels[pairs[:, 1]]
    copies = pairs[is_foreign & (counted >= audit.min_points)]
    undecided = {"look_alike": alike, "unlike_pair": unlike, "foreign_neighbours": foreign}
    found = {
        "near_duplicate": list(evidence.findings("near_duplicate", copies)),
        **{
            kind: list(evidence.findings(kind, evidence.without_agreement(pairs, audit.min_points)))
            for kind, pairs in undecided.items()
        },
    }
    counts = {kind: len(findings) for kind, findings in found.items()}
    if alike_from is not None:  # not all of them are compared
        counts["look_alike"] = n_alike - int((similarities[tuple(copies.T)] >= np.float64(alike_from)).sum())
    listed = (finding for findings in found.values() for finding in _strongest(findings, audit.max_pairs))
    return Comparison(tuple(listed), counts, alike_from, unlike_below, len(pairs))


class _Evidence:
    """What is known of the pairs whose keypoints were compared."""

    def __init__(self, images: AuditedImages, similarities: FloatArray, points: dict[tuple[int, ...], int]) -> None:
        self._images, self._similarities, self._points = images, similarities, points

    def points(self, a: int, b: int) -> int:
        """Give on how many points two images agree."""
        return self._points[min(a, b), max(a, b)]

    def without_agreement(self, pairs: LabelArray, min_points: int) -> LabelArray:
        """Leave out the pairs whose places agree: the labels of one lesion are right, those of two are reported."""
        return pairs[[self.points(a, b) < min_points for a, b in pairs.tolist()]]

    def findings(self, kind: str, pairs: LabelArray) -> Iterator[Finding]:
        """Give a finding for each pair, in any order."""
        ids, lesions = self._images.image_ids, self._images.lesion_ids
        for a, b in pairs.tolist():
            points, similarity = self.points(a, b), float(self._similarities[a, b])
            detail = f"{points} points agree" if points else "no point agrees"
            severity: Severity = "warning" if KINDS[kind].is_label_error else "error"
            weight = {"near_duplicate": points + similarity, "unlike_pair": -similarity}.get(kind, similarity)
            yield Finding(kind, severity, (ids[a], ids[b]), (lesions[a], lesions[b]), detail, similarity, weight)


def _strongest(findings: Sequence[Finding], max_pairs: int) -> Iterable[Finding]:
    """Give all errors, which a user mends, and of warnings those that are worth looking at first."""
    ranked = sorted(findings, key=lambda finding: (-finding.weight, finding.images))
    return islice(ranked, None if ranked and ranked[0].severity == "error" else max_pairs)


def _alike_from(similarities: FloatArray, labels: LabelArray, audit: AuditParams) -> float | None:
    positives = positive_similarities(similarities, labels)
    if audit.similarity is not None:
        return audit.similarity
    return float(np.quantile(positives, audit.alike_quantile)) if len(positives) else None


def _unlike_below(similarities: FloatArray, labels: LabelArray, audit: AuditParams) -> float | None:
    blocks = [block[is_foreign] for _, block, is_foreign in _foreign_blocks(similarities, labels)]
    negatives = np.concatenate(blocks) if blocks else np.empty(0)
    return float(np.quantile(negatives, audit.unlike_quantile)) if len(negatives) else None


def _foreign_blocks(similarities: FloatArray, labels: LabelArray) -> Iterator[tuple[int, FloatArray, Flags]]:
    """Walk all pairs once: first row and column of a block, its similarities, and which are pairs of two lesions."""
    rows = np.arange(len(labels))
    for start, stop in row_blocks(len(labels)):
        is_foreign = (rows[start:stop, None] < rows[start:]) & (labels[start:stop, None] != labels[start:])
        yield start, similarities[start:stop, start:], is_foreign


def _alike_pairs(
    similarities: FloatArray, labels: LabelArray, alike_from: float | None, max_pairs: int
) -> tuple[LabelArray, int]:
    """Give the most similar pairs of two lesions from a similarity on, and how many there are in all."""
    kept, values, n_alike = np.empty((0, 2), np.int64), np.empty(0, np.float32), 0
    for start, block, is_foreign in _foreign_blocks(similarities, labels) if alike_from is not None else ():
        # A Python float would be rounded to single precision first.
        is_alike = is_foreign & (block >= np.float64(alike_from))
        n_alike += int(np.count_nonzero(is_alike))
        kept = np.concatenate([kept, np.argwhere(is_alike) + start])
        values = np.concatenate([values, block[is_alike]])
        strongest = np.argsort(-values, kind="stable")[:max_pairs]
        kept, values = kept[strongest], values[strongest]
    return kept, n_alike


def _unlike_pairs(similarities: FloatArray, labels: LabelArray, unlike_below: float | None) -> LabelArray:
    rows = np.arange(len(labels))
    found = [np.empty((0, 2), dtype=np.int64)]
    for start, stop in row_blocks(len(labels)) if unlike_below is not None else ():
        same = (rows[start:stop, None] < rows) & (labels[start:stop, None] == labels)
        found.append(np.argwhere(same & (similarities[start:stop] < np.float64(unlike_below))) + np.array([start, 0]))
    return np.concatenate(found)


def _foreign_pairs(similarities: FloatArray, labels: LabelArray, n_nearest: int) -> LabelArray:
    """Give each image whose nearest are all of one other lesion, with the nearest of them."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for row, label in enumerate(labels.tolist()):
        nearest = nearest_images(similarities, row, n_nearest)
        owners = set(labels[nearest].tolist())
        if len(nearest) == n_nearest and len(owners) == 1 and label not in owners:
            pairs.append(np.array([[row, nearest[0]]]))
    return np.concatenate(pairs)


def without_copies(findings: Iterable[Finding], copies: Iterable[Finding]) -> list[Finding]:
    """Leave out near-duplicates that are one photograph under two ids, and reported as such.

    Args:
        findings: Of :func:`compare_images`.
        copies: From :func:`skinbit.data.audit.find_copies`.

    Returns:
        The others.
    """
    copied = {frozenset(copy.images) for copy in copies}
    return [each for each in findings if each.kind != "near_duplicate" or frozenset(each.images) not in copied]


def lesions_to_join(findings: Iterable[Finding]) -> tuple[tuple[str, ...], ...]:
    """Put lesions together that errors say are one, or share skin.

    Args:
        findings: Of any kinds.

    Returns:
        Groups of two or more lesion ids, each and all of them ascending.
    """
    joined = {
        finding.lesions for finding in findings if finding.severity == "error" and KINDS[finding.kind].joins_lesions
    }
    lesions = sorted({lesion for pair in joined for lesion in pair})
    row_of = {lesion: row for row, lesion in enumerate(lesions)}
    edges = np.array([[row_of[lesion] for lesion in pair] for pair in sorted(joined)], dtype=np.int64).reshape(-1, 2)
    groups: dict[int, list[str]] = {}
    for lesion, group in zip(lesions, components(len(lesions), edges).tolist(), strict=True):
        groups.setdefault(group, []).append(lesion)
    return tuple(tuple(members) for members in groups.values())
