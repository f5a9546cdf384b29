"""Look-ups: one catalog entry, so one box in the graph, for files that nodes find by name or path."""

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.runtime.places import join_place


class Lookup(AbstractDataset[NoReturn, Callable[..., Any]]):
    """Base of all look-ups: loading returns a function, saving is refused."""

    refusal: ClassVar[str] = "a look-up is read-only"

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None, **file_system: Any) -> None:
        """Set the folder.

        Args:
            path: Local folder or fsspec URL; it need not exist.
            metadata: For Kedro-Viz; not read here.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        self._path = path
        self._file_system = file_system
        self.metadata = metadata

    def save(self, data: NoReturn) -> None:
        """Refuse: users or other nodes write these files."""
        raise DatasetError(self.refusal)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return True


class LookupDataset(Lookup):
    """Loads datasets by path: the catalog sets their type, a node's parameter sets the path."""

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
            path: Folder in which relative paths start.
            dataset: ``type`` and arguments of the dataset that is created for a path.
            argument: Name of the dataset's argument that takes the path.
            metadata: For Kedro-Viz; not read here.
        """
        super().__init__(path=path, metadata=metadata)
        self._dataset = dataset
        self._argument = argument

    def load(self) -> Callable[[str], Any]:
        """Return the look-up: from a path, which may begin with ``~``, or an fsspec URL to the content."""

        def look_up(path: str) -> Any:
            found = {self._argument: join_place(self._path, path)}
            return AbstractDataset.from_config("looked_up", {**self._dataset, **found}).load()

        return look_up

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "type": self._dataset["type"]}
