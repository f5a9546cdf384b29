"""The best cut by few pairs, and when it is certain that no other one is better."""

import logging

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skinbit.config import EvaluationParams
from skinbit.matching.clustering.merges import MergeTree, clusters_at, select_cut, sweep_merges
from skinbit.matching.curves import Sweep, select
from skinbit.matching.cuts.search import (
    Vicinity,
    could_gain,
    first_floor,
    floor_of,
    merge_tree,
    search_cut,
    search_threshold,
    similarity_of,
    warn_of_uncertain,
)
from skinbit.matching.cuts.survey import find_positives
from skinbit.matching.cuts.thresholds import HeadSize
from skinbit.matching.labels import positive_pairs, unit_vectors
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import Limits, Pool, similarity_matrix
from tests.matching.oracle import best_threshold, together
from tests.matching.samples import any_matrix, given_pool, limited, pools

METHODS = ("dbscan", "average", "complete")
every_method = pytest.mark.parametrize("method", METHODS)

floors = st.floats(-1, 1)
caps = st.sampled_from([2, 3, 4, None])
ranges = st.sampled_from([(0.0, 2.0), (0.1, 0.7), (0.05, 0.3), (0.6, 1.1)])


def found_by(method, pool, labels, floor, cap=4, eps_range=(0.0, 2.0)):
    params = EvaluationParams(max_group_size=cap, eps_range=eps_range)
    vicinity = Vicinity(pool, neighbours_above(pool, floor))
    return search_cut(method, vicinity, labels, find_positives(pool, labels), params)


def same(one, other):
    return np.array_equal([*vars(one).values()], [*vars(other).values()], equal_nan=True)


