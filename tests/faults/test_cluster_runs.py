"""Studies on a cluster have the files of a study without one, whoever is killed meanwhile."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import dask
import psutil
import pytest
import yaml
from distributed import Security

from skinbit.runtime.cluster import opening
from skinbit.runtime.datasets.pieces import StoredPieces
from skinbit.runtime.runners import DaskRunner
from tests.faults.studies import EXPERIMENTS, files_of, fork_run, log_of, make_project

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks"),
    pytest.mark.filterwarnings("ignore"),  # of Dask and its dependencies
]

PIECES = {"photographs": 4, "pairs": 20}


def on_cluster(folder: Path, cluster: str, **more: Any) -> Path:
    """Make a project of the smallest study, whose pieces are small."""
    project = make_project(folder, EXPERIMENTS)
    file = project / "conf/campaign/parameters.yml"
    parameters = yaml.safe_load(file.read_text()) | {"executor": {"cluster": cluster, **PIECES}} | more
    file.write_text(yaml.safe_dump(parameters))
    return project


@pytest.mark.faults
def test_pieces_of_a_study_on_two_workers(whole: dict[str, bytes], tmp_path: Path) -> None:
    project = on_cluster(tmp_path / "study", "local:2")
    assert fork_run(project, only_missing=False) == 0, log_of(project)
    assert files_of(project) == whole


@pytest.mark.long
def test_nodes_of_a_tracked_study_on_two_workers(whole: dict[str, bytes], tmp_path: Path) -> None:
    project = on_cluster(tmp_path / "study", "local:2", tracking={"enabled": True})
    assert fork_run(project, only_missing=False, runner=DaskRunner()) == 0, log_of(project)
    assert files_of(project) == whole
    assert "tracked in" in log_of(project)
    assert "tracking is incomplete" not in log_of(project)


@pytest.mark.faults
def test_sigterm_ends_nodes_and_workers_within_ten_seconds(tmp_path: Path) -> None:
    project = on_cluster(tmp_path / "study", "local:2")

    def arm() -> None:
        Thread(target=terminate_soon, daemon=True).start()

    def terminate_soon() -> None:
        own = psutil.Process()
        while not (project / "data/demo/02_intermediate").exists():
            time.sleep(0.05)
        (project / "workers").write_text(" ".join(str(each.pid) for each in own.children(recursive=True)))
        (project / "asked").write_text(str(time.time()))
        own.terminate()

    assert fork_run(project, only_missing=False, arm=arm, runner=DaskRunner()) == 1  # as every ClickException here
    workers = [int(number) for number in (project / "workers").read_text().split()]
    while any(map(is_alive, workers)) and time.time() < float((project / "asked").read_text()) + 10:
        time.sleep(0.05)
    assert time.time() - float((project / "asked").read_text()) < 10
    assert "Interrupted by SIGTERM" in log_of(project)
    assert len(workers) >= 2


def is_alive(process: int) -> bool:
    """Whether a process runs; nobody may have asked yet how it has ended."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def tls_cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Start a scheduler and workers with certificates; yield the address, and what the client must know."""
    made, tls = Security.temporary(), {}
    for name in (
        "ca_file",
        "client_cert",
        "client_key",
        "scheduler_cert",
        "scheduler_key",
        "worker_cert",
        "worker_key",
    ):
        tls[name] = str(folder / f"{name}.pem")
        Path(tls[name]).write_text(getattr(made, f"tls_{name}"))
    settings = {"distributed.comm.tls.ca-file": tls["ca_file"]}
    for role in ("client", "scheduler", "worker"):
        settings |= {f"distributed.comm.tls.{role}.{kind}": tls[f"{role}_{kind}"] for kind in ("cert", "key")}
    names = {name.upper().replace(".", "__").replace("-", "_"): value for name, value in settings.items()}
    env = os.environ | {f"DASK_{name}": value for name, value in names.items()}
    env |= {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "PYTHONPATH": os.getcwd()}
    address = folder / "address.json"
    options = ["--scheduler-file", str(address), "--protocol", "tls", "--no-dashboard", "--host", "127.0.0.1"]
    processes = [run_dask("scheduler", *options, "--port", "0", env=env)]
    try:
        while not address.exists():
            time.sleep(0.1)
        place = yaml.safe_load(address.read_text())["address"]
        each = ("--nthreads", "1", "--local-directory", str(folder), "--no-dashboard", "--host", "127.0.0.1")
        processes += [run_dask("worker", place, *each, env=env) for _ in range(n_workers)]
        yield place, settings
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)


