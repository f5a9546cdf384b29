"""The page of an audit: all findings with their photographs side by side."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from skinbit.audit.findings import is_leak
from skinbit.audit.summary import AuditSummary
from skinbit.config import ReportParams
from skinbit.report.drawings import ordered
from skinbit.report.pages import render_page
from skinbit.report.thumbnails import Pair, fit_pictures


def pages_images(findings: pd.DataFrame, max_pairs: int) -> list[str]:
    """Return the images of the findings on the page, each once, in order of appearance.

    Args:
        findings: From :func:`skinbit.audit.findings.tabulate_findings`.
        max_pairs: Largest number of findings of each kind.
    """
    shown = _shown(findings, max_pairs)
    ids = (image for pair in zip(shown["image_a"], shown["image_b"], strict=True) for image in pair)
    return [image for image in dict.fromkeys(ids) if image]


def pairs_to_draw(findings: pd.DataFrame, max_pairs: int, max_drawings: int) -> list[Pair]:
    """Return the pairs with drawings of matched keypoints: near-duplicates, most keypoints first.

    Args:
        findings: From :func:`skinbit.audit.findings.tabulate_findings`.
        max_pairs: Largest number of findings of each kind.
        max_drawings: Largest number of drawings.
    """
    shown = _shown(findings, max_pairs)
    near = shown[shown["finding"] == "near_duplicate"][:max_drawings]
    return [ordered(a, b) for a, b in zip(near["image_a"], near["image_b"], strict=True)]


def _shown(findings: pd.DataFrame, max_pairs: int) -> pd.DataFrame:
    return findings[findings.groupby("finding").cumcount() < max_pairs]


def render_audit(
    findings: pd.DataFrame,
    summary: AuditSummary,
    thumbnails: Mapping[str, str],
    drawings: Mapping[Pair, str],
    params: ReportParams,
) -> str:
    """Return an audit as a page that opens from disk and loads nothing.

    Args:
        findings: From :func:`skinbit.audit.findings.tabulate_findings`.
        summary: Summary of these findings.
        thumbnails: ``data:`` address of each image id; a missing one leaves an empty place.
        drawings: Drawings of matched keypoints, as ``data:`` address of each pair.
        params: Largest number of findings of each kind, and of megabytes of photographs.

    Returns:
        HTML; equal input gives equal text.
    """
    shown = _shown(findings, params.max_pairs)
    wanted = {image: thumbnails[image] for image in pages_images(shown, params.max_pairs) if image in thumbnails}
    pictures = fit_pictures(wanted, drawings, params.max_megabytes)
    rows, drawing_rows = pictures.row_of_photograph(), pictures.row_of_drawing()
    n_shown = shown["finding"].value_counts().to_dict()
    return render_page(
        "audit.html.j2",
        summary=summary,
        n_shown=n_shown,
        left_out=[kind for kind in summary.found if kind.n > n_shown.get(kind.finding, 0)],
        pictures=pictures,
        data={
            "kinds": {kind.finding: kind.title for kind in summary.found},
            "findings": [_finding_data(row, rows, drawing_rows) for row in shown.to_dict(orient="records")],
        },
    )


def _finding_data(row: Mapping[Hashable, Any], rows: Mapping[str, int], drawings: Mapping[Pair, int]) -> dict[str, Any]:
    """Return the data of a finding for the page's script: photographs by row, None if there is none."""
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
        "leak": is_leak(row["finding"], row["severity"], row["subset_a"], row["subset_b"]),
        "drawing": drawings.get(ordered(row["image_a"], row["image_b"])) if is_compared else None,
    }
