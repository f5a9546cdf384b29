"""Decoded photographs, as safetensors."""

import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from kedro_datasets._typing import JSONPreview

from skinbit.embedding.tables import Gathered, Pixels
from skinbit.runtime.datasets.files import Contents
from skinbit.runtime.datasets.pieces import PiecedDataset
from skinbit.runtime.datasets.tensors import map_tensors

logger = logging.getLogger(__name__)


class PixelsDataset(PiecedDataset[Pixels]):
    """The uint8 tensors ``canvases`` and ``crops``; the header has ids, hashes of the photographs and the sizes.

    Saving writes nothing if the file already has these photographs.
    """

    content = "decoded photographs"
    empty = Pixels((), np.empty((0, 1, 1, 3), np.uint8), np.empty((0, 1, 1, 1, 3), np.uint8), (), {})
    tensors: ClassVar = {"canvases": "canvases", "crops": "crops"}

    def _write_table(self, data: Pixels | Gathered[Pixels], header: Mapping[str, Any]) -> None:
        if self._exists() and self._holds(header):
            logger.info("%d photographs were already decoded", len(data.image_ids))
        else:
            super()._write_table(data, header)

    def _holds(self, header: Mapping[str, Any]) -> bool:
        try:
            return map_tensors(self._fs, self._path).header == header
        except ValueError:  # an older format, truncated, or not ours: made again
            return False

    def preview(self) -> JSONPreview:
        """Show sizes in Kedro-Viz."""
        pixels = self.load()
        shapes = {name: list(getattr(pixels, attribute).shape) for name, attribute in self.tensors.items()}
        return JSONPreview(json.dumps({**shapes, **pixels.description}))

    def _unpack(self, stored: Contents) -> Pixels:
        image_ids = stored.texts("image_ids")
        canvases = stored.array("canvases", np.uint8, (len(image_ids), None, None, 3))
        crops = stored.array("crops", np.uint8, (len(image_ids), None, None, None, 3))
        return Pixels(image_ids, canvases, crops, stored.texts("keys", len(image_ids)), stored.mapping(self.origin))
