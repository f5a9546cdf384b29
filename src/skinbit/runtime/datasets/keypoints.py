"""Keypoints of photographs with their image ids and cache keys, as safetensors."""

import json
from typing import ClassVar

import numpy as np
from kedro_datasets._typing import JSONPreview

from skinbit.matching.keypoints.sift import NO_TABLE, KeypointTable
from skinbit.runtime.datasets.files import Contents
from skinbit.runtime.datasets.pieces import PiecedDataset

_TENSORS = ("sizes", "offsets", "positions", "diameters", "angles", "descriptors")


class KeypointsDataset(PiecedDataset[KeypointTable]):
    """The arrays of :class:`skinbit.matching.keypoints.sift.KeypointTable`; ids, keys and description in the header."""

    content = "keypoints"
    empty = NO_TABLE
    tensors: ClassVar = {name: name for name in _TENSORS}

    def preview(self) -> JSONPreview:
        """Show in Kedro-Viz how many keypoints there are, and how they were made."""
        table = self.load()
        counts = {"images": len(table.image_ids), "keypoints": len(table.positions)}
        return JSONPreview(json.dumps({**counts, **table.description}))

    def _unpack(self, stored: Contents) -> KeypointTable:
        image_ids = stored.texts("image_ids")
        offsets = stored.array("offsets", np.int64, (len(image_ids) + 1,))
        n_keypoints = int(offsets[-1])
        if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("its tensor 'offsets' does not ascend from 0")
        return KeypointTable(
            image_ids=image_ids,
            keys=stored.texts("keys", len(image_ids)),
            sizes=stored.array("sizes", np.int64, (len(image_ids), 2)),
            offsets=offsets,
            positions=stored.array("positions", np.float32, (n_keypoints, 2)),
            diameters=stored.array("diameters", np.float32, (n_keypoints,)),
            angles=stored.array("angles", np.float32, (n_keypoints,)),
            descriptors=stored.array("descriptors", np.uint8, (n_keypoints, 128)),
            description=stored.mapping("description"),
        )
