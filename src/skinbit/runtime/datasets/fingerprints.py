"""Records of how the datasets in one root folder were made."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.io import AbstractDataset
from pydantic import BaseModel, ConfigDict, ValidationError

from skinbit.runtime.datasets.files import connect, write_file
from skinbit.runtime.provenance import Record, hash_value


class SealedRecord(BaseModel):
    """A record in its file.

    Attributes:
        record: The record.
        sha256: Hash of the record, which reveals changed bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Record
    sha256: str


class FingerprintsDataset(AbstractDataset[Mapping[str, Record], dict[str, Record]]):
    """One small JSON file per dataset, so that parallel nodes never write the same file."""

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Set the folder.

        Args:
            path: Local folder or fsspec URL; it need not exist.
            credentials: Arguments for the file system's login.
            fs_args: Further arguments of the file system.
            metadata: For Kedro-Viz; not read here.
        """
        self._fs, self._path, _ = connect(path, credentials, fs_args)
        self.metadata = metadata

    def load(self) -> dict[str, Record]:
        """Return all readable records by name of the dataset."""
        records = {name: self.read(name) for name in self._names()}
        return {name: record for name, record in records.items() if record is not None}

    def read(self, name: str) -> Record | None:
        """Return the record of one dataset; None if it is missing or damaged."""
        try:
            sealed = SealedRecord.model_validate_json(self._fs.cat_file(self.path_of(name)))
        except (FileNotFoundError, ValidationError):
            return None
        return sealed.record if sealed.sha256 == hash_value(sealed.record) else None

    def is_damaged(self, name: str) -> bool:
        """Whether the record of a dataset exists but cannot be used."""
        return bool(self._fs.exists(self.path_of(name))) and self.read(name) is None

    def save(self, data: Mapping[str, Record]) -> None:
        """Write records, each atomically; records of other datasets stay."""
        for name, record in data.items():
            sealed = SealedRecord(record=record, sha256=hash_value(record))
            write_file(self._fs, self.path_of(name), sealed.model_dump_json(indent=1).encode())

    def forget(self, name: str) -> None:
        """Remove the record of one dataset, if there is one."""
        if self._fs.exists(self.path_of(name)):
            self._fs.rm_file(self.path_of(name))

    def local_root(self) -> Path | None:
        """Return the folder that contains the folder of records; None if it is not on this machine."""
        return Path(self._path).parent if isinstance(self._fs, LocalFileSystem) else None

    def root(self) -> str:
        """Return the address of the folder that contains the folder of records."""
        return str(self._fs.unstrip_protocol(str(PurePosixPath(self._path).parent)))

    def path_of(self, name: str) -> str:
        """Return the path of one dataset's record."""
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
