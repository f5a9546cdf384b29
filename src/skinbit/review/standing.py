"""Where a review stands: the groups as answers leave them, and how much the next answers may change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skinbit.decisions.queue import REPEAT, Groups, Question, Queue
from skinbit.decisions.verdicts import Verdicts
from skinbit.matching.expected.candidates import Said
from skinbit.matching.labels import LabelArray
from skinbit.review.grouped import Grouped

_NEXT, _CHANGES = 20, 0.145
"""Enough is asked where of so many next answers fewer changes are expected: none at all with 87 % (Crall's rule)."""

_WORTH = 0.01
"""Probability of a change from which on a question counts as left."""


@dataclass(frozen=True)
class Standing:
    """Where a review stands.

    Attributes:
        groups: ``(n,)`` the group of each photograph, by any number, with answers obeyed.
        settled: ``(n,)`` likewise, of what answers and known lesions alone join.
        questions: The next ones, the first of them first.
        n_left: Pairs of groups, and links within groups, that one answer might still change.
        may_stop: Whether their answers will hardly change a group.
    """

    groups: LabelArray
    settled: LabelArray
    questions: tuple[Question, ...]
    n_left: int
    may_stop: bool


def stand(grouped: Grouped, queue: Queue, verdicts: Verdicts, said: Said) -> Standing:
    """Return where a review stands.

    The groups are those of the run, whose pairs merge one after another, the most probable first, unless an answer
    keeps the two groups apart; photographs that must be together are so from the start.

    Args:
        grouped: What the run made.
        queue: Of its candidates.
        verdicts: What answers and known lesions say.
        said: What was said of single pairs.
    """
    groups = Groups(len(grouped.lesions), verdicts)
    settled = groups.roots()
    candidates = grouped.candidates
    pairs, p = candidates.pairs, candidates.probabilities
    is_inside = grouped.group_of[pairs[:, 0]] == grouped.group_of[pairs[:, 1]]
    is_link = np.zeros(len(pairs), dtype=bool)
    for place in np.flatnonzero(is_inside).tolist():
        is_link[place] = groups.merge(*pairs[place].tolist()) > 0
    roots = groups.roots()
    between = np.sort(roots[pairs], axis=1) @ np.array([len(roots), 1])
    is_asked = np.isin(pairs @ np.array([len(roots), 1]), said.pairs @ np.array([len(roots), 1]))
    is_open = (roots[pairs[:, 0]] != roots[pairs[:, 1]]) & ~np.isin(between, groups.keys_apart())
    n_left = int((is_link & (1.0 - p >= _WORTH) & ~is_asked).sum())
    n_left += len(np.unique(between[is_open & (p >= _WORTH) & ~is_asked]))
    questions = queue.questions(verdicts, said, _NEXT)
    if all(question.reason == REPEAT for question in questions):  # agreement alone is no reason to go on
        questions = []
    may_stop = _expected_changes(questions, grouped) < _CHANGES
    return Standing(roots, settled, tuple(questions), n_left, may_stop)


def _expected_changes(questions: Sequence[Question], grouped: Grouped) -> float:
    changes = [
        1.0 - question.probability if is_inside else question.probability
        for question in questions
        if question.reason != REPEAT
        for is_inside in [bool(np.diff(grouped.group_of[list(question.rows)])[0] == 0)]
    ]
    return float(sum(changes))
