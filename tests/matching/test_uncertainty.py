"""Resampled lesions against copies of images made one by one; intervals that hold what they should."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.curves import pairwise_f1
from skinbit.matching.pairs.pool import similarity_matrix
from skinbit.matching.scoring.score import score_at
from skinbit.matching.scoring.uncertainty import (
    PredictedPairs,
    bootstrap_f1,
    interval,
    join_folds,
    mean_f1,
    predicted_pairs,
    predicted_pairs_of_groups,
    weighted_f1,
)
from tests.matching.samples import given_pool, pools, symmetric

SINGLES = predicted_pairs(np.array([[0, 1]]), np.arange(3))
"""Three lesions of one image, two of them predicted to be one."""


@st.composite
def predictions(draw, min_images=1):
    """Lesions of one or several images, and any of their pairs as predicted ones, in either order."""
    n_images = draw(st.integers(min_images, 10))
    labels = np.array(draw(st.lists(st.integers(0, 5), min_size=n_images, max_size=n_images)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    pairs = np.array(list(combinations(range(n_images), 2)), dtype=np.int64).reshape(-1, 2)
    chosen = rng.permuted(pairs[rng.random(len(pairs)) < draw(st.sampled_from([0.0, 0.3, 1.0]))], axis=1)
    return chosen, labels


def f1_of_copies(pairs, labels, weights, false_weight=1.0):
    """Copy the images of every lesion as often as it counts, and count pairs of images one by one."""
    numbers = np.unique(labels, return_inverse=True)[1]
    images = [(row, copy) for row, lesion in enumerate(numbers) for copy in range(weights[lesion])]
    predicted = {frozenset(pair) for pair in pairs.tolist()}
    tp = fp = n_positive = 0
    for (a, copy_a), (b, copy_b) in combinations(images, 2):
        if labels[a] == labels[b] and copy_a != copy_b:
            continue
        is_positive, is_predicted = labels[a] == labels[b], frozenset((a, b)) in predicted
        n_positive += is_positive
        tp += is_positive and is_predicted
        fp += is_predicted and not is_positive
    return 2 * tp / (tp + false_weight * fp + n_positive) if n_positive else np.nan


def same(found: PredictedPairs, other: PredictedPairs) -> bool:
    return all(np.array_equal(getattr(found, name), getattr(other, name)) for name in vars(found))


def simulate(rng, n_lesions, skill=0.0):
    """Draw lesions of three images: hard ones lose pairs, and are taken for other hard ones."""
    hardness = rng.beta(1, 3, n_lesions)
    a, b = np.triu_indices(n_lesions, 1)
    is_false = rng.random(len(a)) < 0.3 * hardness[a] * hardness[b]
    found = rng.binomial(3, 1 - (1 - skill) * hardness)
    return PredictedPairs(
        n_lesions, found, np.full(n_lesions, 3), a[is_false], b[is_false], np.ones(int(is_false.sum()))
    )


class TestCounts:
    @given(predictions(), st.integers(0, 1000))
    def test_weighted_lesions_count_as_if_their_images_were_copied(self, prediction, seed):
        pairs, labels = prediction
        predicted = predicted_pairs(pairs, labels)
        weights = np.random.default_rng(seed).integers(0, 4, size=(3, predicted.n_lesions))
        expected = [f1_of_copies(pairs, labels, row) for row in weights]
        assert weighted_f1(predicted, weights.astype(float)) == pytest.approx(expected, nan_ok=True)

    @given(predictions())
    def test_lesions_that_count_once_give_exactly_the_plain_f1(self, prediction):
        pairs, labels = prediction
        positive = sum(labels[a] == labels[b] for a, b in combinations(range(len(labels)), 2))
        tp = int((labels[pairs[:, 0]] == labels[pairs[:, 1]]).sum())
        plain = float(pairwise_f1(np.array(tp), np.array(len(pairs) - tp), int(positive)))
        assert mean_f1([predicted_pairs(pairs, labels)]) == pytest.approx(plain, rel=0, abs=0, nan_ok=True)

    @given(predictions(), st.integers(0, 4))
    def test_groups_predict_every_pair_of_a_group(self, prediction, n_groups):
        _, labels = prediction
        groups = np.random.default_rng(n_groups).integers(0, n_groups + 1, len(labels))
        pairs = [pair for pair in combinations(range(len(labels)), 2) if groups[pair[0]] == groups[pair[1]]]
        expected = predicted_pairs(np.array(pairs, dtype=np.int64).reshape(-1, 2), labels)
        assert same(predicted_pairs_of_groups(groups, labels), expected)

    @given(pools(), st.floats(-1, 1))
    def test_a_threshold_predicts_every_pair_at_least_as_similar(self, pool, threshold):
        pool, labels = pool
        matrix = similarity_matrix(pool)
        pairs = [pair for pair in combinations(range(len(labels)), 2) if float(matrix[pair]) >= threshold]
        found = score_at(pool, labels, {"cosine": threshold}, 4).predicted["cosine"]
        assert same(found, predicted_pairs(np.array(pairs, dtype=np.int64).reshape(-1, 2), labels))

    def test_a_threshold_is_not_rounded_to_single_precision(self):
        pool = given_pool(symmetric(np.full((2, 2), 0.1)))
        similarity = float(np.float32(0.1))
        for threshold, n_found in ((similarity, 1), (float(np.nextafter(similarity, 1)), 0)):
            found = score_at(pool, np.array([3, 3]), {"cosine": threshold}, 4).predicted["cosine"]
            assert found.true_pairs.sum() == n_found

    @pytest.mark.parametrize("pairs", [[[0, 0]], [[0, 1], [1, 0]]])
    def test_an_image_with_itself_or_a_pair_twice_is_refused(self, pairs):
        with pytest.raises(ValueError, match="twice"):
            predicted_pairs(np.array(pairs), np.array([0, 0]))

    def test_no_image_is_no_lesion(self):
        empty = np.empty(0, dtype=np.int64)
        for predicted in (
            predicted_pairs(empty.reshape(0, 2), empty),
            predicted_pairs_of_groups(empty, empty),
        ):
            assert predicted.n_lesions == 0
            assert np.isnan(bootstrap_f1([predicted], 3, 0)).all()


class TestFolds:
    @given(predictions(), predictions())
    def test_joined_folds_have_the_counts_of_both_and_no_pair_between_them(self, first, second):
        (pairs, labels), (more_pairs, more_labels) = first, second
        joined = join_folds([predicted_pairs(*first), predicted_pairs(*second)])
        both = np.concatenate([pairs, more_pairs + len(labels)])
        assert same(joined, predicted_pairs(both, np.concatenate([labels, more_labels + 10])))

    def test_a_fold_without_positive_pair_is_left_out(self):
        good = predicted_pairs(np.array([[0, 1], [1, 2]]), np.array([0, 0, 1]))
        assert mean_f1([good, SINGLES]) == mean_f1([good]) == 2 / 3
        assert np.isnan(mean_f1([SINGLES]))
        assert np.isnan(mean_f1([]))


class TestBootstrap:
    @given(predictions(min_images=2), st.integers(0, 1000))
    def test_every_value_is_the_f1_of_as_many_lesions_drawn_with_replacement(self, prediction, seed):
        pairs, labels = prediction
        predicted = predicted_pairs(pairs, labels)
        rng = np.random.default_rng([seed, 0])
        n_lesions = predicted.n_lesions
        false_weight = n_lesions / max(1, n_lesions - 1)
        drawn = [np.bincount(row, minlength=n_lesions) for row in rng.integers(0, n_lesions, size=(4, n_lesions))]
        expected = [f1_of_copies(pairs, labels, weights, false_weight) for weights in drawn]
        assert bootstrap_f1([predicted], 4, seed) == pytest.approx(expected, nan_ok=True)

    def test_more_resamples_begin_with_those_of_fewer_whatever_is_drawn_at_once(self):
        folds = [simulate(np.random.default_rng(seed), 12) for seed in range(3)]
        many = bootstrap_f1(folds, 50, 7)
        assert bootstrap_f1(folds, 20, 7, weights_at_once=30).tolist() == many[:20].tolist()
        assert bootstrap_f1(folds, 50, 8).tolist() != many.tolist()

    def test_every_fold_draws_lesions_of_its_own(self):
        fold = simulate(np.random.default_rng(0), 12)
        assert bootstrap_f1([fold, fold], 20, 0).tolist() != bootstrap_f1([fold], 20, 0).tolist()

    def test_a_fold_is_left_out_of_the_resamples_in_which_it_has_no_positive_pair(self):
        one_pair = predicted_pairs(np.array([[0, 1]]), np.array([0, 0, 1]))
        imperfect = predicted_pairs(np.array([[0, 1], [0, 2]]), np.array([0, 0, 0]))
        alone, beside = bootstrap_f1([one_pair], 60, 1), bootstrap_f1([one_pair, imperfect], 60, 1)
        assert 0 < np.isnan(alone).sum() < 60
        assert beside == pytest.approx(np.where(np.isnan(alone), 0.8, (1 + 0.8) / 2))

    def test_copies_of_a_lesion_do_not_make_the_pool_easier(self):
        # Everything is taken for one lesion: nearly all pairs are false, whichever lesions are drawn.
        labels = np.repeat(np.arange(20), 3)
        everything = predicted_pairs_of_groups(np.zeros(60, dtype=int), labels)
        assert bootstrap_f1([everything], 500, 0).mean() == pytest.approx(mean_f1([everything]), rel=0.01)

    def test_a_single_lesion_always_gives_the_same(self):
        lesion = predicted_pairs(np.array([[0, 1]]), np.zeros(3, dtype=int))
        assert set(bootstrap_f1([lesion], 20, 0).tolist()) == {0.5}

    def test_the_interval_holds_the_f1_of_all_lesions_about_as_often_as_it_says(self):
        n_lesions, n_studies, rng = 40, 150, np.random.default_rng(0)
        tp, fp = (
            3 * n_lesions * (1 - 1 / 4),
            n_lesions * (n_lesions - 1) / 2 * 0.3 / 16,
        )  # a lesion's mean hardness: 1/4
        expected = 2 * tp / (tp + fp + 3 * n_lesions)
        intervals = [interval(bootstrap_f1([simulate(rng, n_lesions)], 200, seed)) for seed in range(n_studies)]
        held = np.mean([low <= expected <= high for low, high in intervals])
        assert 0.89 <= held <= 0.99


class TestInterval:
    def test_holds_the_middle_share_and_leaves_out_what_is_undefined(self):
        values = np.append(np.arange(101) / 100, np.nan)
        assert interval(values) == pytest.approx((0.025, 0.975))
        assert interval(values, 0.5) == pytest.approx((0.25, 0.75))

    def test_of_nothing_is_undefined(self):
        assert np.isnan(interval(np.array([np.nan, np.nan]))).all()
        assert np.isnan(interval(np.empty(0))).all()

    @pytest.mark.parametrize("level", [0, 1, 95])
    def test_a_level_that_is_no_share_is_refused(self, level):
        with pytest.raises(ValueError, match="level"):
            interval(np.zeros(3), level)


def test_two_experiments_on_the_same_lesions_are_resampled_alike():
    # The better one finds a pair more in every lesion, so it is ahead in every resample, however hard its lesions are.
    labels = np.repeat(np.arange(12), 3)
    worse = predicted_pairs(np.array([[3 * n, 3 * n + 1] for n in range(12)]), labels)
    better = predicted_pairs(np.array([[3 * n, 3 * n + k] for n in range(12) for k in (1, 2)]), labels)
    gaps = bootstrap_f1([better], 200, 0) - bootstrap_f1([worse], 200, 0)
    assert (gaps > 0).all()
    assert (bootstrap_f1([better], 200, 0) == bootstrap_f1([better], 200, 0)).all()
    low, high = interval(gaps)
    assert 0 < low <= high
