"""Photographs on disk: found by id, decoded once, checked before anything expensive starts."""

import hashlib
import io
import struct
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from fsspec.implementations.local import LocalFileSystem
from PIL import Image, ImageOps, UnidentifiedImageError

from skinbit.data.metadata import reads_as_formula
from skinbit.errors import InputError, ProblemList

Used = TypeVar("Used")

SUFFIXES = (".jpg", ".jpeg", ".png")
_DECODERS = ("JPEG", "PNG")
"""Pillow may open nothing else, whatever a file is called."""

# Our own limit, data.max_pixels, is below the one that Pillow warns at.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ImageFolder:
    """A folder of photographs, each found by its image id (the file name without suffix).

    Attributes:
        fs: The fsspec file system the folder is on.
        root: The folder.
        files: File names per image id; more than one where an id is ambiguous.
    """

    fs: Any
    root: str
    files: Mapping[str, tuple[str, ...]]

    def read(self, image_id: str) -> bytes:
        """Give the bytes of a photograph."""
        return read_regular(self.fs, f"{self.root}/{self.files[image_id][0]}")


def read_regular(fs: Any, path: str) -> bytes:
    """Read a file, but no pipe and no device: an archive may hold links to such, and they may never end.

    Args:
        fs: An fsspec file system.
        path: The file, or a link to one.

    Returns:
        Its bytes.

    Raises:
        OSError: If there is none, or it is no regular file.
    """
    if isinstance(fs, LocalFileSystem) and Path(path).exists() and not Path(path).is_file():
        raise OSError("it is no regular file")
    content: bytes = fs.cat_file(path)
    return content


def find_images(fs: Any, root: str) -> ImageFolder:
    """List a folder once and index its photographs by id.

    Args:
        fs: An fsspec file system.
        root: The folder; subfolders are not searched.

    Returns:
        The folder; empty where it does not exist.
    """
    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted(fs.ls(root, detail=False)) if fs.isdir(root) else []:
        name = PurePosixPath(path)
        if name.suffix.lower() in SUFFIXES:
            files[name.stem].append(name.name)
    return ImageFolder(fs, root, {image_id: tuple(names) for image_id, names in files.items()})


def with_unique_ids(folder: ImageFolder) -> ImageFolder:
    """Give every file of a folder an image id of its own: its whole name where the stem alone would be ambiguous.

    Args:
        folder: From :func:`find_images`.

    Returns:
        The same files, one per id.
    """
    names = {name for files in folder.files.values() for name in files}
    unique = {}
    for stem, files in folder.files.items():
        is_clear = len(files) == 1 and stem not in names
        unique.update({stem if is_clear else name: (name,) for name in files})
    return ImageFolder(folder.fs, folder.root, dict(sorted(unique.items())))


