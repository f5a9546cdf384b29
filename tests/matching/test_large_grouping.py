"""Groups of new photographs without the matrix against groups with it: everything that is said of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skinbit.errors import InputError
from skinbit.matching.blocked import Limits
from skinbit.matching.calibration import Calibration
from skinbit.matching.grouping import NO_CUT, Cut, group_images
from skinbit.matching.large_grouping import group_large_pool
from skinbit.matching.large_pool import large_pool
from skinbit.matching.pairs import unit_vectors
from skinbit.matching.similarity import NO_SHORTLIST, Shortlist, pool_similarities
from skinbit.params import SimilarityParams

CALIBRATION = Calibration("logistic", -9.0, 11.0, (0.7, 0.5, 0.6, 1.4, 2.0))

some_limits = st.builds(Limits, st.integers(24, 24 * 30**2))


@st.composite
def pools(draw, with_ties):
    """Embeddings around some lesions, with or without exact ties, a shortlist and a calibration, or neither."""
    n_images = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n_dims = draw(st.integers(3, 6))
    labels = rng.integers(0, max(1, n_images // 2), n_images)
    vectors = rng.normal(size=(n_images, n_dims))[labels] + draw(st.floats(0.05, 1)) * rng.normal(
        size=(n_images, n_dims)
    )
    if with_ties:
        kind = draw(st.sampled_from(["none", "grid", "copies"]))
        vectors = rng.integers(-2, 3, size=(n_images, n_dims)) + 1e-3 if kind == "grid" else vectors
        vectors = vectors[rng.integers(0, n_images, n_images)] if kind == "copies" else vectors
    if not draw(st.booleans()):
        return unit_vectors(vectors), NO_SHORTLIST, None
    pairs = np.argwhere(np.triu(rng.random((n_images, n_images)) < 0.2, 1))
    return unit_vectors(vectors), Shortlist(pairs, rng.integers(0, 40, len(pairs))), CALIBRATION


@st.composite
def cuts(draw):
    method = draw(st.sampled_from(["cosine", "dbscan", "average", "complete", "mutual"]))
    if method == "mutual":
        return NO_CUT
    similarity = draw(st.floats(-1, 1))
    return Cut(method, similarity if method == "cosine" else 1.0 - similarity, similarity, similarity)


def matrix_of(pool):
    embeddings, shortlist, calibration = pool
    return pool_similarities(embeddings, SimilarityParams(), shortlist, calibration)


def prepared(pool):
    embeddings, shortlist, calibration = pool
    return large_pool(embeddings, shortlist.pairs, shortlist.inliers, calibration)


def assert_same(found, wanted):
    assert np.array_equal(found.cluster_ids, wanted.cluster_ids)
    assert found.groups == wanted.groups
    assert np.array_equal(found.nearest, wanted.nearest)
    assert found.similarities.dtype == wanted.similarities.dtype
    assert np.array_equal(found.similarities, wanted.similarities, equal_nan=True)


@given(pools(with_ties=True), cuts(), st.integers(2, 5), some_limits)
def test_groups_margins_and_nearest_are_those_of_the_matrix(pool, cut, cap, limits):
    assume(cap < len(pool[0]))  # else it is none, and SciPy chooses between equally close groups
    wanted = group_images(matrix_of(pool), (), cut, cap)
    assert_same(group_large_pool(prepared(pool), (), cut, cap, limits), wanted)


@given(pools(with_ties=False), cuts(), some_limits)
def test_so_they_are_where_groups_may_have_any_size(pool, cut, limits):
    wanted = group_images(matrix_of(pool), (), cut, None)
    assert_same(group_large_pool(prepared(pool), (), cut, None, limits), wanted)


@given(pools(with_ties=False), cuts(), st.sampled_from([2, 3, 4, None]), st.data(), some_limits)
def test_so_they_are_among_known_lesions(pool, cut, cap, data, limits):
    known = tuple(data.draw(st.lists(st.sampled_from("abcde"), max_size=len(pool[0]))))
    wanted = group_images(matrix_of(pool), known, cut, cap)
    assert_same(group_large_pool(prepared(pool), known, cut, cap, limits), wanted)


def test_a_cut_that_joins_too_many_pairs_is_refused_with_the_remedy():
    pool = large_pool(unit_vectors(np.ones((20, 3))))
    few = replace(Limits(), most_pairs=50)
    with pytest.raises(InputError, match=r"More than 50 pairs of the 20 photographs(.|\n)*max_matrix_images=20 "):
        group_large_pool(pool, (), Cut("average", 0.1, 0.8, 1.0), 4, few)
