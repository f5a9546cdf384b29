"""Answers of a ledger become a census and a sample, and the sample's questions come one after another."""

from skinbit.decisions.answers import CANNOT_TELL as UNSURE
from skinbit.decisions.answers import DIFFERENT as APART
from skinbit.decisions.answers import SAME as TOGETHER
from skinbit.decisions.answers import UNDO, Answer
from skinbit.decisions.certified import SAMPLED, before_the_sample, certify_answers, said_of
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME
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


def test_a_sample_is_asked_until_it_is_whole_and_changes_no_census():
    groups, lesions, candidates = archive(60, 5)
    hashes = HASHES[: len(groups)]
    told = [answer(APART, *((row,) for row in pair)) for pair in candidates.pairs[-3:].tolist()]
    told = [each for each in told if lesions[hashes.index(each.parts[0][0])] != lesions[hashes.index(each.parts[1][0])]]
    census, found, n_asked = before_the_sample(told), None, []
    while True:
        found, question = certify_answers(groups, candidates, told, hashes, prior(0.0, 0.0))
        if question is None or len(n_asked) == 12:
            break
        first, second = question.rows
        parts = [(first, second)] if lesions[first] == lesions[second] else [(first,), (second,)]
        told = [*told, answer(TOGETHER if len(parts) == 1 else APART, *parts, reason=question.reason)]
        n_asked.append(question.rows)
    assert before_the_sample(told) == census
    assert {each.reason for each in told[len(census) :]} == {SAMPLED}
    assert found.n_sampled == len(set(n_asked))
    for rows in set(n_asked):
        is_wrong = (lesions[rows[0]] == lesions[rows[1]]) != (groups[rows[0]] == groups[rows[1]])
        assert n_asked.count(rows) == 1 + is_wrong or rows == n_asked[-1]
    assert found.f1.low < found.f1.high
    assert found.n_census == len(census)
