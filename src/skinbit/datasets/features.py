"""Frozen features with their image ids and cache keys, as safetensors."""

from typing import Any

import numpy as np
from kedro_datasets._typing import JSONPreview
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from skinbit.datasets.files import FileDataset, pack, unpack_header
from skinbit.embedding.tables import Features

_TENSOR = "features"


class FeaturesDataset(FileDataset[Features, Features]):
    """The tensor ``features`` ``(n_images, n_views, feature_dim)`` float32; ids, keys and backbone in the header.

    ``optional`` loads features of no image where there is no usable file yet: the cache of a first run.
    """

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional

    def load(self) -> Features:
        """Load features, ids and keys."""
        try:
            return self._load_file()
        except (FileNotFoundError, KeyError, SafetensorError, ValueError):
            if not self._optional:
                raise
            return Features((), np.empty((0, 0, 0), np.float32), (), {})

    def _load_file(self) -> Features:
        content = self._read()
        header = unpack_header(content)
        return Features(
            tuple(header["image_ids"]),
            load_tensors(content)[_TENSOR],
            tuple(header["keys"]),
            header["backbone"],
        )

    def save(self, data: Features) -> None:
        """Save features, ids and keys in one file."""
        header = {"image_ids": list(data.image_ids), "keys": list(data.keys), "backbone": data.description}
        self._write(pack({_TENSOR: data.values}, header))

    def preview(self) -> JSONPreview:
        """Show what made the features, and how many there are, in Kedro-Viz."""
        import json

        features = self.load()
        return JSONPreview(json.dumps({"shape": list(features.values.shape), **features.description}))
