"""Features of earlier runs, and pieces of unfinished ones."""

from collections.abc import Callable

from skinbit.embedding.tables import Features
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.lookup import Lookup
from skinbit.runtime.datasets.pieces import StoredPieces


class FeatureCacheDataset(Lookup):
    """Looks up features by the name of their folder; one catalog entry, so one box in the graph, for all backbones.

    The files are those of ``{backbone}_features`` and ``{backbone}_training_views``, read before they are written
    again, and their pieces.
    """

    affects_results = False  # they only affect the speed
    refusal = "pieces are written by the node that makes them"

    def load(self) -> Callable[[str, str], StoredPieces[Features]]:
        """Return the look-up by name of the features and of the file."""

        def stored_features(name: str, file: str) -> StoredPieces[Features]:
            return StoredPieces(FeaturesDataset, f"{self._path}/{name}/{file}.safetensors", **self._file_system)

        return stored_features
