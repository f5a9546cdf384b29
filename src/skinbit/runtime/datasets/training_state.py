"""The state of an unfinished training, or the result of a finished one."""

import logging
from collections.abc import Callable
from typing import NoReturn

from kedro.io import DatasetError

from skinbit.embedding.checkpoints import StoredState
from skinbit.runtime.datasets.checkpoint import pack_tensors, unpack_tensors
from skinbit.runtime.datasets.files import FileDataset
from skinbit.runtime.datasets.lookup import Lookup

logger = logging.getLogger(__name__)


class StateFile:
    """Reads and writes one training's state: a :class:`skinbit.embedding.checkpoints.StateStore`."""

    def __init__(self, dataset: FileDataset[NoReturn, "StateFile"]) -> None:
        self._dataset = dataset

    def read(self) -> StoredState | None:
        """Return the stored state; None if it is missing or damaged, in which case training restarts."""
        try:
            return StoredState(*unpack_tensors(self._dataset._read()))
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s cannot be used (%s): its training restarts", self._dataset._path, error)
            return None

    def write(self, state: StoredState) -> None:
        """Replace the stored state, completely or not at all."""
        self._dataset._write(pack_tensors(state.tensors, state.header))


class TrainingStateDataset(FileDataset[NoReturn, StateFile]):
    """Passes a state file to a training, which saves after each epoch; Kedro saves only after the whole node."""

    affects_results = False  # a resumed training has the same result

    def load(self) -> StateFile:
        """Return the file; it need not exist."""
        return StateFile(self)

    def save(self, data: NoReturn) -> None:
        """Refuse: the training writes its state itself."""
        raise DatasetError("a training state is written by its training")


class TrainingStatesDataset(Lookup):
    """Looks up state files by experiment and fold; one catalog entry, so one box in the graph, for all trainings."""

    affects_results = False
    refusal = "a training state is written by its training"

    def load(self) -> Callable[[str, str], StateFile]:
        """Return the look-up, by experiment and ``fold_{k}`` or ``final``."""

        def state_of(experiment: str, part: str) -> StateFile:
            filepath = f"{self._path}/{experiment}/{part}/training_state.safetensors"
            return StateFile(TrainingStateDataset(filepath=filepath, **self._file_system))

        return state_of
