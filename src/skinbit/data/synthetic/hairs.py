"""Hairs: curved lines on the skin or on the lens."""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Hair = tuple[Point, Point, Point]
"""Bezier control points, shares of width and of height."""

_N_POINTS: Final = 14


def draw_hairs(rng: np.random.Generator, n: int, longest: float) -> tuple[Hair, ...]:
    """Return hairs anywhere in a picture, with a length up to `longest`, a share of its width."""
    return tuple(_draw_hair(rng, longest) for _ in range(n))


def _draw_hair(rng: np.random.Generator, longest: float) -> Hair:
    root = rng.uniform(-0.1, 1.1, 2)
    length, angle = rng.uniform(longest / 8, longest), rng.uniform(0, 2 * np.pi)
    along = length * np.array([np.cos(angle), np.sin(angle)])
    across = rng.normal(0, 0.3) * along[::-1] * (-1, 1)
    (x0, y0), (x1, y1), (x2, y2) = np.stack([root, root + along / 2 + across, root + along]).tolist()
    return (x0, y0), (x1, y1), (x2, y2)


def ink_hairs(hairs: tuple[Hair, ...], width: float, sheet: tuple[int, int]) -> Image.Image:
    """Return hairs as grey ink on a sheet of this size in pixels; `width` is a share of the sheet's width."""
    ink = Image.new("L", sheet)
    t = np.linspace(0, 1, _N_POINTS)[:, None]
    bezier = np.hstack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    for hair in hairs:
        points = bezier @ np.array(hair) * sheet
        ImageDraw.Draw(ink).line(points.ravel().tolist(), 215, max(1, round(width * sheet[0])), joint="curve")
    return ink
