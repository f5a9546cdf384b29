"""Nothing that a metadata file or a folder of photographs can hold ends a run late, or in words of a library."""

import csv
import errno
import functools
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.local import LocalFileSystem
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset, DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from PIL import Image

from skinbit.config import ClusterParams, DataParams, Parameters, PolicyParams, SplitParams
from skinbit.data.metadata import read_metadata
from skinbit.data.problems import KINDS
from skinbit.errors import InputError
from skinbit.pipelines.cluster_images.nodes.photographs import read_known, read_photographs
from skinbit.pipelines.data_split import create_pipeline
from skinbit.runtime.datasets.image_folder import ImageFolderDataset
from skinbit.runtime.datasets.metadata_table import MetadataDataset
from skinbit.runtime.session import _mendable
from skinbit.settings import CONFIG_LOADER_ARGS
from tests.data.dicom_files import dicom

REPOSITORY = Path(__file__).parents[2]

N_LESIONS = 6
VICTIM = "L0_0"
"""The image that most cases spoil; row 2 of the metadata."""

HEADER = "lesion_id,image_id,dx"
ORIENTATION = 0x0112

Spoil = Callable[[Path], Any]


@cache
def photograph(seed: int = 0, fmt: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (48, 36)) -> bytes:
    """Return a file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encode(Image.fromarray(pixels).convert(mode), fmt)


def encode(image: Image.Image, fmt: str = "JPEG", **options: Any) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def rows() -> list[str]:
    """Return the lines of the sound metadata."""
    return [HEADER, *(f"L{lesion},L{lesion}_{image},nv" for lesion in range(N_LESIONS) for image in range(2))]


def write_study(folder: Path) -> None:
    """Write six lesions with two photographs each."""
    (folder / "images").mkdir(parents=True)
    (folder / "data.csv").write_text("\n".join(rows()) + "\n")
    for seed, line in enumerate(rows()[1:]):
        (folder / "images" / f"{line.split(',')[1]}.jpg").write_bytes(photograph(seed))


def victim(folder: Path) -> Path:
    """Return the photograph that is spoilt."""
    return folder / "images" / f"{VICTIM}.jpg"


def holds(content: bytes) -> Spoil:
    """Put other bytes in place of the photograph."""
    return lambda folder: victim(folder).write_bytes(content)


def metadata(content: str | bytes) -> Spoil:
    """Put other content in place of the metadata."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "data.csv").write_bytes(raw)


def edited(change: Callable[[list[str]], list[str]], encoding: str = "utf-8", end: str = "\n") -> Spoil:
    """Change the lines of the metadata."""
    return metadata((end.join(change(rows())) + end).encode(encoding))


def with_row(line: str) -> Spoil:
    """Add a row, number 14, to the metadata."""
    return edited(lambda lines: [*lines, line])


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_of_size(width: int, height: int) -> bytes:
    """Return the beginning of a PNG file that says how large it is."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 64))


def png_with_text(n_bytes: int) -> bytes:
    """Return a PNG file with a compressed text that unfolds to so many bytes."""
    plain = photograph(fmt="PNG")
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * n_bytes))
    return plain[:33] + text + plain[33:]


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG file whose header says another size."""
    content = bytearray(photograph())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def with_exif(*entries: tuple[int, Any], cut: int = 0) -> bytes:
    """Return a photograph with an EXIF block, cut short by so many bytes."""
    exif = Image.Exif()
    for tag, value in entries:
        exif[tag] = value
    block = exif.tobytes()
    return encode(Image.open(io.BytesIO(photograph())), exif=block[: len(block) - cut], quality=95)


def links(target: Callable[[Path], str]) -> Spoil:
    """Put a link in place of the photograph."""

    def spoil(folder: Path) -> None:
        victim(folder).unlink()
        victim(folder).symlink_to(target(folder))

    return spoil


def link_out(folder: Path) -> None:
    """Put a link to a sound photograph elsewhere in place of the photograph."""
    victim(folder).rename(folder / "elsewhere.jpg")
    victim(folder).symlink_to(folder / "elsewhere.jpg")


def pipe(folder: Path) -> None:
    """Put a pipe, which would keep a reader waiting for ever, in place of the photograph."""
    victim(folder).unlink()
    os.mkfifo(victim(folder))


def folder_of_that_name(folder: Path) -> None:
    """Put a folder in place of the photograph."""
    victim(folder).unlink()
    victim(folder).mkdir()


def also(name: str, fmt: str = "JPEG") -> Spoil:
    """Put one more file beside the photograph."""
    return lambda folder: (folder / "images" / name).write_bytes(photograph(fmt=fmt))


NO_FORMAT = "not a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image"

BAD_FILES: dict[str, tuple[Spoil, str, str]] = {
    "truncated_jpeg": (holds(photograph()[:-200]), "unreadable", "damaged or cut short"),
    "truncated_png": (holds(photograph(fmt="PNG")[:-200]), "unreadable", "damaged or cut short"),
    "header_only": (holds(photograph()[:40]), "unreadable", "damaged or cut short"),
    "zero_bytes": (holds(b""), "unreadable", "the file is empty"),
    "zeros": (holds(b"\0" * 4096), "unreadable", NO_FORMAT),
    "gif": (holds(photograph(fmt="GIF")), "unreadable", NO_FORMAT),
    "truncated_tiff": (holds(photograph(fmt="TIFF")[:-200]), "unreadable", "damaged"),
    "truncated_bmp": (holds(photograph(fmt="BMP")[:-200]), "unreadable", "damaged or cut short"),
    "truncated_webp": (holds(photograph(fmt="WEBP")[:-200]), "unreadable", "damaged"),
    "jpeg_2000": (holds(photograph(fmt="JPEG2000")), "unreadable", NO_FORMAT),
    "pdf": (holds(photograph(fmt="PDF")), "unreadable", NO_FORMAT),
    "html": (holds(b"<!DOCTYPE html><html>404 Not Found</html>"), "unreadable", NO_FORMAT),
    "text": (holds(b"version https://git-lfs.github.com/spec/v1\n"), "unreadable", NO_FORMAT),
    "zip": (holds(b"PK\x03\x04" + b"\0" * 200), "unreadable", NO_FORMAT),
    "damaged_middle": (
        holds(photograph(fmt="PNG")[:2000] + b"\0" * 500 + photograph(fmt="PNG")[2500:]),
        "unreadable",
        "damaged or cut short",
    ),
    "png_text_bomb": (holds(png_with_text(100_000_000)), "unreadable", "damaged or cut short (Decompressed data too"),
    "png_30000x30000": (holds(png_of_size(30_000, 30_000)), "too_large", "more than data.max_pixels"),
    "jpeg_65500x65500": (holds(jpeg_of_size(65_500, 65_500)), "too_large", "more than data.max_pixels"),
    "jpeg_10000x8900": (holds(jpeg_of_size(10_000, 8_900)), "too_large", "10000x8900 pixels are more than"),
    "many_megabytes": (
        lambda folder: victim(folder).write_bytes(photograph() + b"\0" * 3_000_000),
        "too_large",
        "3 megabytes are more than data.max_megabytes=2",
    ),
    "1x1": (holds(photograph(size=(1, 1))), "too_small", "1x1 pixels; a side is shorter than data.min_side=16"),
    "1x1000": (holds(photograph(size=(1, 1000))), "too_small", "1x1000 pixels"),
    "folder": (folder_of_that_name, "unreadable", "it is a folder"),
    "pipe": (pipe, "unreadable", "it is a pipe or device"),
    "device": (links(lambda folder: "/dev/zero"), "unreadable", "it is a pipe or device"),
    "broken_link": (links(lambda folder: "nowhere.jpg"), "unreadable", "a broken link"),
    "circular_link": (links(lambda folder: f"{VICTIM}.jpg"), "unreadable", "a circular link"),
    "link_to_a_photograph_elsewhere": (link_out, "outside", "a link to a file outside of the folder"),
    "link_to_a_secret": (links(lambda folder: "/etc/passwd"), "outside", "a link to a file outside of the folder"),
    "link_up": (links(lambda folder: "../data.csv"), "outside", "a link to a file outside of the folder"),
}
"""What a photograph may be instead: how to make it so, the kind of problem, how the problem is told."""

