"""The tracking process: whole messages from everywhere, every end, and nothing that leaves the machine."""

import multiprocessing
import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import STUDY, PlannedRun
from skinbit.runtime.tracking.wire import Event, Plan, TrackingProcess

RUNS = {
    STUDY: PlannedRun(title="study", tags={"level": "study"}),
    "a": PlannedRun(title="a", tags={"level": "experiment"}, expected={"a.results", "a.fold_0.results"}),
    "a.fold_0": PlannedRun(title="a.fold_0", tags={"level": "fold"}, expected={"a.fold_0.results"}),
}
N_EVENTS = 200
"""Of one sender; those of all senders are more than a pipe takes in one go."""


@pytest.fixture
def process(tmp_path):
    return TrackingProcess(tmp_path)


@pytest.fixture
def plan(tmp_path):
    """Make plans of the runs above, whose files are in the folder."""
    (tmp_path / "fold.csv").write_text("metric,value\nf1,0.5\n")
    (tmp_path / "results.csv").write_text("metric,mean,std\nf1,0.5,0.1\n")
    files = {"a.results": str(tmp_path / "results.csv"), "a.fold_0.results": str(tmp_path / "fold.csv")}

    def make(runs=RUNS, **tracking):
        return Plan(tracking=TrackingParams(**tracking), runs=runs, files=files, outputs="folder", resumes=False)

    return make


def send_durations(process, name):
    for number in range(N_EVENTS):
        process.send(Event(node=f"a.{name}_{number}", seconds=0.5))


@pytest.mark.long
class TestEnds:
    def test_a_study_that_was_killed_in_the_middle_of_a_message_has_failed(self, database, process, plan, stored):
        process.send(plan())
        process.send(Event(dataset="a.fold_0.results"))
        process._process.stdin.write(b'{"time": 1, "failed": fal')
        process._process.stdin.close()
        with process._process.stdout:
            process._process.wait(timeout=120)
        found = {title: run.status for title, run in stored().items() if title != "earlier"}
        assert found == {"study": "FAILED", "a": "FAILED", "a.fold_0": "FINISHED"}

    def test_two_studies_that_make_the_same_database_at_the_same_time_are_both_there(self, tmp_path, plan, stored):
        processes = [TrackingProcess(tmp_path) for _ in range(2)]
        for number, process in enumerate(processes):
            process.send(plan({STUDY: PlannedRun(title=f"study {number}")}))
        assert [process.end(failed=False) for process in processes] == [None, None]
        assert {title: run.status for title, run in stored().items()} == {"study 0": "FINISHED", "study 1": "FINISHED"}


class TestWire:
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    @pytest.mark.long
    def test_events_from_threads_and_forked_workers_arrive_whole(self, database, process, plan, stored):
        process.send(plan())
        forked = multiprocessing.get_context("fork")
        # Workers first, as Kedro does: a fork in the middle of a thread's write would be none of ours.
        senders = [forked.Process(target=send_durations, args=(process, f"worker{number}")) for number in range(4)]
        senders += [threading.Thread(target=send_durations, args=(process, f"thread{number}")) for number in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert process.end(failed=False) is None
        names = {f"{kind}{number}" for kind in ("thread", "worker") for number in range(4)}
        expected = {f"seconds/{name}_{number}" for name in names for number in range(N_EVENTS)}
        assert stored()["a"].curves == {name: [(0, 0.5)] for name in expected}

    def test_nobody_waits_for_a_server_that_never_answers(self, process, plan):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            process.send(plan(uri=f"http://127.0.0.1:{silent.getsockname()[1]}"))
            sender = threading.Thread(target=lambda: [send_durations(process, "node") for _ in range(20)], daemon=True)
            sender.start()
            sender.join(timeout=60)
            assert not sender.is_alive()
            process._process.kill()
            assert process.end(failed=True) is not None


class TestFailures:
    def test_an_experiment_that_was_deleted_is_named_with_the_remedy(self, database, process, plan):
        with closing(sqlite3.connect(database)) as tables, tables:
            tables.execute("update experiments set lifecycle_stage = 'deleted' where name = 'skinbit'")
        process.send(plan())
        assert "the experiment 'skinbit' was deleted" in process.end(failed=False)

    def test_nothing_is_written_where_the_project_was_before_it_was_moved(
        self, empty_database, process, plan, tmp_path
    ):
        shutil.copy(empty_database, tmp_path)
        before = sorted(empty_database.parent.rglob("*"))
        process.send(plan())
        assert "mlflow.db was made in another folder" in process.end(failed=False)
        assert sorted(empty_database.parent.rglob("*")) == before

    @pytest.mark.parametrize("kind", ["folder", "text"])
    def test_a_database_that_is_none_is_named_at_once_and_leaves_no_folder(self, tmp_path, process, plan, kind):
        place = tmp_path / "mlflow.db"
        place.mkdir() if kind == "folder" else place.write_text("this is a text, and not a database at all")
        began = time.monotonic()
        process.send(plan())
        reason = process.end(False)
        assert time.monotonic() - began < 60  # MLflow tries for 93 s
        assert "mlflow.db is a folder" in reason or "mlflow.db is no database" in reason
        assert "move it away" in reason
        assert not (tmp_path / "mlartifacts").exists()

    def test_a_killed_process_gives_its_exit_code(self, process):
        process._process.kill()
        assert process.end(failed=False) == "the tracking process ended with code -9"


class TestPrivacy:
    WATCH = (
        "import sys\n"
        "def note(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        address = arguments[:2] if event == 'socket.getaddrinfo' else arguments[-1]\n"
        "        open({log!r}, 'a').write(f'{{address}}\\n')\n"
        "sys.addaudithook(note)\n"
    )

    @pytest.fixture
    def watched(self, tmp_path, monkeypatch):
        """Start a process as for a user, not as under test; give it and what it looks up or connects to."""
        log = tmp_path / "contacts"
        (tmp_path / "sitecustomize.py").write_text(self.WATCH.format(log=str(log)))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

        def start():
            # Not before the test runs: pytest sets its variable anew for each phase, and MLflow is discreet under test.
            for name in ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
                monkeypatch.delenv(name, raising=False)
            return TrackingProcess(tmp_path), lambda: log.read_text().splitlines() if log.exists() else []

        return start

    def test_tracking_in_the_project_contacts_nobody(self, database, watched, plan, tmp_path, stored):
        process, contacts = watched()
        process.send(plan())
        process.send(Event(dataset="a.results"))
        assert process.end(failed=False) is None
        assert contacts() == []
        run = stored()["a"]
        assert run.curves == {"f1_mean": [(0, 0.5)], "f1_std": [(0, 0.1)]}
        assert (tmp_path / "mlartifacts" / run.run_id / "artifacts/results.csv").is_file()

    def test_a_server_that_is_away_is_the_only_contact_and_named_without_the_password(
        self, watched, plan, monkeypatch, capfd
    ):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        process, contacts = watched()
        process.send(plan(uri=f"http://me:secret@127.0.0.1:{port}"))  # pragma: allowlist secret
        process._process.wait(timeout=120)
        with pytest.raises(BrokenPipeError):
            process.send(Event(dataset="a.results"))
        reason = process.end(failed=True)
        assert reason.startswith(f"MlflowException: API request to http://127.0.0.1:{port}/")
        assert "secret" not in reason
        assert set(contacts()) == {f"('127.0.0.1', {port})"}
        assert capfd.readouterr() == ("", "")
