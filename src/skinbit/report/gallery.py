"""The gallery: a page with groups of unlabelled photographs, which a person can review and correct."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isinf

from skinbit.report.drawings import MAX_LINES
from skinbit.report.pages import render_page

_CELLS = ("image_id", "cluster_id", "similarity_to_nearest", "probability_of_nearest", "lesion_id")
"""Columns that the page can write; the CSV has some of them, in any order."""


@dataclass(frozen=True)
class PhotographCard:
    """A photograph of a gallery.

    Attributes:
        image_id: File name without extension.
        similarity: Similarity to its nearest image, as in the CSV; empty if there is no other image.
        probability: Probability that both show the same lesion, as in the CSV; empty if unknown.
        nearest: Id of the nearest image, new or known; empty if there is none.
        lesion_id: Lesion of a known photograph; empty for a new one.
        said: Its metadata, if columns are used.
    """

    image_id: str
    similarity: str
    probability: str
    nearest: str
    lesion_id: str
    said: str = ""


@dataclass(frozen=True)
class GroupCard:
    """Photographs that are grouped as the same lesion.

    Attributes:
        cluster_id: 0, 1, … in the order in which they first appear in the CSV.
        lesion_id: Known lesion of the group; empty if there is none.
        image_ids: New photographs, at least one.
        known_ids: Known photographs of the lesion, for comparison: they cannot be moved and are not in the CSV.
        margin: How far the cut may move before the group changes, in similarity, 0 or more; infinite where nothing
            would change it.
        probabilities: That the weakest link that holds the group is of one lesion, and the strongest one to outside;
            None where there is no such link, or nothing is known.
        needs_check: A person should look at the group.
        contradicts: Answers about it contradict each other, so it comes first.
        reasons: Why, one sentence each.
    """

    cluster_id: int
    lesion_id: str
    image_ids: tuple[str, ...]
    known_ids: tuple[str, ...]
    margin: float
    probabilities: tuple[float | None, float | None]
    needs_check: bool
    reasons: tuple[str, ...]
    contradicts: bool = False


@dataclass(frozen=True)
class Link:
    """Two photographs of a group with matched keypoints.

    Attributes:
        image_ids: Ids of the images in the order of the drawing.
        n_points: Number of matched keypoints, at least 1.
        drawing: ``data:`` address; None if there is no drawing, or no room for it.
    """

    image_ids: tuple[str, str]
    n_points: int
    drawing: str | None


@dataclass(frozen=True)
class Gallery:
    """The content of the page.

    Attributes:
        title: Heading, such as "42 photographs in 17 groups".
        settings: Model, method, cut and other settings, by name.
        photographs: New ones in the order of the CSV, then known ones.
        groups: Groups with every new photograph once; a group of one without a known lesion is an image without a
            partner.
        unreadable: File name and reason of everything that could not be read or was ignored.
        thumbnails: ``data:`` address by image id, ``known:{image_id}`` for known photographs; some may be missing.
        csv_columns: Header of the CSV: ``image_id``, ``cluster_id``, ``similarity_to_nearest`` and others.
        links: Strongest links of a group, strongest first, by ``cluster_id``; empty if keypoints are not compared.
        warning: Important warning; empty if there is none.
    """

    title: str
    settings: Mapping[str, str]
    photographs: tuple[PhotographCard, ...]
    groups: tuple[GroupCard, ...]
    unreadable: tuple[tuple[str, str], ...]
    thumbnails: Mapping[str, str]
    csv_columns: tuple[str, ...]
    links: Mapping[int, tuple[Link, ...]] = field(default_factory=dict)
    warning: str = ""

    @property
    def is_probable(self) -> bool:
        """Whether probabilities are known."""
        return any(probability is not None for group in self.groups for probability in group.probabilities)

    @property
    def n_drawings_left_out(self) -> int:
        """Return the number of links without a drawing."""
        return sum(link.drawing is None for links in self.links.values() for link in links)


def render_gallery(gallery: Gallery) -> str:
    """Return the gallery as one page that opens from disk and loads nothing.

    The page itself writes the corrected CSV; without corrections it is identical to the CSV of the pipeline, if only
    cells with a comma, a quotation mark or a line break are quoted there.

    Returns:
        HTML; equal galleries have equal pages.

    Raises:
        ValueError: If the groups do not contain every new photograph once, are not numbered in the order of the rows,
            have a margin that is not a number from 0, or show an unknown known photograph, or if the CSV has another
            column.
    """
    rows = _Rows(gallery.photographs)
    groups = tuple(sorted(gallery.groups, key=lambda group: group.cluster_id))
    _check(gallery, groups, rows)
    data = _page_data(gallery, groups, rows)
    if gallery.links:
        data["links"] = [[asdict(link) for link in gallery.links.get(group.cluster_id, ())] for group in groups]
        data["maxLines"] = MAX_LINES
    return render_page("clusters.html.j2", gallery=gallery, data=data)


class _Rows:
    """Rows of photographs by image id, separately for new and known photographs, which may share ids."""

    def __init__(self, photographs: tuple[PhotographCard, ...]) -> None:
        self.new = {p.image_id: row for row, p in enumerate(photographs) if not p.lesion_id}
        self.known = {p.image_id: row for row, p in enumerate(photographs) if p.lesion_id}

    def nearest(self, row: int, photograph: PhotographCard, group: GroupCard | None) -> int | None:
        """Return the nearest photograph; if two have its id, the one in the same group, otherwise the new one."""
        candidates = (self.new.get(photograph.nearest), self.known.get(photograph.nearest))
        found = [candidate for candidate in candidates if candidate not in (None, row)]
        if len(found) > 1 and group and photograph.nearest in set(group.known_ids) - set(group.image_ids):
            return found[1]
        return found[0] if found else None


def _check(gallery: Gallery, groups: tuple[GroupCard, ...], rows: _Rows) -> None:
    held = Counter(image_id for group in groups for image_id in group.image_ids)
    is_new = [not photograph.lesion_id for photograph in gallery.photographs]
    if is_new != sorted(is_new, reverse=True) or len(rows.new) + len(rows.known) != len(is_new):
        raise ValueError("New photographs come first, then known ones, each image id once among its kind.")
    if held.keys() != rows.new.keys() or held.total() != len(held) or not all(group.image_ids for group in groups):
        raise ValueError("Every new photograph must be in exactly one group, and every group must have one.")
    first_rows = [min(rows.new[image_id] for image_id in group.image_ids) for group in groups]
    if [group.cluster_id for group in groups] != list(range(len(groups))) or first_rows != sorted(first_rows):
        raise ValueError("Groups must be numbered 0, 1, … in the order in which the rows first show them.")
    if not all(group.margin >= 0 for group in groups):
        raise ValueError("A margin must be 0 or more.")
    if not all(image_id in rows.known for group in groups for image_id in group.known_ids):
        raise ValueError("A group shows a known photograph that is not among the photographs.")
    if not set(gallery.csv_columns) <= set(_CELLS):
        raise ValueError(f"The CSV can have the columns {', '.join(_CELLS)}, not {', '.join(gallery.csv_columns)}.")


def _page_data(gallery: Gallery, groups: tuple[GroupCard, ...], rows: _Rows) -> dict[str, object]:
    """Return the data for the page's script: photographs by row, everything else by reference to rows."""
    group_of = {rows.new[image_id]: group for group in groups for image_id in group.image_ids}
    return {
        "columns": gallery.csv_columns,
        "photographs": [
            {
                "id": photograph.image_id,
                "similarity": photograph.similarity,
                "probability": photograph.probability,
                "nearest": photograph.nearest,
                "nearestRow": rows.nearest(row, photograph, group_of.get(row)),
                "lesion": photograph.lesion_id,
                "said": photograph.said,
                "thumbnail": gallery.thumbnails.get(("known:" if photograph.lesion_id else "") + photograph.image_id),
            }
            for row, photograph in enumerate(gallery.photographs)
        ],
        "groups": [
            {
                "images": sorted(rows.new[image_id] for image_id in group.image_ids),
                "lesion": group.lesion_id,
                "margin": None if isinf(group.margin) else group.margin,  # JSON has no infinity
                "probabilities": group.probabilities,
                "check": group.needs_check,
                "reasons": group.reasons,
                "contradicts": group.contradicts,
            }
            for group in groups
        ],
        "lesions": _known_rows(gallery, groups, rows),
        "unreadable": len(gallery.unreadable),
    }


def _known_rows(gallery: Gallery, groups: tuple[GroupCard, ...], rows: _Rows) -> dict[str, list[int]]:
    """Return the photographs of each known lesion to show: those of its groups, or all if it has no group."""
    shown: dict[str, list[int]] = {}
    for group in groups:
        if group.lesion_id:
            shown.setdefault(group.lesion_id, []).extend(rows.known[image_id] for image_id in group.known_ids)
    others: dict[str, list[int]] = {}
    for row in rows.known.values():
        lesion_id = gallery.photographs[row].lesion_id
        if lesion_id not in shown:
            others.setdefault(lesion_id, []).append(row)
    return {lesion_id: sorted(set(known)) for lesion_id, known in {**shown, **others}.items()}
