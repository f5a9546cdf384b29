"""Columns of the metadata as evidence: read from text, compared with a naive loop, weighed by likelihood ratios."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.config import ContextParams, SimilarityParams
from skinbit.errors import InputError
from skinbit.matching.assembly import LabelledPool, calibrate, pool_of
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import LEAST_SIMILARITY, Pool
from skinbit.matching.similarity.calibration import PairSample, fit_calibration
from skinbit.matching.similarity.columns import (
    check_context,
    columns_of,
    context_of_rows,
    describe_rows,
    read_context,
)
from skinbit.matching.similarity.context import Context, weigh
from tests.matching.samples import COLUMNS as WEIGHTS

PARAMS = ContextParams.model_validate(
    {"same": ["patient"], "evidence": {"sex": "exact", "age": {"kind": "number", "tolerance": 5}}}
)
TABLE = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "lesion_id": ["1", "1", "2", "3"],
        "patient": ["P1", "p1", "", "P2"],
        "sex": ["female", "Female", "male", "unknown"],
        "age": ["50", "55,0", "55.5", "n/a"],
        "row": [2, 3, 4, 5],
    }
)
SIMILARITY = SimilarityParams(context=PARAMS)


@st.composite
def contexts(draw):
    n_images = draw(st.integers(1, 8))
    values = st.one_of(st.just(np.nan), st.integers(0, 3).map(float))
    columns = st.lists(st.lists(values, min_size=n_images, max_size=n_images), min_size=2, max_size=2)
    return Context(np.array(draw(columns)), np.array(draw(columns)), np.array([0.0, draw(st.integers(0, 2))]))


def naive_support(context, a, b):
    added = 0.0
    for values, tolerance, weight in zip(context.evidence, context.tolerances, WEIGHTS, strict=True):
        if np.isnan(values[a]) or np.isnan(values[b]):
            continue
        added += weight.agreement if abs(values[a] - values[b]) <= tolerance else -weight.difference
    return added


def naive_forbidden(context, a, b):
    return any(x[a] != x[b] and not np.isnan(x[a]) and not np.isnan(x[b]) for x in context.same)


class TestPairs:
    @given(contexts())
    def test_every_pair_is_weighed_as_by_a_naive_loop(self, context):
        rows = np.arange(context.same.shape[1])
        found = context.support(rows[:, None], rows, WEIGHTS)
        forbidden = context.forbids(rows[:, None], rows)
        for a in rows:
            for b in rows:
                assert found[a, b] == naive_support(context, a, b)
                assert forbidden[a, b] == naive_forbidden(context, a, b)
        first, second = (part.ravel() for part in np.meshgrid(rows, rows, indexing="ij"))
        assert np.allclose(weigh(context.compared(first, second), WEIGHTS), found.ravel())

    @given(contexts(), st.randoms())
    def test_order_of_images_does_not_matter(self, context, random):
        order = np.array(random.sample(range(context.same.shape[1]), context.same.shape[1]))
        rows = np.arange(len(order))
        shuffled = context.subset(order).support(rows[:, None], rows, WEIGHTS)
        assert (shuffled == context.support(order[:, None], order, WEIGHTS)).all()


def labelled(seed: int, n_lesions: int = 40, wrong: float = 0.1) -> LabelledPool:
    """Two images of each lesion; sex and age agree but for a share of wrong values, patients always."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_lesions), 2)
    embeddings = unit_vectors(np.repeat(rng.normal(size=(n_lesions, 6)), 2, axis=0) + rng.normal(size=(len(labels), 6)))
    evidence = np.stack([np.repeat(rng.integers(0, n, n_lesions), 2) for n in (2, 80)]).astype(float)
    is_wrong = rng.random(evidence.shape) < wrong
    evidence[is_wrong] = (evidence[is_wrong] + 1) % 2
    patients = np.where(rng.random(len(labels)) < 0.2, np.nan, labels // 2)
    return LabelledPool(embeddings, labels, NO_SHORTLIST, Context(patients[None], evidence, np.array([0.0, 5.0])))


class TestPools:
    def setup_method(self):
        self.labelled = labelled(0)
        self.calibration = calibrate([labelled(1)], SIMILARITY)
        self.pool = pool_of(
            self.labelled.embeddings, SIMILARITY, calibration=self.calibration, context=self.labelled.context
        )
        self.rows = np.arange(len(self.pool))
        self.matrix = self.pool.between(self.rows, self.rows)

    def test_tiles_single_pairs_and_subsets_give_the_same_bits(self):
        pairs = np.argwhere(np.triu(np.ones_like(self.matrix), 1))
        assert (self.pool.of_pairs(pairs) == self.matrix[tuple(pairs.T)]).all()
        some, others = self.rows[5:50:3], self.rows[::-2]
        assert (self.pool.between(some, others) == self.matrix[np.ix_(some, others)]).all()
        part = self.pool.subset(others)
        assert (
            part.between(part_rows := np.arange(len(others)), part_rows) == self.matrix[np.ix_(others, others)]
        ).all()

    def test_what_cannot_be_one_lesion_is_least_similar(self):
        forbidden = self.labelled.context.forbids(self.rows[:, None], self.rows)
        assert forbidden.any()
        assert (self.matrix[forbidden] == LEAST_SIMILARITY).all()
        assert (self.matrix[~forbidden] > LEAST_SIMILARITY).all()
        pairs = np.argwhere(np.triu(np.ones_like(self.matrix), 1))
        assert (self.pool.without_forbidden(pairs) == pairs[~forbidden[tuple(pairs.T)]]).all()

    def test_columns_find_more_partners(self):
        plain = pool_of(self.labelled.embeddings, SimilarityParams())
        np.fill_diagonal(self.matrix, -2)
        before = plain.between(self.rows, self.rows)
        np.fill_diagonal(before, -2)
        right = [
            (self.labelled.labels[each.argmax(axis=1)] == self.labelled.labels).mean() for each in (before, self.matrix)
        ]
        assert right[1] > right[0] + 0.1

    def test_pictures_are_weighed_as_without_columns_where_nothing_is_known(self):
        unknown = replace(self.labelled.context, evidence=np.full_like(self.labelled.context.evidence, np.nan))
        blank = pool_of(self.labelled.embeddings, SIMILARITY, calibration=self.calibration, context=unknown)
        none = pool_of(self.labelled.embeddings, SIMILARITY, calibration=self.calibration)
        possible = ~unknown.forbids(self.rows[:, None], self.rows)
        assert (blank.between(self.rows, self.rows)[possible] == none.between(self.rows, self.rows)[possible]).all()


def sample_of_columns(rates, n_positive=20_000, n_negative=80_000, seed=0, known=1.0):
    """Pairs whose columns agree with given probabilities in positive and in negative pairs, whatever the similarity."""
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n_positive + n_negative) < n_positive
    similarity = rng.normal(np.where(is_positive, 0.5, 0.0), 0.3)
    rows = []
    for of_positive, of_negative in rates:
        agrees = rng.random(len(is_positive)) < np.where(is_positive, of_positive, of_negative)
        is_known = rng.random(len(is_positive)) < known
        rows += [agrees & is_known, -(~agrees & is_known).astype(float)]
    return PairSample(similarity, is_positive, columns=np.array(rows, dtype=float))


