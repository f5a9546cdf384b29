"""Photographs with more than 8 bits: the range of their values, and conversion to 8 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinbit.data.unusable import CONVERT, UnusableError

ASSUMED_BITS = "assumed_bits"
"""Key in ``info`` of a decoded photograph without a declared range: the assumed number of bits."""

_USUAL = (8, 10, 12, 14, 16)


def to_8_bits(values: NDArray[Any], declared: int | None, inverted: bool = False) -> Image.Image:
    """Return a photograph as 8-bit RGB.

    Args:
        values: ``(height, width)`` or ``(height, width, 3)`` integers.
        declared: Number of bits that the file declares. If None or too small for the values, the smallest of 8, 10, 12,
            14 and 16 that suffices is assumed and written to the image's ``info``.
        inverted: Whether 0 is white.

    Raises:
        UnusableError: If values are negative or need more than 16 bits.
    """
    highest = int(values.max())
    if highest >= 2**16 or values.min() < 0:
        raise UnusableError("its values are negative or have more than 16 bits", remedy=CONVERT)
    needed = next(bits for bits in _USUAL if highest < 2**bits)
    is_declared = declared is not None and highest.bit_length() <= declared <= 16
    bits = declared if declared is not None and is_declared else needed
    wide = values.astype(np.uint32)
    scaled = (wide >> (bits - 8) if bits >= 8 else wide * 255 // (2**bits - 1)).astype(np.uint8)
    image = Image.fromarray(255 - scaled if inverted else scaled).convert("RGB")
    if not is_declared:
        image.info[ASSUMED_BITS] = bits
    return image
