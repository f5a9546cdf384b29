"""Misclassified pairs: one page that shows them side by side, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

from skinbit.config import ReportParams
from skinbit.errors import InputError
from skinbit.report.drawings import MAX_LINES, Pair, ordered
from skinbit.report.pages import render_page
from skinbit.report.thumbnails import within_size

_FEWEST_DECIMALS, _MOST_DECIMALS = 4, 7
"""Similarities are single precision: 7 decimals tell neighbours just below 1 apart."""


@dataclass(frozen=True)
class _Points:
    """On how many points the listed pairs agree, where keypoints are compared.

    Attributes:
        counts: By pair; a pair that was not compared is missing.
        drawings: ``data:`` address by pair, as many as fit, the worst pair first.
        n_drawn: Pairs of the list with a drawing, whether it fits or not.
    """

    counts: Mapping[Pair, int]
    drawings: Mapping[Pair, str]
    n_drawn: int

    @property
    def n_agreeing(self) -> int:
        """Count the pairs that agree on any point."""
        return sum(count > 0 for count in self.counts.values())


@dataclass(frozen=True)
class _Page:
    """What the page says about the pairs before it lists them.

    Attributes:
        document: From :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
        limit: The cut as a similarity; None where there is none.
        decimals: Of similarities, enough to tell pairs near the cut apart.
        f1: Pairwise F1; None where it is undefined.
        left_out: Per error the misclassified pairs that are not listed.
        n_photographs: Images of the listed pairs.
        n_photographs_left_out: Those of them whose photographs no longer fit.
        points: On how many points pairs agree; None where keypoints are not compared.
        max_megabytes: What photographs and drawings may take.
    """

    document: Mapping[str, Any]
    limit: float | None
    decimals: int
    f1: float | None
    left_out: Mapping[str, int]
    n_photographs: int
    n_photographs_left_out: int
    points: _Points | None
    max_megabytes: float

    @property
    def has_undrawn(self) -> bool:
        """Tell whether a pair with matched points has no drawing in the page."""
        return self.points is not None and self.points.n_agreeing > len(self.points.drawings)

    @property
    def few_are_found(self) -> bool:
        """Tell whether the median positive pair lies below the cut, so that nearly any false positive is above it."""
        median = self.document["possible_label_error_from"]
        return self.limit is not None and median is not None and median < self.limit


def render_mistakes(
    document: Mapping[str, Any],
    thumbnails: Mapping[str, str],
    params: ReportParams,
    matches: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Render the misclassified pairs of one experiment and method as a page that opens from disk and loads nothing.

    Every photograph is in the page once, however many pairs it is in. Photographs enter in the order in which the
    list first shows them, as long as they fit; drawings of matched points follow in the order of the list.

    Args:
        document: From :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
        thumbnails: ``data:`` address of every image of the pairs, by image id.
        params: How much room photographs and drawings may take.
        matches: ``image_a, image_b``, their ``inliers``, and a ``drawing``, None where there is none, of all listed
            pairs whose keypoints were compared; None where no keypoints are compared at all.

    Returns:
        HTML; equal input gives equal text.

    Raises:
        InputError: If an image of the pairs has no thumbnail.
    """
    needed = _thumbnails_of(document["pairs"], thumbnails)
    photographs = within_size(needed, params.max_megabytes)
    room = params.max_megabytes - sum(map(len, photographs.values())) / 1e6
    points = None if matches is None else _points(document["pairs"], matches, room)
    limit = _limit(document)
    page = _Page(
        document=document,
        limit=limit,
        decimals=_decimals(limit),
        f1=_f1(document["counts"]),
        left_out=_left_out(document["counts"]),
        n_photographs=len(needed),
        n_photographs_left_out=len(needed) - len(photographs),
        points=points,
        max_megabytes=params.max_megabytes,
    )
    rows = {image_id: row for row, image_id in enumerate(photographs)}
    data = {
        "limit": limit,
        "cutName": "threshold" if document["method"] == "cosine" else "cut",
        "median": document["possible_label_error_from"],
        "decimals": page.decimals,
        "pairs": [_pair_data(pair, rows, document) for pair in document["pairs"]],
    }
    if points is not None:
        data["maxLines"] = MAX_LINES
        data["matches"] = _match_data(document["pairs"], points)
    return render_page("misclassifications.html.j2", page=page, data=data, photographs=list(photographs.values()))


