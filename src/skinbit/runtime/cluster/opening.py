"""Opens the cluster of a run: one on this machine, or the workers of a scheduler; everything is checked at once."""

import logging
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import dask
from distributed import Client, LocalCluster, Security

from skinbit.config import ComputeParams
from skinbit.errors import InputError
from skinbit.runtime.cluster.executor import DaskExecutor
from skinbit.runtime.cluster.workers import Terms, find_problem, set_terms
from skinbit.runtime.failures import causes_of
from skinbit.runtime.locking import RunToken

logger = logging.getLogger(__name__)
logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it logs every connection; what matters, errors say

_LOCAL: Final = "local:"

_WAIT_S: Final = 60
"""Seconds in which a scheduler must answer and have a worker."""

_SETTINGS: Final = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # what makes pieces knows all photographs
    "distributed.comm.retry.count": 2,
    "distributed.deploy.lost-worker-timeout": "1h",  # else a worker that takes 15 s to start again is given up
    "distributed.scheduler.allowed-failures": 2,  # a piece is tried three times, as without a cluster
    "distributed.scheduler.http.routes": [],
    "distributed.worker.daemon": False,  # so that workers may start processes that read photographs
    "distributed.worker.http.routes": [],
    "distributed.worker.memory.pause": False,  # a worker that pauses for good would look as if it worked
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.preload": ["skinbit.embedding.compute"],  # else imports count as time of the first piece
    "distributed.worker.profile.enabled": False,
}
"""Settings of Dask for a run and for workers that it starts."""


@contextmanager
def open_cluster(cluster: str, compute: ComputeParams, token: RunToken) -> Iterator[DaskExecutor]:
    """Connect to the workers of a cluster for one run, after checking each of them.

    Args:
        cluster: ``local:n`` or ``tls://host:port``; see :class:`skinbit.config.ExecutorParams`.
        compute: Settings of networks.
        token: The run.

    Yields:
        What makes pieces there.

    Raises:
        InputError: If the scheduler cannot be reached or trusted, or a worker cannot work for this run.
    """
    with dask.config.set(_SETTINGS), ExitStack() as opened:
        if cluster.startswith(_LOCAL):
            address: Any = opened.enter_context(_start(int(cluster.removeprefix(_LOCAL))))
            security = address.security
        else:
            address, security = cluster, _certificates(cluster)
        client = opened.enter_context(_connect(address, security, cluster))
        terms = set_terms(compute, token)
        _check(client, cluster, terms)
        yield DaskExecutor(terms)


@contextmanager
def _start(n_workers: int) -> Iterator[LocalCluster]:
    """Start a cluster that nobody else on this machine can use: its certificates exist in memory only."""
    try:
        started = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        raise InputError(
            f"A worker process of this machine has ended while it started ({error}).\n  Remedy: run again, with fewer "
            "in executor.cluster if memory does not suffice."
        ) from error
    try:
        yield started
    finally:
        _end_workers(started)
        started.close(timeout=5)


def _end_workers(started: LocalCluster) -> None:
    """End all processes at once, which have nothing more to say; nannies would wait for each, or start others."""
    for nanny in started.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _certificates(cluster: str) -> Security:
    security = Security()
    missing = [name for name in ("tls_ca_file", "tls_client_cert", "tls_client_key") if not getattr(security, name)]
    if missing:
        raise InputError(
            f"{cluster} needs certificates, and Dask's settings name none ({', '.join(missing)}).\n  Remedy: set "
            "distributed.comm.tls.ca-file, and cert and key of distributed.comm.tls.client, in "
            "~/.config/dask/distributed.yaml, as docs/cluster.md shows."
        )
    return security


@contextmanager
def _connect(address: Any, security: Security, cluster: str) -> Iterator[Client]:
    try:
        client = Client(address, security=security, timeout=_WAIT_S)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise _explain(error, cluster) from error
    with client:
        yield client


def _explain(error: Exception, cluster: str) -> InputError:
    """Return why there is no connection, as Dask's errors have the reason far down or in their text."""
    said = " ".join(f"{type(cause).__name__} {cause}" for cause in causes_of(error))
    if "WRONG_VERSION_NUMBER" in said or "cannot convert to SSL" in said:  # the scheduler greets in plain text
        return InputError(
            f"{cluster} is not encrypted: the scheduler speaks another protocol, so whoever reaches it may run code on "
            "every worker and here.\n  Remedy: start it and its workers with --protocol tls and certificates, as "
            "docs/cluster.md shows."
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes_of(error)) or "SSL" in said or "certificate" in said:
        return InputError(
            f"The certificate of {cluster} and those of this process do not fit ({error}).\n  Remedy: sign both with "
            "the same authority, distributed.comm.tls.ca-file, and see that they have not expired."
        )
    return InputError(
        f"There is no scheduler at {cluster} ({error}).\n  Remedy: start one there (`dask scheduler --protocol tls`), "
        "or correct executor.cluster."
    )


def _check(client: Client, cluster: str, terms: Terms) -> None:
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
    except TimeoutError:
        raise InputError(
            f"The scheduler {cluster} had no workers for {_WAIT_S} s.\n  Remedy: start workers, `dask worker {cluster}`"
            ", or wait until the queue has started them."
        ) from None
    found = client.run(find_problem, terms, on_error="return")
    problems = {name: str(problem) for name, problem in found.items() if problem}
    if problems:
        name, problem = min(problems.items())
        raise InputError(f"{len(problems)} of {len(found)} workers cannot work for this run. {name}: {problem}")
    logger.info("%d workers make pieces of long work", len(found))
