"""Calibrated scores against scikit-learn and plain loops."""

import json
from dataclasses import replace
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
    JudgedPairs,
    PairSample,
    _penalised_loss,
    calibration_error,
    fit_calibration,
    fuse,
    join_samples,
)

KINDS = pytest.mark.parametrize("kind", ["logistic", "isotonic"])


def pairs(n_pairs=3000, seed=0):
    """Similarity and inliers of pairs, one in ten positive: either tells something that the other does not."""
    generator = np.random.default_rng(seed)
    is_positive = generator.random(n_pairs) < 0.1
    similarity = np.clip(generator.normal(np.where(is_positive, 0.75, 0.45), 0.15), -1, 1)
    inliers = generator.poisson(np.where(is_positive, generator.choice([3, 40], n_pairs), 3))
    return PairSample(similarity.astype(np.float32), is_positive, inliers)


@cache
def fitted(kind):
    return fit_calibration(pairs(500), kind)


def score(calibration, sample):
    return calibration.score(sample.similarity, support_of(calibration, sample.inliers))


def support_of(calibration, inliers, zooms=None):
    counted = np.asarray(inliers)
    return calibration.support(counted, np.ones(counted.shape) if zooms is None else np.asarray(zooms))


def standardised(features):
    return (features - features.mean(axis=0)) / features.std(axis=0)


def test_logistic_is_that_of_scikit_learn():
    sample = replace(pairs(), inliers=None)
    features = standardised(sample.similarity.astype(np.float64))[:, None]
    expected = LogisticRegression(C=1, tol=1e-10).fit(features, sample.is_positive).predict_proba(features)[:, 1]
    np.testing.assert_allclose(fit_calibration(sample, mislabelled=0).score(sample.similarity), expected, atol=1e-5)


def test_inliers_fit_as_one_feature_per_step():
    sample = pairs()
    logs, edges = np.log1p(sample.inliers), [*np.log1p(INLIER_STEPS), np.inf]
    climbs = [[min(max(log - low, 0), high - low) for log in logs] for low, high in pairwise(edges)]
    features = standardised(np.stack([sample.similarity.astype(np.float64), *climbs], axis=1))
    calibration = fit_calibration(sample, mislabelled=0)
    kept = np.array([calibration.similarity_slope, *calibration.inliers_slopes]) > 0
    reference = LogisticRegression(C=1, tol=1e-10, max_iter=1000).fit(features[:, kept], sample.is_positive)
    assert (reference.coef_ > 0).all()
    expected = reference.predict_proba(features[:, kept])[:, 1]
    np.testing.assert_allclose(score(calibration, sample), expected, atol=1e-5)


def compared(n_pairs=4000, seed=0):
    """Pairs of which half are compared: then a positive one agrees at a zoom, a negative one by chance at none."""
    generator = np.random.default_rng(seed)
    is_positive = generator.random(n_pairs) < 0.2
    is_compared = generator.random(n_pairs) < 0.5
    inliers = np.where(is_compared, generator.poisson(np.where(is_positive, 4, 2)), -1)
    zooms = np.exp(np.where(is_positive, generator.uniform(0, 1.2, n_pairs), generator.uniform(0, 0.4, n_pairs)))
    return PairSample(generator.normal(is_positive, 1.0), is_positive, inliers, zooms)


def test_that_keypoints_were_compared_and_at_which_zoom_they_agree_count_too():
    sample = compared()
    calibration = fit_calibration(sample)
    assert calibration.comparison_cost > 0
    assert calibration.zoom_slope > 0
    support = calibration.support(np.array([-1, 0, 3, 3, 1, 1]), np.array([2.0, 2.0, 1.0, 2.0, 1.0, 2.0]))
    assert support[0] == 0
    assert support[1] == -calibration.comparison_cost
    assert support[3] - support[2] == pytest.approx(calibration.zoom_slope * np.log(2))
    assert support[5] - support[4] == pytest.approx(calibration.zoom_slope * np.log(2))


