"""What datasets of arrays whose rows are images have in common."""

import logging
from typing import Any, ClassVar, TypeVar

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import Contents, FileDataset, unpack

logger = logging.getLogger(__name__)

Table = TypeVar("Table")


class TableDataset(FileDataset[Table, Table]):
    """A table as sealed safetensors.

    ``optional`` loads an empty table where there is no usable file yet: the cache of a first run.
    """

    content: ClassVar[str]
    """What the table holds, for messages."""

    empty: ClassVar[Any]
    """The table of no image."""

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional
        self.affects_results = not optional  # a cache affects only how fast results come

    def load(self) -> Table:
        """Load the table.

        Raises:
            InputError: If the file holds no such table, or a damaged one; unless ``optional``.
        """
        try:
            content = self._read()
            with self._reading():
                return self._unpack(unpack(content))
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
        """Return the table of a file; a ``ValueError`` says what is wrong with it."""
        raise NotImplementedError