def _points(pairs: Sequence[Mapping[str, Any]], matches: Sequence[Mapping[str, Any]], megabytes: float) -> _Points:
    by_pair = {_key(match): match for match in matches}
    listed = {_key(pair): by_pair[_key(pair)] for pair in pairs if _key(pair) in by_pair}
    drawn = {key: match["drawing"] for key, match in listed.items() if match["drawing"]}
    counts = {key: match["inliers"] for key, match in listed.items()}
    return _Points(counts, within_size(drawn, megabytes), len(drawn))


def _match_data(pairs: Sequence[Mapping[str, Any]], points: _Points) -> list[dict[str, int | None]]:
    """Give what the page's script reads: the points of every pair and the row of its drawing, None where missing."""
    rows = {key: row for row, key in enumerate(points.drawings)}
    return [{"points": points.counts.get(_key(pair)), "drawing": rows.get(_key(pair))} for pair in pairs]


def _key(pair: Mapping[str, Any]) -> Pair:
    return ordered(pair["image_a"], pair["image_b"])


def _thumbnails_of(pairs: Sequence[Mapping[str, Any]], thumbnails: Mapping[str, str]) -> dict[str, str]:
    """Take the thumbnail of every image once, in the order in which the pairs first show them."""
    image_ids = dict.fromkeys(pair[side] for pair in pairs for side in ("image_a", "image_b"))
    missing = [image_id for image_id in image_ids if image_id not in thumbnails]
    if missing:
        raise InputError(
            f"{len(missing)} images of misclassified pairs have no thumbnail, the first is {missing[0]}.\n"
            "  Remedy: the thumbnails are of an earlier split; run the pipeline final_model as a whole."
        )
    return {image_id: thumbnails[image_id] for image_id in image_ids}


def _limit(document: Mapping[str, Any]) -> float | None:
    threshold, eps = document.get("threshold"), document.get("eps")
    return threshold if eps is None else 1.0 - eps


def _decimals(limit: float | None) -> int:
    if limit is None:
        return _FEWEST_DECIMALS
    return min(max(_FEWEST_DECIMALS, ceil(-log10(max(1.0 - limit, 1e-9))) + 2), _MOST_DECIMALS)


def _f1(counts: Mapping[str, Any]) -> float | None:
    if counts["true_positive"] is None:
        return None
    doubled = 2 * counts["true_positive"]
    return float(doubled / (doubled + counts["false_positive"] + counts["false_negative"]))


def _left_out(counts: Mapping[str, Any]) -> dict[str, int]:
    return {error: (counts[error] or 0) - counts[f"listed_{error}"] for error in ("false_positive", "false_negative")}


def _pair_data(pair: Mapping[str, Any], rows: Mapping[str, int], document: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the page's script reads of a pair: a photograph by its row, None where it is left out."""
    is_wrongly_joined = pair["error"] == "false_positive"
    return {
        "images": [
            {
                "id": pair[f"image_{side}"],
                "lesion": pair[f"lesion_{side}"],
                "photograph": rows.get(pair[f"image_{side}"]),
            }
            for side in "ab"
        ],
        "similarity": pair["similarity"],
        "error": pair["error"],
        "labelError": is_wrongly_joined and pair["similarity"] >= document["possible_label_error_from"],
        # The same comparison as DBSCAN's: a distance, not a similarity, against eps.
        "indirect": is_wrongly_joined and document["method"] == "dbscan" and 1.0 - pair["similarity"] > document["eps"],
    }