def test_a_pair_under_two_ids_does_not_bend_the_slopes():
    sample = pairs(4000)
    is_sure = np.flatnonzero(sample.is_positive & (sample.inliers > 30))
    recorded = sample.is_positive.copy()
    recorded[is_sure[:: len(is_sure) // 3]] = False
    noisy = replace(sample, is_positive=recorded)
    clean, robust, plain = fit_calibration(sample), fit_calibration(noisy), fit_calibration(noisy, mislabelled=0)
    evidence = [each.evidence(np.array([0.5]), support_of(each, [60]))[0] for each in (clean, robust, plain)]
    assert evidence[1] > evidence[2] + 1
    assert abs(evidence[1] - evidence[0]) < abs(evidence[2] - evidence[0]) / 2


@pytest.mark.parametrize("mislabelled", [0.0, 0.01, 0.3])
def test_the_gradient_is_that_of_the_loss(mislabelled):
    sample, generator = compared(200), np.random.default_rng(0)
    features, weights = generator.normal(size=(3, 200)), generator.uniform(1, 3, 200)
    at, expected = np.array([0.4, 0.0, 2.0, -1.0]), np.array([0.0, 0.0, 1.5])

    def loss(parameters):
        return _penalised_loss(parameters, features, sample.is_positive, weights, mislabelled, expected)

    slopes = [(loss(at + step)[0] - loss(at - step)[0]) / 2e-6 for step in 1e-6 * np.eye(4)]
    np.testing.assert_allclose(loss(at)[1], slopes, atol=1e-6)
    probability = (1 - mislabelled) / (1 + np.exp(-(at[:-1] @ features + at[-1])))
    naive = -(weights * np.log(np.where(sample.is_positive, probability, 1 - probability))).sum()
    naive += ((at[:-1] - expected) ** 2).sum() / 2
    assert loss(at)[0] == pytest.approx(naive / weights[sample.is_positive].sum())


def test_isotonic_is_that_of_scikit_learn_on_the_log_odds():
    sample = pairs()
    calibration = fit_calibration(sample, "isotonic")
    evidence = calibration.evidence(sample.similarity, support_of(calibration, sample.inliers))
    expected = IsotonicRegression(out_of_bounds="clip").fit_transform(evidence, sample.is_positive)
    np.testing.assert_allclose(score(calibration, sample), expected, atol=1e-12)


@KINDS
@given(
    similarity=st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    inliers=st.lists(st.integers(0, 500), min_size=2, max_size=2),
)
def test_the_score_never_falls_where_similarity_or_inliers_rise(kind, similarity, inliers):
    calibration = fitted(kind)
    low, high = (calibration.score(np.array(of(similarity)), support_of(calibration, of(inliers))) for of in (min, max))
    assert 0 <= low <= high + 1e-15
    assert high <= 1


def test_what_misleads_gets_no_say():
    calibration = fit_calibration(replace(pairs(), similarity=-pairs().similarity))
    assert calibration.similarity_slope == 0
    assert sum(calibration.inliers_slopes) > 0


@KINDS
def test_a_weight_stands_for_so_many_pairs(kind):
    sample = pairs(400)
    times = np.where(sample.is_positive, 1, 3)
    columns = (np.repeat(column, times) for column in (sample.similarity, sample.is_positive, sample.inliers))
    weighted, repeated = (
        fit_calibration(replace(sample, weights=times), kind),
        fit_calibration(PairSample(*columns), kind),
    )
    np.testing.assert_allclose(score(weighted, sample), score(repeated, sample), atol=1e-4)


@KINDS
def test_separable_pairs_give_finite_slopes_and_sure_scores(kind):
    similarity = np.concatenate([np.linspace(0.0, 0.5, 500), np.linspace(0.8, 0.9, 50)])
    is_positive = similarity > 0.6
    sample = PairSample(similarity, is_positive, np.where(is_positive, 100, 0))
    calibration = fit_calibration(sample, kind)
    assert np.isfinite([calibration.similarity_slope, *calibration.inliers_slopes]).all()
    assert calibration.similarity_slope < 100
    scores = score(calibration, sample)
    assert scores[is_positive].min() > 0.9
    assert scores[~is_positive].max() < 0.1


@KINDS
def test_equal_similarities_give_the_share_of_positive_pairs(kind):
    is_positive = np.arange(10) < 3
    calibration = fit_calibration(PairSample(np.full(10, 0.5), is_positive), kind, mislabelled=0)
    np.testing.assert_allclose(calibration.score(np.array([0.5])), 0.3, atol=1e-6)


def test_both_together_rank_pairs_better_than_either():
    unseen = pairs(seed=1)
    fused = score(fit_calibration(pairs()), unseen)
    single = max(average_precision_score(unseen.is_positive, values) for values in (unseen.similarity, unseen.inliers))
    assert average_precision_score(unseen.is_positive, fused) > single + 0.02


def test_scores_are_calibrated_on_unseen_pairs():
    unseen = pairs(10_000, seed=1)
    scores = score(fit_calibration(pairs(10_000)), unseen)
    assert calibration_error(JudgedPairs(scores, unseen.is_positive).reliability()) < 0.01
    assert (
        calibration_error(JudgedPairs(unseen.similarity.astype(np.float64).clip(0), unseen.is_positive).reliability())
        > 0.2
    )


def test_joined_samples_have_the_pairs_of_all_and_the_features_that_all_have():
    first, second = (replace(pairs(n), columns=np.full((4, n), n), weights=np.ones(n)) for n in (30, 50))
    both = join_samples([first, replace(second, weights=None)])
    assert (len(both), both.columns.shape, both.zooms, both.weights) == (80, (4, 80), None, None)
    assert both.columns[0].tolist() == [30] * 30 + [50] * 50
    for name in ("similarity", "is_positive", "inliers"):
        np.testing.assert_array_equal(getattr(both, name), np.append(getattr(first, name), getattr(second, name)))


@KINDS
def test_a_calibration_goes_through_json(kind):
    sample = pairs(300)
    calibration = fit_calibration(sample, kind)
    rebuilt = Calibration.model_validate_json(json.dumps(calibration.model_dump()), strict=True)
    np.testing.assert_array_equal(score(rebuilt, sample), score(calibration, sample))


NO_INLIERS = np.zeros(4)
HALF = np.array([True, True, False, False])


@pytest.mark.parametrize(
    ("similarity", "inliers", "is_positive", "weights", "message"),
    [
        ([0.1, np.nan, 0.3, 0.4], NO_INLIERS, HALF, None, "similarities is not finite"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, np.inf, 0], HALF, None, "inliers is not finite"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, -2, 0], HALF, None, "inliers is not finite or out of range"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, HALF, [1, 1, 0, 1], "weights is not finite or out of range"),
        ([0.1, 0.2, 0.3], NO_INLIERS, HALF, None, "4 pairs have 3 similarities, 4 inliers, 4 zooms"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, np.ones(4, bool), None, "4 of 4 pairs are positive"),
        ([0.1, 0.2, 0.3, 0.4], NO_INLIERS, np.zeros(4, bool), None, "0 of 4 pairs are positive"),
        ([], [], np.zeros(0, bool), None, "0 of 0 pairs are positive"),
    ],
)
def test_pairs_that_cannot_be_fitted_are_refused_with_a_remedy(similarity, inliers, is_positive, weights, message):
    with pytest.raises(ValueError, match=f"{message}.*Remedy"):
        fit_calibration(PairSample(np.array(similarity), is_positive, np.array(inliers), weights=weights))


