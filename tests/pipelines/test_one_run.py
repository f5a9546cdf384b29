"""One run at a time in a folder; one that is asked to stop, or lacks something, ends with one message."""

import os
import signal
import subprocess
import sys
import time
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from skinbit.errors import InputError
from skinbit.runtime.datasets.files import connect
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.locking import LOCK, hold, hold_elsewhere, remove_leftovers

TEMPORARY = f".split.csv.{'0' * 32}.tmp"
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")


@pytest.fixture
def fork():
    """Run something in a child process, which then sleeps until it is killed."""
    children = []

    def start(work):
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            work()
            os.write(writable, b"x")
            time.sleep(60)
            os._exit(0)
        children.append(child)
        os.read(readable, 1)
        return child

    yield start
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
class TestLock:
    def test_a_second_run_in_the_same_folder_names_the_first(self, project):
        with hold(project.root / "data/demo", "kedro run --env demo"), pytest.raises(InputError) as refused:
            project.run()
        for said in (f"Process {os.getpid()} (`kedro run --env demo`, since 20", "data/demo", "Remedy"):
            assert said in refused.value.message
        assert not project.outputs()

    def test_another_folder_is_free_even_inside_of_it(self, tmp_path):
        with hold(tmp_path, "one"), hold(tmp_path / "demo", "another"):
            pass

    @forks
    def test_the_kernel_frees_the_folder_of_a_run_that_is_killed(self, tmp_path, fork):
        held = hold(tmp_path, "killed")
        child = fork(held.__enter__)
        with pytest.raises(InputError, match=f"Process {child}"), hold(tmp_path, "second"):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        with hold(tmp_path, "second"):
            pass

    @forks
    def test_a_worker_that_outlives_its_run_neither_holds_the_folder_nor_writes_to_it(self, tmp_path, fork):
        with hold(tmp_path, "first") as token:
            fork(lambda: None)
            token.check()
        with hold(tmp_path, "second"), pytest.raises(InputError, match="has ended"):
            token.check()

    def test_the_lock_is_empty_afterwards_so_that_equal_runs_leave_equal_folders(self, tmp_path):
        with hold(tmp_path, "first"):
            pass
        assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b""]

    def test_leftovers_of_killed_saves_are_removed_but_not_those_of_a_run_in_a_folder_inside(self, tmp_path):
        (tmp_path / "02_intermediate").mkdir()
        for name in (TEMPORARY, "split.csv", ".hidden", ".mine.tmp"):
            (tmp_path / "02_intermediate" / name).write_text("x")
        with hold(tmp_path / "demo", "another"):
            (tmp_path / "demo" / TEMPORARY).write_text("x")
            remove_leftovers(tmp_path)
            assert (tmp_path / "demo" / TEMPORARY).exists()
        assert sorted(os.listdir(tmp_path / "02_intermediate")) == [".hidden", ".mine.tmp", "split.csv"]

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="Nothing can be written to"), hold(tmp_path / "file", "run"):
            pass

    def test_a_folder_elsewhere_has_an_address_and_no_place_on_this_machine(self):
        records = FingerprintsDataset(path="memory:///outputs/.fingerprints")
        assert (records.local_root(), records.root()) == (None, "memory:///outputs")


class TestLockElsewhere:
    @pytest.fixture
    def root(self):
        return f"memory:///{uuid4().hex}"

    def test_a_second_run_names_the_first_and_how_to_go_on_if_it_was_killed(self, root):
        with hold_elsewhere(root, "kedro run --env demo"), pytest.raises(InputError) as refused:
            hold_elsewhere(root, "second").__enter__()
        for said in (
            f"Process {os.getpid()} (`kedro run --env demo`, since 20",
            f"if it was killed, remove {root}/{LOCK}",
        ):
            assert said in refused.value.message

    def test_a_run_that_ends_or_fails_frees_the_folder(self, root):
        with hold_elsewhere(root, "first"):
            pass
        with pytest.raises(ValueError, match="failed"), hold_elsewhere(root, "second"):
            raise ValueError("failed")
        with hold_elsewhere(root, "third") as token:
            token.check()

    def test_a_run_whose_lock_was_removed_writes_nothing_once_another_has_begun(self, root):
        with hold_elsewhere(root, "first") as token:
            fsspec.filesystem("memory").rm_file(f"{root}/{LOCK}".removeprefix("memory://"))
            with hold_elsewhere(root, "second") as second:
                with pytest.raises(InputError, match="has ended"):
                    token.check()
                second.check()

    def test_a_store_that_replaces_what_it_was_asked_not_to_is_named(self, root, monkeypatch, caplog):
        with hold_elsewhere(root, "first"):
            assert not caplog.records
        pipe = MemoryFileSystem.pipe_file
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, data, mode: pipe(self, path, data))
        with hold_elsewhere(root, "second"):
            assert "two runs that start at the same moment" in caplog.text


def test_an_address_of_which_nothing_is_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(
        InputError, match=r"s3://archive/raw cannot be opened: Install s3fs.*\n  Remedy: `uv sync --extra s3`"
    ):
        connect("s3://archive/raw")


def test_an_address_of_no_store_is_named():
    with pytest.raises(InputError, match="s4://archive/raw cannot be opened: Protocol not known"):
        connect("s4://archive/raw")


@pytest.fixture
def begun(project):
    """Begin a run that makes photographs for minutes, as a process of its own."""
    processes = []

    def begin(runner):
        options = ["--pipelines", "sample_data", "--runner", runner, "--params", "sample.n_lesions=20000"]
        command = [sys.executable, "-m", "kedro", "run", "--env", "demo", *options]
        processes.append(
            subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        lock, deadline = project.root / "data/demo" / LOCK, time.monotonic() + 100
        while not (lock.exists() and lock.read_text()):
            assert time.monotonic() < deadline, "the run has not begun"
            time.sleep(0.05)
        time.sleep(0.5)
        return processes[0]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@forks
class TestStop:
    @pytest.mark.parametrize(
        ("number", "runner"), [(signal.SIGINT, "SequentialRunner"), (signal.SIGTERM, "ParallelRunner")]
    )
    def test_ends_at_once_with_one_line_that_says_how_to_go_on(self, project, begun, number, runner):
        run = begun(runner)
        with pytest.raises(InputError, match=f"Process {run.pid} .`kedro run --env demo --pipelines sample_data`"):
            project.run()
        run.send_signal(number)
        printed, said = run.communicate(timeout=60)
        assert run.returncode == 128 + number
        assert f"Interrupted by {number.name}. The same command with --only-missing-outputs continues" in said
        assert "Traceback" not in printed + said
        assert not list((project.root / "data/demo").rglob(".*.tmp"))