BAD_FOLDERS: dict[str, tuple[Spoil, str, str]] = {
    "missing": (lambda folder: victim(folder).unlink(), "missing", "there is no such file"),
    "jpg_and_JPG": (also(f"{VICTIM}.JPG"), "ambiguous", "L0_0.JPG, L0_0.jpg have the same image_id"),
    "jpg_and_png": (also(f"{VICTIM}.png", "PNG"), "ambiguous", "L0_0.jpg, L0_0.png have the same image_id"),
    "jpg_and_tif": (also(f"{VICTIM}.tif", "TIFF"), "ambiguous", "L0_0.jpg, L0_0.tif have the same image_id"),
    "jpg_and_jpeg": (also(f"{VICTIM}.jpeg"), "ambiguous", "L0_0.jpeg, L0_0.jpg have the same image_id"),
}


def below(folder: Path) -> Path:
    """Make the folder of photographs anew, for folders below it."""
    (folder / "images").mkdir()
    return folder / "images"


def called(name: str) -> Spoil:
    """Move the photograph to another name, or into a folder below."""

    def spoil(folder: Path) -> None:
        target = folder / "images" / name
        target.parent.mkdir(exist_ok=True)
        victim(folder).rename(target)

    return spoil


def ids(change: Callable[[str], str]) -> Spoil:
    """Write every image id in another way."""

    def line(text: str) -> str:
        lesion, image, dx = text.split(",")
        return f"{lesion},{change(image)},{dx}"

    return edited(lambda lines: [HEADER, *map(line, lines[1:])])


NEAR_MISSES: dict[str, tuple[Spoil, str, str]] = {
    "another_case": (called("l0_0.JPG"), "there is l0_0.JPG, spelt differently", "correct the table, or rename"),
    "a_folder_below": (called("x/L0_0.png"), "there is x/L0_0.png, in a subfolder", "--params data.subfolders=true"),
    "a_suffix_twice": (called("L0_0.jpg.jpg"), "there is L0_0.jpg.jpg, with a suffix", "without only its last suffix"),
    "two_suffixes": (called("L0_0.tif.JPG"), "there is L0_0.tif.JPG, with a suffix", "without only its last suffix"),
    "jpeg_2000": (called("L0_0.JP2"), "there is L0_0.JP2, in an unsupported format", "convert the files to JPEG"),
    "photoshop": (called("L0_0.psd"), "there is L0_0.psd, in an unsupported format", "convert the files to JPEG"),
    "camera_raw": (
        called("l0_0.NEF"),
        "there is l0_0.NEF, in an unsupported format",
        "convert the files to JPEG or PNG",
    ),
    "format_below": (
        called("x/L0_0.avif"),
        "there is x/L0_0.avif, in an unsupported format",
        "convert the files to JPEG or PNG",
    ),
}
"""Where the photograph is instead: how to make it so, how it is told, what takes it."""

BAD_ROWS: dict[str, tuple[Spoil, str, int, str]] = {
    "path_traversal": (with_row("L0,../../etc/passwd,nv"), "bad_id", 14, "'../../etc/passwd': it begins with a dot"),
    "path_inside": (with_row("L0,a/../../b,nv"), "bad_id", 14, "like a path"),
    "absolute_path": (with_row("L0,/etc/passwd,nv"), "bad_id", 14, "like a path"),
    "drive_letter": (with_row("L0,C:\\images\\a,nv"), "bad_id", 14, "like a path"),
    "network_path": (with_row("L0,\\\\server\\a,nv"), "bad_id", 14, "like a path"),
    "url": (with_row("L0,https://example.org/a,nv"), "bad_id", 14, "like a path"),
    "nul": (with_row("L0,a\0b,nv"), "bad_id", 14, "image_id 'a\\x00b': it contains an invisible"),
    "newline": (with_row('L0,"a\nb",nv'), "bad_id", 14, "'a\\nb': it contains an invisible"),
    "escape_sequence": (with_row("L0,a\x1b[2J,nv"), "bad_id", 14, "'a\\x1b[2J': it contains an"),
    "bidirectional_override": (with_row("L0,\u202egpj.a,nv"), "bad_id", 14, "'\\u202egpj.a': it contains an"),
    "zero_width": (with_row("L0,a\u200b,nv"), "bad_id", 14, "'a\\u200b': it contains an"),
    "undecoded": (with_row("L0,a\ufffd,nv"), "bad_id", 14, "undecoded character"),
    "leading_dot": (with_row("L0,.hidden,nv"), "bad_id", 14, "it begins with a dot"),
    "over_long": (with_row(f"L0,{'x' * 5000},nv"), "bad_id", 14, "it is longer than 200 characters"),
    "formula": (with_row("L0,=cmd|'calc'!A0,nv"), "bad_id", 14, "it begins like a spreadsheet formula"),
    "formula_at": (with_row("L0,@SUM(A1),nv"), "bad_id", 14, "it begins like a spreadsheet formula"),
    "lesion_id_path": (with_row("../L0,new,nv"), "bad_id", 14, "lesion_id '../L0': it begins with a dot"),
    "lesion_id_nul": (with_row("L0\0,new,nv"), "bad_id", 14, "lesion_id 'L0\\x00'"),
    "lesion_id_nan": (with_row("nan,new,nv"), "placeholder", 14, "lesion_id 'nan' stands for a missing value"),
    "lesion_id_not_available": (with_row("#N/A,new,nv"), "placeholder", 14, "lesion_id '#N/A' stands for a missing"),
    "image_id_that_is_none": (with_row("L0,<n/a>,nv"), "placeholder", 14, "image_id '<n/a>' stands for a missing"),
    "comment_between_rows": (
        with_row("# reviewed in May"),
        "cells",
        14,
        "1 cells, but the header has 3; is it a comment?",
    ),
    "doubled_row": (with_row("L0,L0_0,nv"), "duplicate", 14, "image_id 'L0_0': also in row 2"),
    "doubled_without_lesion": (with_row(",L0_0,nv"), "duplicate", 14, "image_id 'L0_0': also in row 2"),
    "blank_image_id": (with_row("L0,,nv"), "no_image_id", 14, "image_id is blank"),
    "blanks_as_image_id": (with_row("L0, \t ,nv"), "no_image_id", 14, "image_id is blank"),
    "too_few_cells": (with_row("L0,new"), "cells", 14, "2 cells, but the header has 3"),
    "too_many_cells": (with_row("L0,new,nv,extra"), "cells", 14, "4 cells, but the header has 3"),
    "quote_that_swallows_rows": (
        edited(lambda lines: [*lines, 'L0,new,"x', "L0,b,nv", "L0,c,nv", 'L0,d,"y']),
        "cells",
        14,
        "a quoted cell contains 2 lines that look like rows",
    ),
}
"""Rows beyond the sound ones: the metadata, the kind of problem, its row, how it is told."""

