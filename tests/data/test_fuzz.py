"""Random tables and damaged photographs: an answer or an error of ours, never a library's.

A few hundred cases here; `SKINBIT_FUZZ=20000 python -m pytest -n0 tests/data/test_fuzz.py` tries so many of each kind,
new ones each time.
"""

import io
import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skinbit.config import DataParams, PolicyParams
from skinbit.data.decoding import decode_image
from skinbit.data.ids import explain_id, explain_name, printable
from skinbit.data.lesions import lesion_fates
from skinbit.data.metadata import ROW, find_row_problems, read_metadata
from skinbit.data.problems import kinds_by_row, raise_errors, tabulate_problems
from skinbit.data.unusable import UnusableError
from skinbit.errors import InputError
from tests.data.dicom_files import dicom

MANY = int(os.environ.get("SKINBIT_FUZZ", "0"))
fuzz = settings(max_examples=MANY or 150, derandomize=not MANY)
MAX_PIXELS = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Every other file is no valid Unicode, which is logged."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


ids = st.sampled_from(["a", "A", "b", "é", "e\u0301", "", " ", "../x", "=1", "a\0", "\ufeff", "007", "x" * 300])
cells = ids | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
cell_in_file = cells.map(lambda cell: f'"{cell}"') | cells
header = st.lists(
    st.sampled_from(["lesion_id", "image_id", "image", "isic_id", "dx", "row", "", '"', "\ufeff"]) | cells,
    min_size=1,
    max_size=5,
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return a file that looks like metadata, more or less."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    names = draw(header | st.just(["lesion_id", "image_id", "dx"]))
    rows = draw(st.lists(st.lists(cell_in_file, min_size=1, max_size=5) | st.tuples(ids, ids, ids), max_size=8))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(delimiter.join(row) for row in [names, *rows])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]))
    content = text.encode(encoding, errors="replace")
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=3)) + content[at:]


def survive(content: bytes) -> None:
    """Read metadata and check all that follows from them, up to the files that are written."""
    refused, table = None, pd.DataFrame()
    try:
        table = read_metadata(content, "data.csv")
    except InputError as error:
        refused = error.message
    if refused is not None:
        assert "Remedy" in refused
        assert all(line.isprintable() for line in refused.splitlines())
        return
    problems = tabulate_problems(find_row_problems(table, "data.csv", DataParams()))
    assert all(text.isprintable() for text in [*problems["problem"], *problems["image_id"]])
    assert set(problems["row"]) <= set(table[ROW])
    if len(problems):
        with pytest.raises(InputError, match="Remedy"):
            raise_errors(problems, PolicyParams(), "data.csv")
    kinds = kinds_by_row(problems)
    sound = table[~table[ROW].isin(kinds)]
    assert sound["image_id"].map(explain_id).eq("").all()
    assert sound["image_id"].is_unique
    assert (lesion_fates(table, kinds, 1, 100)[sound.index] == "").eq(sound["lesion_id"] != "").all()
    written = sound.to_csv(index=False).encode()
    again = pd.read_csv(io.BytesIO(written), dtype=str, keep_default_na=False)
    assert again.to_numpy().tolist() == sound.astype(str).to_numpy().tolist()


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes_are_metadata_or_refused(content: bytes) -> None:
    survive(content)


@fuzz
@given(files())
def test_any_table_is_read_or_refused_and_its_sound_rows_survive_being_written(content: bytes) -> None:
    survive(content)


@fuzz
@given(st.text() | st.binary().map(lambda name: name.decode(errors="surrogateescape")))
def test_any_name_can_be_shown_and_what_is_accepted_is_shown_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert explain_name(shown) in ("", explain_name("\ufffd"))
    if not explain_name(text):
        assert shown == text


@cache
def originals() -> tuple[bytes, ...]:
    """Return a photograph in every usual form."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a description", 72.0
    forms: list[tuple[Image.Image, dict[str, Any]]] = [
        (image, {"format": "JPEG", "exif": exif}),
        (image, {"format": "JPEG", "progressive": True, "icc_profile": b"x" * 200}),
        (image.convert("CMYK"), {"format": "JPEG"}),
        (image, {"format": "MPO", "save_all": True, "append_images": [image]}),
        (image, {"format": "PNG", "exif": exif}),
        (image.convert("RGBA"), {"format": "PNG", "save_all": True, "append_images": [image.convert("RGBA")]}),
        (image.quantize(16), {"format": "PNG", "transparency": 3}),
        (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {"format": "PNG", "dpi": (72, 72)}),
        (image, {"format": "TIFF", "exif": exif}),
        (image, {"format": "TIFF", "compression": "tiff_lzw"}),
        (Image.fromarray(pixels[..., 0].astype(">u2") * 16), {"format": "TIFF", "compression": "tiff_deflate"}),
        (image.quantize(16), {"format": "BMP"}),
        (image, {"format": "WEBP", "exif": exif}),
    ]
    contents = [
        (Path(__file__).parent / "heic/turned.heic").read_bytes(),
        dicom(pixels),
        dicom(pixels[..., 0], "MONOCHROME1"),
    ]
    for picture, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, **options)
        contents.append(buffer.getvalue())
    return tuple(contents)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a photograph with some bytes changed, cut out, put in, or its end cut off."""
    content = bytearray(draw(st.sampled_from(originals())))
    for _ in range(draw(st.integers(1, 4))):
        limit = draw(st.sampled_from([64, 256, len(content)]))  # headers matter most
        at = draw(st.integers(0, min(limit, len(content))))
        how = draw(st.sampled_from(["change", "remove", "insert", "cut"]))
        n = draw(st.integers(1, 8))
        if how == "change":
            content[at : at + n] = draw(st.binary(min_size=n, max_size=n))
        elif how == "remove":
            del content[at : at + n]
        elif how == "insert":
            content[at:at] = draw(st.binary(min_size=n, max_size=n))
        elif draw(st.booleans()):
            del content[at:]
    return bytes(content)


@fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about EXIF blocks
@given(damaged())
def test_a_damaged_photograph_is_decoded_or_refused_at_every_size_alike(content: bytes) -> None:
    refused, image = None, Image.new("L", (1, 1))
    try:
        image = decode_image(content, MAX_PIXELS)
    except UnusableError as error:
        refused = str(error)
    if refused is not None:
        assert refused.isprintable()
        return
    assert image.mode == "RGB"
    assert np.asarray(image).size <= 3 * MAX_PIXELS
    assert decode_image(content, MAX_PIXELS, least_side=2).mode == "RGB"
