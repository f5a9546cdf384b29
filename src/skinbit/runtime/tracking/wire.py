"""Messages from a study to its tracking process: one JSON document per line, first a plan, then events."""

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
"""Seconds to wait at the end of a study; the process then continues alone."""

_OWN = {"mlflow": "mlflow.db (`mlflow ui` shows it)", "wandb": "wandb/ (`wandb sync` uploads it)"}
_PASSWORD = re.compile(r"//[^/@\s]+@")


class Message(BaseModel, frozen=True, extra="forbid"):
    """Base of plan and events: the time of writing, in milliseconds since 1970."""

    time: int = Field(default_factory=lambda: time_ns() // 10**6)

    def to_line(self) -> bytes:
        """Return the message as one line of JSON."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class Plan(Message):
    """The first message: where to write, and the possible runs.

    Attributes:
        tracking: The tracker, its address, and the kinds of files to upload.
        runs: Planned runs by address.
        tags: Tags of every run.
        files: Paths of tracked datasets by name.
        outputs: Stands for the folder of results without naming it.
        resumes: Whether the study continues an earlier one in the same folder.
    """

    tracking: TrackingParams
    runs: dict[str, PlannedRun]
    tags: dict[str, str] = {}
    files: dict[str, str] = {}
    outputs: str
    resumes: bool


class Event(Message):
    """A node has started, or ended after ``seconds``; a dataset has been saved; or the study has ended.

    Events are short, so that lines which workers write at the same time do not mix.
    """

    node: str | None = None
    seconds: float | None = None
    dataset: str | None = None
    failed: bool | None = None


class TrackingProcess:
    """A tracking process to which threads and forked workers may write."""

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
        """Send a message; the process reads at once, so nobody waits for a server here.

        Raises:
            OSError: If the process has ended.
            ValueError: If :meth:`end` was called before.
        """
        wire = self._process.stdin
        assert wire is not None
        wire.write(message.to_line())
        wire.flush()

    def end(self, failed: bool, error: Exception | None = None) -> str | None:
        """End tracking and return what went wrong, or None; does nothing in a forked worker.

        Args:
            failed: Whether the study failed.
            error: An error in the study's process; an error of the tracking process has precedence.
        """
        if os.getpid() != self._owner:
            return None
        with suppress(OSError):  # it may have ended already; its message gives the reason
            self.send(Event(failed=failed))
        try:
            reason, _ = self._process.communicate(timeout=_LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            return f"still writing after {_LONGEST_WAIT:.0f} seconds; it continues on its own"
        if reason:
            return reason.decode()
        if self._process.returncode:
            return f"the tracking process ended with code {self._process.returncode}"
        return f"{type(error).__name__}: {error}" if error else None


def describe_place(tracking: TrackingParams) -> str:
    """Return the place of the runs, in words."""
    return _OWN[tracking.backend] if tracking.uri is None else without_password(tracking.uri)


def without_password(text: str) -> str:
    """Return a text without user names and passwords in its addresses."""
    return _PASSWORD.sub("//", text)