NO_METADATA: dict[str, tuple[Spoil, str]] = {
    "missing": (lambda folder: (folder / "data.csv").unlink(), "There is no metadata file"),
    "folder": (lambda folder: (folder / "data.csv").unlink() or (folder / "data.csv").mkdir(), "is not a file"),
    "pipe": (lambda folder: (folder / "data.csv").unlink() or os.mkfifo(folder / "data.csv"), "is not a file"),
    "enormous": (lambda folder: os.truncate(folder / "data.csv", 600_000_000), "has 600 megabytes"),
    "empty": (metadata(""), "data.csv is empty"),
    "blank": (metadata("\n \n,,\n"), "data.csv is empty"),
    "byte_order_mark_only": (metadata(b"\xef\xbb\xbf"), "data.csv is empty"),
    "header_only": (metadata(f"{HEADER}\n"), "0 lesions are too few"),
    "no_header": (metadata("\n".join(rows()[1:])), "no column lesion_id and no column image_id"),
    "no_lesion_column": (edited(lambda lines: ["patient,image_id,dx", *lines[1:]]), "no column lesion_id"),
    "excel": (metadata(b"PK\x03\x04\x14\0\x06\0xl/workbook.xml"), "an Excel workbook or a zip archive"),
    "old_excel": (metadata(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500), "an Excel workbook"),
    "gzip": (metadata(b"\x1f\x8b\x08\0" + b"\0" * 20), "a gzip archive"),
    "pdf": (metadata(b"%PDF-1.7\n"), "a PDF"),
    "photograph": (metadata(photograph()), "an image"),
    "web_page": (metadata("\n<!DOCTYPE html>\n<title>Log in</title>"), "a web page or XML"),
    "binary": (metadata(bytes(range(256)) * 20), "is not a table of text"),
    "utf_16_without_mark": (edited(list, "utf-16-le"), "A UTF-16 file needs its byte-order mark"),
    "utf_16_cut_short": (metadata(b"\xff\xfe" + HEADER.encode("utf-16-le")[:-1]), "damaged or cut short"),
    "quote_never_ends": (with_row('L0,"new,nv'), "a quote that opens in row 14 is never closed"),
    "quote_never_ends_in_a_large_file": (
        edited(lambda lines: [*lines, 'L0,"new', *["L0,b,nv"] * 30_000]),
        "a quote that opens in row 14 is never closed",
    ),
    "column_twice": (edited(lambda lines: ["lesion_id,image_id,image_id", *lines[1:]]), "the column 'image_id' twice"),
    "column_of_ours": (
        edited(lambda lines: ["lesion_id,image_id,fold", *lines[1:]]),
        "a name that is reserved for Skinbit",
    ),
    "column_with_escape": (edited(lambda lines: ["lesion_id,image_id,\x1b[2J", *lines[1:]]), "is not a table of text"),
    "wrong_delimiter": (
        edited(lambda lines: [line.replace(",", "~") for line in lines]),
        "its columns are: lesion_id~image_id~dx",
    ),
    "no_images": (lambda folder: (folder / "images").rename(folder / "pictures"), "images does not exist."),
    "no_photograph": (
        lambda folder: [path.unlink() for path in (folder / "images").iterdir()],
        "has no photograph that can be read; it is empty.",
    ),
    "no_photograph_but_in_a_folder_below": (
        lambda folder: (folder / "images").rename(folder / "x") and (folder / "x").rename(below(folder) / "visit1"),
        "  - visit1/: a folder with 12 photographs, not searched; data.subfolders=true reads it\n"
        "  Remedy: read subfolders: --params data.subfolders=true.",
    ),
    "no_photograph_that_is_read": (
        lambda folder: [path.rename(path.with_suffix(".avif")) for path in (folder / "images").iterdir()],
        "L0_0.avif: AVIF is unsupported; convert it to JPEG or PNG",
    ),
    "images_is_a_file": (
        lambda folder: (folder / "images").rename(folder / "x") and (folder / "images").write_text(""),
        "images is a file.",
    ),
    "one_lesion": (edited(lambda lines: lines[:3]), "1 lesions are too few"),
    "fewer_lesions_than_folds": (edited(lambda lines: lines[:3]), "split.n_folds is 2"),
    "no_lesion_ids": (edited(lambda lines: [HEADER, *(f",{line.split(',')[1]}," for line in lines[1:])]), "too few"),
}
"""What ends the run at once, and how."""

SOUND: dict[str, Spoil] = {
    "byte_order_mark": edited(list, "utf-8-sig"),
    "utf_16": edited(list, "utf-16"),
    "utf_32": edited(list, "utf-32"),
    "windows_1252": edited(lambda lines: [line.replace("nv", "nävus") for line in lines], "cp1252"),
    "semicolons": edited(lambda lines: [line.replace(",", ";") for line in lines]),
    "tabs": edited(lambda lines: [line.replace(",", "\t") for line in lines]),
    "pipes": edited(lambda lines: [line.replace(",", "|") for line in lines]),
    "delimiter_named_as_excel_does": edited(lambda lines: ["sep=^", *(line.replace(",", "^") for line in lines)]),
    "comments_before_the_header": edited(lambda lines: ["# exported, by hand", "#", "", *lines]),
    "file_names_of_bcn20000": edited(
        lambda lines: ["lesion_id,bcn_filename,dx", *(line.replace(",nv", ".jpg,nv") for line in lines[1:])]
    ),
    "windows_line_ends": edited(list, end="\r\n"),
    "old_mac_line_ends": edited(list, end="\r"),
    "padded_cells": edited(lambda lines: [" , ".join(line.split(",")) + "  " for line in lines]),
    "quoted_cells": edited(lambda lines: [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines]),
    "blank_lines": edited(lambda lines: ["", *(part for line in lines for part in (line, "", ",,"))]),
    "blank_cells_beyond_the_header": edited(lambda lines: [lines[0], *(f"{line},,," for line in lines[1:])]),
    "columns_without_name": edited(
        lambda lines: [f",{lines[0]},,", *(f"{n},{line},," for n, line in enumerate(lines[1:]))]
    ),
    "extra_columns": edited(lambda lines: [f"{lines[0]},age,", *(f"{line},80.0," for line in lines[1:])]),
    "outline_in_a_cell": edited(lambda lines: [lines[0], f'L0,L0_0,"{"1.5,2.5 " * 20_000}"', *lines[2:]]),
    "formula_in_another_cell": edited(lambda lines: [lines[0], "L0,L0_0,=cmd|' /C calc'!A0", *lines[2:]]),
    "line_ends_inside_a_cell": edited(lambda lines: [lines[0], 'L0,L0_0,"a\rb\nc"', *lines[2:]]),
    "nul_in_another_cell": edited(lambda lines: [lines[0], "L0,L0_0,a\0b", *lines[2:]]),
    "published_names": edited(lambda lines: ["lesion_id,isic_id,dx", *lines[1:]]),
    "cmyk": holds(photograph(mode="CMYK")),
    "grey": holds(photograph(mode="L")),
    "grey_with_alpha": holds(photograph(mode="LA", fmt="PNG")),
    "palette": holds(photograph(mode="P", fmt="PNG")),
    "black_and_white": holds(photograph(mode="1", fmt="PNG")),
    "rgba": holds(photograph(mode="RGBA", fmt="PNG")),
    "16_bit_grey": holds(encode(Image.fromarray(np.arange(36 * 48, dtype=np.uint16).reshape(36, 48)), "PNG")),
    "tiff_called_jpg": holds(photograph(fmt="TIFF")),
    "bmp_called_jpg": holds(photograph(fmt="BMP")),
    "webp_called_jpg": holds(photograph(fmt="WEBP")),
    "tiff": lambda folder: (
        called("L0_0.TIF")(folder) or (folder / "images/L0_0.TIF").write_bytes(photograph(fmt="TIFF"))
    ),
    "heic_called_jpg": holds((Path(__file__).parent / "heic/turned.heic").read_bytes()),
    "dicom_called_jpg": holds(dicom(np.zeros((36, 48, 3), dtype=np.uint8))),
    "jpeg_called_bmp": called("L0_0.bmp"),
    "progressive": holds(encode(Image.open(io.BytesIO(photograph())), progressive=True)),
    "several_pictures_in_one_file": holds(
        encode(Image.open(io.BytesIO(photograph())), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 36))])
    ),
    "animated_png": holds(
        encode(Image.open(io.BytesIO(photograph())), "PNG", save_all=True, append_images=[Image.new("RGB", (48, 36))])
    ),
    "exif_rotated": holds(with_exif((ORIENTATION, 6))),
    "exif_orientation_unknown": holds(with_exif((ORIENTATION, 77))),
    "exif_cut_short": holds(with_exif((ORIENTATION, 6), (0x010E, "x" * 50), cut=30)),
    "exif_of_no_sense": holds(encode(Image.open(io.BytesIO(photograph())), exif=b"Exif\0\0" + b"\xff" * 40)),
    "bytes_after_the_end": holds(photograph() + b"\0" * 1000),
    "link_inside_of_the_folder": lambda folder: (
        victim(folder).rename(folder / "images" / "original.jpg") and victim(folder).symlink_to("original.jpg")
    ),
    "hidden_files": lambda folder: (folder / "images" / f"._{VICTIM}.jpg").write_bytes(b"\0\5\x16\7"),
    "files_that_no_row_names": also("stranger.jpg"),
    "other_files": lambda folder: (folder / "images" / "ATTRIBUTION.txt").write_text("CC-BY"),
}
"""What is unusual and no mistake."""


