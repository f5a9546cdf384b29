"""Photographs of every format that is read, told by their content: the right pixels, or the reason why not."""

import builtins
import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps
from pydicom import uid
from pydicom.pixels import utils

from skinbit.config import DataParams
from skinbit.data.decoding import decode_image
from skinbit.data.depth import ASSUMED_BITS
from skinbit.data.images import Checked, check_images, find_images
from skinbit.data.listed import ListedPhotographs
from skinbit.data.problems import Problem
from skinbit.data.unusable import UnusableError
from skinbit.errors import InputError
from tests.data.dicom_files import SECRETS, dicom

HEIC = Path(__file__).parent / "heic"
"""Files of 48x32 pixels, made by pillow-heif 1.8: one to be turned, with a light corner; one of two pictures."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged files

MAX_PIXELS = 1_000_000
ORIENTATION = 0x0112
SIZE = (30, 20)

COLOUR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
TWELVE = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)
"""All brightnesses of 12 bits."""
SHOWN = (TWELVE >> 4).astype(np.uint8)
"""The same in 8 bits."""

MULTIPLE = "it contains several pictures (pages, frames)"
CONVERT = "convert the files to JPEG or PNG under the same names"


def encode(pixels: NDArray[Any] | Image.Image, fmt: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def encode_16_bits(pixels: NDArray[Any], suffix: str) -> bytes:
    """Return a file of three colours of 16 bits, which Pillow cannot write."""
    return bytes(cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes())


def decode(content: bytes) -> NDArray[np.uint8]:
    image = decode_image(content, MAX_PIXELS)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(content: bytes) -> NDArray[np.uint8]:
    decoded = decode(content)
    assert (decoded == decoded[..., :1]).all()
    return decoded[..., 0]


def refusal(content: bytes, max_pixels: int = MAX_PIXELS) -> UnusableError:
    with pytest.raises(UnusableError) as refused:
        decode_image(content, max_pixels)
    return refused.value


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


PICTURE = Image.fromarray(COLOUR)


@pytest.mark.parametrize(
    ("fmt", "mode"),
    [*(("JPEG", mode) for mode in ("RGB", "L", "CMYK")), *(("PNG", mode) for mode in ("RGB", "L", "P", "1"))],
)
def test_jpeg_and_png_have_the_pixels_that_they_always_had(fmt: str, mode: str) -> None:
    content = encode(PICTURE.convert(mode), fmt)
    assert (decode(content) == rgb(Image.open(io.BytesIO(content)))).all()


def test_grey_of_16_bits_has_the_pixels_that_it_always_had_where_all_bits_are_used() -> None:
    levels = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    assert (grey(encode(levels, "PNG")) == levels >> 8).all()


def test_colours_of_16_bits_have_the_pixels_that_they_always_had_where_all_bits_are_used() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert (decode(encode_16_bits(levels, ".png")) == levels >> 8).all()


LOSSLESS = {
    "tiff": encode(COLOUR, "TIFF"),
    "tiff of lzw": encode(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff of deflate": encode(COLOUR, "TIFF", compression="tiff_deflate"),
    "bmp": encode(COLOUR, "BMP"),
    "bmp with alpha": encode(PICTURE.convert("RGBA"), "BMP"),
    "webp": encode(COLOUR, "WEBP", lossless=True),
    "dicom": dicom(COLOUR),
    "dicom of implicit elements": dicom(COLOUR, syntax=uid.ImplicitVRLittleEndian),
    "dicom plane by plane": dicom(COLOUR, PlanarConfiguration=1, PixelData=COLOUR.transpose(2, 0, 1).tobytes()),
    "dicom of jpeg 2000": dicom(
        COLOUR, "YBR_RCT", uid.JPEG2000Lossless, encode(COLOUR, "JPEG2000", irreversible=False, no_jp2=True)
    ),
    "dicom of one frame": dicom(COLOUR, NumberOfFrames=1),
}


@pytest.mark.parametrize("content", LOSSLESS.values(), ids=LOSSLESS)
def test_a_photograph_without_loss_has_the_same_pixels_in_every_format(content: bytes) -> None:
    assert (decode(content) == COLOUR).all()


SMOOTH = np.stack([TWELVE >> 4, 255 - (TWELVE >> 4), TWELVE >> 5], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("content", [*LOSSLESS.values(), (HEIC / "turned.heic").read_bytes()], ids=[*LOSSLESS, "heic"])
def test_more_pixels_than_allowed_are_refused_in_every_format(content: bytes) -> None:
    refused = refusal(content, max_pixels=599)
    assert (refused.kind, str(refused).endswith("pixels are more than data.max_pixels=599")) == ("too_large", True)


LOSSY = {
    "tiff of jpeg": encode(SMOOTH, "TIFF", compression="jpeg"),
    "webp": encode(SMOOTH, "WEBP"),
    "dicom of jpeg": dicom(SMOOTH, "YBR_FULL_422", uid.JPEGBaseline8Bit, encode(SMOOTH, "JPEG")),
    "dicom of jpeg without chroma": dicom(SMOOTH, "RGB", uid.JPEGBaseline8Bit, encode(SMOOTH, "JPEG", keep_rgb=True)),
    "dicom of luma and chroma": dicom(np.asarray(Image.fromarray(SMOOTH).convert("YCbCr")), "YBR_FULL"),
}


@pytest.mark.parametrize("content", LOSSY.values(), ids=LOSSY)
def test_a_photograph_with_loss_looks_alike_in_every_format(content: bytes) -> None:
    assert np.abs(decode(content).astype(int) - SMOOTH).mean() < 5


MODES = {
    "tiff of cmyk": (encode(PICTURE.convert("CMYK"), "TIFF"), rgb(PICTURE.convert("CMYK"))),
    "tiff of grey": (encode(GREY, "TIFF"), rgb(Image.fromarray(GREY))),
    "tiff of a palette": (encode(PICTURE.quantize(16), "TIFF"), rgb(PICTURE.quantize(16))),
    "tiff of one bit": (encode(PICTURE.convert("1"), "TIFF", compression="group4"), rgb(PICTURE.convert("1"))),
    "tiff whose white is zero": (encode(GREY, "TIFF", tiffinfo={262: 0}), rgb(Image.fromarray(GREY))),
    "bmp of one bit": (encode(PICTURE.convert("1"), "BMP"), rgb(PICTURE.convert("1"))),
    "bmp of a palette": (encode(PICTURE.quantize(16), "BMP"), rgb(PICTURE.quantize(16))),
    "bmp of grey": (encode(GREY, "BMP"), rgb(Image.fromarray(GREY))),
    "transparent tiff": (encode(Image.new("RGBA", SIZE, (200, 100, 50, 0)), "TIFF"), np.zeros((20, 30, 3))),
    "transparent webp": (
        encode(Image.new("RGBA", SIZE, (200, 100, 50, 0)), "WEBP", lossless=True),
        np.zeros((20, 30, 3)),
    ),
    "dicom of grey": (dicom(GREY, "MONOCHROME2"), rgb(Image.fromarray(GREY))),
    "dicom whose white is zero": (dicom(GREY, "MONOCHROME1"), rgb(Image.fromarray(255 - GREY))),
}


@pytest.mark.parametrize(("content", "expected"), MODES.values(), ids=MODES)
def test_grey_palette_cmyk_and_alpha_become_rgb_in_every_format(content: bytes, expected: NDArray[Any]) -> None:
    assert (decode(content) == expected).all()


@pytest.mark.parametrize("fmt", ["TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_whatever_its_exif_orientation(orientation: int, fmt: str) -> None:
    upright, turns = Image.new("RGB", (32, 16)), Image.Transpose
    upright.paste((255, 255, 255), (0, 0, 16, 8))
    back = [turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM, turns.TRANSPOSE, turns.ROTATE_90]
    back += [turns.TRANSVERSE, turns.ROTATE_270]
    stored = upright if orientation == 1 else upright.transpose(back[orientation - 2])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"compression": "tiff_lzw"} if fmt == "TIFF" else {"lossless": True}
    assert (decode(encode(stored, fmt, exif=exif, **options)) == np.asarray(upright)).all()


def test_a_photograph_of_a_telephone_is_upright() -> None:
    decoded = decode((HEIC / "turned.heic").read_bytes())
    assert decoded.shape == (32, 48, 3)
    assert np.abs(decoded[:12, :20] - np.array([220, 120, 60.0])).max() < 8
    assert np.abs(decoded[20:, :] - np.array([40, 60, 160.0])).max() < 8


def with_sbit(png: bytes, *bits: int) -> bytes:
    """Return a PNG file that declares how many bits are significant."""
    body = b"sBIT" + bytes(bits)
    return png[:33] + struct.pack(">I", len(bits)) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


DARK = TWELVE >> 3
"""At most 511, so of 10 bits by itself."""

RANGES = {
    "png of 12 bits": (encode(TWELVE, "PNG"), SHOWN, 12),
    "png of 10 bits": (encode(TWELVE >> 2, "PNG"), SHOWN, 10),
    "png of 14 bits": (encode(TWELVE << 2, "PNG"), SHOWN, 14),
    "png of 8 bits in 16": (encode(TWELVE >> 4, "PNG"), SHOWN, 8),
    "png of 16 bits": (encode(TWELVE << 4, "PNG"), SHOWN, 16),
    "png that declares 12 bits": (with_sbit(encode(DARK, "PNG"), 12), DARK >> 4, None),
    "png that declares too few bits": (with_sbit(encode(TWELVE, "PNG"), 10), SHOWN, 12),
    "png that declares impossible bits": (with_sbit(encode(TWELVE, "PNG"), 99), SHOWN, 12),
    "tiff of 12 bits": (encode(TWELVE, "TIFF"), SHOWN, 12),
    "big-endian tiff": (encode(TWELVE.astype(">u2"), "TIFF"), SHOWN, 12),
    "big-endian tiff of lzw": (encode(TWELVE.astype(">u2"), "TIFF", compression="tiff_lzw"), SHOWN, 12),
    "tiff that declares 12 bits": (encode(DARK, "TIFF", tiffinfo={281: 4095}), DARK >> 4, None),
    "tiff that declares all bits": (encode(TWELVE, "TIFF", tiffinfo={281: 65535}), TWELVE >> 8, None),
    "tiff whose white is zero": (encode(TWELVE, "TIFF", tiffinfo={262: 0}), 255 - SHOWN, 12),
    "tiff of 32 bits": (encode(TWELVE.astype(np.int32), "TIFF"), SHOWN, 12),
    "dicom of 12 bits": (dicom(DARK, "MONOCHROME2", BitsStored=12), DARK >> 4, None),
    "dicom of 12 bits whose white is zero": (dicom(TWELVE, "MONOCHROME1", BitsStored=12), 255 - SHOWN, None),
    "big-endian dicom": (dicom(TWELVE, "MONOCHROME2", uid.ExplicitVRBigEndian, BitsStored=12), SHOWN, None),
    "dicom that declares too few bits": (dicom(TWELVE, "MONOCHROME2", BitsStored=10), SHOWN, 12),
    "dicom of jpeg 2000": (
        dicom(TWELVE, "MONOCHROME2", uid.JPEG2000Lossless, encode(TWELVE, "JPEG2000", no_jp2=True), BitsStored=12),
        SHOWN,
        None,
    ),
    "colours of png": (encode_16_bits(np.stack([TWELVE] * 3, axis=-1), ".png"), SHOWN, 12),
    "colours of tiff": (encode_16_bits(np.stack([TWELVE] * 3, axis=-1), ".tiff"), SHOWN, 12),
    "colours of dicom": (dicom(np.stack([TWELVE] * 3, axis=-1), BitsStored=12), SHOWN, None),
}


@pytest.mark.parametrize(("content", "expected", "assumed"), RANGES.values(), ids=RANGES)
def test_more_than_8_bits_are_scaled_by_the_range_that_they_have(
    content: bytes, expected: NDArray[Any], assumed: int | None
) -> None:
    assert (grey(content) == expected).all()
    assert decode_image(content, MAX_PIXELS).info == ({} if assumed is None else {ASSUMED_BITS: assumed})


def test_each_colour_of_12_bits_keeps_its_value() -> None:
    levels = np.random.default_rng(0).integers(0, 4096, (20, 30, 3), dtype=np.uint16)
    assert (decode(encode_16_bits(levels, ".png")) == levels >> 4).all()


def webp_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode(Image.new("RGBA", SIZE), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    content[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(content)


def tiff_of_size(width: int, height: int) -> bytes:
    return encode(COLOUR, "TIFF").replace(struct.pack("<HHII", 256, 4, 1, 30), struct.pack("<HHII", 256, 4, 1, width))


LAB = ImageCms.profileToProfile(
    PICTURE, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
)

REFUSED = {
    "tiff of two pages": (encode(COLOUR, "TIFF", save_all=True, append_images=[PICTURE]), MULTIPLE),
    "animated webp": (encode(COLOUR, "WEBP", save_all=True, append_images=[Image.new("RGB", SIZE)]), MULTIPLE),
    "heic of two pictures": ((HEIC / "two.heic").read_bytes(), MULTIPLE),
    "dicom of three frames": (dicom(COLOUR, NumberOfFrames=3, PixelData=COLOUR.tobytes() * 3), MULTIPLE),
    "tiff of floats": (encode(TWELVE.astype(np.float32), "TIFF"), "an unsupported kind (mode F)"),
    "tiff of colours in floats": (
        encode_16_bits(COLOUR.astype(np.float32), ".tiff"),
        "an unsupported kind of TIFF",
    ),
    "tiff of lab": (encode(LAB, "TIFF"), "an unsupported kind (mode LAB)"),
    "tiff of negative values": (encode(TWELVE.astype(np.int32) - 9, "TIFF"), "negative or have more than 16 bits"),
    "tiff of 32 bits": (encode(TWELVE.astype(np.int32) * 99, "TIFF"), "negative or have more than 16 bits"),
    "camera's raw file": (encode(COLOUR, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "a camera's raw file or a preview"),
    "preview": (encode(COLOUR, "TIFF", tiffinfo={254: 1}), "a camera's raw file or a preview"),
    "tiff cut short": (encode(COLOUR, "TIFF")[:-500], "damaged or cut short"),
    "compressed tiff cut short": (encode(COLOUR, "TIFF", compression="tiff_lzw")[:-150], "damaged"),
    "tiff's header": (b"II*\0\x08\0\0\0", "damaged, or an unsupported kind of TIFF"),
    "bmp cut short": (encode(COLOUR, "BMP")[:-500], "damaged or cut short"),
    "text that begins as a bmp": (b"BMI,age,dx\n23,50,nv\n", "damaged or cut short"),
    "webp cut short": (encode(COLOUR, "WEBP")[:-50], "damaged"),
    "heic cut short": ((HEIC / "turned.heic").read_bytes()[:-50], "damaged"),
    "heic's header": ((HEIC / "turned.heic").read_bytes()[:40], "damaged, or an unsupported kind of HEIC"),
    "heic with an item of no sense": (
        (HEIC / "turned.heic").read_bytes().replace(b"\0\0Exif\0", b"\0\0Ex\xff\x9f\0", 1),
        "damaged or cut short",
    ),
    "tiff of many pixels": (tiff_of_size(60_000, 20), "60000x20 pixels are more than data.max_pixels"),
    "webp of many pixels": (webp_of_size(60_000, 60_000), "more than data.max_pixels"),
    "bmp of many pixels": (
        encode(COLOUR, "BMP").replace(struct.pack("<ii", *SIZE), struct.pack("<ii", 9000, 9000)),
        "9000x9000 pixels are more than data.max_pixels",
    ),
    "dicom of many pixels": (
        dicom(COLOUR, Rows=60_000, Columns=60_000),
        "60000x60000 pixels are more than data.max_pixels",
    ),
    "dicom of jpeg with many pixels": (
        dicom(COLOUR, "YBR_FULL_422", uid.JPEGBaseline8Bit, encode(Image.new("L", (900, 900)), "JPEG")),
        "damaged: the compressed picture does not have the declared size",
    ),
    "dicom without pixels": (dicom(COLOUR, PixelData=None), "has no photograph"),
    "dicom of a sign": (dicom(TWELVE, "MONOCHROME2", PixelRepresentation=1), "unsigned 8 or 16 bits"),
    "dicom of shifted bits": (dicom(TWELVE, "MONOCHROME2", BitsStored=12, HighBit=15), "unsigned"),
    "dicom of a palette": (dicom(GREY, "PALETTE COLOR"), "its colours are not stored as MONOCHROME1"),
    "deflated dicom": (
        dicom(COLOUR, syntax=uid.DeflatedExplicitVRLittleEndian),
        "its transfer syntax is not supported: Deflated Explicit VR Little Endian",
    ),
    "dicom of lossless jpeg": (
        dicom(COLOUR, syntax=uid.JPEGLosslessSV1, stream=b"\xff\xd8"),
        "its transfer syntax is not supported: JPEG Lossless",
    ),
    "dicom of run lengths": (dicom(COLOUR, syntax=uid.RLELossless, stream=b"\0" * 64), "not supported: RLE Lossless"),
    "dicom of mpeg": (dicom(COLOUR, syntax=uid.MPEG2MPML, stream=b"\0" * 64), "not supported: MPEG2"),
    "dicom of an unknown syntax": (dicom(COLOUR, syntax=uid.UID("1.2.3.99")), "not supported: unknown"),
    "dicom cut short": (dicom(COLOUR)[:-100], "damaged or cut short"),
    "dicom's header": (dicom(COLOUR)[:200], "damaged or cut short"),
    "dicom without rows": (dicom(COLOUR, Rows=None), "damaged or cut short"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_its_reason(content: bytes, said: str) -> None:
    refused = refusal(content)
    assert said in str(refused)
    assert refused.kind == ("too_large" if "max_pixels" in said else "unreadable")
    assert str(refused).isprintable()
    assert bool(refused.remedy) == (said == MULTIPLE or refused.remedy == CONVERT)


class TestTooLittleMemory:
    @pytest.mark.parametrize(
        "content", [*LOSSLESS.values(), (HEIC / "turned.heic").read_bytes()], ids=[*LOSSLESS, "heic"]
    )
    def test_is_no_fault_of_the_file_in_any_format(self, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
        def fail(*_: object, **__: object) -> None:
            raise MemoryError

        is_dicom = content[128:132] == b"DICM"
        monkeypatch.setattr(*((utils, "pixel_array") if is_dicom else (ImageOps, "exif_transpose")), fail)
        with pytest.raises(MemoryError):
            decode_image(content, MAX_PIXELS)

    @pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory when reading image file")], ids=repr)
    def test_for_the_picture_inside_a_dicom_file_is_none_either(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        with pytest.raises(MemoryError) as raised:
            decode_image(LOSSY["dicom of jpeg"], MAX_PIXELS)
        assert not str(raised.value)


def test_a_format_is_told_by_the_content_and_no_other_decoder_is_tried(tmp_path: Path) -> None:
    contents = {
        "heic.jpg": (HEIC / "turned.heic").read_bytes(),
        "dicom.png": dicom(COLOUR),
        "tiff.webp": encode(COLOUR, "TIFF"),
        "jpeg.dcm": encode(COLOUR, "JPEG"),
        "gif.tif": encode(COLOUR, "GIF"),
        "pcx.bmp": encode(COLOUR, "PCX"),
        "tga.tiff": encode(COLOUR, "TGA"),
    }
    outcomes = check(tmp_path, contents)
    assert [outcome.record["image_id"] for outcome in outcomes if isinstance(outcome, Checked)] == [
        "heic",
        "dicom",
        "tiff",
        "jpeg",
    ]
    assert {outcome.problem for outcome in outcomes if isinstance(outcome, Problem)} == {
        "not a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image"
    }


def check(folder: Path, contents: dict[str, bytes]) -> list[Checked[tuple[int, int]] | Problem]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    found = find_images(fsspec.filesystem("file"), folder.as_posix())
    needed = pd.DataFrame({"image_id": [Path(name).stem for name in contents], "row": range(2, len(contents) + 2)})
    return list(check_images(found, needed, DataParams(max_pixels=MAX_PIXELS), lambda image: image.size))


@pytest.mark.parametrize(
    ("package", "name", "content", "command"),
    [
        ("pi_heif", "a.heic", (HEIC / "turned.heic").read_bytes(), "uv sync --extra heic"),
        ("pi_heif", "a.jpg", (HEIC / "turned.heic").read_bytes(), "uv sync --extra heic"),
        ("pydicom", "a.dcm", dicom(COLOUR), "uv sync --extra dicom"),
    ],
)
def test_an_extra_that_is_not_installed_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, name: str, content: bytes, command: str
) -> None:
    real = builtins.__import__

    def without(module: str, *arguments: Any) -> Any:
        if module.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}")
        return real(module, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    (problem,) = check(tmp_path, {name: content})
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.file) == ("unreadable", name)
    assert problem.problem.endswith(f"needs an extra that is not installed: {command}")
    assert problem.remedy.startswith(f"{command}; if pip installed Skinbit: pip install {package[:2]}")
    row = {"image_id": ["a"], "file": [name], "sha256": [hashlib.sha256(content).hexdigest()]}
    folder = find_images(fsspec.filesystem("file"), tmp_path.as_posix())
    with pytest.raises(InputError, match=f"{command}\\.\n  Remedy: {command}; if pip"):
        ListedPhotographs(folder, pd.DataFrame(row), DataParams()).decode("a")


def test_the_range_that_photographs_have_is_said_once_for_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = {
        "a.png": encode(TWELVE, "PNG"),
        "b.tif": encode(TWELVE, "TIFF"),
        "c.png": encode(TWELVE >> 2, "PNG"),
        "d.png": encode(COLOUR, "PNG"),
        "e.dcm": dicom(TWELVE, "MONOCHROME2", BitsStored=12),
    }
    with caplog.at_level("INFO"):
        assert len(check(tmp_path, contents)) == 5
    assert caplog.messages == [
        "3 photographs of more than 8 bits declare no range, or too small a one; assumed from their brightest value, "
        "as 10 bits (1), 12 bits (2)"
    ]


def test_nothing_of_a_file_but_its_pixels_goes_with_a_photograph() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Anna Geheim", "Dr House"
    contents = [
        encode(COLOUR, "JPEG", exif=exif, comment=b"Anna Geheim"),
        encode(COLOUR, "PNG", exif=exif),
        encode(COLOUR, "TIFF", exif=exif),
        encode(COLOUR, "WEBP", exif=exif, xmp=b"Anna Geheim"),
        encode(PICTURE.convert("RGBA"), "PNG", exif=exif),
        (HEIC / "turned.heic").read_bytes(),
        dicom(COLOUR),
    ]
    for content in contents:
        image = decode_image(content, MAX_PIXELS)
        assert image.info == {}
        assert not any(name.encode() in encode(image, fmt) for fmt in ("JPEG", "PNG") for name in ("Anna", "House"))


def test_no_message_log_or_warning_tells_a_patient(tmp_path: Path) -> None:
    whole, rng = np.frombuffer(dicom(GREY, "MONOCHROME2"), dtype=np.uint8), np.random.default_rng(0)
    for number in range(300):
        content = whole.copy()
        content[rng.integers(128, len(whole) - GREY.size, 4)] = rng.integers(0, 256, 4)
        (tmp_path / f"{number}.dcm").write_bytes(content.tobytes())
    script = (
        "import logging, pathlib, sys\n"
        "from skinbit.data.decoding import decode_image\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    try: decode_image(path.read_bytes(), 10**6)\n"
        "    except ValueError as error: print(error, error.remedy, error.__cause__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "damaged or cut short" in done.stdout
    assert not [secret for secret in SECRETS if secret[:4] in done.stdout + done.stderr]
    assert done.stderr == ""
