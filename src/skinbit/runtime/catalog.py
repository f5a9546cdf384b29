"""A catalog that records how its files were made and what they contain, so that a run can trust what it finds.

To Kedro an output exists only if it would be made the same way again and its bytes have not changed. All state is in
the catalog, which ParallelRunner passes to its workers, however they are started.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.framework.context import CatalogCommandsMixin
from kedro.io import DataCatalog, SharedMemoryDataCatalog

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import address_of, hash_file
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.locking import RunToken
from skinbit.runtime.provenance import ABSENT, Origin, Record, StoredFile

_RECORDS = "fingerprints"
"""Name of the catalog entry with the records."""

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
"""Layer of a file in Kedro-Viz, by the innermost of these folders; all other files are raw.

Final models and groups of new photographs come after the folds' results. If they were in the layers of their kinds of
files, layers would form a cycle and Kedro-Viz would draw none.
"""


class StudyCatalog(DataCatalog, CatalogCommandsMixin):
    """Records what it saves, treats outdated datasets as missing, and loads no damaged file.

    Outside of a run the origin of datasets is unknown: saving removes the record, and every existing file counts as
    existing.
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
        """Return the folder of outputs; None if it is not on this machine."""
        return self._records.local_root()

    def root(self) -> str:
        """Return the address of the folder of outputs."""
        return self._records.root()

    def serve(self, token: RunToken) -> None:
        """Save for one run only: a worker that outlives its run writes nothing once another run has begun."""
        self._token = token

    @property
    def token(self) -> RunToken:
        """Return the run for which this catalog saves."""
        assert self._token is not None, "no run has begun"
        return self._token

    def records(self) -> dict[str, Record]:
        """Return the records of all datasets, except damaged records."""
        return self._records.load()

    def fingerprint(self, name: str) -> str | None:
        """Return the current fingerprint of a dataset.

        Args:
            name: An input that the current run does not make.

        Returns:
            The fingerprint of its origin if its record matches its files; otherwise that of its content if the dataset
            has one (raw data); None if its origin is unknown.
        """
        dataset = self.get(name)
        if dataset is None:
            return None
        if not dataset.exists():
            return ABSENT
        record, content = self._records.read(name), self._content(name)
        return record.origin.fingerprint if record is not None and record.content == content else content

    def expect(self, origins: Mapping[str, Origin | None]) -> None:
        """Set the expected origin of every output of the current run.

        Args:
            origins: Origins by output; None for outputs that depend on something unknown.
        """
        self._origins = origins

    def find_stale(self) -> dict[str, tuple[str, ...]]:
        """Mark outputs as missing if their record differs from the expected origin.

        Returns:
            The changes by stale output; empty if the output has no record to compare with.
        """
        records = self._records.load()
        stale = {name: self._changes(name, origin, records.get(name)) for name, origin in self._origins.items()}
        changed = {name: changes for name, changes in stale.items() if changes is not None}
        self._stale = set(changed)
        return changed

    def find_damaged(self) -> dict[str, str]:
        """Mark outputs as missing if their files differ from their records.

        Returns:
            Paths of damaged, edited or replaced files, by dataset.
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
        """Return what has changed since a record was written; None if nothing has."""
        if origin is None or record is None:
            return ()
        if origin.fingerprint != record.origin.fingerprint:
            return origin.differences(record.origin)
        return None if record.content == self._content(name) else (f"files of {name}",)

    def exists(self, ds_name: str) -> bool:
        """Whether a dataset exists and, in a run for missing outputs, would be made the same way again."""
        return ds_name not in self._stale and bool(super().exists(ds_name))

    def save(self, ds_name: str, data: Any) -> None:
        """Save a dataset; if the run ends meanwhile, it has no record."""
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
            InputError: If its file has changed since it was written, or its record cannot be read.
        """
        if hasattr(self.get(ds_name), "stored_file"):
            self._refuse_damaged(ds_name)
        return super().load(ds_name, version)

    def _refuse_damaged(self, name: str) -> None:
        record = self._records.read(name)
        remake = "`kedro run --only-missing-outputs`, with the same --env and --params, makes only this file again"
        if record is not None and not self._is_intact(name, record):
            raise InputError(
                f"{self._path(name)} was damaged, edited or replaced after the run that wrote it.\n"
                f"  Remedy: {remake}. To use an edit of your own, delete its record {self._records.path_of(name)}: "
                "everything made from it then has an unknown origin."
            )
        if record is None and self._records.is_damaged(name) and self[name].exists():
            raise InputError(
                f"{self._records.path_of(name)}, which tells whether {self._path(name)} is as it was written, is "
                f"damaged or of another version.\n  Remedy: {remake}."
            )

    def _is_intact(self, name: str, record: Record) -> bool:
        """Whether a file matches its record, or does not exist: then it is missing, not damaged."""
        found = self._stored(name) if record.file is not None else None
        return found is None or found == record.file

    def _stored(self, name: str) -> StoredFile | None:
        """Return size and hash of a dataset's file; None if it has no file, or others write it, too."""
        dataset = self[name]
        if hasattr(dataset, "fingerprint") or not hasattr(dataset, "stored_file"):
            return None
        try:
            return hash_file(*dataset.stored_file())
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> str:
        return address_of(*self[name].stored_file())

    def _content(self, name: str) -> str | None:
        """Return the hash of a dataset that others write, too; None for other and for unreadable datasets."""
        hash_content = getattr(self[name], "fingerprint", None)
        try:
            return None if hash_content is None else str(hash_content())
        except OSError:  # the node that needs the file reports the error
            return None


class SharedStudyCatalog(StudyCatalog, SharedMemoryDataCatalog):
    """The catalog for ParallelRunner."""


def _in_its_layer(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a catalog entry with its layer as Kedro-Viz expects it; a layer that is set stays.

    This is not a hook, since Kedro-Viz runs no hooks.
    """
    path = entry.get("filepath") or entry.get("path")
    if path is None:  # in memory
        return entry
    folders = (part for part in reversed(PurePosixPath(path).parts) if part in _LAYERS)
    metadata = entry.get("metadata", {})
    layer = {"layer": next((_LAYERS[folder] for folder in folders), "raw")}
    return {**entry, "metadata": {**metadata, "kedro-viz": layer | metadata.get("kedro-viz", {})}}
