"""The summary of an audit, ``audit.json``: the number of findings of each kind, and the checks."""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, computed_field

from skinbit.audit.findings import KINDS, SEVERITIES, Check, Finding, Severity, is_leak
from skinbit.embedding.headers import Sha256
from skinbit.matching.clustering.merges import components
from skinbit.matching.methods import Similarity


class _Record(BaseModel):
    # Readers rely only on these fields, so a file may have more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class KindSummary(_Record):
    """The number of findings of a kind.

    Attributes:
        finding: One of :data:`skinbit.audit.findings.KINDS`.
        error: Number of errors.
        warning: Number of warnings.
        leaks: Number of errors that connect two places of the split.
        listed: Number of findings in ``audit.csv``.
    """

    finding: str
    title: str
    meaning: str
    remedy: str
    possible_label_error: bool
    error: NonNegativeInt
    warning: NonNegativeInt
    leaks: NonNegativeInt
    listed: NonNegativeInt

    @property
    def n(self) -> int:
        """Return the number of findings."""
        return self.error + self.warning


class AuditSummary(_Record):
    """The results of an audit.

    Attributes:
        kinds: From :func:`summarise_kinds`.
        lesions_to_join: From :func:`lesions_to_join`.
        experiment: The baseline whose embeddings were compared.
        split_sha256: From :func:`skinbit.audit.split.hash_split`.
        alike_from: Similarity from which images of two lesions are look-alikes; None without a positive pair.
        unlike_below: Similarity below which images of one lesion are reported; None without a negative pair.
        min_points: Number of matched keypoints from which images are near-duplicates.
    """

    kinds: list[KindSummary]
    checks: list[Check]
    lesions_to_join: list[list[str]]
    experiment: str
    n_images: NonNegativeInt
    n_lesions: NonNegativeInt
    split_sha256: Sha256
    alike_from: Similarity | None
    unlike_below: Similarity | None
    min_points: PositiveInt

    @computed_field  # type: ignore[prop-decorator]
    @property
    def counts(self) -> dict[Severity, int]:
        """Return the number of findings by severity."""
        return {"error": sum(kind.error for kind in self.kinds), "warning": sum(kind.warning for kind in self.kinds)}

    @property
    def found(self) -> list[KindSummary]:
        """Return the kinds with findings."""
        return [kind for kind in self.kinds if kind.n]

    @property
    def unchecked(self) -> list[Check]:
        """Return the checks that were not made."""
        return [check for check in self.checks if not check.is_done]

    def is_failed(self, fail_on: Literal["none", "error", "warning"]) -> bool:
        """Whether there is a finding of at least this severity."""
        severities = {"none": (), "error": ("error",), "warning": SEVERITIES}[fail_on]
        return any(self.counts[severity] for severity in severities)

    def lines(self) -> list[str]:
        """Return a line for each kind with findings, errors first, such as ``3 errors: Identical files``."""
        found = [(getattr(kind, severity), severity, kind.title) for severity in SEVERITIES for kind in self.kinds]
        return [f"{n:,} {severity}{'' if n == 1 else 's'}: {title}" for n, severity, title in found if n]


def summarise_kinds(findings: pd.DataFrame, counts: Mapping[str, int]) -> list[KindSummary]:
    """Return the number of findings of each kind, in the order of :data:`skinbit.audit.findings.KINDS`.

    Args:
        findings: The listed findings, from :func:`skinbit.audit.findings.tabulate_findings`.
        counts: Number of all findings by kind, for kinds whose list may be truncated.
    """
    return [_summarise_kind(name, findings[findings["finding"] == name], counts.get(name)) for name in KINDS]


def _summarise_kind(name: str, own: pd.DataFrame, n_found: int | None) -> KindSummary:
    kind, n_of = KINDS[name], own["severity"].value_counts()
    pairs = zip(own["severity"], own["subset_a"], own["subset_b"], strict=True)
    n_unlisted = n_found - len(own) if n_found is not None and kind.is_label_error else 0
    return KindSummary(
        finding=name,
        title=kind.title,
        meaning=kind.meaning,
        remedy=kind.remedy,
        possible_label_error=kind.is_label_error,
        error=int(n_of.get("error", 0)),
        warning=int(n_of.get("warning", 0)) + n_unlisted,
        leaks=sum(is_leak(name, *pair) for pair in pairs),
        listed=len(own),
    )


def lesions_to_join(findings: Iterable[Finding]) -> list[list[str]]:
    """Return groups of lesions that errors show to be the same lesion, or to share skin.

    Returns:
        Lesion ids, ascending in each group; groups in the order of their first ids.
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
    return list(groups.values())
