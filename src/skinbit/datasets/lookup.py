"""Files and folders that a user names by parameter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class LookupDataset(AbstractDataset[NoReturn, Callable[[str], Any]]):
    """Loads datasets by path: the catalog knows a type, the node knows a parameter.

    Kedro resolves the catalog before parameters are validated, and parameters of an environment never reach it.
    """

    def __init__(
        self,
        *,
        path: str,
        dataset: dict[str, Any],
        argument: str = "filepath",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Say what is looked up.

        Args:
            path: Relative paths start here.
            dataset: ``type`` and arguments of the dataset that is made for a path.
            argument: The one of its arguments that takes the path.
            metadata: For Kedro-Viz; not read here.
        """
        self._path = path
        self._dataset = dataset
        self._argument = argument
        self.metadata = metadata

    def load(self) -> Callable[[str], Any]:
        """Give the look-up: a path, relative or not, ``~`` included, or any fsspec URL, to what is there."""

        def look_up(path: str) -> Any:
            found = path if "://" in path else str(Path(self._path) / Path(path).expanduser())
            return AbstractDataset.from_config("looked_up", {**self._dataset, self._argument: found}).load()

        return look_up

    def save(self, data: NoReturn) -> None:
        """Refuse: what users name is theirs."""
        raise DatasetError("a look-up is only read")

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path, "type": self._dataset["type"]}

    def _exists(self) -> bool:
        return True
