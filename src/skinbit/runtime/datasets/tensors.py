"""Sealed safetensors files that may be larger than the memory: written in blocks, checked in chunks, and mapped."""

import hashlib
import json
import math
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Self

import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt, ValidationError, model_validator

from skinbit.data.mapped import MappedArray
from skinbit.runtime.datasets.files import (
    HEADER_KEY,
    PREFIX,
    Contents,
    atomic_target,
    hash_unsealed,
    is_finite,
    pack_header,
    seal_span,
    unpack_header,
)
from skinbit.runtime.datasets.scratch import local_copy

_TYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "I8": "|i1", "U8": "|u1"}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_CHUNK = 2**20

_intact: dict[str, Hashable] = {}
"""Files that this process has written or checked, by path: size, time and inode."""


@dataclass(frozen=True)
class Blocks:
    """An array that is written in blocks of rows.

    Attributes:
        dtype: Type of the numbers.
        shape: Shape of the whole array.
        blocks: All of its numbers, in order.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[Any]]


def write_tensors(fs: Any, path: str, tensors: Mapping[str, Blocks], header: Mapping[str, Any]) -> None:
    """Write a file completely or not at all, with the bytes that :func:`skinbit.runtime.datasets.files.pack` returns.

    Args:
        fs: An fsspec file system.
        path: The file to write.
        tensors: Arrays by name; each is read once.
        header: Plain values.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    head = _pack_head(dict(ordered), header)
    digest, finite = hashlib.sha256(head), True
    with atomic_target(fs, path) as temporary, open(temporary, "wb") as file:
        file.write(head)
        for block in chain.from_iterable(tensor.blocks for _, tensor in ordered):
            finite = finite and is_finite(block)
            content = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
            digest.update(content)
            file.write(content)
        file.seek(seal_span(head)[0])
        file.write(digest.hexdigest().encode())
    if finite and isinstance(fs, LocalFileSystem):
        _intact[path] = _state(path)


def _pack_head(tensors: Mapping[str, Blocks], header: Mapping[str, Any]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {HEADER_KEY: pack_header(header)}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # the format requires aligned data
    return len(head).to_bytes(PREFIX, "little") + head


def map_tensors(fs: Any, path: str) -> Contents:
    """Return header and tensors of a sealed file, which may be untrusted; the tensors are maps of the file.

    A file that is not on this machine is fetched first. An unchanged file is checked once per process.

    Args:
        fs: An fsspec file system.
        path: Path of the file.

    Raises:
        ValueError: If Skinbit did not write this file, a byte of it has changed since, or a number is not finite.
    """
    local = local_copy(fs, path)
    with open(local, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = file.read(PREFIX)
        head = length + file.read(min(int.from_bytes(length, "little"), size))
        header, layout = unpack_header(head), _layout(head, size)
        state = _state(file.fileno())
        if _intact.get(local) != state:
            _check(file, head, layout)
            _intact[local] = state
    return Contents(header, {name: _map(local, tensor, len(head)) for name, tensor in layout.items()}, is_checked=True)


class _Tensor(BaseModel):
    """The description of a tensor in a safetensors file."""

    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]

    @model_validator(mode="after")
    def _is_as_long_as_it_says(self) -> Self:
        if self.dtype not in _TYPES:
            raise ValueError(f"tables have no numbers of type {self.dtype}")
        if self.data_offsets[1] - self.data_offsets[0] != math.prod(self.shape) * self.numbers.itemsize:
            raise ValueError("shape and data_offsets disagree")
        return self

    @property
    def numbers(self) -> np.dtype[Any]:
        return np.dtype(_TYPES[self.dtype])


def _layout(head: bytes, size: int) -> dict[str, _Tensor]:
    """Return the tensors of a file by name; they fill all of it."""
    entries = json.loads(head[PREFIX:])
    try:
        layout = {name: _Tensor.model_validate(entries[name]) for name in entries if name != "__metadata__"}
    except ValidationError as error:
        raise ValueError(f"the description of its tensors is damaged ({error.errors()[0]['msg']})") from error
    end = 0
    for begin, stop in sorted(tensor.data_offsets for tensor in layout.values()):
        if begin != end:
            raise ValueError("its tensors overlap, or leave gaps")
        end = stop
    if len(head) + end != size:
        raise ValueError("it is damaged or cut short")
    return layout


def _check(file: BinaryIO, head: bytes, layout: Mapping[str, _Tensor]) -> None:
    """Check the seal and all numbers of a file, of which only chunks are in memory."""
    start, end = seal_span(head)
    file.seek(len(head))
    if hash_unsealed(chain([head], iter(lambda: file.read(_CHUNK), b"")), (start, end)).encode() != head[start:end]:
        raise ValueError("it is damaged: its bytes are not those that were written")
    for name, tensor in layout.items():
        if tensor.numbers.kind != "f":
            continue
        file.seek(len(head) + tensor.data_offsets[0])
        n_numbers = math.prod(tensor.shape)
        for done in range(0, n_numbers, _CHUNK):
            content = file.read(min(_CHUNK, n_numbers - done) * tensor.numbers.itemsize)
            if not is_finite(np.frombuffer(content, tensor.numbers)):
                raise ValueError(f"its tensor {name!r} contains NaN or infinity")


def _map(path: str, tensor: _Tensor, begin: int) -> NDArray[Any]:
    if not math.prod(tensor.shape):  # nothing can be mapped
        return np.empty(tensor.shape, tensor.numbers)
    return MappedArray(path, tensor.numbers, "r", begin + tensor.data_offsets[0], tensor.shape)


def _state(path: str | int) -> Hashable:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino
