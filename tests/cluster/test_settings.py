"""What a run refuses about a cluster before it starts anything."""

import ast
import builtins
import errno
import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import dask
import pytest
from distributed import Security
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from pydantic import ValidationError

from skinbit.config import ComputeParams, ExecutorParams
from skinbit.data import progress
from skinbit.data.executor import Execution, LocalExecutor
from skinbit.errors import InputError
from skinbit.runtime.cluster.executor import DaskExecutor, find_hanging
from skinbit.runtime.cluster.opening import _explain, open_cluster
from skinbit.runtime.cluster.workers import Failed, Made, Terms, find_problem, make_piece, same, sendable, set_terms
from skinbit.runtime.locking import hold
from skinbit.runtime.runners import DaskRunner
from skinbit.runtime.session import _ClusterHook

pytestmark = pytest.mark.long  # in a process of its own, see .ci/run

COMPUTE = ComputeParams(device="cpu", threads=1)


@pytest.fixture
def terms(tmp_path):
    """Terms of a run that holds a folder."""
    with hold(tmp_path, "kedro run") as token:
        yield set_terms(COMPUTE, token)


@pytest.fixture(autouse=True)
def loud():
    """Undo that a worker reports nothing."""
    yield
    progress._is_quiet = False


@pytest.mark.parametrize("cluster", [None, "local:1", "local:64", "tls://head-node:8786", "tls://10.0.0.1:1"])
def test_safe_clusters_are_accepted(cluster):
    assert ExecutorParams(cluster=cluster).cluster == cluster


@pytest.mark.parametrize(
    "cluster", ["", "local", "local:0", "local:x", "tls://host", "head-node:8786", "https://host:1"]
)
def test_other_words_are_refused_with_the_choices(cluster):
    with pytest.raises(ValidationError, match=r"null, local:4 .* or tls://host:port"):
        ExecutorParams(cluster=cluster)


@pytest.mark.parametrize("cluster", ["tcp://127.0.0.1:8786", "tcp://head-node:8786"])
def test_a_scheduler_without_encryption_is_refused_with_the_way_to_tls(cluster):
    with pytest.raises(ValidationError, match=r"run code on every worker .*distributed\.comm\.tls.*docs/cluster\.md"):
        ExecutorParams(cluster=cluster)


def test_a_run_without_dask_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without_dask(name, *rest, **options):
        if name == "skinbit.runtime.cluster.opening":
            raise ModuleNotFoundError("No module named 'distributed'", name="distributed")
        return real(name, *rest, **options)

    executor = SimpleNamespace(executor=ExecutorParams(cluster="local:2"))
    monkeypatch.setattr("skinbit.runtime.session.active_parameters", lambda: executor)
    monkeypatch.setattr(builtins, "__import__", without_dask)
    with pytest.raises(InputError, match=r"skinbit\[distributed\]"):
        _ClusterHook(None).before_pipeline_run(catalog={}, run_params={"runner": "SequentialRunner"})


def test_processes_of_parallel_runner_are_refused(monkeypatch):
    executor = SimpleNamespace(executor=ExecutorParams(cluster="local:2"))
    monkeypatch.setattr("skinbit.runtime.session.active_parameters", lambda: executor)
    with pytest.raises(InputError, match=r"ParallelRunner cannot use"):
        _ClusterHook(None).before_pipeline_run(catalog={}, run_params={"runner": "ParallelRunner"})


def test_missing_certificates_are_named_with_the_settings(terms):
    with dask.config.set({"distributed.comm.tls.ca-file": None}):  # noqa: SIM117
        with pytest.raises(InputError, match=r"(?s)tls_ca_file.*distributed\.comm\.tls\.ca-file"):
            with open_cluster("tls://head-node:8786", COMPUTE, terms.token):
                pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("Timed out: [SSL: WRONG_VERSION_NUMBER] wrong version number"), "is not encrypted.*--protocol tls"),
        (OSError("IOStream is not idle; cannot convert to SSL"), "is not encrypted"),
        (OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), "do not fit.*same authority"),
        (OSError("Timed out trying to connect to tls://a:1 after 10 s"), "There is no scheduler at tls://a:1"),
    ],
)
def test_each_failure_to_connect_has_a_message(error, words):
    assert re.search(words, f"{_explain(error, 'tls://a:1')}", re.DOTALL)


def test_a_worker_that_ends_while_it_starts_has_a_message(terms, monkeypatch):
    failing = Mock(side_effect=RuntimeError("Nanny failed to start."))
    monkeypatch.setattr("skinbit.runtime.cluster.opening.LocalCluster", failing)
    with (
        pytest.raises(InputError, match=r"ended while it started .*Nanny"),
        open_cluster("local:2", COMPUTE, terms.token),
    ):
        pass


