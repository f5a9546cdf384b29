"""Pieces of long work on the workers of a cluster."""

import logging
import os
import signal
import statistics
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from time import time
from typing import Any, Final
from uuid import uuid4

from distributed import Client, Future, KilledWorker, get_worker, wait, worker_client

from skinbit.data.executor import Piece, PieceLostError, Result
from skinbit.data.progress import Progress
from skinbit.errors import InputError
from skinbit.runtime.cluster.workers import Failed, Made, Terms, make_piece, same
from skinbit.runtime.interruption import is_interrupted

logger = logging.getLogger(__name__)

_LOOK: Final = 2.0
"""Seconds between looks at what hangs."""

_PATIENT: Final = 10
"""A piece hangs if it takes so many times as long as others."""

_ALONE_S: Final = 600
"""Seconds without any worker after which a run ends."""

_AHEAD: Final = 2
"""Pieces per thread of a worker that are given out: one in work, one waiting."""

_LOST: Final = (
    "The connection to the cluster's scheduler was lost.\n  Remedy: see why it ended, start it and its workers again, "
    "and run again: what was made is kept."
)


@dataclass(frozen=True)
class DaskExecutor:
    """Makes pieces on the workers of the cluster to which this process is connected.

    A worker that dies is replaced, and its piece made again; so is one that hangs. Few pieces are given out at a time,
    so memory does not grow with their number.

    Attributes:
        terms: What workers have in common with this run.
        patience_s: Seconds that a piece may take at least.
    """

    terms: Terms
    patience_s: float = 60.0

    def map(self, make: Callable[[Sequence[Piece]], Iterator[Result]], pieces: Sequence[Piece]) -> Iterator[Result]:
        """Yield the result of each piece, in order.

        Raises:
            PieceLostError: If several workers have died of a piece or hung.
            InputError: If the scheduler is lost.
        """
        with _connected() as client, Progress(total=len(pieces), unit="piece", desc="on the cluster") as bar:
            for made in _Given(client, self).results(make, pieces):
                bar.update()
                yield made


@dataclass
class _Given:
    """Pieces that were given to workers.

    Attributes:
        client: Connection to the cluster.
        executor: What workers must be like, and how long they may take.
        durations: Seconds that finished pieces took.
        waiting: Pieces whose results were not taken yet, in order.
        last_seen: When the cluster had a worker.
    """

    client: Client
    executor: DaskExecutor
    durations: list[float] = field(default_factory=list)
    waiting: deque[Future] = field(default_factory=deque)
    last_seen: float = field(default_factory=time)

    def results(
        self, make: Callable[[Sequence[Piece]], Iterator[Result]], pieces: Sequence[Piece]
    ) -> Generator[Result]:
        """Yield the results of pieces, in order, of which few are with workers at a time."""
        name = f"{type(make).__name__}-{uuid4().hex}"
        left = iter(enumerate(pieces))
        try:
            maker = self.client.submit(same, make, key=name)  # once, as it knows all photographs
            while True:
                for number, piece in islice(left, max(0, self._n_wanted() - len(self.waiting))):
                    task = (self.executor.terms, maker, piece)
                    self.waiting.append(self.client.submit(make_piece, *task, key=f"{name}-{number}", pure=False))
                if not self.waiting:
                    return
                yield self._take()
        finally:
            if self.client.status == "running":
                self.client.cancel(list(self.waiting))

    def _n_wanted(self) -> int:
        n_threads: int = sum(self.client.nthreads().values())
        return _AHEAD * max(1, n_threads)

    def _take(self) -> Any:
        """Return the result of the first piece, as soon as there is one."""
        made = wait_for(self.client, self.waiting[0], self._end_hanging)
        self.waiting.popleft()
        self.durations.append(made.seconds)
        return made.result

    def _end_hanging(self) -> None:
        """End workers that take far longer for a piece than others did; their nannies start others.

        Raises:
            InputError: If such a worker has no nanny, or all workers are gone for long.
        """
        if self.client.nthreads():
            self.last_seen = time()
        elif time() - self.last_seen > _ALONE_S:
            raise InputError(
                f"The cluster has had no workers for {_ALONE_S} s.\n  Remedy: see why they ended, start others, and "
                "run again: what was made is kept."
            )
        if not self.durations:
            return
        limit = max(self.executor.patience_s, _PATIENT * statistics.median(self.durations))
        keys = [future.key for future in self.waiting]
        hanging = self.client.run_on_scheduler(find_hanging, keys=keys, limit=limit)
        for address, has_nanny in hanging.items():
            if not has_nanny:
                raise InputError(
                    f"The worker {address} hangs: it has no result after {limit:.0f} s.\n  Remedy: end it, and start "
                    "workers with a nanny, as `dask worker` does, which would have ended it; run again: what was made "
                    "is kept."
                )
        if hanging:
            logger.warning("no result in %.0f s: these workers are started again: %s", limit, ", ".join(hanging))
            self.client.run(kill_worker, workers=list(hanging), nanny=True, on_error="return")


def wait_for(client: Client, future: Future, look: Callable[[], None] = lambda: None) -> Made[Any]:
    """Return what a worker has made.

    Args:
        client: Connection to the cluster.
        future: The work.
        look: Called again and again while it is not done.

    Raises:
        PieceLostError: If several workers have died of it or hung.
        InputError: If the scheduler is lost.
        Exception: The error that the work has ended with.
    """
    while True:
        try:
            wait(future, timeout=_LOOK)
            made: Made[Any] | Failed = future.result()
        except TimeoutError:
            if future.status in ("lost", "cancelled") or client.status != "running":
                raise InputError(_LOST) from None
            if is_interrupted():
                raise InputError("The run was interrupted.") from None
            look()
        except CancelledError:
            raise InputError(_LOST) from None
        except KilledWorker as error:
            raise PieceLostError(
                "it was tried on several workers, and each has died, most often as memory did not suffice, or hung"
            ) from error
        else:
            if isinstance(made, Failed):
                raise made.error from made.cause
            return made


def find_hanging(keys: Sequence[str], limit: float, dask_scheduler: Any = None) -> dict[str, bool]:
    """Return which workers have worked on one of some pieces for too long; runs on the scheduler.

    Args:
        keys: Dask's names of the pieces.
        limit: Seconds.
        dask_scheduler: Set by Dask.

    Returns:
        Whether each worker has a nanny, a process that starts another one if it ends; by its address.
    """
    wanted, now = set(keys), time()
    return {
        address: worker.nanny is not None
        for address, worker in dask_scheduler.workers.items()
        # Durations are those of the worker's last sign of life.
        if any(took + now - worker.last_seen > limit for task, took in worker.executing.items() if task.key in wanted)
    }


def kill_worker(dask_worker: Any) -> None:
    """End a worker, whatever it does; runs in its nanny.

    Args:
        dask_worker: The nanny, set by Dask.
    """
    os.kill(dask_worker.pid, signal.SIGKILL)


@contextmanager
def _connected() -> Iterator[Client]:
    """Yield this process's connection; a node that runs on a worker leaves its place to pieces meanwhile."""
    try:
        get_worker()
    except ValueError:
        yield Client.current()
        return
    with worker_client() as client:
        yield client
