"""Labels of a study that answers correct."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from skinbit.decisions.labels import correct_labels
from tests.decisions.test_verdicts import PHOTOGRAPHS, different, ledgers, same


def corrected(labels: str, *answers) -> str:
    """Return the labels of photographs, one letter each, as answers correct them; a dot is none, ? a new one."""
    lesions = ["" if label == "." else label for label in labels]
    found = correct_labels(lesions, PHOTOGRAPHS[: len(labels)], answers).lesion_ids
    return "".join("?" if lesion.startswith("reviewed_") else lesion or "." for lesion in found)


class TestCorrections:
    def test_lesions_that_answers_join_take_the_label_of_most_photographs_and_all_follow(self):
        assert corrected("aabbbc", same(0, 2)) == "bbbbbc"
        assert corrected("aabb", same(1, 3)) == "aaaa"

    def test_answers_join_along_chains_also_through_photographs_that_are_not_here(self):
        assert corrected("ab", same(0, 5), same(5, 1)) == "aa"

    def test_a_lesion_is_split_where_answers_leave_one_way(self):
        assert corrected("aab", different((0,), (1,))) == "a?b" or corrected("aab", different((0,), (1,))) == "?ab"
        assert corrected("aaab", same(0, 1), different((1,), (2,))) == "aa?b"
        assert corrected("aaab", different((0,), (1,)), different((0,), (2,))) == "?aab"

    def test_a_lesion_stays_where_answers_do_not_say_where_a_photograph_belongs(self):
        found = correct_labels(["a", "a", "a", "b"], PHOTOGRAPHS[:4], [different((0,), (1,))])
        assert (found.lesion_ids, found.undecided) == (["a", "a", "a", "b"], ("a",))

    def test_lesions_that_cannot_be_one_and_cannot_be_parted_stay(self):
        answers = [same(0, 2), different((1,), (3,))]
        found = correct_labels(["a", "a", "b", "b"], PHOTOGRAPHS[:4], answers)
        assert (found.lesion_ids, found.undecided) == (["a", "a", "b", "b"], ("a", "b"))

    def test_a_photograph_moves_to_the_lesion_that_answers_name(self):
        assert corrected("aaabb", different((0,), (1, 2)), same(0, 3)) == "baabb"

    def test_photographs_without_a_label_get_that_of_their_partners_or_a_new_one(self):
        assert corrected("a.b...", same(0, 1), same(3, 4)) == "aab??."

    def test_contradictory_answers_correct_nothing(self):
        found = correct_labels(["a", "b"], PHOTOGRAPHS[:2], [same(0, 1), different((0,), (1,))])
        assert (found.lesion_ids, found.verdicts.contradictory) == (["a", "b"], (0, 1))

    @given(ledgers(), st.text("abc.", min_size=5, max_size=5), st.permutations(range(5)))
    def test_no_order_matters_and_decided_lesions_obey_every_answer(self, answers, labels, order):
        lesions = ["" if label == "." else label for label in labels]
        found = correct_labels(lesions, PHOTOGRAPHS[:5], answers)
        turned = correct_labels([lesions[row] for row in order], [PHOTOGRAPHS[row] for row in order], answers[::-1])
        assert turned.lesion_ids == [found.lesion_ids[row] for row in order]
        assert turned.undecided == found.undecided
        named = found.lesion_ids
        decided = {row for row in range(5) if named[row] not in found.undecided}
        assert all(named[a] == named[b] != "" for a, b in found.verdicts.must if {a, b} <= decided)
        assert all(named[a] != named[b] or not named[a] for a, b in found.verdicts.cannot if {a, b} <= decided)
        told = {row for pair in (*found.verdicts.must, *found.verdicts.cannot) for row in pair}
        apart = [{row for row in range(5) if lesions[row] == label} for label in set(labels) - {"."}]
        untouched = set().union(*(rows for rows in apart if not rows & told))
        assert all(named[row] == lesions[row] for row in untouched)
        pairs = combinations(sorted(untouched), 2)
        assert all((named[a] == named[b]) == (lesions[a] == lesions[b]) for a, b in pairs)
