"""Whose cut new photographs are grouped at: the user's, the folds' for so many photographs, or the model's own."""

import pytest

from skinbit.config import ClusterParams
from skinbit.matching.cuts.grouping_cut import NO_CUT, carried_cut
from skinbit.matching.cuts.operating_points import KnownCuts

FOLD = {"cuts": [0.2, 0.3], "tp": [4, 6], "fp": [0, 3], "n_positive_pairs": 6, "n_images": 10}
"""At its strict cut a fold has no false positive, at the other one all pairs of one lesion."""


def known(method="average", given=None, value=0.5, points=(FOLD, FOLD)):
    return KnownCuts.model_validate({"method": method, "given": given, "value": value, "operating_points": points})


def test_a_given_cut_wins():
    cut, origin = carried_cut(known(given=0.1), 10, ClusterParams(), is_corrected=True)
    assert (cut.value, origin) == (0.1, "as given")


@pytest.mark.parametrize(("n_images", "expected"), [(5, 0.3), (10_000, 0.2)])
def test_the_folds_choose_a_stricter_cut_for_more_photographs(n_images, expected):
    assert carried_cut(known(), n_images, ClusterParams(), is_corrected=True)[0].value == expected


def test_without_the_correction_the_number_of_photographs_does_not_count():
    found = [carried_cut(known(), n_images, ClusterParams(), is_corrected=False)[0] for n_images in (5, 10_000)]
    assert found[0] == found[1]


def test_without_folds_the_models_own_cut_counts():
    cut, origin = carried_cut(known(points=()), 10, ClusterParams(), is_corrected=True)
    assert (cut.value, origin) == (0.5, "of the model")


def test_the_share_without_a_partner_is_named():
    _, origin = carried_cut(known(), 10, ClusterParams(single_share=0.5), is_corrected=True)
    assert origin.endswith("50% of them without a partner")


def test_a_margin_is_the_range():
    cut, _ = carried_cut(known(given=0.1), 10, ClusterParams(margin=0.02), is_corrected=True)
    assert (cut.low, cut.high) == pytest.approx((0.88, 0.92))


def test_a_method_without_a_cut_has_none():
    assert carried_cut(known("mutual", value=None, points=()), 10, ClusterParams(), is_corrected=True)[0] is NO_CUT
