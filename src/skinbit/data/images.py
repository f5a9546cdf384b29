"""Photographs on disk: found by id, read and decoded once, checked before anything expensive starts."""

import errno
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import pandas as pd
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from skinbit.config import DataParams
from skinbit.data.decoding import decode_image
from skinbit.data.depth import ASSUMED_BITS
from skinbit.data.file_names import is_hidden, is_photograph, without_suffix
from skinbit.data.ids import explain_name, printable
from skinbit.data.near_misses import NearMisses
from skinbit.data.problems import Problem
from skinbit.data.threads import map_in_order
from skinbit.data.unusable import UnusableError
from skinbit.errors import InputError
from skinbit.refusals import explain_reading

Used = TypeVar("Used")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFolder:
    """A folder of photographs; the image id of each is its path inside the folder without suffix.

    Attributes:
        fs: The fsspec file system of the folder.
        root: Path of the folder.
        files: File names, or paths inside the folder, by image id; several if an id is ambiguous.
        others: Names, or paths inside the folder, of everything that is not a photograph; folders that were not
            searched end with a slash.
        is_searched: Whether subfolders were searched.
        closed: Reason and remedy for subfolders that cannot be listed, by name or path with a slash.
    """

    fs: Any
    root: str
    files: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...] = ()
    is_searched: bool = False
    closed: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @cached_property
    def deep(self) -> "ImageFolder":
        """Return the folder with the photographs of all subfolders."""
        return self if self.is_searched else find_images(self.fs, self.root, subfolders=True)

    def choose(self, subfolders: bool) -> "ImageFolder":
        """Return the folder with or without subfolders, as ``data.subfolders`` says."""
        return self.deep if subfolders else self

    def find(self, image_id: str) -> tuple[str, ...]:
        """Return the files that match an image id of a table; several if it is ambiguous.

        This is the file with this id; otherwise the file with exactly this name, as some tables include suffixes;
        otherwise, if subfolders are searched, the files with this name in any of them.
        """
        return self.files.get(image_id) or self._other_names.get(image_id, ())

    @cached_property
    def _other_names(self) -> dict[str, tuple[str, ...]]:
        paths = [path for names in self.files.values() for path in names]
        bare: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            if "/" in path:
                name = PurePosixPath(path).name
                bare[name].append(path)
                bare[without_suffix(name)].append(path)
        return {**{name: tuple(found) for name, found in bare.items()}, **{path: (path,) for path in paths}}


def find_images(fs: Any, root: str, subfolders: bool = False) -> ImageFolder:
    """Return a folder with its photographs by id.

    Args:
        fs: An fsspec file system.
        root: Path of the folder, which need not exist. Hidden files are ignored.
        subfolders: Whether subfolders are searched, except hidden ones and links to folders.

    Raises:
        InputError: If the folder cannot be listed.
    """
    files: dict[str, list[str]] = defaultdict(list)
    others = []
    closed: dict[str, tuple[str, str]] = {}
    for path in _list(fs, root, subfolders, closed):
        if is_photograph(path):
            files[without_suffix(path)].append(path)
        else:
            others.append(path)
    by_id = {image_id: tuple(paths) for image_id, paths in files.items()}
    return ImageFolder(fs, root, by_id, tuple(others), subfolders, closed)


def _list(fs: Any, root: str, subfolders: bool, closed: dict[str, tuple[str, str]]) -> list[str]:
    try:
        return sorted(_walk(fs, root, "", closed if subfolders else None)) if fs.isdir(root) else []
    except OSError as error:
        why, remedy = explain_reading(error)
        raise InputError(f"The image folder {root} cannot be listed: {why}.\n  Remedy: {remedy}.") from error


def _walk(fs: Any, root: str, parent: str, closed: dict[str, tuple[str, str]] | None) -> Iterator[str]:
    """Yield paths inside a folder; photographs are recognised by name without file system calls, to save time.

    Args:
        fs: File system of the folder.
        root: Path of the folder.
        parent: A subfolder with a slash, or an empty text.
        closed: Filled with subfolders that cannot be listed; None: no subfolder is searched.
    """
    for full in fs.ls(f"{root}/{parent}" if parent else root, detail=False):
        path = f"{parent}{PurePosixPath(full).name}"
        if is_photograph(path) or not fs.isdir(full):
            yield path
        elif closed is not None and not is_hidden(path) and not (isinstance(fs, LocalFileSystem) and fs.islink(full)):
            yield from _walk_below(fs, root, f"{path}/", closed)
        else:
            yield f"{path}/"


def _walk_below(fs: Any, root: str, parent: str, closed: dict[str, tuple[str, str]]) -> list[str]:
    """Return the paths inside a subfolder, or the subfolder's own if it cannot be listed."""
    try:
        return [*_walk(fs, root, parent, closed)]
    except OSError as error:
        closed[parent] = explain_reading(error)
        return [parent]


