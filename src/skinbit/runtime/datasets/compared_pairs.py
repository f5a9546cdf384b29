"""Compared pairs with their cache keys, as safetensors."""

import numpy as np

from skinbit.matching.keypoints.compared import NO_PAIRS, ComparedPairs
from skinbit.runtime.datasets.files import Contents, pack
from skinbit.runtime.datasets.tables import TableDataset


class ComparedPairsDataset(TableDataset[ComparedPairs, ComparedPairs]):
    """The tensors ``inliers`` int64 and ``zooms`` float64, both ``(m,)``; the header has the keys."""

    content = "compared pairs"
    empty = NO_PAIRS

    def save(self, data: ComparedPairs) -> None:
        """Save inliers, zooms and keys in one file."""
        self._write(pack({"inliers": data.inliers, "zooms": data.zooms}, {"keys": list(data.keys)}))

    def _unpack(self, stored: Contents) -> ComparedPairs:
        keys = stored.texts("keys")
        inliers = stored.array("inliers", np.int64, (len(keys),))
        return ComparedPairs(keys, inliers, stored.array("zooms", np.float64, (len(keys),)))
