"""The drawing of a match: lines between the matched keypoints of two photographs."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from skinbit.matching.keypoints.geometry import PairMatch, invert, move
from skinbit.matching.labels import FloatArray
from skinbit.report.palette import SOFT

_GAP = 0.015
"""Space between the photographs, as a share of their height."""

_OVERSAMPLING = 3
"""Lines are drawn this many times larger and scaled down, as Pillow does not smooth them."""

_LINE, _EDGE, _DOT, _FRAME = 0.007, 0.013, 0.015, 0.007
"""Widths of a line, of a line with edges and of a frame, and radius of a dot, as shares of the height."""

_LINE_COLOUR, _EDGE_COLOUR, _FRAME_COLOUR = "#36c5ff", (6, 26, 48, 150), (255, 255, 255, 210)
"""Neither skin nor lesions are blue; the dark edge makes lines visible on pale skin."""


def draw_matches(
    images: tuple[Image.Image, Image.Image],
    match: PairMatch,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    height: int = 300,
    max_lines: int = 30,
) -> Image.Image:
    """Return two photographs side by side, with a line for each matched keypoint.

    A frame in each photograph shows the region that the other one covers.

    Args:
        images: RGB, any size.
        match: Result of :func:`skinbit.matching.keypoints.geometry.match_pair` for the same images in this order.
        sizes: Width and height of the two scaled images of the match, pixels.
        height: Height of both photographs in the drawing, pixels.
        max_lines: Largest number of lines, spread over the photograph.

    Returns:
        RGB image; without a match there are no lines.
    """
    side_a, side_b = (_at_height(image, height) for image in images)
    left_of_b = side_a.width + round(_GAP * height)
    drawing = Image.new("RGBA", (left_of_b + side_b.width, height), SOFT)
    drawing.paste(side_a, (0, 0))
    drawing.paste(side_b, (left_of_b, 0))
    if match.transform is None:
        return drawing.convert("RGB")
    size_a, size_b = sizes
    b_in_a, a_in_b = move(_corners(size_b), invert(match.transform)), move(_corners(size_a), match.transform)
    drawing.alpha_composite(_frame(side_a.size, _scaled(b_in_a, size_a, side_a.size)))
    drawing.alpha_composite(_frame(side_b.size, _scaled(a_in_b, size_b, side_b.size)), (left_of_b, 0))
    chosen = spread_out(match.points_a, max_lines)
    starts = _scaled(match.points_a[chosen], size_a, side_a.size)
    ends = _scaled(match.points_b[chosen], size_b, side_b.size) + np.array([left_of_b, 0])
    return Image.alpha_composite(drawing, _lines(drawing.size, starts, ends)).convert("RGB")


def spread_out(points: FloatArray, n_points: int) -> NDArray[np.int64]:
    """Return the rows, ascending, of points far from each other: the first, then always the farthest from all others.

    Args:
        points: ``(n, 2)``.
        n_points: Largest number of rows.
    """
    if len(points) <= n_points:
        return np.arange(len(points))
    chosen = [0]
    distances = np.full(len(points), np.inf)
    while len(chosen) < n_points:
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(distances.argmax()))
    return np.sort(np.array(chosen, dtype=np.int64))


def _at_height(image: Image.Image, height: int) -> Image.Image:
    width = max(1, round(image.width * height / image.height))
    return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _corners(size: tuple[int, int]) -> NDArray[np.float64]:
    width, height = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64) - 0.5


def _scaled(points: NDArray[np.floating], size: tuple[int, int], new_size: tuple[int, int]) -> NDArray[np.float64]:
    # Keypoints are measured from the centre of the first pixel, drawings from its corner.
    scaled: NDArray[np.float64] = (points + 0.5) * (np.array(new_size) / np.array(size))
    return scaled


def _frame(size: tuple[int, int], corners: NDArray[np.float64]) -> Image.Image:
    width, height = size
    layer = Image.new("RGBA", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    outline = [tuple(corner) for corner in (corners * _OVERSAMPLING).tolist()]
    ImageDraw.Draw(layer).line(
        [*outline, outline[0]], fill=_FRAME_COLOUR, width=round(_FRAME * height * _OVERSAMPLING), joint="curve"
    )
    return layer.resize(size, Image.Resampling.LANCZOS)


def _lines(size: tuple[int, int], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> Image.Image:
    width, height = size
    unit = height * _OVERSAMPLING
    layer = Image.new("RGBA", (width * _OVERSAMPLING, unit))
    pen = ImageDraw.Draw(layer)
    lines = [
        (*start, *end)
        for start, end in zip((starts * _OVERSAMPLING).tolist(), (ends * _OVERSAMPLING).tolist(), strict=True)
    ]
    for line in lines:
        pen.line(line, fill=_EDGE_COLOUR, width=round(_EDGE * unit))
    for line in lines:
        pen.line(line, fill=_LINE_COLOUR, width=max(1, round(_LINE * unit)))
    for x_a, y_a, x_b, y_b in lines:
        for centre in ((x_a, y_a), (x_b, y_b)):
            pen.circle(
                centre, _DOT * unit, fill=_LINE_COLOUR, outline=_EDGE_COLOUR[:3], width=max(1, round(_LINE / 2 * unit))
            )
    return layer.resize(size, Image.Resampling.LANCZOS)
