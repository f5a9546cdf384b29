"""Pieces in memory, for tests of what makes them."""

from typing import Any

from skinbit.config import GeometryParams
from skinbit.data.executor import LocalExecutor
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import Making
from skinbit.matching.keypoints.compared import NO_PAIRS, Comparing
from skinbit.matching.keypoints.sift import KeypointTable, extract_photographs


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
