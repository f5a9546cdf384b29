"""Frozen features with their image ids and cache keys, as safetensors."""

import logging
from typing import Any

import numpy as np
from kedro_datasets._typing import JSONPreview

from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.runtime.datasets.files import FileDataset, pack, unpack

logger = logging.getLogger(__name__)

_TENSOR = "features"


class FeaturesDataset(FileDataset[Features, Features]):
    """The tensor ``features`` ``(n_images, n_views, feature_dim)`` float32; ids, keys and backbone in the header.

    ``optional`` loads features of no image where there is no usable file yet: the cache of a first run.
    """

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional

    def load(self) -> Features:
        """Load features, ids and keys.

        Raises:
            InputError: If the file holds no features, or damaged ones; unless ``optional``.
        """
        try:
            content = self._read()
            with self._reading():
                return _read_features(content)
        except FileNotFoundError:
            if not self._optional:
                raise
        except InputError as error:
            if not self._optional:
                raise
            logger.warning("%s cannot be used (%s): features are computed again", self._path, error.__cause__)
        return Features((), np.empty((0, 0, 0), np.float32), (), {})

    def save(self, data: Features) -> None:
        """Save features, ids and keys in one file."""
        header = {"image_ids": list(data.image_ids), "keys": list(data.keys), "backbone": data.description}
        self._write(pack({_TENSOR: data.values}, header))

    def preview(self) -> JSONPreview:
        """Show what made the features, and how many there are, in Kedro-Viz."""
        import json

        features = self.load()
        return JSONPreview(json.dumps({"shape": list(features.values.shape), **features.description}))


def _read_features(content: bytes) -> Features:
    stored = unpack(content)
    image_ids = stored.texts("image_ids")
    keys = stored.texts("keys", len(image_ids))
    values = stored.array(_TENSOR, np.float32, (len(image_ids), None, None))
    return Features(image_ids, values, keys, stored.mapping("backbone"))
