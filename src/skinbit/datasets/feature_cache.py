"""Features as earlier runs left them."""

from collections.abc import Callable
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.datasets.features import FeaturesDataset
from skinbit.embedding.tables import Features


class FeatureCacheDataset(AbstractDataset[NoReturn, Callable[[str, str], Features]]):
    """Looks features up by the name of their folder; one entry, so one box in the graph, for all backbones.

    The files are written as ``{backbone}_features`` and ``{backbone}_training_views``; this is the same folder, read
    before they are written anew.
    """

    affects_results = False  # only how fast they come

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

    def load(self) -> Callable[[str, str], Features]:
        """Give the look-up: by name of the features and of the file; features of no image where none is usable."""

        def stored_features(name: str, file: str) -> Features:
            filepath = f"{self._path}/{name}/{file}.safetensors"
            return FeaturesDataset(filepath=filepath, optional=True, **self._file_system).load()

        return stored_features

    def save(self, data: NoReturn) -> None:
        """Refuse: features are saved one backbone at a time."""
        raise DatasetError("the feature cache is only read")

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return True
