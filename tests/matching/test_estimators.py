"""The estimators against scikit-learn's own checks, and against what the whole matrix gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinbit.matching.estimators import CutSelector, LesionClusterer
from skinbit.matching.evaluation import evaluate_subset
from skinbit.matching.pairs import unit_vectors
from skinbit.params import EvaluationParams

NO_DIRECTION = {"check_estimators_dtypes": "draws vectors that are all zero: a cosine has no meaning for them"}
NO_BLOBS = {"check_clustering": "wants three groups of some 17 points each, by distance from each other"}


def failing(estimator):
    is_small = isinstance(estimator, LesionClusterer) and (estimator.method == "mutual" or estimator.max_group_size)
    return NO_DIRECTION | (NO_BLOBS if is_small else {})


CHECKED = [
    LesionClusterer(),
    LesionClusterer("dbscan"),
    LesionClusterer("complete", max_group_size=4),
    LesionClusterer("mutual"),
    CutSelector(),
    CutSelector("cosine"),
]


@parametrize_with_checks(CHECKED, expected_failed_checks=failing, xfail_strict=True)
def test_scikit_learns_checks_hold(estimator, check):
    check(estimator)


def lesions(n_images=60, noise=0.5):
    rng = np.random.default_rng(2)
    labels = rng.permutation(np.repeat(np.arange(n_images), 3)[:n_images])
    return rng.normal(size=(n_images, 8))[labels] + noise * rng.normal(size=(n_images, 8)), labels


def together(groups):
    return np.equal.outer(groups, groups)


@pytest.mark.parametrize("block_memory", [1, 10_000, 2**26])
@pytest.mark.parametrize("cut", [0.0, 0.05, 0.2, 0.6, 2.0])
def test_groups_are_those_of_scikit_learn(cut, block_memory):
    vectors, _ = lesions()
    found = LesionClusterer("dbscan", cut, block_memory=block_memory).fit_predict(vectors)
    wanted = DBSCAN(eps=cut or 1e-12, min_samples=1, metric="cosine").fit_predict(vectors)
    assert np.array_equal(together(found), together(wanted))
    for linkage in ("average", "complete"):
        found = LesionClusterer(linkage, cut, block_memory=block_memory).fit_predict(vectors)
        model = AgglomerativeClustering(None, metric="cosine", linkage=linkage, distance_threshold=cut + 1e-9)
        assert np.array_equal(together(found), together(model.fit_predict(vectors)))


@pytest.mark.parametrize("method", ["cosine", "dbscan", "average", "complete"])
def test_the_best_cut_is_that_of_the_matrix(method):
    vectors, labels = lesions(noise=1.0)
    selector = CutSelector(method, block_memory=5_000).fit(vectors, labels)
    params = EvaluationParams(max_group_size=None)
    wanted = evaluate_subset(unit_vectors(vectors), labels.astype(str).tolist(), params).metrics
    assert selector.f1_ == wanted[f"{method}_f1"]
    assert selector.metrics_ == pytest.approx(wanted, abs=1e-12)


def test_the_best_cut_gives_the_best_groups():
    vectors, labels = lesions(noise=1.0)
    selector = CutSelector("average", max_group_size=4).fit(vectors, labels)
    groups = LesionClusterer("average", selector.cut_, max_group_size=4).fit_predict(vectors)
    predicted, positive = (np.triu(together(ids), 1) for ids in (groups, labels))
    assert 2 * (predicted & positive).sum() / (predicted.sum() + positive.sum()) == pytest.approx(selector.f1_)


@given(st.integers(1, 5))
def test_no_group_is_larger_than_allowed(cap):
    groups = LesionClusterer("average", 2.0, max_group_size=cap).fit_predict(lesions()[0])
    assert np.bincount(groups).max() == cap


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "ward"}, "dbscan, average, complete or mutual"),
        ({"cut": 2.5}, "from 0 to 2"),
        ({"cut": float("nan")}, "from 0 to 2"),
        ({"max_group_size": 0}, "at least 1"),
        ({"block_memory": 0}, "at least 1 byte"),
        ({"most_pairs": 20, "cut": 1.0}, "more most_pairs"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(changed, words):
    with pytest.raises(ValueError, match=words):
        clone(LesionClusterer()).set_params(**changed).fit(lesions()[0])


def test_a_cut_that_might_not_be_the_best_is_refused():
    vectors, labels = lesions(noise=3.0)
    with pytest.raises(ValueError, match="more most_pairs"):
        CutSelector("average", most_pairs=10).fit(vectors, labels)
    with pytest.raises(ValueError, match="cosine, dbscan"):
        CutSelector("mutual").fit(vectors, labels)
