"""The curve over thresholds against brute force, ties and duplicates included."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.curves import select
from skinbit.matching.cuts.survey import find_positives, survey_pairs
from skinbit.matching.cuts.thresholds import HeadSize, choose_threshold, extend, sweep_most_similar
from skinbit.matching.pairs.neighbours import neighbours_above, singles_at_least
from skinbit.matching.pairs.ranking import PairRanking
from tests.matching.oracle import best_threshold, counts, together
from tests.matching.samples import any_matrix, given_pool


@st.composite
def labelled(draw):
    """Similarities with many ties, or none, and lesions."""
    matrix = draw(any_matrix())
    return matrix, np.random.default_rng(draw(st.integers(0, 99))).integers(0, max(1, len(matrix) // 2), len(matrix))


class Pairs:
    """All pairs of some images, by plain loops and as the engine sees them."""

    def __init__(self, images):
        matrix, self.labels = images
        self.alike = matrix[np.triu_indices(len(matrix), 1)]
        self.positive = together(self.labels)
        self.pool = given_pool(matrix)
        self.graph = neighbours_above(self.pool, -1.0)
        self.positives = find_positives(self.pool, self.labels)

    def head(self, head_size):
        return sweep_most_similar(self.graph.most_similar, self.positives.similarities, self.pool.n_pairs, head_size)

    def survey(self, *counted):
        return survey_pairs(self.pool, self.positives, -1.0, np.unique(singles_at_least([*counted])))

    def largest_below(self, threshold):
        return max((value for value in self.alike.tolist() if value < threshold), default=-1.0)

    def assert_counted(self, cut, tp, fp):
        assert (tp, fp) == counts(self.alike.astype(np.float64) >= cut, self.positive)


@pytest.mark.parametrize(
    ("n_head", "n_asked"),
    [
        (2, 2),  # F1 of the first row is 2/3, and beyond two pairs it may be 4/5
        (3, 1),  # beyond three it may be 2/3 again: no more
        (5, 1),
    ],
)
def test_no_more_pairs_are_asked_for_than_may_raise_the_maximum(n_head, n_asked):
    alike, asked = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=np.float32), []

    def most_similar(k):
        asked.append(k)
        return alike[:k], float(alike[k]) if k < len(alike) else -1.0

    positives = np.array([0.9, -0.5], dtype=np.float32)
    head = sweep_most_similar(most_similar, positives, 100, HeadSize(at_least=n_head, per_positive=1, growth=2))
    assert (len(asked), head.f1.max()) == (n_asked, 2 / 3)


@pytest.fixture(
    scope="class",
    params=[HeadSize(at_least=10_000), HeadSize(at_least=1, per_positive=1, growth=2)],
    ids=["everything is in the head", "the head is tiny"],
)
def head_size(request):
    """A curve's head is made pair by pair, its tail by counting. Test both, and a head that has to grow."""
    return request.param


class TestHead:
    @given(images=labelled())
    def test_every_row_counts_what_brute_force_counts(self, images, head_size):
        pairs = Pairs(images)
        head = pairs.head(head_size)
        assert (np.diff(head.cuts) < 0).all()
        for cut, reported, tp, fp in zip(head.cuts, head.reported, head.tp, head.fp, strict=True):
            pairs.assert_counted(cut, tp, fp)
            pairs.assert_counted(reported, tp, fp)

    @given(images=labelled())
    def test_its_best_threshold_is_the_best_of_all_midway_between_neighbouring_similarities(self, images, head_size):
        pairs = Pairs(images)
        choice = select(pairs.head(head_size))
        if pairs.positive.any():
            assert [*vars(choice).values()] == pytest.approx(best_threshold(pairs.alike, pairs.positive), rel=1e-15)
        else:
            assert np.isnan([*vars(choice).values()]).all()

    @given(images=labelled(), floor=st.floats(-1, 1))
    def test_where_it_takes_pairs_that_are_not_held_it_is_refused(self, images, floor, head_size):
        pairs = Pairs(images)
        graph = neighbours_above(pairs.pool, floor)
        sweep = partial(
            sweep_most_similar, graph.most_similar, pairs.positives.similarities, pairs.pool.n_pairs, head_size
        )
        if head_size.at_least > pairs.pool.n_pairs and not graph.is_complete:
            with pytest.raises(LookupError):
                sweep()
        elif graph.is_complete:
            assert np.array_equal(sweep().cuts, pairs.head(head_size).cuts)


class TestWholeCurve:
    @given(images=labelled(), counted=st.lists(st.floats(-1, 1)))
    def test_its_tail_counts_what_brute_force_counts(self, images, counted, head_size):
        pairs = Pairs(images)
        survey, head = pairs.survey(*counted), pairs.head(head_size)
        is_below = survey.counted < head.cuts.min(initial=np.inf)
        whole = extend(head, survey.ranking, survey.counted[is_below], survey.n_at_least[is_below])
        assert (np.diff(whole.cuts) < 0).all()
        assert len(whole.cuts) == len(head.cuts) + is_below.sum()
        for cut, tp, fp in zip(whole.cuts, whole.tp, whole.fp, strict=True):
            pairs.assert_counted(cut, tp, fp)

    @given(labelled(), st.floats(-1, 1), st.floats(1e-6, 2))
    def test_a_searched_range_is_searched_exactly(self, images, low, width):
        pairs, high = Pairs(images), min(1.0, low + width)
        survey = pairs.survey(high)
        choice = choose_threshold(survey.ranking, (low, high), int(survey.n_at_least[0]), pairs.largest_below)
        if pairs.positive.any():
            wanted = best_threshold(pairs.alike, pairs.positive, low, high)
            assert low <= choice.cut <= high
            assert [*vars(choice).values()] == pytest.approx(wanted, rel=1e-15, nan_ok=True)
        else:
            assert np.isnan([*vars(choice).values()]).all()


def test_a_threshold_is_not_rounded_to_single_precision():
    single = np.float32(0.1)
    ranking = PairRanking(np.array([single]), np.array([1]), np.array([1]), np.array([0]), 1)
    just_above = float(np.nextafter(float(single), 1))
    assert choose_threshold(ranking, (float(single), 1.0), 0, lambda _: -1.0).recall == 1
    assert choose_threshold(ranking, (just_above, 1.0), 0, lambda _: -1.0).recall == 0
