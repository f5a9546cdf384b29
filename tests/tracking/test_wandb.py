"""W&B's offline mode: runs on this machine, nothing on any other."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="an extra: uv run --isolated --extra wandb pytest tests/tracking/test_wandb.py")

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import STUDY, PlannedRun
from skinbit.runtime.tracking.wire import Event, Plan, TrackingProcess

LEVELDB_BLOCK, LEVELDB_HEADER, FILE_HEADER = 32768, 7, 7
RUNS = {
    STUDY: PlannedRun(title="study", tags={"level": "study"}),
    "a": PlannedRun(
        title="a",
        parameters={"training.epochs": "3"},
        tags={"level": "experiment", "backbone": "vit"},
        expected={"a.results"},
    ),
    "a.fold_0": PlannedRun(title="a.fold_0", tags={"level": "fold"}, expected={"a.fold_0.history", "a.fold_0.results"}),
}
FILES = {
    "a.final.checkpoint": ("best.safetensors", "weights"),
    "a.fold_0.history": ("history.csv", "epoch,f1\n1,0.1\n2,0.3\n"),
    "a.fold_0.results": ("results.csv", "metric,value\ncosine_f1,0.5\n"),
}


def records(log: Path) -> Iterator:
    """Read a run's log: LevelDB's format, protocol buffers inside."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = log.read_bytes(), FILE_HEADER, b""
    while position + LEVELDB_HEADER <= len(content):
        if LEVELDB_BLOCK - position % LEVELDB_BLOCK < LEVELDB_HEADER:
            position += LEVELDB_BLOCK - position % LEVELDB_BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        position += LEVELDB_HEADER
        parts += content[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A failed study of one fold; its runs by title, and the addresses that were asked for on the way."""
    folder = tmp_path_factory.mktemp("wandb")
    (folder / "final").mkdir()
    for name, content in FILES.values():
        (folder / "final" / name).write_text(content)
    plan = Plan(
        tracking=TrackingParams(backend="wandb"),
        runs=RUNS,
        files={dataset: str(folder / "final" / name) for dataset, (name, _) in FILES.items()},
        outputs="folder",
        resumes=True,
    )
    contacts: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as proxy:
        # W&B's service is no Python: whoever it looks for outside of this machine, it asks the proxy for.
        threading.Thread(target=_answer, args=(proxy, contacts), daemon=True).start()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        process = TrackingProcess(folder)
        process.send(plan)
        for dataset in FILES:
            process.send(Event(dataset=dataset))
        assert process.end(failed=True) is None
    found = [list(records(log)) for log in folder.glob("wandb/offline-run-*/*.wandb")]
    by_title = {
        record.run.display_name: run for run in found for record in run if record.WhichOneof("record_type") == "run"
    }
    return folder, by_title, contacts


def _answer(proxy, contacts):
    while True:
        try:
            connection, _ = proxy.accept()
        except OSError:
            return
        with connection:
            contacts.append(connection.recv(1000))


def only(run, kind):
    return [getattr(record, kind) for record in run if record.WhichOneof("record_type") == kind]


class TestOffline:
    def test_runs_of_a_study_are_a_group_and_say_what_they_are(self, offline):
        _, runs, _ = offline
        described = {
            title: (only(run, "run")[0].run_group, only(run, "run")[0].job_type) for title, run in runs.items()
        }
        assert described == {
            "study": ("study", "study"),
            "a": ("study", "experiment"),
            "a.fold_0": ("study", "fold"),
        }

    def test_curves_have_the_epoch_as_step_and_figures_are_the_summary(self, offline):
        _, runs, _ = offline
        rows = [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
            for row in only(runs["a.fold_0"], "history")
        ]
        assert [(row["_step"], row["training/f1"]) for row in rows] == [(1, 0.1), (2, 0.3)]
        summary = {
            item.key or "/".join(item.nested_key): item.value_json
            for part in only(runs["a.fold_0"], "summary")
            for item in part.update
        }
        assert summary["cosine_f1"] == "0.5"

    def test_parameters_and_tags_are_its_configuration(self, offline):
        _, runs, _ = offline
        config = {item.key: json.loads(item.value_json) for item in only(runs["a"], "run")[0].config.update}
        assert config.items() >= {"training.epochs": "3", "backbone": "vit", "level": "experiment"}.items()

    def test_what_was_not_complete_has_failed(self, offline):
        _, runs, _ = offline
        codes = {title: only(run, "exit")[0].exit_code for title, run in runs.items()}
        assert codes == {"study": 1, "a": 1, "a.fold_0": 0}

    def test_files_are_kept_and_do_not_follow_later_runs(self, offline):
        folder, _, _ = offline
        (kept,) = folder.glob("wandb/offline-run-*/files/final/best.safetensors")
        assert not kept.is_symlink()
        assert kept.read_text() == "weights"

    def test_nothing_is_told_about_the_machine_and_nobody_is_contacted(self, offline):
        folder, runs, contacts = offline
        assert contacts == []
        assert [only(run, "run")[0].host for run in runs.values()] == ["", "", ""]
        told = b"".join(record.SerializeToString() for run in runs.values() for record in run)
        for path in (folder, Path.home(), Path(sys.prefix)):
            assert str(path).encode() not in told
