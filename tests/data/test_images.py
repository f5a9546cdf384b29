"""Photographs on disk: every kind that a JPEG or PNG can be, and everything that can be wrong with one.

Other formats: `test_formats.py`.
"""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinbit.config import DataParams
from skinbit.data.decoding import decode_image
from skinbit.data.file_names import SUFFIXES
from skinbit.data.images import (
    Checked,
    ImageFolder,
    check_images,
    find_images,
    read_photograph,
    try_images,
    with_unique_ids,
)
from skinbit.data.problems import Problem

MAX_PIXELS = 1_000_000
LIMITS = DataParams(max_pixels=MAX_PIXELS, min_side=1)
ORIENTATION = 0x0112
NO_FORMAT = "not a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image"


def encode(image: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def plain(colour: tuple[int, int, int] = (200, 100, 50), size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new("RGB", size, colour)


def decode(content: bytes, least_side: int | None = None) -> np.ndarray:
    image = decode_image(content, MAX_PIXELS, least_side)
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(ValueError, match=r".+") as refused:
        decode_image(content, max_pixels)
    return str(refused.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def find(path: Path) -> ImageFolder:
    return find_images(fsspec.filesystem("file"), path.as_posix())


def needed(*image_ids: str) -> pd.DataFrame:
    return pd.DataFrame({"image_id": image_ids, "row": range(2, len(image_ids) + 2)})


def check(path: Path, *image_ids: str) -> list[Checked[tuple[int, int]] | Problem]:
    return list(check_images(find(path), needed(*image_ids), LIMITS, lambda image: image.size))


def test_rgb_png_keeps_every_pixel() -> None:
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert (decode(encode(Image.fromarray(pixels))) == pixels).all()


def test_grey_becomes_three_equal_channels() -> None:
    assert (decode(encode(Image.new("L", (4, 3), 77))) == 77).all()


def test_black_and_white_becomes_0_and_255() -> None:
    assert (decode(encode(Image.new("1", (4, 3), 1))) == 255).all()


def test_palette_becomes_its_colours() -> None:
    assert (decode(encode(plain().quantize(4))) == (200, 100, 50)).all()


def test_transparent_pixels_become_black_and_opaque_ones_stay() -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (200, 100, 50, 0))
    assert decode(encode(image)).tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_grey_with_transparency_becomes_black_where_transparent() -> None:
    image = Image.new("LA", (2, 1), (90, 255))
    image.putpixel((1, 0), (90, 0))
    assert decode(encode(image)).tolist() == [[[90] * 3, [0] * 3]]


def test_transparent_palette_colour_becomes_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 100, 50, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert decode(encode(image, transparency=1)).tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_cmyk_jpeg_becomes_rgb() -> None:
    decoded = decode(encode(plain().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - (200, 100, 50)).max() <= 3


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(levels)))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_is_upright_whatever_its_exif_orientation(orientation: int, fmt: str) -> None:
    upright = Image.new("RGB", (32, 16))
    upright.paste((255, 255, 255), (0, 0, 16, 8))  # one light corner tells all eight orientations apart
    stored_as = {
        1: (),
        2: (Image.Transpose.FLIP_LEFT_RIGHT,),
        3: (Image.Transpose.ROTATE_180,),
        4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.TRANSPOSE,),
        6: (Image.Transpose.ROTATE_90,),
        7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }[orientation]
    stored = upright
    for step in stored_as:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode(encode(stored, fmt, exif=exif))
    assert decoded.shape == (16, 32, 3)
    assert (decoded[:8, :16] > 200).all()
    assert decoded.mean() == pytest.approx(255 / 4, abs=3)


def test_empty_file_is_refused() -> None:
    assert refusal(b"") == "the file is empty"


@pytest.mark.parametrize("content", [b"lesion_id,image_id\n", b"\0" * 100, b"\xff\xd8"])
def test_file_that_is_no_image_is_refused(content: bytes) -> None:
    assert refusal(content) == NO_FORMAT


