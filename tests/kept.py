"""Pieces in memory, for tests of what makes them."""

from typing import Any

from skinbit.config import GeometryParams
from skinbit.data.executor import LocalExecutor
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import Making
from skinbit.embedding.pixels import PixelMaker, complete_pixels
from skinbit.embedding.tables import Features, Gathered
from skinbit.matching.keypoints.compared import NO_PAIRS, Comparing
from skinbit.matching.keypoints.sift import KeypointTable, extract_photographs
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.files import address_of
from skinbit.runtime.datasets.pieces import StoredPieces
from skinbit.runtime.datasets.pixels import PixelsDataset

NOTHING: Features = FeaturesDataset.empty


class Kept:
    """A store that notes the pieces that are kept in it."""

    def __init__(self, finished: Any) -> None:
        self.whole = finished
        self.kept: list[Any] = []

    def finished(self) -> Any:
        return self.whole

    def pieces(self) -> list[Any]:
        return self.kept.copy()

    def keep(self, piece: Any) -> Any:
        self.kept.append(piece)
        return piece


def read(gathered: Gathered[Features]) -> Features:
    """Return gathered features as they would be stored."""
    values = gathered.read("values") if gathered.places else NOTHING.values
    return Features(gathered.image_ids, values, gathered.keys, gathered.description)


def decode(maker: PixelMaker, dataset: PixelsDataset, size: int = 3) -> None:
    """Decode photographs into a file, in pieces beside it."""
    store = StoredPieces(PixelsDataset, address_of(*dataset.stored_file()))
    dataset.save(complete_pixels(maker, store, in_pieces(size)))


def in_pieces(size: int) -> Making:
    """Return pieces of some size, made one after another."""
    return Making(LocalExecutor(), size)


def comparing(params: GeometryParams, n_workers: int = 1) -> Comparing:
    """Return how pairs are compared, in small pieces that are kept in memory."""
    return Comparing(params, n_workers, Kept(NO_PAIRS), in_pieces(5))


def find_keypoints(
    photographs: ListedPhotographs | Photographs, stored: KeypointTable, params: GeometryParams, n_workers: int
) -> KeypointTable:
    """Return the keypoints of photographs, with those of an earlier run."""
    several = photographs if isinstance(photographs, Photographs) else Photographs((photographs,))
    return extract_photographs(several, Kept(stored), params, n_workers, in_pieces(2))
