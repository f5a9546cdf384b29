"""What the datasets share: local and remote files, atomic writes, safetensors with one JSON header."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar
from uuid import uuid4

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractDataset
from kedro.io.core import get_protocol_and_path

HEADER_KEY = "skinbit"
"""Several header keys would be written in random order, and files would differ from run to run."""

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


@contextmanager
def atomic_target(fs: Any, path: str) -> Iterator[str]:
    """Give a temporary name beside ``path``; it takes the place of ``path`` when the block ends well.

    ``path`` holds the old content, or nothing, until then: ``--only-missing-outputs`` trusts whatever exists.

    Args:
        fs: An fsspec file system.
        path: The file to write.

    Yields:
        The path to write to.
    """
    target = PurePosixPath(path)
    temporary = str(target.with_name(f".{target.name}.{uuid4().hex}.tmp"))
    fs.makedirs(str(target.parent), exist_ok=True)
    try:
        yield temporary
        if isinstance(fs, LocalFileSystem):
            _flush_to_disk(temporary)
            os.replace(temporary, path)
        else:
            fs.mv(temporary, path)
    finally:
        if fs.exists(temporary):
            fs.rm_file(temporary)


def _flush_to_disk(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


class FileDataset(AbstractDataset[Saved, Loaded], Generic[Saved, Loaded]):
    """Base of the datasets that are one file: where it is, whether it exists, reading and atomic writing."""

    def __init__(
        self,
        *,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file.

        Args:
            filepath: Local path or any fsspec URL.
            credentials: Passed to the file system.
            fs_args: More arguments of the file system.
            metadata: For Kedro-Viz; not read here.
        """
        protocol, self._path = get_protocol_and_path(filepath)
        self._fs = fsspec.filesystem(protocol, **(credentials or {}), **(fs_args or {}))
        self._protocol = protocol
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path, "protocol": self._protocol}

    def _exists(self) -> bool:
        return bool(self._fs.exists(self._path))

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _read(self) -> bytes:
        content: bytes = self._fs.cat_file(self._path)
        return content

    def _write(self, content: bytes) -> None:
        with atomic_target(self._fs, self._path) as temporary:
            self._fs.pipe_file(temporary, content)


def pack(tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """Write tensors and one JSON header as safetensors; equal content gives equal bytes.

    Args:
        tensors: Arrays by name.
        header: Plain values.

    Returns:
        The file's bytes.
    """
    from safetensors.numpy import save

    # Not ascontiguousarray: it turns a scalar, such as a batch norm's counter, into a vector.
    contiguous = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    return bytes(save(contiguous, {HEADER_KEY: json.dumps(header, sort_keys=True)}))


def unpack_header(content: bytes) -> dict[str, Any]:
    """Read the JSON header of a safetensors file without its tensors.

    Args:
        content: The file's bytes, or its beginning.

    Returns:
        The header's values.

    Raises:
        ValueError: If this is no safetensors file of Skinbit's.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER_KEY])
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError("not a safetensors file written by Skinbit") from error
    return header
