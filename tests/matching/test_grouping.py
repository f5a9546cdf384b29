"""Groups of new photographs: components, known lesions as roots, nearest images, doubts."""

import json
import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.errors import InputError
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.clustering.merges import number_by_appearance
from skinbit.matching.cuts.grouping_cut import NO_CUT, Cut, plan_cut, read_cut, write_cut
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.grouping import Group, explain_doubts, group_images
from skinbit.matching.labels import known_labels, unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from tests.matching.oracle import (
    greedy_merges,
    greedy_pairs,
    groups_at,
    groups_within,
    may_meet,
    mutual_links,
    starting_groups,
)
from tests.matching.samples import any_matrix, given_pool, limited, pools, symmetric, tile_sizes, untied

ANYTHING = Cut("cosine", 0.5, 0.4, 0.6)


def random_embeddings(seed: int, n_images: int, dim: int = 3) -> np.ndarray:
    return unit_vectors(np.random.default_rng(seed).normal(size=(n_images, dim)))


def group(embeddings, known: tuple[str, ...], cut: Cut, max_group_size: int | None = None):
    return group_images(Pool(embeddings), known, cut, max_group_size)


def cosine_similarities(embeddings):
    return similarity_matrix(Pool(embeddings))


def partition(labels) -> set[frozenset[int]]:
    rows = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, set()).add(row)
    return {frozenset(group) for group in rows.values()}


def joined_by_hand(embeddings, known: tuple[str, ...], threshold: float) -> tuple[set[frozenset[int]], dict[int, str]]:
    """Merge the most similar pairs first, one by one; never two known lesions."""
    n_new = len(embeddings) - len(known)
    similarities = cosine_similarities(embeddings)
    group = {row: {row} for row in range(len(embeddings))}
    lesion = {row: known[row - n_new] if row >= n_new else "" for row in group}
    for row, other in combinations(range(n_new, len(embeddings)), 2):
        if lesion[row] == lesion[other] and group[row] is not group[other]:
            group[row] |= group[other]
            for member in group[row]:
                group[member] = group[row]
    pairs = sorted(combinations(group, 2), key=lambda pair: -similarities[pair])
    for a, b in pairs:
        lesions = {lesion[member] for member in group[a] | group[b]} - {""}
        if similarities[a, b] >= threshold and len(lesions) < 2:
            merged = group[a] | group[b]
            for member in merged:
                group[member] = merged
    new = {frozenset(member for member in group[row] if member < n_new) for row in range(n_new)}
    named = {row: "".join({lesion[member] for member in group[row]} - {""}) for row in range(n_new)}
    return new, named


def doubts_of(group, cut, n_known, log_odds=None):
    found = explain_doubts(group, cut, n_known, 4, log_odds)
    return found.of_cut + found.others


class TestGroups:
    @given(st.integers(0, 10_000), st.integers(1, 12), st.floats(-0.9, 0.99))
    def test_without_known_lesions_the_cosine_groups_are_the_components_at_the_threshold(self, seed, n_images, at):
        embeddings = random_embeddings(seed, n_images)
        found = group(embeddings, (), Cut("cosine", at, at, at))
        assert partition(found.cluster_ids) == joined_by_hand(embeddings, (), at)[0]

    @given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0, 2))
    def test_the_dbscan_groups_are_those_that_the_evaluation_judges(self, seed, n_images, eps):
        embeddings = random_embeddings(seed, n_images)
        found = group(embeddings, (), Cut("dbscan", eps, 0, 1))
        judged = groups_within(cosine_similarities(embeddings), eps)
        assert found.cluster_ids.tolist() == number_by_appearance(judged).tolist()

    @given(
        st.integers(0, 10_000), st.integers(1, 8), st.lists(st.sampled_from("abc"), max_size=6), st.floats(-0.9, 0.99)
    )
    def test_known_lesions_attract_new_images_and_never_merge(self, seed, n_new, known, at):
        embeddings = random_embeddings(seed, n_new + len(known))
        found = group(embeddings, tuple(known), Cut("cosine", at, at, at))
        groups, lesions = joined_by_hand(embeddings, tuple(known), at)
        assert partition(found.cluster_ids) == groups
        assert {row: found.groups[number].lesion_id for row, number in enumerate(found.cluster_ids)} == lesions

    def test_an_image_exactly_at_the_threshold_joins(self):
        embeddings = unit_vectors(np.array([[1.0, 0.0], [0.6, 0.8]]))
        at = float(cosine_similarities(embeddings)[0, 1])
        for threshold, n_groups in ((at, 1), (np.nextafter(at, 2), 2)):
            assert len(group(embeddings, (), Cut("cosine", threshold, 0, 1)).groups) == n_groups

    @pytest.mark.parametrize("method", ["dbscan", "average", "complete"])
    def test_an_image_exactly_at_the_distance_joins(self, method):
        pool = given_pool(symmetric(np.full((2, 2), 0.5)))
        for distance, n_groups in ((0.5, 1), (np.nextafter(0.5, 0), 2)):
            found = group_images(pool, (), Cut(method, distance, 0, 1), None)
            assert len(found.groups) == n_groups

    def test_ids_count_from_0_in_the_order_of_the_images(self):
        embeddings = unit_vectors(np.array([[1, 0], [0, 1], [1, 0.01], [-1, 0]]))
        assert group(embeddings, (), ANYTHING).cluster_ids.tolist() == [0, 1, 0, 2]

    def test_no_image_gives_no_group(self):
        found = group(np.empty((0, 1), np.float32), (), ANYTHING)
        assert (found.groups, len(found.cluster_ids)) == ((), 0)

    def test_a_single_image_has_no_nearest(self):
        found = group(random_embeddings(0, 1), (), ANYTHING)
        assert found.nearest.tolist() == [-1]
        assert math.isnan(found.similarities[0])


