"""Re-ranking against plain loops over sets of images, ties and duplicates included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from tests.matching.samples import given_pool, limited, on_circle, reranked, reranked_pool, tile_sizes


def rerank(similarities, k1, k2, weight):
    return reranked(given_pool(similarities), k1, k2, weight)


def cosine_similarities(embeddings):
    return similarity_matrix(Pool(embeddings))


@st.composite
def pools(draw, has_ties=True):
    """Similarities of images: small whole numbers in few dimensions give many ties and duplicates."""
    n_images, n_dims = draw(st.integers(1, 16)), draw(st.integers(2, 4))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    vectors = generator.integers(-2, 3, (n_images, n_dims)) + 1e-3
    spread = draw(st.sampled_from([0.0, 0.3])) if has_ties else 0.5
    return cosine_similarities(unit_vectors(vectors + spread * generator.normal(size=vectors.shape)))


SIZES = {"k1": st.integers(1, 7), "k2": st.integers(1, 4), "weight": st.sampled_from([0.0, 0.3, 1.0])}


def nearest(similarities, image, k):
    """The k most similar other images, a tie that does not fit left out."""
    others = [j for j in range(len(similarities)) if j != image]
    return {j for j in others if sum(similarities[image, other] >= similarities[image, j] for other in others) <= k}


def reciprocal(similarities, image, k):
    near = nearest(similarities, image, k)
    return {image} | {j for j in near if image in nearest(similarities, j, k)}


def brute_force(similarities, k1, k2, weight):
    n_images = len(similarities)
    weights = np.zeros((n_images, n_images))
    for image in range(n_images):
        neighbours = reciprocal(similarities, image, k1)
        expanded = set(neighbours)
        for neighbour in neighbours:
            closer = reciprocal(similarities, neighbour, -(-k1 // 2))
            if 3 * len(closer & neighbours) > 2 * len(closer):
                expanded |= closer
        distances = 1.0 - np.delete(similarities[image], image).astype(float)
        reach = np.sort(distances)[min(k1, n_images - 1) - 1] if n_images > 1 else 1.0
        for j in expanded:
            distance = 0.0 if j == image else 1.0 - float(similarities[image, j])
            weights[image, j] = np.exp(-4 * distance / max(reach, 2.0**-40))
        weights[image] /= weights[image].sum()
    mean = [weights[[image, *nearest(similarities, image, k2 - 1)]].mean(axis=0) for image in range(n_images)]
    overlap = [[np.minimum(a, b).sum() / np.maximum(a, b).sum() for a in mean] for b in mean]
    mixed = (1 - weight) * np.array(overlap) + weight * similarities
    np.fill_diagonal(mixed, 1.0)
    return mixed


@given(similarities=pools(), **SIZES)
def test_it_gives_what_loops_over_sets_give(similarities, k1, k2, weight):
    expected = brute_force(similarities, k1, k2, weight)
    np.testing.assert_allclose(rerank(similarities, k1, k2, weight), expected, atol=1e-6)


@given(similarities=pools(), **SIZES)
def test_it_is_symmetric_and_stays_in_range(similarities, k1, k2, weight):
    mixed = rerank(similarities, k1, k2, weight)
    assert mixed.dtype == np.float32
    assert (mixed == mixed.T).all()
    assert (np.diag(mixed) == 1).all()
    assert mixed.min() >= -1
    assert mixed.max() <= 1


@given(similarities=pools(), random=st.randoms(use_true_random=False), **SIZES)
def test_the_order_of_images_changes_no_value_not_even_where_similarities_tie(similarities, random, k1, k2, weight):
    order = list(range(len(similarities)))
    random.shuffle(order)
    shuffled = rerank(similarities[np.ix_(order, order)], k1, k2, weight)
    np.testing.assert_array_equal(shuffled, rerank(similarities, k1, k2, weight)[np.ix_(order, order)])


def test_the_order_of_images_changes_nothing_that_rounding_to_single_precision_would_hide():
    generator = np.random.default_rng(0)
    similarities = cosine_similarities(unit_vectors(generator.normal(size=(200, 8))))
    order = generator.permutation(200)
    plain, shuffled = (
        reranked_pool(given_pool(alike), 8, 4, 0.3).neighbourhoods.weights.toarray()
        for alike in (similarities, similarities[np.ix_(order, order)])
    )
    np.testing.assert_array_equal(shuffled, plain[np.ix_(order, order)])


@given(similarities=pools(), tile_bytes=tile_sizes, random=st.randoms(use_true_random=False), **SIZES)
def test_tiles_single_pairs_and_parts_change_no_value(similarities, tile_bytes, random, k1, k2, weight):
    whole = rerank(similarities, k1, k2, weight)
    pool = reranked_pool(limited(given_pool(similarities), tile_bytes=tile_bytes), k1, k2, weight)
    np.testing.assert_array_equal(similarity_matrix(pool), whole)
    pairs = np.argwhere(~np.eye(len(pool), dtype=bool))
    np.testing.assert_array_equal(pool.of_pairs(pairs), whole[tuple(pairs.T)])
    in_parts = pool.neighbourhoods.mix_pairs(pool.matrix[tuple(pairs.T)], pairs, at_once=3)
    np.testing.assert_array_equal(in_parts, whole[tuple(pairs.T)])
    rows = np.array(random.sample(range(len(pool)), random.randint(1, len(pool))))
    np.testing.assert_array_equal(similarity_matrix(pool.subset(rows)), whole[np.ix_(rows, rows)])


@given(pools(has_ties=False))
def test_full_weight_leaves_similarities_as_they_are(similarities):
    mixed = rerank(similarities, 6, 2, 1.0)
    off_diagonal = ~np.eye(len(similarities), dtype=bool)
    np.testing.assert_array_equal(mixed[off_diagonal], similarities[off_diagonal])


def at_angles(*degrees):
    return cosine_similarities(on_circle(*degrees))


def test_a_look_alike_whose_neighbours_are_others_falls_behind_a_partner():
    similarities = at_angles(0, 10, 19, 21, 24)  # image 1 is a little nearer to the lesion of images 2 to 4
    assert similarities[1, 2] > similarities[0, 1]
    mixed = rerank(similarities, 2, 1, 0.3)
    assert mixed[1, 2] < mixed[0, 1]


def test_two_images_that_are_each_other_s_nearest_overlap_wholly_with_k2_of_2():
    similarities = at_angles(0, 40, 100, 103)
    assert rerank(similarities, 2, 2, 0.0)[0, 1] == 1
    assert rerank(similarities, 2, 1, 0.0)[0, 1] < 1


def test_a_pair_that_shares_no_neighbour_keeps_its_weighted_similarity():
    similarities = at_angles(0, 1, 100, 101)
    assert rerank(similarities, 1, 1, 0.5)[0, 2] == np.float32(0.5 * np.float64(similarities[0, 2]))


@pytest.mark.parametrize(("k1", "k2", "weight"), [(0, 1, 0.3), (6, 0, 0.3), (6, 2, 1.1), (6, 2, float("nan"))])
def test_a_parameter_out_of_range_is_refused(k1, k2, weight):
    with pytest.raises(ValueError, match="Remedy: k1 and k2 of at least 1"):
        rerank(at_angles(0, 1, 2), k1, k2, weight)


def test_no_image_gives_no_similarity():
    assert rerank(np.empty((0, 0), dtype=np.float32), 6, 2, 0.3).shape == (0, 0)
