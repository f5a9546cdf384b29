"""A data set of synthetic dermoscopic photographs, two to four per lesion."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinbit.data.synthetic.capture import Capture, draw_capture, photograph_map
from skinbit.data.synthetic.identity import LesionIdentity, draw_identity
from skinbit.data.synthetic.texture import paint_identity

WIDTH: Final = 200
HEIGHT: Final = 150
MIN_SIDE: Final = 16  # pixels; a lesion is not recognisable in fewer
CAPTURES_PER_LESION: Final = {2: 0.6, 3: 0.28, 4: 0.12}  # number -> share of lesions
CAPTURES_OF_ARCHIVE: Final = {1: 0.5, 2: 0.3, 3: 0.14, 4: 0.06}
"""Likewise, where most lesions were photographed once, as in an archive that nobody has labelled."""


class _Stream(IntEnum):
    """First spawn key of each kind of draw, so that no two kinds share random numbers."""

    IDENTITY = 0
    CAPTURE = 1
    N_CAPTURES = 2
    IMAGE_ID = 3


@dataclass(frozen=True)
class Photograph:
    """A JPEG and its metadata; all but `image_id` and `jpeg` is constant within a lesion."""

    image_id: str
    lesion_id: str
    anatom_site_general: str
    dx: str
    jpeg: bytes


def render(identity: LesionIdentity, capture: Capture, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a photograph of a lesion.

    Args:
        identity: The lesion.
        capture: The circumstances of the photograph.
        width: Width in pixels, at least 16.
        height: Height in pixels, at least 16.

    Returns:
        The RGB photograph before JPEG compression, width x height pixels.

    Raises:
        ValueError: If the photograph is too small.
    """
    _check_size(width, height)
    return photograph_map(paint_identity(identity), capture, width, height)


def make_photographs(
    n_lesions: int,
    seed: int,
    width: int = WIDTH,
    height: int = HEIGHT,
    captures: Mapping[int, float] = CAPTURES_PER_LESION,
) -> Iterator[Photograph]:
    """Yield the photographs of a sample of lesions, each made on request.

    Lesion i depends only on (seed, i), and its capture j only on (seed, i, j). The same arguments give the same bytes
    on the same machine with the same libraries.

    Args:
        n_lesions: Number of lesions, at least 1.
        seed: Seed, not negative.
        width: Width in pixels, at least 16.
        height: Height in pixels, at least 16.
        captures: Share of the lesions by their number of photographs.

    Returns:
        An iterator over `count_photographs(n_lesions, seed, captures)` photographs, lesion by lesion; image ids
        are in random order.

    Raises:
        ValueError: If an argument is out of range; raised at the call, not at the first photograph.
    """
    _check_size(width, height)
    return _iterate(_draw_n_captures(n_lesions, seed, captures), seed, width, height)


def count_photographs(n_lesions: int, seed: int, captures: Mapping[int, float] = CAPTURES_PER_LESION) -> int:
    """Return the number of photographs that `make_photographs` makes, without making them.

    Raises:
        ValueError: If there is no lesion, or the seed is negative.
    """
    return int(_draw_n_captures(n_lesions, seed, captures).sum())


def _iterate(n_captures: NDArray[np.int64], seed: int, width: int, height: int) -> Iterator[Photograph]:
    numbers = iter(_generator(seed, _Stream.IMAGE_ID).permutation(n_captures.sum()).tolist())
    for i, n in enumerate(n_captures.tolist()):
        identity = draw_identity(_generator(seed, _Stream.IDENTITY, i))
        canonical = paint_identity(identity)
        for j in range(n):
            capture = draw_capture(_generator(seed, _Stream.CAPTURE, i, j))
            image = photograph_map(canonical, capture, width, height)
            yield Photograph(
                image_id=f"SIMG_{next(numbers):07d}",
                lesion_id=f"SYN_{i:07d}",
                anatom_site_general=identity.anatom_site_general,
                dx=identity.dx,
                jpeg=_encode(image, capture.jpeg_quality),
            )


def _draw_n_captures(n_lesions: int, seed: int, captures: Mapping[int, float]) -> NDArray[np.int64]:
    if n_lesions < 1:
        raise ValueError(f"n_lesions is {n_lesions}; ask for at least 1 lesion.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; choose an integer of 0 or more.")
    return _generator(seed, _Stream.N_CAPTURES).choice(list(captures), n_lesions, p=list(captures.values()))


def _check_size(width: int, height: int) -> None:
    for name, pixels in (("width", width), ("height", height)):
        if pixels < MIN_SIDE:
            raise ValueError(f"{name} is {pixels} pixels; ask for at least {MIN_SIDE}.")


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