METHODS = ("cosine", "dbscan", "average", "complete", "mutual")


@st.composite
def cuts(draw, methods=METHODS):
    method = draw(st.sampled_from(methods))
    if method == "mutual":
        return NO_CUT
    similarity = draw(st.floats(-1, 1))
    return Cut(method, similarity if method == "cosine" else 1.0 - similarity, similarity, similarity)


def links_by_hand(matrix, known, cut, cap, must=(), cannot=()):
    """Return the links that hold groups together, and their similarities; known lesions hold by themselves."""
    n_new = len(matrix) - len(known)
    lesions = [-1] * n_new + [sorted({*known}).index(lesion) for lesion in known]
    if cut.method == "mutual":
        starts = starting_groups(lesions, must)
        left_out = [pair for group in starts for pair in combinations(group, 2)]
        left_out += [
            pair for a, b in combinations(starts, 2) if not may_meet(a, b, lesions, cannot) for pair in product(a, b)
        ]
        mutual = mutual_links(matrix, n_new, left_out)
        return [(a, b, 1.0 - apart) for a, b, apart in greedy_pairs(matrix, lesions, must, cannot, mutual)]
    if cut.method in ("average", "complete"):
        merges = greedy_merges(matrix, cut.method, cap, lesions, must, cannot)
    else:
        merges = greedy_pairs(matrix, lesions, must, cannot)
    links = [(a, b, 1.0 - distance) for a, b, distance in merges]
    return [(a, b, s) for a, b, s in links if (s >= cut.value if cut.method == "cosine" else 1.0 - s <= cut.value)]


def described_by_hand(matrix, known, cut, cap, must=(), cannot=()):
    """Return members, lesion, weakest link and strongest link to outside of every group with a new image."""
    n_images, n_new = len(matrix), len(matrix) - len(known)
    links = links_by_hand(matrix, known, cut, cap, must, cannot)
    same = [(n_new + known.index(lesion), n_new + row, 0.0) for row, lesion in enumerate(known)]
    same += [(a, b, 0.0) for a, b in must]
    numbers = groups_at([*same, *((a, b, 0.0) for a, b, _ in links)], n_images, 0.0)
    found = []
    for number in dict.fromkeys(numbers[:n_new].tolist()):
        inside = np.flatnonzero(numbers == number)
        outside = []
        for other in {*numbers.tolist()} - {number}:
            rows = np.flatnonzero(numbers == other)
            if not may_meet(inside.tolist(), rows.tolist(), [-1] * n_images, cannot):
                continue
            between = matrix[np.ix_(inside, rows)].astype(float)
            if cut.method in ("average", "complete"):
                outside.append({"average": np.mean, "complete": np.min}[cut.method](between))
            else:
                is_known = np.outer(inside >= n_new, rows >= n_new)
                outside += between[~is_known].tolist()
        lesions = {known[row - n_new] for row in inside if row >= n_new}
        weakest = min((s for a, _, s in links if numbers[a] == number), default=math.inf)
        members = tuple(row for row in inside.tolist() if row < n_new)
        found.append((members, "".join(lesions), weakest, max(outside, default=-math.inf)))
    return found