SKIP = PolicyParams(**dict.fromkeys(PolicyParams.model_fields, "skip"))


@functools.cache
def data_split() -> Pipeline:
    """The pipeline, of the parameters that the project comes with."""
    tree = OmegaConfigLoader(str(REPOSITORY / "conf"), env="base", **CONFIG_LOADER_ARGS)["parameters"]
    return create_pipeline(Parameters.model_validate(tree))


class Tables:
    """What a run wrote, read when it is asked for."""

    def __init__(self, catalog: DataCatalog) -> None:
        self._catalog = catalog

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._catalog.load(name)


class Study:
    """A folder of data, and the pipeline data_split on the project's own catalog."""

    def __init__(self, folder: Path, entries: dict[str, Any]) -> None:
        self.folder = folder
        write_study(folder)
        self._entries = entries

    def run(self, policy: PolicyParams | None = None, **data: Any) -> Tables:
        """Do what `kedro run --pipelines data_split` does, and give the tables that it wrote."""
        catalog = DataCatalog.from_config(self._entries)
        limits = DataParams(**{"max_megabytes": 2, **data}, policy=policy or PolicyParams())
        split = SplitParams(n_folds=2, use_train_test_split=False)
        for name, value in {"data": limits, "split": split, "seed": 42}.items():
            catalog[f"params:{name}"] = value
        try:
            SequentialRunner().run(data_split(), catalog)
        except DatasetError as error:  # as the session does
            raise _mendable(error) from error
        return Tables(catalog)

    def refusal(self, **data: Any) -> str:
        """Return the message that ends the run."""
        with pytest.raises(InputError) as raised:
            self.run(**data)
        message = raised.value.message
        assert "Failed while" not in message
        assert "Remedy: " in message
        assert all(line.isprintable() for line in message.splitlines())
        assert len(message) < 5000
        assert not (self.folder / "outputs/02_intermediate/split.csv").exists()
        return message

    def listed(self) -> pd.DataFrame:
        """Return problems.csv."""
        path = self.folder / "outputs/02_intermediate/problems.csv"
        return pd.read_csv(path, keep_default_na=False, dtype={"image_id": str})


@pytest.fixture(scope="module")
def entries() -> dict[str, Any]:
    """The project's catalog, as Kedro reads it."""
    return OmegaConfigLoader(str(REPOSITORY / "conf"), env="base", **CONFIG_LOADER_ARGS)["catalog"]


@pytest.fixture
def study(tmp_path: Path, entries: dict[str, Any]) -> Study:
    """Sound data."""
    return Study(tmp_path / "study", _in_folder(entries, tmp_path / "study"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any]) -> pd.DataFrame:
    """The split of sound data."""
    folder = tmp_path_factory.mktemp("sound") / "study"
    return Study(folder, _in_folder(entries, folder)).run()["split"]


