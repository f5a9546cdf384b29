"""The simulated reviewer errs as often as it should, and is asked again where it disagrees with the groups."""

import numpy as np

from benchmarks.review import Reviewer, ask
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME
from skinbit.matching.expected.certificate import Plan

LESIONS = np.array([0, 0, 1, 2, 2, 3])


def test_a_reviewer_errs_and_abstains_as_often_as_asked_for():
    told = np.array([Reviewer(LESIONS, "with errors", seed).say(0, 1) for seed in range(3000)])
    assert abs((told == CANNOT_TELL).mean() - 0.03) < 0.01
    assert abs((told == DIFFERENT).mean() - 0.02) < 0.01
    assert Reviewer(LESIONS, "without errors", 0).say(0, 1) == SAME
    assert Reviewer(LESIONS, "without errors", 0).say(1, 2) == DIFFERENT


def test_pairs_of_a_sample_that_disagree_with_the_groups_are_asked_about_twice():
    pairs = np.array([[0, 1], [1, 2], [3, 4], [4, 5]])
    is_joined = np.array([True, True, False, False])
    said = ask(Plan(pairs, np.ones(4), is_joined, 0.0, np.ones((3, 2))), Reviewer(LESIONS, "without errors", 0))
    assert said.pairs.tolist() == [[0, 1], [1, 2], [1, 2], [3, 4], [3, 4], [4, 5]]
    assert said.verdicts.tolist() == [SAME, DIFFERENT, DIFFERENT, SAME, SAME, DIFFERENT]