class TestWeights:
    @pytest.mark.parametrize("known", [1.0, 0.7])
    def test_they_are_the_logs_of_likelihood_ratios(self, known):
        rates = [(0.9, 0.5), (0.8, 0.1)]
        fitted = fit_calibration(sample_of_columns(rates, known=known), mislabelled=0.0, columns=("sex", "site"))
        for weight, (of_positive, of_negative) in zip(fitted.columns, rates, strict=True):
            assert weight.agreement == pytest.approx(np.log(of_positive / of_negative), abs=0.12)
            assert weight.difference == pytest.approx(np.log((1 - of_negative) / (1 - of_positive)), abs=0.12)

    def test_columns_that_say_the_same_count_once(self):
        sample = sample_of_columns([(0.9, 0.5)])
        alone = fit_calibration(sample, columns=("sex",))
        doubled = replace(sample, columns=np.vstack([sample.columns, sample.columns]))
        both = fit_calibration(doubled, columns=("sex", "gender"))
        assert sum(each.agreement for each in both.columns) == pytest.approx(alone.columns[0].agreement, abs=0.02)

    def test_noise_weighs_nothing(self):
        (weight,) = fit_calibration(sample_of_columns([(0.25, 0.25)]), columns=("noise",)).columns
        assert max(weight.agreement, weight.difference) < 0.05

    def test_one_value_in_a_hundred_is_taken_to_be_wrong_whatever_the_folds_say(self):
        (weight,) = fit_calibration(sample_of_columns([(1.0, 0.3)]), columns=("sex",)).columns
        assert weight.difference == pytest.approx(np.log(0.7 / 0.01), abs=0.1)

    def test_probabilities_are_right_with_columns_and_without(self):
        sample, unseen = (sample_of_columns([(0.9, 0.5), (0.8, 0.1)], seed=seed) for seed in (0, 1))
        fitted = fit_calibration(sample, mislabelled=0.0, columns=("sex", "site"))
        for support in (None, weigh(unseen.columns, fitted.columns)):
            found = fitted.score(unseen.similarity, support)
            for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
                near = (found >= low) & (found < high)
                assert found[near].mean() == pytest.approx(unseen.is_positive[near].mean(), abs=0.05)

    def test_isotonic_curves_bend_where_columns_count(self):
        fitted = fit_calibration(sample_of_columns([(0.9, 0.5)], 500, 1000), "isotonic", columns=("sex",))
        scores = fitted.score(np.zeros(2), np.array([-2.0, 2.0]))
        assert scores[0] < scores[1]


