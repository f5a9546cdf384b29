"""What is asked, and what an answer does: to the ledger, to the groups and to the questions that are left."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from skinbit.decisions.answers import Answer, new_id
from skinbit.decisions.certified import SAMPLED
from skinbit.decisions.ledger import Ledger, read_answers
from skinbit.decisions.queue import MERGER
from skinbit.review.desk import Desk, NotAnAnswerError, StaleError
from tests.review.samples import make_grouped


@pytest.fixture
def grouped(tmp_path):
    return make_grouped(tmp_path / "photographs")


@pytest.fixture
def ledger(tmp_path):
    with closing(Ledger(tmp_path / "decisions.sqlite")) as opened:
        yield opened


@pytest.fixture
def desk(grouped, ledger):
    return Desk(grouped, ledger, "Ada")


def pair_of(state) -> tuple[int, int]:
    first, second = state["question"]["photographs"]
    return first["row"], second["row"]


def judge(desk, state, verdict="different lesions", answer_id=None):
    first, second = pair_of(state)
    parts = [[first, second]] if verdict == "same lesion" else [[first], [second]]
    return desk.answer(answer_id or new_id(), verdict, parts, state["seen"])


def members(desk, which="shared") -> list[list[int]]:
    return sorted(group["rows"] for group in desk.groups(which, 0)["groups"])


class TestQuestions:
    def test_what_changes_most_pairs_is_asked_first(self, desk):
        state = desk.state()
        # a link between two groups of 3 with 30 %: 2.7 pairs; one inside with 60 %: at most 0.8 pairs
        assert pair_of(state) in {(2, 3), (5, 6), (0, 8)}
        assert state["question"]["probability"] == 0.3
        assert state["left"] == 9

    def test_nothing_is_asked_that_follows_from_answers(self, desk, grouped):
        state, asked = desk.state(), []
        while state["question"]:
            asked.append(pair_of(state))
            truth = grouped.group_of[asked[-1][0]] == grouped.group_of[asked[-1][1]]
            state = judge(desk, state, "same lesion" if truth else "different lesions")
        assert len(asked) == len(set(asked)) == 9
        assert state["mayStop"]
        assert members(desk, "confirmed") == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]

    def test_groups_that_an_answer_joined_are_asked_about_no_more(self, desk):
        state = desk.answer(new_id(), "same lesion", [list(range(9))], 0)
        assert state["question"] is None
        assert members(desk) == [[*range(9)]]

    def test_the_columns_of_evidence_are_shown_and_no_others(self, desk):
        photograph = desk.state()["question"]["photographs"][0]
        assert photograph["said"] == "site: back"
        assert "secret" not in str(desk.state()) + str(desk.groups("shared", 0))

    def test_photographs_whose_answers_contradict_each_other_are_asked_about_first(self, desk, grouped, ledger):
        parts = ((grouped.hashes[0], grouped.hashes[1]),)
        ledger.append(Answer(verdict="same lesion", parts=parts))
        ledger.append(Answer(verdict="different lesions", parts=tuple((photograph,) for photograph in parts[0])))
        state = desk.state()
        assert pair_of(state) == (0, 1)
        assert state["contradictory"] == 2
        assert judge(desk, state)["contradictory"] == 0

    def test_answers_about_other_photographs_are_counted(self, desk, ledger):
        ledger.append(Answer(verdict="same lesion", parts=(("e" * 64, "f" * 64),)))
        assert desk.state()["elsewhere"] == 1

    def test_answers_hold_for_photographs_of_other_names(self, desk, tmp_path, ledger):
        state = judge(desk, desk.state())
        renamed = make_grouped(tmp_path / "renamed", 9)
        assert Desk(renamed, ledger, "Bo").state()["left"] == state["left"]

    def test_copies_of_one_file_are_one_photograph(self, tmp_path, ledger):
        desk = Desk(make_grouped(tmp_path / "copies", 9, n_different=4), ledger, "Ada")
        state, asked = desk.state(), []
        while state["question"]:
            asked.append(pair_of(state))
            state = judge(desk, state, "cannot tell")
        assert asked
        assert len(asked) == len(set(asked))
        assert max(max(pair) for pair in asked) < 4

    def test_known_lesions_are_joined_and_not_asked_about(self, tmp_path, ledger):
        grouped = make_grouped(tmp_path / "known", 9, n_known=3)
        desk = Desk(grouped, ledger, "Ada")
        assert len(set(grouped.group_of[-3:])) == 1
        assert members(desk) == [[0, 1, 2], [3, 4, 5]]
        state = desk.answer(new_id(), "same lesion", [[5, 6]], 0)
        assert members(desk) == [[0, 1, 2], [3, 4, 5, 6, 7, 8]]
        assert max(pair_of(state)) < 6


class TestAnswers:
    def test_an_answer_is_in_the_ledger_before_the_next_question_appears(self, desk, grouped, ledger):
        state = desk.state()
        judge(desk, state)
        (answer,) = read_answers(ledger.path)
        assert answer.parts == tuple((grouped.hashes[row],) for row in pair_of(state))
        assert (answer.reviewer, answer.shown.model, answer.shown.cut) == ("Ada", "resnet18, triplet", 0.3)
        assert answer.shown.probability == 0.3
        assert answer.reason == MERGER

    def test_an_answer_that_is_sent_twice_is_one(self, desk, ledger):
        state, answer_id = desk.state(), new_id()
        assert judge(desk, state, answer_id=answer_id) == judge(desk, state, answer_id=answer_id)
        assert len(ledger.answers()) == 1

    def test_the_second_of_two_tabs_that_answer_one_question_is_told_so(self, desk, ledger):
        state = desk.state()
        judge(desk, state)
        with pytest.raises(StaleError):
            judge(desk, state, "same lesion")
        assert len(ledger.answers()) == 1

    def test_two_tabs_with_different_questions_both_answer(self, desk, ledger):
        state = desk.state()
        judge(desk, state)
        desk.answer(new_id(), "different lesions", [[0], [1]], state["seen"])
        assert len(ledger.answers()) == 2

    def test_undo_asks_the_same_question_again(self, desk, ledger):
        state = desk.state()
        after = judge(desk, state)
        again = desk.undo(new_id(), after["last"]["answerId"])
        assert pair_of(again) == pair_of(state)
        assert (again["answered"], again["last"]) == (0, None)
        desk.undo(new_id(), after["last"]["answerId"])
        assert [answer.verdict for answer in ledger.answers()] == ["different lesions", "undo"]

    def test_nothing_is_undone_that_was_never_answered(self, desk):
        with pytest.raises(NotAnAnswerError, match="no such answer"):
            desk.undo(new_id(), new_id())

    def test_copies_of_one_file_are_no_question(self, desk):
        with pytest.raises(NotAnAnswerError, match="copies of one file"):
            desk.answer(new_id(), "same lesion", [[4, 4]], 0)


class TestGroups:
    def test_are_those_of_the_run_at_first(self, desk):
        assert members(desk) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]

    def test_confirming_is_one_answer(self, desk, ledger):
        desk.answer(new_id(), "same lesion", [[0, 1, 2]], 0)
        assert members(desk, "confirmed") == [[0, 1, 2]]
        assert len(ledger.answers()) == 1

    def test_what_is_split_off_is_a_group_of_its_own(self, desk):
        desk.answer(new_id(), "different lesions", [[0], [1, 2]], 0)
        assert (members(desk), members(desk, "alone")) == ([[1, 2], [3, 4, 5], [6, 7, 8]], [[0]])

    def test_what_moves_leaves_one_group_and_joins_another(self, desk):
        desk.answer(new_id(), "different lesions", [[0, 1], [2, 3, 4, 5]], 0)
        assert members(desk) == [[0, 1], [2, 3, 4, 5], [6, 7, 8]]

    def test_merged_groups_are_one_and_undo_parts_them(self, desk):
        state = desk.answer(new_id(), "same lesion", [[0, 1, 2, 6, 7, 8]], 0)
        assert members(desk) == [[0, 1, 2, 6, 7, 8], [3, 4, 5]]
        desk.undo(new_id(), state["last"]["answerId"])
        assert members(desk) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]

    def test_an_act_on_groups_that_have_changed_is_refused(self, desk, ledger):
        desk.answer(new_id(), "different lesions", [[0], [1, 2]], 0)
        with pytest.raises(StaleError):
            desk.answer(new_id(), "same lesion", [[0, 1, 2]], 0)
        assert len(ledger.answers()) == 1

    def test_those_to_be_checked_come_first(self, tmp_path, ledger):
        desk = Desk(make_grouped(tmp_path / "doubtful", doubts=("Unsure.",)), ledger, "Ada")
        assert members(desk, "check") == [[0, 1, 2]]
        assert desk.groups("shared", 0)["groups"][0]["doubts"] == ["Unsure."]

    def test_pages_end_where_the_groups_do(self, tmp_path, ledger):
        desk = Desk(make_grouped(tmp_path / "many", 60, group_size=2), ledger, "Ada")
        assert [len(desk.groups("shared", page)["groups"]) for page in (0, 1, 7)] == [24, 6, 6]


class TestCertificate:
    def answer_sample(self, desk, grouped, n=10**6):
        """Answer so many questions of the sample as the run grouped the photographs, and return the last state."""
        state = desk.state("sample")
        for _ in range(n):
            if state["question"] is None:
                break
            first, second = pair_of(state)
            is_same = grouped.group_of[first] == grouped.group_of[second]
            parts = [[first, second]] if is_same else [[first], [second]]
            verdict = "same lesion" if is_same else "different lesions"
            state = desk.answer(new_id(), verdict, parts, state["seen"], "sample")
        return state

    def test_pairs_are_drawn_and_asked_without_what_the_model_thinks(self, desk, ledger):
        state = desk.state("sample")
        assert state["sample"] == {"why": "", "drawn": 11, "answered": 0, "since": 0}
        assert desk.certificate() == {"found": None}
        assert set(state["question"]) == {"photographs", "reason"}
        assert all(set(each) == {"row", "name", "said", "lesion"} for each in state["question"]["photographs"])
        first, second = pair_of(state)
        desk.answer(new_id(), "different lesions", [[first], [second]], 0, "sample")
        (answer,) = ledger.answers()
        assert answer.reason.startswith(SAMPLED)
        assert answer.shown.probability is None

    def test_all_answers_make_a_certificate_that_a_restart_knows(self, desk, grouped, ledger):
        state = self.answer_sample(desk, grouped)
        assert state["sample"]["answered"] == state["sample"]["drawn"] == 11
        found = desk.certificate()["found"]
        assert (found["n_sampled"], found["n_drawn"], found["n_census"]) == (11, 11, 0)
        assert found["f1"]["low"] < found["f1"]["value"]
        assert Desk(grouped, ledger, "Bo").certificate()["found"] == found

    def test_an_answer_that_disagrees_is_asked_for_again_at_once(self, desk, grouped):
        state = desk.state("sample")
        first, second = pair_of(state)
        is_same = grouped.group_of[first] == grouped.group_of[second]
        parts = [[first], [second]] if is_same else [[first, second]]
        again = desk.answer(new_id(), "different lesions" if is_same else "same lesion", parts, 0, "sample")
        assert pair_of(again) == (first, second)
        assert pair_of(self.answer_sample(desk, grouped, 1)) != (first, second)

    def test_the_queue_may_go_on_and_the_sample_stays_what_it_is(self, desk, grouped):
        self.answer_sample(desk, grouped, 5)
        found, question = desk.certificate(), pair_of(desk.state("sample"))
        judge(desk, desk.state())
        desk.answer(new_id(), "different lesions", [[0], [1, 2]], 6)
        state = desk.state("sample")
        assert (state["sample"]["answered"], state["sample"]["since"], pair_of(state)) == (5, 2, question)
        assert desk.certificate() == found

    def test_undo_takes_back_answers_of_the_sample_only(self, desk, grouped):
        judge(desk, desk.state())
        assert desk.state("sample")["last"] is None
        state = self.answer_sample(desk, grouped, 2)
        question = pair_of(state)
        undone = desk.undo(new_id(), state["last"]["answerId"], "sample")
        assert (undone["sample"]["answered"], pair_of(undone) == question) == (1, False)
        assert pair_of(self.answer_sample(desk, grouped, 1)) == question

    def test_groups_that_obey_the_ledger_are_certified_until_an_answer_is_taken_back(self, grouped, ledger):
        parts = ((grouped.hashes[0], grouped.hashes[1]),)
        told = Answer(verdict="same lesion", parts=parts)
        ledger.append(told)
        answers = {"obeyed": 1, "elsewhere": 0, "pairs_together": 1, "pairs_apart": 0, "contradictory": 0, "read": 1}
        desk = Desk(replace(grouped, document={**grouped.document, "answers": answers}), ledger, "Ada")
        assert desk.state("sample")["sample"] == {"why": "", "drawn": 10, "answered": 0, "since": 0}
        ledger.append(Answer(verdict="undo", undoes=told.answer_id))
        state = desk.state("sample")
        assert (state["question"], "kedro group" in state["sample"]["why"]) == (None, True)
        assert desk.certificate() == {"found": None}

    def test_known_lesions_have_none_and_the_page_says_so(self, tmp_path, ledger):
        state = Desk(make_grouped(tmp_path / "known", 9, n_known=3), ledger, "Ada").state("sample")
        assert (state["question"], state["last"]) == (None, None)
        assert "known lesions" in state["sample"]["why"]


def test_every_answer_obeyed_in_any_order_gives_the_same_groups(grouped, tmp_path):
    random = np.random.default_rng(0)
    answers = [
        Answer(verdict="same lesion", parts=((grouped.hashes[2], grouped.hashes[3]),)),
        Answer(verdict="different lesions", parts=((grouped.hashes[0],), (grouped.hashes[1],))),
        Answer(verdict="different lesions", parts=((grouped.hashes[4], grouped.hashes[7]), (grouped.hashes[8],))),
    ]
    found = set()
    for number in range(4):
        with closing(Ledger(tmp_path / f"{number}.sqlite")) as ledger:
            for place in random.permutation(3):
                ledger.append(answers[place])
            found.add(str(members(Desk(grouped, ledger, "Ada"))))
    assert len(found) == 1
