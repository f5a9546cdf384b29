"""Photographs in DICOM files: their pixels and how these are stored; nothing else of such a file is kept or told.

Only the elements that describe pixels are read. No message quotes what a file or pydicom says: both may name patients.
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
"""Pillow's decoder by transfer syntax; none: pixels that are not compressed. Others need software of their own."""

_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Both quote what is wrong with a value.
logging.getLogger("pydicom").propagate = False
logging.getLogger("pydicom").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"pydicom\.")


def decode_dicom(content: bytes, max_pixels: int) -> Image.Image:
    """Decode the photograph of a DICOM file.

    Args:
        content: Of the file.
        max_pixels: Larger images are refused before they are decoded.

    Returns:
        The image, mode RGB.

    Raises:
        UnusableError: If there are several pictures or none, they are stored in a way that is not read, the file is
            damaged, or pydicom is not installed.
        MemoryError: If memory does not suffice.
    """
    try:
        from pydicom import config
    except ImportError as error:
        raise lack_of("dicom", "pydicom") from error
    config.settings.reading_validation_mode = config.IGNORE  # else values that are not as they should be are quoted
    try:
        return _decode(content, max_pixels)
    except UnusableError:
        raise
    except Exception as error:  # whatever pydicom trips over; not as the cause, for it may quote an element
        if is_short_of_memory(error):
            raise MemoryError from None
        raise UnusableError("damaged or cut short") from None


def _decode(content: bytes, max_pixels: int) -> Image.Image:
    from pydicom import dcmread

    decoder = _find_decoder(content)
    file = dcmread(io.BytesIO(content), specific_tags=_ELEMENTS)
    if "PixelData" not in file:
        raise UnusableError("the DICOM file holds no photograph, or is cut short")
    refuse_large(file.Columns, file.Rows, max_pixels)
    refuse_several(int(file.get("NumberOfFrames") or 1) > 1)
    _check_pixels(file)
    if decoder:
        _check_compressed(file, decoder)
    return to_8_bits(
        _read_values(file, decoder), file.BitsStored, inverted=file.PhotometricInterpretation == "MONOCHROME1"
    )


def _find_decoder(content: bytes) -> str:
    """Return the decoder that a file's transfer syntax needs; read by itself, as deflated files unfold when opened."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(content)
    file.seek(132)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _, __: tag >> 16 != 2, specific_tags=[0x00020010])
    syntax = meta.TransferSyntaxUID
    if syntax not in _SYNTAXES:
        name = syntax.name if syntax.name != syntax else "one that nobody knows"
        raise UnusableError(f"its transfer syntax is not read: {name}", remedy=CONVERT)
    return _SYNTAXES[syntax]


def _check_pixels(file: Any) -> None:
    if file.PhotometricInterpretation not in _COLOURS:
        raise UnusableError(f"its colours are stored in another way than {', '.join(_COLOURS)}", remedy=CONVERT)
    if file.BitsAllocated not in (8, 16) or file.PixelRepresentation != 0 or file.HighBit != file.BitsStored - 1:
        raise UnusableError("its values are not stored as 8 or 16 bits without a sign", remedy=CONVERT)


def _check_compressed(file: Any, decoder: str) -> None:
    """Check that the picture inside is of the size that was checked."""
    with _open_inside(file, decoder) as inside:
        if inside.size != (file.Columns, file.Rows):
            raise UnusableError("damaged: the picture inside has another size than the file says")


def _open_inside(file: Any, decoder: str) -> Image.Image:
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(file.PixelData, number_of_frames=1))
    return Image.open(io.BytesIO(frame), formats=(decoder,))


def _read_values(file: Any, decoder: str) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(file, raw=False, decoding_plugin="pillow" if decoder else "", correct_unused_bits=False)
    except RuntimeError:
        if decoder:  # pydicom keeps the words alone of what Pillow raised, and too little memory has none
            with _open_inside(file, decoder) as inside:
                inside.load()
        raise