@every_method
class TestCuts:
    @given(pools(), floors, caps, ranges)
    def test_a_cut_that_is_certain_by_near_pairs_is_that_of_all_pairs(self, method, pool, floor, cap, eps_range):
        pool, labels = pool
        found = found_by(method, pool, labels, floor, cap, eps_range)
        whole = found_by(method, pool, labels, -1.0, cap, eps_range)
        assert whole.is_certain
        assert whole.is_whole
        if found.is_certain:
            assert same(found.choice, whole.choice)

    @given(pools(), floors, caps)
    def test_up_to_the_reach_the_cut_is_the_best_one_there(self, method, pool, floor, cap):
        pool, labels = pool
        found = found_by(method, pool, labels, floor, cap)
        if found.reach < 0:  # only equal images are held, if any
            assert len(found.tree.edges) == 0
        else:
            wanted = select_cut(found_by(method, pool, labels, -1.0, cap).sweep, 0.0, found.reach)
            assert same(found.choice, wanted)

    def test_few_pairs_make_clear_groups_certain_and_too_few_do_not(self, method):
        rng = np.random.default_rng(1)
        labels = np.repeat(np.arange(40), 2)
        pool = Pool(unit_vectors(rng.normal(size=(40, 24))[labels] + 0.3 * rng.normal(size=(80, 24))))
        found, whole, little = (found_by(method, pool, labels, floor) for floor in (0.4, -1.0, 0.93))
        assert found.is_certain
        assert not found.is_whole
        assert found.reach < 0.61
        assert found.choice == whole.choice
        assert not little.is_certain
        assert little.choice.f1 < whole.choice.f1

    def test_without_a_positive_pair_there_is_nothing_to_find(self, method):
        found = found_by(method, Pool(unit_vectors(np.eye(4))), np.arange(4), 0.9)
        assert found.is_certain
        assert np.isnan(found.choice.cut)

    def test_equal_images_alone_make_nothing_certain(self, method):
        pool = Pool(unit_vectors(np.ones((6, 3))))
        assert not found_by(method, pool, np.arange(6) // 2, 1.0 + 1e-6).is_certain


class TestThresholds:
    @given(pools(least=2), floors)
    def test_a_threshold_is_that_of_all_pairs_or_takes_pairs_that_are_not_held(self, pool, floor):
        pool, labels = pool
        few_first = HeadSize(at_least=1)  # pools of a few dozen images have few pairs
        head = search_threshold(neighbours_above(pool, floor), find_positives(pool, labels), few_first)
        positive = together(labels)
        alike = similarity_matrix(pool)[np.triu_indices(len(pool), 1)]
        if head is None:
            assert floor > -1
        elif positive.any():
            assert [*vars(select(head)).values()] == pytest.approx(best_threshold(alike, positive), rel=1e-15)


class TestGains:
    @every_method
    @given(pools(), st.sampled_from([2, 4, None]))
    def test_where_no_gain_is_possible_there_is_none_not_even_in_larger_pools(self, method, pool, cap):
        pool, labels = pool
        pairs = positive_pairs(labels)
        assume(len(pairs))
        cap = None if method == "dbscan" else cap
        tree = merge_tree(method, neighbours_above(pool, -1.0), pool, cap)
        whole = sweep_merges(tree, labels, method)
        for reach in whole.cuts:
            is_within = tree.distances <= reach
            sweep = sweep_merges(MergeTree(tree.edges[is_within], tree.distances[is_within], len(pool)), labels, method)
            best = select(sweep)
            if not could_gain(sweep, best.cut, clusters_at(tree, reach), pairs, cap):
                assert select(whole).f1 == best.f1
                beyond = 2.0 * whole.tp / (whole.tp + 7.0 * whole.fp + whole.n_positive_pairs)
                assert beyond.argmax() < len(sweep.cuts)

    def test_a_gain_is_ruled_out_where_strangers_are_joined(self):
        # Two lesions of two images; 0 and 1 sit with a stranger each, so joining them would cost too much.
        tree = MergeTree(np.array([[0, 4], [2, 3], [1, 5]]), np.array([0.1, 0.2, 0.3]), 6)
        labels, pairs = np.array([0, 0, 1, 1, 2, 3]), np.array([[0, 1], [2, 3]])
        sweep = sweep_merges(tree, labels, "average")
        assert could_gain(sweep, 0.25, clusters_at(tree, 0.3), pairs, None) is False
        with_one_stranger = np.array([0, 1, 2, 2, 0, 3])
        assert could_gain(sweep, 0.25, with_one_stranger, pairs, None) is True
        assert could_gain(sweep, 0.25, with_one_stranger, pairs, 2) is False

    def test_a_gain_that_would_only_equal_the_best_is_none(self):
        # At the best row F = 2·1 / (1 + 1 + 2) = 1/2. Two single images of a lesion, joined with one more false pair
        # of two groups beyond: 2·2 - (1/2)·(2 + 2) = 2 > (1/2)·2 is a gain; with a pair of two and three images,
        # 2·2 - (1/2)·(1 + 1 + 6) = 0 is none; with two and one, 2·2 - (1/2)·(2 + 4) = 1 = (1/2)·2 is none either.
        sweep = Sweep("average", *map(np.array, ([0.1], [0.2], [1], [1])), n_positive_pairs=2)
        pairs = np.array([[0, 1], [2, 3]])
        groups_of = {
            2: np.array([0, 0, 1, 2]),
            4: np.array([0, 0, 1, 2, 1, 2]),
            6: np.array([0, 0, 1, 2, 1, 2, 2]),
        }
        gains = {n: could_gain(sweep, 0.2, groups, pairs, None) for n, groups in groups_of.items()}
        assert gains == {2: True, 4: False, 6: False}

    def test_before_the_first_row_nothing_is_joined_so_that_any_positive_pair_is_a_gain(self):
        sweep = Sweep("average", *map(np.array, ([0.3], [0.4], [0], [5])), n_positive_pairs=1)
        assert could_gain(sweep, 0.1, np.array([0, 1, 2]), np.array([[0, 1]]), None) is True
        assert could_gain(sweep, 0.1, np.array([0, 0, 2]), np.array([[0, 1]]), None) is False

    def test_a_cut_at_a_row_is_that_row(self):
        sweep = Sweep("average", *map(np.array, ([0.1, 0.3], [0.2, 0.4], [1, 1], [0, 2])), n_positive_pairs=2)
        groups, pairs = np.array([0, 0, 1, 2, 1, 1, 2, 2]), np.array([[0, 1], [2, 3]])
        assert could_gain(sweep, 0.1, groups, pairs, None) is could_gain(sweep, 0.2, groups, pairs, None) is False


class TestVicinity:
    @given(any_matrix(), st.integers(2, 100))
    def test_it_widens_once_at_most_and_holds_as_much_as_it_may(self, matrix, most_pairs):
        pool = limited(given_pool(matrix), most_pairs=most_pairs, first_pairs=2)
        vicinity = Vicinity(pool, neighbours_above(pool, 0.9))
        first = vicinity.graph
        if vicinity.widen():
            assert vicinity.graph.floor < first.floor
            assert len(first.pairs) <= len(vicinity.graph.pairs) <= most_pairs
        else:
            assert vicinity.graph is first
        assert vicinity.graph.is_complete or not vicinity.widen()
        assert vicinity.graph.is_complete or pool.n_pairs > most_pairs

    @given(any_matrix(), st.dictionaries(st.sampled_from(["cosine", *METHODS]), st.floats(0, 1)), st.integers(2, 91))
    def test_it_reaches_given_cuts_or_as_far_as_so_many_pairs_may_be_held(self, matrix, cuts, most_pairs):
        pool = limited(given_pool(matrix), most_pairs=most_pairs, first_pairs=2)
        vicinity = Vicinity(pool, neighbours_above(pool, 1.0))
        similarities = {method: similarity_of(method, cut) for method, cut in cuts.items()}
        loosest = min(similarities.values(), default=2.0)
        n_within = (matrix[np.triu_indices(len(matrix), 1)] >= loosest - 2e-7).sum()
        held, graph = vicinity.reach(cuts), vicinity.graph
        assert held.keys() == cuts.keys()
        for method, cut in held.items():
            is_tighter = cut > cuts[method] if method == "cosine" else cut < cuts[method]
            assert cut == cuts[method] or is_tighter
            assert graph.floor <= cut if method == "cosine" else cut <= max(0.0, graph.reach)
        if n_within <= most_pairs:
            assert held == cuts
            assert graph.floor <= loosest

    def test_cuts_that_could_not_be_chosen_ask_for_no_pair(self):
        pool = Pool(unit_vectors(np.ones((20, 2))), limits=Limits(most_pairs=5))
        vicinity = Vicinity(pool, neighbours_above(pool, first_floor(pool)))
        before = vicinity.graph
        vicinity.reach({"cosine": np.nan, "average": np.nan})
        vicinity.reach({})
        assert vicinity.graph is before


@pytest.mark.parametrize("method", ["cosine", *METHODS])
@given(st.floats(-1, 1))
def test_above_the_floor_of_a_cut_lie_all_pairs_up_to_it_and_hardly_any_other(method, similarity):
    cut = similarity if method == "cosine" else 1.0 - similarity
    assert similarity_of(method, cut) == pytest.approx(similarity)
    floor = floor_of(method, cut)
    assert max(-1.0, similarity - 2e-7) <= floor <= similarity
    assert floor_of(method, np.nan) == 1.0


def test_at_first_so_many_pairs_are_held_or_80_per_image_but_no_more_than_may_be():
    rng = np.random.default_rng(0)
    embeddings = unit_vectors(rng.normal(size=(400, 12)))
    n_held = [
        len(neighbours_above(Pool(embeddings), first_floor(Pool(embeddings, limits=limits), n_positive)).pairs)
        for limits, n_positive in [
            (Limits(first_pairs=1), 0),
            (Limits(first_pairs=1), 600),
            (Limits(first_pairs=60_000), 0),
            (Limits(most_pairs=5_000), 0),
            (Limits(), 0),
        ]
    ]
    assert n_held == pytest.approx([32_000, 48_000, 60_000, 4_500, 79_800], rel=0.05)
    assert n_held[-1] == 79_800


def test_a_warning_names_the_methods_that_are_uncertain_and_what_would_prove_them(caplog):
    pool = Pool(unit_vectors(np.eye(5)), limits=Limits(most_pairs=7))
    warn_of_uncertain([], pool)
    assert caplog.records == []
    warn_of_uncertain(["complete", "dbscan"], pool)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("dbscan, complete among 5 images")
    assert "memory.max_pairs is 7, and 10 would prove it" in record.getMessage()
