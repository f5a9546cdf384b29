"""The names of the files in a folder."""

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.runtime.places import walk


class FolderListingDataset(AbstractDataset[NoReturn, list[str]]):
    """Lists a local folder with its subfolders, so that a node can check whether it may write there."""

    affects_results = False  # only whether there are files

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        """Set the folder.

        Args:
            path: Local folder; it need not exist.
            metadata: For Kedro-Viz; not read here.
        """
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> list[str]:
        """Return the sorted paths of all files, relative to the folder."""
        folders = walk(self._path) if self._exists() else ()
        found = [Path(parent, name) for parent, _, names in folders for name in names]
        return sorted(path.relative_to(self._path).as_posix() for path in found)

    def save(self, data: NoReturn) -> None:
        """Refuse: a listing is read-only."""
        raise DatasetError("a folder listing cannot be saved")

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}

    def _exists(self) -> bool:
        return self._path.is_dir()