def assert_described(found, wanted):
    assert [(each.members, each.lesion_id) for each in found.groups] == [each[:2] for each in wanted]
    for each, (_, _, weakest, outside) in zip(found.groups, wanted, strict=True):
        assert each.weakest_link == pytest.approx(weakest, rel=0, abs=2e-12)
        assert each.strongest_outside == pytest.approx(outside, rel=0, abs=2e-12)


def assert_same(one, other):
    assert np.array_equal(one.cluster_ids, other.cluster_ids)
    assert one.groups == other.groups
    assert np.array_equal(one.nearest, other.nearest)
    assert one.similarities.dtype == other.similarities.dtype == np.float32
    assert np.array_equal(one.similarities, other.similarities, equal_nan=True)


class TestAgainstPlainLoops:
    @given(any_matrix(1, 11), cuts(), st.sampled_from([2, 3, 5, None]))
    def test_groups_and_their_links_are_those_of_a_greedy_search(self, matrix, cut, cap):
        assert_described(group_images(given_pool(matrix), (), cut, cap), described_by_hand(matrix, (), cut, cap))

    @given(pools(most=12), cuts(), st.sampled_from([2, 3, 5, None]))
    def test_so_are_they_among_copies_and_whatever_similarities_are_made_of(self, pool, cut, cap):
        wanted = described_by_hand(similarity_matrix(pool[0]), (), cut, cap)
        assert_described(group_images(pool[0], (), cut, cap), wanted)

    @given(untied(1, 11), cuts(), st.sampled_from([2, 3, None]), st.lists(st.sampled_from("abcd"), max_size=11))
    def test_so_are_they_around_known_lesions(self, matrix, cut, cap, known):
        known = tuple(known[: len(matrix)])
        assert_described(group_images(given_pool(matrix), known, cut, cap), described_by_hand(matrix, known, cut, cap))

    @given(any_matrix(1, 11), cuts(["average", "complete"]), st.lists(st.sampled_from("abcd"), max_size=11))
    def test_linkages_around_known_lesions_know_ties_too(self, matrix, cut, known):
        known = tuple(known[: len(matrix)])
        assert_described(group_images(given_pool(matrix), known, cut, 3), described_by_hand(matrix, known, cut, 3))


@st.composite
def answered(draw, matrices):
    """Similarities, known lesions of the last images, and answers that contradict neither these nor each other."""
    matrix = draw(matrices)
    rows = st.integers(0, len(matrix) - 1)
    known = tuple(draw(st.lists(st.sampled_from("abc"), max_size=min(5, len(matrix)))))
    lesions = [-1] * (len(matrix) - len(known)) + ["abc".index(lesion) for lesion in known]
    must = []
    for pair in draw(st.lists(st.tuples(rows, rows), max_size=4)):
        groups = starting_groups(lesions, [*must, pair])
        if pair[0] != pair[1] and all(len({lesions[row] for row in group} - {-1}) < 2 for group in groups):
            must.append(pair)
    number = {row: place for place, group in enumerate(starting_groups(lesions, must)) for row in group}
    cannot = [pair for pair in draw(st.lists(st.tuples(rows, rows), max_size=6)) if number[pair[0]] != number[pair[1]]]
    return matrix, known, must, cannot


def constraints_of(matrix, known, must, cannot):
    pairs = (np.array(each, dtype=np.int64).reshape(-1, 2) for each in (must, cannot))
    return Constraints(known_labels(known, len(matrix) - len(known)), *pairs)


