"""What stays the same in all photographs of a lesion: its skin, outline, colours and pattern."""

from dataclasses import dataclass
from typing import Final

import numpy as np

Density = tuple[float, float, float]

MAX_ELONGATION: Final = 1.8

# Colours are optical densities, -ln(reflectance) in R, G, B, so that layers of pigment add up.
FAIR_SKIN: Final[Density] = (0.11, 0.27, 0.31)
CHROMOPHORES: Final[tuple[Density, Density]] = ((0.35, 0.60, 0.85), (0.12, 0.50, 0.44))  # melanin, blood
PIGMENTS: Final[dict[str, Density]] = {
    "light brown": (0.26, 0.46, 0.62),
    "brown": (0.50, 0.86, 1.15),
    "dark brown": (0.88, 1.28, 1.50),
    "black": (1.75, 1.85, 1.80),
    "blue-grey": (0.85, 0.80, 0.62),
    "red": (0.28, 0.62, 0.62),
    "purple": (0.60, 1.35, 0.85),
    "white": (-0.05, -0.12, -0.12),
}
# dx -> share of lesions (HAM10000's order, less skewed), main pigments, further pigments.
DIAGNOSES: Final[dict[str, tuple[float, tuple[str, ...], tuple[str, ...]]]] = {
    "nv": (0.62, ("light brown", "brown", "brown", "dark brown"), ("light brown", "dark brown", "red")),
    "mel": (0.12, ("brown", "dark brown", "black"), ("black", "blue-grey", "red", "white", "light brown")),
    "bkl": (0.11, ("light brown", "light brown", "brown"), ("brown", "blue-grey", "white", "dark brown")),
    "bcc": (0.06, ("red", "blue-grey"), ("blue-grey", "white", "brown", "red")),
    "akiec": (0.04, ("red",), ("light brown", "white", "brown")),
    "vasc": (0.03, ("purple", "red"), ("red", "purple", "blue-grey")),
    "df": (0.02, ("light brown", "brown"), ("white", "red")),
}
NETWORK_DIAGNOSES: Final = ("nv", "mel", "df")  # only melanocytic lesions and dermatofibromas show a network
SITES: Final = ("anterior torso", "posterior torso", "lower extremity", "upper extremity", "head/neck")


@dataclass(frozen=True)
class LesionIdentity:
    """Everything that does not depend on the camera; lengths in lesion radii unless stated otherwise."""

    dx: str
    anatom_site_general: str
    texture_seed: int  # of the noise fields that the strengths below scale
    radius: float  # share of the map's side
    elongation: float  # long axis / short axis, in [1, MAX_ELONGATION]
    direction: float  # of the long axis, rad
    outline: tuple[tuple[float, float], ...]  # amplitude, phase (rad) of angular harmonics 1, 2, ...
    streaks: float  # length of radial streaks, 0 none
    roughness: float  # amplitude of the border's irregularity
    fade: float  # width of the border, small is sharp
    pigments: tuple[Density, ...]  # of one to four colour regions, the main one first
    region_contrast: float  # sharpness of the limits between regions
    mottle: float  # relative amplitude of blotches in the pigment
    network: float  # relative amplitude of the pigment network, 0 none
    network_period: float  # map pixels
    n_dots: int  # dots and globules
    dot_radius: float
    dot_density: float  # optical; negative: bright, milia-like
    melanin: float  # of the skin, 0 fair
    erythema: float  # mean blood in the skin
    vessels: float  # blood in visible vessels, 0 none
    texture: float  # amplitude of skin creases and grain
    n_hairs: int  # on the skin
    n_freckles: int


def draw_identity(rng: np.random.Generator) -> LesionIdentity:
    """Return a random lesion; the ranges were set by eye against HAM10000.

    Args:
        rng: Generator of the identity; not shared with captures.

    Returns:
        A lesion, mostly a brown naevus on fair skin.
    """
    dx = str(rng.choice(list(DIAGNOSES), p=[share for share, _, _ in DIAGNOSES.values()]))
    return LesionIdentity(
        dx=dx,
        anatom_site_general=str(rng.choice(SITES)),
        texture_seed=int(rng.integers(2**32)),
        radius=rng.uniform(0.04, 0.1),
        elongation=min(1 + rng.gamma(2.0, 0.14), MAX_ELONGATION),
        direction=rng.uniform(0, np.pi),
        outline=_draw_outline(rng),
        streaks=rng.uniform(0.03, 0.14) * (rng.random() < 0.25),
        roughness=rng.uniform(0.03, 0.22),
        fade=float(np.exp(rng.uniform(np.log(0.03), np.log(0.18)))),
        pigments=_draw_pigments(dx, rng),
        region_contrast=rng.uniform(1.2, 3.5),
        mottle=rng.uniform(0.06, 0.3),
        network=rng.uniform(0.06, 0.3) * (rng.random() < 0.8) * (dx in NETWORK_DIAGNOSES),
        network_period=rng.uniform(8.0, 15.0),
        n_dots=int(rng.integers(4, 70)) * (rng.random() < 0.5),
        dot_radius=rng.uniform(0.02, 0.055),
        dot_density=rng.uniform(0.15, 0.6) * (1 if rng.random() < 0.75 else -0.5),
        melanin=rng.gamma(1.2, 0.1),
        erythema=rng.gamma(1.5, 0.07),
        vessels=rng.uniform(0.1, 0.5) * (rng.random() < 0.3),
        texture=float(np.exp(rng.uniform(np.log(0.01), np.log(0.1)))),
        n_hairs=int(rng.choice([0, 12, 60], p=[0.5, 0.35, 0.15])),
        n_freckles=int(rng.integers(1, 40)) * (rng.random() < 0.4),
    )


def _draw_outline(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    amplitudes = rng.uniform(0.05, 0.35) * rng.uniform(0, 1, 9) / np.arange(1, 10) ** 0.8
    phases = rng.uniform(0, 2 * np.pi, 9)
    return tuple(zip(amplitudes.tolist(), phases.tolist(), strict=True))


def _draw_pigments(dx: str, rng: np.random.Generator) -> tuple[Density, ...]:
    _, main, further = DIAGNOSES[dx]
    n_further = rng.integers(0, min(3, len(further)), endpoint=True)
    names = [rng.choice(main), *rng.choice(further, size=n_further, replace=False)]
    red, green, blue = (rng.uniform(0.7, 1.2) * rng.normal(1.0, 0.04, 3)).tolist()
    densities = [PIGMENTS[name] for name in names]
    return tuple((red * r, green * g, blue * b) for r, g, b in densities)
