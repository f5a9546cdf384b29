"""Near pairs against a plain look at the whole matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.labels import ascending_bits, from_ascending_bits, unit_vectors
from skinbit.matching.pairs.neighbours import (
    estimate_floor,
    graph_of,
    nearest_images,
    neighbours_above,
    singles_at_least,
)
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from tests.matching.samples import any_matrix, given_pool, limited, pools

some_bytes = st.integers(1, 24 * 35**2)
floors = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 0.5, 1.0]))


def pairs_of(pool, floor):
    """Return all pairs with at least a similarity, nearest first, then by rows."""
    matrix = similarity_matrix(pool)
    found = [(i, j) for i in range(len(pool)) for j in range(i + 1, len(pool)) if float(matrix[i, j]) >= floor]
    return sorted(found, key=lambda pair: (-matrix[pair], pair))


def held(graph):
    return list(map(tuple, graph.pairs.tolist()))


def assert_holds_all(graph, pool):
    assert held(graph) == pairs_of(pool, graph.floor)
    assert np.array_equal(graph.similarities, similarity_matrix(pool)[tuple(graph.pairs.T)])


@given(pools(), floors, some_bytes)
def test_a_graph_holds_all_pairs_above_its_floor_nearest_first(pool, floor, tile_bytes):
    pool = limited(pool[0], tile_bytes=tile_bytes)
    graph = neighbours_above(pool, floor)
    assert held(graph) == pairs_of(pool, floor)
    assert_holds_all(graph, pool)
    assert np.array_equal(graph.distances, 1.0 - graph.similarities.astype(np.float64))


@given(pools(), st.integers(2, 60), some_bytes)
def test_where_too_many_pairs_are_near_the_floor_rises_and_still_all_above_are_held(pool, most_pairs, tile_bytes):
    pool = limited(pool[0], tile_bytes=tile_bytes, most_pairs=most_pairs)
    graph = neighbours_above(pool, -1.0)
    assert len(graph.pairs) <= most_pairs
    assert_holds_all(graph, pool)
    assert graph.is_complete == (pool.n_pairs <= most_pairs)


@given(any_matrix(most=9), floors)
def test_pairs_are_put_in_the_same_order_whether_or_not_they_fit_into_64_bits(matrix, floor):
    pairs = np.argwhere(np.triu(matrix >= floor, 1))
    similarities = matrix[tuple(pairs.T)]
    few, many = (graph_of(n_images, floor, pairs, similarities) for n_images in (9, 2**16 + 1))
    assert np.array_equal(few.pairs, many.pairs)
    assert np.array_equal(few.similarities, many.similarities)


@given(pools(), floors, floors)
def test_pairs_above_a_higher_floor_are_counted(pool, floor, higher):
    pool, floor, higher = pool[0], min(floor, higher), max(floor, higher)
    graph = neighbours_above(pool, floor)
    assert graph.n_at_least(higher) == len(pairs_of(pool, higher))


@given(pools(), floors, st.randoms(use_true_random=False))
def test_the_graph_of_some_images_is_that_of_their_pool(pool, floor, random):
    pool, _ = pool
    rows = np.array(sorted(random.sample(range(len(pool)), random.randint(1, len(pool)))))
    part, alone = neighbours_above(pool, floor).subset(rows), neighbours_above(pool.subset(rows), floor)
    assert held(part) == held(alone)
    assert np.array_equal(part.similarities, alone.similarities)
    assert (part.floor, part.n_images) == (alone.floor, len(rows))


@given(pools(), st.integers(1, 30), floors)
def test_the_most_similar_pairs_are_those_of_a_full_sort_up_to_a_whole_tie_or_refused(pool, n_pairs, floor):
    pool, _ = pool
    graph = neighbours_above(pool, floor)
    if len(graph.pairs) <= n_pairs and not graph.is_complete:
        with pytest.raises(LookupError):
            graph.most_similar(n_pairs)
        return
    descending = np.sort(similarity_matrix(pool)[np.triu_indices(len(pool), 1)])[::-1]
    nearest, below = graph.most_similar(n_pairs)
    assert len(nearest) <= n_pairs
    assert nearest.tolist() == descending[: len(nearest)].tolist()
    if len(descending) <= n_pairs:
        assert (len(nearest), below) == (len(descending), -1.0)
    else:
        assert below == descending[len(nearest)]
        assert len(nearest) == 0 or below < nearest[-1]
        assert (descending >= below).sum() > n_pairs


def nearest_by_sorting(matrix, k):
    """Most similar first, of equally similar ones the first rows."""
    rows = []
    for i in range(len(matrix)):
        others = sorted((j for j in range(len(matrix)) if j != i), key=lambda j, i=i: (-matrix[i, j], j))
        rows.append(others[:k])
    return np.array(rows, dtype=np.int64).reshape(len(matrix), -1)


@given(pools(), st.integers(1, 8), some_bytes)
def test_nearest_images_are_those_of_a_plain_sort(pool, k, tile_bytes):
    matrix = similarity_matrix(pool[0])
    wanted = nearest_by_sorting(matrix, k)
    found = nearest_images(limited(pool[0], tile_bytes=tile_bytes), k)
    assert np.array_equal(found.rows, wanted)
    assert np.array_equal(found.similarities, np.take_along_axis(matrix, wanted, axis=1))


@given(any_matrix(least=1), st.integers(1, 8), some_bytes)
def test_so_are_they_where_many_are_equally_near(matrix, k, tile_bytes):
    found = nearest_images(limited(given_pool(matrix), tile_bytes=tile_bytes), k)
    assert np.array_equal(found.rows, nearest_by_sorting(matrix, k))


@pytest.mark.parametrize("n_images", [0, 1])
def test_without_others_there_is_no_nearest(n_images):
    assert nearest_images(given_pool(np.eye(n_images)), 3).rows.shape == (n_images, 0)


def test_less_than_one_neighbour_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        nearest_images(Pool(unit_vectors(np.eye(3))), 0)


def test_an_estimated_floor_leaves_about_so_many_pairs():
    pool = Pool(unit_vectors(np.random.default_rng(0).normal(size=(1500, 16))))
    graph = neighbours_above(pool, estimate_floor(pool, 30_000))
    assert 20_000 < len(graph.pairs) < 40_000


@given(pools(), st.integers(1, 500))
def test_an_estimated_floor_is_that_of_all_pairs_where_so_many_are_wanted(pool, n_pairs):
    floor = estimate_floor(pool[0], n_pairs)
    assert -1 <= floor <= 1
    assert floor == -1 or n_pairs < pool[0].n_pairs
    assert n_pairs < pool[0].n_pairs or floor == -1


@given(st.lists(st.floats(-1, 1)))
def test_thresholds_rounded_up_to_single_precision_have_the_same_similarities_above(thresholds):
    singles = singles_at_least(thresholds)
    assert singles.dtype == np.float32
    for threshold, single in zip(thresholds, singles, strict=True):
        assert float(single) >= threshold > float(np.nextafter(single, np.float32(-np.inf)))


@given(st.lists(st.floats(-1, 1, width=32)))
def test_bits_rise_as_singles_do_and_lead_back(values):
    singles = np.array(values, dtype=np.float32)
    bits = ascending_bits(singles)
    assert np.array_equal(from_ascending_bits(bits), singles)
    assert np.array_equal(bits[:, None] < bits, singles[:, None] < singles)
