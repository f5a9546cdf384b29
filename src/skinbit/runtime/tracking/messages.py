"""What the study tells the tracking process: one JSON document per line."""

import time
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from skinbit.config import TrackingParams

STUDY = ""
"""The address of the study's own run; an experiment's is its name, a fold's is ``{experiment}.fold_{k}``."""


def parent_of(run: str) -> str | None:
    """Give the address of the run that a run is nested in; None for the study's."""
    return None if run == STUDY else run.rpartition(".")[0]


def now() -> int:
    """Give the time, in milliseconds since 1970."""
    return int(time.time() * 1000)


class Metric(NamedTuple):
    """A figure; those of a curve share their name and differ by step."""

    name: str
    value: float
    step: int = 0


class Artifact(NamedTuple):
    """A file to copy."""

    path: str
    folder: str = ""


class Frozen(BaseModel):
    """Base of all that is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Content(Frozen):
    """What is added to one run."""

    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()

    def joined(self, other: "Content") -> "Content":
        """Give the content of both; where both name a parameter or tag, the other's counts."""
        return Content(
            parameters=self.parameters | other.parameters,
            tags=self.tags | other.tags,
            metrics=self.metrics + other.metrics,
            artifacts=self.artifacts + other.artifacts,
        )


class PlannedRun(Frozen):
    """A run that the study will make.

    Attributes:
        title: What people see.
        parameters: Known from the beginning.
        tags: Likewise.
        expected: Datasets that complete the run, those of nested runs included.
    """

    title: str
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    expected: frozenset[str] = frozenset()


class Plan(Frozen):
    """First of all: where to write, and the runs that may come.

    Attributes:
        tracking: Where to write.
        runs: By address.
        tags: Of every run.
        outputs: Stands for the folder that holds the results, without naming it.
        resumes: Whether this run goes on with what an earlier one left there.
    """

    kind: Literal["plan"] = "plan"
    time: int = Field(default_factory=now)
    tracking: TrackingParams
    runs: dict[str, PlannedRun]
    tags: dict[str, str] = {}
    outputs: str
    resumes: bool


class Note(Frozen):
    """Something to add to runs; a run begins with the first note about it.

    Attributes:
        contents: By address of the run.
        dataset: What it was read from; what is told twice about one dataset counts once. None: anything else.
    """

    kind: Literal["note"] = "note"
    time: int = Field(default_factory=now)
    contents: dict[str, Content]
    dataset: str | None = None


class Tags(Frozen):
    """Tags of every run, those that have begun and those that will."""

    kind: Literal["tags"] = "tags"
    time: int = Field(default_factory=now)
    tags: dict[str, str]


class End(Frozen):
    """Last of all: how the study ended."""

    kind: Literal["end"] = "end"
    time: int = Field(default_factory=now)
    failed: bool


Message = Plan | Note | Tags | End

_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def pack_message(message: Message) -> bytes:
    """Write a message as one line."""
    return message.model_dump_json().encode() + b"\n"


def unpack_message(line: bytes) -> Message:
    """Read a message.

    Args:
        line: From :func:`pack_message`.

    Returns:
        The message.

    Raises:
        ValueError: If the line is incomplete, or no message.
    """
    return _MESSAGE.validate_json(line)
