"""What answers say of the photographs at hand: which show one lesion, which do not, and which answers contradict."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from skinbit.config import Block
from skinbit.decisions.answers import CANNOT_TELL, UNDO, Answer
from skinbit.matching.clustering.merges import components
from skinbit.matching.labels import LabelArray, first_of_lesion

Rows = tuple[NonNegativeInt, NonNegativeInt]


class Verdicts(Block):
    """What is known of pairs of photographs; the lower row of each pair comes first.

    Attributes:
        must: The first of several photographs of one lesion with every further one.
        cannot: The first photographs of two such groups, or photographs by themselves, that show different lesions.
        contradictory: Photographs whose answers contradict each other; they are in no pair.
        n_obeyed: Answers that the pairs follow from.
        n_elsewhere: Answers about photographs of which fewer than two are here.
        n_read: Entries of the ledger, those that undo others included.
    """

    must: tuple[Rows, ...] = ()
    cannot: tuple[Rows, ...] = ()
    contradictory: tuple[NonNegativeInt, ...] = ()
    n_obeyed: NonNegativeInt = 0
    n_elsewhere: NonNegativeInt = 0
    n_read: NonNegativeInt = 0

    def as_arrays(self) -> tuple[LabelArray, LabelArray]:
        """Return the rows of both kinds of pairs, ``(m, 2)`` and ``(k, 2)``."""
        must, cannot = (np.array(pairs, dtype=np.int64).reshape(-1, 2) for pairs in (self.must, self.cannot))
        return must, cannot


def weigh_answers(answers: Collection[Answer], hashes: Sequence[str], known: LabelArray | None = None) -> Verdicts:
    """Return what answers say of photographs; the order of the answers does not matter.

    Answers that were undone do not count. A pair goes by the majority of its answers; where they are even, both
    photographs contradict. Photographs of one lesion join, one through another, also through those that are not here.
    All that join so contradict if two of them show different lesions, by an answer or because these are known. Equal
    files are one photograph.

    Args:
        answers: All of a ledger.
        hashes: ``n``, the SHA-256 of each photograph.
        known: ``(n,)`` the known lesion of each photograph, -1 where it has none; None: no photograph has one.
    """
    heard = heard_answers(answers)
    numbers: dict[str, int] = {}
    number_of = np.array([numbers.setdefault(photograph, len(numbers)) for photograph in hashes], dtype=np.int64)
    n_here = len(numbers)
    for answer in heard:
        for photograph in _photographs(answer):
            numbers.setdefault(photograph, len(numbers))
    pairs, majorities = _votes(heard, numbers)
    is_out = np.zeros(len(numbers), dtype=bool)
    is_out[pairs[majorities == 0]] = True
    pairs, majorities = _without(is_out, pairs, majorities)
    is_out[_in_contradiction(pairs, majorities, number_of, known, len(numbers))] = True
    pairs, majorities = _without(is_out, pairs, majorities)
    must, cannot = _between_rows(pairs, majorities, number_of, len(numbers))
    among = [answer for answer in heard if sum(numbers[each] < n_here for each in _photographs(answer)) > 1]
    obeyed = [
        answer
        for answer in among
        if answer.verdict != CANNOT_TELL and not any(is_out[numbers[each]] for each in _photographs(answer))
    ]
    return Verdicts(
        must=_plain(must),
        cannot=_plain(cannot),
        contradictory=tuple(np.flatnonzero(is_out[number_of]).tolist()),
        n_obeyed=len(obeyed),
        n_elsewhere=len(heard) - len(among),
        n_read=len(answers),
    )


def heard_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Return every answer once that was not undone."""
    by_id = {answer.answer_id: answer for answer in answers}
    undone = {answer.undoes for answer in by_id.values()}
    return [answer for answer in by_id.values() if answer.verdict != UNDO and answer.answer_id not in undone]


def _photographs(answer: Answer) -> list[str]:
    return [photograph for part in answer.parts for photograph in part]


def _votes(heard: Sequence[Answer], numbers: Mapping[str, int]) -> tuple[LabelArray, LabelArray]:
    """Return the pairs ``(m, 2)`` that were answered, and by how many more answers each shows one lesion ``(m,)``."""
    counts = Counter(answer.parts for answer in heard if answer.verdict != CANNOT_TELL)
    told = [(parts, [numbers[each] for part in parts for each in part], count) for parts, count in counts.items()]
    # Most answers are about two photographs: they are read at once.
    of_two = [(named, count if len(parts) == 1 else -count) for parts, named, count in told if len(named) == 2]
    ends = [np.array([named for named, _ in of_two], dtype=np.int64).reshape(-1, 2)]
    votes = [np.array([vote for _, vote in of_two], dtype=np.int64)]
    for parts, named, count in told:
        if len(named) > 2:
            part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            first, second = np.triu_indices(len(named), 1)
            ends.append(np.array(named)[np.column_stack([first, second])])
            votes.append(np.where(part_of[first] == part_of[second], count, -count))
    rows = np.sort(np.concatenate(ends), axis=1)
    answered, which = np.unique(rows[:, 0] * len(numbers) + rows[:, 1], return_inverse=True)
    pairs = np.column_stack(np.divmod(answered, max(1, len(numbers))))
    return pairs, np.bincount(which, np.concatenate(votes), len(pairs)).astype(np.int64)


def _without(is_out: NDArray[np.bool_], pairs: LabelArray, majorities: LabelArray) -> tuple[LabelArray, LabelArray]:
    """Return the pairs of photographs whose answers do not contradict each other."""
    remains = ~is_out[pairs].any(axis=1)
    return pairs[remains], majorities[remains]


def _in_contradiction(
    pairs: LabelArray, majorities: LabelArray, number_of: LabelArray, known: LabelArray | None, n_photographs: int
) -> LabelArray:
    """Return the answered photographs that join others from which, or with which others, they must stay apart."""
    known = np.full(len(number_of), -1) if known is None else known
    joined = [pairs[majorities > 0], number_of[first_of_lesion(known)]]
    groups = components(n_photographs, np.concatenate(joined))
    first, second = groups[pairs[majorities < 0]].T
    is_known = known >= 0
    lesions = np.unique(np.column_stack([groups[number_of[is_known]], known[is_known]]), axis=0)
    of_two_lesions = np.flatnonzero(np.bincount(lesions[:, 0]) > 1)
    answered = np.unique(pairs)
    return answered[np.isin(groups[answered], np.append(first[first == second], of_two_lesions))]


def _between_rows(
    pairs: LabelArray, majorities: LabelArray, number_of: LabelArray, n_photographs: int
) -> tuple[LabelArray, LabelArray]:
    """Return what answers that do not contradict each other say of the photographs that are here, by their rows."""
    groups = components(n_photographs, pairs[majorities > 0])
    of_rows = groups[number_of]
    must = first_of_lesion(np.where(np.isin(of_rows, groups[pairs]), of_rows, -1))
    first_rows = np.full(n_photographs, -1)
    first_rows[of_rows[::-1]] = np.arange(len(number_of))[::-1]
    cannot = np.sort(first_rows[groups[pairs[majorities < 0]]], axis=1)
    return must, np.unique(cannot[(cannot >= 0).all(axis=1)], axis=0)


def _plain(pairs: LabelArray) -> tuple[Rows, ...]:
    return tuple((first, second) for first, second in pairs.tolist())