class TestWherePeopleHaveAnswered:
    @given(answered(any_matrix(1, 10)), cuts(), st.sampled_from([2, 3, None]))
    def test_groups_are_those_of_a_greedy_search_over_permitted_pairs(self, images, cut, cap):
        matrix, known, must, cannot = images
        found = group_images(given_pool(matrix), known, cut, cap, constraints_of(*images))
        assert_described(found, described_by_hand(matrix, known, cut, cap, must, cannot))

    @given(answered(any_matrix(1, 10)), cuts(), st.sampled_from([2, None]), tile_sizes)
    def test_every_answer_holds_whatever_the_cut_and_the_size_of_tiles(self, images, cut, cap, tile_bytes):
        matrix, known, must, cannot = images
        constraints, n_new = constraints_of(*images), len(matrix) - len(known)
        found = group_images(limited(given_pool(matrix), tile_bytes=tile_bytes), known, cut, cap, constraints)
        group_of = dict(enumerate(found.cluster_ids.tolist()))
        new_pairs = [[pair for pair in pairs if max(pair) < n_new] for pairs in (must, cannot)]
        assert all(group_of[a] == group_of[b] for a, b in new_pairs[0])
        assert all(group_of[a] != group_of[b] for a, b in new_pairs[1])
        assert_same(found, group_images(given_pool(matrix), known, cut, cap, constraints))

    @given(answered(any_matrix(1, 10)), cuts(), st.randoms())
    def test_the_order_of_answers_changes_nothing(self, images, cut, random):
        matrix, known, must, cannot = images
        found = group_images(given_pool(matrix), known, cut, 3, constraints_of(*images))
        for pairs in (must, cannot):
            pairs[:] = [tuple(random.sample(pair, 2)) for pair in random.sample(pairs, len(pairs))]
        assert_same(group_images(given_pool(matrix), known, cut, 3, constraints_of(*images)), found)

    def test_a_lesion_that_an_image_never_joins_is_not_its_mutual_neighbour(self):
        # An answer says that image 0 shows the lesion of 2, so it never joins 3, its nearest image, but 1 may join it.
        matrix = symmetric([[1, 0.8, 0, 0.9], [0, 1, 0, 0.1], [0, 0, 1, 0], [0, 0, 0, 1]])
        found = group_images(
            given_pool(matrix), ("a", "b"), NO_CUT, 4, constraints_of(matrix, ("a", "b"), [(0, 2)], [])
        )
        assert [(each.members, each.lesion_id) for each in found.groups] == [((0, 1), "a")]

    @pytest.mark.parametrize("method", METHODS)
    def test_a_group_that_answers_alone_hold_may_be_of_any_size_and_hangs_on_no_link(self, method):
        cut = NO_CUT if method == "mutual" else Cut(method, 0.0, 0.0, 0.0)
        matrix = symmetric(np.full((4, 4), -0.5))
        answers = constraints_of(matrix, (), [(0, 1), (1, 2), (2, 3)], [])
        (held,) = group_images(given_pool(matrix), (), cut, 2, answers).groups
        assert (held.members, held.weakest_link) == ((0, 1, 2, 3), math.inf)
        assert doubts_of(held, cut, 2) == ()


class TestLimits:
    @pytest.mark.parametrize("tile_bytes", [16, 64, 200])
    def test_the_nearest_image_outside_is_found_in_any_tile(self, tile_bytes):
        matrix = symmetric(np.random.default_rng(8).uniform(-1, 1, (14, 14)))
        found = group_images(limited(given_pool(matrix), tile_bytes=tile_bytes), (), Cut("cosine", 0.7, 0, 1), None)
        for group in found.groups:
            others = np.setdiff1d(np.arange(14), group.members)
            assert group.strongest_outside == matrix[np.ix_(group.members, others)].max()

    @given(pools(), cuts(), st.sampled_from([2, 4, None]), tile_sizes, st.lists(st.sampled_from("abcde"), max_size=30))
    def test_the_size_of_tiles_changes_no_group_and_no_digit(self, pool, cut, cap, tile_bytes, known):
        pool, known = pool[0], tuple(known[: len(pool[0])])
        small = limited(pool, tile_bytes=tile_bytes)
        assert_same(group_images(small, known, cut, cap), group_images(pool, known, cut, cap))

    @given(pools(least=2), cuts(METHODS[:-1]), st.integers(2, 100))
    def test_as_many_pairs_as_the_cut_asks_for_suffice(self, pool, cut, most_pairs):
        pool, _ = pool
        alike = similarity_matrix(pool)[np.triu_indices(len(pool), 1)]
        few = limited(pool, most_pairs=most_pairs, first_pairs=2)
        if (alike >= cut.similarity - 2e-7).sum() > most_pairs:
            with pytest.raises(InputError, match=rf"More than {most_pairs} pairs of the {len(pool)} photographs"):
                group_images(few, (), cut, 4)
        else:
            assert_same(group_images(few, (), cut, 4), group_images(pool, (), cut, 4))

    def test_a_cut_that_joins_too_many_pairs_is_refused_with_the_remedy(self):
        pool = limited(Pool(unit_vectors(np.ones((20, 3)))), most_pairs=50)
        with pytest.raises(InputError, match=r"More than 50 pairs of the 20 photographs(.|\n)*raise memory\.max_pairs"):
            group_images(pool, (), Cut("average", 0.1, 0.8, 1.0), 4)


