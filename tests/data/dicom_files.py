"""DICOM files for tests: small photographs of a patient whose name must reach no file, log or message."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

SECRETS = ("Geheim", "Anna", "ID-4711", "19700131", "Hospital Nowhere", "Dr^House")
"""What every such file holds and nothing may tell."""

NATIVE = uid.ExplicitVRLittleEndian


def dicom(
    pixels: NDArray[Any],
    photometric: str = "RGB",
    syntax: uid.UID = NATIVE,
    stream: bytes | None = None,
    **elements: Any,
) -> bytes:
    """Return a DICOM file.

    Args:
        pixels: ``(height, width)`` or ``(height, width, 3)``, of 8 or 16 bits.
        photometric: What the values mean.
        syntax: How the file is written.
        stream: The compressed photograph, where the syntax says that it is.
        elements: Others than those that fit; None: left out.
    """
    is_big, n_bits = syntax == uid.ExplicitVRBigEndian, 8 * pixels.dtype.itemsize
    file = Dataset()
    file.PatientName, file.PatientID, file.PatientBirthDate = "Geheim^Anna", "ID-4711", "19700131"
    file.InstitutionName, file.ReferringPhysicianName = "Hospital Nowhere", "Dr^House"
    file.SOPClassUID, file.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3.4"
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = pixels.size // (file.Rows * file.Columns), photometric
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.BitsAllocated = file.BitsStored = n_bits
    file.PixelRepresentation = 0
    raw = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">" if is_big else "<")).tobytes()
    value, words = (raw, n_bits == 16) if stream is None else (encapsulate([stream]), False)
    file.add(DataElement(0x7FE00010, "OW" if words else "OB", value))
    for name, given in elements.items():
        setattr(file, name, given) if given is not None else delattr(file, name)
    file.HighBit = elements.get("HighBit", file.BitsStored - 1)
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    buffer = io.BytesIO()
    is_implicit = syntax == uid.ImplicitVRLittleEndian
    dcmwrite(buffer, file, enforce_file_format=True, implicit_vr=is_implicit, little_endian=not is_big)
    return buffer.getvalue()
