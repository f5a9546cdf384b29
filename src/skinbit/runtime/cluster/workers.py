"""What runs on the workers of a cluster."""

import hashlib
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any, Generic

from skinbit.config import ComputeParams
from skinbit.data.executor import Piece, Result
from skinbit.data.progress import keep_quiet
from skinbit.errors import InputError
from skinbit.runtime.locking import RunToken
from skinbit.runtime.provenance import software_versions

_PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Terms:
    """What every worker has in common with the run that it works for.

    Attributes:
        software: Name and version of everything that results depend on.
        compute: Settings of networks.
        hardware: Device, precision and kind of hardware that these settings mean.
        token: The run, as the lock in the folder of outputs names it.
    """

    software: tuple[tuple[str, str], ...]
    compute: ComputeParams
    hardware: tuple[tuple[str, str], ...]
    token: RunToken


def set_terms(compute: ComputeParams, token: RunToken) -> Terms:
    """Return the terms of a run, as this process meets them."""
    return Terms(_software(), compute, _hardware(compute), token)


@cache
def find_problem(terms: Terms) -> str:
    """Return why this worker cannot work for a run, with a remedy; empty if it can."""
    differing = dict(set(terms.software) - set(_software()))
    if differing:
        own = dict(_software())
        listed = ", ".join(f"{name} {own.get(name, 'none')}, not {version}" for name, version in differing.items())
        return f"it has other software ({listed}).\n  Remedy: install the same there as here, and start it again."
    try:
        hardware = _hardware(terms.compute)
    except InputError as error:
        return str(error)
    if hardware != terms.hardware:
        return (
            f"it computes on {_listed(hardware)}, and this process on {_listed(terms.hardware)}, so last digits would "
            "differ.\n  Remedy: use machines of one kind, or start the run on one of theirs."
        )
    if not terms.token.is_held():
        return (
            f"it does not see {terms.token.lock}, which this run has written.\n  Remedy: put `root` in globals.yml "
            "on storage that all workers and this process reach under the same path."
        )
    if current_process().daemon:
        return (
            "its process may not start others, which read photographs.\n  Remedy: start workers with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=false in their environment."
        )
    return ""


@dataclass(frozen=True)
class Made(Generic[Result]):
    """A piece, and how long it took."""

    result: Result
    seconds: float


@dataclass(frozen=True)
class Failed:
    """An error and its cause, as they reach other processes whole."""

    error: Exception
    cause: Exception | None


def make_piece(
    terms: Terms, make: Callable[[Sequence[Piece]], Iterator[Result]], piece: Piece
) -> Made[Result] | Failed:
    """Return a piece, or what went wrong."""

    def make_one() -> Result:
        (result,) = make([piece])
        return result

    return work(terms, make_one)


def work(terms: Terms, make: Callable[[], Result]) -> Made[Result] | Failed:
    """Return what this worker makes for a run, or what went wrong."""
    keep_quiet()
    started = time.monotonic()
    problem = find_problem(terms)
    try:
        if problem:
            raise InputError(f"A worker on {platform.node()} has joined that cannot work for this run: {problem}")
        result = make()
    except Exception as error:
        return Failed(sendable(error), None if error.__cause__ is None else sendable(error.__cause__))
    return Made(result, time.monotonic() - started)


def same(value: Any) -> Any:
    """Return a value, so that it is sent to each worker once."""
    return value


def sendable(error: BaseException) -> Exception:
    """Return an error of a kind that every process can read: others might not arrive, and nobody would hear of them."""
    if isinstance(error, InputError):
        return InputError(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    if isinstance(error, MemoryError | BrokenExecutor):
        return type(error)(str(error))
    unknown = RuntimeError(f"{type(error).__name__}: {error}")
    unknown.add_note("".join(traceback.format_exception(error)))
    return unknown


@cache
def _software() -> tuple[tuple[str, str], ...]:
    code = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        code.update(file.read_bytes())
    found = software_versions() | {"python": platform.python_version(), "code of skinbit": code.hexdigest()[:12]}
    return tuple(sorted(found.items()))


@cache
def _hardware(compute: ComputeParams) -> tuple[tuple[str, str], ...]:
    from skinbit.embedding.compute import resolve_compute

    described = resolve_compute(compute).describe()
    return tuple((name, str(described[name])) for name in ("device", "precision", "hardware"))


def _listed(hardware: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(value for _, value in hardware)
