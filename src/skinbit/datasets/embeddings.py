"""Embeddings with their image ids, as safetensors."""

from kedro_datasets._typing import TablePreview

from skinbit.datasets.files import FileDataset, pack, unpack
from skinbit.embedding.tables import Embeddings

_TENSOR = "embeddings"
_PREVIEW_COLUMNS = 8


class EmbeddingsDataset(FileDataset[Embeddings, Embeddings]):
    """The tensor ``embeddings`` ``(n_images, embedding_dim)`` float32; ids and origin are in the header."""

    def load(self) -> Embeddings:
        """Load embeddings and ids."""
        tensors, header = unpack(self._read())
        image_ids = tuple(header.pop("image_ids"))
        return Embeddings(image_ids, tensors[_TENSOR], header)

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
