"""Findings of an audit: the kinds there are, how severe each is, and the table that lists them all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from skinbit.data.splits import TEST

Severity = Literal["error", "warning"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning")
"""Worst first."""

NOWHERE = "not dealt"
"""The subset of an image that the split does not name."""

COLUMNS = ["finding", "severity", "image_a", "image_b", "lesion_a", "lesion_b", "subset_a", "subset_b"]
COLUMNS += ["similarity", "detail"]
"""Of the table of findings."""

_DECIMALS = 7


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        title: Its heading.
        meaning: What it implies for the images.
        remedy: What a user can do about it.
        is_label_error: A possible label error: a reason to look at the labels, no proof.
        joins_lesions: Two lesions with such an error are one lesion, or share skin.
    """

    title: str
    meaning: str
    remedy: str
    is_label_error: bool = False
    joins_lesions: bool = False


KINDS = {
    "identical_bytes": FindingKind(
        "Identical files",
        "One file under two image ids. Of one lesion it is a positive pair that any model finds, of two lesions one of "
        "the labels is wrong.",
        "remove one of the two rows; of two lesions, find out which label holds",
        joins_lesions=True,
    ),
    "identical_pixels": FindingKind(
        "Identical photographs in different files",
        "The files differ (metadata, format), the decoded photographs do not.",
        "remove one of the two rows; of two lesions, find out which label holds",
        joins_lesions=True,
    ),
    "near_duplicate": FindingKind(
        "Two lesions that show the same places",
        "Keypoints of two photographs agree on one turn, zoom and shift: the same skin under two lesion ids, mostly "
        "the same lesion, sometimes two lesions in one field of view.",
        "look at the pair; give both lesions one lesion_id, or keep them in one fold with split.keep_together",
        joins_lesions=True,
    ),
    "lesion_across_folds": FindingKind(
        "Lesions in several folds or subsets",
        "The split on disk deals images of one lesion to more than one place: a model is judged on what it has seen.",
        "make the split anew: kedro run --pipelines data_split",
    ),
    "split_contradiction": FindingKind(
        "Rows of the split that do not fit",
        "The split on disk contradicts itself or the metadata.",
        "make the split anew: kedro run --pipelines data_split",
    ),
    "patient_across_subsets": FindingKind(
        "Patients in the test subset and in training",
        "One patient's lesions are in the test subset and in training: skin, camera and clinic are known already.",
        "deal patients whole: split.keep_together names the column of patients",
    ),
    "patient_across_folds": FindingKind(
        "Patients in several folds",
        "One patient's lesions are in several folds.",
        "deal patients whole: split.keep_together names the column of patients",
    ),
    "look_alike": FindingKind(
        "Two lesions that look alike",
        "More alike than most photographs of one lesion are, though no places agree: two similar lesions, a mirrored "
        "copy, or one lesion under two ids.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "unlike_pair": FindingKind(
        "One lesion that looks like two",
        "Less alike than photographs of two lesions mostly are, and no places agree: another zoom, or two lesions "
        "under one id.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "foreign_neighbours": FindingKind(
        "Images among another lesion's",
        "The nearest images all belong to one other lesion.",
        "look at the pair, and whether both labels are right",
        is_label_error=True,
    ),
    "metadata_contradiction": FindingKind(
        "Lesions whose images say different things",
        "Columns that describe the lesion or the patient have several values within one lesion.",
        "look which row is wrong",
        is_label_error=True,
    ),
}
"""By name, in the order in which they are reported."""


@dataclass(frozen=True)
class Finding:
    """Something that falsifies the F1, or may do so.

    Attributes:
        kind: One of :data:`KINDS`.
        severity: ``error`` if it falsifies the F1, ``warning`` if someone should look at it.
        images: One or two image ids.
        lesions: Their lesion ids.
        detail: The evidence in words.
        similarity: Of the two images, in [-1, 1]; None if they were not compared.
        weight: Orders the findings of a kind, highest first.
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
    """Something that an audit checks.

    Attributes:
        note: On what the check rests, or why there was none.
    """

    title: str
    is_done: bool
    note: str


def tabulate_findings(findings: Iterable[Finding], places: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of findings, errors first, whatever the order they come in.

    Args:
        findings: All that are to be listed.
        places: Fold or test subset of each image, from :func:`skinbit.audit.split.places_of`.

    Returns:
        :data:`COLUMNS`; blank where a finding has no second image, similarity NaN where images were not compared.
        The detail mentions a leak where one photograph, or one skin, is in two places.
    """
    ranked = sorted(findings, key=_rank)
    types = dict.fromkeys(COLUMNS, "str") | {"similarity": "float64"}  # also where there is no row
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
    """Whether one photograph, or one skin, is in two places of the split."""
    is_apart = subset_a != subset_b and NOWHERE not in (subset_a, subset_b)
    return KINDS[kind].joins_lesions and severity == "error" and is_apart


def place_name(place: str) -> str:
    """Return the words for a fold or the test subset within a sentence."""
    return "the test subset" if place == TEST else place
