"""Where a review stands: the groups as answers leave them, what is asked next, and when it is enough."""

from dataclasses import dataclass

from skinbit.decisions.queue import REPEAT, Question, Queue
from skinbit.decisions.verdicts import Verdicts
from skinbit.matching.expected.candidates import Said
from skinbit.matching.labels import LabelArray

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
        n_left: Questions whose answer might still change a group.
        may_stop: Whether the next answers will hardly change a group.
    """

    groups: LabelArray
    settled: LabelArray
    questions: tuple[Question, ...]
    n_left: int
    may_stop: bool


def stand(queue: Queue, verdicts: Verdicts, said: Said) -> Standing:
    """Return where a review stands.

    Args:
        queue: Of what a run made.
        verdicts: What answers and known lesions say.
        said: What was said of single pairs.
    """
    outlook = queue.look(verdicts, said)
    questions = queue.questions(verdicts, said, 2, outlook)
    if all(question.reason == REPEAT for question in questions):  # agreement alone is no reason to go on
        questions = []
    return Standing(
        groups=outlook.groups,
        settled=outlook.settled,
        questions=tuple(questions),
        n_left=int((outlook.changes >= _WORTH).sum()),
        may_stop=bool(outlook.changes[:_NEXT].sum() < _CHANGES) and not verdicts.contradictory,
    )
