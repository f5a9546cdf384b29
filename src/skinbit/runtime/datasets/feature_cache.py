"""Features of earlier runs."""

from collections.abc import Callable

from skinbit.embedding.tables import Features
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.lookup import Lookup


class FeatureCacheDataset(Lookup):
    """Looks up features by the name of their folder; one catalog entry, so one box in the graph, for all backbones.

    The files are those of ``{backbone}_features`` and ``{backbone}_training_views``, read before they are written
    again.
    """

    affects_results = False  # they only affect the speed
    refusal = "the feature cache is read-only"

    def load(self) -> Callable[[str, str], Features]:
        """Return the look-up by name of the features and of the file; without a usable file, an empty table."""

        def stored_features(name: str, file: str) -> Features:
            filepath = f"{self._path}/{name}/{file}.safetensors"
            return FeaturesDataset(filepath=filepath, optional=True, **self._file_system).load()

        return stored_features
