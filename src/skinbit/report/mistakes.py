"""Misclassified pairs: a page that shows them side by side, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

from skinbit.config import ReportParams
from skinbit.errors import InputError
from skinbit.report.drawings import MAX_LINES, ordered
from skinbit.report.pages import render_page
from skinbit.report.thumbnails import Pair, Pictures, fit_pictures

_FEWEST_DECIMALS, _MOST_DECIMALS = 4, 7
"""Decimals that distinguish similarities just below 1 in single precision."""


@dataclass(frozen=True)
class _Points:
    """Numbers of matched keypoints of the listed pairs, if keypoints are compared.

    Attributes:
        counts: Number by pair; pairs that were not compared are missing.
        n_drawn: Number of pairs with a drawing, whether it fits or not.
        n_shown: Number of drawings on the page.
    """

    counts: Mapping[Pair, int]
    n_drawn: int
    n_shown: int

    @property
    def n_agreeing(self) -> int:
        """Return the number of pairs with matched keypoints."""
        return sum(count > 0 for count in self.counts.values())


@dataclass(frozen=True)
class _Page:
    """The content of the page before the list of pairs.

    Attributes:
        document: From :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
        limit: The cut as a similarity; None if there is none.
        pictures: Photographs of the listed pairs, and drawings, worst pair first.
        points: Matched keypoints; None if keypoints are not compared.
    """

    document: Mapping[str, Any]
    limit: float | None
    pictures: Pictures
    points: _Points | None

    @property
    def decimals(self) -> int:
        """Return the number of decimals that distinguishes similarities near the cut."""
        if self.limit is None:
            return _FEWEST_DECIMALS
        return min(max(_FEWEST_DECIMALS, ceil(-log10(max(1.0 - self.limit, 1e-9))) + 2), _MOST_DECIMALS)

    @property
    def f1(self) -> float | None:
        """Return the pairwise F1; None if undefined."""
        counts = self.document["counts"]
        if counts["true_positive"] is None:
            return None
        doubled = 2 * counts["true_positive"]
        return float(doubled / (doubled + counts["false_positive"] + counts["false_negative"]))

    @property
    def left_out(self) -> dict[str, int]:
        """Return the number of misclassified pairs that are not listed, by error."""
        counts = self.document["counts"]
        return {name: (counts[name] or 0) - counts[f"listed_{name}"] for name in ("false_positive", "false_negative")}

    @property
    def has_undrawn(self) -> bool:
        """Whether a pair with matched keypoints has no drawing on the page."""
        return self.points is not None and self.points.n_agreeing > self.points.n_shown

    @property
    def few_are_found(self) -> bool:
        """Whether the median positive pair is below the cut, so that nearly all false positives are above it."""
        median = self.document["possible_label_error_from"]
        return self.limit is not None and median is not None and median < self.limit


def render_mistakes(
    document: Mapping[str, Any],
    thumbnails: Mapping[str, str],
    params: ReportParams,
    matches: Sequence[Mapping[str, Any]] | None = None,
    said: Mapping[str, str] | None = None,
) -> str:
    """Return the misclassified pairs of one experiment and method as a page that opens from disk and loads nothing.

    Every photograph is on the page once, however many pairs it is in. Photographs are added in the order of the list as
    long as they fit, followed by drawings of matched keypoints.

    Args:
        document: From :func:`skinbit.matching.scoring.mistakes.mistakes_document`.
        thumbnails: ``data:`` address of every image of the pairs.
        params: Largest size of photographs and drawings.
        matches: ``image_a, image_b``, their ``inliers``, and a ``drawing`` or None, of all listed pairs with compared
            keypoints; None if keypoints are not compared.
        said: Metadata in words by image id, if columns are used.

    Returns:
        HTML; equal input has equal output.

    Raises:
        InputError: If an image of the pairs has no thumbnail.
    """
    pairs = document["pairs"]
    listed = _listed(pairs, matches or ())
    drawings = {pair: match["drawing"] for pair, match in listed.items() if match["drawing"]}
    pictures = fit_pictures(_thumbnails_of(pairs, thumbnails), drawings, params.max_megabytes)
    counts = {pair: match["inliers"] for pair, match in listed.items()}
    points = None if matches is None else _Points(counts, len(drawings), len(pictures.drawings))
    page = _Page(document, _limit(document), pictures, points)
    rows, drawing_rows = pictures.row_of_photograph(), pictures.row_of_drawing()
    data = {
        "limit": page.limit,
        "cutName": "threshold" if document["method"] == "cosine" else "cut",
        "median": document["possible_label_error_from"],
        "decimals": page.decimals,
        "pairs": [_pair_data(pair, rows, said or {}, document) for pair in pairs],
    }
    if points is not None:
        data["maxLines"] = MAX_LINES
        data["matches"] = [{"points": counts.get(key), "drawing": drawing_rows.get(key)} for key in map(_key, pairs)]
    return render_page("misclassifications.html.j2", page=page, data=data)


def _listed(pairs: Sequence[Mapping[str, Any]], matches: Sequence[Mapping[str, Any]]) -> dict[Pair, Mapping[str, Any]]:
    by_pair = {_key(match): match for match in matches}
    return {_key(pair): by_pair[_key(pair)] for pair in pairs if _key(pair) in by_pair}


def _key(pair: Mapping[str, Any]) -> Pair:
    return ordered(pair["image_a"], pair["image_b"])


def _thumbnails_of(pairs: Sequence[Mapping[str, Any]], thumbnails: Mapping[str, str]) -> dict[str, str]:
    """Return the thumbnail of every image once, in the order of the pairs."""
    image_ids = dict.fromkeys(pair[side] for pair in pairs for side in ("image_a", "image_b"))
    missing = [image_id for image_id in image_ids if image_id not in thumbnails]
    if missing:
        raise InputError(
            f"{len(missing)} images of misclassified pairs have no thumbnail, the first is {missing[0]}.\n"
            "  Remedy: the thumbnails are from an earlier split; run the pipeline final_model as a whole."
        )
    return {image_id: thumbnails[image_id] for image_id in image_ids}


def _limit(document: Mapping[str, Any]) -> float | None:
    threshold, eps = document.get("threshold"), document.get("eps")
    return threshold if eps is None else 1.0 - eps


def _pair_data(
    pair: Mapping[str, Any], rows: Mapping[str, int], said: Mapping[str, str], document: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the data of a pair for the page's script: photographs by row, None if left out."""
    is_wrongly_joined = pair["error"] == "false_positive"
    return {
        "images": [
            {
                "id": pair[f"image_{side}"],
                "lesion": pair[f"lesion_{side}"],
                "photograph": rows.get(pair[f"image_{side}"]),
                "said": said.get(pair[f"image_{side}"], ""),
            }
            for side in "ab"
        ],
        "similarity": pair["similarity"],
        "error": pair["error"],
        "labelError": is_wrongly_joined and pair["similarity"] >= document["possible_label_error_from"],
        # The same comparison as DBSCAN's: a distance, not a similarity, with eps.
        "indirect": is_wrongly_joined and document["method"] == "dbscan" and 1.0 - pair["similarity"] > document["eps"],
    }
