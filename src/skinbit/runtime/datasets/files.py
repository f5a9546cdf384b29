"""Base of all file datasets: local and remote files, atomic writes, hashes, sealed safetensors with one JSON header."""

import hashlib
import json
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractDataset
from kedro.io.core import get_protocol_and_path

from skinbit.durable import replaced, sync_folder
from skinbit.errors import InputError
from skinbit.runtime.failures import explain_store
from skinbit.runtime.provenance import StoredFile

HEADER_KEY = "skinbit"
"""The only header key: several would be written in random order, and files would differ from run to run."""

REMAKE = "it is damaged, or not written by Skinbit; remove it and run the pipeline that makes it."
"""Remedy for files that Skinbit makes."""

SEAL = "seal"
"""Header key of the seal: SHA-256 of the whole file with zeros in place of the hash."""

UNSEALED = "0" * 64
PREFIX = 8
"""Number of bytes at the start of a safetensors file that hold the length of its header."""

_SEAL = re.compile(rb'\\"seal\\": \\"([0-9a-f]{64})\\"')

# Listings are not kept: other processes write, too, and what they wrote would be missing.
fsspec.config.conf.setdefault("s3", {}).setdefault("use_listings_cache", False)

_hashes: dict[str, tuple[Hashable, StoredFile]] = {}
"""Files that this process has hashed, by path or address: size, time and inode, or the store's tag, with the result."""

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


def connect(
    path: str, credentials: dict[str, Any] | None = None, fs_args: dict[str, Any] | None = None
) -> tuple[Any, str, str]:
    """Return the file system of a local path or an fsspec URL, the path in it, and the protocol.

    Args:
        path: Path of a file or folder.
        credentials: Arguments for the file system's login.
        fs_args: Further arguments of the file system.

    Raises:
        InputError: If nothing that is installed knows such addresses.
    """
    protocol, inside = get_protocol_and_path(path)
    try:
        return fsspec.filesystem(protocol, **(credentials or {}), **(fs_args or {})), inside, protocol
    except ImportError as error:
        raise InputError(
            f"{path} cannot be opened: {error}.\n  Remedy: `uv sync --extra s3` installs what S3 needs; for other "
            "stores, install the package that is named."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} cannot be opened: {error}.\n  Remedy: correct the address.") from error


def address_of(fs: Any, path: str) -> str:
    """Return a path on this machine as it is, and any other as an fsspec URL."""
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


def check_store(fs: Any, path: str) -> None:
    """Check that the bucket of a path exists, as a missing bucket would look like a missing file.

    Raises:
        InputError: If it does not.
    """
    if isinstance(fs, LocalFileSystem):
        return
    try:
        fs.info(path)
    except FileNotFoundError as error:
        failure = explain_store(error, address_of(fs, path))
        if failure is not None:
            raise failure from error


@contextmanager
def atomic_target(fs: Any, path: str) -> Iterator[str]:
    """Yield the local path of a new file, which becomes ``path`` as a whole when the block succeeds.

    Until then ``path`` has its old content or none, as ``--only-missing-outputs`` trusts existing files. On a disk the
    new file is beside ``path`` and is renamed. Anywhere else it is in a temporary folder and is uploaded once: object
    stores have no renaming, but show an object only when it is complete.

    Args:
        fs: An fsspec file system.
        path: The file to write.

    Yields:
        The local path to write to.
    """
    if isinstance(fs, LocalFileSystem):
        with replaced(path) as temporary:
            yield temporary
    else:
        with TemporaryDirectory(prefix="skinbit-") as folder:
            temporary = str(Path(folder, PurePosixPath(path).name))  # stores tell a page from data by its suffix
            yield temporary
            fs.put_file(temporary, path)


def write_file(fs: Any, path: str, content: bytes) -> None:
    """Write a file completely or not at all; see :func:`atomic_target`."""
    with atomic_target(fs, path) as temporary:
        Path(temporary).write_bytes(content)


