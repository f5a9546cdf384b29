"""The kept cuts are the best ones for every size of the pool."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from skinbit.matching.curves import Sweep, select
from skinbit.matching.cuts.operating_points import OperatingPoints, PointsOfSubsets, gather_subsets, operating_points
from skinbit.matching.cuts.transfer import carry_over, cuts_of_folds
from skinbit.matching.methods import CutValue, Similarity

RHOS = (0.05, 0.5, 1.0, 1.7, 5.0, 40.0)


@st.composite
def curves(draw):
    """Counts rise along a curve, at each row by at least one pair."""
    steps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)).filter(any), min_size=1, max_size=30))
    tp, fp = np.cumsum(np.array(steps), axis=0).T
    is_similarity = draw(st.booleans())
    cuts = np.linspace(0.9, -0.9, len(steps)) if is_similarity else np.linspace(0.1, 1.9, len(steps))
    next_cuts = np.append(cuts[1:], -1.0 if is_similarity else 2.0)
    return Sweep("cosine" if is_similarity else "dbscan", cuts, (cuts + next_cuts) / 2, tp, fp, int(tp[-1]) + 2)


def corrected_f1(tp, fp, n_positive, rho):
    return 2 * tp / (tp + rho * fp + n_positive)


@given(curves())
def test_for_every_pool_size_the_best_row_is_kept(curve):
    points = operating_points(curve, -1.0, 2.0, 100)
    for rho in RHOS:
        best = max(corrected_f1(tp, fp, curve.n_positive_pairs, rho) for tp, fp in zip(curve.tp, curve.fp, strict=True))
        kept = corrected_f1(np.array(points.tp), np.array(points.fp), curve.n_positive_pairs, rho)
        assert max(kept, default=0.0) == pytest.approx(best, abs=1e-15)


@given(curves())
def test_for_the_subset_itself_it_is_the_cut_with_the_best_f1(curve):
    if curve.tp[-1]:
        whole = operating_points(curve, -1.0, 2.0, 100)
        assert (whole.tp[-1], whole.fp[-1]) == (curve.tp[-1], curve.fp[-1])
        assert operating_points(curve, -1.0, 2.0, 100).best_cut(1.0) == select(curve).cut


@given(curves(), st.floats(0.0, 0.8), st.floats(0.05, 0.2))
def test_cuts_outside_of_the_allowed_range_are_never_kept(curve, low, width):
    points = operating_points(curve, low, low + width, 100)
    assert all(low - 1e-12 <= cut <= low + width + 1e-12 for cut in points.cuts)


@given(curves())
def test_of_many_rows_some_are_left_out_but_never_a_best_one(curve):
    whole = operating_points(curve, -1.0, 2.0, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinbit.matching.cuts.operating_points._MOST_ROWS", 2)
        thinned = operating_points(curve, -1.0, 2.0, 100)
    assert len(thinned.cuts) <= len(whole.cuts)
    for rho in RHOS:
        best = corrected_f1(np.array(whole.tp), np.array(whole.fp), curve.n_positive_pairs, rho)
        kept = corrected_f1(np.array(thinned.tp), np.array(thinned.fp), curve.n_positive_pairs, rho)
        assert max(kept, default=0.0) == max(best, default=0.0)


def points(cuts, tp, fp, n_positive, n_images):
    curve = Sweep("cosine", *map(np.array, (cuts, cuts, tp, fp)), n_positive_pairs=n_positive)
    return operating_points(curve, -1.0, 1.0, n_images)


def test_a_larger_pool_gets_a_stricter_threshold():
    fold = points([0.9, 0.8, 0.7], [5, 8, 9], [0, 2, 40], 10, n_images=50)
    carried = [carry_over([fold], n_images, is_corrected=True) for n_images in (1, 50, 400)]
    assert [cut.value for cut in carried] == [0.7, 0.8, 0.9]
    assert [cut.rho for cut in carried] == [0.02, 1.0, 8.0]


def test_the_choice_of_each_subset_is_that_for_its_own_ratio_of_sizes():
    rows = ([0.9, 0.8, 0.7], [5, 8, 9], [0, 2, 40], 10)
    small, large = (points(*rows, n_images=n_images) for n_images in (50, 2_500))
    assert carry_over([small, large], 50, is_corrected=True).chosen == (0.8, 0.7)
    assert carry_over([small, large], 400, is_corrected=True).chosen == (0.9, 0.8)
    assert carry_over([small, large], 50, True, single_share=0.875).chosen == (0.9, 0.8)


def test_counts_of_all_subsets_decide_together():
    # Alone the first has no false positive at 0.7, by chance; the second shows what a larger pool will meet there.
    lucky = points([0.9, 0.7], [5, 8], [0, 0], 10, n_images=50)
    other = points([0.9, 0.7], [5, 8], [0, 6], 10, n_images=50)
    assert lucky.best_cut(8.0) == 0.7
    assert carry_over([lucky, other], 400, is_corrected=True).value == 0.9
    assert carry_over([lucky, other], 400, is_corrected=True).chosen == (0.7, 0.9)


def test_counts_between_rows_lie_on_a_straight_line_and_before_the_first_row_there_are_none():
    tp, fp = points([0.9, 0.7], [5, 8], [0, 6], 10, 50).counts_at(np.array([0.95, 0.9, 0.8, 0.7, 0.1]))
    assert tp.tolist() == [0, 5, pytest.approx(6.5), 8, 8]
    assert fp.tolist() == [0, 0, pytest.approx(3), 6, 6]


def test_a_cut_for_a_pool_lies_where_the_counts_of_all_subsets_are_known():
    rows = {"cuts": (0.1, 0.3, 0.5), "tp": (5, 8, 9), "fp": (0, 1, 2)}
    whole = OperatingPoints(**rows, n_positive_pairs=10, n_images=50)
    first = {name: values[:2] for name, values in rows.items()}
    short = OperatingPoints(**first, n_positive_pairs=10, n_images=50, reach=0.3)
    assert carry_over([whole, whole], 50, is_corrected=True).value == 0.5
    assert carry_over([whole, short], 50, is_corrected=True).value == 0.3
    both, adapter = gather_subsets([{"dbscan": whole}, {"dbscan": short}]), TypeAdapter(PointsOfSubsets)
    document = json.loads(json.dumps(adapter.dump_python(both)))
    assert adapter.validate_json(json.dumps(document), strict=True) == both
    assert ["reach" in plain for plain in document["dbscan"]] == [False, True]
    document["dbscan"][1]["reach"] = -0.5
    with pytest.raises(ValidationError, match="reach"):
        adapter.validate_json(json.dumps(document), strict=True)


def test_of_rows_that_are_best_for_no_pool_size_evenly_spaced_ones_are_kept(monkeypatch):
    monkeypatch.setattr("skinbit.matching.cuts.operating_points._MOST_ROWS", 2)
    cuts = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    curve = Sweep("dbscan", cuts, cuts, np.array([1, 2, 3, 6, 6]), np.array([0, 3, 4, 5, 9]), 7)
    assert operating_points(curve, 0.0, 2.0, 20).cuts == (0.1, 0.4, 0.5)


def test_a_row_that_begins_or_ends_just_where_the_range_does_is_inside():
    cuts = np.array([0.125, 0.25, 0.375, 0.5])
    curve = Sweep("dbscan", cuts, cuts + 0.0625, np.arange(1, 5), np.arange(4), 9)
    points = operating_points(curve, 0.25, 0.375, 20)
    assert (points.cuts, points.tp) == ((0.25, 0.3125, 0.375), (1, 2, 3))


@pytest.mark.parametrize(("kind", "least", "greatest"), [(CutValue, -1.0, 2.0), (Similarity, -1.01, 1.01)])
def test_values_beyond_their_range_are_refused(kind, least, greatest):
    adapter = TypeAdapter(kind)
    assert [adapter.validate_python(end) for end in (least, greatest)] == [least, greatest]
    for beyond in (least - 0.001, greatest + 0.001):
        with pytest.raises(ValidationError):
            adapter.validate_python(beyond)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tp": (1,)}, "different lengths"),
        ({"tp": (2, 1)}, "tp and fp must not fall"),
        ({"fp": (3, 2)}, "tp and fp must not fall"),
        ({"cuts": (0.1, 0.3, 0.2), "tp": (1, 1, 1), "fp": (0, 0, 0)}, "cuts must rise, or fall"),
        ({"tp": (1, 5)}, "more true positives than positive pairs"),
    ],
)
def test_what_is_no_curve_is_refused(changed, said):
    rows = {"cuts": (0.1, 0.3), "tp": (1, 4), "fp": (2, 2), "n_positive_pairs": 4, "n_images": 9}
    assert OperatingPoints(**rows).tp == (1, 4)
    with pytest.raises(ValidationError, match=said):
        OperatingPoints(**rows | changed)


def test_methods_of_different_numbers_of_subsets_are_refused():
    rows = {"cuts": [0.1], "tp": [1], "fp": [2], "n_positive_pairs": 4, "n_images": 9}
    adapter = TypeAdapter(PointsOfSubsets)
    assert adapter.validate_python({"dbscan": [rows], "average": [rows]}).keys() == {"dbscan", "average"}
    with pytest.raises(ValidationError, match="different numbers of subsets"):
        adapter.validate_python({"dbscan": [rows], "average": [rows, rows]})


def test_a_curve_that_ends_reaches_as_far_as_the_last_pair_that_enters_before_its_end():
    curve = Sweep(
        "dbscan",
        np.array([0.1, 0.2, 0.3, 0.4]),
        np.array([0.15, 0.25, 0.35, 0.45]),
        np.array([1, 2, 2, 3]),
        np.array([0, 0, 1, 1]),
        5,
    )
    points = operating_points(curve, 0.0, 2.0, 20, is_whole=False)
    assert (points.cuts, points.reach) == ((0.15, 0.25), 0.25)
    assert operating_points(curve, 0.0, 2.0, 20).reach == 2.0


def test_a_single_row_of_a_threshold_predicts_below_it_not_above():
    tp, _ = points([0.8], [5], [0], 10, 50).counts_at(np.array([0.9, 0.8, 0.7]))
    assert tp.tolist() == [0, 5, 5]


def test_without_correction_the_cut_is_the_mean_of_those_that_are_defined():
    one = points([0.85, 0.75], [1, 2], [0, 0], 2, n_images=10)
    other = points([0.65], [1], [0], 1, n_images=20)
    none = points([0.8], [0], [1], 0, n_images=30)
    carried = carry_over([one, other, none], 40, is_corrected=False)
    assert carried.value == pytest.approx((0.75 + 0.65) / 2)
    assert carried.rho == 1
    assert carry_over([one, other, none], 40, is_corrected=True).rho == pytest.approx(40 / 15)
    assert np.isnan(carry_over([], 40, is_corrected=False).value)
    assert np.isnan(carry_over([none], 40, is_corrected=True).value)


def test_each_fold_gets_the_mean_of_the_others():
    folds = tuple(points([cut], [1], [0], 1, 10) for cut in (0.1, 0.2, 0.6))
    carried = cuts_of_folds({"cosine": folds}, (0, 1, 2))
    assert {fold: cuts["cosine"] for fold, cuts in carried.items()} == pytest.approx({0: 0.4, 1: 0.35, 2: 0.15})


def test_a_single_fold_gets_its_own():
    assert cuts_of_folds({"cosine": (points([0.1], [1], [0], 1, 10),)}, [4]) == {4: {"cosine": 0.1}}


def test_where_no_pair_of_one_lesion_is_ever_predicted_the_strictest_cut_is_kept():
    fold = points([0.9, 0.8], [0, 0], [1, 3], 2, n_images=5)
    assert fold.best_cut(1.0) == 0.9
    assert carry_over([fold], 5, is_corrected=True).value == 0.9


def test_without_a_positive_pair_there_is_no_cut():
    curve = Sweep("cosine", *map(np.array, ([0.9], [0.8], [0], [1])), n_positive_pairs=0)
    assert np.isnan(operating_points(curve, -1.0, 1.0, 3).best_cut(1.0))
