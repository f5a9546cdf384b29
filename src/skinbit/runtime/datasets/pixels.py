"""Decoded photographs in one memory-mapped file."""

import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from kedro_datasets._typing import JSONPreview
from pydantic import BaseModel, NonNegativeInt, ValidationError, model_validator

from skinbit.embedding.pixels import Decoding
from skinbit.embedding.tables import Bytes, Pixels
from skinbit.runtime.datasets.files import (
    HEADER_KEY,
    PREFIX,
    Contents,
    FileDataset,
    atomic_target,
    hash_unsealed,
    pack_header,
    seal_span,
    unpack_header,
)
from skinbit.runtime.datasets.scratch import local_copy, prepare_copies

logger = logging.getLogger(__name__)

_ARRAYS = ("canvases", "crops")
_CHUNK = 2**20


class PixelsDataset(FileDataset[Decoding, Pixels]):
    """The uint8 tensors ``canvases`` and ``crops`` as safetensors; loading maps the file, which processes share.

    Saving decodes batch by batch into the file, or nothing if the file already has these photographs. A file that is
    not on this machine is fetched first.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        prepare_copies(self._fs)

    def load(self) -> Pixels:
        """Map the file.

        Raises:
            InputError: If it has no decoded photographs, or is truncated.
        """
        with self._reading():
            stored, arrays = self._layout()
            image_ids = stored.texts("image_ids", arrays["canvases"][1][0])
            keys, description = stored.texts("keys", len(image_ids)), stored.mapping("description")
        path = local_copy(self._fs, self._path)
        maps = {
            name: np.memmap(path, np.uint8, "r", offset, shape) if math.prod(shape) else np.empty(shape, np.uint8)
            for name, (offset, shape) in arrays.items()
        }
        return Pixels(image_ids, maps["canvases"], maps["crops"], keys, description)

    def save(self, data: Decoding) -> None:
        """Decode into the file."""
        header = {"image_ids": list(data.image_ids), "keys": list(data.keys), "description": data.description}
        if self._exists() and self._holds(header):
            logger.info("%d photographs were already decoded at %d pixels", len(data.keys), data.canvas_size)
            return
        with atomic_target(self._fs, self._path) as temporary, _sized_file(temporary, header, data.shapes) as arrays:
            start = 0
            for canvases, crops in data.batches():
                rows = slice(start, start := start + len(canvases))
                arrays["canvases"][rows], arrays["crops"][rows] = canvases, crops

    def _holds(self, header: dict[str, Any]) -> bool:
        try:
            return self._layout()[0].header == header and _is_intact(local_copy(self._fs, self._path))
        except ValueError:  # an older format, truncated, or not ours: made again
            return False

    def _layout(self) -> tuple[Contents, dict[str, tuple[int, tuple[int, ...]]]]:
        """Return the header, and where each array begins in the file, all checked."""
        size = self._fs.size(self._path)
        begin = PREFIX + int.from_bytes(self._fs.cat_file(self._path, start=0, end=PREFIX), "little")
        content = self._fs.cat_file(self._path, start=0, end=min(begin, size))
        header = unpack_header(content)
        try:
            tensors = {name: _Tensor.model_validate(json.loads(content[PREFIX:])[name]) for name in _ARRAYS}
        except (KeyError, ValidationError) as error:
            raise ValueError("it has no decoded photographs") from error
        if begin + max(tensor.data_offsets[1] for tensor in tensors.values()) != size:
            raise ValueError("it is cut short")
        canvases, crops = tensors["canvases"].shape, tensors["crops"].shape
        if len(canvases) != 4 or len(crops) != 5 or canvases[0] != crops[0] or not canvases[-1] == crops[-1] == 3:
            raise ValueError("its tensors do not have the shapes of photographs")
        arrays = {name: (begin + tensor.data_offsets[0], tensor.shape) for name, tensor in tensors.items()}
        return Contents(header, {}), arrays

    def preview(self) -> JSONPreview:
        """Show sizes in Kedro-Viz."""
        stored, arrays = self._layout()
        shapes = {name: list(shape) for name, (_, shape) in arrays.items()}
        return JSONPreview(json.dumps({**shapes, **stored.mapping("description")}))


class _Tensor(BaseModel):
    """The description of one uint8 tensor in a safetensors file."""

    dtype: Literal["U8"]
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]

    @model_validator(mode="after")
    def _is_as_long_as_it_says(self) -> Self:
        if self.data_offsets[1] - self.data_offsets[0] != math.prod(self.shape):
            raise ValueError("shape and data_offsets disagree")
        return self


@contextmanager
def _sized_file(path: str, header: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Iterator[dict[str, Bytes]]:
    """Create a safetensors file and yield its arrays, which are then filled in place."""
    entries: dict[str, Any] = {"__metadata__": {HEADER_KEY: pack_header(header)}}
    end = 0
    for name in _ARRAYS:
        begin, end = end, end + math.prod(shapes[name])
        entries[name] = {"dtype": "U8", "shape": list(shapes[name]), "data_offsets": [begin, end]}
    head = json.dumps(entries).encode()
    head += b" " * (-len(head) % 8)  # the format requires aligned data
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(PREFIX, "little") + head)
        _claim(file, PREFIX + len(head) + end)
    start = PREFIX + len(head)
    arrays = {
        name: np.memmap(path, np.uint8, "r+", start + entries[name]["data_offsets"][0], shapes[name])
        for name in _ARRAYS
    }
    yield {name: np.asarray(array) for name, array in arrays.items()}
    for array in arrays.values():
        array.flush()
    span, digest = _hash_unsealed_file(path)
    with open(path, "rb+") as file:
        file.seek(span[0])
        file.write(digest)


def _hash_unsealed_file(path: str) -> tuple[tuple[int, int], bytes]:
    """Return the position of a file's seal, and its value."""
    with open(path, "rb") as file:
        length = file.read(PREFIX)
        head = length + file.read(int.from_bytes(length, "little"))
        span = seal_span(head)
        chunks = chain([head], iter(lambda: file.read(_CHUNK), b""))
        return span, hash_unsealed(chunks, span).encode()


def _is_intact(path: str) -> bool:
    span, digest = _hash_unsealed_file(path)
    with open(path, "rb") as file:
        file.seek(span[0])
        return file.read(len(digest)) == digest


def _claim(file: BinaryIO, n_bytes: int) -> None:
    """Allocate the space at once: on a full disk, writing to a memory map of a sparse file kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    else:
        file.truncate(n_bytes)
