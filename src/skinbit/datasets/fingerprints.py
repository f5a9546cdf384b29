"""Records of what made the datasets of one root."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import fsspec
from kedro.io import AbstractDataset
from kedro.io.core import get_protocol_and_path
from pydantic import ValidationError

from skinbit.datasets.files import atomic_target
from skinbit.fingerprints import Record


class FingerprintsDataset(AbstractDataset[Mapping[str, Record], dict[str, Record]]):
    """One small JSON file per dataset, so that nodes that run at the same time never write the same file."""

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the folder.

        Args:
            path: Local folder or any fsspec URL; it need not exist.
            credentials: Passed to the file system.
            fs_args: More arguments of the file system.
            metadata: For Kedro-Viz; not read here.
        """
        protocol, self._path = get_protocol_and_path(path)
        self._fs = fsspec.filesystem(protocol, **(credentials or {}), **(fs_args or {}))
        self.metadata = metadata

    def load(self) -> dict[str, Record]:
        """Load all records by the name of their dataset; one that cannot be read counts as none."""
        records = {name: self.read(name) for name in self._names()}
        return {name: record for name, record in records.items() if record is not None}

    def read(self, name: str) -> Record | None:
        """Give the record of one dataset; None where there is none that can be read."""
        try:
            return Record.model_validate_json(self._fs.cat_file(self._file(name)))
        except (FileNotFoundError, ValidationError):
            return None

    def save(self, data: Mapping[str, Record]) -> None:
        """Write records, each atomically; those of other datasets stay."""
        for name, record in data.items():
            with atomic_target(self._fs, self._file(name)) as temporary:
                self._fs.pipe_file(temporary, record.model_dump_json(indent=1).encode())

    def forget(self, name: str) -> None:
        """Remove the record of one dataset, if there is one."""
        if self._fs.exists(self._file(name)):
            self._fs.rm_file(self._file(name))

    def _file(self, name: str) -> str:
        return f"{self._path}/{name}.json"

    def _names(self) -> list[str]:
        self._fs.invalidate_cache(self._path)
        listed = self._fs.ls(self._path, detail=False) if self._fs.isdir(self._path) else []
        files = (PurePosixPath(path) for path in sorted(listed))
        return [file.stem for file in files if file.suffix == ".json"]

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return bool(self._names())
