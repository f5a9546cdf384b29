"""The queue asks first what changes most, and never what follows from the answers."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.decisions.queue import AGREEMENT, CONTRADICTION, IMPROBABLE, LINK, MERGER, NEVER_COMPARED, REPEAT, Queue
from skinbit.decisions.verdicts import Verdicts
from skinbit.matching.clustering.merges import components
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME, Candidates, Said


def candidates(pairs, inliers=None):
    """Return candidates from ``{(first, second): probability}``, never compared unless inliers are given."""
    rows = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    points = np.full(len(rows), -1) if inliers is None else np.array(inliers, dtype=np.int64)
    return Candidates(rows, np.array(list(pairs.values()), dtype=np.float64), points)


def history(*said):
    """Return a history from ``(first, second, verdict)``."""
    rows = np.array(said, dtype=np.int64).reshape(-1, 3)
    return Said(rows[:, :2], rows[:, 2])


def verdicts(told):
    """Return what a history says that does not contradict itself."""
    must = [tuple(pair) for pair in told.pairs[told.verdicts == SAME].tolist()]
    cannot = [tuple(pair) for pair in told.pairs[told.verdicts == DIFFERENT].tolist()]
    return Verdicts(must=must, cannot=cannot)


def ask(queue, told=None, n=1):
    told = history() if told is None else told
    return queue.questions(verdicts(told), told, n)


def follows(told, pair, n_images):
    """Whether the verdict on a pair follows from a history."""
    groups = components(n_images, told.pairs[told.verdicts == SAME])
    apart = {tuple(sorted(groups[list(each)])) for each in told.pairs[told.verdicts == DIFFERENT].tolist()}
    first, second = sorted(groups[list(pair)])
    return first == second or (first, second) in apart


@st.composite
def pools(draw):
    """Draw lesions, groups and candidates of a few photographs, and who is never sure of which."""
    n_images = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = [pair for pair in combinations(range(n_images), 2) if rng.random() < 0.7]
    found = Candidates(
        np.array(pairs, dtype=np.int64).reshape(-1, 2), rng.random(len(pairs)), rng.integers(-1, 12, len(pairs))
    )
    lesions, groups = rng.integers(0, max(2, n_images // 2), (2, n_images))
    unsure = {pair for pair in pairs if rng.random() < 0.2}
    return lesions, groups, found, unsure


@given(pools(), st.integers(0, 3))
def test_what_follows_is_never_asked_and_everything_else_is_told_in_the_end(pool, seed):
    lesions, groups, found, unsure = pool
    queue, told = Queue(groups, found, seed), history()
    for _ in range(2 * len(found.pairs) + 20):
        question = next(iter(ask(queue, told)), None)
        if question is None:
            break
        if question.reason not in (REPEAT, IMPROBABLE):
            assert not follows(told, question.rows, len(lesions))
            assert list(question.rows) not in told.pairs.tolist()
        first, second = question.rows
        said = CANNOT_TELL if question.rows in unsure else int(lesions[first] == lesions[second])
        told = history(*np.column_stack([told.pairs, told.verdicts]).tolist(), (first, second, said))
    for pair in map(tuple, found.pairs.tolist()):
        first, second = pair
        is_between_groups_apart = any(
            follows(told, (a, b), len(lesions)) and lesions[a] != lesions[b]
            for a, b in found.pairs.tolist()
            if pair != (a, b)
        )
        assert pair in unsure or follows(told, pair, len(lesions)) or is_between_groups_apart


@given(pools(), st.integers(0, 3))
def test_questions_are_distinct_and_the_same_for_one_seed(pool, seed):
    _, groups, found, _ = pool
    told = history(*((*pair, DIFFERENT) for pair in found.pairs[:12].tolist()))
    asked = ask(Queue(groups, found, seed), told, 40)
    assert len({question.rows for question in asked}) == len(asked)
    shuffled = np.random.default_rng(seed).permutation(len(found.pairs))
    other = Candidates(found.pairs[shuffled], found.probabilities[shuffled], found.inliers[shuffled])
    assert ask(Queue(groups + 7, other, seed), told, 40) == asked


def test_the_pairs_that_would_join_or_part_weigh_as_much_as_the_probability():
    groups = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    pairs = {(0, 1): 0.99, (2, 3): 0.99, (1, 2): 0.2, (4, 5): 0.5, (6, 7): 0.4}
    asked = ask(Queue(groups, candidates(pairs)), n=5)
    assert [(question.rows, question.reason) for question in asked[:3]] == [
        ((1, 2), MERGER),  # 0.2 x 4 pairs
        ((6, 7), LINK),  # (1 - 0.4) x 1 pair
        ((4, 5), MERGER),  # 0.5 x 1 pair
    ]
    assert [question.probability for question in asked[:3]] == [0.2, 0.4, 0.5]


def test_of_two_groups_only_the_most_probable_pair_is_asked():
    groups = np.array([0, 0, 1, 1])
    pairs = {(0, 1): 0.99, (2, 3): 0.99, (0, 2): 0.1, (0, 3): 0.3, (1, 2): 0.2, (1, 3): 0.1}
    asked = ask(Queue(groups, candidates(pairs)), n=6)
    assert [question.rows for question in asked] == [(0, 3), (0, 1), (2, 3)]


def test_a_group_that_an_answer_splits_falls_apart_at_its_weakest_links():
    groups = np.zeros(4, dtype=np.int64)
    pairs = {(0, 1): 0.9, (1, 2): 0.6, (2, 3): 0.8}
    told = history((0, 3, DIFFERENT))
    asked = ask(Queue(groups, candidates(pairs)), told, 3)
    assert {question.rows for question in asked} == {(0, 1), (2, 3)}  # 1-2 would break the answer


def test_a_kind_of_question_that_keeps_changing_nothing_comes_later():
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5])
    pairs = {(0, 1): 0.5, (2, 3): 0.5, (4, 5): 0.5, (6, 7): 0.5, (8, 9): 0.4}
    queue = Queue(groups, candidates(pairs, [8, 8, 8, 8, 0]))
    assert ask(queue)[0].reason == LINK
    told = history((0, 1, SAME), (2, 3, SAME))
    assert [question.rows for question in ask(queue, told)] == [(8, 9)]
    assert ask(queue, history((0, 1, SAME), (2, 3, DIFFERENT)))[0].reason == LINK


def test_every_share_of_twenty_questions_is_kept():
    rng = np.random.default_rng(0)
    rows = np.arange(400).reshape(-1, 2)
    found = Candidates(rows, rng.random(200), rng.permutation(np.repeat([-1, 0, 9, 30], 50)))
    told = history(*((*pair, DIFFERENT) for pair in rows[:20].tolist()))
    asked = ask(Queue(np.arange(400), found), told, 20)
    counts = Counter(question.reason for question in asked)
    assert counts == {MERGER: 13, AGREEMENT: 5, NEVER_COMPARED: 1, REPEAT: 1}


def test_a_repeat_is_drawn_from_the_seed_among_older_answers_that_were_not_repeated():
    rows = np.arange(200).reshape(-1, 2)
    found = Candidates(rows, np.full(100, 0.5), np.zeros(100, dtype=np.int64))
    told = history(*((*pair, DIFFERENT) for pair in [*rows[:17].tolist(), rows[0].tolist()]))
    repeats = {seed: ask(Queue(np.arange(200), found, seed), told)[0] for seed in range(20)}
    assert {question.reason for question in repeats.values()} == {REPEAT}
    drawn = {question.rows for question in repeats.values()}
    assert len(drawn) > 3
    assert drawn <= {tuple(pair) for pair in rows[1:8].tolist()}


def test_an_answer_that_changes_groups_against_the_odds_is_asked_for_once_more():
    groups = np.array([0, 0, 1, 2, 3, 4])
    queue = Queue(groups, candidates({(0, 1): 0.99, (2, 3): 0.01, (4, 5): 0.4}))
    for told in ((0, 1, DIFFERENT), (2, 3, SAME)):
        asked = ask(queue, history(told))[0]
        assert (asked.rows, asked.reason) == (told[:2], IMPROBABLE)
        assert ask(queue, history(told, told))[0].rows == (4, 5)
    for told in ((0, 1, SAME), (2, 3, DIFFERENT), (2, 3, CANNOT_TELL)):
        assert ask(queue, history(told))[0].rows == (4, 5)


def test_contradictory_answers_are_asked_first_those_with_fewest_answers_before_others():
    pairs = {(0, 1): 0.9, (1, 2): 0.8, (0, 2): 0.7, (3, 4): 0.6}
    told = history((0, 1, SAME), (1, 2, SAME), (0, 2, DIFFERENT), (0, 1, SAME))
    asked = Queue(np.arange(5), candidates(pairs)).questions(Verdicts(contradictory=(0, 1, 2)), told, 4)
    assert [(question.rows, question.reason) for question in asked[:3]] == [
        ((0, 2), CONTRADICTION),
        ((1, 2), CONTRADICTION),
        ((0, 1), CONTRADICTION),
    ]
    assert asked[3].rows == (3, 4)


def test_a_contradiction_that_answers_do_not_settle_stops_nothing():
    told = history((0, 1, SAME), (0, 1, DIFFERENT), *[(0, 1, CANNOT_TELL)] * 2)
    asked = Queue(np.arange(5), candidates({(0, 1): 0.9, (3, 4): 0.6})).questions(Verdicts(contradictory=(0, 1)), told)
    assert [question.rows for question in asked] == [(3, 4)]


def test_nobody_is_asked_about_a_pool_without_candidates():
    assert ask(Queue(np.arange(3), candidates({})), n=5) == []


@pytest.mark.parametrize("said", [SAME, DIFFERENT, CANNOT_TELL])
def test_an_answered_pair_that_is_no_candidate_does_no_harm(said):
    asked = ask(Queue(np.arange(4), candidates({(0, 1): 0.5})), history((2, 3, said)))
    assert [question.rows for question in asked] == [(0, 1)]
