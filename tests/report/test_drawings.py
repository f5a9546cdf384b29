"""Which pairs are drawn, and the drawings of synthetic photographs and their excerpts."""

import base64
import io
import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import ComputeParams, DataParams, GeometryParams
from skinbit.data.synthetic import make_photographs
from skinbit.errors import InputError
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.pipelines.final_model.nodes.mistakes import draw_matches
from skinbit.report.drawings import KeypointPhotographs, count_points, draw_pairs, strongest_links
from tests.kept import find_keypoints

GEOMETRY = GeometryParams()


def pairs_of(*names):
    return [{"image_a": name[0], "image_b": name[1]} for name in names]


class TestPairs:
    def test_the_worst_of_every_list_come_first_and_each_pair_once(self):
        compared = {("a", "b"): 3, ("a", "c"): 0, ("b", "c"): 9, ("c", "d"): 4}
        counts = count_points([pairs_of("cb", "ab", "cd"), pairs_of("ac", "bc")], compared)
        assert list(counts.items()) == [(("b", "c"), 9), (("a", "c"), 0), (("a", "b"), 3), (("c", "d"), 4)]

    def test_a_pair_that_was_not_compared_has_no_count(self):
        assert count_points([pairs_of("ab", "ac")], {("a", "c"): 0}) == {("a", "c"): 0}


def shortlist(links):
    pairs = np.array([link[:2] for link in links], np.int64).reshape(-1, 2)
    return Shortlist(pairs, np.array([link[2] for link in links], np.int64), np.ones(len(pairs)))


def is_forest(links):
    parts = {}
    for a, b, _ in links:
        part_a, part_b = parts.get(a, {a}), parts.get(b, {b})
        if part_a is part_b:
            return False
        parts.update(dict.fromkeys(part_a | part_b, part_a | part_b))
    return True


class TestLinks:
    @given(st.dictionaries(st.sampled_from(list(itertools.combinations(range(5), 2))), st.integers(0, 9), max_size=8))
    def test_hold_a_group_together_by_as_many_inliers_as_any_tree_could(self, inliers):
        links = [(a, b, n) for (a, b), n in inliers.items()]
        (found,) = strongest_links([(range(5), ())], shortlist(links), 10)
        subsets = itertools.chain.from_iterable(itertools.combinations(links, size) for size in range(5))
        assert is_forest(found)
        assert set(found) <= set(links)
        assert sum(n for *_, n in found) == max(sum(n for *_, n in tree) for tree in subsets if is_forest(tree))
        assert [n for *_, n in found] == sorted((n for *_, n in found if n), reverse=True)

    def test_are_the_strongest_and_never_between_groups(self):
        links = [(0, 1, 5), (1, 2, 7), (2, 3, 50), (3, 4, 2)]
        assert strongest_links([((0, 1, 2), ()), ((3, 4), ())], shortlist(links), 1) == [[(1, 2, 7)], [(3, 4, 2)]]

    def test_known_photographs_are_joined_by_their_label(self):
        links = [(0, 5, 4), (0, 6, 3), (5, 6, 50)]
        assert strongest_links([((0,), (5, 6))], shortlist(links), 3) == [[(0, 5, 4)]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two synthetic lesions, each with an excerpt of its photograph."""
    root = tmp_path_factory.mktemp("images")
    firsts = {p.lesion_id: p for p in make_photographs(2, seed=0, width=400, height=300)}
    for name, photograph in zip("pq", firsts.values(), strict=True):
        whole = Image.open(io.BytesIO(photograph.jpeg))
        whole.save(root / f"{name}_whole.jpg", quality=95)
        whole.crop((60, 40, 360, 265)).save(root / f"{name}_part.jpg", quality=95)
    return list_photographs(root)


@pytest.fixture(scope="module")
def keypoints(photographs):
    return find_keypoints(photographs, NO_TABLE, GEOMETRY, n_workers=1)


def decoded(address):
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))


class TestDrawings:
    def draw(self, photographs, keypoints, pairs, n_workers=1):
        return list(draw_pairs(pairs, KeypointPhotographs.of_study(keypoints, photographs), GEOMETRY, n_workers))

    def test_are_small_jpegs_of_two_photographs(self, photographs, keypoints):
        (drawing,) = self.draw(photographs, keypoints, [(0, 1)])
        image = decoded(drawing)
        assert image.height == 300
        assert 800 <= image.width <= 900
        assert len(drawing) < 150_000

    def test_are_the_same_whatever_the_number_of_threads(self, photographs, keypoints):
        pairs = [(0, 1), (2, 3), (1, 0)]
        assert self.draw(photographs, keypoints, pairs) == self.draw(photographs, keypoints, pairs, n_workers=3)

    def test_of_very_wide_photographs_are_no_wider(self, photographs, keypoints, tmp_path):
        for row in (0, 1):
            Image.new("RGB", (4000, 20)).save(tmp_path / f"{keypoints.image_ids[row]}.jpg")
        (drawing,) = self.draw(list_photographs(tmp_path), keypoints, [(0, 1)])
        assert decoded(drawing).width <= 900

    def test_a_photograph_that_is_gone_is_named(self, photographs, keypoints, tmp_path):
        moved = replace(photographs, folder=replace(photographs.folder, root=str(tmp_path)))
        with pytest.raises(InputError, match=r"photograph p_part\.jpg can no longer be used: it is gone"):
            self.draw(moved, keypoints, [(0, 1)])


class TestNode:
    def draw(self, photographs, keypoints, compared, cosine, dbscan, max_drawings=100):
        table = pd.DataFrame(compared, columns=["image_a", "image_b", "inliers"])
        cosine, dbscan = ({"pairs": [{"image_a": a, "image_b": b} for a, b in pairs]} for pairs in (cosine, dbscan))
        inputs = {"images": photographs.folder, "image_index": photographs.table, "keypoints": keypoints}
        settings = {"geometry": GEOMETRY, "compute": ComputeParams(threads=1), "data": DataParams()}
        documents = {"shortlist": table, "by_cosine": cosine, "by_dbscan": dbscan}
        return draw_matches(**inputs, **documents, **settings, max_drawings=max_drawings)

    def test_draws_the_worst_pairs_with_inliers_and_lists_all_that_were_compared(self, photographs, keypoints):
        p, q, mixed = ("p_part", "p_whole"), ("q_part", "q_whole"), ("p_part", "q_part")
        compared = [(*reversed(p), 40), (*q, 30), (*mixed, 0)]
        found = self.draw(photographs, keypoints, compared, [mixed, q], [("p_whole", "q_whole"), p], max_drawings=1)
        assert [(each["image_a"], each["image_b"], each["inliers"]) for each in found] == [
            (*mixed, 0),
            (*q, 30),
            (*p, 40),
        ]
        assert [each["drawing"] is not None for each in found] == [False, True, False]

    def test_an_excerpt_of_a_photograph_is_drawn_with_lines(self, photographs, keypoints):
        pair = ("p_part", "p_whole")
        (found,) = self.draw(photographs, keypoints, [(*pair, 40)], [pair], [])
        pixels = np.asarray(decoded(found["drawing"])).astype(int)
        assert ((pixels[..., 2] - pixels[..., 0]) > 100).sum() > 1000

    def test_without_mistakes_there_is_nothing_to_draw(self, photographs, keypoints):
        assert self.draw(photographs, keypoints, [("p_part", "p_whole", 40)], [], []) == []
