"""The tracking process: ``python -m skinbit.runtime.tracking.process``, started by the study.

It imports the tracker's library, which takes seconds, and waits for servers, both while the study computes; the study
itself imports neither MLflow nor W&B. Messages come in on standard input. Should that end without a last event, the
study was killed, and its runs are marked as failed. What goes wrong goes out on standard output, as one line.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO, Protocol

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import STUDY, Content, Metric, contents_of, hash_of, locate, parent_of
from skinbit.runtime.tracking.wire import Event, Plan, without_password

QUIET = {
    # What is tracked is nobody's business but the user's: no usage statistics, no error reports.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Nothing here loads a model; were it to, a pickle would be refused.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}

PATIENCE = {
    # A server that is away for some 15 seconds is waited for; MLflow's own limits would wait for many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Defaults; a user's own environment counts more."""

_LONGEST_REASON = 300

_DRAWING = "report."
"""The box of the graph whose durations nobody asks for."""


class Tracker(Protocol):
    """Writes runs down, in whatever place; times are milliseconds since 1970."""

    def find(self, outputs: str) -> str | None:
        """Return the id of the latest study with this tag ``outputs``, if there is one."""

    def start(self, run: str, title: str, tags: dict[str, str], time: int) -> None:
        """Begin a run, whose parent has begun."""

    def log(self, run: str, content: Content, time: int) -> None:
        """Add to a run that has begun."""

    def finish(self, run: str, failed: bool, time: int) -> None:
        """End a run; the study's is the last."""


class Recorder:
    """Keeps account of the runs of one study: which begin, what they gain, which end.

    A run begins with the first event about it or about one nested in it, and ends when all datasets that complete it
    are there. What is left when the study ends, ends with it.
    """

    def __init__(self, tracker: Tracker, plan: Plan, tags: dict[str, str]) -> None:
        """Begin the study's run; the tags are those of every run."""
        self._tracker, self._plan = tracker, plan
        self._tags = plan.tags | tags
        self._begun: list[str] = []
        self._ended: set[str] = set()
        self._noted: set[str] = set()  # datasets; a second event of the same one adds nothing
        previous = tracker.find(plan.outputs) if plan.resumes else None
        self._begin(STUDY, plan.time, outputs=plan.outputs, **({"continues": previous} if previous else {}))

    @property
    def is_over(self) -> bool:
        """Whether the study has ended."""
        return STUDY in self._ended

    def add(self, event: Event) -> None:
        """Take in what has happened: begin runs, add to them, end them."""
        if event.node is not None:
            self._add_node(event.node, event.seconds, event.time)
        elif event.dataset is not None and event.dataset not in self._noted:
            self._add_dataset(event.dataset, event.time)
        elif event.failed is not None:
            self._finish(self._begun[::-1], event.failed, event.time)

    def _add_node(self, node: str, seconds: float | None, time: int) -> None:
        run, _ = locate(node)
        run = run if run in self._plan.runs else STUDY
        self._begin(run, time)
        if seconds is not None and not node.startswith(_DRAWING):
            metric = Metric(f"seconds/{node.removeprefix(f'{run}.')}", seconds)
            self._tracker.log(run, Content(metrics=[metric]), time)

    def _add_dataset(self, dataset: str, time: int) -> None:
        path = self._plan.files[dataset]
        tags = hash_of(dataset, path)
        self._tags |= tags
        for run in self._begun if tags else ():
            self._tracker.log(run, Content(tags=tags), time)
        for run, content in contents_of(dataset, path, self._plan.tracking.artifacts).items():
            if run in self._plan.runs:
                self._begin(run, time)
                self._tracker.log(run, content, time)
        self._noted.add(dataset)
        complete = [
            run for run, planned in self._plan.runs.items() if planned.expected and planned.expected <= self._noted
        ]
        self._finish(complete, False, time)

    def _begin(self, run: str, time: int, **tags: str) -> None:
        """Begin a run, and those that it is nested in, unless it has begun."""
        if run in self._begun:
            return
        parent = parent_of(run)
        if parent is not None:
            self._begin(parent, time)
        planned = self._plan.runs[run]
        self._tracker.start(run, planned.title, planned.tags | self._tags | tags, time)
        self._begun.append(run)
        if planned.parameters:
            self._tracker.log(run, Content(planned.parameters), time)

    def _finish(self, runs: Sequence[str], failed: bool, time: int) -> None:
        """End those of some runs that are running."""
        for run in runs:
            if run in self._begun and run not in self._ended:
                self._tracker.finish(run, failed, time)
                self._ended.add(run)


def open_tracker(tracking: TrackingParams, project: Path) -> Tracker:
    """Return the tracker of the place that runs are written to; imports its library.

    Raises:
        Exception: Whatever the library raises, if it is missing or the place cannot be reached.
    """
    if tracking.backend == "wandb":
        from skinbit.runtime.tracking.wandb_tracker import WandbTracker

        return WandbTracker(tracking, project)
    from skinbit.runtime.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(tracking, project)


def main() -> None:
    """Write down one study, from its first message to its last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the study; this process ends when the study has
    os.environ.update(QUIET)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    wire, report = _take_standard_streams()
    try:
        _record(wire)
    except Exception as error:  # whatever a tracker's library raises
        report.write(_reason(error).encode())
        report.close()
        os._exit(1)  # the other thread may wait for a message for ever


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input for messages and standard output for the reason of a failure: libraries use both freely."""
    wire, report = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return wire, report


def _record(wire: BinaryIO) -> None:
    line = wire.readline()
    if not line.endswith(b"\n"):  # the study ended before it began
        return
    plan = Plan.model_validate_json(line)
    events: SimpleQueue[Event] = SimpleQueue()
    Thread(target=_receive, args=(wire, events), daemon=True).start()
    tracker = open_tracker(plan.tracking, Path.cwd())
    recorder = Recorder(tracker, plan, _tags_of_code())
    while not recorder.is_over:
        recorder.add(events.get())


def _receive(wire: BinaryIO, events: "SimpleQueue[Event]") -> None:
    """Take events in as they come, however long the tracker takes: the study never waits for it."""
    with suppress(ValueError):  # the study was killed while it wrote
        for line in wire:
            events.put(Event.model_validate_json(line))
    events.put(Event(failed=True))


def _tags_of_code() -> dict[str, str]:
    """Return the commit of the project, ``-dirty`` where files have changed since; nothing outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": described.stdout.strip()}


def _reason(error: Exception) -> str:
    """Return in one line what went wrong, without the password that an address may hold."""
    lines = str(error).splitlines() or [""]
    return without_password(f"{type(error).__name__}: {lines[0]}")[:_LONGEST_REASON]


if __name__ == "__main__":
    main()
