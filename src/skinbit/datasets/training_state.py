"""The state of a training that has not ended, or the result of one that has."""

from typing import NoReturn

from kedro.io import DatasetError
from safetensors import SafetensorError

from skinbit.datasets.checkpoint import pack_checkpoint, unpack_checkpoint
from skinbit.datasets.files import FileDataset
from skinbit.embedding.checkpoints import Checkpoint


class StateFile:
    """Reads and writes one training's state: a :class:`skinbit.embedding.checkpoints.StateStore`."""

    def __init__(self, dataset: FileDataset[NoReturn, "StateFile"]) -> None:
        self._dataset = dataset

    def read(self) -> Checkpoint | None:
        """Give the stored state; None where there is none that can be read."""
        try:
            return unpack_checkpoint(self._dataset._read())
        except (FileNotFoundError, KeyError, SafetensorError, ValueError):
            return None

    def write(self, state: Checkpoint) -> None:
        """Replace the stored state, completely or not at all."""
        self._dataset._write(pack_checkpoint(state))


class TrainingStateDataset(FileDataset[NoReturn, StateFile]):
    """Hands a training its state file: the training saves after each epoch, Kedro only after the whole node."""

    affects_results = False  # a resumed training ends as an uninterrupted one

    def load(self) -> StateFile:
        """Give the file; it need not exist."""
        return StateFile(self)

    def save(self, data: NoReturn) -> None:
        """Refuse: the training itself writes its state."""
        raise DatasetError("a training state is written by its training")
