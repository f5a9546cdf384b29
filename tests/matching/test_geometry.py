"""Photographs of the same places have many inliers, whatever lies between them; others have next to none."""

import io
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from benchmarks.photographs import list_photographs
from skinbit.config import GeometryParams
from skinbit.data.photographs import Photographs
from skinbit.data.synthetic import make_photographs
from skinbit.errors import InputError
from skinbit.matching.keypoints import compared
from skinbit.matching.keypoints.compared import compare_pairs, shortlist_by_keypoints, shortlist_pairs
from skinbit.matching.keypoints.geometry import match_descriptors, match_pair
from skinbit.matching.keypoints.sift import (
    Keypoints,
    choose_keypoints,
    describe_keypoints,
    extract_keypoints,
    keypoint_key,
    tabulate_keypoints,
)
from skinbit.matching.pairs.neighbours import nearest_images
from tests.kept import comparing, find_keypoints
from tests.matching.samples import given_pool, limited, tile_sizes

SIZE = (240, 180)
PARAMS = GeometryParams(image_side=240, n_keypoints=300)


def texture(seed: int) -> Image.Image:
    """Blots of several sizes in several colours."""
    noise = np.random.default_rng(seed).normal(size=(3, 3, SIZE[1], SIZE[0]))
    layers = [
        gaussian_filter(layer, (0, sigma, sigma)) * sigma for layer, sigma in zip(noise, (1.5, 4, 10), strict=True)
    ]
    values = 128 + 160 * np.sum(layers, axis=0)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def photographed(image: Image.Image, angle: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)):
    """Turn (degrees, clockwise), zoom and shift around the middle; also give the transform of pixel positions."""
    turn = zoom * np.exp(1j * np.deg2rad(angle))
    middle = complex(*SIZE) / 2 - (0.5 + 0.5j)
    offset = middle + complex(*shift) - turn * middle
    forward = np.array([[turn.real, -turn.imag, offset.real], [turn.imag, turn.real, offset.imag]])
    back = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
    # Pillow counts from corners of pixels.
    back[:2, 2] += 0.5 - back[:2, :2] @ (0.5, 0.5)
    return image.transform(SIZE, Image.Transform.AFFINE, back[:2].ravel().tolist(), Image.Resampling.BICUBIC), forward


def keypoints(image: Image.Image, params: GeometryParams = PARAMS) -> Keypoints:
    return extract_keypoints(image, params)


def inliers(a: Image.Image, b: Image.Image) -> int:
    return match_pair(keypoints(a), keypoints(b), PARAMS).n_inliers


def applied(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def table_of(images: list[Image.Image]):
    ids = [f"i{number}" for number in range(len(images))]
    return tabulate_keypoints(ids, ids, [keypoints(image) for image in images], {})


VIEWS = [
    {"angle": 0, "zoom": 1, "shift": (12, -7)},
    {"angle": 90},
    {"angle": 33, "zoom": 1.3},
    {"angle": -140, "zoom": 0.7, "shift": (5, 9)},
    {"zoom": 2.0},
]


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_places_are_found_again_turned_zoomed_and_shifted(view):
    image = texture(0)
    other, forward = photographed(image, **view)
    match = match_pair(keypoints(image), keypoints(other), PARAMS)
    assert match.n_inliers >= 20
    corners = np.array([[60, 40], [180, 40], [180, 140], [60, 140]], float)
    assert np.abs(applied(match.transform, corners) - applied(forward, corners)).max() < 2


@pytest.mark.parametrize("view", VIEWS)
def test_every_inlier_lies_within_the_tolerance_and_counts_once(view):
    image = texture(1)
    match = match_pair(keypoints(image), keypoints(photographed(image, **view)[0]), PARAMS)
    assert len(match.points_a) == len(match.points_b) == match.n_inliers
    zoom = np.sqrt(np.linalg.det(match.transform[:, :2]))
    distances = np.linalg.norm(applied(match.transform, match.points_a) - match.points_b, axis=1)
    assert distances.max() <= PARAMS.tolerance * np.sqrt(zoom) * (1 + 1e-9)
    for points in (match.points_a, match.points_b):
        assert len(np.unique(points, axis=0)) == match.n_inliers


def test_different_places_have_next_to_no_inliers():
    images = [keypoints(texture(seed)) for seed in range(5)]
    found = [match_pair(a, b, PARAMS).n_inliers for a, b in itertools.combinations(images, 2)]
    assert max(found) <= 6


def test_light_and_contrast_change_little():
    image = texture(2)
    dim = image.point(lambda value: round(0.6 * value + 20))
    assert inliers(image, dim) > 0.5 * len(keypoints(image))


def test_a_mirror_image_does_not_match():
    image = texture(3)
    assert inliers(image, ImageOps.mirror(image)) <= 6


def test_synthetic_lesions_have_more_inliers_with_themselves():
    photographs = list(make_photographs(6, seed=1))
    sets = [extract_keypoints(Image.open(io.BytesIO(each.jpeg)), GeometryParams()) for each in photographs]
    found = {True: [], False: []}
    for (a, first), (b, second) in itertools.combinations(zip(sets, photographs, strict=True), 2):
        found[first.lesion_id == second.lesion_id].append(match_pair(a, b, GeometryParams()).n_inliers)
    assert np.median(found[True]) > max(found[False])


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (190, 140, 120)])
def test_a_blank_image_has_no_keypoints_and_no_inliers(colour):
    blank = Image.new("RGB", SIZE, colour)
    assert len(keypoints(blank)) == 0
    assert keypoints(blank).descriptors.shape == (0, 128)
    for other in (texture(0), blank):
        match = match_pair(keypoints(blank), keypoints(other), PARAMS)
        assert (match.n_inliers, match.transform, match.points_a.shape) == (0, None, (0, 2))


