"""What answers say of the photographs at hand, against plain loops."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.decisions.answers import CANNOT_TELL, DIFFERENT, SAME, UNDO, Answer
from skinbit.decisions.verdicts import Verdicts, weigh_answers

PHOTOGRAPHS = [f"{number:064x}" for number in range(7)]
HERE = PHOTOGRAPHS[:5]


def same(*photographs: int) -> Answer:
    return Answer(verdict=SAME, parts=(tuple(PHOTOGRAPHS[each] for each in photographs),))


def different(*parts: tuple[int, ...]) -> Answer:
    return Answer(verdict=DIFFERENT, parts=tuple(tuple(PHOTOGRAPHS[each] for each in part) for part in parts))


def cannot_tell(first: int, second: int) -> Answer:
    return Answer(verdict=CANNOT_TELL, parts=((PHOTOGRAPHS[first],), (PHOTOGRAPHS[second],)))


def undo(answer: Answer) -> Answer:
    return Answer(verdict=UNDO, undoes=answer.answer_id)


@st.composite
def ledgers(draw):
    """Return answers of any kind, some of them undone or sent twice."""
    answers: list[Answer] = []
    for _ in range(draw(st.integers(0, 9))):
        rows = draw(st.permutations(range(len(PHOTOGRAPHS))))[: draw(st.integers(2, 4))]
        kinds = [same(*rows), different((rows[0],), tuple(rows[1:])), different(*((row,) for row in rows))]
        kinds += [cannot_tell(*rows[:2]), *(undo(answer) for answer in answers[-1:]), *answers[-1:]]
        answers.append(draw(st.sampled_from(kinds)))
    return answers


def links_by_hand(answers, hashes, known):
    """Return must- and cannot-links between photographs, and those that contradict."""
    undone = {answer.undoes for answer in answers}
    votes: dict[frozenset[str], list[int]] = {}
    for answer in {answer.answer_id: answer for answer in answers}.values():
        if answer.answer_id in undone or answer.verdict in (CANNOT_TELL, UNDO):
            continue
        part_of = {photograph: number for number, part in enumerate(answer.parts) for photograph in part}
        for pair in combinations(part_of, 2):
            votes.setdefault(frozenset(pair), []).append(1 if part_of[pair[0]] == part_of[pair[1]] else -1)
    majority = {pair: sum(of_pair) for pair, of_pair in votes.items()}
    out = {photograph for pair, said in majority.items() if said == 0 for photograph in pair}
    left = {pair: said for pair, said in majority.items() if not pair & out}
    lesions = [frozenset(each for each, of in zip(hashes, known, strict=True) if of == one) for one in {*known} - {-1}]
    for group in closed([*(pair for pair, said in left.items() if said > 0), *lesions]):
        is_broken = any(pair <= group for pair, said in left.items() if said < 0)
        if is_broken or len({of for each, of in zip(hashes, known, strict=True) if each in group and of >= 0}) > 1:
            out |= {photograph for pair in left for photograph in pair & group}
    left = {pair: said for pair, said in left.items() if not pair & out}
    return [pair for pair, said in left.items() if said > 0], [pair for pair, said in left.items() if said < 0], out


def closed(links):
    """Return the sets of photographs that links join, one through another."""
    groups: list[frozenset[str]] = []
    for link in links:
        touching = [group for group in groups if group & link]
        groups = [group for group in groups if not group & link] + [link.union(*touching)]
    return groups


def pairs_of(verdicts: Verdicts, n_rows: int):
    """Return all pairs of rows that verdicts join and keep apart, closed."""
    groups = closed([*map(frozenset, verdicts.must), *(frozenset({row}) for row in range(n_rows))])
    together = {frozenset(pair) for group in groups for pair in combinations(group, 2)}
    of = {row: group for group in groups for row in group}
    apart = {frozenset({a, b}) for first, second in verdicts.cannot for a in of[first] for b in of[second]}
    return together, apart


class TestPairs:
    @given(ledgers(), st.lists(st.sampled_from([-1, -1, 0, 1]), min_size=5, max_size=5))
    def test_are_what_plain_loops_find(self, answers, known):
        must, cannot, out = links_by_hand(answers, HERE, known)
        groups = closed([*must, *map(frozenset, ((each,) for each in PHOTOGRAPHS))])
        of = {photograph: group for group in groups for photograph in group}
        rows = {photograph: row for row, photograph in enumerate(HERE)}
        together = {frozenset(map(rows.get, pair)) for group in groups for pair in combinations(group & {*HERE}, 2)}
        apart = {
            frozenset({rows[a], rows[b]})
            for first, second in map(tuple, cannot)
            for a in of[first] & {*HERE}
            for b in of[second] & {*HERE}
        }
        found = weigh_answers(answers, HERE, np.array(known))
        assert pairs_of(found, 5) == (together, apart)
        assert found.contradictory == tuple(sorted(rows[photograph] for photograph in out & {*HERE}))

    @given(ledgers(), st.randoms())
    def test_do_not_depend_on_the_order_of_answers(self, answers, random):
        found = weigh_answers(answers, HERE)
        random.shuffle(answers)
        assert weigh_answers(answers, HERE) == found

    @given(ledgers())
    def test_never_contradict_each_other(self, answers):
        found = weigh_answers(answers, HERE)
        together, apart = pairs_of(found, 5)
        assert not together & apart
        assert not {*found.contradictory} & {row for pair in together | apart for row in pair}

    def test_go_by_the_majority_and_who_cannot_tell_abstains(self):
        found = weigh_answers([same(0, 1), different((0,), (1,)), cannot_tell(0, 1), same(1, 0)], HERE)
        assert (found.must, found.cannot, found.contradictory) == (((0, 1),), (), ())

    def test_that_as_many_join_as_part_are_as_if_unanswered_and_marked(self):
        found = weigh_answers([same(0, 1), different((1,), (0,)), same(1, 2), same(3, 4)], HERE)
        assert (found.must, found.cannot, found.contradictory) == (((3, 4),), (), (0, 1))

    def test_of_equal_answers_about_many_photographs_all_count(self):
        found = weigh_answers([different((0, 1), (2,)), same(0, 1, 2), same(0, 1, 2)], HERE)
        assert (found.must, found.cannot, found.contradictory) == (((0, 1), (0, 2)), (), ())

    def test_follow_from_one_another(self):
        found = weigh_answers([same(0, 1), same(1, 2), different((2,), (3,))], HERE)
        assert (found.must, found.cannot) == (((0, 1), (0, 2)), ((0, 3),))
        assert pairs_of(found, 5)[1] == {frozenset(pair) for pair in ((0, 3), (1, 3), (2, 3))}

    def test_follow_through_photographs_that_are_not_here(self):
        found = weigh_answers([same(0, 5), same(5, 1), different((5,), (2,))], HERE)
        assert (found.must, found.cannot) == (((0, 1),), ((0, 2),))

    def test_of_a_chain_whose_ends_are_parted_are_as_if_unanswered(self):
        found = weigh_answers([same(0, 1), same(1, 2), different((0,), (2,)), different((2,), (4,))], HERE)
        assert (found.must, found.cannot, found.contradictory) == ((), (), (0, 1, 2))

    def test_that_join_two_known_lesions_are_as_if_unanswered(self):
        known = np.array([-1, 0, 0, 1, -1])
        found = weigh_answers([same(0, 1), same(0, 3), different((1,), (4,))], HERE, known)
        assert (found.must, found.cannot, found.contradictory) == ((), (), (0, 1, 3))

    def test_hold_for_every_photograph_of_the_same_bytes(self):
        found = weigh_answers([same(0, 1), different((1,), (2,))], [*HERE[:3], HERE[0], HERE[2]])
        assert pairs_of(found, 5) == (
            {frozenset(pair) for pair in ((0, 1), (0, 3), (1, 3), (2, 4))},
            {frozenset({one, other}) for one in (0, 1, 3) for other in (2, 4)},
        )


class TestCounts:
    def test_undone_answers_do_not_count(self):
        wrong = same(0, 1)
        found = weigh_answers([undo(wrong), wrong, different((0,), (1,))], HERE)
        assert (found.must, found.cannot, found.n_obeyed, found.n_elsewhere) == ((), ((0, 1),), 1, 0)

    def test_an_answer_that_is_sent_twice_counts_once(self):
        answer = same(0, 1)
        assert weigh_answers([answer, answer, different((0,), (1,))], HERE).contradictory == (0, 1)

    def test_answers_about_photographs_that_are_not_here_are_counted_apart(self):
        found = weigh_answers([same(0, 1), same(0, 5), cannot_tell(5, 6), cannot_tell(2, 3)], HERE)
        assert (found.n_obeyed, found.n_elsewhere) == (1, 2)

    @pytest.mark.parametrize("hashes", [[], HERE])
    def test_without_answers_nothing_is_known(self, hashes):
        assert weigh_answers([], hashes) == Verdicts()
