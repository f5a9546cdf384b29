"""Photographs in DICOM files: only pixels and how they are stored are read; everything else is ignored.

No message quotes a file or pydicom, as both may name patients.
"""

import io
import logging
import warnings
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from skinbit.data.depth import to_8_bits
from skinbit.data.unusable import CONVERT, UnusableError, lack_of, refuse_large, refuse_several
from skinbit.errors import is_short_of_memory

_ELEMENTS: list[Any] = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
]

_SYNTAXES = {
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.2": "",
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG2000",
    "1.2.840.10008.1.2.4.91": "JPEG2000",
}
"""Pillow's decoder by transfer syntax; None: uncompressed pixels. Other syntaxes need additional software."""

_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Both quote wrong values.
logging.getLogger("pydicom").propagate = False
logging.getLogger("pydicom").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"pydicom\.")


def decode_dicom(content: bytes, max_pixels: int) -> Image.Image:
    """Return the photograph of a DICOM file.

    Args:
        content: Bytes of the file.
        max_pixels: Images with more pixels are refused before decoding.

    Returns:
        The image, mode RGB.

    Raises:
        UnusableError: If there is not exactly one picture, its encoding is unsupported, the file is damaged, or pydicom
            is not installed.
        MemoryError: If memory does not suffice.
    """
    try:
        from pydicom import config
    except ImportError as error:
        raise lack_of("dicom", "pydicom") from error
    config.settings.reading_validation_mode = config.IGNORE  # otherwise invalid values are quoted
    try:
        return _decode(content, max_pixels)
    except UnusableError:
        raise
    except Exception as error:  # any error of pydicom; not chained, as it may quote an element
        if is_short_of_memory(error):
            raise MemoryError from None
        raise UnusableError("damaged or cut short") from None


def _decode(content: bytes, max_pixels: int) -> Image.Image:
    from pydicom import dcmread

    decoder = _find_decoder(content)
    file = dcmread(io.BytesIO(content), specific_tags=_ELEMENTS)
    if "PixelData" not in file:
        raise UnusableError("the DICOM file has no photograph, or is cut short")
    refuse_large(file.Columns, file.Rows, max_pixels)
    refuse_several(int(file.get("NumberOfFrames") or 1) > 1)
    _check_pixels(file)
    if decoder:
        _check_compressed(file, decoder)
    return to_8_bits(
        _read_values(file, decoder), file.BitsStored, inverted=file.PhotometricInterpretation == "MONOCHROME1"
    )


def _find_decoder(content: bytes) -> str:
    """Return the decoder for a file's transfer syntax, which is read first, as deflated files unpack when opened."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(content)
    file.seek(132)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _, __: tag >> 16 != 2, specific_tags=[0x00020010])
    syntax = meta.TransferSyntaxUID
    if syntax not in _SYNTAXES:
        name = syntax.name if syntax.name != syntax else "unknown"
        raise UnusableError(f"its transfer syntax is not supported: {name}", remedy=CONVERT)
    return _SYNTAXES[syntax]


def _check_pixels(file: Any) -> None:
    if file.PhotometricInterpretation not in _COLOURS:
        raise UnusableError(f"its colours are not stored as {' or '.join(_COLOURS)}", remedy=CONVERT)
    if file.BitsAllocated not in (8, 16) or file.PixelRepresentation != 0 or file.HighBit != file.BitsStored - 1:
        raise UnusableError("its values are not stored as unsigned 8 or 16 bits", remedy=CONVERT)


def _check_compressed(file: Any, decoder: str) -> None:
    """Check that the compressed picture has the declared size."""
    with _open_inside(file, decoder) as inside:
        if inside.size != (file.Columns, file.Rows):
            raise UnusableError("damaged: the compressed picture does not have the declared size")


def _open_inside(file: Any, decoder: str) -> Image.Image:
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(file.PixelData, number_of_frames=1))
    return Image.open(io.BytesIO(frame), formats=(decoder,))


def _read_values(file: Any, decoder: str) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(file, raw=False, decoding_plugin="pillow" if decoder else "", correct_unused_bits=False)
    except RuntimeError:
        if decoder:  # pydicom keeps only the text of Pillow's errors, and MemoryError has none
            with _open_inside(file, decoder) as inside:
                inside.load()
        raise
