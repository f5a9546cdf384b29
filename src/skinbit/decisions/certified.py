"""From the answers of a ledger to a certificate: which of them are a sample, and what they say of pairs of rows."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from skinbit.decisions.answers import CANNOT_TELL as UNSURE
from skinbit.decisions.answers import SAME as TOGETHER
from skinbit.decisions.answers import Answer
from skinbit.decisions.queue import Question
from skinbit.decisions.verdicts import heard_answers
from skinbit.matching.expected.candidates import CANNOT_TELL, DIFFERENT, SAME, Candidates, Said
from skinbit.matching.expected.certificate import Certificate, Plan, certify, plan_sample
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import LabelArray

SAMPLED = "drawn for the certificate"
"""Reason of answers that are a sample."""


def before_the_sample(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers that count as a census: groups that are certified obey these, and no other ones."""
    return [answer for answer in heard_answers(answers) if answer.reason != SAMPLED]


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


def next_of_sample(plan: Plan, sampled: Said, candidates: Candidates) -> Question | None:
    """Return the next question of a sample; None where all are answered.

    A pair about which the first answer disagrees with the groups is asked again at once.

    Args:
        plan: Of the sample.
        sampled: What was said of its pairs.
        candidates: That the plan was made of.
    """
    for (first, second), is_joined in zip(plan.pairs.tolist(), plan.is_joined.tolist(), strict=True):
        told = sampled.verdicts[(sampled.pairs == (first, second)).all(axis=1)].tolist()
        if not told or told == [DIFFERENT if is_joined else SAME]:
            found = candidates.probabilities[(candidates.pairs == (first, second)).all(axis=1)]
            return Question((first, second), SAMPLED, float(found.max(initial=0.0)))
    return None


def certify_answers(
    groups: LabelArray, candidates: Candidates, answers: Sequence[Answer], hashes: Sequence[str], prior: PoolPrior
) -> tuple[Certificate | None, Question | None]:
    """Return the certificate of groups, and the next question of its sample.

    Args:
        groups: ``(n,)``; they obey :func:`before_the_sample` and no other answers.
        candidates: Of the pool.
        answers: All of a ledger.
        hashes: ``n``, the SHA-256 of each photograph.
        prior: What the pool and the folds say of pairs that no sample reaches.
    """
    census = said_of(before_the_sample(answers), hashes)
    sampled = said_of([answer for answer in heard_answers(answers) if answer.reason == SAMPLED], hashes)
    plan = plan_sample(groups, candidates, census)
    return certify(groups, candidates, census, plan, sampled, prior), next_of_sample(plan, sampled, candidates)
