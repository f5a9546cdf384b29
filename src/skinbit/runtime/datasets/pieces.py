"""Pieces of an unfinished step, in a folder beside the file that the step will write."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from kedro.utils import load_obj

from skinbit.data.pieces import Keyed
from skinbit.embedding.tables import Gathered, Rowed
from skinbit.runtime.datasets.files import connect, remove_folder
from skinbit.runtime.datasets.lookup import Lookup
from skinbit.runtime.datasets.tables import TableDataset
from skinbit.runtime.datasets.tensors import Blocks, write_tensors

Table = TypeVar("Table", bound=Rowed)
Stored = TypeVar("Stored", bound=Keyed)

_SUFFIX = ".safetensors"


def pieces_of(path: str) -> str:
    """Return the folder of the pieces of an unfinished file."""
    return f"{path.removesuffix(_SUFFIX)}.pieces"


class PiecedDataset(TableDataset[Table | Gathered[Table], Table], Generic[Table]):
    """A table that is made in pieces; its image ids, keys and description are in the header."""

    tensors: ClassVar[Mapping[str, str]]
    """Attribute of the table by name of the tensor."""

    origin: ClassVar[str] = "description"
    """Name of the description in the header."""

    def save(self, data: Table | Gathered[Table]) -> None:
        """Write the file, and then remove the pieces from which it was put together."""
        header = {"image_ids": list(data.image_ids), "keys": list(data.keys), self.origin: data.description}
        self._write_table(data, header)
        remove_folder(self._fs, pieces_of(self._path))

    def _write_table(self, data: Table | Gathered[Table], header: Mapping[str, Any]) -> None:
        tensors = {name: self._blocks(data, attribute) for name, attribute in self.tensors.items()}
        write_tensors(self._fs, self._path, tensors, header)

    def _blocks(self, data: Table | Gathered[Table], attribute: str) -> Blocks:
        if isinstance(data, Gathered) and data.places:
            return Blocks(data.dtype(attribute), data.shape(attribute), data.blocks(attribute))
        array: np.ndarray = getattr(self.empty if isinstance(data, Gathered) else data, attribute)
        return Blocks(array.dtype, array.shape, [array])


class StoredPieces(Generic[Stored]):
    """The finished file of an earlier run, and the pieces that an unfinished run has left beside it.

    A piece is named by its keys and description: two runs that write the same piece write the same bytes to the same
    name. The dataset removes all pieces when it has written the finished file.
    """

    def __init__(self, dataset: type[TableDataset[Any, Stored]], filepath: str, **file_system: Any) -> None:
        """Set the finished file.

        Args:
            dataset: Type of the finished file and of each piece.
            filepath: Local path or fsspec URL of the finished file.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        self._dataset, self._filepath, self._file_system = dataset, filepath, file_system
        self._read: dict[str, Stored] = {}  # by name, which determines the content

    def finished(self) -> Stored:
        """Return the finished table of an earlier run; without a usable file, an empty one."""
        return self._load(self._filepath)

    def pieces(self) -> list[Stored]:
        """Return the pieces of an unfinished run, except damaged ones."""
        fs, path, _ = connect(self._filepath, **self._file_system)
        folder = pieces_of(path)
        names = sorted(fs.ls(folder, detail=False)) if fs.isdir(folder) else []
        names = [name for name in (PurePosixPath(each).name for each in names) if name.endswith(_SUFFIX)]
        self._read |= {name: self._load(self._place(name)) for name in names if name not in self._read}
        return [self._read[name] for name in names]

    def keep(self, piece: Stored) -> Stored:
        """Write a piece and return it as it is stored; it need not stay in memory."""
        told = json.dumps([*piece.keys, getattr(piece, "description", {})], sort_keys=True)
        name = f"{hashlib.sha256(told.encode()).hexdigest()}{_SUFFIX}"
        dataset = self._dataset(filepath=self._place(name), **self._file_system)
        dataset.save(piece)
        self._read[name] = dataset.load()
        return self._read[name]

    def _place(self, name: str) -> str:
        return f"{pieces_of(self._filepath)}/{name}"

    def _load(self, filepath: str) -> Stored:
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
