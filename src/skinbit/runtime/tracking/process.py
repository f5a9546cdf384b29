"""The tracking process: ``python -m skinbit.runtime.tracking.process``, started by the study.

It imports the tracker's library, which takes seconds, and waits for servers while the study computes; the study
itself imports neither MLflow nor W&B. Messages arrive on standard input. If that ends without a last event, the study
was killed, and its runs are marked as failed. Errors are written to standard output, as one line.
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
    # Nothing about a study leaves this place unasked: no usage statistics, no error reports.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Nothing here loads a model; if it did, a pickle would be refused.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}

PATIENCE = {
    # Wait some 15 seconds for a server that does not answer; MLflow's own limits are many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Defaults; a user's environment has precedence."""

_LONGEST_REASON = 300

_DRAWING = "report."
"""Box of the graph without durations."""


class Tracker(Protocol):
    """Writes runs somewhere; times are milliseconds since 1970."""

    def find(self, outputs: str) -> str | None:
        """Return the id of the latest study with this tag ``outputs``, or None."""

    def start(self, run: str, title: str, tags: dict[str, str], time: int) -> None:
        """Start a run whose parent has started."""

    def log(self, run: str, content: Content, time: int) -> None:
        """Add to a started run."""

    def finish(self, run: str, failed: bool, time: int) -> None:
        """End a run; the study's run is the last."""


class Recorder:
    """Keeps track of the runs of one study: starts them, adds to them, and ends them.

    A run starts with the first event about it or about a nested run, and ends when all of its datasets are saved. The
    remaining runs end with the study.
    """

    def __init__(self, tracker: Tracker, plan: Plan, tags: dict[str, str]) -> None:
        """Start the study's run; all runs get the tags."""
        self._tracker, self._plan = tracker, plan
        self._tags = plan.tags | tags
        self._begun: list[str] = []
        self._ended: set[str] = set()
        self._noted: set[str] = set()  # datasets; a second event of the same dataset adds nothing
        previous = tracker.find(plan.outputs) if plan.resumes else None
        self._begin(STUDY, plan.time, outputs=plan.outputs, **({"continues": previous} if previous else {}))

    @property
    def is_over(self) -> bool:
        """Whether the study has ended."""
        return STUDY in self._ended

    def add(self, event: Event) -> None:
        """Process an event: start runs, add to them, end them."""
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
        """Start a run and its parents, unless they have started."""
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
        """End those of the runs that have started and not ended."""
        for run in runs:
            if run in self._begun and run not in self._ended:
                self._tracker.finish(run, failed, time)
                self._ended.add(run)


def open_tracker(tracking: TrackingParams, project: Path) -> Tracker:
    """Return the tracker of the configured place; imports its library.

    Raises:
        Exception: Whatever the library raises if it is missing or the place cannot be reached.
    """
    if tracking.backend == "wandb":
        from skinbit.runtime.tracking.wandb_tracker import WandbTracker

        return WandbTracker(tracking, project)
    from skinbit.runtime.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(tracking, project)


def main() -> None:
    """Track one study, from its first message to its last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the study; this process ends after it
    os.environ.update(QUIET)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    wire, report = _take_standard_streams()
    try:
        _record(wire)
    except Exception as error:  # anything that a tracker's library may raise
        report.write(_reason(error).encode())
        report.close()
        os._exit(1)  # the other thread may wait for a message for ever


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Reserve standard input for messages and standard output for failures, as libraries use both freely."""
    wire, report = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return wire, report


def _record(wire: BinaryIO) -> None:
    line = wire.readline()
    if not line.endswith(b"\n"):  # the study ended before it started
        return
    plan = Plan.model_validate_json(line)
    events: SimpleQueue[Event] = SimpleQueue()
    Thread(target=_receive, args=(wire, events), daemon=True).start()
    tracker = open_tracker(plan.tracking, Path.cwd())
    recorder = Recorder(tracker, plan, _tags_of_code())
    while not recorder.is_over:
        recorder.add(events.get())


def _receive(wire: BinaryIO, events: "SimpleQueue[Event]") -> None:
    """Receive events as they arrive, however slow the tracker is: the study never waits for it."""
    with suppress(ValueError):  # the study was killed while it wrote
        for line in wire:
            events.put(Event.model_validate_json(line))
    events.put(Event(failed=True))


def _tags_of_code() -> dict[str, str]:
    """Return the commit of the project, with ``-dirty`` if files have changed; nothing outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": described.stdout.strip()}


def _reason(error: Exception) -> str:
    """Return an error in one line, without passwords in addresses."""
    lines = str(error).splitlines() or [""]
    return without_password(f"{type(error).__name__}: {lines[0]}")[:_LONGEST_REASON]


if __name__ == "__main__":
    main()
