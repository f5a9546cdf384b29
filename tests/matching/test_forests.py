"""Groups that merge: single, average and complete linkage against greedy searches and libraries; mutual neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.cluster import DBSCAN, AgglomerativeClustering

from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.clustering.forests import linkage_forest, spanning_forest
from skinbit.matching.clustering.merges import clusters_at, components, select_cut, sweep_merges
from skinbit.matching.clustering.mutual import MutualPairs, tree_of_groups
from skinbit.matching.curves import choice_at, select
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.pairs.tiles import look_at
from tests.matching.oracle import (
    best_cut,
    counts,
    greedy_merges,
    groups_at,
    groups_within,
    mutual_links,
    partition,
    together,
)
from tests.matching.samples import any_matrix, given_pool, limited, on_circle, pools, symmetric, tied, untied

both_linkages = pytest.mark.parametrize("linkage", ["average", "complete"])

UNDECIDED = 1e-11
"""Averages are rounded to 12 decimals; those of libraries lie within this of a cut."""

floors = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 0.5, 1.0]))
caps = st.one_of(st.none(), st.integers(1, 14))
small_pools = pools(most=14)
"""Of every kind of similarity, with copies, and vectors on a grid of small whole numbers."""


def forest_of(matrix, linkage, cap, known=None, floor=-1.0):
    pool = given_pool(matrix)
    constraints = None if known is None else Constraints(known)
    return linkage_forest(neighbours_above(pool, floor), pool, cap, linkage, constraints)


def known_from(n_new, n_images):
    """Return the constraint that each image from one on has a known lesion of its own."""
    rows = np.arange(n_images)
    return None if n_new is None else Constraints(np.where(rows < n_new, -1, rows))


def single_of(matrix):
    return spanning_forest(neighbours_above(given_pool(matrix), -1.0))


def assert_is_greedy(tree, matrix, linkage, cap, known=None, reach=2.0):
    """The merges are those of a greedy search, in their order, up to the reach."""
    wanted = [merge for merge in greedy_merges(matrix, linkage, cap, known) if merge[2] <= reach]
    assert tree.edges.tolist() == [[first, second] for first, second, _ in wanted]
    assert tree.distances.tolist() == pytest.approx([distance for *_, distance in wanted], rel=0, abs=2e-12)
    if linkage == "complete":
        assert tree.distances.tolist() == [distance for *_, distance in wanted]


@st.composite
def labelled(draw, matrices):
    """Similarities, and lesions of few images each."""
    matrix = draw(matrices)
    return matrix, np.random.default_rng(draw(st.integers(0, 99))).integers(0, 5, len(matrix))


@st.composite
def with_known(draw, matrices):
    """Similarities, and the known lesions of some images, -1 where there is none."""
    matrix = draw(matrices)
    return matrix, np.random.default_rng(draw(st.integers(0, 99))).integers(-3, 3, len(matrix)).clip(-1)


@both_linkages
class TestLinkage:
    @given(any_matrix(1, 11), caps)
    def test_merges_are_those_of_a_greedy_search_over_all_pairs_of_groups(self, linkage, matrix, cap):
        assert_is_greedy(forest_of(matrix, linkage, cap), matrix, linkage, cap)

    @given(small_pools, caps)
    def test_so_are_they_among_copies_and_whatever_similarities_are_made_of(self, linkage, pool, cap):
        pool, matrix = pool[0], similarity_matrix(pool[0])
        tree = linkage_forest(neighbours_above(pool, -1.0), pool, cap, linkage)
        assert_is_greedy(tree, matrix, linkage, cap)

    @given(with_known(any_matrix(1, 11)), caps)
    def test_so_are_they_around_known_lesions(self, linkage, images, cap):
        matrix, known = images
        assert_is_greedy(forest_of(matrix, linkage, cap, known), matrix, linkage, cap, known)

    @given(any_matrix(1, 11), caps, floors)
    def test_near_pairs_tell_the_merges_up_to_their_reach(self, linkage, matrix, cap, floor):
        reach = neighbours_above(given_pool(matrix), floor).reach
        assert_is_greedy(forest_of(matrix, linkage, cap, floor=floor), matrix, linkage, cap, reach=reach)

    @given(small_pools, caps, floors)
    def test_so_they_do_among_copies(self, linkage, pool, cap, floor):
        pool, matrix = pool[0], similarity_matrix(pool[0])
        graph = neighbours_above(pool, floor)
        assert_is_greedy(linkage_forest(graph, pool, cap, linkage), matrix, linkage, cap, reach=graph.reach)

    @given(with_known(any_matrix(1, 11)), caps, floors)
    def test_so_they_do_around_known_lesions(self, linkage, images, cap, floor):
        matrix, known = images
        reach = neighbours_above(given_pool(matrix), floor).reach
        tree = forest_of(matrix, linkage, cap, known, floor)
        assert_is_greedy(tree, matrix, linkage, cap, known, reach)

    @pytest.mark.parametrize("rows", [[0, 1, 3, 2], [3, 0, 2, 1]])
    def test_of_two_equally_near_groups_that_comes_first_which_has_the_lower_row_once_it_is_whole(self, linkage, rows):
        """The first image is as near to the second, which merges with the fourth before, as to the third."""
        matrix = np.full((4, 4), -0.5)
        for one, other, alike in ((0, 1, 0.5), (0, 3, 0.5), (0, 2, 0.5), (1, 3, 0.75)):
            matrix[rows[one], rows[other]] = matrix[rows[other], rows[one]] = alike
        np.fill_diagonal(matrix, 1.0)
        assert_is_greedy(forest_of(matrix, linkage, None), matrix, linkage, None)

    @pytest.mark.parametrize("cap", [None, 4, 40])
    @pytest.mark.parametrize("floor", [-1.0, -0.3, 0.2, 0.6])
    def test_large_groups_merge_as_those_of_scipy(self, linkage, cap, floor):
        pool = Pool(unit_vectors(np.random.default_rng(5).normal(size=(90, 4))))
        graph = neighbours_above(pool, floor)
        tree = linkage_forest(graph, pool, cap, linkage)
        apart = 1.0 - similarity_matrix(pool).astype(np.float64)
        merges = hierarchy.linkage(squareform(apart, checks=False), linkage)
        for cut in [0.05, 0.2, 0.5, 0.9, 1.2, 1.6]:
            found = clusters_at(tree, cut)
            wanted = hierarchy.fcluster(merges, cut, criterion="distance")
            if cut <= graph.reach and (cap is None or np.bincount(wanted).max() <= cap):
                assert partition(found) == partition(wanted)
            assert np.bincount(found).max() <= (cap or len(pool))
        assert cap is not None or floor > -1 or len(tree.edges) == 89

    @given(labelled(any_matrix()))
    def test_every_row_counts_what_the_groups_of_scipy_count(self, linkage, images):
        matrix, labels = images
        merges = hierarchy.linkage(squareform(1.0 - matrix.astype(np.float64), checks=False), linkage)
        tree = forest_of(matrix, linkage, None)
        sweep = sweep_merges(tree, labels, linkage)
        assert sweep.method == linkage
        is_unique = len(np.unique(matrix)) == len(labels) * (len(labels) - 1) // 2 + 1
        for cut, reported, tp, fp in zip(sweep.cuts, sweep.reported, sweep.tp, sweep.fp, strict=True):
            assert (tp, fp) == counts(together(clusters_at(tree, cut)), together(labels))
            if is_unique:  # of equally close groups SciPy may take others
                for theirs, ours in ((cut + UNDECIDED, cut), (reported, reported)):
                    groups = hierarchy.fcluster(merges, theirs, criterion="distance")
                    assert partition(clusters_at(tree, ours)) == partition(groups)

    @given(untied())
    def test_groups_equal_those_of_scikit_learn_where_no_distances_tie(self, linkage, matrix):
        tree = forest_of(matrix, linkage, None)
        for cut in (tree.distances[1:] + tree.distances[:-1]) / 2:
            theirs = AgglomerativeClustering(None, metric="precomputed", linkage=linkage, distance_threshold=cut)
            assert partition(clusters_at(tree, cut)) == partition(theirs.fit_predict(1.0 - matrix.astype(np.float64)))

    @given(any_matrix())
    def test_a_cap_that_holds_all_images_is_no_cap(self, linkage, matrix):
        uncapped, capped = (forest_of(matrix, linkage, cap) for cap in (None, len(matrix)))
        assert np.array_equal(capped.edges, uncapped.edges)
        assert np.array_equal(capped.distances, uncapped.distances)

    @given(untied(least=3))
    def test_a_cap_of_one_image_less_forbids_the_last_merge_alone(self, linkage, matrix):
        uncapped, capped = (forest_of(matrix, linkage, cap) for cap in (None, len(matrix) - 1))
        assert np.array_equal(capped.edges, uncapped.edges[:-1])
        assert np.array_equal(capped.distances, uncapped.distances[:-1])

    @given(st.one_of(untied(20, 40), tied(12, 16)), st.integers(1, 6))
    def test_no_group_is_larger_at_any_cut_and_no_allowed_merge_is_left_at_the_end(self, linkage, matrix, cap):
        tree = forest_of(matrix, linkage, cap)
        for cut in [*tree.distances, 2.0]:
            assert np.bincount(clusters_at(tree, cut)).max() <= cap
        smallest = np.sort(np.bincount(clusters_at(tree, 2.0)))[:2]
        assert smallest.sum() > cap

    @given(labelled(st.one_of(untied(20, 40), tied(12, 16))), st.sampled_from([None, 1, 2, 3, 4, 6]))
    def test_distances_ascend_and_recall_grows_with_the_cut(self, linkage, images, cap):
        matrix, labels = images
        tree = forest_of(matrix, linkage, cap)
        sweep = sweep_merges(tree, labels, linkage)
        assert (np.diff(tree.distances) >= 0).all()
        assert (np.diff(sweep.cuts) > 0).all()
        assert (np.diff(sweep.tp) >= 0).all()
        if sweep.n_positive_pairs:
            recalls = [choice_at(sweep, cut).recall for cut in np.linspace(0, 2, 21)]
            assert recalls == sorted(recalls)
            assert choice_at(sweep, (best := select_cut(sweep, 0.0, 2.0)).cut).f1 == best.f1 == sweep.f1.max(initial=0)

    @given(labelled(untied(2, 30)), st.sampled_from([None, 2, 3, 4, 7]), st.integers(0, 99))
    def test_the_order_of_images_changes_nothing_without_ties(self, linkage, images, cap, seed):
        matrix, labels = images
        order = np.random.default_rng(seed).permutation(len(labels))
        tree, permuted = forest_of(matrix, linkage, cap), forest_of(matrix[np.ix_(order, order)], linkage, cap)
        sweep, same = sweep_merges(tree, labels, linkage), sweep_merges(permuted, labels[order], linkage)
        assert (same.tp.tolist(), same.fp.tolist()) == (sweep.tp.tolist(), sweep.fp.tolist())
        assert same.cuts == pytest.approx(sweep.cuts, abs=1e-11)
        for cut in sweep.reported:
            assert partition(clusters_at(permuted, cut)) == partition(clusters_at(tree, cut)[order])

    @pytest.mark.parametrize("cap", [None, 1, 2, 4])
    @pytest.mark.parametrize("n_images", [0, 1, 2])
    def test_few_images_are_no_special_case(self, linkage, cap, n_images):
        tree = forest_of(symmetric(np.full((n_images, n_images), 0.25)), linkage, cap)
        is_joined = n_images == 2 and cap != 1
        assert tree.edges.tolist() == [[0, 1]] * is_joined
        assert tree.distances.tolist() == [0.75] * is_joined
        assert clusters_at(tree, 0.8).tolist() == ([0, 0] if is_joined else list(range(n_images)))
        assert len(sweep_merges(tree, np.zeros(n_images, dtype=np.int64), linkage).cuts) == is_joined

    @given(small_pools, caps, floors, st.sampled_from([1, 200, 5000]))
    def test_a_pair_of_images_is_the_same_whether_looked_up_or_computed(self, linkage, pool, cap, floor, tile_bytes):
        pool, small = pool[0], limited(pool[0], tile_bytes=tile_bytes)
        trees = [linkage_forest(neighbours_above(each, floor), each, cap, linkage) for each in (pool, small)]
        graph, no_matrix = neighbours_above(pool, floor), limited(pool, most_pairs=2)
        trees.append(linkage_forest(graph, no_matrix, cap, linkage))
        few_at_once = ({}, {"most_pairs": 2})
        trees += [
            linkage_forest(graph, limited(pool, few_pairs=3, pairs_at_once=2, **limits), cap, linkage)
            for limits in few_at_once
        ]
        for tree in trees[1:]:
            assert np.array_equal(tree.edges, trees[0].edges)
            assert np.array_equal(tree.distances, trees[0].distances)


@pytest.mark.parametrize("cap", [None, 5])
def test_rounding_does_not_part_equal_averages(cap):
    distances = np.full((9, 9), 2.0)
    distances[:3, :3] = distances[3:5, 3:5] = distances[5:8, 5:8] = 0
    distances[:3, 3:5] = [[0.5, 0.25], [0.5, 0.25], [0.5, 0.5]]  # mean 5/12, but half of 1/2 + 1/3 is rounded otherwise
    distances[5:8, 8] = [0.25, 0.5, 0.5]  # mean 5/12
    tree = forest_of(symmetric(1 - distances), "average", cap)
    assert tree.distances[:7] == pytest.approx([0, 0, 0, 0, 0, 5 / 12, 5 / 12], abs=1e-12)
    assert tree.distances[5] == tree.distances[6]


@given(any_matrix(), st.sampled_from([None, 3]))
def test_complete_linkage_keeps_all_images_of_a_group_within_the_cut(matrix, cap):
    tree = forest_of(matrix, "complete", cap)
    for cut in tree.distances:
        groups = clusters_at(tree, cut)
        assert 1.0 - matrix[groups[:, None] == groups].min().astype(np.float64) <= cut


def dbscan_groups(matrix, eps, min_samples):
    """scikit-learn's labels, each noise image a group of one."""
    distances = np.maximum(1.0 - matrix.astype(np.float64), 0.0)
    groups = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distances).labels_.copy()
    noise = groups < 0
    groups[noise] = len(groups) + np.arange(noise.sum())
    return groups


