"""The desk of a reviewer: what is asked, what was answered, and every answer on its way into the ledger."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from pydantic import ValidationError

from skinbit.config.block import in_words
from skinbit.decisions.answers import MAX_PHOTOGRAPHS, UNDO, Answer, Shown, Verdict
from skinbit.decisions.certified import SAMPLED, said_of
from skinbit.decisions.ledger import Ledger
from skinbit.decisions.queue import Question, Queue
from skinbit.decisions.verdicts import Verdicts, heard_answers, weigh_answers
from skinbit.review.grouped import Grouped, Rows
from skinbit.review.sampling import Sampling
from skinbit.review.standing import Standing, stand

Plain = dict[str, Any]
"""What the page reads: plain values."""

_TAKEN_BACK = "its answer was taken back"
_BY_GROUP = "The person looked at whole groups."

PER_PAGE = 24
"""Groups on a page."""

View = Literal["queue", "sample"]
"""What a page asks about: what changes the groups most, or pairs that are drawn for the certificate."""


class StaleError(Exception):
    """What a page asks to write down rests on something that was answered meanwhile, in another tab for example."""


class NotAnAnswerError(ValueError):
    """What a page asks to write down cannot be an answer."""


@dataclass(frozen=True)
class _Seen:
    """The answers so far, and those among them that are about photographs at hand and were not undone."""

    answers: tuple[Answer, ...]
    active: list[Answer]


class Desk:
    """One ledger and one set of groups; safe to use from several threads."""

    def __init__(self, grouped: Grouped, ledger: Ledger, reviewer: str) -> None:
        """Sit down.

        Args:
            grouped: What is reviewed.
            ledger: Where answers go.
            reviewer: Who answers.
        """
        self._grouped, self._ledger, self._reviewer = grouped, ledger, reviewer
        self._lock = Lock()
        self._queue = Queue(grouped.group_of, grouped.candidates)
        self._asked: dict[tuple[View, Rows], Question] = {}
        self._sampling = Sampling(grouped)
        self._seen: _Seen | None = None
        self._stood: tuple[_Seen, Verdicts, Standing] | None = None

    def state(self, view: View = "queue") -> Plain:
        """Return the next question, and how far the review is.

        Args:
            view: What is asked about.
        """
        with self._lock:
            return self._state(view)

    def answer(
        self, answer_id: str, verdict: Verdict, parts: Sequence[Sequence[int]], n_seen: int, view: View = "queue"
    ) -> Plain:
        """Write an answer down, and return the next question once it is on disk.

        Args:
            answer_id: Of the page: what it sends twice is written once.
            verdict: Not *undo*.
            parts: Rows of photographs.
            n_seen: Number of answers that the page knew of.
            view: What the page asks about.

        Raises:
            StaleError: If the pair, or a group, is no longer what the page shows; nothing is written then.
            NotAnAnswerError: If verdict and photographs do not fit each other.
            InputError: If the ledger cannot be written.
        """
        with self._lock:
            seen = self._look()
            if all(answer.answer_id != answer_id for answer in seen.answers):
                self._refuse_stale(seen, parts, n_seen)
                self._ledger.append(self._answer(answer_id, verdict, parts, view))
            return self._state(view)

    def undo(self, answer_id: str, undoes: str, view: View = "queue") -> Plain:
        """Take an answer back, if nobody has done so, and return its question.

        Raises:
            NotAnAnswerError: If there is no such answer.
            InputError: If the ledger cannot be written.
        """
        with self._lock:
            seen = self._look()
            undone = next((answer for answer in seen.answers if answer.answer_id == undoes), None)
            if undone is None:
                raise NotAnAnswerError("There is no such answer.")
            if undone in seen.active:
                self._ledger.append(Answer(answer_id=answer_id, verdict=UNDO, undoes=undoes, reviewer=self._reviewer))
            rows = self._rows_of(undone)
            return self._state(view, (rows[0], rows[1]) if len(rows) == 2 and view == "queue" else None)

    def certificate(self) -> Plain:
        """Return what the answers about drawn pairs say so far: ``found``, None where that is nothing.

        It takes longer than the next question, and does not hold it up.
        """
        with self._lock:
            seen = self._look()
            sample = self._sampling.sample(seen.answers)
        found = None if sample is None else sample.certify(seen.answers)
        return {"found": None if found is None else found.model_dump(mode="json")}

    def groups(self, which: str, page: int) -> Plain:
        """Return a page of the groups as answers leave them; those to be checked come first.

        Args:
            which: ``check``, ``shared`` (two photographs and more), ``alone`` or ``confirmed``.
            page: From 0 on.
        """
        with self._lock:
            seen = self._look()
            _, standing = self._stand(seen)
        grouped = self._grouped
        cards = [
            self._card(rows, standing) for rows in _members(standing) if not all(grouped.lesions[row] for row in rows)
        ]
        kinds = {
            "check": [card for card in cards if card["doubts"] and not card["confirmed"]],
            "shared": [card for card in cards if len(card["rows"]) > 1],
            "alone": [card for card in cards if len(card["rows"]) == 1],
            "confirmed": [card for card in cards if card["confirmed"]],
        }
        chosen = sorted(
            kinds[which], key=lambda card: (card["confirmed"], not card["doubts"], card["sure"], card["number"])
        )
        n_pages = max(1, math.ceil(len(chosen) / PER_PAGE))
        start = min(page, n_pages - 1) * PER_PAGE
        return {
            "groups": [
                card | {"photographs": [self._photograph(row) for row in card["rows"]]}
                for card in chosen[start : start + PER_PAGE]
            ],
            "page": start // PER_PAGE,
            "pages": n_pages,
            "counts": {kind: len(found) for kind, found in kinds.items()},
            "seen": len(seen.answers),
            "last": self._last(seen.active),
        }

    def confirmed(self) -> list[list[int]]:
        """Return the rows of every group that answers and known lesions alone hold together."""
        with self._lock:
            _, standing = self._stand(self._look())
        return [rows for rows in _members(standing) if _is_confirmed(rows, standing)]

    def _look(self) -> _Seen:
        """Return the answers, those of other processes included."""
        answers = self._ledger.answers()
        if self._seen is None or len(self._seen.answers) != len(answers):
            active = [answer for answer in heard_answers(answers) if len(self._rows_of(answer)) > 1]
            self._seen = _Seen(answers, active)
        return self._seen

    def _stand(self, seen: _Seen) -> tuple[Verdicts, Standing]:
        """Return what follows from the answers."""
        if self._stood is None or self._stood[0] is not seen:
            verdicts = weigh_answers(seen.answers, self._grouped.hashes, self._grouped.known)
            joined = verdicts.model_copy(update={"must": (*self._grouped.joined.tolist(), *verdicts.must)})
            standing = stand(self._queue, joined, said_of(seen.active, self._grouped.hashes))
            self._stood = seen, verdicts, standing
        return self._stood[1:]

    def _rows_of(self, answer: Answer) -> list[int]:
        photographs = (photograph for part in answer.parts for photograph in part)
        row_of = self._grouped.row_of
        return sorted(row_of[photograph] for photograph in photographs if photograph in row_of)

    def _refuse_stale(self, seen: _Seen, parts: Sequence[Sequence[int]], n_seen: int) -> None:
        """Refuse an act on groups that are others by now, and a pair that was answered meanwhile."""
        rows = sorted(row for part in parts for row in part)
        since = [answer for answer in seen.answers[n_seen:] if answer in seen.active]
        if (len(rows) > 2 and n_seen != len(seen.answers)) or any(self._rows_of(answer) == rows for answer in since):
            raise StaleError

    def _answer(self, answer_id: str, verdict: Verdict, parts: Sequence[Sequence[int]], view: View) -> Answer:
        rows = tuple(sorted(row for part in parts for row in part))
        question = self._asked.get((view, (rows[0], rows[-1]))) if len(rows) == 2 else None
        hashes = self._grouped.hashes
        named = tuple(tuple(dict.fromkeys(hashes[row] for row in part)) for part in parts)
        if len({photograph for part in named for photograph in part}) < 2:
            raise NotAnAnswerError("These are copies of one file, which show one lesion.")
        probability = math.nan if question is None else question.probability
        shown = Shown(
            model=self._grouped.model,
            probability=None if math.isnan(probability) else probability,
            cut=self._grouped.document["cut"],
        )
        reason = _BY_GROUP if question is None else question.reason
        try:
            return Answer(
                answer_id=answer_id, verdict=verdict, parts=named, reviewer=self._reviewer, shown=shown, reason=reason
            )
        except ValidationError as error:
            raise NotAnAnswerError(in_words(error)) from error

    def _state(self, view: View, first: Rows | None = None) -> Plain:
        """Return the next question of a view, and how far the review is.

        Args:
            view: What is asked about.
            first: A pair of the queue to ask about before all others.
        """
        seen = self._look()
        if view == "sample":
            questions = self._sampling.questions(seen.answers, 2)
            told = self._of_sample(seen, questions[:1])
        else:
            questions = list(self._stand(seen)[1].questions)
            if first is not None:
                again = Question(first, _TAKEN_BACK, self._grouped.probability_of.get(first, math.nan))
                questions = [again, *(question for question in questions if question.rows != first)]
            told = self._of_queue(seen, questions[:1])
        self._asked |= {(view, question.rows): question for question in questions[:1]}
        return {
            "view": view,
            "next": list(questions[1].rows) if len(questions) > 1 else [],
            "seen": len(seen.answers),
            "most": MAX_PHOTOGRAPHS,
            **told,
        }

    def _of_queue(self, seen: _Seen, asked: Sequence[Question]) -> Plain:
        """Return a question, if there is one, and how far the review is."""
        verdicts, standing = self._stand(seen)
        expected = self._grouped.document["expected"] or {}
        return {
            "question": next((self._ask(question, standing) for question in asked), None),
            "answered": len(seen.active),
            "left": standing.n_left,
            "mayStop": standing.may_stop,
            "expected": expected.get("f1"),
            "contradictory": len(verdicts.contradictory),
            "elsewhere": verdicts.n_elsewhere,
            "last": self._last(seen.active),
        }

    def _of_sample(self, seen: _Seen, asked: Sequence[Question]) -> Plain:
        """Return a question, if there is one, without what the model thinks of it, and how far the sample is."""
        shown = ({"photographs": [*map(self._photograph, question.rows)], "reason": SAMPLED} for question in asked)
        return {
            "question": next(shown, None),
            "sample": self._sampling.progress(seen.answers),
            "last": self._last(self._sampling.answered(seen.answers)),
        }

    def _last(self, answers: Sequence[Answer]) -> Plain | None:
        mine = [answer for answer in answers if answer.reviewer == self._reviewer]
        if not mine:
            return None
        names = [self._grouped.names[row] for row in self._rows_of(mine[-1])]
        shown = " and ".join(names) if len(names) == 2 else f"{len(names)} photographs"
        return {"answerId": mine[-1].answer_id, "text": f"{mine[-1].verdict}: {shown}"}

    def _ask(self, question: Question, standing: Standing) -> Plain:
        groups = standing.groups
        rows = [
            self._photograph(row)
            | {"origin": int(self._grouped.group_of[row]), "size": int((groups == groups[row]).sum())}
            for row in question.rows
        ]
        origins = {int(self._grouped.group_of[row]) for row in question.rows}
        return {
            "photographs": rows,
            "reason": question.reason,
            "doubts": [doubt for number in sorted(origins) for doubt in self._group(number).get("doubts", ())],
            "probability": None if math.isnan(question.probability) else question.probability,
            "points": self._grouped.inliers.get(question.rows),
        }

    def _photograph(self, row: int) -> Plain:
        grouped = self._grouped
        return {"row": row, "name": grouped.names[row], "said": grouped.said[row], "lesion": grouped.lesions[row]}

    def _group(self, number: int) -> Mapping[str, Any]:
        """Return a group as the run wrote it down; nothing of a known lesion by itself."""
        groups: Sequence[Mapping[str, Any]] = self._grouped.document["groups"]
        return groups[number] if number < len(groups) else {}

    def _card(self, rows: list[int], standing: Standing) -> Plain:
        grouped = self._grouped
        origins = {int(grouped.group_of[row]) for row in rows}
        is_as_made = len(origins) == 1 and len(rows) == grouped.sizes[min(origins)]
        plain = self._group(min(origins)) if is_as_made else {}
        inside = plain.get("probability_inside")
        return {
            "number": rows[0],
            "origins": sorted(origin for origin in origins if self._group(origin)),
            "rows": rows,
            "doubts": list(plain.get("doubts", ())),
            "inside": inside,
            "outside": plain.get("probability_outside"),
            "edited": not is_as_made,
            "confirmed": _is_confirmed(rows, standing),
            "sure": 1.0 if inside is None else inside,
        }


def _members(standing: Standing) -> list[list[int]]:
    """Return the rows of each group."""
    members: dict[int, list[int]] = {}
    for row, number in enumerate(standing.groups.tolist()):
        members.setdefault(number, []).append(row)
    return [*members.values()]


def _is_confirmed(rows: list[int], standing: Standing) -> bool:
    return len(rows) > 1 and len({int(standing.settled[row]) for row in rows}) == 1
