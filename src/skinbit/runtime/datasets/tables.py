"""Base of datasets of arrays with one row per image."""

import logging
from typing import Any, ClassVar, Generic, TypeVar

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import Contents, FileDataset
from skinbit.runtime.datasets.scratch import prepare_copies
from skinbit.runtime.datasets.tensors import map_tensors

logger = logging.getLogger(__name__)

Saved = TypeVar("Saved")
Table = TypeVar("Table")


class TableDataset(FileDataset[Saved, Table], Generic[Saved, Table]):
    """A table as sealed safetensors; loading maps the file, which processes share.

    With ``optional``, an empty table is loaded if there is no usable file: the cache of a first run.
    """

    content: ClassVar[str]
    """Content of the table, for messages."""

    empty: ClassVar[Any]
    """A table without images."""

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        prepare_copies(self._fs)
        self._optional = optional
        self.affects_results = not optional  # a cache only affects the speed

    def load(self) -> Table:
        """Load the table.

        Raises:
            InputError: If the file has no such table or is damaged, unless ``optional``.
        """
        try:
            with self._reading():
                return self._unpack(map_tensors(self._fs, self._path))
        except FileNotFoundError:
            if not self._optional:
                raise
        except InputError as error:
            if not self._optional:
                raise
            logger.warning("%s cannot be used (%s): %s are computed again", self._path, error.__cause__, self.content)
        table: Table = self.empty
        return table

    def _unpack(self, stored: Contents) -> Table:
        """Return the table of a file; raises a ``ValueError`` if it is unusable."""
        raise NotImplementedError