class TestSingleLinkage:
    @pytest.mark.parametrize("min_samples", [1, 2])
    @given(images=labelled(any_matrix()))
    def test_groups_equal_those_of_dbscan_at_every_eps(self, min_samples, images):
        matrix, labels = images
        tree = single_of(matrix)
        sweep, positive = sweep_merges(tree, labels, "dbscan"), together(labels)
        for eps in np.concatenate([np.linspace(0.01, 1.99, 12), sweep.cuts[sweep.cuts > 0], sweep.reported]):
            groups = dbscan_groups(matrix, eps, min_samples)
            assert partition(clusters_at(tree, eps)) == partition(groups)
            if positive.any():
                tp, fp = counts(together(groups), positive)
                assert choice_at(sweep, eps).f1 == 2 * tp / (tp + fp + positive.sum())

    @given(small_pools, floors)
    def test_near_pairs_tell_the_components_up_to_their_reach(self, pool, floor):
        pool, matrix = pool[0], similarity_matrix(pool[0])
        graph = neighbours_above(pool, floor)
        forest = spanning_forest(graph)
        apart = np.unique(np.maximum(1.0 - matrix[np.triu_indices(len(pool), 1)].astype(np.float64), 0.0))
        for eps in [*apart[apart <= graph.reach], max(0.0, graph.reach)]:
            if eps <= graph.reach:
                assert partition(clusters_at(forest, eps)) == partition(groups_within(matrix, eps))
        assert (forest.distances <= graph.reach).all()
        assert (np.diff(forest.distances) >= 0).all()

    @given(any_matrix(), st.integers(0, 14), floors)
    def test_known_images_are_one_root_whose_own_pairs_do_not_count(self, matrix, n_new, floor):
        n_new = min(n_new, len(matrix))
        graph = neighbours_above(given_pool(matrix), floor)
        forest = spanning_forest(graph, known_from(n_new, len(matrix)))
        joined = matrix.copy()
        joined[n_new:, n_new:] = 1.0
        assert (forest.edges < n_new).any(axis=1).all()
        root = [[n_new, row] for row in range(n_new + 1, len(matrix))]
        for eps in forest.distances:
            links = np.array([*root, *forest.edges[forest.distances <= eps].tolist()], dtype=np.int64).reshape(-1, 2)
            assert partition(components(len(matrix), links)) == partition(groups_within(joined, eps))

    def test_groups_that_answers_keep_apart_are_named_once_the_lower_one_first(self):
        constraints = Constraints(np.full(6, -1), must=np.array([[0, 5]]), cannot=np.array([[5, 2], [3, 0], [2, 0]]))
        assert constraints.forbidden(constraints.starts).tolist() == [[0, 2], [0, 3]]

    def test_two_known_lesions_stay_apart_where_answers_keep_others_apart_too(self):
        constraints = Constraints(np.array([0, 1, -1, -1]), cannot=np.array([[2, 3]]))
        forest = spanning_forest(neighbours_above(given_pool(np.full((4, 4), 0.9)), -1.0), constraints)
        groups = components(4, forest.edges)
        assert groups[0] != groups[1]
        assert groups[2] != groups[3]
        assert len(set(groups.tolist())) == 2

    @given(labelled(any_matrix()), st.floats(0, 1.9), st.floats(1e-6, 2))
    def test_a_searched_range_is_searched_exactly(self, images, low, width):
        matrix, labels = images
        high, positive = min(2.0, low + width), together(labels)
        choice = select_cut(sweep_merges(single_of(matrix), labels, "dbscan"), low, high)
        if positive.any():
            wanted = best_cut(greedy_merges(matrix, "single"), positive, low, high)
            assert [*vars(choice).values()] == pytest.approx(wanted, rel=0, abs=0, nan_ok=True)

    @given(labelled(any_matrix()))
    def test_the_best_eps_is_midway_between_merges_and_best(self, images):
        matrix, labels = images
        sweep = sweep_merges(single_of(matrix), labels, "dbscan")
        choice = select(sweep)
        if sweep.n_positive_pairs:
            assert choice.f1 == sweep.f1.max()
            lower = sweep.cuts[sweep.cuts <= choice.cut].max()
            assert choice.cut == (lower + sweep.cuts[sweep.cuts > choice.cut].min(initial=2.0)) / 2

    def test_cluster_ids_count_from_0_in_the_order_of_the_rows(self):
        tree = spanning_forest(neighbours_above(Pool(on_circle(90, 0, 90, 180)), -1.0))
        assert clusters_at(tree, 0.1).tolist() == [0, 1, 0, 2]
        assert clusters_at(tree, np.nan).tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize("n_images", [0, 1])
    @pytest.mark.parametrize("n_new", [None, 0])
    def test_no_image_or_one_has_no_merge(self, n_images, n_new):
        forest = spanning_forest(neighbours_above(given_pool(np.eye(n_images)), -1.0), known_from(n_new, n_images))
        assert (len(forest.edges), forest.n_images) == (0, n_images)