@pytest.mark.parametrize("fmt", ["GIF", "JPEG2000", "PPM", "ICO"])
def test_other_formats_are_refused_whatever_their_name(fmt: str, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(encode(plain(), fmt))
    assert check(folder, "a") == [
        Problem("unreadable", "a.jpg", 2, "a", "not a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image")
    ]


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_file_that_is_cut_short_is_refused(fmt: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), fmt)
    assert "damaged or cut short" in refusal(content[: int(share * len(content))])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the EXIF block
def test_damage_anywhere_gives_a_value_error_or_an_image() -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E], exif[0x011A] = 6, "a description", 72.0
    rng = np.random.default_rng(0)
    whole = np.frombuffer(encode(plain(), "JPEG", exif=exif), dtype=np.uint8)
    n_decoded = 0
    for _ in range(1500):
        content = whole.copy()
        content[rng.integers(0, 160, 3)] = rng.integers(0, 256, 3)
        with contextlib.suppress(ValueError):
            n_decoded += decode_image(content.tobytes(), MAX_PIXELS).mode == "RGB"
    assert 0 < n_decoded < 1500


def test_more_pixels_than_allowed_are_refused_before_decoding() -> None:
    content = encode(plain(size=(100, 10)))
    header_only = content[:60]  # decoding would say: cut short
    assert decode_image(content, max_pixels=1000).size == (100, 10)
    assert refusal(header_only, max_pixels=999) == "100x10 pixels are more than data.max_pixels=999"


def test_decompression_bomb_is_refused() -> None:
    header = bytearray(encode(plain(), "JPEG"))
    size_at = header.index(b"\xff\xc0") + 5
    header[size_at : size_at + 4] = b"\xff\xff\xff\xff"
    assert "more than data.max_pixels" in refusal(bytes(header))


@pytest.mark.parametrize(
    ("side", "least_side", "expected"),
    [(256, 32, 32), (256, 33, 64), (256, 128, 128), (256, 129, 256), (256, 300, 256), (255, 32, 64), (96, 96, 96)],
)
def test_large_jpeg_is_shrunk_by_powers_of_two_never_below_the_side(side: int, least_side: int, expected: int) -> None:
    content = encode(plain(size=(2 * side, side)), "JPEG")
    assert decode(content, least_side).shape[0] == expected


def test_shrunk_jpeg_shows_the_same_picture() -> None:
    gradient = np.linspace(0, 255, 256, dtype=np.uint8)
    picture = Image.fromarray(np.stack([np.tile(gradient, (256, 1))] * 3, axis=-1))
    content = encode(picture, "JPEG", quality=95)
    expected = np.asarray(picture.reduce(4)).astype(int)
    assert np.abs(decode(content, 64) - expected).max() <= 4


def test_png_is_never_shrunk() -> None:
    assert decode(encode(plain(size=(256, 256))), least_side=32).shape == (256, 256, 3)


def test_shorter_side_counts_after_turning_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = encode(plain(size=(512, 128)), "JPEG", exif=exif)
    assert decode(content, least_side=64).shape == (256, 64, 3)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".JPG", ".Jpeg", ".PNG", ".TIF", ".Dcm"])
def test_every_accepted_suffix_in_any_case_is_found_and_read(folder: Path, suffix: str) -> None:
    (folder / f"ISIC_1.a{suffix}").write_bytes(b"content")
    found = find(folder)
    assert found.files == {"ISIC_1.a": (f"ISIC_1.a{suffix}",)}
    assert read_photograph(found, f"ISIC_1.a{suffix}", LIMITS) == b"content"


def test_other_files_and_subfolders_are_not_photographs(folder: Path) -> None:
    (folder / "notes.txt").touch()
    (folder / "a.gif").touch()
    (folder / "deeper").mkdir()
    (folder / "deeper" / "b.jpg").touch()
    assert find(folder).files == {}


def test_id_with_several_files_keeps_all_their_names(folder: Path) -> None:
    for name in ("a.png", "a.jpg", "b.jpg"):
        (folder / name).touch()
    assert find(folder).files == {"a": ("a.jpg", "a.png"), "b": ("b.jpg",)}


def test_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert find(tmp_path / "nowhere").files == {}


def test_folder_is_read_through_any_file_system() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/test_images/a.jpg", b"content")
    assert read_photograph(find_images(fs, "/test_images"), "a.jpg", LIMITS) == b"content"


