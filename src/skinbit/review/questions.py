"""Which pair is asked about next, and what the groups are once the answers are obeyed."""

import math
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from skinbit.decisions.verdicts import Verdicts
from skinbit.matching.clustering.merges import root_of
from skinbit.matching.labels import LabelArray, first_of_lesion
from skinbit.review.grouped import Grouped, Link, Rows

_UNKNOWN = 0.25
"""Taken for the probability that a link is wrong, or missing, where none is known."""

_NEXT, _CHANGES = 20, 0.145
"""Enough is asked where of so many next answers fewer changes are expected: none at all with 87 % (Crall's rule)."""


@dataclass(frozen=True)
class Question:
    """A pair of photographs to ask about.

    Attributes:
        rows: The lower one first.
        reason: Why it is asked.
        probability: That both show one lesion; NaN where nothing is known.
        change: Probability that the answer changes a group.
        worth: Pairs of the groups that are expected to change.
    """

    rows: Rows
    reason: str
    probability: float
    change: float = 1.0
    worth: float = math.inf


@dataclass(frozen=True)
class Standing:
    """Where a review stands.

    Attributes:
        groups: ``(n,)`` the group of each photograph, numbered by the first of its photographs; answers are obeyed.
        settled: ``(n,)`` likewise, of photographs that answers and known lesions alone join.
        questions: What is left to ask, the first question first.
    """

    groups: LabelArray
    settled: LabelArray
    questions: tuple[Question, ...]

    @property
    def may_stop(self) -> bool:
        """Whether the next answers will hardly change a group."""
        return sum(question.change for question in self.questions[:_NEXT]) < _CHANGES


def stand(grouped: Grouped, verdicts: Verdicts, asked: Collection[Rows]) -> Standing:
    """Return where a review stands: the groups as answers leave them, and the questions that are left.

    The groups are those of the run, whose links merge one after another, the most probable first, unless an answer
    keeps the two groups apart; photographs that must be together are so from the start. A question is worth the pairs
    that its link decides times the probability that it is wrong, or missing.

    Args:
        grouped: What the run made.
        verdicts: What all answers say, from :func:`skinbit.decisions.verdicts.weigh_answers`.
        asked: Pairs that were answered.
    """
    merged = _Merged(len(grouped.lesions), verdicts)
    for first, second in (*first_of_lesion(grouped.known).tolist(), *verdicts.must):
        merged.merge(first, second)
    settled = merged.numbers()
    kept = []
    for link in grouped.links:
        if link.is_inside:
            n_pairs = merged.merge(*link.rows)
            kept += [(link, n_pairs)] if n_pairs else []
    questions = [_of_link(link, n_pairs) for link, n_pairs in kept if link.rows not in asked]
    questions += _between(merged, grouped, asked)
    again = _contradictory(grouped, verdicts, asked)
    questions.sort(key=lambda question: (-question.worth, question.rows))
    return Standing(merged.numbers(), settled, (*again, *questions))


def _of_link(link: Link, n_pairs: int) -> Question:
    change = _UNKNOWN if math.isnan(link.probability) else 1.0 - link.probability
    reason = f"This link holds a group together: without it {_counted(n_pairs, 'pair')} would come apart."
    return Question(link.rows, reason, link.probability, change, change * n_pairs)


def _between(merged: "_Merged", grouped: Grouped, asked: Collection[Rows]) -> list[Question]:
    """Return the most probable link between every two groups that no answer keeps apart."""
    found: dict[Rows, Question] = {}
    for link in grouped.links:
        one, other = (merged.root(row) for row in link.rows)
        key = (min(one, other), max(one, other))
        if not link.is_inside and link.rows not in asked and key not in found and not merged.is_settled(one, other):
            sizes = merged.sizes[one], merged.sizes[other]
            change = _UNKNOWN if math.isnan(link.probability) else link.probability
            reason = f"Two groups might be one: {_counted(sizes[0], 'photograph')} and {sizes[1]}."
            found[key] = Question(link.rows, reason, link.probability, change, change * sizes[0] * sizes[1])
    return list(found.values())


def _contradictory(grouped: Grouped, verdicts: Verdicts, asked: Collection[Rows]) -> list[Question]:
    parts = set(verdicts.contradictory)
    return [
        Question(rows, "Earlier answers contradict each other.", grouped.probability_of.get(rows, math.nan))
        for rows in sorted(asked)
        if parts.issuperset(rows)
    ]


def _counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


class _Merged:
    """Groups that merge unless answers keep them apart."""

    def __init__(self, n_photographs: int, verdicts: Verdicts) -> None:
        self._parents, self.sizes = list(range(n_photographs)), [1] * n_photographs
        self._apart: dict[int, set[int]] = defaultdict(set)
        for first, second in verdicts.cannot:
            self._apart[first].add(second)
            self._apart[second].add(first)

    def root(self, row: int) -> int:
        return root_of(self._parents, row)

    def is_settled(self, one: int, other: int) -> bool:
        """Whether two groups, named by their roots, are one or are kept apart."""
        return one == other or other in self._apart.get(one, ())

    def merge(self, first: int, second: int) -> int:
        """Merge the groups of two photographs; return how many pairs that joins, 0 where they may not or are one."""
        one, other = sorted((self.root(first), self.root(second)))
        if self.is_settled(one, other):
            return 0
        n_pairs = self.sizes[one] * self.sizes[other]
        self._parents[other] = one
        self.sizes[one] += self.sizes[other]
        for third in self._apart.pop(other, ()):
            self._apart[third].remove(other)
            self._apart[third].add(one)
            self._apart[one].add(third)
        return n_pairs

    def numbers(self) -> LabelArray:
        return np.array([self.root(row) for row in range(len(self._parents))], dtype=np.int64)
