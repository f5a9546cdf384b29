"""A model checkpoint, as safetensors: no pickle on any load path."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import torch
from kedro_datasets._typing import JSONPreview

from skinbit.datasets.files import FileDataset, pack, unpack, unpack_header
from skinbit.embedding.checkpoints import Checkpoint, content_sha256
from skinbit.embedding.headers import read_header
from skinbit.errors import InputError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of what :class:`CheckpointDataset` writes; files of before have none."""

_OWN_KEYS = ("format", "sha256")
"""Keys of the header that are about the file, not about the model."""


class CheckpointDataset(FileDataset[Checkpoint, Checkpoint]):
    """Weights by name; the header holds everything needed to rebuild and use the model."""

    def load(self) -> Checkpoint:
        """Load weights and header; nothing is made of them before all has been checked.

        Raises:
            InputError: If there is no such file, or it is no checkpoint, or not as Skinbit wrote it.
        """
        try:
            checkpoint = unpack_checkpoint(self._read())
            read_header(_without_own_keys(checkpoint.header))
            return self._verified(checkpoint)
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
        """Save weights and header in one file, with a hash of both."""
        seal = {"format": FORMAT, "sha256": content_sha256(data)}
        self._write(pack_checkpoint(Checkpoint(data.tensors, {**data.header, **seal})))

    def _verified(self, stored: Checkpoint) -> Checkpoint:
        """Compare the content with its hash, and give it without."""
        checkpoint = Checkpoint(stored.tensors, _without_own_keys(stored.header))
        if "format" not in stored.header:
            logger.info("%s has no hash of its content: an earlier version of Skinbit wrote it", self._path)
        elif stored.header["format"] != FORMAT:
            raise ValueError(f"its format is {stored.header['format']!r}, this version of Skinbit reads {FORMAT}")
        elif stored.header.get("sha256") != content_sha256(checkpoint):
            raise ValueError("its content is not what was written: the hash in its header is another one")
        return checkpoint

    def preview(self) -> JSONPreview:
        """Show the header in Kedro-Viz."""
        return JSONPreview(json.dumps(_without_own_keys(unpack_header(self._read()))))


def _without_own_keys(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name not in _OWN_KEYS}


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
        ValueError: If this is no safetensors file of Skinbit's.
    """
    stored = unpack(content)
    return Checkpoint({name: torch.from_numpy(array) for name, array in stored.tensors.items()}, stored.header)
