"""Nearest images against plain loops: ties in every order, lesions of one image."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from skinbit.matching.cuts.survey import PartnerRanks, best_f1_and_recall, find_positives
from skinbit.matching.pairs.pool import similarity_matrix
from skinbit.matching.pairs.tiles import look_at
from tests.matching.oracle import best_threshold, together
from tests.matching.samples import given_pool, limited, pools


def ranks_of(similarities, labels, few=8, **limits):
    pool = limited(given_pool(similarities), **limits)
    ranks = PartnerRanks(len(pool), find_positives(pool, labels), few)
    look_at(pool, [ranks])
    return ranks


def recall_at(similarities, labels, k):
    return ranks_of(similarities, labels).recall_at(k)


def mean_average_precision(similarities, labels):
    return ranks_of(similarities, labels).mean_average_precision()


@st.composite
def ranked_images(draw, max_images=6):
    """Similarities with many ties, and lesions of one or several images."""
    n_images = draw(st.integers(1, max_images))
    levels = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    upper = np.triu(rng.integers(0, levels, size=(n_images, n_images)) / levels, 1)
    similarities = (upper + upper.T + np.eye(n_images)).astype(np.float32)
    return similarities, rng.integers(0, draw(st.integers(1, n_images)), n_images)


def partners_of(row, labels):
    return [other for other in range(len(labels)) if other != row and labels[other] == labels[row]]


def share_of_orders_with_a_hit(similarities, labels, row, k):
    """Rank the others in every order that their similarities allow; how often is a partner among the first k?"""
    others = [other for other in range(len(labels)) if other != row]
    allowed = [
        order for order in permutations(others) if (np.diff([similarities[row, other] for other in order]) <= 0).all()
    ]
    return np.mean([any(labels[other] == labels[row] for other in order[:k]) for order in allowed])


class TestRecall:
    @settings(max_examples=40)
    @given(ranked_images(), st.integers(1, 7))
    def test_is_the_expected_share_over_all_orders_of_ties(self, images, k):
        similarities, labels = images
        with_partner = [row for row in range(len(labels)) if partners_of(row, labels)]
        shares = [share_of_orders_with_a_hit(similarities, labels, row, k) for row in with_partner]
        expected = np.mean(shares) if shares else np.nan
        assert recall_at(similarities, labels, k) == pytest.approx(expected, abs=1e-12, nan_ok=True)

    @pytest.mark.parametrize("k", range(1, 8))
    def test_among_equally_similar_images_it_is_the_share_of_them_that_is_looked_at(self, k):
        labels = np.array([0, 0, *range(1, 7)])  # two images have one partner each among seven others
        assert recall_at(np.ones((8, 8), dtype=np.float32), labels, k) == pytest.approx(k / 7)

    @given(ranked_images(max_images=20))
    def test_at_1_is_exactly_the_share_of_the_nearest_that_show_the_lesion(self, images):
        similarities, labels = images
        others = similarities.copy()
        np.fill_diagonal(others, -np.inf)
        nearest = others == others.max(axis=1, keepdims=True)
        hits = (nearest & (labels[:, None] == labels)).sum(axis=1) / nearest.sum(axis=1)
        with_partner = [row for row in range(len(labels)) if partners_of(row, labels)]
        expected = hits[with_partner].mean() if with_partner else np.nan
        assert recall_at(similarities, labels, 1) == pytest.approx(expected, rel=0, abs=0, nan_ok=True)

    @settings(max_examples=30)
    @given(ranked_images(max_images=12))
    def test_does_not_fall_as_k_grows_and_is_1_among_all(self, images):
        similarities, labels = images
        recalls = [recall_at(similarities, labels, k) for k in range(1, len(labels) + 2)]
        assert (np.diff(recalls) >= -1e-12).all() or np.isnan(recalls).all()
        assert recalls[-1] == 1 or np.isnan(recalls[-1])

    def test_refuses_to_look_at_no_image(self):
        with pytest.raises(ValueError, match="recall at 0"):
            recall_at(np.eye(2, dtype=np.float32), np.zeros(2, dtype=int), 0)


class TestMeanAveragePrecision:
    @settings(max_examples=15)
    @given(ranked_images(max_images=12))
    def test_is_the_mean_of_what_scikit_learn_gives_each_image(self, images):
        similarities, labels = images
        precisions = []
        for row in range(len(labels)):
            others = np.delete(np.arange(len(labels)), row)
            if partners_of(row, labels):
                precisions.append(average_precision_score(labels[others] == labels[row], similarities[row, others]))
        expected = np.mean(precisions) if precisions else np.nan
        assert mean_average_precision(similarities, labels) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(ranked_images(max_images=20), st.integers(1, 24 * 22**2), st.booleans())
def test_no_figure_depends_on_the_size_of_tiles(images, tile_bytes, is_one_lesion):
    similarities, labels = images
    labels = np.zeros_like(labels) if is_one_lesion else labels  # many partners are counted in another way
    whole, in_tiles = (ranks_of(similarities, labels, **limits) for limits in ({}, {"tile_bytes": tile_bytes}))
    for k in (1, 3, 5):
        assert in_tiles.recall_at(k) == pytest.approx(whole.recall_at(k), rel=0, abs=0, nan_ok=True)
    wanted = whole.mean_average_precision()
    assert in_tiles.mean_average_precision() == pytest.approx(wanted, rel=0, abs=0, nan_ok=True)


@settings(max_examples=20)
@given(ranked_images(max_images=20))
def test_lesions_of_many_images_are_ranked_as_those_of_few(images):
    similarities, _ = images
    labels = np.zeros(len(similarities), dtype=np.int64)
    expected = 1.0 if len(labels) > 1 else np.nan
    assert recall_at(similarities, labels, 1) == pytest.approx(expected, nan_ok=True)
    assert mean_average_precision(similarities, labels) == pytest.approx(expected, nan_ok=True)
    half = np.arange(len(labels)) % 2
    many, few = ranks_of(similarities, half, few=1), ranks_of(similarities, half)
    for k in (1, 5):
        assert many.recall_at(k) == pytest.approx(few.recall_at(k), rel=0, abs=0, nan_ok=True)


@given(pools())
def test_of_a_training_f1_is_the_best_of_all_thresholds_and_recall_that_of_the_nearest(pool):
    pool, labels = pool
    matrix, positive = similarity_matrix(pool), together(labels)
    f1, recall = best_f1_and_recall(pool, labels)
    if not positive.any():
        assert np.isnan([f1, recall]).all()
        return
    assert f1 == best_threshold(matrix[np.triu_indices(len(pool), 1)], positive)[1]
    assert recall == recall_at(matrix, labels, 1)


def test_a_lesion_of_one_image_does_not_count_but_stands_in_the_way():
    similarities = np.array([[1, 0.8, 0.9], [0.8, 1, 0.7], [0.9, 0.7, 1]], dtype=np.float32)
    labels = np.array([0, 0, 1])
    # Image 2 is nearest to image 0, whose partner comes second; image 1 has its partner first.
    assert recall_at(similarities, labels, 1) == 1 / 2
    assert recall_at(similarities, labels, 2) == 1
    assert mean_average_precision(similarities, labels) == 3 / 4


@pytest.mark.parametrize("n_images", [0, 1, 3])
def test_without_partners_nothing_is_defined(n_images):
    similarities, labels = np.eye(n_images, dtype=np.float32), np.arange(n_images)
    assert np.isnan(recall_at(similarities, labels, 5))
    assert np.isnan(mean_average_precision(similarities, labels))
