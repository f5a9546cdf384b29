"""The drawing of a match shows both photographs, and lines where they agree."""

import numpy as np
import pytest
from PIL import Image

from skinbit.matching.keypoints.geometry import PairMatch
from skinbit.report.matches import draw_matches, spread_out
from skinbit.report.thumbnails import shrink

GREY = (128, 128, 128)
SIZES = ((200, 150), (200, 150))
NOTHING = PairMatch(0, None, np.empty((0, 2), np.float32), np.empty((0, 2), np.float32))


def match_of(points_a, zoom=1.0) -> PairMatch:
    points = np.array(points_a, np.float32)
    return PairMatch(len(points), np.array([[zoom, 0, 0], [0, zoom, 0]]), points, points * np.float32(zoom))


def drawn(match: PairMatch, size_a=(200, 150), size_b=(200, 150), height=300) -> Image.Image:
    return draw_matches((Image.new("RGB", size_a, GREY), Image.new("RGB", size_b, GREY)), match, SIZES, height)


def coloured(drawing: Image.Image) -> np.ndarray:
    """Mark pixels that are clearly blue."""
    pixels = np.asarray(drawing).astype(int)
    return pixels[..., 2] - pixels[..., 0] > 60


def test_photographs_stand_side_by_side_at_equal_height():
    drawing = drawn(NOTHING, (400, 300), (100, 150), height=150)
    assert drawing.mode == "RGB"
    assert drawing.height == 150
    assert 200 + 100 < drawing.width < 200 + 100 + 20


def test_without_a_match_there_are_photographs_only():
    assert not coloured(drawn(NOTHING)).any()
    assert coloured(drawn(match_of([(50, 60), (90, 20), (30, 100)]))).any()


def test_a_line_joins_the_two_places():
    drawing = drawn(match_of([(50, 75), (50, 75), (50, 75)]))
    marked = coloured(drawing)
    rows, columns = np.nonzero(marked)
    assert abs(rows.mean() - 151) < 3
    assert abs(columns.min() - 101) < 6
    left_of_b = drawing.width - 400
    assert abs(columns.max() - (left_of_b + 101)) < 6


def test_photographs_of_any_size_are_marked_at_the_same_places():
    match = match_of([(50, 75), (150, 20), (20, 120)])
    small, large = drawn(match), drawn(match, (600, 450), (1000, 750))
    assert (coloured(small) == coloured(large)).all()


def test_a_frame_shows_what_the_other_photograph_sees():
    drawing = np.asarray(drawn(match_of([(20, 20), (22, 20), (20, 22)], zoom=0.5)))
    assert drawing[100, -401 + 201].min() > 200  # the first photograph ends in the middle of the second
    assert drawing[100, -401 + 150].min() < 200


def test_same_match_gives_the_same_bytes():
    match = match_of([(50, 75), (150, 20), (20, 120)])
    assert shrink(drawn(match), 600) == shrink(drawn(match), 600)


class TestSpread:
    def test_few_points_are_all_taken(self):
        assert spread_out(np.zeros((3, 2), np.float32), 5).tolist() == [0, 1, 2]

    def test_of_a_crowd_and_a_far_point_the_far_one_is_taken(self):
        crowd = np.random.default_rng(0).uniform(0, 1, (50, 2))
        chosen = spread_out(np.vstack([crowd, [[100, 100]]]).astype(np.float32), 2)
        assert chosen.tolist() == [0, 50]

    @pytest.mark.parametrize("n_points", [1, 7, 20])
    def test_number_of_points_is_kept_and_none_comes_twice(self, n_points):
        points = np.random.default_rng(1).uniform(0, 100, (60, 2)).astype(np.float32)
        assert len(set(spread_out(points, n_points).tolist())) == n_points
