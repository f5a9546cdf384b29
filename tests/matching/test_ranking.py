"""Where positive pairs rank among all pairs, and quantiles of similarities, without sorting all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from skinbit.matching.cuts.survey import find_positives, survey_pairs
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.pairs.ranking import PairCounter, quantile_of_pairs
from skinbit.matching.pairs.retrieval import average_precision, roc_auc
from skinbit.matching.pairs.tiles import look_at
from tests.matching.oracle import together
from tests.matching.samples import any_matrix, given_pool, limited, pools

some_bytes = st.integers(1, 24 * 35**2)


def alike_of(pool):
    return similarity_matrix(pool)[np.triu_indices(len(pool), 1)]


class TestCounting:
    @given(pools(), some_bytes)
    def test_counts_are_exact_at_any_value(self, pool, tile_bytes):
        pool = limited(pool[0], tile_bytes=tile_bytes)
        alike = alike_of(pool)
        values = np.unique(np.float32(np.concatenate([alike[::3], [-1.0, -0.5, 0.0, 0.25, 1.0]])))
        counter = PairCounter(values)
        look_at(pool, [counter])
        at_least, above = counter.counts()
        assert at_least.tolist() == [(alike >= value).sum() for value in values]
        assert above.tolist() == [(alike > value).sum() for value in values]

    @given(any_matrix(), st.lists(st.integers(-8, 8), max_size=20, unique=True), some_bytes)
    def test_so_are_they_where_pairs_share_bins(self, matrix, values, tile_bytes):
        pool, ascending = limited(given_pool(matrix), tile_bytes=tile_bytes), np.sort(np.float32(values)) / 8
        counter = PairCounter(ascending, bins=(4, 8))
        look_at(pool, [counter])
        at_least, above = counter.counts()
        assert at_least.tolist() == [(alike_of(pool) >= value).sum() for value in ascending]
        assert above.tolist() == [(alike_of(pool) > value).sum() for value in ascending]


class TestRanking:
    @given(pools(), some_bytes, st.lists(st.floats(-1, 1, width=32), unique=True))
    def test_figures_equal_those_of_scikit_learn(self, pool, tile_bytes, counted):
        pool, labels = limited(pool[0], tile_bytes=tile_bytes), pool[1]
        alike, positive = alike_of(pool), together(labels)
        survey = survey_pairs(pool, find_positives(pool, labels), 1.0, np.sort(np.float32(counted)))
        ranking = survey.ranking
        assert ranking.n_positive_pairs == positive.sum()
        assert ranking.n_pairs == len(alike)
        assert ranking.n_at_least.tolist() == [(alike >= value).sum() for value in ranking.positives]
        assert survey.n_at_least.tolist() == [(alike >= value).sum() for value in survey.counted]
        assert survey.lowest == alike.min(initial=np.inf)
        if positive.any():
            assert average_precision(ranking) == pytest.approx(average_precision_score(positive, alike))
        else:
            assert np.isnan(average_precision(ranking))
        if positive.any() and not positive.all():
            assert roc_auc(ranking) == pytest.approx(roc_auc_score(positive, alike))
        else:
            assert np.isnan(roc_auc(ranking))


class TestQuantile:
    @given(pools(), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), some_bytes)
    def test_it_is_that_of_all_pairs_of_two_lesions(self, pool, share, tile_bytes):
        pool, labels = limited(pool[0], tile_bytes=tile_bytes), pool[1]
        negatives = np.sort(alike_of(pool)[~together(labels)]).astype(np.float64)
        found = quantile_of_pairs(pool, share, labels)
        if len(negatives) == 0:
            assert found is None
            return
        assert found == pytest.approx(np.quantile(negatives, share), rel=0, abs=1e-6)
        below = int(share * (len(negatives) - 1))
        assert negatives[below] <= found <= negatives[min(below + 1, len(negatives) - 1)]

    def test_of_many_pairs_it_is_exact(self):
        rng = np.random.default_rng(0)
        pool, labels = Pool(unit_vectors(rng.normal(size=(400, 5)))), np.arange(400) // 2
        negatives = alike_of(pool)[~together(labels)].astype(np.float64)
        for share in (0.001, 0.3, 0.5, 0.977):
            assert quantile_of_pairs(pool, share, labels) == pytest.approx(np.quantile(negatives, share), abs=1e-12)

    @pytest.mark.parametrize("labels", [[], [0], [0, 0, 0]])
    def test_without_a_pair_of_two_lesions_there_is_none(self, labels):
        assert quantile_of_pairs(Pool(unit_vectors(np.ones((len(labels), 2)))), 0.5, np.array(labels, int)) is None