def test_each_photograph_has_a_record_in_the_order_asked_for(folder: Path) -> None:
    for number, name in enumerate("abc"):
        (folder / f"{name}.png").write_bytes(encode(plain(size=(10 + number, 5))))
    checked = check(folder, "c", "a", "b")
    assert [(one.row, one.record["image_id"], one.record["file"], one.used) for one in checked] == [
        (2, "c", "c.png", (12, 5)),
        (3, "a", "a.png", (10, 5)),
        (4, "b", "b.png", (11, 5)),
    ]


def test_fingerprint_is_that_of_the_file(folder: Path) -> None:
    content = encode(plain())
    (folder / "a.png").write_bytes(content)
    (folder / "b.png").write_bytes(content)
    (folder / "c.png").write_bytes(encode(plain((1, 2, 3))))
    a, b, c = (checked.record["sha256"] for checked in check(folder, "a", "b", "c"))
    assert a == b != c
    assert len(a) == 64


def test_what_is_wrong_with_one_does_not_stop_the_others(folder: Path) -> None:
    (folder / "good.jpg").write_bytes(encode(plain(), "JPEG"))
    (folder / "two.jpg").write_bytes(encode(plain(), "JPEG"))
    (folder / "two.png").write_bytes(encode(plain()))
    (folder / "empty.jpg").touch()
    missing, good, two, empty = check(folder, "missing", "good", "two", "empty")
    assert missing == Problem("missing", "missing.jpg", 2, "missing", "there is no such file")
    assert isinstance(good, Checked)
    assert two == Problem("ambiguous", "two.jpg", 4, "two", "two.jpg, two.png have the same image_id")
    assert empty == Problem("unreadable", "empty.jpg", 5, "empty", "the file is empty")


def test_a_file_that_is_spelt_differently_is_named(folder: Path) -> None:
    (folder / "Cafe\u0301.PNG").write_bytes(encode(plain()))
    (problem,) = check(folder, "caf\u00e9")
    assert problem.problem == "there is no such file; there is Cafe\u0301.PNG, spelt differently"


def test_photographs_that_nobody_asked_for_are_not_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "good.png").write_bytes(encode(plain()))
    (folder / "broken.png").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        assert [checked.record["image_id"] for checked in check(folder, "good")] == ["good"]
    assert not caplog.records


class TestAFolderWithoutATable:
    def test_names_each_file_by_its_stem_or_wholly_where_that_is_ambiguous(self, folder):
        for name in ("a.jpg", "a.PNG", "a.jpg.png", "b.jpg", "b.txt"):
            (folder / name).write_bytes(encode(plain()))
        assert with_unique_ids(find(folder)).files == {
            "a.PNG": ("a.PNG",),
            "a.jpg": ("a.jpg",),
            "a.jpg.png": ("a.jpg.png",),
            "b": ("b.jpg",),
        }

    def test_is_read_to_its_end_whatever_some_files_hold(self, folder):
        good = encode(plain())
        contents = {"a.png": good, "b.png": good[:40], "c.png": b"", "d.png": good}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        first, cut, empty, last = try_images(with_unique_ids(find(folder)), LIMITS, lambda image: image.size)
        assert isinstance(first, Checked)
        assert isinstance(last, Checked)
        assert (first.record["image_id"], first.used, last.record["file"]) == ("a", (8, 6), "d.png")
        assert first.record["sha256"] == last.record["sha256"]
        assert isinstance(cut, Problem)
        assert empty == Problem("unreadable", "c.png", 0, "c", "the file is empty")

    def test_opens_no_device_whatever_link_leads_there(self, folder):
        (folder / "device.jpg").symlink_to("/dev/null")
        found = try_images(with_unique_ids(find(folder)), MAX_PIXELS, lambda image: image.size)
        assert [(each.file, each.problem) for each in found] == [("device.jpg", "it is a pipe or device, not a file")]

    def test_lists_a_file_name_that_no_table_can_hold(self, folder):
        (folder / "b\udcff.png").write_bytes(encode(plain()))
        (attempt,) = try_images(with_unique_ids(find(folder)), LIMITS, lambda image: None)
        assert isinstance(attempt, Problem)
        assert attempt.file == "b\\xff.png"
        assert "invisible or undecoded character; rename the file" in attempt.problem
