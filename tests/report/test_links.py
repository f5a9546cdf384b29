"""Which links of groups are drawn, and that only their photographs are read."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import GeometryParams
from skinbit.data.photographs import Photographs
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.report.links import FoundLink, draw_rows, find_links, link_records
from tests.kept import find_keypoints


def group(cluster_id, image_ids, known_ids=(), margin=0.1, doubts=()):
    return {
        "cluster_id": cluster_id,
        "image_ids": list(image_ids),
        "known_ids": list(known_ids),
        "margin": margin,
        "contradictory_ids": [],
        "doubts": list(doubts),
    }


def shortlist(*links):
    pairs = np.array([link[:2] for link in links], np.int64).reshape(-1, 2)
    return Shortlist(pairs, np.array([link[2] for link in links], np.int64), np.ones(len(pairs)))


def test_groups_to_be_checked_come_first_then_those_of_the_smallest_margin():
    groups = [group(0, "ab", margin=0.2), group(1, "cd", margin=None), group(2, "ef", doubts=["unsure"], margin=0.3)]
    found = find_links(groups, "abcdef", [], shortlist((0, 1, 9), (2, 3, 9), (4, 5, 9)))
    assert [[link.cluster_id for link in links] for links in found] == [[2], [0], [1]]


def test_a_known_photograph_comes_after_all_new_ones_though_it_shares_an_id():
    found = find_links([group(0, "a", known_ids="a")], "ab", "a", shortlist((0, 2, 7)))
    assert found == [[FoundLink(0, (0, 2), 7)]]


def test_a_group_without_links_is_left_out_and_others_have_three_at_most():
    groups = [group(0, "abcde"), group(1, "f")]
    found = find_links(groups, "abcdef", [], shortlist((0, 1, 5), (1, 2, 4), (2, 3, 3), (3, 4, 2), (4, 5, 9)))
    assert [[link.inliers for link in links] for links in found] == [[5, 4, 3]]


def test_a_link_beyond_the_limit_has_no_drawing():
    linked = [[FoundLink(0, (0, 1), 9)], [FoundLink(1, (2, 3), 8)]]
    records = link_records(linked, "abcd", {(0, 1): "drawn"})
    assert [record["drawing"] for record in records] == ["drawn", None]
    assert records[1] == {"cluster_id": 1, "image_ids": ["c", "d"], "inliers": 8, "drawing": None}


@pytest.fixture
def found(tmp_path):
    """Photographs and their keypoints; since these were found, one photograph is gone."""
    for name in "abc":
        noise = np.random.default_rng(ord(name)).integers(0, 255, (60, 80, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    photographs = Photographs((list_photographs(tmp_path),))
    keypoints = find_keypoints(photographs, NO_TABLE, GeometryParams(), n_workers=1)
    (tmp_path / "b.png").unlink()
    return photographs, keypoints


def test_only_photographs_of_drawn_pairs_are_read(found):
    drawings = draw_rows(*found, [(0, 2)], GeometryParams(), n_workers=1)
    assert list(drawings) == [(0, 2)]
    assert drawings[0, 2].startswith("data:image/jpeg;base64,")


def test_without_pairs_nothing_is_drawn(found):
    assert draw_rows(*found, [], GeometryParams(), n_workers=1) == {}