def with_unique_ids(folder: ImageFolder) -> ImageFolder:
    """Return a folder with one file per image id; files with an ambiguous id have their whole name as id."""
    names = {name for files in folder.files.values() for name in files}
    unique = {}
    for stem, files in folder.files.items():
        is_clear = len(files) == 1 and stem not in names
        unique.update({stem if is_clear else name: (name,) for name in files})
    return replace(folder, files=dict(sorted(unique.items())))


def read_photograph(folder: ImageFolder, file: str, data: DataParams) -> bytes:
    """Return the bytes of a file that may be anything: a folder, a pipe, a link, or larger than memory.

    Args:
        folder: Folder of the file.
        file: Name of the file.
        data: Largest size, and whether links may lead out of the folder.

    Raises:
        UnusableError: If it is not a file of the folder, or too large.
        OSError: If it cannot be read.
    """
    path = f"{folder.root}/{file}"
    try:
        described = folder.fs.info(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnusableError(_explain_absence(folder, path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnusableError("it is a circular link") from error
        raise
    if described["type"] == "directory":
        raise UnusableError("it is a folder")
    if described["type"] == "other":
        raise UnusableError("it is a pipe or device, not a file")
    if isinstance(folder.fs, LocalFileSystem) and not data.follow_links and _leads_out(path, folder.root):
        raise UnusableError("it is a link to a file outside of the folder", "outside")
    megabytes = (described["size"] or 0) / 1e6  # some remote file systems do not report sizes
    if megabytes > data.max_megabytes:
        raise UnusableError(
            f"{megabytes:.0f} megabytes are more than data.max_megabytes={data.max_megabytes:g}", "too_large"
        )
    content: bytes = folder.fs.cat_file(path)
    return content


def hash_photographs(folder: ImageFolder, image_ids: Iterable[str], data: DataParams) -> list[str]:
    """Return the SHA-256 of the file of each image id of a table; empty where there is no such file, or several.

    Args:
        folder: Folder of the photographs.
        image_ids: As the table writes them.
        data: See :func:`read_photograph`.
    """

    def hash_one(image_id: str) -> str:
        files = folder.find(image_id)
        if len(files) != 1:
            return ""
        try:
            return hashlib.sha256(read_photograph(folder, files[0], data)).hexdigest()
        except (UnusableError, OSError):  # the check of the photographs reports it
            return ""

    return list(map_in_order(hash_one, image_ids))


def _explain_absence(folder: ImageFolder, path: str) -> str:
    if not folder.fs.isdir(folder.root):
        return "the whole folder has been removed"
    return "it is a broken link" if Path(path).is_symlink() else "it is gone"


def _leads_out(path: str, root: str) -> bool:
    return Path(path).is_symlink() and not Path(path).resolve().is_relative_to(Path(root).resolve())


@dataclass(frozen=True)
class Checked(Generic[Used]):
    """A decoded, usable photograph.

    Attributes:
        row: Row of the metadata with this photograph; 0 without metadata.
        record: ``image_id, file, sha256``, and ``named``, the image id in the metadata.
        used: The result of the function that was applied to it.
        assumed_bits: Assumed number of bits of its values, if there are more than 8 and the file declares no range.
    """

    row: int
    record: dict[str, str]
    used: Used
    assumed_bits: int | None = None


def try_images(
    folder: ImageFolder, data: DataParams, use: Callable[[Image.Image], Used]
) -> Iterator[Checked[Used] | Problem]:
    """Read and decode every photograph of a folder; unreadable ones do not stop the others.

    Args:
        folder: Folder with one file per image id.
        data: Limits; see :func:`read_photograph` and :func:`decode_image`.
        use: Applied to each decoded photograph, in threads.

    Yields:
        A checked photograph or a problem per file, in order of image ids.
    """
    return _log_depths(map_in_order(lambda image_id: _try_image(folder, data, use, (0, image_id)), folder.files))


def _try_image(
    folder: ImageFolder, data: DataParams, use: Callable[[Image.Image], Used], needed: tuple[int, str]
) -> Checked[Used] | Problem:
    row, image_id = needed
    file = folder.files[image_id][0]
    if reason := explain_name(image_id):
        why = f"its name cannot be used: {reason}; rename the file"
        return Problem("unreadable", printable(file), row, printable(image_id), why)
    try:
        content = read_photograph(folder, file, data)
        image = decode_image(content, data.max_pixels)
        if min(image.size) < data.min_side:
            size = f"{image.width}x{image.height} pixels"
            raise UnusableError(f"{size}; a side is shorter than data.min_side={data.min_side}", "too_small")
    except UnusableError as error:
        return Problem(error.kind, file, row, image_id, str(error), error.remedy)
    except OSError as error:
        return Problem("unreadable", file, row, image_id, *explain_reading(error))
    except MemoryError as error:
        raise InputError(
            f"Memory does not suffice to decode {printable(file)}.\n  Remedy: end other programs or give the machine "
            "more memory; or lower data.max_pixels, which refuses larger photographs before they are decoded."
        ) from error
    record = {"image_id": image_id, "file": file, "sha256": hashlib.sha256(content).hexdigest()}
    return Checked(row, record, use(image), image.info.get(ASSUMED_BITS))


def _log_depths(outcomes: Iterator[Checked[Used] | Problem]) -> Iterator[Checked[Used] | Problem]:
    """Yield the outcomes, then log the assumed ranges of photographs with more than 8 bits."""
    assumed: Counter[int] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Checked) and outcome.assumed_bits:
            assumed[outcome.assumed_bits] += 1
        yield outcome
    if assumed:
        counts = ", ".join(f"{bits} bits ({number})" for bits, number in sorted(assumed.items()))
        logger.info(
            "%d photographs of more than 8 bits declare no range, or too small a one; assumed from their brightest "
            "value, as %s",
            *(assumed.total(), counts),
        )


def check_images(
    folder: ImageFolder, images: pd.DataFrame, data: DataParams, use: Callable[[Image.Image], Used]
) -> Iterator[Checked[Used] | Problem]:
    """Find, read and decode photographs; a problem with one does not stop the others.

    Args:
        folder: Folder of the photographs.
        images: ``image_id`` and ``row`` of the needed photographs, with valid ids.
        data: See :func:`try_images`.
        use: See :func:`try_images`.

    Yields:
        A checked photograph or a problem per image, in order; problems have the image id of the table.
    """
    found = {named: folder.find(named) for named in images["image_id"].tolist()}
    unique = with_unique_ids(folder)
    id_of = {file: image_id for image_id, (file,) in unique.files.items()}
    near = None if all(found.values()) else _near_misses(folder)
    closed = next(iter(folder.closed), "") if folder.is_searched else ""

    def check(needed: tuple[int, str]) -> Checked[Used] | Problem:
        row, named = needed
        files = found[named]
        if not files:
            problem = _explain_missing(row, named, near)
            return _blame_closed(problem, closed, folder) if closed and not problem.remedy else problem
        if len(files) > 1:
            listed = ", ".join(printable(file) for file in files)
            return Problem("ambiguous", files[0], row, named, f"{listed} have the same image_id")
        outcome = _try_image(unique, data, use, (row, id_of[files[0]]))
        if isinstance(outcome, Problem):
            return replace(outcome, image_id=named)
        return replace(outcome, record={**outcome.record, "named": named})

    needed = zip(images["row"].tolist(), images["image_id"].tolist(), strict=True)
    return _log_depths(map_in_order(check, needed))


def _near_misses(folder: ImageFolder) -> NearMisses:
    below = folder.deep
    paths = [path for names in below.files.values() for path in names]
    return NearMisses([*paths, *below.others], folder.is_searched)


def _explain_missing(row: int, image_id: str, near: NearMisses | None) -> Problem:
    hint, remedy = near.explain(image_id) if near else ("", "")
    file = image_id if is_photograph(image_id) else f"{image_id}.jpg"
    said = f"there is no such file; {hint}" if hint else "there is no such file"
    return Problem("missing", file, row, image_id, said, remedy)


def _blame_closed(problem: Problem, closed: str, folder: ImageFolder) -> Problem:
    why, remedy = folder.closed[closed]
    said = f"{problem.problem}; it may be in {printable(closed)}, which cannot be listed: {why}"
    return replace(problem, problem=said, remedy=remedy)


def refuse_doubled(
    outcomes: Iterable[Checked[Used] | Problem], owners: dict[str, int]
) -> Iterator[Checked[Used] | Problem]:
    """Yield outcomes, with a problem for each row whose file another row has, for example with a suffix.

    Args:
        outcomes: From :func:`check_images`.
        owners: Row of each file so far; updated.
    """
    for outcome in outcomes:
        if isinstance(outcome, Checked):
            row, file = outcome.row, outcome.record["file"]
            owner = owners.setdefault(file, row)
            if owner != row:
                said = f"{printable(file)} is also the file of row {owner}"
                yield Problem("duplicate", file, row, outcome.record["named"], said)
                continue
        yield outcome


def log_found_otherwise(records: Iterable[Mapping[str, Any]]) -> None:
    """Log how many photographs have another image id in the table than in Skinbit.

    Args:
        records: Records of :class:`Checked`.
    """
    others = [f"{each['named']} is {each['image_id']}" for each in records if each["named"] != each["image_id"]]
    if others:
        logger.info(
            "%d photographs get a different image_id than in the metadata, their path without suffix, e.g. %s",
            *(len(others), others[0]),
        )
