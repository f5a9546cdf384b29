"""Messages for what the machine refuses, by error number and place: disk, memory, processes."""

import errno
import re
import shutil
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from skinbit.errors import InputError, is_short_of_memory
from skinbit.refusals import REFUSALS

RESUME = "The same command with --only-missing-outputs continues from here: all files on disk are complete."

_LOCKLESS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Error numbers of file systems without locks."""

_DENIED = {
    *("AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"),
    *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "401", "403"),
}
"""What an object store answers if it lets somebody in not at all, or not there."""

_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}

_HOST = re.compile(r"https?://(?:[^/@\s\"]*@)?([^/\s\"]+)")
"""Name and port in an address, without login."""

_PLACE = re.compile(r"path=(?:PurePosixPath\()?'([^'\n]+)'")
"""The path in the error of a dataset."""

_SHARED = Path("/dev/shm")

_WRITTEN = re.compile(r"\[Errno (\d+)\] ([^\n:]*)(?:: '([^'\n]*)')?")
"""A system error in the text of another error, as causes are lost between processes."""


def explain_failure(error: BaseException, is_read: bool = False) -> InputError | None:
    """Return one message with a remedy if the machine refused something, otherwise None.

    Args:
        error: The error with its causes.
        is_read: Whether it was raised while a file was read, which may be outside of the folder of outputs.
    """
    place = _PLACE.search(str(error))
    refusal = explain_store(error, place[1] if place else "")
    if refusal is not None:
        return refusal
    explained = (_explain(cause, is_read) for cause in causes_of(error))
    return next((found for found in explained if found is not None), None)


def explain_store(error: BaseException, place: str = "") -> InputError | None:
    """Return one message if an object store refused something or cannot be reached, otherwise None.

    Libraries of stores need not be installed, so their errors are told by name.

    Args:
        error: The error, or one of its causes.
        place: Address of the file, if it is known.
    """
    at = f" at {place}" if place else ""
    for cause in causes_of(error):
        response = getattr(cause, "response", None)
        answer = response.get("Error", {}) if isinstance(response, dict) else {}
        code = str(answer.get("Code", ""))
        if code == "NoSuchBucket":
            return InputError(
                f"There is no bucket {answer.get('BucketName') or ''}{at}.\n  Remedy: correct the address, or make the "
                "bucket; Skinbit makes none."
            )
        if code in _DENIED:
            return InputError(
                f"The object store refuses access{at} ({code}).\n  Remedy: see that the credentials in the environment "
                "are right, have not expired, and may list the bucket and read and write its objects."
            )
        if type(cause).__name__ in _NO_CREDENTIALS:
            return InputError(
                "There are no credentials for the object store.\n  Remedy: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, as for every program that uses S3."
            )
        if type(cause).__module__.startswith(("botocore.", "aiohttp.")) and _is_of_connection(cause):
            host = _HOST.search(str(cause))
            return InputError(
                f"The object store{f' {host[1]}' if host else ''} cannot be reached.\n  Remedy: check the network and "
                f"AWS_ENDPOINT_URL. {RESUME}"
            )
    return None


def _is_of_connection(cause: BaseException) -> bool:
    return any(part in type(cause).__name__ for part in ("Connect", "Timeout", "SSL", "Proxy", "Disconnected"))


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, except texts of other processes' tracebacks."""
    while error is not None:
        if type(error).__name__ not in ("_RemoteTraceback", "RemoteTraceback"):
            yield error
        error = error.__cause__


def explain_lock(error: OSError | NotImplementedError, root: Path) -> InputError:
    """Return the error for a folder of outputs that cannot be locked.

    Args:
        error: The error of the lock.
        root: The folder of outputs.
    """
    if isinstance(error, NotImplementedError) or error.errno in _LOCKLESS:
        return InputError(
            f"The file system of {root} has no locks, so two runs could write there at the same time.\n  Remedy: mount "
            "it with locks (NFS: `local_lock=all`, or start its lock service; Lustre: `flock`), or move `root` in "
            "globals.yml to a disk of this machine."
        )
    refusal = REFUSALS.get(error.errno or 0)
    what = refusal.what if refusal else error.strerror or str(error)
    remedy = refusal.written if refusal else "correct `root` in globals.yml"
    return InputError(f"Nothing can be written to {root}: {what[:1].lower()}{what[1:]}.\n  Remedy: {remedy}.")


def _explain(cause: BaseException, is_read: bool) -> InputError | None:
    said = str(cause)
    if _is_of_shared_memory(cause):
        size = f" ({shutil.disk_usage(_SHARED).total / 1e6:.0f} MB in {_SHARED})" if _SHARED.is_dir() else ""
        return InputError(
            f"Shared memory{size} does not suffice for the loader's worker processes.\n  Remedy: "
            "`--params loader.workers=0` needs none; or give the container more (`docker run --shm-size=2g`). "
            f"{RESUME}"
        )
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in REFUSALS:
        return _refused(cause.errno, cause.filename, is_read)
    if is_short_of_memory(cause):
        return InputError(
            "Memory does not suffice.\n  Remedy: lower loader.batch_size, loader.workers or the number of workers "
            f"of the runner, or give the machine more memory. {RESUME}"
        )
    if isinstance(cause, BrokenProcessPool) or "killed by signal: Killed" in said or "exited unexpectedly" in said:
        return InputError(
            "A worker process was killed, most often because memory did not suffice.\n  Remedy: lower "
            f"loader.workers or the number of workers of the runner. {RESUME}"
        )
    if "killed by signal" in said:
        return InputError(
            f"A worker process has crashed ({said.partition('killed by ')[2].partition('.')[0]}).\n  Remedy: "
            f"`--params loader.workers=0` does without them and shows where. {RESUME}"
        )
    written = None if isinstance(cause, InputError) or cause.__cause__ else _WRITTEN.search(said)
    return _refused(int(written[1]), written[3], is_read) if written and int(written[1]) in REFUSALS else None


def _is_of_shared_memory(cause: BaseException) -> bool:
    """Whether shared memory did not suffice for a loader's batch; PyTorch's errors for this have no number."""
    if isinstance(cause, OSError):
        return cause.errno == errno.ENOSPC and str(cause.filename).startswith(f"{_SHARED}/")
    return isinstance(cause, RuntimeError) and any(
        part in str(cause) for part in ("killed by signal: Bus error", "shared memory(shm)", "file </torch_")
    )


def _refused(number: int, file: str | None, is_read: bool) -> InputError:
    refusal = REFUSALS[number]
    where = f" at {file}" if file else ""
    remedy = refusal.read if is_read else refusal.written
    return InputError(f"{refusal.what}{where} ({errno.errorcode[number]}).\n  Remedy: {remedy}. {RESUME}")
