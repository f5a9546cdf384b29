"""Features as earlier runs left them."""

from collections.abc import Callable

from skinbit.embedding.tables import Features
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.lookup import Lookup


class FeatureCacheDataset(Lookup):
    """Looks features up by the name of their folder; one entry, so one box in the graph, for all backbones.

    The files are written as ``{backbone}_features`` and ``{backbone}_training_views``; this is the same folder, read
    before they are written anew.
    """

    affects_results = False  # only how fast they come
    refusal = "the feature cache is only read"

    def load(self) -> Callable[[str, str], Features]:
        """Return the look-up: by name of the features and of the file; features of no image where none is usable."""

        def stored_features(name: str, file: str) -> Features:
            filepath = f"{self._path}/{name}/{file}.safetensors"
            return FeaturesDataset(filepath=filepath, optional=True, **self._file_system).load()

        return stored_features
