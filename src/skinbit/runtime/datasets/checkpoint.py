"""A model checkpoint, as safetensors: no pickle on any load path."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from kedro_datasets._typing import JSONPreview

from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.headers import read_header
from skinbit.errors import InputError
from skinbit.runtime.datasets.files import FileDataset, pack, unpack, unpack_header

FORMAT = 1
"""Version of the files that :class:`CheckpointDataset` writes."""

_FORMAT_KEY = "format"
"""Keys of the header that describe the file, not the model."""


class CheckpointDataset(FileDataset[Checkpoint, Checkpoint]):
    """Weights by name; the header has everything needed to rebuild and use the model."""

    def load(self) -> Checkpoint:
        """Load weights and header, all checked before use.

        Raises:
            InputError: If there is no such file, or it is not a checkpoint, or was changed after Skinbit wrote it.
        """
        try:
            tensors, header = unpack_tensors(self._read())
            if header.get(_FORMAT_KEY) != FORMAT:
                found = header.get(_FORMAT_KEY)
                raise ValueError(f"its format is {found!r}, but this version of Skinbit reads {FORMAT}")
            return Checkpoint(tensors, read_header(_without_format(header)))
        except FileNotFoundError as error:
            raise InputError(
                f"There is no model {self._path}.\n  Remedy: `kedro run --pipelines EXPERIMENT` (with the same --env) "
                "trains one; if cluster.checkpoint names this file, correct it."
            ) from error
        except ValueError as error:
            raise InputError(
                f"{self._path} is not a checkpoint of Skinbit ({error}).\n"
                "  Remedy: use a file best.safetensors below 06_models, or a copy of one."
            ) from error

    def save(self, data: Checkpoint) -> None:
        """Save weights and header in one sealed file."""
        self._write(pack_tensors(data.tensors, {**data.header.model_dump(), _FORMAT_KEY: FORMAT}))

    def preview(self) -> JSONPreview:
        """Show the header in Kedro-Viz."""
        return JSONPreview(json.dumps(_without_format(unpack_header(self._read()))))


def _without_format(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name != _FORMAT_KEY}


def pack_tensors(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> bytes:
    """Return the bytes of a safetensors file.

    Args:
        tensors: Tensors by name, on any device.
        header: Plain values.
    """
    return pack({name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}, header)


def unpack_tensors(content: bytes) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """Return the tensors of a safetensors file, on the CPU, and its header.

    Raises:
        ValueError: If Skinbit did not write this file, or a byte of it has changed since.
    """
    stored = unpack(content)
    return {name: torch.from_numpy(array) for name, array in stored.tensors.items()}, stored.header