def test_fewer_than_the_least_number_of_inliers_are_none():
    image = texture(0)
    other = photographed(image, angle=33, zoom=1.3)[0]
    n_inliers = inliers(image, other)
    for least, expected in ((n_inliers, n_inliers), (n_inliers + 1, 0)):
        params = PARAMS.model_copy(update={"min_matches": least})
        assert match_pair(keypoints(image), keypoints(other), params).n_inliers == expected


@pytest.mark.parametrize("zoom", [0.2, 5.0])
def test_zooms_beyond_a_factor_of_four_are_not_believed(zoom):
    rng = np.random.default_rng(0)
    near = rng.uniform(0, 100, (40, 2)).astype(np.float32)
    descriptors = rng.integers(0, 90, (40, 128)).astype(np.uint8)
    a = Keypoints(near, np.full(40, 5, np.float32), np.zeros(40, np.float32), descriptors, (100, 100))
    b = Keypoints(near * zoom, a.diameters * zoom, a.angles, descriptors, (500, 500))
    assert match_pair(a, a, PARAMS).n_inliers == 40
    assert match_pair(a, b, PARAMS).n_inliers == 0


def test_places_that_agree_count_only_if_directions_and_diameters_agree_too():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 240, (40, 2)).astype(np.float32)
    descriptors = rng.integers(0, 90, (40, 128)).astype(np.uint8)
    straight = Keypoints(places, np.full(40, 5, np.float32), np.zeros(40, np.float32), descriptors, SIZE)
    angles, diameters = straight.angles.copy(), straight.diameters.copy()
    angles[:10], diameters[10:20] = 180, 15
    odd = Keypoints(places, diameters, angles, descriptors, SIZE)
    assert match_pair(straight, odd, PARAMS).n_inliers == 20


def test_descriptors_are_matched_as_a_slow_search_matches_them():
    a, b = keypoints(texture(4)), keypoints(photographed(texture(4), angle=20)[0])
    distances = np.linalg.norm(a.descriptors[:, None].astype(int) - b.descriptors.astype(int), axis=2)
    best: dict[tuple, tuple] = {}
    passing = []
    for row, to_others in enumerate(distances):
        nearest, second = np.argsort(to_others)[:2]
        if to_others[nearest] < PARAMS.ratio * to_others[second]:
            passing.append((to_others[nearest], row, nearest))
    taken: list[tuple[int, int]] = []
    for points, column in ((a.positions, 1), (b.positions, 2)):
        best = {}
        for each in sorted(passing):
            best.setdefault(tuple(points[each[column]]), each)
        passing = list(best.values())
    taken = [(row, column) for _, row, column in sorted(passing)]
    rows_a, rows_b = match_descriptors(a, b, PARAMS.ratio)
    assert len(taken) > 30
    assert list(zip(rows_a.tolist(), rows_b.tolist(), strict=True)) == taken