def mutual_of(matrix, n_new=None, tidy_from=2**20, **limits):
    pool = limited(given_pool(matrix), **limits)
    of_known = None if n_new is None else np.arange(len(pool)) >= n_new
    mutual = MutualPairs(len(pool), of_known, tidy_from)
    look_at(pool, [mutual])
    return mutual.links()


class TestMutualNearest:
    @given(any_matrix(0), st.integers(1, 24 * 15**2))
    def test_pairs_are_those_in_which_no_other_image_is_nearer_to_either(self, matrix, tile_bytes):
        pairs, similarities = mutual_of(matrix, tile_bytes=tile_bytes)
        assert pairs.tolist() == mutual_links(matrix)
        assert np.array_equal(similarities, matrix[tuple(pairs.T)])

    @given(any_matrix(), st.integers(0, 14), st.integers(1, 24 * 15**2))
    def test_known_images_are_not_compared_with_each_other(self, matrix, n_new, tile_bytes):
        n_new = min(n_new, len(matrix))
        assert mutual_of(matrix, n_new, tile_bytes=tile_bytes)[0].tolist() == mutual_links(matrix, n_new)

    @given(any_matrix(), st.integers(0, 99))
    def test_the_order_of_images_changes_nothing_not_even_with_ties(self, matrix, seed):
        order = np.random.default_rng(seed).permutation(len(matrix))
        found = {frozenset(order[pair].tolist()) for pair in mutual_of(matrix[np.ix_(order, order)])[0]}
        assert found == {frozenset(pair) for pair in mutual_of(matrix)[0].tolist()}

    @given(untied())
    def test_without_ties_nobody_has_two_partners(self, matrix):
        pairs, _ = mutual_of(matrix)
        assert len(pairs) >= 1  # the nearest two of all
        assert len(np.unique(pairs)) == 2 * len(pairs)

    def test_ties_join_all_that_are_equally_near(self):
        matrix = symmetric([[1, 0.5, 0.5, 0], [0, 1, 0, 0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
        pairs, _ = mutual_of(matrix)
        assert pairs.tolist() == [[0, 1], [0, 2]]
        assert components(4, pairs).tolist() == [0, 0, 0, 1]

    @given(any_matrix(), st.integers(1, 24 * 15**2))
    def test_what_is_dropped_in_between_changes_nothing(self, matrix, tile_bytes):
        assert mutual_of(matrix, tidy_from=0, tile_bytes=tile_bytes)[0].tolist() == mutual_links(matrix)

    @given(labelled(any_matrix()))
    def test_as_merges_they_are_the_same_groups_at_every_cut(self, images):
        matrix, labels = images
        groups = components(len(matrix), np.array(mutual_links(matrix), dtype=np.int64).reshape(-1, 2))
        tree = tree_of_groups(groups)
        sweep = sweep_merges(tree, labels, "mutual")
        assert [sweep.tp.tolist(), sweep.fp.tolist()] == [[n] for n in counts(together(groups), together(labels))]
        for cut in (0.0, 0.3, 2.0):
            assert np.array_equal(clusters_at(tree, cut), groups)


@given(any_matrix(), st.lists(st.integers(0, 3), min_size=14, max_size=14))
def test_any_groups_can_be_given_as_merges(matrix, numbers):
    groups = np.array(numbers[: len(matrix)])
    assert partition(clusters_at(tree_of_groups(groups), 0.0)) == partition(groups)


def test_the_greedy_search_of_the_tests_agrees_with_a_hand_worked_case():
    # 0 and 1 are 0.1 apart, 2 is 0.2 and 0.4 from them: mean 0.3, largest 0.4; 3 is far from all.
    matrix = symmetric([[1, 0.9, 0.8, -1], [0, 1, 0.6, -1], [0, 0, 1, -1], [0, 0, 0, 1]])
    found = {name: greedy_merges(matrix, name, 3) for name in ("average", "complete")}
    assert [merge[:2] for merge in found["average"]] == [(0, 1), (0, 2)]
    assert [merge[2] for merge in found["average"]] == pytest.approx([0.1, 0.3], abs=1e-7)
    assert [merge[2] for merge in found["complete"]] == pytest.approx([0.1, 0.4], abs=1e-7)
    assert partition(groups_at(found["average"], 4, 0.35)) == {(0, 1, 2), (3,)}
