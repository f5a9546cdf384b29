"""The metadata CSV as published."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
from kedro_datasets._typing import TablePreview

from skinbit.data.archives import NEEDED
from skinbit.data.metadata import NOTES, read_metadata
from skinbit.errors import InputError
from skinbit.refusals import explain_reading
from skinbit.runtime.datasets.files import FileDataset, check_store

logger = logging.getLogger(__name__)

_MOST_MEGABYTES = 500


class MetadataDataset(FileDataset[pd.DataFrame, pd.DataFrame]):
    """Loads a metadata file of any usual encoding and delimiter as text cells with row numbers.

    Kedro's CSV dataset guesses types, so that numeric ids lose leading zeros, and drops row numbers, which messages
    need.
    """

    def __init__(self, *, made_with: str | None = None, needed: Sequence[str] = NEEDED, **arguments: Any) -> None:
        """Set the file, and which tables may be overwritten.

        Args:
            made_with: Name of a file that must be in the table's folder, or in one above, for an existing table to be
                overwritten; None: always overwrite.
            needed: Required columns.
            arguments: Arguments of :class:`FileDataset`.
        """
        super().__init__(**arguments)
        self._made_with = made_with
        self._needed = tuple(needed)
        self._noted: set[str] = set()
        self._sha256: str | None = None

    def load(self) -> pd.DataFrame:
        """Return the table; see :func:`skinbit.data.metadata.read_metadata`."""
        check_store(self._fs, self._path)
        if not self._exists() and self._needed != NEEDED:
            raise InputError(
                f"There is no table {self._path}.\n  Remedy: correct the path; relative paths start at the project."
            )
        if not self._exists():
            raise InputError(
                f"There is no metadata file {self._path}.\n  Remedy: put a CSV with the columns lesion_id and image_id "
                "there and the photographs into the folder images beside it, or set SKINBIT_RAW_DIR and "
                "SKINBIT_METADATA_FILE to their paths; `kedro run --env demo` needs neither."
            )
        name = PurePosixPath(self._path).name
        content = self._read()
        self._check_same(content)
        table = read_metadata(content, name, self._needed)
        table.attrs["source"] = name  # for messages about its rows
        for note in table.attrs[NOTES]:
            if note not in self._noted:  # several nodes load the table
                logger.warning("reading %s: %s", name, note)
                self._noted.add(note)
        return table

    def _check_same(self, content: bytes) -> None:
        """Refuse a table that has changed since another node read it, as nodes refer to rows by number."""
        sha256 = hashlib.sha256(content).hexdigest()
        if self._sha256 not in (None, sha256):
            self._sha256 = None
            raise InputError(f"{self._path} changed while this run was reading it.\n  Remedy: run again.")
        self._sha256 = sha256

    def _release(self) -> None:
        super()._release()
        self._sha256 = None

    def save(self, data: pd.DataFrame) -> None:
        """Save a table as UTF-8 CSV.

        Raises:
            InputError: If a table exists that may not be overwritten.
        """
        above = PurePosixPath(self._path).parents
        if self._made_with and self._exists() and not any(self._fs.exists(f"{p}/{self._made_with}") for p in above):
            raise InputError(
                f"{self._path} already exists, so it is not overwritten.\n"
                "  Remedy: unset SKINBIT_METADATA_FILE, or set study.sample_data=false to use the table."
            )
        self._write(data.to_csv(index=False, lineterminator="\n").encode())

    def _read(self) -> bytes:
        """Return the content of the file, which may be anything."""
        try:
            described = self._fs.info(self._path)
            if described["type"] in ("directory", "other"):
                raise InputError(
                    f"{self._path} is not a file, so it cannot be the metadata.\n"
                    "  Remedy: set SKINBIT_METADATA_FILE to the CSV itself, beside the folder images."
                )
            megabytes = (described["size"] or 0) / 1e6  # some remote file systems do not report sizes
            if megabytes > _MOST_MEGABYTES:
                raise InputError(
                    f"{self._path} has {megabytes:.0f} megabytes, too much for a table of photographs.\n"
                    "  Remedy: set SKINBIT_METADATA_FILE to the CSV."
                )
            return super()._read()
        except OSError as error:
            why, remedy = explain_reading(error)
            raise InputError(f"{self._path} cannot be read: {why}.\n  Remedy: {remedy}.") from error

    def fingerprint(self) -> str:
        """Hash the file."""
        return hashlib.sha256(self._read()).hexdigest()

    def preview(self, nrows: int = 20) -> TablePreview:
        """Show the first rows in Kedro-Viz."""
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))
