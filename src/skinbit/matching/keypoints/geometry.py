"""Geometric verification: the similarity transform on which most keypoints of two photographs agree.

The embedding proposes pairs, and keypoints verify them. Nearest descriptors that pass Lowe's ratio test (2004) are
matched, and every match, two keypoints with direction and diameter, proposes a transform (Philbin et al. 2007). All
proposals are tried, so there is no randomness, and a match agrees with a transform only if direction and diameter agree
as well. Mirror images do not match, as neither descriptors nor transforms are mirrored.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skinbit.config import GeometryParams
from skinbit.matching.keypoints.sift import Keypoints
from skinbit.matching.labels import FloatArray, LabelArray

ComplexArray = NDArray[np.complex128]
"""Positions as x + iy; a similarity transform is z ↦ turn · z + shift."""

Transform = NDArray[np.float64]
"""``(2, 3)``: a point p is mapped to ``transform[:, :2] @ p + transform[:, 2]``."""

Flags = NDArray[np.bool_]

_MAX_ZOOM: Final = 4.0
_MAX_ZOOM_DIFFERENCE: Final = 2.0
_MAX_ANGLE: Final = np.deg2rad(45)
"""Largest difference of a match's zoom and direction from the transform's, about the accuracy of SIFT."""

_N_PROPOSALS: Final = 100
"""Only the nearest matches propose transforms, so that copies of a photograph, with hundreds of matches, stay cheap."""

_N_REFINED: Final = 5
"""Number of best proposals that are refitted to all matches that agree with them."""

_ZOOM_DIGITS: Final = 3
"""Decimals of a zoom; more would differ between processors."""


@dataclass(frozen=True)
class PairMatch:
    """The matched keypoints of two photographs.

    Attributes:
        n_inliers: Number of keypoints on which both photographs agree.
        transform: From the first scaled image to the second, in pixels; None without inliers.
        points_a: ``(n_inliers, 2)`` float32, positions in the first scaled image, most distinctive first.
        points_b: ``(n_inliers, 2)`` float32, positions in the second scaled image.
    """

    n_inliers: int
    transform: Transform | None
    points_a: FloatArray
    points_b: FloatArray

    @property
    def zoom(self) -> float:
        """Return the zoom from the smaller to the larger photograph, in [1, 4]; 1 without inliers."""
        if self.transform is None:
            return 1.0
        zoom = float(np.sqrt(abs(np.linalg.det(self.transform[:, :2]))))
        return round(max(zoom, 1.0 / zoom), _ZOOM_DIGITS)


def match_pair(a: Keypoints, b: Keypoints, params: GeometryParams) -> PairMatch:
    """Return the similarity transform on which most keypoints of two photographs agree.

    Args:
        a: Keypoints of the first image.
        b: Keypoints of the second image.
        params: Ratio test, tolerance, smallest number of inliers.

    Returns:
        The match; exchanging ``a`` and ``b`` inverts it. Zooms are between 1/4 and 4.
    """
    # Matching has a direction: it starts with the image that has fewer keypoints, whatever the order of the arguments.
    if _sort_key(b) < _sort_key(a):
        return _reversed(_match_in_order(b, a, params))
    return _match_in_order(a, b, params)


def _sort_key(keypoints: Keypoints) -> tuple[int, bytes, bytes]:
    return len(keypoints), keypoints.positions.tobytes(), keypoints.descriptors.tobytes()


def _reversed(match: PairMatch) -> PairMatch:
    back = None if match.transform is None else invert(match.transform)
    return PairMatch(match.n_inliers, back, match.points_b, match.points_a)


def invert(transform: Transform) -> Transform:
    """Return the inverse transform."""
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack([linear, -linear @ transform[:, 2]])


def move(points: NDArray[np.floating], transform: Transform) -> NDArray[np.float64]:
    """Return transformed points, ``(n, 2)``."""
    moved: NDArray[np.float64] = points @ transform[:, :2].T + transform[:, 2]
    return moved


def _match_in_order(a: Keypoints, b: Keypoints, params: GeometryParams) -> PairMatch:
    rows_a, rows_b = match_descriptors(a, b, params.ratio)
    nothing = PairMatch(0, None, a.positions[:0], b.positions[:0])
    if len(rows_a) < params.min_matches:
        return nothing
    matches = _Matches(
        _places(a.positions[rows_a]),
        _places(b.positions[rows_b]),
        b.diameters[rows_b] / a.diameters[rows_a] * np.exp(1j * np.deg2rad(b.angles[rows_b] - a.angles[rows_a])),
    )
    turn, shift, inliers = _best_transform(matches, params.tolerance)
    if inliers.sum() < params.min_matches:
        return nothing
    transform = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return PairMatch(int(inliers.sum()), transform, a.positions[rows_a[inliers]], b.positions[rows_b[inliers]])


def match_descriptors(a: Keypoints, b: Keypoints, ratio: float) -> tuple[LabelArray, LabelArray]:
    """Return matched keypoints of two images by their descriptors, each position at most once.

    A keypoint of ``a`` is matched with its nearest one in ``b`` if the second nearest is clearly farther away.

    Args:
        a: Keypoints of the first image.
        b: Keypoints of the second image.
        ratio: Largest ratio of the distances to the nearest and to the second nearest descriptor.

    Returns:
        Rows of ``a`` and rows of ``b``, ``(n_matches,)`` each, smallest distances first.
    """
    if not len(a) or not len(b):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    distances = _squared_distances(a.descriptors, b.descriptors)
    every_row = np.arange(len(a))
    nearest = distances.argmin(axis=1)
    first = distances[every_row, nearest]
    distances[every_row, nearest] = np.inf
    second = distances.min(axis=1)
    rows = np.flatnonzero(first < ratio**2 * second)
    rows = rows[np.argsort(first[rows], kind="stable")]
    for places in (_places(a.positions), _places(b.positions)[nearest]):
        rows = rows[np.sort(np.unique(places[rows], return_index=True)[1])]
    return rows, nearest[rows]


def _squared_distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> FloatArray:
    """Return the squared distances of all pairs of descriptors.

    These are integers, and squared lengths are about 512², so all sums stay below 2²⁴, where single precision is exact
    on any processor, with any library and in any order.
    """
    wide_a, wide_b = a.astype(np.float32), b.astype(np.float32)
    distances: FloatArray = wide_a @ wide_b.T
    distances *= -2
    distances += np.square(wide_a).sum(axis=1)[:, None]
    distances += np.square(wide_b).sum(axis=1)
    return distances


def _places(positions: FloatArray) -> ComplexArray:
    return positions[:, 0] + 1j * positions[:, 1].astype(np.float64)


@dataclass(frozen=True)
class _Matches:
    """Matched keypoints: positions in both images, and rotation and zoom from the first to the second."""

    a: ComplexArray
    b: ComplexArray
    turns: ComplexArray

    def agree(self, turns: ComplexArray, shifts: ComplexArray, tolerance: float) -> Flags:
        """Return which matches (columns) agree with each transform (rows).

        The tolerance is that of an image halfway between both zooms, so the order of the images does not matter.
        """
        zooms = np.abs(turns)
        is_plausible = (zooms >= 1 / _MAX_ZOOM) & (zooms <= _MAX_ZOOM)
        distances = np.abs(turns[:, None] * self.a + shifts[:, None] - self.b)
        differences = self.turns / np.where(is_plausible, turns, 1)[:, None]
        zoom_differences = np.abs(differences)
        agrees: Flags = (
            is_plausible[:, None]
            & (distances <= (tolerance * np.sqrt(zooms))[:, None])
            & (np.abs(np.angle(differences)) <= _MAX_ANGLE)
            & (zoom_differences <= _MAX_ZOOM_DIFFERENCE)
            & (zoom_differences >= 1 / _MAX_ZOOM_DIFFERENCE)
        )
        return agrees

    def fit(self, members: Flags) -> tuple[ComplexArray, ComplexArray]:
        """Return the least-squares transform of the matches in each row."""
        weights = members / np.maximum(members.sum(axis=1, keepdims=True), 1)
        middle_a, middle_b = weights @ self.a, weights @ self.b
        from_a, from_b = self.a - middle_a[:, None], self.b - middle_b[:, None]
        spread = (weights * np.abs(from_a) ** 2).sum(axis=1)
        turns = (weights * from_a.conj() * from_b).sum(axis=1) / np.where(spread > 0, spread, np.inf)
        return turns, middle_b - turns * middle_a


def _best_transform(matches: _Matches, tolerance: float) -> tuple[complex, complex, Flags]:
    """Return the turn and shift with most inliers, and these inliers."""
    turns = matches.turns[:_N_PROPOSALS]
    shifts = matches.b[:_N_PROPOSALS] - turns * matches.a[:_N_PROPOSALS]
    inliers = matches.agree(turns, shifts, tolerance)
    best = np.argsort(-inliers.sum(axis=1), kind="stable")[:_N_REFINED]
    refined_turns, refined_shifts = matches.fit(inliers[best])
    refined = matches.agree(refined_turns, refined_shifts, tolerance)
    # A refined transform precedes its proposal, so that it is chosen if both are equal.
    turns, shifts = np.append(refined_turns, turns[best]), np.append(refined_shifts, shifts[best])
    inliers = np.concatenate([refined, inliers[best]])
    chosen = int(np.argmax(inliers.sum(axis=1)))
    return complex(turns[chosen]), complex(shifts[chosen]), inliers[chosen]
