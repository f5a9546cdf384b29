"""Keypoints of photographs with their image ids and cache keys, as safetensors."""

import logging
from typing import Any

from kedro_datasets._typing import JSONPreview
from safetensors import SafetensorError

from skinbit.datasets.files import FileDataset, pack, unpack
from skinbit.matching.keypoints import NO_TABLE, KeypointTable

logger = logging.getLogger(__name__)

_TENSORS = ("sizes", "offsets", "positions", "diameters", "angles", "descriptors")


class KeypointsDataset(FileDataset[KeypointTable, KeypointTable]):
    """The arrays of :class:`skinbit.matching.keypoints.KeypointTable`; ids, keys and description in the header.

    ``optional`` loads the keypoints of no image where there is no usable file yet: the cache of a first run.
    """

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional
        self.affects_results = not optional  # a cache affects only how fast they come

    def load(self) -> KeypointTable:
        """Load keypoints, ids and keys."""
        try:
            return self._load_file()
        except FileNotFoundError:
            if not self._optional:
                raise
        except (KeyError, SafetensorError, TypeError, ValueError) as error:
            if not self._optional:
                raise
            logger.warning("%s cannot be used (%s): keypoints are computed again", self._path, error)
        return NO_TABLE

    def _load_file(self) -> KeypointTable:
        tensors, header = unpack(self._read())
        return KeypointTable(
            image_ids=tuple(header["image_ids"]),
            keys=tuple(header["keys"]),
            description=header["description"],
            **{name: tensors[name] for name in _TENSORS},
        )

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