def test_exchanged_images_have_the_same_inliers_and_the_inverse_transform():
    for seed, view in itertools.product((0, 1), VIEWS):
        a, b = keypoints(texture(seed)), keypoints(photographed(texture(seed), **view)[0])
        there, back = match_pair(a, b, PARAMS), match_pair(b, a, PARAMS)
        assert np.array_equal(there.points_a, back.points_b)
        assert np.array_equal(there.points_b, back.points_a)
        assert np.allclose(applied(back.transform, applied(there.transform, there.points_a)), there.points_a)


def test_order_of_pairs_and_number_of_threads_change_no_count():
    image = texture(0)
    table = table_of([image, *(photographed(image, **view)[0] for view in VIEWS), texture(1), Image.new("RGB", SIZE)])
    pairs = np.array(list(itertools.product(range(8), repeat=2)) * 3)
    expected = [match_pair(table.at(i), table.at(j), PARAMS).n_inliers for i, j in pairs]
    assert compare_pairs(table, pairs, comparing(PARAMS)).inliers.tolist() == expected
    assert compare_pairs(table, pairs, comparing(PARAMS, 3)).inliers.tolist() == expected
    assert compare_pairs(table, pairs[::-1], comparing(PARAMS, 2)).inliers.tolist() == expected[::-1]


def test_compared_pairs_are_kept_whichever_photograph_comes_first(monkeypatch):
    image = texture(0)
    table = table_of([image, *(photographed(image, **view)[0] for view in VIEWS), texture(1)])
    pairs = np.array(list(itertools.combinations(range(7), 2)))
    kept = comparing(PARAMS)
    first = compare_pairs(table, pairs[:15], kept)
    assert [len(piece.keys) for piece in kept.store.pieces()] == [5, 5, 5]
    matched = []
    monkeypatch.setattr(compared, "match_pair", lambda *pair: matched.append(pair) or match_pair(*pair))
    assert compare_pairs(table, pairs[14::-1, ::-1], kept).inliers.tolist() == first.inliers[::-1].tolist()
    assert matched == []
    assert compare_pairs(table, pairs, kept).inliers[:15].tolist() == first.inliers.tolist()
    assert len(matched) == len(pairs) - 15
    compare_pairs(table, pairs, replace(kept, params=PARAMS.model_copy(update={"tolerance": 9.0})))
    assert len(matched) == 2 * len(pairs) - 15
    assert compare_pairs(table, pairs, replace(kept, params=PARAMS.model_copy(update={"neighbours": 3}))).pairs.size
    assert len(matched) == 2 * len(pairs) - 15


def test_no_pairs_have_no_counts(caplog):
    with caplog.at_level(logging.INFO):
        found = compare_pairs(table_of([texture(0)]), np.empty((0, 2), np.int64), comparing(PARAMS, 2))
    assert (found.inliers.shape, found.inliers.dtype, found.zooms.shape) == ((0,), np.int64, (0,))
    assert "compared pairs: 0 from the cache, 0 to compute" in caplog.text
    assert "pairs compared by their keypoints in" not in caplog.text


class TestExtraction:
    def test_equal_pixels_give_equal_bytes_in_every_thread(self):
        images = [texture(0)] * 8
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(keypoints, images))
        assert len({each.positions.tobytes() + each.descriptors.tobytes() for each in found}) == 1

    def test_descriptors_are_as_long_as_exact_sums_allow(self):
        descriptors = keypoints(texture(0)).descriptors.astype(np.int64)
        assert (descriptors**2).sum(axis=1).max() * 4 < 2**24

    def test_images_are_scaled_to_one_size_first(self):
        large = texture(0).resize((960, 720))
        assert keypoints(large).size == SIZE
        assert keypoints(large).positions.max(axis=0).tolist() < list(SIZE)
        assert inliers(texture(0), large) > 100

    def test_number_of_keypoints_is_limited(self):
        few = keypoints(texture(0), PARAMS.model_copy(update={"n_keypoints": 50}))
        assert 50 <= len(few) <= 55  # the last place may have several directions


