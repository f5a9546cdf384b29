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
"""Of what :class:`CheckpointDataset` writes."""

_FORMAT_KEY = "format"
"""Of the header; about the file, not about the model."""


class CheckpointDataset(FileDataset[Checkpoint, Checkpoint]):
    """Weights by name; the header holds everything needed to rebuild and use the model."""

    def load(self) -> Checkpoint:
        """Load weights and header; nothing is made of them before all has been checked.

        Raises:
            InputError: If there is no such file, or it is no checkpoint, or not as Skinbit wrote it.
        """
        try:
            tensors, header = unpack_tensors(self._read())
            if header.get(_FORMAT_KEY) != FORMAT:
                found = header.get(_FORMAT_KEY)
                raise ValueError(f"its format is {found!r}, this version of Skinbit reads {FORMAT}")
            return Checkpoint(tensors, read_header(_without_format(header)))
        except FileNotFoundError as error:
            raise InputError(
                f"There is no model {self._path}.\n  Remedy: `kedro run --pipelines EXPERIMENT` (with the same --env) "
                "trains an experiment's; correct cluster.checkpoint where that names it."
            ) from error
        except ValueError as error:
            raise InputError(
                f"{self._path} is no checkpoint of Skinbit's ({error}).\n"
                "  Remedy: name a file best.safetensors below 06_models, or a copy of one."
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
        tensors: On any device.
        header: Plain values.
    """
    return pack({name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}, header)


def unpack_tensors(content: bytes) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """Return the tensors, on the CPU, and the header of a safetensors file.

    Raises:
        ValueError: If this is no safetensors file of Skinbit's, or a byte of it has changed since it was written.
    """
    stored = unpack(content)
    return {name: torch.from_numpy(array) for name, array in stored.tensors.items()}, stored.header
