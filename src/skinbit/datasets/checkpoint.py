"""A model checkpoint, as safetensors: no pickle on any load path."""

import json

import torch
from kedro_datasets._typing import JSONPreview
from safetensors import SafetensorError

from skinbit.datasets.files import FileDataset, pack, unpack, unpack_header
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.errors import InputError


class CheckpointDataset(FileDataset[Checkpoint, Checkpoint]):
    """Weights by name; the header holds everything needed to rebuild and use the model."""

    def load(self) -> Checkpoint:
        """Load weights and header.

        Raises:
            InputError: If there is no such file, or it is no checkpoint.
        """
        try:
            checkpoint = unpack_checkpoint(self._read())
            if "holds_backbone" not in checkpoint.header:
                raise ValueError("it holds no model")
            return checkpoint
        except FileNotFoundError as error:
            raise InputError(
                f"There is no model {self._path}.\n  Remedy: `kedro run --pipelines EXPERIMENT` (with the same --env) "
                "trains an experiment's; correct cluster.checkpoint where that names it."
            ) from error
        except (SafetensorError, ValueError) as error:
            raise InputError(
                f"{self._path} is no checkpoint of Skinbit's ({error}).\n"
                "  Remedy: name a file best.safetensors below 06_models, or a copy of one."
            ) from error

    def save(self, data: Checkpoint) -> None:
        """Save weights and header in one file."""
        self._write(pack_checkpoint(data))

    def preview(self) -> JSONPreview:
        """Show the header in Kedro-Viz."""
        return JSONPreview(json.dumps(unpack_header(self._read())))


def pack_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Write weights and header as safetensors.

    Args:
        checkpoint: Tensors on any device.

    Returns:
        The file's bytes.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in checkpoint.tensors.items()}
    return pack(arrays, checkpoint.header)


def unpack_checkpoint(content: bytes) -> Checkpoint:
    """Read weights and header.

    Args:
        content: The file's bytes.

    Returns:
        The checkpoint, its tensors on the CPU.

    Raises:
        ValueError: If this is no safetensors file of Skinbit's, or a byte of it has changed since it was written.
    """
    arrays, header = unpack(content)
    return Checkpoint({name: torch.from_numpy(array) for name, array in arrays.items()}, header)
