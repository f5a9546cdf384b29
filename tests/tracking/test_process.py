"""The tracking process: whole messages from everywhere, every end, and nothing that leaves the machine."""

import multiprocessing
import os
import shutil
import socket
import sqlite3
import threading
from contextlib import closing

import pytest

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.link import TrackingLink
from skinbit.runtime.tracking.messages import STUDY, Artifact, Content, Metric, Note, Plan, PlannedRun

RUNS = {
    STUDY: PlannedRun(title="study", tags={"level": "study"}),
    "a": PlannedRun(title="a", tags={"level": "experiment"}, expected={"a.results", "a.fold_0.results"}),
    "a.fold_0": PlannedRun(title="a.fold_0", tags={"level": "fold"}, expected={"a.fold_0.results"}),
}
N_POINTS = 1200
"""Of one message: more than MLflow takes in one request, and than a pipe takes in one go."""


@pytest.fixture
def link(tmp_path):
    return TrackingLink(tmp_path)


def plan(**tracking):
    return Plan(tracking=TrackingParams(**tracking), runs=RUNS, outputs="folder", resumes=False)


def note(dataset, *metrics, artifacts=()):
    return Note(dataset=dataset, contents={dataset.rpartition(".")[0]: Content(metrics=metrics, artifacts=artifacts)})


def send_curve(link, name):
    link.send(Note(contents={"a": Content(metrics=tuple(Metric(name, 0.5, step) for step in range(N_POINTS)))}))


@pytest.mark.long
class TestEnds:
    def test_a_study_that_was_killed_in_the_middle_of_a_message_has_failed(self, database, link, stored):
        link.send(plan())
        link.send(note("a.fold_0.results", Metric("f1", 0.5)))
        os.write(link._wire, b'{"kind": "no')
        os.close(link._wire)
        link._process.communicate(timeout=120)
        found = {title: run.status for title, run in stored().items() if title != "earlier"}
        assert found == {"study": "FAILED", "a": "FAILED", "a.fold_0": "FINISHED"}

    def test_two_studies_that_make_the_same_database_at_the_same_time_are_both_there(self, tmp_path, stored):
        links = [TrackingLink(tmp_path) for _ in range(2)]
        for number, link in enumerate(links):
            runs = {STUDY: PlannedRun(title=f"study {number}")}
            link.send(plan().model_copy(update={"runs": runs}))
        assert [link.end(failed=False) for link in links] == [None, None]
        assert {title: run.status for title, run in stored().items()} == {"study 0": "FINISHED", "study 1": "FINISHED"}


class TestWire:
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_messages_from_threads_and_forked_workers_arrive_whole(self, database, link, stored):
        link.send(plan())
        forked = multiprocessing.get_context("fork")
        senders = [threading.Thread(target=send_curve, args=(link, f"thread{number}")) for number in range(4)]
        senders += [forked.Process(target=send_curve, args=(link, f"worker{number}")) for number in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert link.end(failed=False) is None
        curves = stored()["a"].curves
        assert curves.keys() == {f"{kind}{number}" for kind in ("thread", "worker") for number in range(4)}
        assert all(curve == [(step, 0.5) for step in range(N_POINTS)] for curve in curves.values())

    def test_nobody_waits_for_a_server_that_never_answers(self, link):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            link.send(plan(uri=f"http://127.0.0.1:{silent.getsockname()[1]}"))
            sender = threading.Thread(target=lambda: [send_curve(link, "f1") for _ in range(50)], daemon=True)
            sender.start()
            sender.join(timeout=60)
            assert not sender.is_alive()
            link._process.kill()
            assert link.end(failed=True) is not None


class TestFailures:
    def test_an_experiment_that_was_deleted_is_named_with_the_remedy(self, database, link):
        with closing(sqlite3.connect(database)) as tables, tables:
            tables.execute("update experiments set lifecycle_stage = 'deleted' where name = 'skinbit'")
        link.send(plan())
        assert "the experiment 'skinbit' was deleted" in link.end(failed=False)

    def test_nothing_is_written_where_the_project_was_before_it_was_moved(self, empty_database, link, tmp_path):
        shutil.copy(empty_database, tmp_path)
        before = sorted(empty_database.parent.rglob("*"))
        link.send(plan())
        assert "mlflow.db was made in another folder" in link.end(failed=False)
        assert sorted(empty_database.parent.rglob("*")) == before

    def test_a_killed_process_gives_its_exit_code(self, link):
        link._process.kill()
        assert link.end(failed=False) == "the tracking process ended with code -9"


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
            return TrackingLink(tmp_path), lambda: log.read_text().splitlines() if log.exists() else []

        return start

    def test_tracking_in_the_project_contacts_nobody(self, database, watched, tmp_path, stored):
        (tmp_path / "results.csv").write_text("metric,value\n")
        file = Artifact(str(tmp_path / "results.csv"), "final")
        link, contacts = watched()
        link.send(plan())
        link.send(note("a.results", Metric("f1", 0.5), artifacts=(file,)))
        assert link.end(failed=False) is None
        assert contacts() == []
        run = stored()["a"]
        assert run.curves == {"f1": [(0, 0.5)]}
        assert (tmp_path / "mlartifacts" / run.run_id / "artifacts/final/results.csv").is_file()

    def test_a_server_that_is_away_is_the_only_contact_and_named_without_the_password(
        self, watched, monkeypatch, capfd
    ):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        link, contacts = watched()
        link.send(plan(uri=f"http://me:secret@127.0.0.1:{port}"))  # pragma: allowlist secret
        link._process.wait(timeout=120)
        with pytest.raises(BrokenPipeError):
            link.send(note("a.results"))
        reason = link.end(failed=True)
        assert reason.startswith(f"MlflowException: API request to http://127.0.0.1:{port}/")
        assert "secret" not in reason
        assert set(contacts()) == {f"('127.0.0.1', {port})"}
        assert capfd.readouterr() == ("", "")
