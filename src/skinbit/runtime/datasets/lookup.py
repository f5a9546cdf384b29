"""Look-ups: one entry of the catalog, so one box in the graph, for files that nodes find by name or path."""

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.runtime.places import join_place


class Lookup(AbstractDataset[NoReturn, Callable[..., Any]]):
    """Base of all look-ups: loading gives a function, saving is refused."""

    refusal: ClassVar[str] = "a look-up is only read"

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None, **file_system: Any) -> None:
        """Set the folder.

        Args:
            path: Local folder or any fsspec URL; it need not exist.
            metadata: For Kedro-Viz; not read here.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        self._path = path
        self._file_system = file_system
        self.metadata = metadata

    def save(self, data: NoReturn) -> None:
        """Refuse: others write these files, or users."""
        raise DatasetError(self.refusal)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return True


class LookupDataset(Lookup):
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
        """Set the folder and the dataset that loads a file.

        Args:
            path: Relative paths start here.
            dataset: ``type`` and arguments of the dataset that is made for a path.
            argument: The one of its arguments that takes the path.
            metadata: For Kedro-Viz; not read here.
        """
        super().__init__(path=path, metadata=metadata)
        self._dataset = dataset
        self._argument = argument

    def load(self) -> Callable[[str], Any]:
        """Return the look-up: a path, relative or not, ``~`` included, or any fsspec URL, to what is there."""

        def look_up(path: str) -> Any:
            found = {self._argument: join_place(self._path, path)}
            return AbstractDataset.from_config("looked_up", {**self._dataset, **found}).load()

        return look_up

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "type": self._dataset["type"]}
