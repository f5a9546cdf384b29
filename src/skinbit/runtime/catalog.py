"""A catalog that knows what made its files and what they hold, so that a run trusts what it finds.

Kedro asks a catalog whether an output exists; here it exists only if it would be made the same way again and no byte of
it has changed. All state lives in the catalog, which ParallelRunner hands to its workers, whatever way it starts them.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.framework.context import CatalogCommandsMixin
from kedro.io import DataCatalog, SharedMemoryDataCatalog

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import hash_file
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.locking import RunToken
from skinbit.runtime.provenance import ABSENT, Origin, Record, StoredFile

_RECORDS = "fingerprints"
"""The entry of the catalog that holds the records."""

_LAYERS = {
    "02_intermediate": "intermediate",
    "03_primary": "feature",
    "04_feature": "feature",
    "06_models": "models",
    "07_model_output": "model_output",
    "08_reporting": "reporting",
    "final": "reporting",
    "clusters": "reporting",
}
"""Kedro-Viz's layer of a file, by the innermost of these folders; everything else is raw.

A final model, and all that it makes of new photographs, come after the folds' results: in the layers of their kinds of
files the layers would form a circle, and Kedro-Viz would draw none of them.
"""


class StudyCatalog(DataCatalog, CatalogCommandsMixin):
    """Records what it saves, leaves out datasets whose record no longer holds, and loads no damaged file.

    Outside of a run nothing is known about what makes a dataset: saving then removes its record, and what exists is
    what is there.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._records: FingerprintsDataset = self[_RECORDS]
        self._origins: Mapping[str, Origin | None] = {}
        self._stale: set[str] = set()
        self._token: RunToken | None = None

    def _add_from_config(self, ds_name: str, ds_config: dict[str, Any]) -> None:
        super()._add_from_config(ds_name, _in_its_layer(ds_config))

    def local_root(self) -> Path | None:
        """Return the folder of outputs; None where it is not on this machine."""
        return self._records.local_root()

    def serve(self, token: RunToken) -> None:
        """Save for one run only: a worker that outlives it writes nothing more once another run has begun."""
        self._token = token

    def records(self) -> dict[str, Record]:
        """Return what was written down when datasets were saved, by dataset; without records that are damaged."""
        return self._records.load()

    def fingerprint(self, name: str) -> str | None:
        """Return the fingerprint of a dataset as it is now.

        Args:
            name: Of an input that the run at hand does not make.

        Returns:
            That of its origin, where its record is about the files that are there; else that of its content, where
            the dataset can tell (raw data); None where nobody knows what made it.
        """
        dataset = self.get(name)
        if dataset is None:
            return None
        if not dataset.exists():
            return ABSENT
        record, content = self._records.read(name), self._content(name)
        return record.origin.fingerprint if record is not None and record.content == content else content

    def expect(self, origins: Mapping[str, Origin | None]) -> None:
        """Note what will make every output of the run at hand.

        Args:
            origins: By output; None where it depends on something unknown.
        """
        self._origins = origins

    def find_stale(self) -> dict[str, tuple[str, ...]]:
        """Compare all records with what is expected; what differs no longer exists for Kedro.

        Returns:
            What has changed since, by output that would be made differently now; empty where there is no record to
            compare with.
        """
        records = self._records.load()
        stale = {name: self._changes(name, origin, records.get(name)) for name, origin in self._origins.items()}
        changed = {name: changes for name, changes in stale.items() if changes is not None}
        self._stale = set(changed)
        return changed

    def find_damaged(self) -> dict[str, str]:
        """Compare all files of the run's outputs with their records; what differs no longer exists for Kedro.

        Returns:
            Paths of files that were damaged, edited or replaced since they were written, by dataset.
        """
        records = self._records.load()
        names = [name for name in self._origins if name in records]
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter lock
            intact = list(pool.map(lambda name: self._is_intact(name, records[name]), names))
        damaged = {name: self._path(name) for name, holds in zip(names, intact, strict=True) if not holds}
        unread = (name for name in self._origins.keys() - records.keys() if self._records.is_damaged(name))
        damaged |= {name: self._records.path_of(name) for name in unread}
        self._stale |= damaged.keys()
        return damaged

    def _changes(self, name: str, origin: Origin | None, record: Record | None) -> tuple[str, ...] | None:
        """Return what has changed since a record was written; None where the record holds."""
        if origin is None or record is None:
            return ()
        if origin.fingerprint != record.origin.fingerprint:
            return origin.differences(record.origin)
        return None if record.content == self._content(name) else (f"files of {name}",)

    def exists(self, ds_name: str) -> bool:
        """Whether a dataset exists and, in a run for missing outputs, would be made the same way again."""
        return ds_name not in self._stale and bool(super().exists(ds_name))

    def save(self, ds_name: str, data: Any) -> None:
        """Save a dataset; a run that ends in the middle leaves it without a record."""
        if self._token is not None:
            self._token.check()
        self._records.forget(ds_name)
        super().save(ds_name, data)
        origin = self._origins.get(ds_name)
        if origin is not None:
            record = Record(origin=origin, content=self._content(ds_name), file=self._stored(ds_name))
            self._records.save({ds_name: record})
            self._stale.discard(ds_name)

    def load(self, ds_name: str, version: str | None = None) -> Any:
        """Load a dataset.

        Raises:
            InputError: If its file is not as it was written, or its record cannot be read.
        """
        if hasattr(self.get(ds_name), "stored_file"):
            self._refuse_damaged(ds_name)
        return super().load(ds_name, version)

    def _refuse_damaged(self, name: str) -> None:
        record = self._records.read(name)
        remake = "`kedro run --only-missing-outputs`, with the same --env and --params, makes it anew, and nothing else"
        if record is not None and not self._is_intact(name, record):
            raise InputError(
                f"{self._path(name)} is not as the run that made it wrote it: damaged, edited or replaced since.\n"
                f"  Remedy: {remake}. To use an edit of your own, delete its record {self._records.path_of(name)}: "
                "what is made of it then counts as made of something unknown."
            )
        if record is None and self._records.is_damaged(name) and self[name].exists():
            raise InputError(
                f"{self._records.path_of(name)}, which tells whether {self._path(name)} is as it was written, is "
                f"damaged or of another version.\n  Remedy: {remake}."
            )

    def _is_intact(self, name: str, record: Record) -> bool:
        """Whether a file is what its record says; one that does not exist is missing, not damaged."""
        found = self._stored(name) if record.file is not None else None
        return found is None or found == record.file

    def _stored(self, name: str) -> StoredFile | None:
        """Hash the file of a dataset; None where it is none, others write it too, or it does not exist."""
        dataset = self[name]
        if hasattr(dataset, "fingerprint") or not hasattr(dataset, "stored_file"):
            return None
        try:
            return hash_file(*dataset.stored_file())
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> str:
        return str(self[name].stored_file()[1])

    def _content(self, name: str) -> str | None:
        """Hash the files of a dataset that others write too; None for all others, and where it cannot be read."""
        hash_content = getattr(self[name], "fingerprint", None)
        try:
            return None if hash_content is None else str(hash_content())
        except OSError:  # the node that needs the file says what is wrong with it
            return None


class SharedStudyCatalog(StudyCatalog, SharedMemoryDataCatalog):
    """The same for ParallelRunner."""


def _in_its_layer(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the catalog with its layer, which for Kedro-Viz is metadata; one that is written there stays.

    Not a hook, since Kedro-Viz runs none.
    """
    path = entry.get("filepath") or entry.get("path")
    if path is None:  # in memory
        return entry
    folders = (part for part in reversed(PurePosixPath(path).parts) if part in _LAYERS)
    metadata = entry.get("metadata", {})
    layer = {"layer": next((_LAYERS[folder] for folder in folders), "raw")}
    return {**entry, "metadata": {**metadata, "kedro-viz": layer | metadata.get("kedro-viz", {})}}
