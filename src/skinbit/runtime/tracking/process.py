"""The tracking process: ``python -m skinbit.runtime.tracking.process``, started by the study.

It imports the tracker's library, which takes seconds, and waits for servers, both while the study computes; the study
itself imports neither MLflow nor W&B. Messages come in on standard input. Should that end without an :class:`End`, the
study was killed, and its runs are marked as failed. What goes wrong goes out on standard output, as one line.
"""

import os
import signal
import subprocess
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import BinaryIO

from skinbit.runtime.tracking.messages import End, Message, Note, Plan, Tags, unpack_message
from skinbit.runtime.tracking.places import without_password
from skinbit.runtime.tracking.recorder import Recorder
from skinbit.runtime.tracking.trackers import open_tracker

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


def main() -> None:
    """Write down one study, from its first message to its last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the study; this process ends when the study has
    os.environ.update(QUIET)
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    wire, report = _take_standard_streams()
    messages: SimpleQueue[Message] = SimpleQueue()
    Thread(target=_receive, args=(wire, messages), daemon=True).start()
    try:
        _record(messages)
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


def _receive(wire: BinaryIO, messages: "SimpleQueue[Message]") -> None:
    """Take messages in as they come, however long the tracker takes: the study never waits for it."""
    for line in wire:
        try:
            messages.put(unpack_message(line))
        except ValueError:  # the study was killed while it wrote
            break
    messages.put(End(failed=True))


def _record(messages: "SimpleQueue[Message]") -> None:
    plan = messages.get()
    if not isinstance(plan, Plan):
        return
    recorder = Recorder(open_tracker(plan.tracking, Path.cwd()), plan, plan.tags | _tags_of_code())
    while True:
        batch = _take_all(messages)
        recorder.add([message for message in batch if isinstance(message, Note | Tags)])
        ends = [message for message in batch if isinstance(message, End)]
        if ends:
            recorder.end(ends[0].failed, ends[0].time)
            return


def _take_all(messages: "SimpleQueue[Message]") -> list[Message]:
    """Wait for a message and take all that are there."""
    batch = [messages.get()]
    while True:
        try:
            batch.append(messages.get_nowait())
        except Empty:
            return batch


def _tags_of_code() -> dict[str, str]:
    """Give the commit of the project, ``-dirty`` where files have changed since; nothing outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": described.stdout.strip()}


def _reason(error: Exception) -> str:
    """Say in one line what went wrong, without the password that an address may hold."""
    lines = str(error).splitlines() or [""]
    return without_password(f"{type(error).__name__}: {lines[0]}")[:_LONGEST_REASON]


if __name__ == "__main__":
    main()