def decode_image(content: bytes, max_pixels: int, least_side: int | None = None) -> Image.Image:
    """Decode a photograph to 8-bit RGB, upright.

    EXIF orientation is applied. Grey, palette and CMYK become RGB; 16-bit grey is scaled, not clipped; transparent
    pixels become black, as outside the dermoscope's circle.

    Args:
        content: A JPEG or PNG file.
        max_pixels: Larger images are refused before they are decoded.
        least_side: Where a JPEG's sides are at least twice as long, it may be decoded at a half, a quarter or an
            eighth, which is much faster; none: full size.

    Returns:
        The image, mode RGB.

    Raises:
        ValueError: If the file is empty, no JPEG or PNG, damaged, cut short or too large; says which.
    """
    if not content:
        raise ValueError("the file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=_DECODERS)
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} pixels are more than data.max_pixels={max_pixels}")
        if least_side is not None:
            image.draft(None, (least_side, least_side))
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise ValueError("not a JPEG or PNG image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"more than data.max_pixels={max_pixels} pixels") from error
    except (OSError, SyntaxError, EOFError, TypeError, struct.error) as error:  # the last two: damaged EXIF
        raise ValueError(f"damaged or cut short ({str(error).rstrip('.')})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def check_images(folder: ImageFolder, images: pd.DataFrame, max_pixels: int, source: str) -> Iterator[dict[str, Any]]:
    """Read, decode and fingerprint every photograph that the study uses.

    Args:
        folder: Where the photographs are.
        images: ``image_id`` and ``row`` (line of the metadata file) of the photographs needed.
        max_pixels: See :func:`decode_image`.
        source: The metadata file's name, for messages.

    Yields:
        One record per image, in order: ``image_id, file, sha256, width, height``.

    Raises:
        InputError: After the last image, if any is missing, ambiguous or unreadable; lists them with their rows.
    """
    if not folder.files:
        raise InputError(
            f"The image folder {folder.root} does not exist, or holds no photograph.\n"
            "  Remedy: put the photographs (.jpg, .jpeg or .png) into the folder images beside the CSV."
        )
    problems = ProblemList()
    _note_missing(folder, images, problems, source)
    found = images[[len(folder.files.get(image_id, ())) == 1 for image_id in images["image_id"]]]
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        records = pool.map(lambda image_id: _fingerprint(folder, image_id, max_pixels), found["image_id"])
        for row, record in zip(found["row"], records, strict=True):
            if isinstance(record, str):
                problems.add(
                    "images that cannot be read",
                    f"{record} (row {row} of {source})",
                    "replace the files, or remove their rows",
                )
            else:
                yield record
    problems.raise_if_any(f"The image folder {folder.root}")


@dataclass(frozen=True)
class Readable(Generic[Used]):
    """A photograph that was decoded: its ``image_id, file, sha256``, and what it was used for."""

    record: dict[str, str]
    used: Used


@dataclass(frozen=True)
class Unreadable:
    """A file that is no photograph, and why."""

    file: str
    reason: str


def try_images(
    folder: ImageFolder, max_pixels: int, use: Callable[[Image.Image], Used]
) -> Iterator[Readable[Used] | Unreadable]:
    """Read and decode every photograph of a folder; one that cannot be read does not stop the others.

    Args:
        folder: With one file per image id.
        max_pixels: See :func:`decode_image`.
        use: Applied to each decoded photograph, in threads.

    Yields:
        What became of each file, in order of image ids.
    """

    def attempt(image_id: str) -> Readable[Used] | Unreadable:
        file = folder.files[image_id][0]
        printable = file.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if printable != file:
            return Unreadable(printable, "the file name is no valid Unicode; rename the file")
        if reads_as_formula(image_id):
            return Unreadable(_as_text(file), "a spreadsheet would take the file name for a formula; rename the file")
        try:
            content = folder.read(image_id)
            image = decode_image(content, max_pixels)
        except (ValueError, OSError) as error:
            return Unreadable(_as_text(file), str(error))
        record = {"image_id": image_id, "file": file, "sha256": hashlib.sha256(content).hexdigest()}
        return Readable(record, use(image))

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        yield from pool.map(attempt, folder.files)


def _as_text(file: str) -> str:
    """Give a file's name for a CSV: where a spreadsheet would take it for a formula, as the path of the same file."""
    return f"./{file}" if reads_as_formula(file) else file


def _note_missing(folder: ImageFolder, images: pd.DataFrame, problems: ProblemList, source: str) -> None:
    for image_id, row in zip(images["image_id"], images["row"], strict=True):
        names: Sequence[str] = folder.files.get(image_id, ())
        if not names:
            problems.add(
                "images that are missing",
                f"{image_id}.jpg (row {row} of {source})",
                "put the files (.jpg, .jpeg or .png) into the folder images beside the CSV, or remove their rows; "
                "image_id is the file name without its suffix",
            )
        elif len(names) > 1:
            problems.add(
                "images with more than one file",
                f"{', '.join(names)} (row {row} of {source})",
                "keep one file per image_id",
            )


def _fingerprint(folder: ImageFolder, image_id: str, max_pixels: int) -> dict[str, Any] | str:
    """Give an image's record, or what is wrong with it."""
    file = folder.files[image_id][0]
    try:
        content = folder.read(image_id)
        image = decode_image(content, max_pixels)
    except (ValueError, OSError) as error:
        return f"{file}: {error}"
    digest = hashlib.sha256(content).hexdigest()
    return {
        "image_id": image_id,
        "file": file,
        "sha256": digest,
        "width": image.width,
        "height": image.height,
    }