class TestLinkage:
    @given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from(["average", "complete"]), st.floats(0, 2))
    def test_a_group_stays_the_same_at_every_cut_within_its_margin(self, seed, n_images, linkage, at):
        embeddings = random_embeddings(seed, n_images, dim=6)
        cut = Cut(linkage, at, 0, 1)
        for found in group(embeddings, (), cut, 4).groups:
            margin = min(found.margin(cut), 3.0)
            for moved in (at - margin * 0.999, at + margin * 0.999):
                again = group(embeddings, (), Cut(linkage, moved, 0, 1), 4)
                assert found.members in {other.members for other in again.groups}

    @pytest.mark.parametrize("linkage", ["average", "complete"])
    def test_an_image_between_two_known_lesions_is_doubted(self, linkage):
        embeddings = unit_vectors(np.array([[1, 0], [1, 0.4], [1, -0.42], [-1, 0.1]]))
        cut = Cut(linkage, 0.5, 0.4, 0.6)
        found = group(embeddings, ("mole", "other", "far"), cut, 4).groups[0]
        assert found.lesion_id == "mole"
        assert found.margin(cut) == 0
        (doubt,) = doubts_of(found, cut, 1)
        assert "another known lesion" in doubt

    @pytest.mark.parametrize("linkage", ["average", "complete"])
    def test_what_a_full_group_has_no_room_for_is_doubted(self, linkage):
        angles = np.radians([0, 1, 2, 3, 4])
        cut = Cut(linkage, 0.5, 0.4, 0.6)
        groups = group(unit_vectors(np.c_[np.cos(angles), np.sin(angles)]), (), cut, 4).groups
        assert len(groups) == 2  # five are too many for one
        for found in groups:
            assert found.margin(cut) == 0
            assert any("together they would be too large" in doubt for doubt in doubts_of(found, cut, 0))

    def test_a_new_image_joins_the_known_lesion_it_resembles(self):
        embeddings = unit_vectors(np.array([[1, 0.05], [0, 1.0], [1, 0], [1, 0.1], [-1, 0.2]]))
        found = group(embeddings, ("mole", "mole", "other"), Cut("average", 0.1, 0, 1), 4)
        assert [one.lesion_id for one in found.groups] == ["mole", ""]


class TestMutual:
    def test_only_those_join_that_are_each_others_nearest(self):
        angles = np.radians([0, 10, 15, 90])
        embeddings = unit_vectors(np.c_[np.cos(angles), np.sin(angles)])
        assert partition(group(embeddings, (), NO_CUT).cluster_ids) == {frozenset({1, 2}), *map(frozenset, ([0], [3]))}

    def test_known_images_of_a_lesion_do_not_count_as_each_others_nearest(self):
        angles = np.radians([12, 60, 10, 11])
        embeddings = unit_vectors(np.c_[np.cos(angles), np.sin(angles)])
        assert [one.lesion_id for one in group(embeddings, ("mole", "mole"), NO_CUT).groups] == ["mole", ""]

    def test_without_new_images_known_lesions_stay_apart(self):
        assert group(random_embeddings(0, 2), ("a", "b"), NO_CUT).groups == ()

    def test_its_groups_are_doubted_only_for_their_size(self):
        assert doubts_of(Group((0, 1), "", 0.2, 0.1), NO_CUT, 0) == ()


@pytest.mark.parametrize("cut", [NO_CUT, Cut("average", 0.25, 0.7, 0.8)])
def test_a_cut_survives_the_way_through_a_file(cut):
    plain = json.loads(json.dumps(write_cut(cut), allow_nan=False))
    assert write_cut(read_cut(plain)) == write_cut(cut)


class TestNearest:
    @given(st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 4))
    def test_it_is_the_most_similar_other_image_new_or_known(self, seed, n_new, n_known):
        embeddings = random_embeddings(seed, n_new + n_known)
        found = group(embeddings, ("a",) * n_known, ANYTHING)
        similarities = cosine_similarities(embeddings)
        for row in range(n_new if n_new + n_known > 1 else 0):
            others = [similarities[row, other] for other in range(n_new + n_known) if other != row]
            assert found.similarities[row] == max(others) == similarities[row, found.nearest[row]]


