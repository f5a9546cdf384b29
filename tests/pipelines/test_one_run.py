"""One run at a time in a folder; one that is asked to stop, or lacks something, ends with one message."""

import os
import signal
import subprocess
import sys
import time

import pytest

from skinbit.errors import InputError
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.locking import LOCK, hold, remove_leftovers

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

    def test_a_folder_elsewhere_has_no_lock(self):
        assert FingerprintsDataset(path="memory://outputs/.fingerprints").local_root() is None


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
