"""Frozen features with their image ids and cache keys, as safetensors."""

import json
from typing import ClassVar

import numpy as np
from kedro_datasets._typing import JSONPreview

from skinbit.embedding.tables import Features
from skinbit.runtime.datasets.files import Contents
from skinbit.runtime.datasets.pieces import PiecedDataset


class FeaturesDataset(PiecedDataset[Features]):
    """The tensor ``features`` ``(n_images, n_views, feature_dim)`` float32; the header has ids, keys and backbone."""

    content = "features"
    empty = Features((), np.empty((0, 1, 1), np.float32), (), {})
    tensors: ClassVar = {"features": "values"}
    origin = "backbone"

    def preview(self) -> JSONPreview:
        """Show in Kedro-Viz how the features were made, and how many there are."""
        features = self.load()
        return JSONPreview(json.dumps({"shape": list(features.values.shape), **features.description}))

    def _unpack(self, stored: Contents) -> Features:
        image_ids = stored.texts("image_ids")
        keys = stored.texts("keys", len(image_ids))
        values = stored.array("features", np.float32, (len(image_ids), None, None))
        return Features(image_ids, values, keys, stored.mapping(self.origin))
