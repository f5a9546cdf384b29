"""Calibrated scores against scikit-learn and plain loops."""

import json
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss

from skinbit.matching.similarity.calibration import (
    INLIER_STEPS,
    Calibration,
    brier_score,
    calibration_error,
    fit_calibration,
    fuse,
)

KINDS = pytest.mark.parametrize("kind", ["logistic", "isotonic"])


def pairs(n_pairs=3000, seed=0):
    """Similarity and inliers of pairs, one in ten positive: either tells something that the other does not."""
    generator = np.random.default_rng(seed)
    is_positive = generator.random(n_pairs) < 0.1
    similarity = np.clip(generator.normal(np.where(is_positive, 0.75, 0.45), 0.15), -1, 1)
    inliers = generator.poisson(np.where(is_positive, generator.choice([3, 40], n_pairs), 3))
    return similarity.astype(np.float32), inliers, is_positive


@cache
def fitted(kind):
    return fit_calibration(*pairs(500), kind)


def standardised(features):
    return (features - features.mean(axis=0)) / features.std(axis=0)


def test_logistic_is_that_of_scikit_learn():
    similarity, _, is_positive = pairs()
    features = standardised(similarity.astype(np.float64))[:, None]
    expected = LogisticRegression(C=1, tol=1e-10).fit(features, is_positive).predict_proba(features)[:, 1]
    score = fit_calibration(similarity, None, is_positive).score(similarity)
    np.testing.assert_allclose(score, expected, atol=1e-5)


def test_inliers_fit_as_one_feature_per_step():
    similarity, inliers, is_positive = pairs()
    logs, edges = np.log1p(inliers), [*np.log1p(INLIER_STEPS), np.inf]
    climbs = [[min(max(log - low, 0), high - low) for log in logs] for low, high in pairwise(edges)]
    features = standardised(np.stack([similarity.astype(np.float64), *climbs], axis=1))
    calibration = fit_calibration(similarity, inliers, is_positive)
    kept = np.array([calibration.similarity_slope, *calibration.inliers_slopes]) > 0
    reference = LogisticRegression(C=1, tol=1e-10, max_iter=1000).fit(features[:, kept], is_positive)
    assert (reference.coef_ > 0).all()
    expected = reference.predict_proba(features[:, kept])[:, 1]
    np.testing.assert_allclose(calibration.score(similarity, inliers), expected, atol=1e-5)


def test_isotonic_is_that_of_scikit_learn_on_the_log_odds():
    similarity, inliers, is_positive = pairs()
    calibration = fit_calibration(similarity, inliers, is_positive, "isotonic")
    evidence = calibration.evidence(similarity, inliers)
    expected = IsotonicRegression(out_of_bounds="clip").fit_transform(evidence, is_positive)
    np.testing.assert_allclose(calibration.score(similarity, inliers), expected, atol=1e-12)


@KINDS
@given(
    similarity=st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    inliers=st.lists(st.integers(0, 500), min_size=2, max_size=2),
)
def test_the_score_never_falls_where_similarity_or_inliers_rise(kind, similarity, inliers):
    calibration = fitted(kind)
    low, high = (calibration.score(np.array(of(similarity)), np.array(of(inliers))) for of in (min, max))
    assert 0 <= low <= high + 1e-15
    assert high <= 1


def test_what_misleads_gets_no_say():
    similarity, inliers, is_positive = pairs()
    calibration = fit_calibration(-similarity, inliers, is_positive)
    assert calibration.similarity_slope == 0
    assert sum(calibration.inliers_slopes) > 0


@KINDS
def test_a_weight_stands_for_so_many_pairs(kind):
    similarity, inliers, is_positive = pairs(400)
    times = np.where(is_positive, 1, 3)
    weighted = fit_calibration(similarity, inliers, is_positive, kind, times)
    repeated = fit_calibration(*(np.repeat(values, times) for values in (similarity, inliers, is_positive)), kind)
    np.testing.assert_allclose(weighted.score(similarity, inliers), repeated.score(similarity, inliers), atol=1e-4)


@KINDS
def test_separable_pairs_give_finite_slopes_and_sure_scores(kind):
    similarity = np.concatenate([np.linspace(0.0, 0.5, 500), np.linspace(0.8, 0.9, 50)])
    is_positive = similarity > 0.6
    calibration = fit_calibration(similarity, np.where(is_positive, 100, 0), is_positive, kind)
    assert np.isfinite([calibration.similarity_slope, *calibration.inliers_slopes]).all()
    assert calibration.similarity_slope < 100
    score = calibration.score(similarity, np.where(is_positive, 100, 0))
    assert score[is_positive].min() > 0.9
    assert score[~is_positive].max() < 0.1


@KINDS
def test_equal_similarities_give_the_share_of_positive_pairs(kind):
    is_positive = np.arange(10) < 3
    calibration = fit_calibration(np.full(10, 0.5), None, is_positive, kind)
    np.testing.assert_allclose(calibration.score(np.array([0.5])), 0.3, atol=1e-6)


def test_both_together_rank_pairs_better_than_either():
    similarity, inliers, is_positive = pairs()
    unseen_similarity, unseen_inliers, is_unseen_positive = pairs(seed=1)
    fused = fit_calibration(similarity, inliers, is_positive).score(unseen_similarity, unseen_inliers)
    single = max(average_precision_score(is_unseen_positive, values) for values in (unseen_similarity, unseen_inliers))
    assert average_precision_score(is_unseen_positive, fused) > single + 0.02


