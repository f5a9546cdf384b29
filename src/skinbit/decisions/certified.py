"""From the answers of a ledger to a certificate: which groups are certified, and which answers are a sample of them.

Groups are those of a run, which obeys all answers that the ledger held by then, the census. Of the pairs that these
leave open some are drawn, and asked about; the answers name the groups and how long the ledger was by then in their
reason. So whatever is answered later, in the queue or in a sample of other groups, changes nothing of a certificate.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
from pydantic import NonNegativeInt

from skinbit.decisions.answers import CANNOT_TELL as UNSURE
from skinbit.decisions.answers import SAME as TOGETHER
from skinbit.decisions.answers import Answer
from skinbit.decisions.queue import Question
from skinbit.decisions.verdicts import heard_answers
from skinbit.matching.clustering.merges import number_by_appearance
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME, Candidates, Said
from skinbit.matching.expected.certificate import Certificate, certify, plan_sample
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import LabelArray

SAMPLED = "drawn for the certificate"
"""Beginning of the reason of answers that are a sample."""

_REASON = re.compile(rf"{SAMPLED} of groups [0-9a-f]{{12}} after ([0-9]+) answers")


class CertifiedGroups(Certificate):
    """What a sample says of groups, and when.

    Attributes:
        n_drawn: Pairs that the sample has, answered or not.
        last_answer: When the last one was answered; ISO 8601, UTC.
    """

    n_drawn: NonNegativeInt
    last_answer: str


@dataclass(frozen=True)
class Frozen:
    """Groups to certify.

    Attributes:
        groups: ``(n,)`` the group of each photograph, any numbers.
        candidates: Of the pool.
        hashes: ``n``, the SHA-256 of each photograph.
        prior: What the pool and the folds say of pairs that no sample reaches.
        n_obeyed: So many of the first entries of the ledger they obey, and no others.
    """

    groups: LabelArray
    candidates: Candidates
    hashes: Sequence[str]
    prior: PoolPrior
    n_obeyed: int


class Sample:
    """Pairs that are drawn from groups, and what their answers say. Of copies of one file the first counts."""

    def __init__(self, frozen: Frozen, answers: Sequence[Answer]) -> None:
        """Draw the pairs.

        Args:
            frozen: The groups.
            answers: All of a ledger.
        """
        # In the order of the hashes, so that the names of files do not matter.
        hashes, self._rows = np.unique(np.array(frozen.hashes), return_index=True)
        self._hashes, self._prior = hashes.tolist(), frozen.prior
        self._groups = number_by_appearance(frozen.groups[self._rows])
        self._candidates = _among(frozen.candidates, self._rows, len(frozen.groups))
        self._census = said_of(obeyed_answers(answers, frozen.n_obeyed), self._hashes)
        self._plan = plan_sample(self._groups, self._candidates, self._census)
        named = (",".join(self._hashes).encode(), self._groups.tobytes(), self._plan.pairs.tobytes())
        name = hashlib.sha256(b"|".join(named)).hexdigest()[:12]
        self.reason = f"{SAMPLED} of groups {name} after {frozen.n_obeyed} answers"
        """That answers of this sample have."""

    @property
    def n_drawn(self) -> int:
        """Return how many pairs are drawn."""
        return len(self._plan.pairs)

    def questions(self, answers: Iterable[Answer], n: int = 1) -> list[Question]:
        """Return the next questions, fewer where fewer are left.

        A pair about which the first answer disagrees with the groups is asked again at once. What the model thinks of
        a pair is not told, so that nobody is led by it.

        Args:
            answers: All of a ledger.
            n: How many.
        """
        sampled = said_of(self.answered(answers), self._hashes)
        told: dict[tuple[int, ...], list[int]] = {}
        for pair, verdict in zip(sampled.pairs.tolist(), sampled.verdicts.tolist(), strict=True):
            told.setdefault(tuple(pair), []).append(verdict)
        open_pairs = (
            pair
            for pair, is_joined in zip(self._plan.pairs.tolist(), self._plan.is_joined.tolist(), strict=True)
            if told.get(tuple(pair), []) in ([], [DIFFERENT if is_joined else SAME])
        )
        found = []
        for pair, _ in zip(open_pairs, range(n), strict=False):
            first, second = sorted(self._rows[pair].tolist())
            found.append(Question((first, second), self.reason, nan))
        return found

    def n_answered(self, answers: Iterable[Answer]) -> int:
        """Return how many of the pairs were answered, by a person who could tell or not."""
        return len(np.unique(said_of(self.answered(answers), self._hashes).pairs, axis=0))

    def certify(self, answers: Iterable[Answer]) -> CertifiedGroups | None:
        """Return the certificate; None without an answer of the sample, or where nothing can be said.

        Args:
            answers: All of a ledger.
        """
        answered = self.answered(answers)
        sampled = said_of(answered, self._hashes)
        found = certify(self._groups, self._candidates, self._census, self._plan, sampled, self._prior)
        if found is None:
            return None
        last = max(answer.time for answer in answered)
        return CertifiedGroups(**found.model_dump(), n_drawn=self.n_drawn, last_answer=last)

    def answered(self, answers: Iterable[Answer]) -> list[Answer]:
        """Return the answers to the questions of this sample that were not undone."""
        return [answer for answer in heard_answers(answers) if answer.reason == self.reason]


def last_sample(answers: Iterable[Answer]) -> tuple[str, int] | None:
    """Return the reason of the last answer that is of a sample, and how many answers its groups obey; None: of none."""
    reasons = (_REASON.fullmatch(answer.reason) for answer in reversed(heard_answers(answers)))
    found = next(filter(None, reasons), None)
    return None if found is None else (found[0], int(found[1]))


def obeyed_answers(answers: Sequence[Answer], n_obeyed: int) -> list[Answer]:
    """Return the answers among the first entries of a ledger, without those that were undone, even later."""
    first = {answer.answer_id for answer in answers[:n_obeyed]}
    return [answer for answer in heard_answers(answers) if answer.answer_id in first]


def said_of(answers: Iterable[Answer], hashes: Sequence[str]) -> Said:
    """Return what answers say of pairs of photographs, in the order of the answers.

    Args:
        answers: Any; those that were undone do not count.
        hashes: The SHA-256 of each photograph; of equal files the first row counts.
    """
    row_of = {photograph: row for row, photograph in reversed([*enumerate(hashes)])}
    found = [
        (*sorted((row_of[first], row_of[second])), verdict)
        for answer in heard_answers(answers)
        for first, second, verdict in _pairs(answer)
        if first in row_of and second in row_of
    ]
    rows = np.array(found, dtype=np.int64).reshape(-1, 3)
    return Said(rows[:, :2], rows[:, 2])


def _pairs(answer: Answer) -> list[tuple[str, str, int]]:
    """Return pairs from which all that an answer says follows."""
    within = [(part[0], other, SAME) for part in answer.parts for other in part[1:]]
    if answer.verdict == TOGETHER:
        return within
    verdict = CANNOT_TELL if answer.verdict == UNSURE else DIFFERENT
    return within + [(one[0], other[0], verdict) for one, other in combinations(answer.parts, 2)]


def _among(candidates: Candidates, rows: LabelArray, n_images: int) -> Candidates:
    """Return the candidates among some rows, by their places there."""
    place_of = np.full(n_images, -1)
    place_of[rows] = np.arange(len(rows))
    pairs = np.sort(place_of[candidates.pairs], axis=1)
    order = np.lexsort(pairs.T[::-1])
    order = order[pairs[order, 0] >= 0]
    return Candidates(pairs[order], candidates.probabilities[order], candidates.inliers[order])
