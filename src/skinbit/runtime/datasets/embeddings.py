"""Embeddings with their image ids, as safetensors."""

import hashlib
from pathlib import PurePosixPath

import numpy as np
from kedro_datasets._typing import TablePreview

from skinbit.embedding.tables import Embeddings
from skinbit.matching.labels import FloatArray
from skinbit.runtime.datasets.files import Contents, pack, unpack, write_file
from skinbit.runtime.datasets.tables import TableDataset

_TENSOR = "embeddings"

_ZOOMS = "zooms_sha256"
"""Header key with the hash of the second file."""
_PREVIEW_COLUMNS = 8

_TOLERANCE = 1e-3
"""Largest deviation from unit length, far above rounding errors."""


class EmbeddingsDataset(TableDataset[Embeddings, Embeddings]):
    """The tensor ``embeddings`` ``(n_images, embedding_dim)`` float32; the header has ids and origin.

    Embeddings of single zooms ``(n_images, n_zooms, embedding_dim)`` are in a second file, ``<name>_zooms``, whose hash
    is in the header of the first.
    """

    content = "embeddings"
    empty = Embeddings((), np.empty((0, 0), np.float32), {})

    def save(self, data: Embeddings) -> None:
        """Save embeddings and ids in one file, and zooms, if there are any, in a second one."""
        header = {**data.description, "image_ids": list(data.image_ids)}
        if data.zooms is not None:
            content = pack({_TENSOR: data.zooms}, {})
            header[_ZOOMS] = hashlib.sha256(content).hexdigest()
            write_file(self._fs, self._zooms_path, content)
        self._write(pack({_TENSOR: data.values}, header))

    def preview(self, nrows: int = 10) -> TablePreview:
        """Show the first rows and dimensions in Kedro-Viz."""
        embeddings = self.load()
        shown = embeddings.values[:nrows, :_PREVIEW_COLUMNS].astype(float).round(4)
        rows = zip(embeddings.image_ids, shown.tolist(), strict=False)
        return TablePreview(
            {
                "index": list(range(len(shown))),
                "columns": ["image_id", *(f"dimension {column}" for column in range(shown.shape[1]))],
                "data": [[image_id, *values] for image_id, values in rows],
            }
        )

    def _unpack(self, stored: Contents) -> Embeddings:
        image_ids = stored.texts("image_ids")
        values = stored.array(_TENSOR, np.float32, (len(image_ids), None))
        _check_lengths(values, image_ids)
        description = {key: value for key, value in stored.header.items() if key not in ("image_ids", _ZOOMS)}
        return Embeddings(image_ids, values, description, self._load_zooms(stored, values))

    @property
    def _zooms_path(self) -> str:
        path = PurePosixPath(self._path)
        return str(path.with_name(f"{path.stem}_zooms{path.suffix}"))

    def _load_zooms(self, stored: Contents, values: FloatArray) -> FloatArray | None:
        if _ZOOMS not in stored.header:
            return None
        name = PurePosixPath(self._zooms_path).name
        try:
            content: bytes = self._fs.cat_file(self._zooms_path)
        except FileNotFoundError as error:
            raise ValueError(f"its embeddings of single zooms, {name} in the same folder, are missing") from error
        if hashlib.sha256(content).hexdigest() != stored.header[_ZOOMS]:
            raise ValueError(f"{name} in the same folder is not the file that was written with it")
        return unpack(content).array(_TENSOR, np.float32, (len(values), None, values.shape[1]))


def _check_lengths(values: FloatArray, image_ids: tuple[str, ...]) -> None:
    is_off = np.abs(np.linalg.norm(values.astype(np.float64), axis=1) - 1) > _TOLERANCE
    if is_off.any():
        raise ValueError(f"the embedding of image {image_ids[int(np.argmax(is_off))]} is not of unit length")