def run_dask(*arguments: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.long
def test_a_scheduler_with_certificates(whole: dict[str, bytes], tmp_path: Path) -> None:
    with tls_cluster(tmp_path, 2) as (address, settings):
        project = on_cluster(tmp_path / "study", address)
        assert fork_run(project, only_missing=False, arm=lambda: dask.config.set(settings)) == 0, log_of(project)
        assert files_of(project) == whole

        other = Security.temporary()
        for name in ("ca_file", "client_cert", "client_key"):
            (tmp_path / f"other_{name}").write_text(getattr(other, f"tls_{name}"))
        wrong = {"distributed.comm.tls.ca-file": str(tmp_path / "other_ca_file")}
        wrong |= {
            f"distributed.comm.tls.client.{kind}": str(tmp_path / f"other_client_{kind}") for kind in ("cert", "key")
        }
        assert fork_run(project, only_missing=False, arm=lambda: configure(wrong)) == 1
        assert "The certificate of tls://" in log_of(project)


def configure(settings: dict[str, Any]) -> None:
    """Change the client's settings, and let it give up early."""
    dask.config.set(settings)
    opening._WAIT_S = 5


@pytest.mark.long
def test_an_open_scheduler_is_refused(tmp_path: Path) -> None:
    made = Security.temporary()
    settings = {"distributed.comm.tls.ca-file": str(tmp_path / "ca_file")}
    settings |= {f"distributed.comm.tls.client.{kind}": str(tmp_path / f"client_{kind}") for kind in ("cert", "key")}
    for name in ("ca_file", "client_cert", "client_key"):
        (tmp_path / name).write_text(getattr(made, f"tls_{name}"))
    address = tmp_path / "address.json"
    options = ("--scheduler-file", str(address), "--no-dashboard", "--host", "127.0.0.1", "--port", "0")
    scheduler = run_dask("scheduler", *options, env=dict(os.environ))
    try:
        while not address.exists():
            time.sleep(0.1)
        place = yaml.safe_load(address.read_text())["address"].replace("tcp://", "tls://")
        project = on_cluster(tmp_path / "study", place)
        assert fork_run(project, only_missing=False, arm=lambda: configure(settings)) == 1
        assert "is not encrypted" in log_of(project)
    finally:
        scheduler.terminate()
        scheduler.wait(20)


def noting(log: Path, then: Callable[[psutil.Process], None] | None, after_s: float) -> Callable[[], None]:
    """Return what notes every piece that is kept, and does something to the run or its workers after a while."""

    def arm() -> None:
        keep = StoredPieces.keep

        def noted(store: Any, piece: Any) -> Any:
            kept = keep(store, piece)
            with log.open("a") as lines:
                print(store._filepath, *piece.keys, file=lines)
            return kept

        StoredPieces.keep = noted  # type: ignore[method-assign]
        if then is not None:
            Thread(target=do, daemon=True).start()

    def do() -> None:
        time.sleep(after_s)
        assert then is not None
        then(psutil.Process())

    return arm


def kill_workers(run: psutil.Process, n_workers: int) -> None:
    for worker in [each for each in run.children(recursive=True) if "spawn_main" in " ".join(each.cmdline())][
        :n_workers
    ]:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def kill_run(run: psutil.Process) -> None:
    os.killpg(run.pid, signal.SIGKILL)


KILLS: dict[str, Callable[[psutil.Process], None]] = {
    "a worker": lambda run: kill_workers(run, 1),
    "all workers": lambda run: kill_workers(run, 9),
    "driver, scheduler and workers": kill_run,
    "SIGTERM": lambda run: run.terminate(),
}


def kill_often(whole: dict[str, bytes], folder: Path, n_kills: int, seed: int) -> Counter[str]:
    """Kill workers and drivers of studies until there were enough, resume each to its end, and compare all files."""
    rng, kills, numbers = random.Random(seed), Counter[str](), iter(range(10**6))
    while kills.total() < n_kills:
        name, log = f"study{next(numbers)}", folder / "kept.log"
        project = on_cluster(folder / name, "local:2")
        log.write_text("")
        runner = DaskRunner() if rng.random() < 0.3 else None
        code, only_missing = 1, False
        while code != 0:
            kind = rng.choice(sorted(KILLS)) if rng.random() < 0.8 else ""
            arm = noting(log, KILLS.get(kind), rng.uniform(3, 20))
            code, only_missing = fork_run(project, only_missing, arm=arm, runner=runner), True
            assert code in (0, 1, -signal.SIGKILL), log_of(project)
            assert code != 1 or kind == "SIGTERM" or "has ended while it started" in log_of(project), log_of(project)
            kills[kind] += bool(kind)
        assert files_of(project) == whole, name
        kept = Counter(log.read_text().splitlines())
        assert max(kept.values(), default=1) == 1, "no finished piece is made twice"
    return kills


@pytest.mark.faults
def test_thirty_kills_of_workers_and_drivers(whole: dict[str, bytes], tmp_path: Path) -> None:
    print(kill_often(whole, tmp_path, 30, seed=1))  # noqa: T201