def test_scores_are_calibrated_on_unseen_pairs():
    calibration = fit_calibration(*pairs(10_000))
    similarity, inliers, is_positive = pairs(10_000, seed=1)
    assert calibration_error(calibration.score(similarity, inliers), is_positive) < 0.01
    assert calibration_error(similarity.astype(np.float64).clip(0), is_positive) > 0.2


@KINDS
def test_a_calibration_goes_through_json(kind):
    similarity, inliers, is_positive = pairs(300)
    calibration = fit_calibration(similarity, inliers, is_positive, kind)
    rebuilt = Calibration.model_validate_json(json.dumps(calibration.model_dump()), strict=True)
    np.testing.assert_array_equal(rebuilt.score(similarity, inliers), calibration.score(similarity, inliers))


NO_INLIERS = np.zeros(4)
HALF = np.array([True, True, False, False])


@pytest.mark.parametrize(
    ("similarity", "inliers", "is_positive", "weights", "message"),
    [
        ([0.1, np.nan, 0.3, 0.4], NO_INLIERS, HALF, None, "not finite"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, np.inf, 0], HALF, None, "not finite"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, -1, 0], HALF, None, "negative"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, HALF, [1, 1, 0, 1], "not positive"),
        ([0.1, 0.2, 0.3], NO_INLIERS, HALF, None, "4 pairs have 3 similarities, 4 inliers"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, np.ones(4, bool), None, "4 of 4 pairs are positive"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, np.zeros(4, bool), None, "0 of 4 pairs are positive"),
        ([], [], np.zeros(0, bool), None, "0 of 0 pairs are positive"),
    ],
)
def test_pairs_that_cannot_be_fitted_are_refused_with_a_remedy(similarity, inliers, is_positive, weights, message):
    with pytest.raises(ValueError, match=f"{message}.*Remedy"):
        fit_calibration(np.array(similarity), np.array(inliers), is_positive, weights=weights)


class TestFusedSimilarities:
    similarities = np.array(
        [[1, 0.5, 0.6, 0.1], [0.5, 1, 0.2, 0.7], [0.6, 0.2, 1, 0.3], [0.1, 0.7, 0.3, 1]], dtype=np.float32
    )
    calibration = fit_calibration(*pairs())

    def fused(self, shortlist, inliers):
        counted = np.zeros((4, 4), dtype=np.int64)
        for (a, b), n in zip(shortlist, inliers, strict=True):
            counted[a, b] = counted[b, a] = n
        return fuse(self.similarities, counted, self.calibration)

    def test_they_order_pairs_as_their_probabilities_do(self):
        inliers = {(0, 1): 50, (1, 2): 8, (2, 3): 0}
        fused = self.fused(list(inliers), list(inliers.values()))
        rows, columns = np.triu_indices(4, 1)
        counted = np.array([inliers.get(pair, 0) for pair in zip(rows.tolist(), columns.tolist(), strict=True)])
        probabilities = self.calibration.score(self.similarities[rows, columns], counted)
        np.testing.assert_array_equal(np.argsort(fused[rows, columns]), np.argsort(probabilities))

    def test_zero_is_as_probable_as_not(self):
        fused = self.fused([(0, 1), (1, 3)], [50, 6])
        rows, columns = np.triu_indices(4, 1)
        counted = np.array([50, 0, 0, 0, 6, 0])
        is_likely = self.calibration.score(self.similarities[rows, columns], counted) > 0.5
        np.testing.assert_array_equal(fused[rows, columns] > 0, is_likely)

    def test_without_counts_every_pair_counts_as_without_inliers(self):
        np.testing.assert_array_equal(self.fused([(0, 1)], [0]), fuse(self.similarities, None, self.calibration))

    def test_they_are_single_and_in_range(self):
        fused = self.fused([(0, 1), (3, 2)], [50, 9])
        assert fused.dtype == np.float32
        assert (np.abs(fused) <= 1).all()
        np.testing.assert_array_equal(fused, fused.T)

    def test_very_sure_pairs_still_differ_in_single_precision(self):
        calibration = Calibration(
            kind="logistic", intercept=0.0, similarity_slope=30.0, inliers_slopes=(0.0,) * len(INLIER_STEPS)
        )
        of_first = np.linspace(-1, 1, 601, dtype=np.float32)
        fused = fuse(of_first, None, calibration)
        assert len(np.unique(1.0 - fused.astype(np.float64))) == 601


def test_the_brier_score_is_that_of_scikit_learn():
    similarity, inliers, is_positive = pairs()
    score = fit_calibration(similarity, inliers, is_positive).score(similarity, inliers)
    assert brier_score(score, is_positive) == pytest.approx(brier_score_loss(is_positive, score))


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.999, 1.0]), st.booleans()), min_size=1, max_size=20),
    st.integers(1, 8),
)
def test_the_calibration_error_is_what_loops_over_bins_give(scored, n_bins):
    probabilities, is_positive = (np.array(values) for values in zip(*scored, strict=True))
    expected = 0.0
    for bin_ in range(n_bins):
        inside = [(p, t) for p, t in scored if min(int(p * n_bins), n_bins - 1) == bin_]
        if inside:
            gap = abs(np.mean([p for p, _ in inside]) - np.mean([t for _, t in inside]))
            expected += len(inside) / len(scored) * gap
    assert calibration_error(probabilities, is_positive, n_bins) == pytest.approx(expected)
