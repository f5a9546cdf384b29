"""What changes from one photograph of a lesion to the next: camera, light, hairs, immersion gel."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
Circle = tuple[float, float, float]
Point = tuple[float, float]

MAP_FIELD: Final = 1.2  # side of the map / diagonal of a photograph at zoom 1; room for the offset
MAX_ZOOM: Final = 3.0
MAX_OFFSET: Final = 0.08  # beyond it, zoom 1 would see past the corners of the map
MAX_STEP: Final = 1.25  # map pixels from one sample to the next
INK_SCALE: Final = 3  # hairs and bubbles are drawn this much larger, then averaged
N_HAIR_POINTS: Final = 14
TICK_LENGTH: Final = 0.04
DARK_HAIR: Final[Colour] = (0.13, 0.09, 0.08)
WHITE_HAIR: Final[Colour] = (0.85, 0.83, 0.80)
GLARE: Final[Colour] = (1.0, 0.98, 1.0)
VIGNETTE_EDGE: Final = 0.04  # width of the rim, half diagonals
BLACK_LEVEL: Final = 0.02  # a camera's black is not 0


@dataclass(frozen=True)
class Capture:
    """One way to photograph a lesion; positions are shares of width and of height, lengths of width."""

    zoom: float  # in [1, MAX_ZOOM]
    rotation: float  # rad
    offset: Point  # of the lesion from the middle
    gains: Colour  # exposure and colour cast, factors of R, G, B
    gamma: float  # above 1 darker and of more contrast
    light: Point  # where it is brightest
    falloff: float  # share of light lost half a diagonal away
    vignette: float  # radius of the lit disc in half diagonals, above 1 out of sight
    hairs: tuple[tuple[Point, Point, Point], ...]  # Bezier control points
    is_hair_white: bool
    hair_width: float
    bubbles: tuple[Circle, ...]  # x, y, radius
    glints: tuple[Circle, ...]  # x, y, radius
    ruler: float  # distance between ticks, 0 none
    blur: float  # standard deviation, pixels
    noise: float  # standard deviation, grey levels
    noise_seed: int
    jpeg_quality: int


def draw_capture(rng: np.random.Generator) -> Capture:
    """Draw the circumstances of one photograph; the ranges were set by eye against HAM10000.

    Args:
        rng: The capture's own generator; the identity may not share it.

    Returns:
        A capture, of any rotation and of zoom 1 to MAX_ZOOM.
    """
    zoom = float(np.exp(rng.uniform(0, np.log(MAX_ZOOM))))
    vignette_probability = 0.35 if zoom < 1.5 else 0.06  # zooming in crops the rim away
    return Capture(
        zoom=zoom,
        rotation=rng.uniform(0, 2 * np.pi),
        offset=(rng.uniform(-MAX_OFFSET, MAX_OFFSET), rng.uniform(-MAX_OFFSET, MAX_OFFSET)),
        gains=_draw_gains(rng),
        gamma=rng.uniform(0.75, 1.25),
        light=(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)),
        falloff=rng.uniform(0, 0.35),
        vignette=rng.uniform(0.76, 1.0) + (rng.random() > vignette_probability),
        hairs=tuple(_draw_hair(rng) for _ in range(rng.choice([0, 3, 20], p=[0.6, 0.3, 0.1]))),
        is_hair_white=rng.random() < 0.12,
        hair_width=rng.uniform(0.003, 0.008),
        bubbles=_draw_circles(rng, int(rng.choice([0, 1, 3], p=[0.85, 0.1, 0.05])), 0.3, 0.045),
        glints=_draw_circles(rng, int(rng.choice([0, 5, 20], p=[0.7, 0.2, 0.1])), 0.2, 0.004),
        ruler=rng.uniform(0.05, 0.1) * (rng.random() < 0.08),
        blur=rng.gamma(1.5, 0.14),
        noise=rng.uniform(0.3, 2.2),
        noise_seed=int(rng.integers(2**32)),
        jpeg_quality=int(rng.integers(60, 95, endpoint=True)),
    )


def _draw_gains(rng: np.random.Generator) -> Colour:
    exposure, pink, yellow = rng.normal((0.02, 0.03, -0.06), (0.09, 0.06, 0.09))
    red, green, blue = np.exp(exposure + np.array([0.3 * yellow, -pink, -yellow])).tolist()
    return red, green, blue


def _draw_hair(rng: np.random.Generator) -> tuple[Point, Point, Point]:
    root = rng.uniform(-0.1, 1.1, 2)
    length, angle = rng.uniform(0.1, 0.8), rng.uniform(0, 2 * np.pi)
    along = length * np.array([np.cos(angle), np.sin(angle)])
    across = rng.normal(0, 0.3) * along[::-1] * (-1, 1)
    (x0, y0), (x1, y1), (x2, y2) = np.stack([root, root + along / 2 + across, root + along]).tolist()
    return (x0, y0), (x1, y1), (x2, y2)


def _draw_circles(rng: np.random.Generator, n: int, spread: float, mean_radius: float) -> tuple[Circle, ...]:
    centres = rng.normal(0.5, spread, (n, 2)).tolist()
    radii = (mean_radius * rng.uniform(0.5, 1.5, n)).tolist()
    return tuple((x, y, radius) for (x, y), radius in zip(centres, radii, strict=True))


def photograph_map(canonical: Image.Image, capture: Capture, width: int, height: int) -> Image.Image:
    """Photograph a lesion's canonical map.

    Args:
        canonical: The square RGB map, the lesion in its middle.
        capture: How it is photographed.
        width: Of the photograph, in pixels.
        height: Of the photograph, in pixels.

    Returns:
        The RGB photograph before JPEG compression, width x height pixels.
    """
    sheet = INK_SCALE * width, INK_SCALE * height
    rgb: Field = np.asarray(_warp(canonical, capture, width, height), dtype=np.float32) / 255
    rgb = _illuminate(rgb, capture)
    rgb = _cover(rgb, _draw_hairs(capture, sheet), WHITE_HAIR if capture.is_hair_white else DARK_HAIR)
    rgb = _cover(rgb, _draw_ruler(capture, sheet), DARK_HAIR)
    rgb = _cover(rgb, _draw_glare(capture, sheet), GLARE)
    sharp = _to_image(_add_vignette(rgb, capture))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(capture.blur)), dtype=np.float32) / 255
    grain = np.random.default_rng(capture.noise_seed).standard_normal((height, width, 1), dtype=np.float32)
    return _to_image(blurred + capture.noise / 255 * grain)


def _warp(canonical: Image.Image, capture: Capture, width: int, height: int) -> Image.Image:
    """Turn, zoom and shift, with enough samples per pixel that nothing aliases."""
    map_pixels = canonical.width / (MAP_FIELD * float(np.hypot(width, height)) * capture.zoom)
    n = max(1, int(np.ceil(map_pixels / MAX_STEP)))
    cos, sin = map_pixels / n * np.cos(capture.rotation), map_pixels / n * np.sin(capture.rotation)
    size, middle = (n * width, n * height), canonical.width / 2
    x, y = (0.5 + capture.offset[0]) * size[0], (0.5 + capture.offset[1]) * size[1]
    affine = (cos, -sin, middle - cos * x + sin * y, sin, cos, middle - sin * x - cos * y)
    return canonical.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC).reduce(n)


def _illuminate(rgb: Field, capture: Capture) -> Field:
    falloff = 1 - capture.falloff * _distance(rgb, capture.light) ** 2
    lit: Field = rgb**capture.gamma * np.array(capture.gains, dtype=np.float32) * falloff[..., None]
    return lit


def _add_vignette(rgb: Field, capture: Capture) -> Field:
    lit = np.clip((capture.vignette - _distance(rgb, (0.5, 0.5))) / VIGNETTE_EDGE, 0, 1)[..., None]
    vignetted: Field = lit * rgb + (1 - lit) * BLACK_LEVEL
    return vignetted


def _distance(rgb: Field, centre: Point) -> Field:
    """Distance of each pixel from a point, in half diagonals."""
    height, width, _ = rgb.shape
    x = np.arange(width, dtype=np.float32)[None, :] - centre[0] * width
    y = np.arange(height, dtype=np.float32)[:, None] - centre[1] * height
    distance: Field = np.hypot(x, y) / np.float32(np.hypot(width, height) / 2)
    return distance


def _cover(rgb: Field, ink: Image.Image, colour: Colour) -> Field:
    mask = np.asarray(ink.reduce(INK_SCALE), dtype=np.float32) / 255
    return rgb + mask[..., None] * (np.array(colour, dtype=np.float32) - rgb)


def _draw_hairs(capture: Capture, sheet: tuple[int, int]) -> Image.Image:
    ink = Image.new("L", sheet)
    t = np.linspace(0, 1, N_HAIR_POINTS)[:, None]
    bezier = np.hstack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    for hair in capture.hairs:
        points = bezier @ np.array(hair) * ink.size
        thickness = max(1, round(capture.hair_width * ink.width))
        ImageDraw.Draw(ink).line(points.ravel().tolist(), fill=215, width=thickness, joint="curve")
    return ink


def _draw_ruler(capture: Capture, sheet: tuple[int, int]) -> Image.Image:
    ink = Image.new("L", sheet)
    for x in ink.width * np.arange(0, 1, capture.ruler) if capture.ruler else ():
        ImageDraw.Draw(ink).line((x, 0, x, TICK_LENGTH * ink.width), fill=200, width=INK_SCALE)
    return ink


def _draw_glare(capture: Capture, sheet: tuple[int, int]) -> Image.Image:
    """Bubbles are thin rings with a reflex on one side, glints are small discs."""
    ink = Image.new("L", sheet)
    pen = ImageDraw.Draw(ink)
    units = np.array([ink.width, ink.height, ink.width])
    for x, y, radius in capture.bubbles * units if capture.bubbles else ():
        pen.circle((x, y), radius, outline=120, width=INK_SCALE)
        pen.arc((x - radius, y - radius, x + radius, y + radius), 200, 250, fill=230, width=2 * INK_SCALE)
    for x, y, radius in capture.glints * units if capture.glints else ():
        pen.circle((x, y), radius, fill=220)
    return ink


def _to_image(rgb: Field) -> Image.Image:
    return Image.fromarray((255 * rgb).clip(0, 255).astype(np.uint8))
