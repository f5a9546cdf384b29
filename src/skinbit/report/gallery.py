"""Gallery: one page that shows groups of unlabelled photographs, for a person to check and correct."""

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
        similarity: To its nearest image, as the CSV holds it; empty where there is no other image.
        probability: That both show one lesion, as the CSV holds it; empty where it is not known.
        nearest: Id of the nearest image, new or known; empty where there is none.
        lesion_id: Of a known photograph; empty for a new one.
        said: What the metadata says of it, where columns count.
    """

    image_id: str
    similarity: str
    probability: str
    nearest: str
    lesion_id: str
    said: str = ""


@dataclass(frozen=True)
class GroupCard:
    """Photographs taken to show one lesion.

    Attributes:
        cluster_id: 0, 1, … in the order in which the CSV's rows first show them.
        lesion_id: The known lesion to which the group belongs; empty where there is none.
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
    """Two photographs of a group that agree on points.

    Attributes:
        image_ids: In the order of the drawing.
        n_points: Number of points on which they agree, at least 1.
        drawing: ``data:`` address; None where there is no drawing, or no room for it.
    """

    image_ids: tuple[str, str]
    n_points: int
    drawing: str | None


@dataclass(frozen=True)
class Gallery:
    """The content of the page.

    Attributes:
        title: Heading, such as "42 photographs in 17 groups".
        settings: Model, method, cut and the like, by name.
        photographs: New ones in the order of the CSV's rows, then known ones.
        groups: Every new photograph is in one of them; a group of one without known lesion is an image without partner.
        unreadable: File name and reason of all that could not be read or was passed over.
        thumbnails: ``data:`` address by image id, ``known:{image_id}`` for known photographs; may miss some.
        csv_columns: Header of the CSV: ``image_id``, ``cluster_id``, ``similarity_to_nearest`` and so on, or some.
        links: By ``cluster_id``, the strongest links of a group, the strongest first; empty where keypoints are not
            compared.
        warning: What a person should know before anything else; empty: nothing.
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
        """Return whether probabilities are known."""
        return any(probability is not None for group in self.groups for probability in group.probabilities)

    @property
    def n_drawings_left_out(self) -> int:
        """Return the number of links without a drawing."""
        return sum(link.drawing is None for links in self.links.values() for link in links)


def render_gallery(gallery: Gallery) -> str:
    """Render the gallery as one page that opens from disk and loads nothing.

    The page writes the corrected CSV itself; as long as nothing was corrected, that is the CSV of the pipeline, byte by
    byte, if cells with a comma, a quotation mark or a line break are quoted there and no others.

    Returns:
        HTML; equal galleries give equal text.

    Raises:
        ValueError: If the groups do not hold every new photograph once, are not numbered in the order of the rows, have
            a margin that is no number of 0 or more, show an unknown known photograph, or if the CSV has another column.
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
    """Rows of photographs by image id. A new and a known photograph may share an id, so each kind has its own table."""

    def __init__(self, photographs: tuple[PhotographCard, ...]) -> None:
        self.new = {p.image_id: row for row, p in enumerate(photographs) if not p.lesion_id}
        self.known = {p.image_id: row for row, p in enumerate(photographs) if p.lesion_id}

    def nearest(self, row: int, photograph: PhotographCard, group: GroupCard | None) -> int | None:
        """Return the nearest photograph; of two with its id the one in the same group, else the new one."""
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
    """Return what the page's script reads: photographs by row, everything else by reference to rows."""
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
                "margin": None if isinf(group.margin) else group.margin,  # JSON knows no infinity
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
    """Return the photographs to show of each known lesion: those of its groups, or all if no group belongs to it."""
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
