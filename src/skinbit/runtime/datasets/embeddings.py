"""Embeddings with their image ids, as safetensors."""

import numpy as np
from kedro_datasets._typing import TablePreview

from skinbit.embedding.tables import Embeddings
from skinbit.matching.labels import FloatArray
from skinbit.runtime.datasets.files import Contents, pack
from skinbit.runtime.datasets.tables import TableDataset

_TENSOR = "embeddings"
_PREVIEW_COLUMNS = 8

_TOLERANCE = 1e-3
"""Far more than rounding takes from a unit length."""


class EmbeddingsDataset(TableDataset[Embeddings]):
    """The tensor ``embeddings`` ``(n_images, embedding_dim)`` float32; ids and origin are in the header."""

    content = "embeddings"
    empty = Embeddings((), np.empty((0, 0), np.float32), {})

    def save(self, data: Embeddings) -> None:
        """Save embeddings and ids in one file."""
        header = {**data.description, "image_ids": list(data.image_ids)}
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
        return Embeddings(image_ids, values, {key: value for key, value in stored.header.items() if key != "image_ids"})


def _check_lengths(values: FloatArray, image_ids: tuple[str, ...]) -> None:
    is_off = np.abs(np.linalg.norm(values.astype(np.float64), axis=1) - 1) > _TOLERANCE
    if is_off.any():
        raise ValueError(f"the embedding of image {image_ids[int(np.argmax(is_off))]} is not of unit length")
