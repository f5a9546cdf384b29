"""Pieces of an unfinished step, in a folder beside the file that the step will write."""

import hashlib
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.utils import load_obj

from skinbit.data.pieces import Keyed
from skinbit.runtime.datasets.files import connect, remove_folder
from skinbit.runtime.datasets.lookup import Lookup
from skinbit.runtime.datasets.tables import TableDataset

Table = TypeVar("Table", bound=Keyed)

_SUFFIX = ".safetensors"


def pieces_of(path: str) -> str:
    """Return the folder of the pieces of an unfinished file."""
    return f"{path.removesuffix(_SUFFIX)}.pieces"


class PiecedDataset(TableDataset[Table], Generic[Table]):
    """A table that is made in pieces."""

    def _write(self, content: bytes) -> None:
        """Write the file, and then remove the pieces from which it was put together."""
        super()._write(content)
        remove_folder(self._fs, pieces_of(self._path))


class StoredPieces(Generic[Table]):
    """The finished file of an earlier run, and the pieces that an unfinished run has left beside it.

    A piece is named by the keys of its rows: two runs that write the same piece write the same bytes to the same name.
    The dataset removes all pieces when it has written the finished file.
    """

    def __init__(self, dataset: type[TableDataset[Table]], filepath: str, **file_system: Any) -> None:
        """Set the finished file.

        Args:
            dataset: Type of the finished file and of each piece.
            filepath: Local path or fsspec URL of the finished file.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        self._dataset, self._filepath, self._file_system = dataset, filepath, file_system
        self._read: dict[str, Table] = {}  # by name, which determines the content

    def finished(self) -> Table:
        """Return the finished table of an earlier run; without a usable file, an empty one."""
        return self._load(self._filepath)

    def pieces(self) -> list[Table]:
        """Return the pieces of an unfinished run, except damaged ones."""
        fs, path, _ = connect(self._filepath, **self._file_system)
        folder = pieces_of(path)
        names = sorted(fs.ls(folder, detail=False)) if fs.isdir(folder) else []
        names = [name for name in (PurePosixPath(each).name for each in names) if name.endswith(_SUFFIX)]
        self._read |= {name: self._load(self._place(name)) for name in names if name not in self._read}
        return [self._read[name] for name in names]

    def keep(self, piece: Table) -> Table:
        """Write a piece and return it as it is stored."""
        name = hashlib.sha256("\n".join(piece.keys).encode()).hexdigest()
        self._dataset(filepath=self._place(f"{name}{_SUFFIX}"), **self._file_system).save(piece)
        return piece

    def _place(self, name: str) -> str:
        return f"{pieces_of(self._filepath)}/{name}"

    def _load(self, filepath: str) -> Table:
        return self._dataset(filepath=filepath, optional=True, **self._file_system).load()


class PieceCacheDataset(Lookup):
    """Loads what an earlier run has left of one file: see :class:`StoredPieces`."""

    affects_results = False  # it only affects the speed
    refusal = "pieces are written by the node that makes them"

    def __init__(self, *, path: str, dataset: str, metadata: dict[str, Any] | None = None, **file_system: Any) -> None:
        """Set the finished file.

        Args:
            path: Local path or fsspec URL of the finished file.
            dataset: Type of the finished file.
            metadata: For Kedro-Viz; not read here.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        super().__init__(path=path, metadata=metadata, **file_system)
        self._dataset = load_obj(dataset)

    def load(self) -> StoredPieces[Any]:
        """Return what earlier runs have left."""
        return StoredPieces(self._dataset, self._path, **self._file_system)
