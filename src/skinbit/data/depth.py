"""Brightness of more than 8 bits: the range that a photograph's values have, and the values as 8 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinbit.data.unusable import CONVERT, UnusableError

ASSUMED_BITS = "assumed_bits"
"""In ``info`` of a decoded photograph whose range no file declares: of how many bits its values were taken to be."""

_USUAL = (8, 10, 12, 14, 16)


def to_8_bits(values: NDArray[Any], declared: int | None, inverted: bool = False) -> Image.Image:
    """Return a photograph of 8 bits, mode RGB.

    Args:
        values: ``(height, width)`` or ``(height, width, 3)`` integers.
        declared: Bits that the file says its values have. None, or too few for them: the least of 8, 10, 12, 14 and 16
            that hold them all, which the image's ``info`` then says.
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