class TestReading:
    def test_text_is_compared_whatever_its_case_numbers_within_the_tolerance(self):
        context = read_context(TABLE, ["d", "a", "b", "c", "elsewhere"], PARAMS)
        rows = np.arange(5)
        agrees, differs = context.compared(*(part.ravel() for part in np.meshgrid(rows, rows, indexing="ij")))[:2]
        assert agrees.reshape(5, 5)[1].tolist() == [0, 1, 1, 0, 0]  # female, Female; unknown says nothing
        assert differs.reshape(5, 5)[1].tolist() == [0, 0, 0, -1, 0]
        assert np.array_equal(context.evidence[1], [np.nan, 50, 55, 55.5, np.nan], equal_nan=True)
        assert context.forbids(rows[:, None], rows)[0].tolist() == [False, True, True, False, False]

    def test_rows_may_come_in_any_order(self):
        ids = ["a", "b", "c", "d"]
        found, shuffled = (read_context(table, ids, PARAMS) for table in (TABLE, TABLE.iloc[[2, 0, 3, 1]]))
        rows = np.arange(4)
        assert (found.support(rows[:, None], rows, WEIGHTS) == shuffled.support(rows[:, None], rows, WEIGHTS)).all()

    def test_dates_are_compared_in_days(self):
        params = ContextParams.model_validate({"evidence": {"taken": {"kind": "date", "tolerance": 30}}})
        texts = ["2026-01-01", "2026-01-31T00:00:00", "2026-01-31T01:00:00+02:00", "2026-03-01"]
        context = context_of_rows(pd.DataFrame({"taken": texts}), (), params.evidence)
        assert context.evidence[0, 0] == (datetime(2026, 1, 1) - datetime(1970, 1, 1)).days
        assert context.compared(np.zeros(4, int), np.arange(4))[0].tolist() == [1, 1, 1, 0]

    def test_a_missing_column_is_not_known(self):
        context = context_of_rows(TABLE[["image_id"]], ("patient",), PARAMS.evidence)
        assert np.isnan(context.same).all()
        assert np.isnan(context.evidence).all()

    def test_a_user_may_want_further_columns_to_agree(self):
        assert columns_of(PARAMS, ("visit", "patient")) == (("patient", "visit"), dict(PARAMS.evidence))
        assert columns_of(None, ("visit",)) == (("visit",), {})

    def test_pages_show_evidence_and_no_patients(self):
        assert describe_rows(TABLE, PARAMS.evidence)[::3] == ["sex: female · age: 50", ""]
        assert describe_rows(TABLE, ()) == [""] * 4


class TestChecks:
    def test_values_are_counted(self):
        assert check_context(TABLE, PARAMS, "data.csv") == {"patient": 3, "sex": 3, "age": 3}

    def test_a_column_that_is_not_there_is_named(self):
        with pytest.raises(InputError, match=r"column 'age', which data.csv does not have; its columns are: image_id"):
            check_context(TABLE.drop(columns="age"), PARAMS, "data.csv")

    def test_a_value_that_is_no_number_is_named_with_its_row(self):
        spoilt = TABLE.assign(age=["50", "old", "inf", ""])
        with pytest.raises(
            InputError, match=r"2 cells of the column 'age' are no number:\n  - row 3: 'old'\n  - row 4"
        ):
            check_context(spoilt, PARAMS, "data.csv")

    def test_a_lesion_of_two_patients_is_named_with_its_rows(self):
        spoilt = TABLE.assign(patient=["P1", "P2", "P3", "P4"])
        with pytest.raises(InputError, match=r"rows 2 and 3 of lesion '1' do not; so do 1 rows"):
            check_context(spoilt, PARAMS, "data.csv")


class TestParameters:
    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({}, "names no column"),
            ({"evidence": {"lesion_id": "exact"}}, "lesion_id cannot be evidence"),
            ({"same": "sex", "evidence": {"sex": "exact"}}, "sex is in same and in evidence"),
            ({"evidence": {"sex": {"kind": "exact", "tolerance": 1}}}, "tolerance is for the kinds number and date"),
            ({"evidence": {"sex": "fuzzy"}}, "kind"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, given, problem):
        with pytest.raises(ValueError, match=problem):
            ContextParams.model_validate(given)

    def test_columns_that_are_joined_by_plus_are_compared_as_text(self):
        params = ContextParams.model_validate({"evidence": "sex+site"})
        assert [(name, each.kind) for name, each in params.evidence.items()] == [("sex", "exact"), ("site", "exact")]

    def test_similarities_with_columns_are_calibrated(self):
        assert SIMILARITY.is_calibrated


def test_plain_cosines_obey_columns_that_must_agree():
    pool = Pool(
        np.eye(3, dtype=np.float32), context=Context(np.array([[0.0, 1.0, np.nan]]), np.empty((0, 3)), np.empty(0))
    )
    rows = np.arange(3)
    assert pool.between(rows, rows).tolist() == [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]
