"""Average and complete linkage against SciPy, scikit-learn and a greedy search by hand; mutual nearest neighbours."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from skinbit.matching.clustering import clusters_at, select_cut, sweep_merges
from skinbit.matching.linkage import linkage_tree, mutual_groups, mutual_nearest_pairs, mutual_tree
from skinbit.matching.pairs import cosine_similarities, unit_vectors
from skinbit.matching.selection import choice_at

both_linkages = pytest.mark.parametrize("linkage", ["average", "complete"])

UNDECIDED = 1e-11
"""Averages are rounded to 12 decimals; SciPy's own ones lie within this of a cut."""


def symmetric(values):
    """Similarities from any square: the upper triangle on both sides, 1 on the diagonal."""
    upper = np.triu(np.asarray(values, dtype=np.float32), 1)
    return upper + upper.T + np.eye(len(upper), dtype=np.float32)


@st.composite
def untied(draw, min_images=2, max_images=14):
    """Similarities of random images, no two pairs equally similar."""
    n_images = draw(st.integers(min_images, max_images))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    similarities = cosine_similarities(unit_vectors(rng.normal(size=(n_images, draw(st.integers(2, 6))))))
    upper = similarities[np.triu_indices(n_images, 1)]
    return similarities if len(np.unique(upper)) == len(upper) else symmetric(rng.uniform(-1, 1, (n_images, n_images)))


@st.composite
def tied(draw, min_images=2, max_images=14):
    """Multiples of 1/4, often equal and not always those of vectors."""
    n_images = draw(st.integers(min_images, max_images))
    quarters = st.lists(st.integers(-4, 4), min_size=n_images**2, max_size=n_images**2)
    return symmetric(np.reshape(draw(quarters), (n_images, n_images)) / 4)


any_similarities = st.one_of(untied(), tied())
small_similarities = st.one_of(untied(2, 9), tied(2, 9))


@st.composite
def labelled(draw, similarities):
    """Similarities, and lesions of few images each."""
    chosen = draw(similarities)
    return chosen, np.array(draw(st.lists(st.integers(0, 4), min_size=len(chosen), max_size=len(chosen))))


def partition(groups):
    """Groups without their numbers."""
    return {tuple(np.flatnonzero(groups == group)) for group in np.unique(groups)}


def count_pairs(groups, labels):
    """True and false positives by a plain look at every pair."""
    together = [labels[i] == labels[j] for i, j in combinations(range(len(labels)), 2) if groups[i] == groups[j]]
    return sum(together), len(together) - sum(together)


def greedy_merges(similarities, linkage, max_group_size):
    """Every merge by looking at every two groups, in exact fractions: first rows and distance."""
    exact = [[1 - Fraction(float(value)) for value in row] for row in similarities]
    groups = [[row] for row in range(len(exact))]
    merges = []
    while True:
        allowed = []
        for a, b in combinations(sorted(groups), 2):
            between = [exact[i][j] for i, j in product(a, b)]
            distance = max(between) if linkage == "complete" else sum(between) / len(between)
            if len(a) + len(b) <= max_group_size:
                allowed.append((distance, a, b))
        if not allowed:
            return merges
        distance, a, b = min(allowed, key=lambda found: (found[0], found[1][0], found[2][0]))
        merges.append((a[0], b[0], float(distance)))
        groups = [group for group in groups if group not in (a, b)] + [sorted(a + b)]


