"""The names of the files in a folder."""

from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractDataset, DatasetError

from skinbit.runtime.datasets.files import connect
from skinbit.runtime.places import walk


class FolderListingDataset(AbstractDataset[NoReturn, list[str]]):
    """Lists a folder with its subfolders, so that a node can check whether it may write there."""

    affects_results = False  # only whether there are files

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        """Set the folder.

        Args:
            path: Local folder or fsspec URL; it need not exist.
            metadata: For Kedro-Viz; not read here.
        """
        self._fs, self._path, _ = connect(path)
        self.metadata = metadata

    def load(self) -> list[str]:
        """Return the sorted paths of all files, relative to the folder."""
        if not self._exists():
            return []
        if isinstance(self._fs, LocalFileSystem):
            found = [Path(parent, name).as_posix() for parent, _, names in walk(self._path) for name in names]
        else:
            found = self._fs.find(self._path)
        return sorted(PurePosixPath(path).relative_to(self._path).as_posix() for path in found)

    def save(self, data: NoReturn) -> None:
        """Refuse: a listing is read-only."""
        raise DatasetError("a folder listing cannot be saved")

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return bool(self._fs.isdir(self._path))
