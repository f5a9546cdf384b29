"""An answer: what a person said about photographs, which are named by the SHA-256 of their bytes."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from skinbit.data.ids import explain_name

Verdict = Literal["same lesion", "different lesions", "cannot tell", "undo"]

SAME: Final = "same lesion"
DIFFERENT: Final = "different lesions"
CANNOT_TELL: Final = "cannot tell"
UNDO: Final = "undo"

MAX_PHOTOGRAPHS = 300
"""In one answer: every pair of them is weighed."""


def new_id() -> str:
    """Return an id that no other answer has."""
    return uuid4().hex


def now() -> str:
    """Return the time as answers have it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_text(text: str) -> str:
    problem = explain_name(text)
    if problem:
        raise ValueError(problem)
    return text


def _check_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
AnswerId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Text = Annotated[str, Field(max_length=500), AfterValidator(_check_text)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_check_time)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )


class Shown(_Frozen):
    """What the person saw beside the photographs.

    Attributes:
        model: Which one grouped them; empty: none.
        probability: That they show one lesion, as the model says.
        cut: At which similarity or distance they were grouped.
    """

    model: Text = ""
    probability: Probability | None = None
    cut: float | None = None


class Answer(_Frozen):
    """One answer.

    Attributes:
        answer_id: Made by whoever asks: an answer that is sent twice is one answer.
        verdict: What the person said.
        parts: SHA-256 of photographs. *same lesion*: one part. *different lesions*: two parts and more; photographs of
            one part show one lesion, those of different parts different ones. *cannot tell*: two parts of one. *undo*:
            none.
        undoes: The answer that *undo* takes back, which is no *undo* itself.
        reviewer: Who answered.
        time: When; ISO 8601, UTC.
        shown: What the person saw.
        reason: Why it was asked.
    """

    answer_id: AnswerId = Field(default_factory=new_id)
    verdict: Verdict
    parts: tuple[tuple[Sha256, ...], ...] = ()
    undoes: AnswerId | None = None
    reviewer: Text = ""
    time: Time = Field(default_factory=now)
    shown: Shown = Shown()
    reason: Text = ""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        sizes = tuple(map(len, self.parts))
        fits = {
            SAME: len(sizes) == 1 and sizes[0] >= 2,
            DIFFERENT: len(sizes) >= 2 and min(sizes) >= 1,
            CANNOT_TELL: sizes == (1, 1),
            UNDO: not sizes,
        }
        if not fits[self.verdict]:
            raise ValueError(f"{self.verdict!r} cannot be said of parts of {list(sizes)} photographs")
        if (self.undoes is not None) != (self.verdict == UNDO):
            raise ValueError("an undo, and nothing else, names the answer that it undoes")
        if sum(sizes) > MAX_PHOTOGRAPHS:
            raise ValueError(f"one answer can be about {MAX_PHOTOGRAPHS:,} photographs at most")
        if len({photograph for part in self.parts for photograph in part}) < sum(sizes):
            raise ValueError("a photograph is named twice")
        return self