@both_linkages
class TestWithoutCap:
    @given(labelled(any_similarities))
    def test_every_row_counts_what_the_groups_of_scipy_count(self, linkage, images):
        similarities, labels = images
        merges = hierarchy.linkage(squareform(1.0 - similarities.astype(np.float64), checks=False), linkage)
        tree = linkage_tree(similarities, linkage, None)
        sweep = sweep_merges(tree, labels, linkage)
        assert sweep.method == linkage
        for cut, reported, tp, fp in zip(sweep.cuts, sweep.reported, sweep.tp, sweep.fp, strict=True):
            for theirs, ours in ((cut + UNDECIDED, cut), (reported, reported)):
                groups = hierarchy.fcluster(merges, theirs, criterion="distance")
                assert partition(clusters_at(tree, ours)) == partition(groups)
                assert (tp, fp) == count_pairs(groups, labels)

    @given(untied())
    def test_groups_equal_those_of_scikit_learn_where_no_distances_tie(self, linkage, similarities):
        tree = linkage_tree(similarities, linkage, None)
        for cut in (tree.distances[1:] + tree.distances[:-1]) / 2:
            theirs = AgglomerativeClustering(None, metric="precomputed", linkage=linkage, distance_threshold=cut)
            expected = theirs.fit_predict(1.0 - similarities.astype(np.float64))
            assert partition(clusters_at(tree, cut)) == partition(expected)

    @given(any_similarities)
    def test_a_cap_that_holds_all_images_is_no_cap(self, linkage, similarities):
        uncapped = linkage_tree(similarities, linkage, None)
        capped = linkage_tree(similarities, linkage, len(similarities))
        assert np.array_equal(capped.edges, uncapped.edges)
        assert np.array_equal(capped.distances, uncapped.distances)

    @given(untied(min_images=3))
    def test_a_cap_of_one_image_less_forbids_the_last_merge_alone(self, linkage, similarities):
        uncapped = linkage_tree(similarities, linkage, None)
        capped = linkage_tree(similarities, linkage, len(similarities) - 1)
        assert np.array_equal(capped.edges, uncapped.edges[:-1])
        assert capped.distances == pytest.approx(uncapped.distances[:-1], abs=1e-11)


@both_linkages
class TestWithCap:
    @given(small_similarities, st.integers(1, 8))
    def test_merges_are_those_of_a_greedy_search_over_all_pairs_of_groups(self, linkage, similarities, cap):
        cap = min(cap, len(similarities) - 1)
        tree = linkage_tree(similarities, linkage, cap)
        expected = greedy_merges(similarities, linkage, cap)
        assert tree.edges.tolist() == [[first, second] for first, second, _ in expected]
        assert tree.distances == pytest.approx([distance for *_, distance in expected], abs=1e-11)

    @given(st.one_of(untied(20, 40), tied(12, 16)), st.integers(1, 6))
    def test_no_group_is_larger_at_any_cut_and_no_allowed_merge_is_left_at_the_end(self, linkage, similarities, cap):
        tree = linkage_tree(similarities, linkage, cap)
        for cut in [*tree.distances, 2.0]:
            assert np.bincount(clusters_at(tree, cut)).max() <= cap
        smallest = np.sort(np.bincount(clusters_at(tree, 2.0)))[:2]
        assert smallest.sum() > cap

    @given(labelled(st.one_of(untied(20, 40), tied(12, 16))), st.sampled_from([None, 1, 2, 3, 4, 6]))
    def test_distances_ascend_and_recall_grows_with_the_cut(self, linkage, images, cap):
        similarities, labels = images
        tree = linkage_tree(similarities, linkage, cap)
        sweep = sweep_merges(tree, labels, linkage)
        assert (np.diff(tree.distances) >= 0).all()
        assert (np.diff(sweep.cuts) > 0).all()
        assert (np.diff(sweep.tp) >= 0).all()
        if sweep.n_positive_pairs:
            recalls = [choice_at(sweep, cut).recall for cut in np.linspace(0, 2, 21)]
            assert recalls == sorted(recalls)
            assert choice_at(sweep, (best := select_cut(sweep, 0.0, 2.0)).cut).f1 == best.f1 == sweep.f1.max(initial=0)


@both_linkages
@given(images=labelled(untied(2, 30)), cap=st.sampled_from([None, 2, 3, 4, 7]), seed=st.integers(0, 99))
def test_the_order_of_images_changes_nothing_without_ties(linkage, images, cap, seed):
    similarities, labels = images
    order = np.random.default_rng(seed).permutation(len(labels))
    tree = linkage_tree(similarities, linkage, cap)
    permuted = linkage_tree(similarities[np.ix_(order, order)], linkage, cap)
    sweep, same = sweep_merges(tree, labels, linkage), sweep_merges(permuted, labels[order], linkage)
    assert (same.tp.tolist(), same.fp.tolist()) == (sweep.tp.tolist(), sweep.fp.tolist())
    assert same.cuts == pytest.approx(sweep.cuts, abs=1e-11)
    for cut in sweep.reported:
        assert partition(clusters_at(permuted, cut)) == partition(clusters_at(tree, cut)[order])


