"""Plots with photographs: strips with captions, and a map of embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from skinbit.data.listed import ListedPhotographs
from skinbit.data.threads import map_in_order
from skinbit.matching.labels import FloatArray
from skinbit.notebook.data_figures import largest_first
from skinbit.report.palette import BAD, GOOD, INK, LESIONS, LINE, SOFT

Photographs = Mapping[str, Image.Image]

_INCHES = 1.45
"""Width of a photograph in a strip."""

_GAP, _LINE_HEIGHT = 0.06, 0.17
"""Margin of a photograph, and height of a line of text, in widths of a photograph with margins."""

_ROOM = (1 - 2 * _GAP, (1 - 2 * _GAP) * 3 / 4)
"""Most dermoscopes have 4:3."""

_MOST_IN_STRIP = 8

_POINTS_PER_ROW = 1.7
"""Number of photographs side by side in a map, in square roots of their number."""


@dataclass(frozen=True)
class Picture:
    """A photograph in a strip.

    Attributes:
        caption: Text below it, or empty.
        colour: Colour of its frame; None without a frame.
    """

    image_id: str
    caption: str = ""
    colour: str | None = None


@dataclass(frozen=True)
class Strip:
    """Related photographs, side by side.

    Attributes:
        label: Text above them.
        pictures: At least one.
    """

    label: str
    pictures: tuple[Picture, ...]


def read_photographs(photographs: ListedPhotographs, image_ids: Sequence[str], side: int) -> Photographs:
    """Return small copies of photographs, decoded in threads.

    Args:
        photographs: Photographs that include those to read.
        image_ids: Image ids of the photographs to read.
        side: Largest length of the longer side, pixels.

    Returns:
        Copies by image id.

    Raises:
        InputError: If a photograph has changed since it was listed.
    """

    def read(image_id: str) -> Image.Image:
        image = photographs.decode(image_id, side)
        image.thumbnail((side, side))
        return image

    return dict(zip(image_ids, map_in_order(read, image_ids), strict=True))


def lesion_strips(images: pd.DataFrame, lesion_ids: Sequence[str]) -> list[Strip]:
    """Return a strip of photographs for each lesion.

    Args:
        images: ``image_id, lesion_id``.
        lesion_ids: Lesions in the order of the strips.
    """
    by_lesion = images.groupby("lesion_id")["image_id"].agg(list)
    return [
        Strip(f"lesion {lesion}", tuple(Picture(image_id, image_id) for image_id in by_lesion[lesion]))
        for lesion in lesion_ids
    ]


def pair_strips(pairs: Sequence[Mapping[str, object]]) -> list[Strip]:
    """Return a strip for each pair, with green frames if both photographs show the same lesion, otherwise red.

    Args:
        pairs: ``image_a, image_b, lesion_a, lesion_b, similarity``.
    """
    strips = []
    for pair in pairs:
        colour = GOOD if pair["lesion_a"] == pair["lesion_b"] else BAD
        pictures = tuple(Picture(f"{pair[f'image_{side}']}", f"{pair[f'lesion_{side}']}", colour) for side in "ab")
        strips.append(Strip(f"similarity {pair['similarity']:.4f}", pictures))
    return strips


def neighbour_strip(
    similarities: FloatArray, images: pd.DataFrame, image_id: str, threshold: float, n_images: int = 7
) -> Strip:
    """Return a strip of an image and its nearest images.

    Args:
        similarities: ``(n, n)`` float32, similarities of the images.
        images: ``image_id, lesion_id``, ``n`` rows in the order of the similarities.
        image_id: The image to start from.
        threshold: Smallest similarity of two images that are predicted to show the same lesion.
        n_images: Largest number of other images.

    Returns:
        A strip: neighbours have green frames if they show the image's lesion, otherwise red, with their similarity and
        whether it reaches the threshold.
    """
    ids, lesions = images["image_id"].tolist(), images["lesion_id"].tolist()
    row = ids.index(image_id)
    pictures = [Picture(image_id, "", INK)]
    by_similarity = np.argsort(-similarities[row], kind="stable")
    for other in by_similarity[by_similarity != row][:n_images].tolist():
        similarity = float(similarities[row, other])
        verdict = "matched" if similarity >= threshold else "not matched"
        colour = GOOD if lesions[other] == lesions[row] else BAD
        pictures.append(Picture(ids[other], f"{similarity:.4f} {verdict}", colour))
    n_partners = lesions.count(lesions[row]) - 1
    partners = f"{n_partners} other photograph" + ("" if n_partners == 1 else "s")
    return Strip(f"{image_id}, lesion {lesions[row]} with {partners}", tuple(pictures))


def group_strips(clustered_images: pd.DataFrame, cluster_ids: Sequence[int]) -> list[Strip]:
    """Return a strip of photographs for each group.

    Args:
        clustered_images: ``image_id, lesion_id, cluster_id``.
        cluster_ids: Groups in the order of the strips.

    Returns:
        One strip per group, with one colour for each lesion of several images, most images first; only the first eight
        images of a large group.
    """
    groups = dict(iter(clustered_images.groupby("cluster_id")))
    return [_group_strip(f"group {cluster_id}", groups[cluster_id]) for cluster_id in cluster_ids]


def _group_strip(name: str, images: pd.DataFrame) -> Strip:
    lesions, sizes = largest_first(images["lesion_id"]), images["lesion_id"].value_counts()
    colours = dict(zip([lesion for lesion in lesions if sizes[lesion] > 1], LESIONS, strict=False))
    ordered = images.assign(place=images["lesion_id"].map(lesions.index)).sort_values(["place", "image_id"])
    pictures = tuple(
        Picture(image_id, lesion, colours.get(lesion, LINE))
        for image_id, lesion in zip(ordered["image_id"], ordered["lesion_id"], strict=True)
    )
    left_out = len(pictures) - _MOST_IN_STRIP
    more = f", {left_out} more images are not shown" if left_out > 0 else ""
    label = f"{name}: {len(pictures)} images of {len(lesions)} lesions{more}"
    return Strip(label, pictures[:_MOST_IN_STRIP])


def draw_strips(strips: Sequence[Strip], photographs: Photographs, columns: int = 1) -> Figure:
    """Return a figure with strips of photographs, row by row.

    Args:
        strips: At least one strip.
        photographs: Photographs of all images in them.
        columns: Number of strips side by side.
    """
    length = max(len(strip.pictures) for strip in strips)
    n_rows = -(-len(strips) // columns)
    has_captions = any(picture.caption for strip in strips for picture in strip.pictures)
    height = _ROOM[1] + _LINE_HEIGHT * (2.6 if has_captions else 1.6)
    step = length + 0.35
    width = columns * step - 0.35
    figure = Figure(figsize=(_INCHES * width, _INCHES * height * n_rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height * n_rows, 0), aspect="equal")
    axes.set_axis_off()
    for position, strip in enumerate(strips):
        _draw_strip(axes, strip, photographs, (position % columns * step, position // columns * height))
    return figure


def _draw_strip(axes: Axes, strip: Strip, photographs: Photographs, corner: tuple[float, float]) -> None:
    left, top = corner
    axes.text(left + _GAP, top + _LINE_HEIGHT / 2, strip.label, va="center", fontsize=9, weight="bold", color=INK)
    for position, picture in enumerate(strip.pictures):
        x, y = left + position + 0.5, top + 1.1 * _LINE_HEIGHT + _ROOM[1] / 2
        _draw_photograph(axes, photographs[picture.image_id], (x, y, *_ROOM), picture.colour)
        below = y + _ROOM[1] / 2 + 0.6 * _LINE_HEIGHT
        axes.text(x, below, picture.caption, ha="center", va="center", fontsize=7.5, color=SOFT)


def _draw_photograph(
    axes: Axes,
    image: Image.Image,
    room: tuple[float, float, float, float],
    colour: str | None,
    is_faint: bool = False,
) -> None:
    """Draw a photograph as large as possible; the vertical axis may point either way.

    Args:
        axes: Axes to draw on.
        image: The photograph.
        room: Centre ``(x, y)``, width and height of the available space.
        colour: Colour of its frame; None without a frame.
        is_faint: Whether to draw it pale, behind all others.
    """
    x, y, width, height = room
    scale = min(width / image.width, height / image.height)
    half_width, half_height = image.width * scale / 2, image.height * scale / 2
    bottom, top = axes.get_ylim()
    up = 1 if top > bottom else -1
    extent = (x - half_width, x + half_width, y - up * half_height, y + up * half_height)
    layer = {"alpha": 0.45, "zorder": 1} if is_faint else {"zorder": 3}
    axes.imshow(np.asarray(image), extent=extent, interpolation="antialiased", aspect="auto", **layer)
    if colour is not None:
        corner = (x - half_width, y - half_height)
        frame = Rectangle(
            corner, 2 * half_width, 2 * half_height, fill=False, edgecolor=colour, linewidth=2.2, zorder=3
        )
        axes.add_patch(frame)


def draw_map(
    points: NDArray[np.float64], images: pd.DataFrame, photographs: Photographs, n_lesions: int = len(LESIONS)
) -> Figure:
    """Return a map of photographs in a plane; those of a few lesions have frames and lines in the lesion's colour.

    Args:
        points: ``(n, 2)``.
        images: ``image_id, lesion_id``, ``n`` rows in the same order.
        photographs: Photographs of all images.
        n_lesions: Number of coloured lesions, at most eight, most images first.

    Returns:
        A figure without scales, as distances in such a map have none.
    """
    width, height = np.ptp(points, axis=0).tolist()
    side = max(width, height) / max(_POINTS_PER_ROW * len(points) ** 0.5, 8.0) or 1.0
    figure = Figure(figsize=(12, 1 + 10 * min(max((height + side) / (width + side), 0.4), 1.0)), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(points[:, 0].min() - side, points[:, 0].max() + side)
    axes.set_ylim(points[:, 1].min() - side, points[:, 1].max() + side)
    colours = dict(zip(largest_first(images["lesion_id"])[:n_lesions], LESIONS, strict=False))
    lesions = images["lesion_id"].to_numpy()
    is_coloured = np.isin(lesions, list(colours))
    for lesion, colour in colours.items():
        own = points[lesions == lesion]
        middle = own.mean(axis=0)
        for x, y in own:
            axes.plot([middle[0], x], [middle[1], y], color=colour, linewidth=2, zorder=2)
        axes.plot([], [], color=colour, linewidth=4, label=f"{lesion} ({len(own)})")
    for row in np.argsort(is_coloured, kind="stable"):
        frame = colours.get(lesions[row])
        image = photographs[images["image_id"].iloc[row]]
        _draw_photograph(axes, image, (*points[row], side, side), frame, is_faint=frame is None)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_color(LINE)
    figure.legend(loc="outside right upper", title="lesion (images)", frameon=False, fontsize=8, title_fontsize=9)
    return figure