class TestTable:
    def test_images_are_found_by_id_and_by_row(self):
        images = [texture(0), Image.new("RGB", (100, 50)), texture(1)]
        table = table_of(images)
        for number, image in enumerate(images):
            for found in (table.at(number), table.of(f"i{number}")):
                assert vars(found).keys() == vars(keypoints(image)).keys()
                assert found.positions.tobytes() == keypoints(image).positions.tobytes()
                assert found.size == keypoints(image).size

    def test_a_selection_holds_the_images_in_their_order(self):
        table = table_of([texture(0), texture(1), texture(2)])
        chosen = choose_keypoints([table], ["i2", "i0"])
        assert (chosen.image_ids, chosen.keys) == (("i2", "i0"), ("i2", "i0"))
        assert np.shares_memory(chosen.at(1).descriptors, table.of("i0").descriptors)

    def test_images_of_several_tables_are_chosen_together(self):
        tables = [table_of([texture(0)]), tabulate_keypoints(["other"], ["key"], [keypoints(texture(1))], {})]
        chosen = choose_keypoints(tables, ["other", "i0"])
        assert chosen.keys == ("key", "i0")
        assert chosen.at(0).positions.tobytes() == keypoints(texture(1)).positions.tobytes()

    def test_a_table_of_no_image_has_the_shapes_of_any_other(self):
        empty, full = tabulate_keypoints((), (), (), {}), table_of([texture(0)])
        assert empty.offsets.tolist() == [0]
        for name in ("sizes", "positions", "diameters", "angles", "descriptors"):
            first, second = getattr(empty, name), getattr(full, name)
            assert (first.dtype, first.shape[1:], len(first)) == (second.dtype, second.shape[1:], 0)

    @pytest.fixture
    def photographs(self, tmp_path):
        for seed in range(3):
            texture(seed).save(tmp_path / f"{seed}.png")
        found = list_photographs(tmp_path)
        return replace(found, table=found.table.iloc[[2, 0, 1]])

    NOTHING = tabulate_keypoints((), (), (), {})

    def test_every_image_has_its_keypoints(self, photographs):
        table = find_keypoints(photographs, self.NOTHING, PARAMS, n_workers=2)
        assert table.image_ids == ("2", "0", "1")
        assert table.keys == tuple(keypoint_key(table.description, sha256) for sha256 in photographs.hashes)
        assert np.array_equal(table.of("1").descriptors, keypoints(texture(1)).descriptors)

    def test_images_of_earlier_runs_are_not_read_again(self, photographs, tmp_path):
        fewer = replace(photographs, table=photographs.table[1:])
        first = find_keypoints(fewer, self.NOTHING, PARAMS, n_workers=1)
        for name in ("0.png", "1.png"):
            (tmp_path / name).write_bytes(b"gone")
        second = find_keypoints(photographs, first, PARAMS, n_workers=1)
        assert np.array_equal(second.of("0").positions, first.of("0").positions)
        with pytest.raises(InputError, match=r"The photograph 0\.png can no longer be used"):
            find_keypoints(fewer, self.NOTHING, PARAMS, n_workers=1)

    def test_images_of_earlier_runs_are_found_by_content_whatever_their_folder_and_name(self, photographs, tmp_path):
        first = find_keypoints(photographs, self.NOTHING, PARAMS, n_workers=1)
        renamed = photographs.table.assign(image_id=["0", "1", "x"])
        for path in tmp_path.glob("*.png"):
            path.unlink()
        folders = Photographs((photographs, replace(photographs, table=renamed)))
        second = find_keypoints(folders, first, PARAMS, n_workers=1)
        assert second.image_ids == ("2", "0", "1", "0", "1", "x")
        assert second.keys == (*first.keys, *first.keys)
        for row in range(6):
            assert np.array_equal(second.at(row).descriptors, first.at(row % 3).descriptors)

    @pytest.mark.parametrize("change", [{"image_side": 300}, {"n_keypoints": 200}])
    def test_other_parameters_give_other_keys(self, change):
        descriptions = [describe_keypoints(params) for params in (PARAMS, PARAMS.model_copy(update=change))]
        assert keypoint_key(descriptions[0], "a") != keypoint_key(descriptions[1], "a")

    @pytest.mark.parametrize("change", [{"ratio": 0.5}, {"tolerance": 3.0}, {"neighbours": 2}, {"min_matches": 9}])
    def test_parameters_of_matching_leave_the_keys_as_they_are(self, change):
        assert describe_keypoints(PARAMS.model_copy(update=change)) == describe_keypoints(PARAMS)


def slow_shortlist(similarities: np.ndarray, k: int) -> list[list[int]]:
    pairs = set()
    for i, row in enumerate(similarities):
        others = sorted((j for j in range(len(row)) if j != i), key=lambda j, row=row: (-row[j], j))
        pairs |= {(min(i, j), max(i, j)) for j in others[:k]}
    return [list(pair) for pair in sorted(pairs)]


def symmetric(seed: int, n: int, n_values: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, n_values, (n, n)) / np.float32(n_values)
    return np.triu(values) + np.triu(values, 1).T