@both_linkages
@pytest.mark.parametrize("cap", [None, 1, 2, 4])
@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_few_images_are_no_special_case(linkage, cap, n_images):
    tree = linkage_tree(symmetric(np.full((n_images, n_images), 0.25)), linkage, cap)
    is_joined = n_images == 2 and cap != 1
    assert tree.edges.tolist() == [[0, 1]] * is_joined
    assert tree.distances.tolist() == [0.75] * is_joined
    assert clusters_at(tree, 0.8).tolist() == ([0, 0] if is_joined else list(range(n_images)))
    assert len(sweep_merges(tree, np.zeros(n_images, dtype=np.int64), linkage).cuts) == is_joined


@pytest.mark.parametrize("cap", [None, 5])
def test_rounding_does_not_part_equal_averages(cap):
    distances = np.full((9, 9), 2.0)
    distances[:3, :3] = distances[3:5, 3:5] = distances[5:8, 5:8] = 0
    distances[:3, 3:5] = [[0.5, 0.25], [0.5, 0.25], [0.5, 0.5]]  # mean 5/12, but half of 1/2 + 1/3 is rounded otherwise
    distances[5:8, 8] = [0.25, 0.5, 0.5]  # mean 5/12
    tree = linkage_tree(symmetric(1 - distances), "average", cap)
    assert tree.distances[:7] == pytest.approx([0, 0, 0, 0, 0, 5 / 12, 5 / 12], abs=1e-12)
    assert tree.distances[5] == tree.distances[6]


@given(any_similarities, st.sampled_from([None, 3]))
def test_complete_linkage_keeps_all_images_of_a_group_within_the_cut(similarities, cap):
    tree = linkage_tree(similarities, "complete", cap)
    for cut in tree.distances:
        groups = clusters_at(tree, cut)
        assert 1.0 - similarities[groups[:, None] == groups].min().astype(np.float64) <= cut


class TestMutualNearest:
    @given(st.one_of(any_similarities, st.integers(0, 3).map(lambda n: symmetric(np.zeros((n, n))))))
    def test_pairs_are_those_in_which_no_other_image_is_nearer_to_either(self, similarities):
        rows = range(len(similarities))
        expected = [
            [i, j]
            for i, j in combinations(rows, 2)
            if all(similarities[i, k] <= similarities[i, j] for k in rows if k != i)
            and all(similarities[j, k] <= similarities[i, j] for k in rows if k != j)
        ]
        assert mutual_nearest_pairs(similarities).tolist() == expected

    @given(any_similarities, st.integers(0, 99))
    def test_the_order_of_images_changes_nothing_not_even_with_ties(self, similarities, seed):
        order = np.random.default_rng(seed).permutation(len(similarities))
        permuted = similarities[np.ix_(order, order)]
        found = {frozenset(order[pair].tolist()) for pair in mutual_nearest_pairs(permuted)}
        assert found == {frozenset(pair) for pair in mutual_nearest_pairs(similarities).tolist()}
        assert partition(mutual_groups(permuted)) == partition(mutual_groups(similarities)[order])

    @given(untied())
    def test_without_ties_nobody_has_two_partners(self, similarities):
        pairs = mutual_nearest_pairs(similarities)
        assert len(pairs) >= 1  # the nearest two of all
        assert len(np.unique(pairs)) == 2 * len(pairs)

    def test_ties_join_all_that_are_equally_near(self):
        similarities = symmetric([[1, 0.5, 0.5, 0], [0, 1, 0, 0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
        assert mutual_nearest_pairs(similarities).tolist() == [[0, 1], [0, 2]]
        assert mutual_groups(similarities).tolist() == [0, 0, 0, 1]

    @given(labelled(any_similarities))
    def test_the_tree_has_the_same_groups_at_every_cut(self, images):
        similarities, labels = images
        tree, groups = mutual_tree(similarities), mutual_groups(similarities)
        sweep = sweep_merges(tree, labels, "mutual")
        assert [sweep.tp.tolist(), sweep.fp.tolist()] == [[count] for count in count_pairs(groups, labels)]
        for cut in (0.0, 0.3, 2.0):
            assert np.array_equal(clusters_at(tree, cut), groups)

    @given(any_similarities, st.integers(1, 60))
    def test_blocks_of_rows_change_nothing(self, similarities, block_values):
        assert np.array_equal(mutual_nearest_pairs(similarities, block_values), mutual_nearest_pairs(similarities))
