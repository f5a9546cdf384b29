"""The audit for people: a summary that other pages show too, and a page with all findings side by side."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from skinbit.audit.tables import KINDS, SEVERITIES, Check, is_leak
from skinbit.config import ReportParams
from skinbit.report.drawings import Pair, ordered
from skinbit.report.pages import render_page
from skinbit.report.thumbnails import within_size


def summarise_audit(
    findings: pd.DataFrame,
    counts: Mapping[str, int],
    checks: Sequence[Check],
    lesions_to_join: Sequence[Sequence[str]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Put what an audit found into one document.

    Args:
        findings: The listed ones, from :func:`skinbit.audit.tables.tabulate_findings`.
        counts: All findings by kind, of kinds whose list may be cut off.
        checks: What was looked at, and what was not.
        lesions_to_join: From :func:`skinbit.audit.similarities.lesions_to_join`.
        settings: What else there is to know: sizes, cuts, the hash of the split.

    Returns:
        ``counts`` by severity; ``kinds`` in order, each with ``finding, title, meaning, remedy, possible_label_error,
        error, warning`` (how many), ``leaks`` and ``listed``; ``checks``; ``lesions_to_join``; the settings. All of it
        plain values.
    """
    rows = findings.to_dict(orient="records")
    kinds = []
    for name, kind in KINDS.items():
        own = [row for row in rows if row["finding"] == name]
        numbers = {severity: sum(row["severity"] == severity for row in own) for severity in SEVERITIES}
        beyond = counts[name] - len(own) if name in counts and kind.is_label_error else 0
        kinds.append(
            {
                "finding": name,
                "title": kind.title,
                "meaning": kind.meaning,
                "remedy": kind.remedy,
                "possible_label_error": kind.is_label_error,
                "error": numbers["error"],
                "warning": numbers["warning"] + beyond,
                "leaks": sum(_is_leak(row) for row in own),
                "listed": len(own),
            }
        )
    return {
        "counts": {severity: sum(kind[severity] for kind in kinds) for severity in SEVERITIES},
        "kinds": kinds,
        "checks": [asdict(check) for check in checks],
        "lesions_to_join": [list(group) for group in lesions_to_join],
        **settings,
    }


def _is_leak(row: Mapping[Hashable, Any]) -> bool:
    return is_leak(row["finding"], row["severity"], row["subset_a"], row["subset_b"])


def is_failed(summary: Mapping[str, Any], fail_on: str) -> bool:
    """Tell whether an audit found something as severe as the user does not accept.

    Args:
        summary: From :func:`summarise_audit`.
        fail_on: ``none``, ``error``, or ``warning``, which errors are as well.

    Returns:
        Whether it did.
    """
    severities = {"none": (), "error": ("error",), "warning": SEVERITIES}[fail_on]
    return any(summary["counts"][severity] for severity in severities)


def describe_audit(summary: Mapping[str, Any]) -> list[str]:
    """Say what an audit found, one line per kind that was found, errors first.

    Args:
        summary: From :func:`summarise_audit`.

    Returns:
        Lines such as ``3 errors: Identical files``.
    """
    found = ((kind[severity], severity, kind["title"]) for severity in SEVERITIES for kind in summary["kinds"])
    return [f"{n:,} {severity}{'' if n == 1 else 's'}: {title}" for n, severity, title in found if n]


def pages_images(findings: pd.DataFrame, max_pairs: int) -> list[str]:
    """Name the images of the findings that the page shows, each once, in the order in which it shows them.

    Args:
        findings: From :func:`skinbit.audit.tables.tabulate_findings`.
        max_pairs: So many of each kind.

    Returns:
        Image ids.
    """
    shown = _shown(findings, max_pairs)
    ids = (image for pair in zip(shown["image_a"], shown["image_b"], strict=True) for image in pair)
    return [image for image in dict.fromkeys(ids) if image]


def pairs_to_draw(findings: pd.DataFrame, max_pairs: int, max_drawings: int) -> list[Pair]:
    """Name the pairs whose matched points the page draws.

    Args:
        findings: From :func:`skinbit.audit.tables.tabulate_findings`.
        max_pairs: So many of each kind are shown.
        max_drawings: So many are drawn.

    Returns:
        Near-duplicates, those that agree on most points first.
    """
    shown = _shown(findings, max_pairs)
    near = shown[shown["finding"] == "near_duplicate"][:max_drawings]
    return [ordered(a, b) for a, b in zip(near["image_a"], near["image_b"], strict=True)]


def _shown(findings: pd.DataFrame, max_pairs: int) -> pd.DataFrame:
    return findings[findings.groupby("finding").cumcount() < max_pairs]


@dataclass(frozen=True)
class _Group:
    """The findings of one kind.

    Attributes:
        kind: Its entry in the summary.
        n_shown: Findings in the page.
    """

    kind: Mapping[str, Any]
    n_shown: int

    @property
    def n(self) -> int:
        """Count all findings."""
        return int(self.kind["error"] + self.kind["warning"])

    @property
    def n_left_out(self) -> int:
        """Count the findings that the page does not show."""
        return self.n - self.n_shown