def pairs_in(shortlist) -> list[tuple[int, int]]:
    return [(first, second) for first, second in shortlist.pairs.tolist()]


def shortlist_of(similarities: np.ndarray, k: int, **limits) -> np.ndarray:
    return shortlist_pairs(nearest_images(limited(given_pool(similarities), **limits), k).rows)


class TestShortlist:
    @given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from([2, 5, 10**6]), st.integers(1, 14), tile_sizes)
    def test_each_image_with_its_nearest_of_equals_the_first(self, seed, n, n_values, k, tile_bytes):
        similarities = symmetric(seed, n, n_values)
        assert shortlist_of(similarities, k, tile_bytes=tile_bytes).tolist() == slow_shortlist(similarities, k)

    def test_order_of_images_decides_nothing_where_no_two_are_equal(self):
        similarities = symmetric(0, 40, 10**7)
        order = np.random.default_rng(1).permutation(40)
        moved = order[shortlist_of(similarities[np.ix_(order, order)], 3)]
        expected = shortlist_of(similarities, 3)
        assert {frozenset(pair) for pair in moved.tolist()} == {frozenset(pair) for pair in expected.tolist()}

    def test_keypoints_of_the_shortlist_are_compared(self):
        images = [texture(1), texture(2), photographed(texture(1), shift=(12, -7))[0], texture(3)]
        table, pool = table_of(images), given_pool(symmetric(0, 4, 100))
        params = PARAMS.model_copy(update={"neighbours": 3})
        found = shortlist_by_keypoints(pool, table, comparing(params, 2))
        assert found.pairs.tolist() == [list(pair) for pair in itertools.combinations(range(4), 2)]
        assert found.inliers.tolist() == compare_pairs(table, found.pairs, comparing(params)).inliers.tolist()
        assert found.pairs[found.inliers.argmax()].tolist() == [0, 2]
        alone = PARAMS.model_copy(update={"neighbours": 1, "more_neighbours": 0})
        few = shortlist_by_keypoints(pool, table, comparing(alone))
        assert few.pairs.tolist() == shortlist_of(pool.matrix, 1).tolist()

    def test_an_image_that_agrees_with_none_is_compared_with_more(self):
        images = [texture(1), photographed(texture(1), shift=(12, -7))[0], texture(2), texture(3), texture(4)]
        table, pool = table_of(images), given_pool(symmetric(0, 5, 100) / 200 + 0.4 * np.eye(5)[[1, 0, 2, 3, 4]])
        few = PARAMS.model_copy(update={"neighbours": 1, "more_neighbours": 0})
        more = PARAMS.model_copy(update={"neighbours": 1, "more_neighbours": 3})
        first, found = (pairs_in(shortlist_by_keypoints(pool, table, comparing(params))) for params in (few, more))
        assert (0, 1) in first
        nearest = nearest_images(pool, 3).rows
        assert set(found) == {tuple(sorted((row, int(n)))) for row in (2, 3, 4) for n in nearest[row]} | set(first)
        assert found == sorted(found)

    def test_two_images_that_agree_with_a_third_are_compared(self):
        images = [photographed(texture(1), shift=shift)[0] for shift in ((0, 0), (12, -7), (-9, 5))]
        table, params = table_of(images), PARAMS.model_copy(update={"neighbours": 1, "more_neighbours": 0})
        pool = given_pool(np.array([[1, 0.9, 0.8], [0.9, 1, 0.1], [0.8, 0.1, 1]]))
        assert pairs_in(shortlist_by_keypoints(pool, table, comparing(params))) == [(0, 1), (0, 2), (1, 2)]
        stricter = params.model_copy(update={"enough_inliers": 10_000})
        assert pairs_in(shortlist_by_keypoints(pool, table, comparing(stricter))) == [(0, 1), (0, 2)]

    def test_the_zoom_is_that_from_the_smaller_photograph_to_the_larger(self):
        small = photographed(texture(0), zoom=0.6)[0]
        table = table_of([texture(0), small, texture(1)])
        found = compare_pairs(table, np.array([[0, 1], [1, 0], [0, 2]]), comparing(PARAMS))
        assert found.zooms[:2] == pytest.approx(1 / 0.6, rel=0.03)
        assert found.zooms[0] == found.zooms[1]
        assert found.zooms[2] == 1 or found.inliers[2]

    @pytest.mark.parametrize("n", [0, 1])
    def test_without_two_images_there_is_no_pair(self, n):
        assert shortlist_of(np.ones((n, n), np.float32), 8).shape == (0, 2)
