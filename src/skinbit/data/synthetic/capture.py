"""What differs between photographs of a lesion: camera, light, pressure, hairs, immersion gel."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from skinbit.data.synthetic.hairs import Hair, Point, draw_hairs, ink_hairs
from skinbit.data.synthetic.texture import Canonical

Field = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
Circle = tuple[float, float, float]

MAP_FIELD: Final = 1.26  # side of the map / diagonal of a photograph at zoom 1; room for offset and pull
MAX_ZOOM: Final = 4.0
MAX_PULL: Final = 0.05
MAX_OFFSET: Final = 0.08  # beyond it, zoom 1 would see past the corners of the map
MAX_STEP: Final = 1.25  # map pixels between neighbouring samples
INK_SCALE: Final = 3  # hairs and bubbles are drawn this much larger, then averaged
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
    pull: tuple[float, float]  # on the skin: stretch along x and shear, shares
    offset: Point  # of the lesion from the middle
    gains: Colour  # exposure and colour cast, factors of R, G, B
    gamma: float  # above 1: darker and with more contrast
    relief: float  # how strongly the light shows creases; negative: from the other side
    light: Point  # position of the brightest light
    falloff: float  # share of light lost half a diagonal away
    vignette: float  # radius of the lit disc in half diagonals; above 1: not visible
    hairs: tuple[Hair, ...]  # in addition to those of the skin
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
    """Return random circumstances of a photograph.

    Zoom, rotation, colour, light, sharpness and rims vary about as much as between photographs of one lesion in
    HAM10000; large zooms are more frequent, as matching fails at them most often. All other ranges were set by eye.

    Args:
        rng: Generator of the capture; not shared with the identity.

    Returns:
        A capture, mostly upright, of zoom 1 to MAX_ZOOM.
    """
    zoom = float(MAX_ZOOM ** rng.beta(0.7, 0.9))
    vignette_probability = 0.4 if zoom < 1.5 else 0.04  # zooming in crops the rim away
    return Capture(
        zoom=zoom,
        rotation=rng.normal(0, 0.12) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi),
        pull=(rng.uniform(-MAX_PULL, MAX_PULL), rng.uniform(-MAX_PULL, MAX_PULL)),
        offset=(rng.uniform(-MAX_OFFSET, MAX_OFFSET), rng.uniform(-MAX_OFFSET, MAX_OFFSET)),
        gains=_draw_gains(rng),
        gamma=rng.uniform(0.93, 1.07),
        relief=rng.normal(0.4, 0.3),
        light=(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)),
        falloff=rng.uniform(0, 0.2),
        vignette=rng.uniform(0.8, 1.0) + (rng.random() > vignette_probability),
        hairs=draw_hairs(rng, int(rng.choice([0, 2, 12], p=[0.75, 0.2, 0.05])), 0.8),
        is_hair_white=rng.random() < 0.12,
        hair_width=rng.uniform(0.002, 0.006),
        bubbles=_draw_circles(rng, int(rng.choice([0, 1, 3], p=[0.85, 0.1, 0.05])), 0.3, 0.045),
        glints=_draw_circles(rng, int(rng.choice([0, 5, 20], p=[0.7, 0.2, 0.1])), 0.2, 0.004),
        ruler=rng.uniform(0.05, 0.1) * (rng.random() < 0.08),
        blur=rng.gamma(1.5, 0.14),
        noise=rng.uniform(0.3, 2.2),
        noise_seed=int(rng.integers(2**32)),
        jpeg_quality=int(rng.integers(60, 95, endpoint=True)),
    )


def _draw_gains(rng: np.random.Generator) -> Colour:
    spread = 2.5 if rng.random() < 0.2 else 1.0  # another camera, or another white balance
    exposure, pink, yellow = rng.normal((0.02, 0.0, 0.0), (0.05, 0.025 * spread, 0.03 * spread))
    red, green, blue = np.exp(exposure + np.array([0.3 * yellow, -pink, -yellow])).tolist()
    return red, green, blue


def _draw_circles(rng: np.random.Generator, n: int, spread: float, mean_radius: float) -> tuple[Circle, ...]:
    centres = rng.normal(0.5, spread, (n, 2)).tolist()
    radii = (mean_radius * rng.uniform(0.5, 1.5, n)).tolist()
    return tuple((x, y, radius) for (x, y), radius in zip(centres, radii, strict=True))


def photograph_map(canonical: Canonical, capture: Capture, width: int, height: int) -> Image.Image:
    """Return the photograph of a lesion's canonical map.

    Args:
        canonical: The lesion, in the middle of its skin.
        capture: The circumstances of the photograph.
        width: Width of the photograph, pixels.
        height: Height of the photograph, pixels.

    Returns:
        The RGB photograph before JPEG compression, width x height pixels.
    """
    sheet = INK_SCALE * width, INK_SCALE * height
    colour, relief = (
        np.asarray(_warp(layer, capture, width, height), dtype=np.float32) / 255
        for layer in (canonical.colour, canonical.relief)
    )
    rgb = _illuminate(colour * (1 + capture.relief * (relief - 0.5))[..., None], capture)
    rgb = _cover(
        rgb, ink_hairs(capture.hairs, capture.hair_width, sheet), WHITE_HAIR if capture.is_hair_white else DARK_HAIR
    )
    rgb = _cover(rgb, _draw_ruler(capture, sheet), DARK_HAIR)
    rgb = _cover(rgb, _draw_glare(capture, sheet), GLARE)
    sharp = _to_image(_add_vignette(rgb, capture))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(capture.blur)), dtype=np.float32) / 255
    grain = np.random.default_rng(capture.noise_seed).standard_normal((height, width, 1), dtype=np.float32)
    return _to_image(blurred + capture.noise / 255 * grain)


def _warp(layer: Image.Image, capture: Capture, width: int, height: int) -> Image.Image:
    """Return a layer rotated, zoomed, pulled and shifted, with enough samples per pixel to avoid aliasing."""
    map_pixels = layer.width / (MAP_FIELD * float(np.hypot(width, height)) * capture.zoom)
    n = max(1, int(np.ceil(map_pixels / MAX_STEP)))
    cos, sin = np.cos(capture.rotation), np.sin(capture.rotation)
    stretch, shear = capture.pull
    step = map_pixels / n * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1 + stretch, shear], [0, 1]])
    size = n * width, n * height
    start = layer.width / 2 - step @ ((np.array(capture.offset) + 0.5) * size)
    affine = np.column_stack([step, start]).ravel().tolist()
    return layer.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC).reduce(n)


def _illuminate(rgb: Field, capture: Capture) -> Field:
    falloff = 1 - capture.falloff * _distance(rgb, capture.light) ** 2
    lit: Field = rgb**capture.gamma * np.array(capture.gains, dtype=np.float32) * falloff[..., None]
    return lit


def _add_vignette(rgb: Field, capture: Capture) -> Field:
    lit = np.clip((capture.vignette - _distance(rgb, (0.5, 0.5))) / VIGNETTE_EDGE, 0, 1)[..., None]
    vignetted: Field = lit * rgb + (1 - lit) * BLACK_LEVEL
    return vignetted


def _distance(rgb: Field, centre: Point) -> Field:
    """Return the distance of each pixel from a point, in half diagonals."""
    height, width, _ = rgb.shape
    x = np.arange(width, dtype=np.float32)[None, :] - centre[0] * width
    y = np.arange(height, dtype=np.float32)[:, None] - centre[1] * height
    distance: Field = np.hypot(x, y) / np.float32(np.hypot(width, height) / 2)
    return distance


def _cover(rgb: Field, ink: Image.Image, colour: Colour) -> Field:
    mask = np.asarray(ink.reduce(INK_SCALE), dtype=np.float32) / 255
    return rgb + mask[..., None] * (np.array(colour, dtype=np.float32) - rgb)


def _draw_ruler(capture: Capture, sheet: tuple[int, int]) -> Image.Image:
    ink = Image.new("L", sheet)
    for x in ink.width * np.arange(0, 1, capture.ruler) if capture.ruler else ():
        ImageDraw.Draw(ink).line((x, 0, x, TICK_LENGTH * ink.width), fill=200, width=INK_SCALE)
    return ink


def _draw_glare(capture: Capture, sheet: tuple[int, int]) -> Image.Image:
    """Return bubbles, thin rings with a reflex on one side, and glints, small discs."""
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
