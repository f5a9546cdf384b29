"""Paints a lesion onto its canonical map, as layers of optical density."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinbit.data.synthetic.hairs import draw_hairs, ink_hairs
from skinbit.data.synthetic.identity import CHROMOPHORES, FAIR_SKIN, PIGMENTS, LesionIdentity

Field = NDArray[np.floating[Any]]

MAP_SIDE: Final = 960  # pixels; a 200 x 150 photograph at zoom 4 then stretches it by 1.25 only
LESION_EXTENT: Final = 2.0  # lesion radii; MAX_OUTLINE_RADIUS * sqrt(MAX_ELONGATION) stays inside
MIN_OUTLINE_RADIUS: Final = 0.35  # lesion radii; keeps a strongly lobed outline in one piece
MAX_OUTLINE_RADIUS: Final = 1.4
MAIN_REGION_BIAS: Final = 1.1  # in noise standard deviations; lets the first colour cover most of the lesion
MIN_PATTERN: Final = 0.15  # relative density in the holes of the network
HAIR_WIDTH: Final = 0.0025  # share of the map's side
HAIR_DENSITY: Final = 1.0  # optical, of hairs on the skin
N_STREAK_ANGLES: Final = 90
OCTAVE_GAIN: Final = 0.6  # amplitude of an octave of noise relative to the next coarser one
INTERPOLATION_LOSS: Final = 1.4  # bicubic interpolation of unit noise leaves 1 / 1.4 of its deviation


@dataclass(frozen=True)
class Canonical:
    """A lesion and the skin around it as an ideal camera would see them, with the lesion in the middle.

    Attributes:
        colour: RGB, MAP_SIDE x MAP_SIDE pixels.
        relief: Height of the surface in grey, same size, 0.5 on average; oblique light makes it visible.
    """

    colour: Image.Image
    relief: Image.Image


def paint_identity(identity: LesionIdentity) -> Canonical:
    """Return the map of a lesion."""
    rng = np.random.default_rng(identity.texture_seed)
    creases = np.abs(_noise(rng, MAP_SIDE, 9, stretch=3)) + _noise(rng, MAP_SIDE, 4)
    creases = creases.T if rng.random() < 0.5 else creases
    density = _paint_skin(identity, creases, rng)
    half = int(LESION_EXTENT * identity.radius * MAP_SIDE)
    middle = slice(MAP_SIDE // 2 - half, MAP_SIDE // 2 + half)
    density[middle, middle] += _paint_lesion(identity, 2 * half, rng)
    hairs = ink_hairs(draw_hairs(rng, identity.n_hairs, 0.25), HAIR_WIDTH, (MAP_SIDE, MAP_SIDE))
    density += HAIR_DENSITY * (np.asarray(hairs, dtype=np.float32) / 255)[..., None]
    return Canonical(_to_image(np.exp(-density)), _to_image(0.5 + identity.texture * creases))


def _to_image(field: Field) -> Image.Image:
    return Image.fromarray((255 * field).clip(0, 255).astype(np.uint8))


def _paint_skin(identity: LesionIdentity, creases: Field, rng: np.random.Generator) -> Field:
    """Return the skin's optical density, shape (MAP_SIDE, MAP_SIDE, 3)."""
    melanin = identity.melanin + identity.texture / 2 * (creases + _fractal(rng, MAP_SIDE, 120, 5))
    n = identity.n_freckles
    _stamp(melanin, rng.uniform(0, MAP_SIDE, (n, 2)), rng.uniform(5, 21, n), 0.3)
    patches = _fractal(rng, MAP_SIDE, 90, 5)
    blood = identity.erythema * (1 + 0.5 * patches)
    if identity.vessels:
        # Zero crossings of noise are thin winding lines; patches break them into vessels.
        lines = np.maximum(0, 1 - 6 * np.abs(_fractal(rng, MAP_SIDE, 55, 3)))
        blood += identity.vessels * lines * np.maximum(0, patches)
    chromophores = np.stack([melanin, blood], axis=-1)
    return _colour(FAIR_SKIN) + chromophores @ _colour(*CHROMOPHORES)


def _paint_lesion(identity: LesionIdentity, side: int, rng: np.random.Generator) -> Field:
    """Return the optical density that the lesion adds to the skin, shape (side, side, 3)."""
    depth = _depth(identity, side, rng)
    rough = depth + identity.roughness / 2 * _fractal(rng, side, side / 8, 4)
    cover = 1 / (1 + np.exp(-np.clip(rough / identity.fade, -30, 30))) * _taper(side)
    pattern = 1 + identity.mottle * _fractal(rng, side, side / 14, 4) + 0.06 * _noise(rng, side, 3)
    pattern += identity.network * _network(identity.network_period, side, rng)
    pigment = _regions(identity, depth, rng) * np.maximum(pattern, MIN_PATTERN)[..., None]
    dots = _dots(identity, side, rng)[..., None] * _colour(PIGMENTS["dark brown"])
    return cover[..., None] * (pigment + dots)


