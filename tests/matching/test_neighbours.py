"""Near pairs found in blocks against the whole matrix; a certificate that is never given wrongly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.blocks import similarities_of_pairs, similarity_tiles
from skinbit.matching.clustering import clusters_at, components, spanning_tree
from skinbit.matching.linkage import linkage_tree, mutual_groups
from skinbit.matching.neighbours import (
    certified_graph,
    estimate_floor,
    nearest_neighbours,
    neighbours_above,
    spanning_forest,
)
from skinbit.matching.pairs import cosine_similarities, positive_pairs, unit_vectors
from skinbit.matching.ranking import PairCounter, most_similar_pairs
from skinbit.matching.sparse_linkage import linkage_forest
from skinbit.matching.survey import MutualPairs


@st.composite
def pools(draw):
    """Embeddings: at random, on a coarse grid (ties), drawn twice (duplicates), or half of them around one (a hub)."""
    n_images, n_dims = draw(st.integers(1, 45)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = draw(st.sampled_from(["random", "tied", "duplicated", "hub"]))
    vectors = rng.normal(size=(n_images, n_dims))
    if kind == "tied":
        vectors = rng.integers(-2, 3, size=(n_images, n_dims)) + 1e-3
    if kind == "duplicated":
        vectors = vectors[rng.integers(0, n_images, n_images)]
    if kind == "hub":
        vectors[: n_images // 2] = vectors[0] + 1e-3 * vectors[: n_images // 2]
    return unit_vectors(vectors)


some_bytes = st.integers(1, 24 * 50**2)
floors = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 0.5, 1.0]))


def pairs_of(embeddings, floor):
    """By a plain look at the whole matrix."""
    first, second = np.triu_indices(len(embeddings), 1)
    near = cosine_similarities(embeddings)[first, second] >= np.float64(floor)
    return set(zip(first[near].tolist(), second[near].tolist(), strict=True))


def held(graph):
    return set(map(tuple, graph.pairs.tolist()))


def partition(groups):
    return {tuple(np.flatnonzero(groups == group)) for group in np.unique(groups)}


@given(pools(), some_bytes)
def test_tiles_show_every_pair_once_and_bit_for_bit(embeddings, block_bytes):
    matrix, n_seen = cosine_similarities(embeddings), 0
    for tile in similarity_tiles(embeddings, block_bytes):
        height, width = tile.similarities.shape
        wanted = matrix[tile.first_row :, tile.first_column :][:height, :width].copy()
        if tile.is_diagonal:
            np.fill_diagonal(wanted, -np.inf)
        assert np.array_equal(tile.similarities, wanted)
        n_seen += len(tile.pairs())
    assert n_seen == len(embeddings) * (len(embeddings) - 1) // 2


@given(pools())
def test_single_pairs_are_compared_bit_for_bit(embeddings):
    pairs = positive_pairs(np.zeros(len(embeddings), dtype=np.int64))
    assert np.array_equal(similarities_of_pairs(embeddings, pairs), cosine_similarities(embeddings)[tuple(pairs.T)])


@given(pools(), floors, some_bytes)
def test_a_graph_holds_all_pairs_above_its_floor_nearest_first(embeddings, floor, block_bytes):
    graph = neighbours_above(embeddings, floor, block_bytes)
    assert held(graph) == pairs_of(embeddings, floor)
    assert (np.diff(graph.distances) >= 0).all()


@given(pools(), st.integers(2, 60), some_bytes)
def test_where_too_many_pairs_are_near_the_floor_rises_and_still_holds(embeddings, most_pairs, block_bytes):
    graph = neighbours_above(embeddings, -1.0, block_bytes, most_pairs)
    assert len(graph.pairs) <= most_pairs
    assert held(graph) == pairs_of(embeddings, graph.floor)


@given(pools(), st.integers(0, 60))
def test_a_part_of_a_graph_holds_all_pairs_above_its_own_floor(embeddings, n_pairs):
    part = neighbours_above(embeddings, -1.0).nearest_part(n_pairs)
    assert held(part) == pairs_of(embeddings, part.floor)


@given(pools(), st.integers(1, 30), floors)
def test_the_most_similar_pairs_are_those_of_the_matrix_or_refused(embeddings, n_pairs, floor):
    graph = neighbours_above(embeddings, floor)
    if len(graph.pairs) <= n_pairs and not graph.is_complete:
        with pytest.raises(LookupError):
            graph.most_similar(n_pairs)
        return
    wanted, wanted_below = most_similar_pairs(cosine_similarities(embeddings), n_pairs)
    found, below = graph.most_similar(n_pairs)
    assert np.array_equal(found, wanted)
    assert below == wanted_below


def nearest_by_sorting(similarities, k):
    """Most similar first, of equally similar ones the first rows."""
    rows = []
    for i in range(len(similarities)):
        others = sorted((j for j in range(len(similarities)) if j != i), key=lambda j: (-similarities[i, j], j))
        rows.append(others[:k])
    return np.array(rows, dtype=np.int64).reshape(len(similarities), -1)


@given(pools(), st.integers(1, 8), some_bytes)
def test_nearest_neighbours_are_those_of_a_plain_sort(embeddings, k, block_bytes):
    similarities = cosine_similarities(embeddings)
    wanted = nearest_by_sorting(similarities, k)
    found = nearest_neighbours(embeddings, k, block_bytes)
    assert np.array_equal(found.rows, wanted)
    assert np.array_equal(found.similarities, np.take_along_axis(similarities, wanted, axis=1))


@given(pools(), st.integers(1, 8))
def test_down_to_the_certified_floor_neighbours_show_all_pairs(embeddings, k):
    found = nearest_neighbours(embeddings, k)
    floor = found.certified_floor
    rows, places = np.nonzero(found.similarities >= np.float32(floor))
    shown = {tuple(sorted((row, found.rows[row, place]))) for row, place in zip(rows, places, strict=True)}
    assert shown == pairs_of(embeddings, floor)


def test_equal_images_beyond_k_leave_no_certificate():
    neighbours = nearest_neighbours(unit_vectors(np.ones((5, 2))), 3)
    assert neighbours.certified_floor > 1


@given(pools(), st.integers(1, 8), floors, some_bytes)
def test_images_that_show_too_few_neighbours_are_looked_at_again(embeddings, k, floor, block_bytes):
    graph = certified_graph(embeddings, nearest_neighbours(embeddings, k), floor, block_bytes)
    plain = neighbours_above(embeddings, floor)
    assert np.array_equal(graph.pairs, plain.pairs)
    assert np.array_equal(graph.similarities, plain.similarities)


def test_less_than_one_neighbour_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        nearest_neighbours(unit_vectors(np.eye(3)), 0)


def test_an_estimated_floor_leaves_about_so_many_pairs():
    embeddings = unit_vectors(np.random.default_rng(0).normal(size=(1500, 16)))
    graph = neighbours_above(embeddings, estimate_floor(embeddings, 30_000))
    assert 20_000 < len(graph.pairs) < 40_000
    assert estimate_floor(embeddings, 10**6) == -1


@given(pools(), floors)
def test_single_linkage_within_reach_is_that_of_the_matrix(embeddings, floor):
    graph = neighbours_above(embeddings, floor)
    whole, forest = spanning_tree(cosine_similarities(embeddings)), spanning_forest(graph)
    assert np.array_equal(forest.distances, whole.distances[whole.distances <= graph.reach])
    for cut in np.append(forest.distances, max(0.0, graph.reach)):
        if cut <= graph.reach:
            assert partition(clusters_at(forest, cut)) == partition(clusters_at(whole, cut))


@pytest.mark.parametrize("linkage", ["average", "complete"])
@given(pools(), floors, st.sampled_from([1, 2, 3, 4, 7]))
def test_capped_linkage_within_reach_is_that_of_the_matrix_ties_included(linkage, embeddings, floor, cap):
    graph = neighbours_above(embeddings, floor)
    if cap >= len(embeddings):
        return  # without a cap SciPy chooses among equally close groups
    whole = linkage_tree(cosine_similarities(embeddings), linkage, cap)
    forest = linkage_forest(graph, embeddings, cap, linkage)
    within = whole.distances <= graph.reach
    assert np.array_equal(forest.edges, whole.edges[within])
    assert np.array_equal(forest.distances, whole.distances[within])


@pytest.mark.parametrize("linkage", ["average", "complete"])
@pytest.mark.parametrize("floor", [-1.0, -0.3, 0.2, 0.6])
def test_uncapped_linkage_within_reach_is_that_of_the_matrix(linkage, floor):
    embeddings = unit_vectors(np.random.default_rng(5).normal(size=(80, 5)))
    graph = neighbours_above(embeddings, floor)
    whole = linkage_tree(cosine_similarities(embeddings), linkage, None)
    forest = linkage_forest(graph, embeddings, None, linkage)
    within = whole.distances <= graph.reach
    assert np.array_equal(forest.edges, whole.edges[within])
    assert np.allclose(forest.distances, whole.distances[within], rtol=0, atol=2e-12)


@given(pools(), some_bytes)
def test_mutual_nearest_neighbours_in_blocks_are_those_of_the_matrix(embeddings, block_bytes):
    mutual = MutualPairs(len(embeddings))
    for tile in similarity_tiles(embeddings, block_bytes):
        mutual.add(tile)
    found = components(len(embeddings), mutual.pairs())
    assert np.array_equal(found, mutual_groups(cosine_similarities(embeddings)))


@given(st.lists(st.integers(-8, 8), max_size=60), st.lists(st.integers(-8, 8), max_size=20, unique=True))
def test_pairs_are_counted_at_and_above_each_value(pairs, values):
    similarities = np.array(pairs, dtype=np.float32) / 8
    ascending = np.sort(np.array(values, dtype=np.float32)) / 8
    counter = PairCounter(ascending)
    for block in np.array_split(similarities, 3):
        counter.add(block)
    at_least, above = counter.counts()
    assert at_least.tolist() == [(similarities >= value).sum() for value in ascending]
    assert above.tolist() == [(similarities > value).sum() for value in ascending]