class TestDoubts:
    @given(st.integers(0, 10_000), st.integers(2, 10), st.floats(-0.9, 0.99))
    def test_a_group_stays_the_same_at_every_cut_within_its_margin(self, seed, n_images, at):
        embeddings = random_embeddings(seed, n_images)
        cut = Cut("cosine", at, at, at)
        for found in group(embeddings, (), cut).groups:
            margin = min(found.margin(cut), 3.0)
            for moved in (at - margin * 0.999, at + margin * 0.999):
                again = group(embeddings, (), Cut("cosine", moved, moved, moved))
                assert found.members in {other.members for other in again.groups}

    @given(st.integers(0, 10_000), st.integers(2, 10), st.floats(-0.9, 0.99))
    def test_a_group_changes_just_beyond_its_margin(self, seed, n_images, at):
        embeddings = random_embeddings(seed, n_images)
        cut = Cut("cosine", at, at, at)
        for found in group(embeddings, (), cut).groups:
            if math.isfinite(margin := found.margin(cut)):
                moved = [group(embeddings, (), Cut("cosine", at + sign * (margin + 1e-6), 0, 0)) for sign in (-1, 1)]
                assert any(found.members not in {other.members for other in again.groups} for again in moved)

    def test_a_group_that_every_fold_would_make_is_confident(self):
        sure = Group((0, 1), "", weakest_link=0.8, strongest_outside=0.3)
        assert doubts_of(sure, ANYTHING, 0) == ()
        for group in (
            Group((0, 1), "", ANYTHING.high, 0.1),
            Group((0,), "lesion", 0.8, 0.1),
            Group((0, 1), "", 0.8, 0.1),
        ):
            assert doubts_of(group, ANYTHING, 2) == ()
        assert doubts_of(Group((0,), "lesion", 0.8, 0.1), ANYTHING, 9) == ()

    @pytest.mark.parametrize(
        ("doubtful", "n_known", "said"),
        [
            (Group((0, 1), "", 0.55, 0.3), 0, "weakest link, 0.5500"),
            (Group((0, 1), "", 0.8, 0.45), 0, "nearly similar enough, 0.4500"),
            (Group((0,), "lesion", 0.8, 0.7), 2, "another known lesion (similarity 0.7000)"),
            (Group((0,), "lesion", 0.8, ANYTHING.similarity), 2, "another known lesion"),
            (Group((0,), "", 0.8, ANYTHING.similarity), 0, "lesion of another group"),
            (Group((0,), "", 0.8, ANYTHING.low), 0, "nearly similar enough"),
            (Group((0, 1, 2, 3, 4), "", 0.8, 0.1), 0, "5 photographs"),
            (Group((0, 1), "lesion", 0.8, 0.1), 3, "5 photographs"),
        ],
    )
    def test_a_doubt_names_its_reason(self, doubtful, n_known, said):
        (doubt,) = doubts_of(doubtful, ANYTHING, n_known)
        assert said in doubt

    @pytest.mark.parametrize("lesion", ["", "lesion"])
    def test_a_doubt_names_the_probability_where_it_is_known(self, lesion):
        log_odds = LogOdds(intercept=-8 * math.atanh(0.7), slope=1.0)
        (doubt,) = doubts_of(Group((0,), lesion, 0.8, 0.7), ANYTHING, 2, log_odds)
        assert "(probability 50%)" in doubt


class TestRangeOfACut:
    def test_it_is_as_wide_as_the_folds_differ(self):
        cut = plan_cut("cosine", 0.7, (0.6, 0.7, 0.8), None)
        assert (cut.low, cut.high) == pytest.approx((0.6, 0.8))

    def test_a_larger_eps_is_a_smaller_similarity(self):
        cut = plan_cut("dbscan", 0.3, (0.1, 0.3, 0.35), None)
        spread = np.array([0.1, 0.3, 0.35]) - 0.25
        assert (cut.similarity, cut.low, cut.high) == pytest.approx((0.7, 0.7 - spread[2], 0.7 - spread[0]))

    def test_one_fold_leaves_a_tenth_of_the_distance(self):
        cut = plan_cut("cosine", 0.9, (0.9,), None)
        assert (cut.low, cut.high) == pytest.approx((0.89, 0.91))

    def test_a_margin_stands_in_for_the_folds(self):
        cut = plan_cut("dbscan", 0.5, (0.1, 0.9), 0.05)
        assert (cut.low, cut.high) == pytest.approx((0.45, 0.55))