def remove_folder(fs: Any, path: str) -> None:
    """Remove a folder with all files in it, if it is there."""
    if fs.exists(path):
        fs.rm(path, recursive=True)
        if isinstance(fs, LocalFileSystem):
            sync_folder(Path(path).parent)


def hash_file(fs: Any, path: str) -> StoredFile:
    """Return size and hash of a file; an unchanged file is hashed once per process.

    Args:
        fs: An fsspec file system.
        path: Path of the file.

    Returns:
        Size and SHA-256.

    Raises:
        OSError: If the file cannot be read.
    """
    if not isinstance(fs, LocalFileSystem):
        place, state = address_of(fs, path), fs.ukey(path)
        if place in _hashes and _hashes[place][0] == state:  # or the whole file would be fetched
            return _hashes[place][1]
        with fs.open(path, "rb") as file:
            return _hash_once(place, state, file)
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        return _hash_once(path, (status.st_size, status.st_mtime_ns, status.st_ino), file)


def _hash_once(place: str, state: Hashable, file: Any) -> StoredFile:
    known = _hashes.get(place)
    if known is None or known[0] != state:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        known = _hashes[place] = (state, StoredFile(size=file.seek(0, os.SEEK_END), sha256=sha256))
    return known[1]


def unusable(path: str, error: Exception) -> InputError:
    """Return the error for a file with unusable content, with a remedy.

    Args:
        path: Path of a file that Skinbit makes.
        error: What is wrong with the content.

    """
    return InputError(f"{path} cannot be used: {str(error).rstrip('.')}.\n  Remedy: {REMAKE}")


class FileDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Base of datasets of one file: its path, existence, reading and atomic writing."""

    def __init__(
        self,
        *,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Set the file.

        Args:
            filepath: Local path or any fsspec URL.
            credentials: Arguments for the file system's login.
            fs_args: Further arguments of the file system.
            metadata: For Kedro-Viz; not read here.
        """
        self._fs, self._path, self._protocol = connect(filepath, credentials, fs_args)
        self.metadata = metadata

    def stored_file(self) -> tuple[Any, str]:
        """Return the file system and the path of the file."""
        return self._fs, self._path

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path, "protocol": self._protocol}

    def _exists(self) -> bool:
        return bool(self._fs.exists(self._path))

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _read(self) -> bytes:
        content: bytes = self._fs.cat_file(self._path)
        return content

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn a ValueError about the content into an error with file name and remedy."""
        try:
            yield
        except ValueError as error:
            raise unusable(self._path, error) from error

    def _write(self, content: bytes) -> None:
        write_file(self._fs, self._path, content)


def pack(tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """Return tensors and one JSON header as sealed safetensors; equal content has equal bytes.

    Args:
        tensors: Arrays by name.
        header: Plain values.

    Returns:
        The file's bytes.
    """
    from safetensors.numpy import save

    # Not ascontiguousarray: it turns a scalar, such as a batch norm's counter, into a vector.
    contiguous = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    content = save(contiguous, {HEADER_KEY: pack_header(header)})
    start, end = seal_span(content)
    return b"".join([content[:start], hash_unsealed([content], (start, end)).encode(), content[end:]])


def pack_header(header: Mapping[str, Any]) -> str:
    """Return a header as JSON with sorted keys and room for the seal.

    Args:
        header: Plain values.

    """
    return json.dumps({**header, SEAL: UNSEALED}, sort_keys=True)


def seal_span(content: bytes) -> tuple[int, int]:
    """Return the position of the seal in a safetensors file.

    Args:
        content: Bytes of the file, or of its beginning.

    Returns:
        Start and end of the hash.

    Raises:
        ValueError: If there is no seal.
    """
    found = _SEAL.search(content, PREFIX, PREFIX + int.from_bytes(content[:PREFIX], "little"))
    if found is None:
        raise ValueError("it has no seal: damaged, or not written by this version of Skinbit")
    return found.span(1)


def hash_unsealed(chunks: Iterable[bytes], span: tuple[int, int]) -> str:
    """Return the hash of a file as it was before sealing.

    Args:
        chunks: Bytes of the file; the seal is in the first chunk.
        span: Start and end of the seal.

    Returns:
        SHA-256 of the bytes with zeros in place of the seal.
    """
    digest = hashlib.sha256()
    for number, chunk in enumerate(chunks):
        rest = memoryview(chunk)
        if number == 0:
            digest.update(rest[: span[0]])
            digest.update(UNSEALED.encode())
            rest = rest[span[1] :]
        digest.update(rest)
    return digest.hexdigest()


def unpack_header(content: bytes) -> dict[str, Any]:
    """Return the JSON header of a safetensors file without reading its tensors.

    Args:
        content: Bytes of the file, or of its beginning.

    Returns:
        Values of the header, without the seal.

    Raises:
        ValueError: If Skinbit did not write this file.
    """
    try:
        length = int.from_bytes(content[:PREFIX], "little")
        header = json.loads(json.loads(content[PREFIX : PREFIX + length])["__metadata__"][HEADER_KEY])
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError("not a safetensors file written by Skinbit") from error
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file written by Skinbit")
    return {name: value for name, value in header.items() if name != SEAL}


@dataclass(frozen=True)
class Contents:
    """The content of a safetensors file, which is checked as it is read.

    Attributes:
        header: Values of the JSON header.
        tensors: Arrays by name.
        is_checked: Whether all numbers are known to be finite.
    """

    header: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    is_checked: bool = False

    def texts(self, name: str, length: int | None = None) -> tuple[str, ...]:
        """Return a list of texts from the header.

        Args:
            name: Key of the header.
            length: Required length; None: any.


        Raises:
            ValueError: If it is missing or has another type.
        """
        value = self.header.get(name)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ValueError(f"its header has no list of texts {name!r}")
        if length is not None and len(value) != length:
            raise ValueError(f"its header has {len(value)} {name}, not {length}")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a JSON object from the header.

        Args:
            name: Key of the header.


        Raises:
            ValueError: If it is missing or has another type.
        """
        value = self.header.get(name)
        if not isinstance(value, dict):
            raise ValueError(f"its header has no object {name!r}")
        return value

    def array(self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> np.ndarray:
        """Return a tensor, as a read-only array.

        Args:
            name: Name of the tensor.
            dtype: Required type.
            shape: Required shape; None: any length.


        Raises:
            ValueError: If it is missing, has another type or shape, or contains NaN or infinity.
        """
        if name not in self.tensors:
            raise ValueError(f"it has no tensor {name!r}")
        array = self.tensors[name]
        fits = len(array.shape) == len(shape) and all(
            own == asked or asked is None for own, asked in zip(array.shape, shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            asked = "x".join("n" if length is None else str(length) for length in shape)
            found = f"{array.dtype} {'x'.join(map(str, array.shape))}"
            raise ValueError(f"its tensor {name!r} is {found}, not {np.dtype(dtype)} {asked}")
        if not self.is_checked and not is_finite(array):
            raise ValueError(f"its tensor {name!r} contains NaN or infinity")
        return array


def is_finite(array: np.ndarray) -> bool:
    """Whether an array has neither NaN nor infinity; makes no copy, as arrays may fill half the memory."""
    return array.dtype.kind not in "fc" or array.size == 0 or bool(np.isfinite([array.min(), array.max()]).all())


def unpack(content: bytes) -> Contents:
    """Return header and tensors of a sealed file, which may be untrusted.

    Args:
        content: Bytes of the file.


    Raises:
        ValueError: If Skinbit did not write this file, or a byte of it has changed since.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = unpack_header(content)
    start, end = seal_span(content)
    if hash_unsealed([content], (start, end)).encode() != content[start:end]:
        raise ValueError("it is damaged: its bytes are not those that were written")
    try:
        return Contents(header, load(content))
    except (SafetensorError, KeyError, TypeError, OverflowError) as error:  # the last three: types numpy lacks
        raise ValueError(f"damaged or cut short ({error})") from error
