"""How one photograph lies on another: places of one, moved, are those of the other."""

import numpy as np
import pytest

from skinbit.config import GeometryParams
from skinbit.data.decoding import decode_image
from skinbit.data.synthetic import make_photographs
from skinbit.matching.keypoints.sift import extract_keypoints, tabulate_keypoints
from skinbit.review.alignment import MAX_POINTS, align

PARAMS = GeometryParams(image_side=240, n_keypoints=300)


@pytest.fixture(scope="module")
def photograph():
    made = next(iter(make_photographs(1, 3, 240, 180)))
    return decode_image(made.jpeg, 10**6)


def test_a_photograph_that_was_turned_and_cut_lies_where_it_was_taken(photograph):
    cut = photograph.crop((60, 45, 240, 180)).transpose(method=3)  # upside down
    table = tabulate_keypoints(
        ("a", "b"), ("a", "b"), [extract_keypoints(each, PARAMS) for each in (photograph, cut)], {}
    )
    found = align(table, 0, 1, PARAMS)
    assert found is not None
    assert found.is_sure
    assert np.allclose(found.matrix, [[-0.75, 0, 1], [0, -0.75, 1]], atol=0.01)
    assert 3 <= len(found.points[0]) == len(found.points[1]) <= MAX_POINTS
    moved = np.array(found.points[1]) @ np.array(found.matrix)[:, :2].T + np.array(found.matrix)[:, 2]
    assert np.abs(moved - found.points[0]).max() < 0.05


def test_photographs_without_common_points_are_not_aligned(photograph):
    table = tabulate_keypoints(
        ("a", "b"),
        ("a", "b"),
        [extract_keypoints(each, PARAMS) for each in (photograph, photograph.point(lambda _: 128))],
        {},
    )
    assert align(table, 0, 1, PARAMS) is None
