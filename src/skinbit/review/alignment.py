"""How one photograph lies on another, where their keypoints know."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.config import GeometryParams
from skinbit.matching.keypoints.geometry import invert, match_pair
from skinbit.matching.keypoints.sift import KeypointTable
from skinbit.report.matches import spread_out

MAX_POINTS = 40
"""That are shown."""


@dataclass(frozen=True)
class Alignment:
    """How the second photograph of a pair lies on the first; places count from 0 to 1, whatever size is shown.

    Attributes:
        matrix: ``(2, 3)``, from places of the second to places of the first.
        points: Places of both on which they agree, those farthest from each other where there are many.
        n_points: Number of all such places.
        is_sure: Whether these are enough to take both for one lesion; fewer may agree by chance.
    """

    matrix: list[list[float]]
    points: tuple[list[list[float]], list[list[float]]]
    n_points: int
    is_sure: bool


def align(keypoints: KeypointTable, first: int, second: int, geometry: GeometryParams) -> Alignment | None:
    """Return how a photograph lies on another; None where keypoints do not know.

    Args:
        keypoints: Of all photographs.
        first: Row of one.
        second: Row of the other.
        geometry: How keypoints are compared.
    """
    a, b = keypoints.at(first), keypoints.at(second)
    match = match_pair(a, b, geometry)
    if match.transform is None:
        return None
    chosen = spread_out(match.points_a, MAX_POINTS)
    back = invert(match.transform)
    sizes = np.array(a.size), np.array(b.size)
    # Keypoints count from the middle of the first pixel.
    linear = back[:, :2] * sizes[1] / sizes[0][:, None]
    shift = (back[:, 2] + 0.5 - back[:, :2] @ np.array([0.5, 0.5])) / sizes[0]
    return Alignment(
        matrix=np.column_stack([linear, shift]).tolist(),
        points=(_places(match.points_a[chosen], sizes[0]), _places(match.points_b[chosen], sizes[1])),
        n_points=match.n_inliers,
        is_sure=match.n_inliers >= geometry.enough_inliers,
    )


def _places(points: NDArray[np.floating], size: NDArray[np.int64]) -> list[list[float]]:
    places: list[list[float]] = ((points + 0.5) / size).round(5).tolist()
    return places