@dataclass(frozen=True)
class _Page:
    """What the page says before it lists findings.

    Attributes:
        summary: From :func:`summarise_audit`.
        groups: Of every kind that was found.
        n_photographs: Images of the shown findings that could be had.
        n_photographs_left_out: Those of them that no longer fit.
        max_megabytes: What photographs and drawings may take.
    """

    summary: Mapping[str, Any]
    groups: tuple[_Group, ...]
    n_photographs: int
    n_photographs_left_out: int
    max_megabytes: float


def render_audit(
    findings: pd.DataFrame,
    summary: Mapping[str, Any],
    thumbnails: Mapping[str, str],
    drawings: Mapping[Pair, str],
    params: ReportParams,
) -> str:
    """Render an audit as a page that opens from disk and loads nothing.

    Args:
        findings: From :func:`skinbit.audit.tables.tabulate_findings`.
        summary: From :func:`summarise_audit`.
        thumbnails: ``data:`` address by image id; an image without one has an empty place.
        drawings: Of matched points, ``data:`` address by pair.
        params: How many findings of each kind, and how many megabytes of photographs.

    Returns:
        HTML; equal input gives equal text.
    """
    shown = _shown(findings, params.max_pairs)
    wanted = {image: thumbnails[image] for image in pages_images(shown, params.max_pairs) if image in thumbnails}
    photographs = within_size(wanted, params.max_megabytes)
    room = params.max_megabytes - sum(map(len, photographs.values())) / 1e6
    drawn = within_size(dict(drawings), room)
    n_shown = shown["finding"].value_counts()
    page = _Page(
        summary=summary,
        groups=tuple(
            _Group(kind, int(n_shown.get(kind["finding"], 0)))
            for kind in summary["kinds"]
            if kind["error"] + kind["warning"]
        ),
        n_photographs=len(wanted),
        n_photographs_left_out=len(wanted) - len(photographs),
        max_megabytes=params.max_megabytes,
    )
    rows = {image: row for row, image in enumerate(photographs)}
    drawing_rows = {pair: row for row, pair in enumerate(drawn)}
    data = {
        "kinds": {group.kind["finding"]: group.kind["title"] for group in page.groups},
        "findings": [_finding_data(row, rows, drawing_rows) for row in shown.to_dict(orient="records")],
    }
    return render_page(
        "audit.html.j2",
        page=page,
        data=data,
        photographs=list(photographs.values()),
        drawings=list(drawn.values()),
    )


def _finding_data(row: Mapping[Hashable, Any], rows: Mapping[str, int], drawings: Mapping[Pair, int]) -> dict[str, Any]:
    """Give what the page's script reads of a finding: a photograph by its row, None where there is none."""
    images = [
        {
            "id": row[f"image_{side}"],
            "lesion": row[f"lesion_{side}"],
            "subset": row[f"subset_{side}"],
            "photograph": rows.get(row[f"image_{side}"]),
        }
        for side in "ab"
        if row[f"image_{side}"]
    ]
    is_compared = row["finding"] == "near_duplicate"
    return {
        "kind": row["finding"],
        "severity": row["severity"],
        "images": images,
        "similarity": None if pd.isna(row["similarity"]) else row["similarity"],
        "detail": row["detail"],
        "leak": _is_leak(row),
        "drawing": drawings.get(ordered(row["image_a"], row["image_b"])) if is_compared else None,
    }


@dataclass(frozen=True)
class AuditReport:
    """What the report of a study shows of an audit.

    Attributes:
        n_errors: Findings that falsify figures.
        n_warnings: Findings to look at.
        kinds: Title, errors, warnings and leaks of every kind that was found.
        unchecked: What was not looked at, and why.
        is_of_this_split: The audit was made of the split that the study uses.
    """

    n_errors: int
    n_warnings: int
    kinds: tuple[tuple[str, int, int, int], ...]
    unchecked: tuple[tuple[str, str], ...]
    is_of_this_split: bool


def prepare_audit(summary: Mapping[str, Any], split_sha256: str) -> AuditReport | None:
    """Prepare an audit for the report of a study.

    Args:
        summary: From :func:`summarise_audit`; empty where none was made.
        split_sha256: From :func:`skinbit.audit.tables.hash_split`, of the study's split.

    Returns:
        What the report shows; None where no audit was made.
    """
    if not summary:
        return None
    return AuditReport(
        n_errors=summary["counts"]["error"],
        n_warnings=summary["counts"]["warning"],
        kinds=tuple(
            (kind["title"], kind["error"], kind["warning"], kind["leaks"])
            for kind in summary["kinds"]
            if kind["error"] + kind["warning"]
        ),
        unchecked=tuple((check["title"], check["note"]) for check in summary["checks"] if not check["is_done"]),
        is_of_this_split=summary["split_sha256"] == split_sha256,
    )
