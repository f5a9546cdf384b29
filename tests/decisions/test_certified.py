"""Answers of a ledger become a census and a sample, and the sample's questions come one after another."""

import math

import numpy as np

from skinbit.decisions.answers import CANNOT_TELL as UNSURE
from skinbit.decisions.answers import DIFFERENT as APART
from skinbit.decisions.answers import SAME as TOGETHER
from skinbit.decisions.answers import UNDO, Answer
from skinbit.decisions.certified import SAMPLED, Frozen, Sample, last_sample, obeyed_answers, said_of
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME, Candidates
from tests.matching.test_certificate import archive, prior

HASHES = [f"{row:064x}" for row in range(200)]


def answer(verdict, *parts, **values):
    return Answer(verdict=verdict, parts=tuple(tuple(HASHES[row] for row in part) for part in parts), **values)


def test_answers_about_groups_become_pairs_from_which_they_follow():
    undone = answer(TOGETHER, (1, 8))
    told = [
        answer(TOGETHER, (2, 0, 1)),
        undone,
        answer(APART, (3, 4), (5,), (6,)),
        answer(UNSURE, (7,), (6,)),
        Answer(verdict=UNDO, undoes=undone.answer_id),
        answer(TOGETHER, (0, 150)),  # not here
    ]
    said = said_of(told, HASHES[:10])
    assert [(*pair, verdict) for pair, verdict in zip(said.pairs.tolist(), said.verdicts.tolist(), strict=True)] == [
        *((0, 2, SAME), (1, 2, SAME)),
        *((3, 4, SAME), (3, 5, DIFFERENT), (3, 6, DIFFERENT), (5, 6, DIFFERENT)),
        (6, 7, CANNOT_TELL),
    ]


def frozen(n_obeyed, n_lesions=60):
    groups, lesions, candidates = archive(n_lesions, 5)
    return Frozen(groups, candidates, HASHES[: len(groups)], prior(0.0, 0.0), n_obeyed), lesions


def answer_next(sample, told, lesions):
    """Return the answers with one more to the next question of a sample, and its rows; None where none is left."""
    (question,) = sample.questions(told) or [None]
    if question is None:
        return told, None
    first, second = question.rows
    parts = [(first, second)] if lesions[first] == lesions[second] else [(first,), (second,)]
    verdict = TOGETHER if len(parts) == 1 else APART
    return [*told, answer(verdict, *parts, reason=question.reason)], question.rows


def test_a_sample_is_asked_until_it_is_whole_and_again_where_an_answer_disagrees():
    groups_to_certify, lesions = frozen(0, 15)
    sample, told, asked = Sample(groups_to_certify, []), [], []
    assert (sample.certify(told), sample.n_answered(told)) == (None, 0)
    while True:
        told, rows = answer_next(sample, told, lesions)
        if rows is None:
            break
        asked.append(rows)
    groups = groups_to_certify.groups
    assert len(set(asked)) == sample.n_answered(told) == sample.n_drawn
    for rows in set(asked):
        is_wrong = (lesions[rows[0]] == lesions[rows[1]]) != (groups[rows[0]] == groups[rows[1]])
        assert asked.count(rows) == 1 + is_wrong
    found = sample.certify(told)
    assert (found.n_sampled, found.n_drawn, found.n_census) == (sample.n_drawn, sample.n_drawn, 0)
    assert found.f1.low < found.f1.high


def test_questions_of_a_sample_do_not_tell_what_the_model_thinks():
    sample = Sample(frozen(0)[0], [])
    assert all(math.isnan(question.probability) for question in sample.questions([], 5))


def test_a_pair_that_a_person_cannot_tell_is_asked_once_and_is_no_evidence():
    sample = Sample(frozen(0)[0], [])
    (question,) = sample.questions([])
    told = [answer(UNSURE, *((row,) for row in question.rows), reason=question.reason)]
    assert sample.questions(told)[0].rows != question.rows
    assert (sample.n_answered(told), sample.certify(told)) == (1, None)


def test_later_answers_of_the_queue_and_of_other_samples_change_no_certificate():
    groups_to_certify, lesions = frozen(3)
    pairs = groups_to_certify.candidates.pairs[-3:].tolist()
    told = [answer(UNSURE, *((row,) for row in pair)) for pair in pairs]
    sample = Sample(groups_to_certify, told)
    for _ in range(20):
        told, _ = answer_next(sample, told, lesions)
    found = sample.certify(told)
    later = [
        answer(TOGETHER, (0, 3), reason="it changes most"),
        answer(APART, (4,), (5,), reason=sample.reason.replace("after 3", "after 1")),
    ]
    again = Sample(groups_to_certify, [*told, *later])
    assert (again.reason, again.certify([*told, *later])) == (sample.reason, found)
    assert obeyed_answers([*told, *later], 3) == told[:3]


def test_a_sample_has_the_name_of_its_groups_and_is_drawn_whatever_the_files_are_called():
    one, _ = frozen(0)
    order = np.random.default_rng(0).permutation(len(one.groups))
    place_of = np.argsort(order)
    candidates = Candidates(place_of[one.candidates.pairs], one.candidates.probabilities, one.candidates.inliers)
    renamed = Frozen(one.groups[order], candidates, [one.hashes[row] for row in order], one.prior, 0)
    sample, again = Sample(one, []), Sample(renamed, [])
    assert again.reason == sample.reason
    asked, asked_again = sample.questions([], 20), again.questions([], 20)
    assert [{*order[[*question.rows]]} for question in asked_again] == [{*question.rows} for question in asked]
    other = Frozen(np.append(one.groups[:-1], one.groups[0]), one.candidates, one.hashes, one.prior, 0)
    assert Sample(other, []).reason != sample.reason


def test_copies_of_one_file_are_one_photograph():
    one, _ = frozen(0, 15)
    twice = Frozen(np.append(one.groups, one.groups[0]), one.candidates, [*one.hashes, one.hashes[0]], one.prior, 0)
    assert Sample(twice, []).reason == Sample(one, []).reason


def test_the_last_sample_is_that_of_the_last_answer_that_was_not_undone():
    reasons = [f"{SAMPLED} of groups {name * 12} after {n} answers" for name, n in (("a", 2), ("b", 7))]
    told = [answer(TOGETHER, (0, 1), reason=reason) for reason in ("because", *reasons)]
    assert last_sample(told[:1]) is None
    assert last_sample(told) == (reasons[1], 7)
    assert last_sample([*told, Answer(verdict=UNDO, undoes=told[2].answer_id)]) == (reasons[0], 2)


def test_an_answer_that_was_undone_later_is_none_that_groups_obey():
    told = [answer(TOGETHER, (0, 1)), answer(TOGETHER, (2, 3)), answer(TOGETHER, (4, 5))]
    undone = [*told, Answer(verdict=UNDO, undoes=told[1].answer_id)]
    assert obeyed_answers(undone, 2) == told[:1]