class TestTerms:
    def test_a_worker_like_the_driver_is_accepted(self, terms):
        assert find_problem(terms) == ""

    def test_another_version_is_named_with_both_numbers(self, terms):
        other = tuple((name, "0.0.1" if name == "torch" else version) for name, version in terms.software)
        problem = find_problem(Terms(other, terms.compute, terms.hardware, terms.token))
        assert "other software (torch " in problem
        assert ", not 0.0.1)" in problem

    def test_another_kind_of_processor_is_named(self, terms):
        hardware = (*terms.hardware[:2], ("hardware", "abacus"))
        assert "abacus" in find_problem(Terms(terms.software, terms.compute, hardware, terms.token))

    def test_a_folder_that_the_worker_does_not_see_is_named(self, terms, tmp_path):
        (tmp_path / ".fingerprints/run.lock").write_text("")
        assert "run.lock, which this run has written" in find_problem(terms)

    def test_a_worker_that_may_start_no_processes_is_named_with_the_setting(self, terms, monkeypatch):
        monkeypatch.setattr("skinbit.runtime.cluster.workers.current_process", lambda: SimpleNamespace(daemon=True))
        assert "DASK_DISTRIBUTED__WORKER__DAEMON=false" in find_problem(terms)

    def test_a_worker_that_joins_later_refuses_pieces(self, terms, tmp_path):
        (tmp_path / ".fingerprints/run.lock").write_text("")
        failed = make_piece(terms, iter, [1])
        assert isinstance(failed, Failed)
        assert "has joined that cannot work for this run" in str(failed.error)


class TestDaskRunner:
    PIPELINE = Pipeline([Node(same, "a", "b"), Node(same, "b", "c")])

    def run(self, executor):
        """Run with two datasets in memory, where pieces are made by an executor."""
        execution = Execution(ExecutorParams(), executor)
        data = {"executor": execution, "a": 1}
        DaskRunner().run(self.PIPELINE, DataCatalog({name: MemoryDataset(each) for name, each in data.items()}))

    def test_needs_a_cluster(self):
        with pytest.raises(InputError, match=r"executor\.cluster names none"):
            self.run(LocalExecutor())

    def test_refuses_datasets_that_other_workers_would_not_find(self):
        with pytest.raises(InputError, match=r"3 datasets are in memory only.*: a, b, c"):
            self.run(DaskExecutor(None))


def fail(error, cause=None):
    """Return what makes pieces and fails."""

    def make(pieces):
        raise error from cause
        yield

    return make


class UnreadableError(Exception):
    """An error that can be written, but not read."""

    def __init__(self, first, second):
        super().__init__(first)


def test_a_piece_comes_with_its_time(terms):
    made = make_piece(terms, lambda pieces: (piece * 2 for piece in pieces), 21)
    assert isinstance(made, Made)
    assert (made.result, made.seconds >= 0) == (42, True)


def test_an_error_comes_with_its_cause_and_number(terms):
    failed = make_piece(terms, fail(InputError("bad photograph"), OSError(errno.EIO, "bad disk", "a.jpg")), 1)
    assert isinstance(failed.error, InputError)
    assert (failed.cause.errno, failed.cause.filename) == (errno.EIO, "a.jpg")


def test_an_error_that_other_processes_cannot_read_comes_as_its_text():
    sent = sendable(UnreadableError("a", "b"))
    assert str(sent) == "UnreadableError: a"
    assert type(sent) is RuntimeError


def test_only_workers_that_are_too_long_at_a_piece_hang(monkeypatch):
    monkeypatch.setattr("skinbit.runtime.cluster.executor.time", lambda: 100.0)

    def worker(key, took, last_seen=100.0):
        return SimpleNamespace(last_seen=last_seen, nanny="tls://a:1", executing={Mock(key=key): took})

    found = {
        "slow": worker("ours", 11),
        "silent": worker("ours", 1, last_seen=85.0),
        "fast": worker("ours", 5),
        "other": worker("theirs", 99),
    }
    assert find_hanging(["ours"], 10, SimpleNamespace(workers=found)) == {"slow": True, "silent": True}


def test_a_worker_reports_nothing(terms):
    make_piece(terms, iter, 1)
    bar = progress.Progress([1], unit="piece", desc="none")
    assert list(bar) == [1]
    assert bar.disable


def test_the_script_for_slurm_starts_encrypted_workers_that_may_start_processes(tmp_path):
    slurm = pytest.importorskip("dask_jobqueue.slurm")
    page = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    code = page.partition("```py\n")[2].partition("```")[0]
    call = next(node.value for node in ast.parse(code).body if isinstance(node, ast.Assign))
    options = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    del options["scheduler_options"]
    certificates = {
        f"distributed.comm.tls.{name}": f"/tls/{name}.pem" for name in ("ca-file", "worker.cert", "worker.key")
    }
    with dask.config.set(certificates):
        job = slurm.SLURMJob(scheduler="tls://head-node:8786", name="w", security=Security(), **options)
    script = job.job_script()
    assert "#SBATCH --mem=4G" in script
    assert script.index("DASK_DISTRIBUTED__WORKER__DAEMON=False") < script.index("distributed.cli.dask_worker tls://")
    assert "--tls-ca-file /tls/ca-file.pem --tls-cert /tls/worker.cert.pem --tls-key /tls/worker.key.pem" in script
