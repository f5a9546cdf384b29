"""Where long work is done: chosen in one place, and read by nodes as any other input."""

from dataclasses import replace
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.config import ExecutorParams
from skinbit.data.executor import Execution, Executor


class ExecutorDataset(AbstractDataset[NoReturn, Execution]):
    """Loads how work is cut into pieces and where they are made: in this process, or where a run has set."""

    affects_results = False  # it only affects the speed

    def __init__(self, *, metadata: dict[str, Any] | None = None, **params: Any) -> None:
        """Set the parameters.

        Args:
            metadata: For Kedro-Viz; not read here.
            params: Those of the block ``executor``.
        """
        self._execution = Execution(ExecutorParams(**params))
        self.metadata = metadata

    def use(self, executor: Executor) -> None:
        """Make all pieces elsewhere from now on."""
        self._execution = replace(self._execution, executor=executor)

    def load(self) -> Execution:
        """Return the executor and the sizes of pieces."""
        return self._execution

    def save(self, data: NoReturn) -> None:
        """Refuse: parameters and the run set it."""
        raise DatasetError("it is set by the parameters executor")

    def _describe(self) -> dict[str, Any]:
        return self._execution.params.model_dump()

    def _exists(self) -> bool:
        return True
