"""One run at a time in one folder of outputs, and nothing left behind by runs that were killed."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import is_temporary
from skinbit.runtime.failures import explain_lock

logger = logging.getLogger(__name__)

LOCK = ".fingerprints/run.lock"
"""In a folder of outputs, beside its records; empty while no run holds it."""


@dataclass(frozen=True)
class RunToken:
    """The run that holds a folder, as the folder's lock file names it.

    Attributes:
        lock: Path of the lock file.
        token: Tells the run from every other one.
        pid: Of its process.
        host: Name of its machine.
        command: What it runs.
        started: Local time.
    """

    lock: str
    token: str
    pid: int
    host: str
    command: str
    started: str

    def check(self) -> None:
        """Make sure that the folder is still this run's.

        Raises:
            InputError: If this process has outlived its run, e.g. as a worker of a process that was killed.
        """
        holder = _read_holder(Path(self.lock))
        if holder is not None and holder.token != self.token:
            raise InputError(
                f"The run that this process worked for has ended, and process {holder.pid} runs in its folder now.\n"
                "  Remedy: none is needed; nothing was overwritten."
            )


@contextmanager
def hold(root: Path, command: str) -> Iterator[RunToken]:
    """Hold a folder of outputs for one run; the kernel releases it, whatever ends the process.

    What saves of killed runs have left behind is removed. Child processes do not hold the folder with their parent:
    a worker that outlives it would hold it for ever.

    Args:
        root: Local folder; it is made if it does not exist.
        command: What runs, for the message to a second run.

    Yields:
        The run, for all processes that write for it.

    Raises:
        InputError: If another run holds it, whose process, command and start are named; or if it is not writable.
    """
    path = root / LOCK
    # Without locks of the system it would take an existing file for one: that outlives a run that is killed.
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(_refusal(root, _read_holder(path))) from None
    except (NotImplementedError, OSError) as error:
        raise explain_lock(error, root) from error
    started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    token = RunToken(str(path), uuid4().hex, os.getpid(), socket.gethostname(), command, started)
    try:
        path.write_text(json.dumps(asdict(token)), encoding="utf-8")
        remove_leftovers(root)
        yield token
    except BaseException:
        remove_leftovers(root)
        raise
    finally:
        path.write_text("", encoding="utf-8")  # the file stays: to remove it would let a third run in beside a second
        lock.release()


def remove_leftovers(root: Path) -> None:
    """Remove the temporary files of saves that were killed; folders that have a lock of their own are left alone.

    Args:
        root: Folder that no other run writes to.
    """
    removed = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not os.path.exists(Path(folder, name, LOCK))]
        for name in filter(is_temporary, names):
            Path(folder, name).unlink(missing_ok=True)
            removed += 1
    if removed:
        logger.info("removed %d unfinished files of a run that was interrupted", removed)


def _read_holder(path: Path) -> RunToken | None:
    try:
        return RunToken(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):  # between two runs, or on a system that lets nobody read a locked file
        return None


def _refusal(root: Path, holder: RunToken | None) -> str:
    who = "Another run"
    if holder is not None:
        place = "" if holder.host == socket.gethostname() else f" on {holder.host}"
        who = f"Process {holder.pid}{place} (`{holder.command}`, since {holder.started})"
    return (
        f"{who} is writing to {root}, so this run has not begun.\n  Remedy: wait until it has ended, or end it; or "
        "give this run a folder of its own, `root` in the globals.yml of another environment."
    )
