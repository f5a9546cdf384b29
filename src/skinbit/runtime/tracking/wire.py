"""The wire from a study to its tracking process: one JSON document per line, a plan first, then events."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import time_ns

from pydantic import BaseModel, Field

import skinbit
from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import PlannedRun

_LONGEST_WAIT = 120.0
"""Seconds, at the end of a study; afterwards the process goes on alone."""

_OWN = {"mlflow": "mlflow.db (`mlflow ui` shows it)", "wandb": "wandb/ (`wandb sync` uploads it)"}
_PASSWORD = re.compile(r"//[^/@\s]+@")


class Message(BaseModel, frozen=True, extra="forbid"):
    """What plan and events have in common: when they were written, in milliseconds since 1970."""

    time: int = Field(default_factory=lambda: time_ns() // 10**6)

    def to_line(self) -> bytes:
        """Return the message as it goes over the wire."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class Plan(Message):
    """The first message: where to write, and the runs that may come.

    Attributes:
        tracking: Where to write, and what files to copy.
        runs: By address.
        tags: Of every run.
        files: Paths of the datasets that are tracked, by name.
        outputs: Stands for the folder that holds the results, without naming it.
        resumes: Whether the study continues what an earlier one left in that folder.
    """

    tracking: TrackingParams
    runs: dict[str, PlannedRun]
    tags: dict[str, str] = {}
    files: dict[str, str] = {}
    outputs: str
    resumes: bool


class Event(Message):
    """What has happened: a node has begun, or ended if there are ``seconds``; a dataset is there; or the study ended.

    It is short: what workers write at the same time then stays apart.
    """

    node: str | None = None
    seconds: float | None = None
    dataset: str | None = None
    failed: bool | None = None


class TrackingProcess:
    """A tracking process, which threads and forked workers may write to."""

    def __init__(self, project: Path) -> None:
        """Start the process in the project's folder.

        Raises:
            OSError: If it cannot be started.
        """
        package = str(Path(skinbit.__file__).parents[1])  # Kedro may have found it in src/, without installation
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "skinbit.runtime.tracking.process"],
            cwd=project,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the study
        )

    def send(self, message: Message) -> None:
        """Send a message; the process takes in at once whatever comes, so nobody waits for a server here.

        Raises:
            OSError: If the process has ended.
            ValueError: If :meth:`end` was called before.
        """
        wire = self._process.stdin
        assert wire is not None
        wire.write(message.to_line())
        wire.flush()

    def end(self, failed: bool, error: Exception | None = None) -> str | None:
        """Return what went wrong, if anything did, after all is written; in a forked worker, do nothing.

        Args:
            failed: Whether the study did not come to its end.
            error: What went wrong in the study's process; what the tracking process says counts more.
        """
        if os.getpid() != self._owner:
            return None
        with suppress(OSError):  # it may have ended already, and says why
            self.send(Event(failed=failed))
        try:
            reason, _ = self._process.communicate(timeout=_LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            return f"still writing after {_LONGEST_WAIT:.0f} seconds; it goes on by itself"
        if reason:
            return reason.decode()
        if self._process.returncode:
            return f"the tracking process ended with code {self._process.returncode}"
        return f"{type(error).__name__}: {error}" if error else None


def describe_place(tracking: TrackingParams) -> str:
    """Return the place that runs are written to, for people."""
    return _OWN[tracking.backend] if tracking.uri is None else without_password(tracking.uri)


def without_password(text: str) -> str:
    """Return a text without the user names and passwords of the addresses in it."""
    return _PASSWORD.sub("//", text)