def _in_folder(entries: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the catalog of data_split with all files in a folder."""
    used = {name: entries[name] for name in data_split().datasets() if name in entries}
    return {
        name: {key: _moved(value, folder) if key in ("filepath", "path") else value for key, value in entry.items()}
        for name, entry in used.items()
    }


def _moved(path: str, folder: Path) -> str:
    parts = Path(path).parts
    return str(folder.joinpath(*parts[2:]) if "01_raw" in parts else folder.joinpath("outputs", *parts[1:]))


def one_per_kind(cases: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Return the first case of each kind."""
    first = {case[1]: pytest.param(*case, id=case[1]) for case in reversed(cases.values())}
    return list(first.values())


class TestAPhotograph:
    @pytest.mark.parametrize(
        ("spoil", "kind", "said"), {**BAD_FILES, **BAD_FOLDERS}.values(), ids={**BAD_FILES, **BAD_FOLDERS}
    )
    def test_that_cannot_be_used_ends_the_run(self, study, spoil, kind, said):
        spoil(study.folder)
        message = study.refusal()
        assert f"1 {KINDS[kind].heading}:" in message
        assert "(row 2 of data.csv): " in message
        assert said in message
        assert f"Remedy: {KINDS[kind].remedy}; to leave" in message
        assert str(study.folder) not in message
        (problem,) = study.listed().to_dict("records")
        assert (problem["kind"], problem["row"], problem["image_id"]) == (kind, 2, VICTIM)
        assert said in problem["problem"]
        assert problem["remedy"] == KINDS[kind].remedy

    @pytest.mark.parametrize(("spoil", "kind", "_"), one_per_kind({**BAD_FILES, **BAD_FOLDERS}))
    def test_that_cannot_be_used_is_left_out_where_the_policy_says_so(self, study, spoil, kind, _):
        spoil(study.folder)
        left = study.run(PolicyParams(**{kind: "skip"}))
        assert left["rejected"].to_numpy().tolist() == [
            [VICTIM, "L0", KINDS[kind].reason],
            ["L0_1", "L0", "lesion has fewer than 2 images without problems"],
        ]
        assert len(left["image_index"]) == len(left["split"]) == len(left["metadata"]) == 10

    @pytest.mark.parametrize("spoil", [spoil for spoil, kind, _ in BAD_FILES.values() if kind == "outside"])
    def test_may_be_a_link_where_links_are_allowed_but_must_be_a_photograph(self, study, spoil):
        spoil(study.folder)
        if (study.folder / "elsewhere.jpg").exists():
            assert len(study.run(follow_links=True)["split"]) == 12
        else:
            assert NO_FORMAT in study.refusal(follow_links=True)

    def test_that_nobody_may_read_is_named(self, study, monkeypatch):
        read = LocalFileSystem.cat_file

        def cat_file(self, path, *arguments, **options):
            if VICTIM in path:
                raise PermissionError(13, "Permission denied", path)
            return read(self, path, *arguments, **options)

        monkeypatch.setattr(LocalFileSystem, "cat_file", cat_file)  # root may read everything
        message = study.refusal()
        assert f"{VICTIM}.jpg (row 2 of data.csv): permission denied" in message
        assert (
            "Remedy: give this user permission to read it; to leave them out: --params data.policy.unreadable=skip"
            in message
        )

    @pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
    def test_for_which_memory_does_not_suffice_is_not_called_damaged(self, study, monkeypatch, error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(Image, "open", fail)
        assert "Memory does not suffice to decode L0_0.jpg.\n  Remedy: end other programs" in study.refusal()


class TestANearMiss:
    @pytest.mark.parametrize(("spoil", "said", "remedy"), NEAR_MISSES.values(), ids=NEAR_MISSES)
    def test_is_named_and_what_takes_it_is_offered_before_it_is_left_out(self, study, spoil, said, remedy):
        spoil(study.folder)
        message = study.refusal()
        assert f"L0_0.jpg (row 2 of data.csv): there is no such file; {said}" in message
        (problem,) = study.listed().to_dict("records")
        assert (problem["kind"], problem["row"]) == ("missing", 2)
        assert remedy in problem["remedy"]
        assert f"Remedy: {problem['remedy']}; to leave them out: --params data.policy.missing=skip" in message
        assert len(study.run(PolicyParams(missing="skip"))["split"]) == 10

    def test_of_each_sort_has_a_remedy_of_its_own(self, study):
        for name in ("L0_0.gif", "x/L1_0.jpg", "l2_0.jpg"):
            old = study.folder / "images" / f"L{name.rpartition('/')[2][1]}_0.jpg"
            (study.folder / "images/x").mkdir(exist_ok=True)
            old.rename(study.folder / "images" / name)
        (study.folder / "images/L3_0.jpg").unlink()
        message = study.refusal()
        assert message.count(f"1 {KINDS['missing'].heading}:") == 4
        assert message.count("Remedy: ") == 4
        assert study.listed()["remedy"].nunique() == 4

    @pytest.mark.parametrize(
        "spoil",
        [
            ids(lambda image: f"{image}.jpg"),
            lambda folder: (ids(lambda image: f"{image}.JPG")(folder), rename_all(folder, ".JPG")),
            lambda folder: (ids(lambda image: f"{image}.PNG")(folder), rename_all(folder, ".PNG")),
            lambda folder: (ids(lambda image: f"{image}.jpg")(folder), rename_all(folder, ".jpg.jpg")),
        ],
        ids=["jpg", "JPG", "PNG", "jpg_jpg"],
    )
    def test_of_an_id_with_the_suffix_of_its_file_is_taken_with_a_line_in_the_log(self, study, spoil, caplog):
        spoil(study.folder)
        with caplog.at_level("INFO"):
            tables = study.run()
        assert len(tables["split"]) == 12
        files, image_ids = tables["image_index"]["file"].tolist(), tables["image_index"]["image_id"].tolist()
        assert [Path(file).stem for file in files] == image_ids
        is_renamed = files[0].count(".") == 1
        assert ("12 photographs get a different image_id than in the metadata" in caplog.text) == is_renamed
        named = tables["metadata"]["image_id_in_table" if is_renamed else "image_id"].tolist()
        assert named == (files if is_renamed else image_ids)

    @pytest.mark.parametrize(("asked", "there"), [(".png", ".jpg"), (".jpg", ".tif"), (".jpg", ".dcm")])
    def test_of_an_id_with_another_suffix_is_named(self, study, asked, there):
        ids(lambda image: f"{image}{asked}")(study.folder)
        rename_all(study.folder, there)
        message = study.refusal()
        said = f"there is no such file; there is L0_0{there}, with another suffix"
        assert f"L0_0{asked} (row 2 of data.csv): {said}" in message
        assert "Remedy: write image_id without a suffix" in message

    def test_of_a_number_that_lost_its_zeros_is_named(self, study):
        with_row("L0,7,nv")(study.folder)
        also("007.JPG")(study.folder)
        assert "7.jpg (row 14 of data.csv): there is no such file; there is 007.JPG, spelt differently" in (
            study.refusal()
        )

    def test_may_not_give_one_file_to_two_rows(self, study):
        with_row("L1,L0_0.jpg,nv")(study.folder)
        assert "row 14: L0_0.jpg is also the file of row 2" in study.refusal()
        assert len(study.run(PolicyParams(duplicate="skip"))["split"]) == 12

    def test_is_not_looked_for_among_hidden_files(self, study):
        called("._L0_0.jpg")(study.folder)
        assert "L0_0.jpg (row 2 of data.csv): there is no such file\n" in study.refusal()


def rename_all(folder: Path, suffix: str, remove: bool = False) -> None:
    """Give every photograph another suffix, or remove it."""
    for path in list((folder / "images").iterdir()):
        path.unlink() if remove else path.rename(path.with_suffix(suffix))


def into_folders(folder: Path) -> None:
    """Move every photograph into a folder of its lesion."""
    for path in list((folder / "images").iterdir()):
        lesion = path.parent / path.name[:2]
        lesion.mkdir(exist_ok=True)
        path.rename(lesion / path.name)


class TestFoldersBelow:
    def test_are_read_on_request_by_the_ids_of_the_table(self, study, expected, caplog):
        into_folders(study.folder)
        assert "L0/: a folder with 2 photographs, not searched" in study.refusal()
        with caplog.at_level("INFO"):
            tables = study.run(subfolders=True)
        paths = [f"{image_id[:2]}/{image_id}" for image_id in expected["image_id"]]
        pd.testing.assert_frame_equal(tables["split"], expected.assign(image_id=paths))
        assert tables["image_index"]["file"].tolist()[:2] == ["L0/L0_0.jpg", "L0/L0_1.jpg"]
        assert tables["metadata"]["image_id_in_table"].tolist() == expected["image_id"].tolist()
        assert "12 photographs get a different image_id than in the metadata, their path without suffix" in caplog.text
        assert "L0_0 is L0/L0_0" in caplog.text

    @pytest.mark.parametrize("suffix", ["", ".jpg"])
    def test_are_read_by_ids_that_are_paths(self, study, suffix):
        into_folders(study.folder)
        ids(lambda image: f"{image[:2]}/{image}{suffix}")(study.folder)
        tables = study.run(subfolders=True)
        assert tables["image_index"]["file"].tolist()[:2] == ["L0/L0_0.jpg", "L0/L0_1.jpg"]
        assert tables["split"]["image_id"].tolist()[0] == "L0/L0_0"
        assert ("image_id_in_table" in tables["metadata"]) == (suffix != "")

    def test_that_share_a_name_need_the_path(self, study):
        for name in ("x", "y"):
            (study.folder / "images" / name).mkdir()
            (study.folder / "images" / name / "L0_0.jpg").write_bytes(photograph())
        victim(study.folder).rename(study.folder / "kept.jpg")
        assert "x/L0_0.jpg, y/L0_0.jpg have the same image_id" in study.refusal(subfolders=True)
        (study.folder / "kept.jpg").rename(victim(study.folder))
        assert study.run(subfolders=True)["image_index"].loc[0, "file"] == "L0_0.jpg"  # the one of this very id

    def test_give_no_file_to_two_rows(self, study):
        into_folders(study.folder)
        with_row("L1,L0/L0_0,nv")(study.folder)
        assert "row 14: L0/L0_0.jpg is also the file of row 2" in study.refusal(subfolders=True)

    @pytest.mark.parametrize(
        "image_id", ["../secret", "L0/../../secret", "/etc/passwd", "L0//L0_0", "L0/", "L0/.hidden", "L0\\L0_0", "C:/a"]
    )
    def test_are_never_left_by_an_id(self, study, image_id):
        into_folders(study.folder)
        (study.folder / "secret.jpg").write_bytes(photograph())
        with_row(f"L0,{image_id},nv")(study.folder)
        assert f"1 {KINDS['bad_id'].heading}:\n  - row 14: image_id " in study.refusal(subfolders=True)

    def test_are_no_links(self, study):
        into_folders(study.folder)
        (study.folder / "images/L0").rename(study.folder / "elsewhere")
        (study.folder / "images/L0").symlink_to(study.folder / "elsewhere")
        (study.folder / "images/L1/loop").symlink_to(study.folder / "images")
        assert "L0_0.jpg (row 2 of data.csv): there is no such file" in study.refusal(subfolders=True)

    def test_hold_no_link_to_a_file_elsewhere(self, study):
        into_folders(study.folder)
        link = study.folder / "images/L0/L0_0.jpg"
        link.rename(study.folder / "elsewhere.jpg")
        link.symlink_to(study.folder / "elsewhere.jpg")
        message = study.refusal(subfolders=True)
        assert "L0/L0_0.jpg (row 2 of data.csv): it is a link to a file outside of the folder" in message

    def test_that_cannot_be_listed_are_named_where_a_photograph_is_missing(self, study, monkeypatch):
        into_folders(study.folder)
        refuse_listing(monkeypatch, "L0", errno.EACCES)
        message = study.refusal(subfolders=True)
        assert "there is no such file; it may be in L0/, which cannot be listed: permission denied" in message
        assert "Remedy: give this user permission to read it; to leave them out" in message

    def test_with_names_for_no_table_are_named(self, study):
        into_folders(study.folder)
        (study.folder / "images/L0").rename(study.folder / "images/=cmd")
        message = study.refusal(subfolders=True)
        assert (
            "=cmd/L0_0.jpg (row 2 of data.csv): its name cannot be used: it begins like a spreadsheet formula"
            in message
        )

    def test_give_photographs_the_same_ids_in_studies_and_groups(self, study):
        into_folders(study.folder)
        data = DataParams(subfolders=True)
        grouped, _, _ = read_photographs(opened, {}, str(study.folder / "images"), data, 224)
        known = known_of(study.folder, data)
        split = study.run(subfolders=True)["split"]
        assert sorted(split["image_id"]) == sorted(grouped["image_id"]) == sorted(known["image_id"])
        assert dict(zip(known["image_id"], known["lesion_id"], strict=True)) == dict(
            zip(split["image_id"], split["lesion_id"], strict=True)
        )

    def test_may_not_be_in_a_lesion_id(self, study):
        with_row("L0/x,L0_0,nv")(study.folder)
        assert "lesion_id 'L0/x': it contains / or" in study.refusal(subfolders=True)

    def test_are_not_read_unasked(self, study):
        with_row("L0,x/L0_0,nv")(study.folder)
        assert "image_id 'x/L0_0': it contains / or" in study.refusal()


class TestARow:
    @pytest.mark.parametrize(("spoil", "kind", "row", "said"), BAD_ROWS.values(), ids=BAD_ROWS)
    def test_that_cannot_be_used_ends_the_run(self, study, spoil, kind, row, said):
        spoil(study.folder)
        message = study.refusal()
        assert f"1 {KINDS[kind].heading}:\n  - row {row}: " in message
        assert said in message
        assert KINDS[kind].remedy in message
        (problem,) = study.listed().to_dict("records")
        assert (problem["kind"], problem["file"], problem["row"]) == (kind, "data.csv", row)
        assert problem["image_id"].isprintable()
        assert not problem["image_id"].startswith(("=", "+", "@"))

    @pytest.mark.parametrize(("spoil", "kind", "_row", "_said"), one_per_kind(BAD_ROWS))
    def test_that_cannot_be_used_is_left_out_where_the_policy_says_so(self, study, spoil, kind, _row, _said):
        spoil(study.folder)
        left = study.run(PolicyParams(**{kind: "skip"}))
        assert left["rejected"]["reason"].tolist() == [KINDS[kind].reason]
        assert len(left["split"]) == 12

    def test_that_is_there_twice_leaves_the_split_that_there_would_be_without_it(self, study):
        without = study.run()["split"]
        with_row("L0,L0_0,nv")(study.folder)
        pd.testing.assert_frame_equal(study.run(PolicyParams(duplicate="skip"))["split"], without)

    def test_of_an_image_under_two_lesions_is_left_out_with_the_other_one(self, study):
        with_row("L1,L0_0,nv")(study.folder)
        assert "row 14: image_id 'L0_0': lesion_id 'L1', in row 2 'L0'" in study.refusal()
        rejected = study.run(SKIP)["rejected"]
        assert rejected["image_id"].tolist() == ["L0_0", "L0_1", "L0_0"]
        assert rejected["reason"].tolist()[0] == "image_id under two lesions"

    @pytest.mark.parametrize("line", ["L0,l0_0,nv", "l0,new,nv"], ids=["image", "lesion"])
    def test_whose_id_differs_only_in_case_is_left_out_with_the_other_one(self, study, line):
        with_row(line)(study.folder)
        for name in ("l0_0", "new"):
            also(f"{name}.jpg")(study.folder)
        assert "ids that differ only in case or accents from another:\n  - row 2: " in study.refusal()
        left = study.run(SKIP)
        assert set(left["rejected"]["lesion_id"]) == {line.split(",")[0], "L0"}
        assert "L0" not in set(left["split"]["lesion_id"])

    def test_whose_number_is_written_in_two_ways_is_left_out_with_the_other_one_or_kept(self, study):
        edited(lambda lines: [lines[0], *(line.replace("L", "", 1) for line in lines[1:]), "1.0,new,nv"])(study.folder)
        also("new.jpg")(study.folder)
        assert "row 14: lesion_id '1.0': elsewhere '1'" in study.refusal()
        assert set(study.run(SKIP)["rejected"]["lesion_id"]) == {"1", "1.0"}
        kept = study.run(PolicyParams(number_clash="keep"))
        assert set(kept["rejected"]["lesion_id"]) == {"1.0"}

    def test_without_a_lesion_is_left_out(self, study):
        with_row(",new,nv")(study.folder)
        assert study.run()["rejected"].to_numpy().tolist() == [["new", "", "no lesion_id"]]


class TestMetadata:
    @pytest.mark.parametrize(("spoil", "said"), NO_METADATA.values(), ids=NO_METADATA)
    def test_that_are_no_table_end_the_run_at_once(self, study, spoil, said):
        spoil(study.folder)
        assert said in study.refusal()

    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about EXIF blocks
    @pytest.mark.parametrize("spoil", SOUND.values(), ids=SOUND)
    def test_and_photographs_may_be_unusual(self, study, expected, spoil):
        spoil(study.folder)
        tables = study.run()
        pd.testing.assert_frame_equal(tables["split"], expected)
        assert len(tables["problems"]) == len(tables["rejected"]) == 0
        assert tables["metadata"]["image_id"].tolist() == expected["image_id"].tolist()

    @pytest.mark.parametrize("cell", ["007", "1e5", "0x1F", "NA", "nan", "True", "-1", "2020-01-02", "1_000"])
    def test_keep_ids_that_look_like_something_else(self, study, cell):
        edited(lambda lines: [line.replace("L0,L0_0", f"{cell},{cell}").replace("L0,", f"{cell},") for line in lines])(
            study.folder
        )
        victim(study.folder).rename(study.folder / "images" / f"{cell}.jpg")
        tables = study.run(PolicyParams(placeholder="keep"))
        for name in ("metadata", "split"):
            assert tables[name].loc[0, ["lesion_id", "image_id"]].tolist() == [cell, cell]
        assert tables["image_index"].loc[0, "image_id"] == cell

    def test_that_are_read_with_a_warning_say_so_once(self, study, caplog):
        edited(lambda lines: [f"{lines[0]},", *(line.replace("nv", "nävus,") for line in lines[1:])], "cp1252")(
            study.folder
        )
        study.run()
        said = [record.getMessage() for record in caplog.records if record.name.endswith("metadata_table")]
        assert said == [
            "reading data.csv: not valid Unicode; read as Windows-1252",
            "reading data.csv: columns without a name are left out, number 4",
        ]

    @pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "a\0b", "a\rb\r\nc", "NA", "<b>", "\u200b"])
    def test_keep_other_cells_as_they_are(self, study, cell):
        edited(lambda lines: [lines[0], f'L0,L0_0,"{cell}"', *lines[2:]])(study.folder)
        assert study.run()["metadata"].loc[0, "dx"] == cell.replace("\r\n", "\n").replace("\r", "\n")

    def test_without_a_pair_have_nothing_to_find(self, study):
        edited(lambda lines: [HEADER, *(f"{line.split(',')[1]},{line.split(',')[1]},nv" for line in lines[1:])])(
            study.folder
        )
        assert "no pair to find" in study.refusal(min_images_per_lesion=1)

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [
            (errno.EACCES, "give this user permission to read it"),
            (errno.EIO, "check that it is connected and healthy"),
            (errno.ENAMETOOLONG, "shorten its name or path"),
            (errno.ETIMEDOUT, "check that its disk or network drive is connected"),
        ],
    )
    def test_that_the_system_refuses_are_told_by_its_number(self, study, monkeypatch, number, remedy):
        def refuse(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
        message = refusal_to_load(MetadataDataset(filepath=str(study.folder / "data.csv")))
        assert re.search(rf"data\.csv cannot be read: .*\n  Remedy: {remedy}", message)
        monkeypatch.undo()
        refuse_listing(monkeypatch, "images", number)
        message = refusal_to_load(ImageFolderDataset(path=str(study.folder / "images")))
        assert re.search(rf"images cannot be listed: .*\n  Remedy: {remedy}", message)

    def test_that_change_while_a_run_reads_them_are_refused(self, study):
        table = MetadataDataset(filepath=str(study.folder / "data.csv"))
        assert len(table.load()) == len(table.load()) == 12
        edited(lambda lines: [lines[0], *lines[2:]])(study.folder)
        assert "data.csv changed while this run was reading it.\n  Remedy: run again." in refusal_to_load(table)
        table.release()
        assert len(table.load()) == 11

    def test_with_a_row_that_python_cannot_read_are_told_its_words(self):
        before = csv.field_size_limit(10)
        try:
            with pytest.raises(
                InputError, match=r"row 2: field larger than field limit \(10\)\.\n  Remedy: correct the row"
            ):
                read_metadata(b"lesion_id,image_id\nL,aaaaaaaaaaaa\n", "data.csv")
        finally:
            csv.field_size_limit(before)

    def test_with_a_fold_without_a_pair_are_used_with_a_warning(self, study, caplog):
        edited(lambda lines: [*lines[:3], lines[3], lines[5], lines[7]])(study.folder)
        assert len(study.run(min_images_per_lesion=1)["split"]) == 5
        assert "no two images of the same lesion, so no F1, in fold" in caplog.text


class TestProblems:
    def test_of_all_kinds_are_in_one_message_and_one_table(self, study):
        edited(lambda lines: [*lines, "L0,,nv", "L0,../x,nv", "L0,L1_0", "L1,L0_1,nv", "L2,L2_0,nv"])(study.folder)
        for name, content in {"L2_0": b"", "L3_0": photograph(size=(4, 4)), "L4_0": png_of_size(40_000, 9)}.items():
            (study.folder / "images" / f"{name}.jpg").write_bytes(content)
        also("L5_0.png", "PNG")(study.folder)
        (study.folder / "images" / "L5_1.jpg").unlink()
        message = study.refusal(max_pixels=300_000)
        kinds = ["two_lesions", "no_image_id", "bad_id", "cells", "duplicate"]
        kinds += ["unreadable", "too_small", "too_large", "ambiguous", "missing"]
        assert [kind for kind in kinds if KINDS[kind].heading not in message] == []
        assert set(study.listed()["kind"]) == set(kinds)
        assert "The whole list, 11 in all: 02_intermediate/problems.csv" in message

    def test_are_shown_up_to_20_and_listed_wholly(self, study):
        edited(lambda lines: [*lines, *(f"L0,m{n},nv" for n in range(2)), *(f"L{n},.m{n},nv" for n in range(30))])(
            study.folder
        )
        message = study.refusal()
        assert "30 ids that cannot be used" in message
        assert message.count("\n  - ") == 20 + 2
        assert "… and 10 more" in message
        assert len(study.listed()) == 32

    def test_of_a_kind_that_is_skipped_do_not_hide_others(self, study):
        victim(study.folder).unlink()
        with_row("L0,../x,nv")(study.folder)
        message = study.refusal(policy=PolicyParams(missing="skip"))
        assert "images that are missing" not in message
        assert "ids that cannot be used" in message
        assert set(study.listed()["kind"]) == {"missing", "bad_id"}

    def test_have_a_policy_each(self):
        assert set(PolicyParams.model_fields) == set(KINDS)
        assert set(PolicyParams().model_dump().values()) == {"error"}

    def test_of_skipped_lesions_are_made_up_for_where_the_data_are_cut(self, study):
        uncut = study.run(max_lesions=2)["split"]
        spoilt, _ = uncut["lesion_id"].unique().tolist()
        (study.folder / "images" / f"{spoilt}_0.jpg").write_bytes(b"")
        tables = study.run(SKIP, max_lesions=2)
        assert tables["split"]["lesion_id"].nunique() == tables["split"]["fold"].nunique() == 2
        assert spoilt not in set(tables["split"]["lesion_id"])
        reasons = tables["rejected"].set_index("image_id")["reason"]
        assert reasons[f"{spoilt}_0"] == "image cannot be read"
        assert reasons[f"{spoilt}_1"] == "lesion has fewer than 2 images without problems"
        assert (reasons.drop([f"{spoilt}_0", f"{spoilt}_1"]) == "outside the subset of 2 lesions").all()

    def test_are_looked_for_in_the_photographs_that_may_take_part_only(self, study):
        edited(lambda lines: [*lines, "alone,single,nv", ",nobodys,nv"])(study.folder)
        for name in ("single", "nobodys"):
            (study.folder / "images" / f"{name}.jpg").write_bytes(b"")
        assert study.run()["problems"].empty


NOTHING_TO_GROUP: dict[str, Callable[[Path], str]] = {
    "empty": lambda folder: rename_all(folder, ".gone", remove=True) or "put photographs",
    "folders": lambda folder: into_folders(folder) or "read subfolders: --params data.subfolders=true",
    "gif": lambda folder: rename_all(folder, ".gif") or "convert the files to JPEG or PNG",
    "camera_raw": lambda folder: rename_all(folder, ".CR2") or "convert the files to JPEG or PNG",
    "archives": lambda folder: rename_all(folder, ".zip") or "unpack the archives",
    "tables": lambda folder: rename_all(folder, ".csv") or "put photographs",
    "names_that_sound_like_a_remedy": lambda folder: rename_all(folder, ".unpack it; convert it") or "put photographs",
    "damaged": lambda folder: [path.write_bytes(b"") for path in (folder / "images").iterdir()] and "replace the files",
}
"""Folders of which nothing can be grouped, and what mends them."""


def opened(path: str) -> Any:
    return ImageFolderDataset(path=path).load()


def known_of(folder: Path, data: DataParams) -> pd.DataFrame:
    """Return what grouping reads of the study's photographs as those of known lesions."""
    cluster = ClusterParams(images="unused", known=str(folder / "data.csv"))
    return read_known(opened, lambda path: MetadataDataset(filepath=path).load(), {}, cluster, data, 224)[0]


def refusal_to_load(dataset: AbstractDataset[Any, Any]) -> str:
    """Return the message with which a run ends where a dataset cannot be loaded."""
    with pytest.raises(DatasetError) as raised:
        dataset.load()
    return _mendable(raised.value).message


def refuse_listing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let the system refuse to list folders of a name; root may list every one."""
    listing = LocalFileSystem.ls

    def ls(self: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> Any:
        if path.rstrip("/").endswith(f"/{name}"):
            raise OSError(number, os.strerror(number), path)
        return listing(self, path, *arguments, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", ls)


class TestClustering:
    def read(self, folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
        images = str(folder / "images")
        listed, unreadable, _ = read_photographs(opened, {}, images, DataParams(max_megabytes=2), 224)
        return listed, dict(unreadable.to_numpy().tolist())

    @pytest.mark.parametrize(("spoil", "kind", "said"), BAD_FILES.values(), ids=BAD_FILES)
    def test_lists_a_file_that_cannot_be_used_and_reads_the_others(self, study, spoil, kind, said):
        spoil(study.folder)
        listed, unreadable = self.read(study.folder)
        assert len(listed) == 11
        assert list(unreadable) == [f"{VICTIM}.jpg"]
        assert said in unreadable[f"{VICTIM}.jpg"]
        assert str(study.folder) not in unreadable[f"{VICTIM}.jpg"]

    @pytest.mark.parametrize("name", ["=cmd|' .jpg", "a\nb.jpg", "a\x1b[2J.jpg", "\u202egpj.jpg", "b\udcff.jpg"])
    def test_lists_a_file_whose_name_no_table_should_hold(self, study, name):
        (study.folder / "images" / name).write_bytes(photograph())
        listed, unreadable = self.read(study.folder)
        assert len(listed) == 12
        ((file, reason),) = unreadable.items()
        assert file.isprintable()
        assert not file.startswith("=")
        assert reason.endswith("rename the file")

    def test_lists_what_it_passes_over(self, study):
        for name in ("scan.avif", "._a.jpg", "notes.txt", "more.zip", "IM0001", "clip.mp4", "data.csv"):
            (study.folder / "images" / name).write_bytes(b"x")
        for name in ("visit1", "empty"):
            (study.folder / "images" / name).mkdir()
        (study.folder / "images/visit1/<b>.jpg").write_bytes(photograph())
        listed, unreadable = self.read(study.folder)
        assert len(listed) == 12
        only = (
            "only .jpg, .jpeg, .jpe, .jfif, .png, .tif, .tiff, .bmp, .dib, .webp, .heic, .heif, .dcm or .dicom are read"
        )
        assert unreadable == {
            "visit1/": "a folder with 1 photographs, not searched; data.subfolders=true reads it",
            "IM0001": f"a file without a suffix; {only}",
            "clip.mp4": f"a file with the suffix .mp4; {only}",
            "more.zip": "an archive; unpack it",
            "scan.avif": "AVIF is unsupported; convert it to JPEG or PNG",
            "1 folders": "without photographs",
            "1 hidden files or folders": "their names begin with a dot",
            "2 tables, texts and the like": "not photographs, by their suffixes",
        }

    def test_reads_folders_below_by_their_paths_on_request(self, study, caplog):
        into_folders(study.folder)
        (study.folder / "images/L0/notes.txt").write_text("x")
        (study.folder / "images/link").symlink_to(study.folder / "images/L0")
        data = DataParams(subfolders=True)
        with caplog.at_level("INFO"):
            listed, unreadable, _ = read_photographs(opened, {}, str(study.folder / "images"), data, 224)
        assert listed["image_id"].tolist()[:2] == ["L0/L0_0", "L0/L0_1"]
        assert listed["file"].tolist()[:2] == ["L0/L0_0.jpg", "L0/L0_1.jpg"]
        assert "12 photographs to group, 0 cannot be read, 2 other files and folders are ignored" in caplog.text
        assert unreadable["file"].tolist() == ["link/", "1 tables, texts and the like"]

    @pytest.mark.parametrize("spoil", NOTHING_TO_GROUP.values(), ids=NOTHING_TO_GROUP)
    def test_of_nothing_is_refused_with_a_remedy(self, study, spoil):
        remedy = spoil(study.folder)
        with pytest.raises(InputError, match=rf"(?s)Remedy: {remedy}"):
            self.read(study.folder)

    def known(self, folder: Path, policy: PolicyParams | None = None) -> pd.DataFrame:
        return known_of(folder, DataParams(max_megabytes=2, policy=policy or PolicyParams()))

    def test_names_all_that_is_wrong_with_known_photographs(self, study):
        with_row("L0,../x,nv")(study.folder)
        victim(study.folder).write_bytes(b"")
        (study.folder / "images" / "L0_1.jpg").unlink()
        with pytest.raises(InputError) as raised:
            self.known(study.folder)
        for kind in ("bad_id", "unreadable", "missing"):
            assert f"1 {KINDS[kind].heading}:" in raised.value.message

    def test_takes_known_photographs_in_folders_below_once_each(self, study):
        into_folders(study.folder)
        with_row("L1,L0_0.jpg,nv")(study.folder)
        with pytest.raises(InputError, match=r"row 14: L0/L0_0\.jpg is also the file of row 2"):
            known_of(study.folder, DataParams(subfolders=True))

    def test_lists_a_folder_that_cannot_be_listed(self, study, monkeypatch):
        (study.folder / "images/visit1").mkdir()
        refuse_listing(monkeypatch, "visit1", errno.EACCES)
        assert self.read(study.folder)[1] == {"visit1/": "a folder that cannot be listed: permission denied"}

    def test_of_photographs_that_nobody_may_read_is_refused_with_the_remedy_for_that(self, study, monkeypatch):
        def refuse(*_, **__):
            raise OSError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
        with pytest.raises(
            InputError, match=r"None of the 12 photographs(.|\n)*\n  Remedy: give this user permission to read it\.$"
        ):
            self.read(study.folder)

    @pytest.mark.parametrize("lesion", ["", "nan"])
    def test_refuses_known_photographs_of_no_lesion(self, study, lesion):
        edited(lambda lines: [HEADER, *(f"{lesion},{line.split(',')[1]},nv" for line in lines[1:])])(study.folder)
        with pytest.raises(InputError, match=r"data\.csv has no usable photograph with a known lesion"):
            self.known(study.folder, SKIP)

    def test_leaves_known_photographs_out_where_the_policy_says_so(self, study, caplog):
        with_row("L0,../x,nv")(study.folder)
        victim(study.folder).write_bytes(b"")
        assert len(self.known(study.folder, SKIP)) == 11
        assert "2 rows of known photographs are left out" in caplog.text


@pytest.mark.long
class TestTheCommand:
    @pytest.fixture
    def project(self, study, tmp_path):
        """The project in a folder of its own, on the study's data."""
        from shutil import copy, copytree

        copytree(REPOSITORY / "conf", tmp_path / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            copy(REPOSITORY / name, tmp_path)
        (tmp_path / "src").mkdir()
        return tmp_path

    def run(self, project: Path, params: str = "") -> tuple[int, str]:
        options = ",".join(
            ["tracking.enabled=false,split.n_folds=2,study.folds=0,split.use_train_test_split=false", *params.split()]
        )
        command = [sys.executable, "-m", "kedro", "run", "--pipelines", "data_split", "--params", options]
        environment = {**os.environ, "SKINBIT_RAW_DIR": str(project / "study"), "COLUMNS": "200"}
        ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    def outputs(self, project: Path) -> dict[str, bytes]:
        files = [path for path in (project / "data").rglob("*.csv") if "draft" not in path.parts]
        return {path.name: path.read_bytes() for path in files}

    def test_ends_with_one_message_lists_all_and_damages_nothing(self, project):
        assert self.run(project)[0] == 0
        before = self.outputs(project)
        pipe(project / "study")
        code, said = self.run(project)
        assert code == 1
        assert "Error: data.csv and its images cannot be used." in said
        assert "Traceback" not in said
        after = self.outputs(project)
        assert b"unreadable" in after.pop("problems.csv")
        assert after == {name: content for name, content in before.items() if name != "problems.csv"}

    def test_leaves_out_what_it_may(self, project):
        victim(project / "study").write_bytes(b"")
        code, said = self.run(project, "data.policy.unreadable=skip")
        assert code == 0
        assert "left out 1 images: image cannot be read (1 lesions)" in said
        assert len(self.outputs(project)["split.csv"].splitlines()) == 11

    def test_makes_no_lesion_of_rows_without_one(self, project):
        edited(lambda lines: [lines[0], *(line.replace("L0,", "nan,").replace("L1,", "nan,") for line in lines[1:])])(
            project / "study"
        )
        code, said = self.run(project)
        assert code == 1
        assert f"4 {KINDS['placeholder'].heading}:" in said
        assert self.run(project, "data.policy.placeholder=skip")[0] == 0
        assert b"nan" not in self.outputs(project)["split.csv"]

    def test_ends_with_one_message_where_there_is_no_metadata(self, project):
        spoil, message = NO_METADATA["pipe"]
        spoil(project / "study")
        code, said = self.run(project)
        assert code == 1
        assert message in said
        assert "Traceback" not in said
