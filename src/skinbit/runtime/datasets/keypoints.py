"""Keypoints of photographs with their image ids and cache keys, as safetensors."""

import logging
from typing import Any

import numpy as np
from kedro_datasets._typing import JSONPreview

from skinbit.errors import InputError
from skinbit.matching.keypoints.sift import NO_TABLE, KeypointTable
from skinbit.runtime.datasets.files import FileDataset, pack, unpack

logger = logging.getLogger(__name__)

_TENSORS = ("sizes", "offsets", "positions", "diameters", "angles", "descriptors")


class KeypointsDataset(FileDataset[KeypointTable, KeypointTable]):
    """The arrays of :class:`skinbit.matching.keypoints.sift.KeypointTable`; ids, keys and description in the header.

    ``optional`` loads the keypoints of no image where there is no usable file yet: the cache of a first run.
    """

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional
        self.affects_results = not optional  # a cache affects only how fast they come

    def load(self) -> KeypointTable:
        """Load keypoints, ids and keys.

        Raises:
            InputError: If the file holds no keypoints, or damaged ones; unless ``optional``.
        """
        try:
            content = self._read()
            with self._reading():
                return _read_keypoints(content)
        except FileNotFoundError:
            if not self._optional:
                raise
        except InputError as error:
            if not self._optional:
                raise
            logger.warning("%s cannot be used (%s): keypoints are computed again", self._path, error.__cause__)
        return NO_TABLE

    def save(self, data: KeypointTable) -> None:
        """Save keypoints, ids and keys in one file."""
        header = {"image_ids": list(data.image_ids), "keys": list(data.keys), "description": data.description}
        self._write(pack({name: getattr(data, name) for name in _TENSORS}, header))

    def preview(self) -> JSONPreview:
        """Show how many keypoints there are, and what they were made with, in Kedro-Viz."""
        import json

        table = self.load()
        counts = {"images": len(table.image_ids), "keypoints": len(table.positions)}
        return JSONPreview(json.dumps({**counts, **table.description}))


def _read_keypoints(content: bytes) -> KeypointTable:
    stored = unpack(content)
    image_ids = stored.texts("image_ids")
    offsets = stored.array("offsets", np.int64, (len(image_ids) + 1,))
    n_keypoints = int(offsets[-1])
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("its tensor 'offsets' does not rise from 0 on")
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
