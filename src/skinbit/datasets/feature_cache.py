"""Features as earlier runs left them."""

from collections.abc import Callable
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.datasets.features import FeaturesDataset
from skinbit.embedding.tables import Features


class FeatureCacheDataset(AbstractDataset[NoReturn, Callable[[str], Features]]):
    """Looks features up by the name of their folder; one entry, so one box in the graph, for all backbones.

    The files are written as ``{backbone}_features``; this is the same folder, read before they are written anew.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None, **file_system: Any) -> None:
        """Name the folder.

        Args:
            path: Local folder or any fsspec URL; it need not exist.
            metadata: For Kedro-Viz; not read here.
            file_system: ``credentials`` and ``fs_args`` of the files.
        """
        self._path = path
        self._file_system = file_system
        self.metadata = metadata

    def load(self) -> Callable[[str], Features]:
        """Give the look-up: features by name, of no image where there is no usable file."""

        def stored_features(name: str) -> Features:
            filepath = f"{self._path}/{name}/features.safetensors"
            return FeaturesDataset(filepath=filepath, optional=True, **self._file_system).load()

        return stored_features

    def save(self, data: NoReturn) -> None:
        """Refuse: features are saved one backbone at a time."""
        raise DatasetError("the feature cache is only read")

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return True
