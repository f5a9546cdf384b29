"""Figures of groups against plain loops and scikit-learn, and where they are undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from skinbit.matching.scoring.group_metrics import evaluate_groups

grouped_images = st.integers(1, 16).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, n), min_size=n, max_size=n).map(np.array),) * 2)
)
"""Groups and lesions of up to 16 images."""


def bcubed_by_hand(groups, lesions):
    """Ask every image how much of its group shows its lesion, and how much of its lesion is in its group."""
    n_images = range(len(groups))
    precisions, recalls = [], []
    for row in n_images:
        group = {other for other in n_images if groups[other] == groups[row]}
        lesion = {other for other in n_images if lesions[other] == lesions[row]}
        precisions.append(len(group & lesion) / len(group))
        recalls.append(len(group & lesion) / len(lesion))
    return np.mean(precisions), np.mean(recalls)


def as_sets(numbers):
    return {frozenset(np.flatnonzero(numbers == number)) for number in numbers}


@given(grouped_images)
def test_bcubed_weighs_every_image_once(images):
    groups, lesions = images
    found = evaluate_groups(groups, lesions)
    precision, recall = bcubed_by_hand(groups, lesions)
    assert found["bcubed_precision"] == pytest.approx(precision)
    assert found["bcubed_recall"] == pytest.approx(recall)
    assert found["bcubed_f1"] == pytest.approx(2 / (1 / precision + 1 / recall))


@given(grouped_images)
def test_adjusted_figures_equal_scikit_learn_where_pairs_of_both_kinds_exist(images):
    groups, lesions = images
    found = evaluate_groups(groups, lesions)
    if 1 < len(set(lesions.tolist())) < len(lesions):
        assert found["ari"] == pytest.approx(adjusted_rand_score(lesions, groups), abs=1e-12)
        assert found["ami"] == pytest.approx(adjusted_mutual_info_score(lesions, groups), abs=1e-10)
    else:
        assert np.isnan([found["ari"], found["ami"]]).all()


def test_adjusted_figures_equal_scikit_learn_among_hundreds_of_images():
    rng = np.random.default_rng(0)
    lesions = rng.integers(0, 150, 400)
    groups = np.where(rng.random(400) < 0.5, lesions, rng.integers(150, 400, 400))
    found = evaluate_groups(groups, lesions)
    assert found["ari"] == pytest.approx(adjusted_rand_score(lesions, groups), abs=1e-12)
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(lesions, groups), abs=1e-9)


@given(grouped_images)
def test_groups_and_lesions_are_counted(images):
    groups, lesions = images
    found = evaluate_groups(groups, lesions)
    n_groups, n_lesions = len(as_sets(groups)), len(as_sets(lesions))
    assert found["n_groups"] == n_groups
    assert found["n_groups_error"] == (n_groups - n_lesions) / n_lesions
    assert found["exact_groups"] == len(as_sets(groups) & as_sets(lesions)) / n_lesions


@given(grouped_images)
def test_numbers_and_order_of_groups_and_lesions_do_not_matter(images):
    groups, lesions = images
    order = np.random.default_rng(0).permutation(len(groups))
    renamed = evaluate_groups(1000 - 7 * groups[order], 3 * lesions[order] - 50)
    assert renamed == pytest.approx(evaluate_groups(groups, lesions), nan_ok=True)


def test_lesions_as_groups_are_perfect():
    lesions = np.repeat(np.arange(40), np.arange(40) % 4 + 1)
    found = evaluate_groups(lesions, lesions)
    assert {found[name] for name in ("bcubed_f1", "ari", "exact_groups")} == {1}
    assert found["ami"] == pytest.approx(1, abs=1e-12)
    assert found["ami"] <= 1
    assert found["n_groups_error"] == 0


@pytest.mark.parametrize("groups", [np.zeros(300, dtype=int), np.arange(300)])
def test_all_together_and_all_apart_are_worth_exactly_nothing_beyond_chance(groups):
    found = evaluate_groups(groups, np.repeat(np.arange(100), 3))
    assert found["ari"] == found["ami"] == 0


def test_lesions_of_one_image_have_no_agreement_beyond_chance_to_measure():
    found = evaluate_groups(np.array([0, 0, 1]), np.array([0, 1, 2]))
    assert np.isnan([found["ari"], found["ami"]]).all()
    assert (found["bcubed_precision"], found["bcubed_recall"]) == (pytest.approx(2 / 3), 1)
    assert found["exact_groups"] == 1 / 3
    assert found["n_groups_error"] == pytest.approx(-1 / 3)


def test_a_lesion_alone_may_be_found_whole_or_in_parts():
    whole, parts = (evaluate_groups(np.array(groups), np.zeros(3, dtype=int)) for groups in ([4, 4, 4], [0, 0, 1]))
    assert (whole["bcubed_f1"], whole["exact_groups"]) == (1, 1)
    assert (parts["bcubed_precision"], parts["bcubed_recall"]) == (1, pytest.approx(5 / 9))
    assert np.isnan([whole["ari"], parts["ari"]]).all()


def test_without_images_only_the_number_of_groups_is_defined():
    found = evaluate_groups(np.empty(0, dtype=int), np.empty(0, dtype=int))
    assert found.pop("n_groups") == 0
    assert np.isnan(list(found.values())).all()
