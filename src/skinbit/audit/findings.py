"""Findings of an audit: their kinds, their severity, and the table that lists them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from skinbit.data.splits import TEST

Severity = Literal["error", "warning"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning")
"""Worst first."""

NOWHERE = "not dealt"
"""The subset of an image that is missing in the split."""

COLUMNS = ["finding", "severity", "image_a", "image_b", "lesion_a", "lesion_b", "subset_a", "subset_b"]
COLUMNS += ["similarity", "detail"]
"""Columns of the table of findings."""

_DECIMALS = 7


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        title: Heading of the kind.
        meaning: What it implies for the images.
        remedy: What a user can do.
        is_label_error: Whether it is a possible label error: a reason to check the labels, not a proof.
        joins_lesions: Whether two lesions with such an error are the same lesion, or share skin.
    """

    title: str
    meaning: str
    remedy: str
    is_label_error: bool = False
    joins_lesions: bool = False


KINDS = {
    "identical_bytes": FindingKind(
        "Identical files",
        "One file under two image ids. Within one lesion it is a positive pair that any model finds; with two lesions, "
        "one of the labels is wrong.",
        "remove one of the two rows; with two lesions, find out which label is right",
        joins_lesions=True,
    ),
    "identical_pixels": FindingKind(
        "Identical photographs in different files",
        "The files differ (metadata, format), the decoded photographs do not.",
        "remove one of the two rows; with two lesions, find out which label is right",
        joins_lesions=True,
    ),
    "near_duplicate": FindingKind(
        "Two lesions with the same skin",
        "Keypoints of two photographs agree on a rotation, zoom and shift: the same skin under two lesion ids, mostly "
        "the same lesion, sometimes two lesions in one field of view.",
        "check the pair; use one lesion_id for both, or keep them in one fold with split.keep_together",
        joins_lesions=True,
    ),
    "lesion_across_folds": FindingKind(
        "Lesions in several folds or subsets",
        "The split on disk has images of a lesion in several places: a model is evaluated on lesions of its training.",
        "make the split again: kedro run --pipelines data_split",
    ),
    "split_contradiction": FindingKind(
        "Contradictory rows of the split",
        "The split on disk contradicts itself or the metadata.",
        "make the split again: kedro run --pipelines data_split",
    ),
    "patient_across_subsets": FindingKind(
        "Patients in the test subset and in training",
        "One patient's lesions are in the test subset and in training: a model knows skin, camera and clinic already.",
        "keep patients together: set split.keep_together to the column of patients",
    ),
    "patient_across_folds": FindingKind(
        "Patients in several folds",
        "One patient's lesions are in several folds.",
        "keep patients together: set split.keep_together to the column of patients",
    ),
    "look_alike": FindingKind(
        "Two lesions that look alike",
        "More similar than most photographs of one lesion, but without matching keypoints: two similar lesions, a "
        "mirrored copy, or one lesion under two ids.",
        "check the pair and both labels",
        is_label_error=True,
    ),
    "unlike_pair": FindingKind(
        "One lesion that looks like two",
        "Less similar than most photographs of two lesions, and without matching keypoints: another zoom, or two "
        "lesions under one id.",
        "check the pair and both labels",
        is_label_error=True,
    ),
    "foreign_neighbours": FindingKind(
        "Images among another lesion's",
        "The nearest images all show one other lesion.",
        "check the pair and both labels",
        is_label_error=True,
    ),
    "metadata_contradiction": FindingKind(
        "Lesions with contradictory metadata",
        "Columns that describe the lesion or the patient have several values within one lesion.",
        "find out which row is wrong",
        is_label_error=True,
    ),
}
"""All kinds by name, in the order of reports."""


@dataclass(frozen=True)
class Finding:
    """A problem that falsifies F1, or may do so.

    Attributes:
        kind: One of :data:`KINDS`.
        severity: ``error`` if it falsifies F1, ``warning`` if someone should check it.
        images: One or two image ids.
        lesions: Their lesion ids.
        detail: The evidence in words.
        similarity: Similarity of the two images, in [-1, 1]; None if they were not compared.
        weight: Order of findings within a kind, highest first.
    """

    kind: str
    severity: Severity
    images: tuple[str, ...]
    lesions: tuple[str, ...]
    detail: str
    similarity: float | None = None
    weight: float = 0.0


@dataclass(frozen=True)
class Check:
    """A check of an audit.

    Attributes:
        note: Basis of the check, or why it was not made.
    """

    title: str
    is_done: bool
    note: str


def tabulate_findings(findings: Iterable[Finding], places: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of findings, errors first, independent of their order.

    Args:
        findings: All findings to list.
        places: Fold or test subset of each image, from :func:`skinbit.audit.split.places_of`.

    Returns:
        :data:`COLUMNS`; blank if a finding has no second image, similarity NaN if images were not compared. The detail
        mentions a leak if the same photograph, or the same skin, is in two places of the split.
    """
    ranked = sorted(findings, key=_rank)
    types = dict.fromkeys(COLUMNS, "str") | {"similarity": "float64"}  # also for a table without rows
    return pd.DataFrame([_row(finding, places) for finding in ranked], columns=COLUMNS).astype(types)


def _rank(finding: Finding) -> tuple[Any, ...]:
    order = (SEVERITIES.index(finding.severity), list(KINDS).index(finding.kind), -finding.weight)
    return (*order, finding.images, finding.lesions, finding.detail)


def _row(finding: Finding, places: Mapping[str, str]) -> tuple[Any, ...]:
    images, lesions = ((*pair, "", "")[:2] for pair in (finding.images, finding.lesions))
    subsets = [places.get(image, NOWHERE) if image else "" for image in images]
    detail = finding.detail
    if is_leak(finding.kind, finding.severity, subsets[0], subsets[1]):
        detail += f"; a leak between {place_name(subsets[0])} and {place_name(subsets[1])}"
    similarity = None if finding.similarity is None else round(float(finding.similarity), _DECIMALS)
    return (finding.kind, finding.severity, *images, *lesions, *subsets, similarity, detail)


def is_leak(kind: str, severity: str, subset_a: str, subset_b: str) -> bool:
    """Whether the same photograph, or the same skin, is in two places of the split."""
    is_apart = subset_a != subset_b and NOWHERE not in (subset_a, subset_b)
    return KINDS[kind].joins_lesions and severity == "error" and is_apart


def place_name(place: str) -> str:
    """Return the name of a fold or of the test subset for use within a sentence."""
    return "the test subset" if place == TEST else place