def _depth(identity: LesionIdentity, side: int, rng: np.random.Generator) -> Field:
    """Return how far inside the outline each pixel is: 1 in the middle, 0 on the outline, negative outside."""
    axis = np.linspace(-LESION_EXTENT, LESION_EXTENT, side, dtype=np.float32)
    stretch = np.float32(np.sqrt(identity.elongation))
    cos, sin = np.float32(np.cos(identity.direction)), np.float32(np.sin(identity.direction))
    x = (cos * axis[None, :] + sin * axis[:, None]) / stretch
    y = (cos * axis[:, None] - sin * axis[None, :]) * stretch
    angles = np.linspace(-np.pi, np.pi, 8 * N_STREAK_ANGLES)
    harmonics = [a * np.cos(k * angles + phase) for k, (a, phase) in enumerate(identity.outline, 1)]
    spikes = np.maximum(0, rng.normal(size=N_STREAK_ANGLES))
    streaks = np.interp(angles, angles[::8], spikes)
    radii = 1 + np.sum(harmonics, axis=0) + identity.streaks * streaks
    radii = np.clip(radii, MIN_OUTLINE_RADIUS, MAX_OUTLINE_RADIUS)
    depth: Field = 1 - np.hypot(x, y) / np.interp(np.arctan2(y, x), angles, radii).astype(np.float32)
    return depth


def _taper(side: int) -> Field:
    """Return a window that is one in the middle and zero at the edges, so that no lesion ends in a straight line."""
    ramp = np.clip(5 * (1 - np.abs(np.linspace(-1, 1, side, dtype=np.float32))), 0, 1)
    taper: Field = ramp[:, None] * ramp
    return taper


def _regions(identity: LesionIdentity, depth: Field, rng: np.random.Generator) -> Field:
    """Return the density of the lesion's pigments in their regions, shape (side, side, 3)."""
    side = len(depth)
    scores = [
        _noise(rng, side, side / 5) + 0.5 * _noise(rng, side, side / 14) + rng.normal(0, 1.2) * (depth - 0.5)
        for _ in identity.pigments
    ]
    scores[0] += MAIN_REGION_BIAS
    weights = np.exp(identity.region_contrast * np.stack(scores, axis=-1))
    densities: Field = weights / weights.sum(axis=-1, keepdims=True) @ _colour(*identity.pigments)
    return densities


def _network(period: float, side: int, rng: np.random.Generator) -> Field:
    """Return a patchy honeycomb of dark lines in [-1, 1]: three plane waves 120 degrees apart, on a warped plane."""
    pixels = np.arange(side, dtype=np.float32)
    x = pixels[None, :] + 0.3 * period * _noise(rng, side, 2.5 * period)
    y = pixels[:, None] + 0.3 * period * _noise(rng, side, 2.5 * period)
    k = 2 * np.pi / period
    directions = 2 * np.pi / 3 * np.arange(3)
    waves = sum(np.cos(k * (float(np.cos(t)) * x + float(np.sin(t)) * y)) for t in directions)
    patches = np.clip(0.6 + 0.5 * _noise(rng, side, side / 5), 0, 1)
    network: Field = -patches * np.clip(waves, -1, 1)
    return network


def _dots(identity: LesionIdentity, side: int, rng: np.random.Generator) -> Field:
    dots = np.zeros((side, side), np.float32)
    lesion_radius = side / (2 * LESION_EXTENT)
    centres = side / 2 + lesion_radius * rng.normal(0, 0.42, (identity.n_dots, 2))
    radii = lesion_radius * identity.dot_radius * rng.uniform(0.6, 1.4, identity.n_dots)
    _stamp(dots, centres, radii, identity.dot_density)
    return dots


def _stamp(field: Field, centres: NDArray[np.float64], radii: NDArray[np.float64], value: float) -> None:
    """Add soft-edged discs to a field in place; centres (n, 2) and radii (n,) in pixels."""
    for (x, y), radius in zip(centres, radii, strict=True):
        reach = 2 * radius + 1
        rows = slice(max(0, int(y - reach)), max(0, int(y + reach)))
        columns = slice(max(0, int(x - reach)), max(0, int(x + reach)))
        dy, dx = np.arange(len(field))[rows, None] - y, np.arange(len(field))[None, columns] - x
        field[rows, columns] += value * np.exp(-(((dx**2 + dy**2) / radius**2) ** 2))


def _noise(rng: np.random.Generator, side: int, cell: float, stretch: float = 1) -> Field:
    """Return smooth noise of about unit variance that varies over `cell` rows and `cell * stretch` columns."""
    grid = rng.standard_normal((2 + int(side / cell), 2 + int(side / cell / stretch)), dtype=np.float32)
    smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return np.float32(INTERPOLATION_LOSS) * np.asarray(smooth)


def _fractal(rng: np.random.Generator, side: int, cell: float, n_octaves: int) -> Field:
    """Return noise with detail from `cell` down to `cell / 2**(n_octaves - 1)` pixels, about unit variance."""
    total = np.zeros((side, side), np.float32)
    for octave in range(n_octaves):
        total += OCTAVE_GAIN**octave * _noise(rng, side, cell / 2**octave)
    return total / np.float32(np.sqrt(1 / (1 - OCTAVE_GAIN**2)))


def _colour(*densities: tuple[float, float, float]) -> Field:
    return np.array(densities, dtype=np.float32)
