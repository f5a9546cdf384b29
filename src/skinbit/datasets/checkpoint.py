"""A model checkpoint, as safetensors: no pickle on any load path."""

import json

import torch
from kedro_datasets._typing import JSONPreview
from safetensors.numpy import load as load_tensors

from skinbit.datasets.files import FileDataset, pack, unpack_header
from skinbit.embedding.checkpoints import Checkpoint


class CheckpointDataset(FileDataset[Checkpoint, Checkpoint]):
    """Weights by name; the header holds everything needed to rebuild and use the model."""

    def load(self) -> Checkpoint:
        """Load weights and header."""
        content = self._read()
        tensors = {name: torch.from_numpy(array) for name, array in load_tensors(content).items()}
        return Checkpoint(tensors, unpack_header(content))

    def save(self, data: Checkpoint) -> None:
        """Save weights and header in one file."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in data.tensors.items()}
        self._write(pack(arrays, data.header))

    def preview(self) -> JSONPreview:
        """Show the header in Kedro-Viz."""
        return JSONPreview(json.dumps(unpack_header(self._read())))
