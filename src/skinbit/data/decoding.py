"""Stored photographs: recognised by content, checked, and decoded to 8-bit RGB."""

import io
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from skinbit.data.depth import to_8_bits
from skinbit.data.dicom import decode_dicom
from skinbit.data.ids import printable
from skinbit.data.unusable import CONVERT, UnusableError, lack_of, refuse_large, refuse_several
from skinbit.errors import is_short_of_memory

_DECODERS = {"JPEG": "JPEG", "PNG": "PNG", "TIFF": "TIFF", "BMP": "BMP", "WebP": "WEBP", "HEIC": "HEIF", "DICOM": ""}
"""Pillow's decoder of each format. Only the decoder of its format may open a file, whatever its name."""

_MARKS = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("BMP", 0, (b"BM",)),
    ("WebP", 8, (b"WEBP",)),
    ("HEIC", 4, tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"))),
    ("DICOM", 128, (b"DICM",)),
)
"""Beginnings of files of each format, and their offsets."""

_HEIC_ITEMS = re.compile(rb"infe(?:\x02\0\0.{5}|\x03\0\0.{7})(mime[^\0]*\0[^\0]*\0|.{4})", re.DOTALL)
"""Type of items in a HEIC file; pi-heif 1.4 ends the process if it is not text."""

_CONVERTIBLE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

_WHITE_IS_ZERO, _SUBFILE, _BITS, _PHOTOMETRIC, _HIGHEST, _RAW = 0, 254, 258, 262, 281, 50706
"""TIFF tags and a value."""

# Our own limit, data.max_pixels, is below the one at which Pillow warns.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Damaged EXIF blocks: the warning has no file name, and the photograph is intact.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def format_of(content: bytes) -> str:
    """Return the format of a photograph by its content, or an empty text."""
    return next((name for name, start, marks in _MARKS if content.startswith(marks, start)), "")


def decode_image(content: bytes, max_pixels: int, least_side: int | None = None) -> Image.Image:
    """Return a photograph as 8-bit RGB, upright.

    EXIF orientation is applied. Grey, palette and CMYK become RGB; more than 8 bits are scaled, not clipped, see
    :func:`skinbit.data.depth.to_8_bits`; transparent pixels become black, as outside the dermoscope's circle.

    Args:
        content: Bytes of the file.
        max_pixels: Images with more pixels are refused before decoding.
        least_side: A JPEG with sides at least twice as long may be decoded at a half, a quarter or an eighth of its
            size, which is much faster; None: full size.

    Returns:
        The image, mode RGB.

    Raises:
        UnusableError: If the file is empty, in an unsupported format, damaged, cut short, too large, or contains
            several pictures.
        MemoryError: If memory does not suffice, whatever the file.
    """
    if not content:
        raise UnusableError("the file is empty")
    name = format_of(content)
    if not name:
        raise UnusableError(f"not a {', '.join([*_DECODERS][:-1])} or {[*_DECODERS][-1]} image")
    try:
        if name == "DICOM":
            return decode_dicom(content, max_pixels)
        image = _open(content, name)
        refuse_large(image.width, image.height, max_pixels)
        refuse_several(name not in ("JPEG", "PNG") and getattr(image, "is_animated", False))
        if least_side is not None:
            image.draft(None, (least_side, least_side))
        return _decode(image, content, name)
    except UnusableError:
        raise
    except UnidentifiedImageError as error:
        raise UnusableError(f"damaged, or an unsupported kind of {name}", remedy=CONVERT) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableError(f"more than data.max_pixels={max_pixels} pixels", "too_large") from error
    except Exception as error:  # any error of Pillow's readers: struct.error, zlib.error, KeyError, SyntaxError …
        if is_short_of_memory(error):
            raise MemoryError(str(error)) from error
        raise UnusableError(f"damaged or cut short ({printable(str(error).rstrip('.'))})") from error


def _open(content: bytes, name: str) -> ImageFile.ImageFile:
    """Open a file with the decoder of its format only."""
    if name == "HEIC":
        try:
            import pi_heif
        except ImportError as error:
            raise lack_of("heic", "pi-heif") from error
        if any(not _is_text(item[1]) for item in _HEIC_ITEMS.finditer(content)):
            raise UnusableError("damaged or cut short")
        pi_heif.register_heif_opener(thumbnails=False)
    return Image.open(io.BytesIO(content), formats=(_DECODERS[name],))


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(image: ImageFile.ImageFile, content: bytes, name: str) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    if tags.get(_SUBFILE, 0) & 1 or _RAW in tags:
        raise UnusableError("a camera's raw file or a preview, not the photograph", remedy=CONVERT)
    is_inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # with 8 bits or fewer, Pillow inverts the image itself
    declared = _declared_bits(tags, content, name)
    has_low_bytes = any(_rawmode(tile).startswith("RGB;16") for tile in image.tile)
    image.load()
    upright = _upright(image)
    if upright.mode.startswith("I"):
        return to_8_bits(np.asarray(upright), declared, is_inverted)
    if has_low_bytes and declared != 16 and np.asarray(upright).max() < 2 ** (14 - 8):
        low = _upright(_read_low_bytes(content, name))
        return to_8_bits(np.asarray(upright).astype(np.uint16) << 8 | np.asarray(low), declared)
    return _to_rgb(upright)


def _declared_bits(tags: Mapping[int, Any], content: bytes, name: str) -> int | None:
    """Return the number of bits that a file declares for its values."""
    if name == "PNG":
        return _significant_bits(content)
    if _HIGHEST in tags:
        return int(np.max(tags[_HIGHEST])).bit_length()
    bits = int(np.max(tags.get(_BITS, 16)))
    return None if bits == 16 else bits


def _significant_bits(content: bytes) -> int | None:
    """Return the number of bits in the chunk sBIT of a PNG file."""
    start = 8
    while (kind := content[start + 4 : start + 8]) not in (b"IDAT", b""):
        length = int.from_bytes(content[start : start + 4])
        if kind == b"sBIT":
            return max(content[start + 8 : start + 8 + length], default=None)
        start += 12 + length
    return None


def _rawmode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else tile.args[0])


def _read_low_bytes(content: bytes, name: str) -> Image.Image:
    """Return the low bytes of 16-bit values: Pillow keeps the high byte, which is the low one after swapping.

    Pillow has no mode for three colours of 16 bits.
    """
    image = _open(content, name)
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

    def swap(tile: Any) -> Any:
        rawmode = _rawmode(tile)
        other = rawmode[:-1] + swapped[rawmode[-1]]
        return tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))

    image.tile = [swap(tile) for tile in image.tile]
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Return the image with its EXIF orientation applied; with a damaged EXIF block, it stays as stored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # as above: the pixels are readable
        if is_short_of_memory(error):
            raise
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode not in _CONVERTIBLE:
        raise UnusableError(f"its values are of an unsupported kind (mode {image.mode})", remedy=CONVERT)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    rgb = image.convert("RGB")
    rgb.info.clear()  # places, names and comments, some of which a copy would keep
    return rgb
