"""Similarities of a pool: of rectangles, of single pairs and of parts, whatever they are made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import MemoryParams
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import DEFAULT_LIMITS, Limits, Pool, limits_of, similarity_matrix
from tests.matching.oracle import similarities_of
from tests.matching.samples import pools, vectors


@given(pools(made_of=("cosines", "scaled", "zooms")))
def test_similarities_are_what_loops_over_pairs_give(pool):
    assert np.array_equal(similarity_matrix(pool[0]), similarities_of(pool[0]))


@given(pools(made_of=("verified",)))
def test_so_are_those_of_compared_keypoints_up_to_the_last_digit(pool):
    np.testing.assert_allclose(similarity_matrix(pool[0]), similarities_of(pool[0]), rtol=0, atol=1e-7)


@given(pools())
def test_they_are_symmetric_and_in_range(pool):
    matrix = similarity_matrix(pool[0])
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, matrix.T)
    assert (np.abs(matrix) <= 1).all()


@given(pools(), st.randoms(use_true_random=False))
def test_of_rectangles_pairs_and_parts_they_are_the_same_bit_for_bit(pool, random):
    pool, _ = pool
    matrix, n_images = similarity_matrix(pool), len(pool)
    rows, columns = (np.array(random.sample(range(n_images), random.randint(1, n_images))) for _ in range(2))
    is_other = rows[:, None] != columns
    assert np.array_equal(pool.between(rows, columns)[is_other], matrix[np.ix_(rows, columns)][is_other])
    pairs = np.argwhere(~np.eye(n_images, dtype=bool))
    assert np.array_equal(pool.of_pairs(pairs), matrix[tuple(pairs.T)])
    part = pool.subset(rows)
    assert np.array_equal(similarity_matrix(part), matrix[np.ix_(rows, rows)])
    pairs = np.argwhere(~np.eye(len(rows), dtype=bool))
    assert np.array_equal(part.of_pairs(pairs), matrix[rows[pairs[:, 0]], rows[pairs[:, 1]]])
    again = np.array(random.sample(range(len(rows)), random.randint(1, len(rows))))
    assert np.array_equal(similarity_matrix(part.subset(again)), matrix[np.ix_(rows[again], rows[again])])


@pytest.mark.parametrize("n_images", [0, 1])
def test_no_image_or_one_has_no_pair(n_images):
    pool = Pool(unit_vectors(np.ones((n_images, 3))))
    assert (len(pool), pool.n_pairs) == (n_images, 0)
    assert similarity_matrix(pool).tolist() == np.eye(n_images).tolist()
    assert len(pool.of_pairs(np.empty((0, 2), np.int64))) == 0
    assert len(pool.subset(np.empty(0, np.int64))) == 0


def test_a_part_keeps_the_limits():
    pool = Pool(unit_vectors(np.eye(3)), limits=Limits(100, 7, 5))
    assert pool.subset(np.array([2, 0])).limits == Limits(100, 7, 5)


def test_the_defaults_of_the_settings_are_those_of_the_code():
    assert limits_of(MemoryParams()) == DEFAULT_LIMITS
    assert limits_of(MemoryParams(tile_megabytes=2, max_pairs=9)) == Limits(2**21, 9)
    assert limits_of(MemoryParams(tile_megabytes=0.001)).tile_bytes == 1048


@given(vectors())
def test_they_do_not_depend_on_the_order_of_the_images(images):
    embeddings, _ = images
    order = np.random.default_rng(0).permutation(len(embeddings))
    whole = similarity_matrix(Pool(embeddings))
    assert np.array_equal(similarity_matrix(Pool(embeddings[order])), whole[np.ix_(order, order)])


class TestUnitVectors:
    def test_have_exact_products_even_in_high_dimensions(self):
        embeddings = unit_vectors(np.random.default_rng(0).normal(size=(20, 2048))).astype(np.float64)
        forwards = sum(np.outer(column, column) for column in embeddings.T)
        backwards = sum(np.outer(column, column) for column in embeddings.T[::-1])
        assert np.array_equal(forwards, backwards)

    def test_have_unit_length(self):
        vectors = np.random.default_rng(0).normal(size=(50, 384)) * 1e3
        assert np.allclose(np.linalg.norm(unit_vectors(vectors).astype(float), axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
    def test_refuse_vectors_without_direction_and_name_the_row(self, bad):
        vectors = np.ones((3, 2))
        vectors[1] = bad
        with pytest.raises(ValueError, match="row 1"):
            unit_vectors(vectors)