class TestFusedSimilarities:
    similarities = np.array(
        [[1, 0.5, 0.6, 0.1], [0.5, 1, 0.2, 0.7], [0.6, 0.2, 1, 0.3], [0.1, 0.7, 0.3, 1]], dtype=np.float32
    )
    calibration = fit_calibration(pairs())

    def fused(self, shortlist, inliers):
        counted = np.full((4, 4), -1)
        for (a, b), n in zip(shortlist, inliers, strict=True):
            counted[a, b] = counted[b, a] = n
        return fuse(self.similarities, support_of(self.calibration, counted), self.calibration)

    def test_they_order_pairs_as_their_probabilities_do(self):
        inliers = {(0, 1): 50, (1, 2): 8, (2, 3): 0}
        fused = self.fused(list(inliers), list(inliers.values()))
        rows, columns = np.triu_indices(4, 1)
        counted = np.array([inliers.get(pair, -1) for pair in zip(rows.tolist(), columns.tolist(), strict=True)])
        probabilities = self.calibration.score(self.similarities[rows, columns], support_of(self.calibration, counted))
        np.testing.assert_array_equal(np.argsort(fused[rows, columns]), np.argsort(probabilities))

    def test_zero_is_as_probable_as_not(self):
        fused = self.fused([(0, 1), (1, 3)], [50, 6])
        rows, columns = np.triu_indices(4, 1)
        support = support_of(self.calibration, [50, -1, -1, -1, 6, -1])
        is_likely = self.calibration.score(self.similarities[rows, columns], support) > 0.5
        np.testing.assert_array_equal(fused[rows, columns] > 0, is_likely)

    def test_without_support_no_pair_counts_as_compared(self):
        np.testing.assert_array_equal(self.fused([], []), fuse(self.similarities, None, self.calibration))

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
    sample = pairs()
    scores = score(fit_calibration(sample), sample)
    assert JudgedPairs(scores, sample.is_positive).brier_score == pytest.approx(
        brier_score_loss(sample.is_positive, scores)
    )


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
    ranges = JudgedPairs(probabilities, is_positive).reliability(n_bins)
    assert calibration_error(ranges) == pytest.approx(expected)
    assert sum(each.n_pairs for each in ranges) == len(scored)
    edges = [n / n_bins for n in range(n_bins + 1)]
    assert [(each.low, each.high) for each in ranges] == list(pairwise(edges))
    assert sum(each.found for each in ranges) == is_positive.sum()
