"""One run at a time per folder of outputs, and no leftovers of killed runs."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from skinbit.durable import is_temporary, make_folder
from skinbit.errors import InputError
from skinbit.runtime.datasets.files import connect
from skinbit.runtime.failures import explain_lock

logger = logging.getLogger(__name__)

LOCK = ".fingerprints/run.lock"
"""Name of the lock file in a folder of outputs, beside the records; it is empty while no run holds the folder."""


@dataclass(frozen=True)
class RunToken:
    """The run that holds a folder, as written in the folder's lock file.

    Attributes:
        lock: Path or address of the lock file.
        token: Unique name of the run.
        pid: Id of its process.
        host: Name of the machine.
        command: The command.
        started: Local time of its start.
    """

    lock: str
    token: str
    pid: int
    host: str
    command: str
    started: str

    def as_bytes(self) -> bytes:
        """Return the content of the lock file."""
        return json.dumps(asdict(self)).encode()

    def is_held(self) -> bool:
        """Whether the folder's lock file names this run, as seen from this machine."""
        return _read_holder(self.lock) == self

    def check(self) -> None:
        """Check that this run still holds the folder.

        Raises:
            InputError: If this process has outlived its run, such as a worker of a killed process.
        """
        holder = _read_holder(self.lock)
        if holder is not None and holder.token != self.token:
            raise InputError(
                f"The run that this process worked for has ended, and process {holder.pid} runs in its folder now.\n"
                "  Remedy: none is needed; nothing was overwritten."
            )


@contextmanager
def hold(root: Path, command: str) -> Iterator[RunToken]:
    """Hold a folder of outputs for one run; the kernel releases it however the process ends.

    Unfinished files of killed runs are removed. Child processes do not hold the folder, as a worker that outlives its
    parent would hold it for ever.

    Args:
        root: Local folder; created if it does not exist.
        command: The command, which is shown to a second run.

    Yields:
        The run, for all of its processes.

    Raises:
        InputError: If another run holds the folder, whose process, command and start are named; or if it is not
            writable.
    """
    path = root / LOCK
    # Without locks of the system, the library would use the file's existence, which outlives a killed run.
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        make_folder(path.parent)
        lock.acquire()
    except Timeout:
        raise InputError(_refusal(str(root), _read_holder(str(path)))) from None
    except (NotImplementedError, OSError) as error:
        raise explain_lock(error, root) from error
    token = _this_run(str(path), command)
    try:
        path.write_bytes(token.as_bytes())
        remove_leftovers(root)
        yield token
    except BaseException:
        remove_leftovers(root)
        raise
    finally:
        with suppress(OSError):  # else a disk that fails would hide what ended the run, and keep the folder held
            path.write_text("", encoding="utf-8")  # the file stays: without it, two more runs could hold the folder
        lock.release()


@contextmanager
def hold_elsewhere(root: str, command: str) -> Iterator[RunToken]:
    """Hold a folder of outputs on another machine for one run, by a file that only one run can make.

    The file is removed when the run ends in any way but a kill; nothing else would notice that a killed run is over.

    Args:
        root: Address of the folder.
        command: The command, which is shown to a second run.

    Yields:
        The run, for all of its processes.

    Raises:
        InputError: If another run holds the folder, whose process, command and start are named.
    """
    lock = f"{root}/{LOCK}"
    fs, path, _ = connect(lock)
    token = _this_run(lock, command)
    holder = _read_holder(lock)
    if holder is None:
        try:
            _make_once(fs, path, token)
        except OSError:
            holder = _read_holder(lock)
            if holder is None:
                raise
    if holder is not None:
        raise InputError(_refusal(root, holder, f"; if it was killed, remove {lock}"))
    try:
        _warn_if_made_twice(fs, path, token)
        yield token
    finally:
        _free(fs, path, token)


def _make_once(fs: Any, path: str, token: RunToken) -> None:
    """Write a file that must not exist; object stores check this in the same request (`If-None-Match: *`)."""
    fs.pipe_file(path, token.as_bytes(), mode="create")


def _warn_if_made_twice(fs: Any, path: str, token: RunToken) -> None:
    try:
        _make_once(fs, path, token)
    except OSError:
        return
    logger.warning(
        "the store of %s replaces files that it was asked not to replace: two runs that start at the same moment "
        "would both write there",
        token.lock,
    )


def _free(fs: Any, path: str, token: RunToken) -> None:
    try:
        if _read_holder(token.lock) == token:
            fs.rm_file(path)
    except Exception as error:  # not what ended the run, and libraries of stores have errors of their own
        logger.warning("%s could not be removed, so it stops the next run: remove it (%s)", token.lock, error)


def remove_leftovers(root: Path) -> None:
    """Remove temporary files of killed saves, except in folders with their own lock.

    Args:
        root: Folder to which no other run writes.
    """
    removed = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not os.path.exists(Path(folder, name, LOCK))]
        for name in filter(is_temporary, names):
            Path(folder, name).unlink(missing_ok=True)
            removed += 1
    if removed:
        logger.info("removed %d unfinished files of a run that was interrupted", removed)


def _this_run(lock: str, command: str) -> RunToken:
    started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return RunToken(lock, uuid4().hex, os.getpid(), socket.gethostname(), command, started)


def _read_holder(lock: str) -> RunToken | None:
    fs, path, _ = connect(lock)
    try:
        return RunToken(**json.loads(fs.cat_file(path)))
    except (OSError, TypeError, ValueError):  # between two runs, or on a system that lets nobody read a locked file
        return None


def _refusal(root: str, holder: RunToken | None, if_killed: str = "") -> str:
    who = "Another run"
    if holder is not None:
        place = "" if holder.host == socket.gethostname() else f" on {holder.host}"
        who = f"Process {holder.pid}{place} (`{holder.command}`, since {holder.started})"
    return (
        f"{who} is writing to {root}, so this run has not started.\n  Remedy: wait until it has ended, or end it"
        f"{if_killed}; or use another folder, `root` in the globals.yml of another environment."
    )
