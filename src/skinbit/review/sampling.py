"""The sample of a run's groups: what is drawn from them, and how far its questions are."""

from collections.abc import Sequence
from typing import Any

from skinbit.decisions.answers import Answer
from skinbit.decisions.certified import Sample, obeyed_answers
from skinbit.decisions.queue import Question
from skinbit.decisions.verdicts import heard_answers, weigh_answers
from skinbit.review.grouped import Grouped

_NO_CERTIFICATE = (
    "There is no certificate of groups around known lesions, or of a model that does not know how probable pairs are."
)
_OTHER_ANSWERS = (
    "The groups obey answers that are not in this ledger, or were taken back since. Run `kedro group` again, then "
    "`kedro review`."
)


class Sampling:
    """Draws from the groups of a run, and draws anew only where the answers that they obey are others."""

    def __init__(self, grouped: Grouped) -> None:
        """Take the groups; nothing is drawn yet."""
        self._grouped, self._frozen = grouped, grouped.frozen
        self._n_obeyed = (grouped.document["answers"] or {"obeyed": 0})["obeyed"]
        self._census: list[str] | None = None
        self._sample: Sample | None = None

    def sample(self, answers: Sequence[Answer]) -> Sample | None:
        """Return what is drawn; None where nothing can be certified.

        Args:
            answers: All of a ledger.
        """
        if self._frozen is None:
            return None
        census = obeyed_answers(answers, self._frozen.n_obeyed)
        ids = [answer.answer_id for answer in census]
        if self._census != ids:
            is_obeyed = weigh_answers(census, self._grouped.hashes).n_obeyed == self._n_obeyed
            self._census, self._sample = ids, Sample(self._frozen, answers) if is_obeyed else None
        return self._sample

    def questions(self, answers: Sequence[Answer], n: int) -> list[Question]:
        """Return the next questions of the sample."""
        sample = self.sample(answers)
        return [] if sample is None else sample.questions(answers, n)

    def answered(self, answers: Sequence[Answer]) -> list[Answer]:
        """Return the answers to its questions."""
        sample = self.sample(answers)
        return [] if sample is None else sample.answered(answers)

    def progress(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return how many of the drawn pairs were answered, and how many other answers came since, in plain values.

        Where nothing can be certified, ``why`` says why.
        """
        sample = self.sample(answers)
        if sample is None:
            return {"why": _NO_CERTIFICATE if self._frozen is None else _OTHER_ANSWERS}
        sampled = sample.answered(answers)
        return {
            "why": "",
            "drawn": sample.n_drawn,
            "answered": sample.n_answered(sampled),
            "since": len(heard_answers(answers)) - len(self._census or ()) - len(sampled),
        }
