"""Studies under `kedro run` with tracking on: read back from the project's own database and from a real server."""

import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager

import pandas as pd
import pytest
import yaml

from skinbit.errors import InputError
from skinbit.runtime.tracking.runs import flatten

EXPERIMENTS = ("vit_baseline", "vit_triplet")
FOLDS = (0, 1)
EPOCHS = 3
STUDY = {"sample_data": False, "experiments": "+".join(EXPERIMENTS), "folds": "0+1"}
SMALL = {
    "split": {"n_folds": 2},
    "data": {"max_lesions": 12},
    "training": {"frozen": {"epochs": EPOCHS, "views": 1}},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
}
ON, OFF = {"enabled": True}, {"enabled": False}
TITLES = {*EXPERIMENTS, *(f"fold_{fold} of {experiment}" for experiment in EXPERIMENTS for fold in FOLDS)}
START_SECONDS = 180


def run(project, tracking=ON, study=STUDY, **options):
    project.run(study=study, tracking=tracking, **SMALL, **options)


def command(study=STUDY, **blocks):
    """Return the command line of the same study."""
    blocks = {"study": study, "tracking": ON, **SMALL, **blocks}
    params = ",".join(
        f"{name}={json.dumps(value)}" if not isinstance(value, str) else f"{name}={value}"
        for name, value in flatten_params(blocks)
    )
    return [sys.executable, "-m", "kedro", "run", "--env", "demo", "--params", params]


def flatten_params(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten_params(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def table(project, path):
    return pd.read_csv(project.root / "data/demo/08_reporting" / path)


def latest(project):
    """Return status and tags of the latest study's runs in the project's own database, by title; its own as STUDY."""
    with closing(sqlite3.connect(project.root / "mlflow.db")) as tables:
        runs = tables.execute("select run_uuid, name, status from runs order by start_time, rowid").fetchall()
        tags = tables.execute("select run_uuid, key, value from tags").fetchall()
    tags_of = {key: {tag: value for owner, tag, value in tags if owner == key} for key, _, _ in runs}
    study = [key for key, _, _ in runs if tags_of[key]["level"] == "study"][-1]
    members = {study}
    members |= {key for key, _, _ in runs if tags_of[key].get("mlflow.parentRunId") in members}
    members |= {key for key, _, _ in runs if tags_of[key].get("mlflow.parentRunId") in members}
    return {
        "STUDY" if key == study else name: (status, tags_of[key] | {"run_id": key})
        for key, name, status in runs
        if key in members
    }


def statuses(runs):
    return {title: status for title, (status, _) in runs.items()}


@contextmanager
def server(folder):
    """A real MLflow server on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    started = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"),
        ],
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}", lambda: os.killpg(started.pid, signal.SIGKILL)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def wait_until(is_so):
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(uri, path, **body):
    """Call MLflow's public interface."""
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def as_dict(entries):
    return {entry["key"]: entry["value"] for entry in entries or []}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def tracked(make_project, photographs, uri):
    """The demo study cut to two experiments and two folds, and its runs on the server by title."""
    project = make_project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKINBIT_RAW_DIR", str(photographs))
        run(project, tracking={**ON, "uri": uri})
    experiment = ask(uri, "experiments/get-by-name?experiment_name=skinbit")["experiment"]["experiment_id"]
    runs = ask(uri, "runs/search", experiment_ids=[experiment], max_results=100)["runs"]
    return project, {found["info"]["run_name"]: found for found in runs}


def study_title(runs):
    (title,) = runs.keys() - TITLES
    return title


def metrics(found):
    return as_dict(found["data"].get("metrics"))


@pytest.mark.long
class TestOnAServer:
    def test_study_experiments_and_folds_are_nested_and_finished(self, tracked):
        _, runs = tracked
        assert len(runs) == 1 + len(TITLES)
        ids = {title: found["info"]["run_id"] for title, found in runs.items()}
        study = study_title(runs)
        assert study.startswith("demo 20")
        for title, found in runs.items():
            assert found["info"]["status"] == "FINISHED"
            parent = as_dict(found["data"]["tags"]).get("mlflow.parentRunId")
            above = study if title in EXPERIMENTS else title.rpartition(" of ")[2]
            assert parent == (None if title == study else ids[above])

    def test_parameters_of_an_experiment_are_its_resolved_configuration(self, tracked):
        project, runs = tracked
        for experiment in EXPERIMENTS:
            path = project.root / f"data/demo/08_reporting/{experiment}/resolved_config.yaml"
            assert as_dict(runs[experiment]["data"]["params"]) == flatten(yaml.safe_load(path.read_text()))

    def test_tags_tell_backbone_loss_data_and_split(self, tracked):
        project, runs = tracked
        tables = project.root / "data/demo/02_intermediate"
        hashes = {
            tag: hashlib.sha256((tables / f"{table}.csv").read_bytes()).hexdigest()
            for tag, table in {"data_hash": "image_index", "split_hash": "split"}.items()
        }
        shared = {"environment": "demo", **hashes}
        for title, found in runs.items():
            assert as_dict(found["data"]["tags"]).items() >= shared.items(), title
        tags = as_dict(runs["fold_1 of vit_triplet"]["data"]["tags"])
        assert tags.items() >= {"backbone": "vit", "loss": "triplet", "frozen": "true", "fold": "1"}.items()

    def test_figures_of_folds_and_their_mean_and_spread_are_those_of_the_results(self, tracked):
        project, runs = tracked
        for experiment in EXPERIMENTS:
            results = table(project, f"{experiment}/results.csv").set_index("metric")
            for metric, row in results.iterrows():
                expected = {f"{metric}_{column}": row[column] for column in ("mean", "std", "test")}
                found = metrics(runs[experiment])
                assert {name: found[name] for name in expected if name in found} == pytest.approx(
                    {name: value for name, value in expected.items() if pd.notna(value)}
                )
                for fold in FOLDS:
                    if pd.notna(row[f"fold_{fold}"]):
                        assert metrics(runs[f"fold_{fold} of {experiment}"])[metric] == pytest.approx(
                            row[f"fold_{fold}"]
                        )

    def test_curves_have_a_point_per_epoch(self, tracked, uri):
        project, runs = tracked
        for fold in FOLDS:
            path = project.root / f"data/demo/07_model_output/vit_triplet/fold_{fold}/history.csv"
            history = pd.read_csv(path)
            run_id = runs[f"fold_{fold} of vit_triplet"]["info"]["run_id"]
            for column in ("loss", "f1", "recall_at_1", "learning_rate"):
                points = ask(uri, f"metrics/get-history?run_id={run_id}&metric_key=training/{column}")["metrics"]
                found = {int(point.get("step", 0)): point["value"] for point in points}
                assert found == pytest.approx(dict(zip(history["epoch"], history[column], strict=True)))

    def test_durations_are_there(self, tracked):
        _, runs = tracked
        assert metrics(runs["fold_0 of vit_triplet"])["seconds/train_model"] > 0
        assert metrics(runs["vit_triplet"])["seconds/final.train_model"] > 0
        assert metrics(runs[study_title(runs)])["seconds/baseline_embeddings.extract_vit_features"] > 0

    def test_files_are_those_of_the_study(self, tracked, uri):
        project, runs = tracked
        pages = [f"{kind}misclassifications_{method}" for kind in ("", "test_") for method in ("cosine", "dbscan")]
        expected = {
            "results.csv",
            "strata.csv",
            "resolved_config.yaml",
            "f1_curves.png",
            "training_curves.png",
            "final",
        }
        expected |= {f"{page}.json" if page.startswith("test") else f"{page}.html" for page in pages}
        run_id = runs["vit_triplet"]["info"]["run_id"]
        listed = ask(uri, f"artifacts/list?run_id={run_id}")["files"]
        assert {entry["path"] for entry in listed} == expected
        address = f"{uri}/get-artifact?run_uuid={run_id}&path=final/best.safetensors"
        with urllib.request.urlopen(address, timeout=60) as response:
            made = project.root / "data/demo/06_models/vit_triplet/final/best.safetensors"
            assert response.read() == made.read_bytes()
        listed = ask(uri, f"artifacts/list?run_id={runs[study_title(runs)]['info']['run_id']}")["files"]
        assert {entry["path"] for entry in listed} == {"leaderboard.csv", "report.html"}

    def test_parameters_and_tags_hold_no_path_and_no_image(self, tracked):
        project, runs = tracked
        ids = pd.read_csv(project.root / "data/demo/02_intermediate/metadata.csv", dtype=str)
        told = json.dumps(
            [[found["data"]["params"], found["data"]["tags"]] for found in runs.values() if "params" in found["data"]]
        )
        assert str(project.root) not in told
        assert not [value for column in ("image_id", "lesion_id") for value in ids[column] if value in told]


@pytest.mark.long
class TestServerThatDies:
    def test_in_the_middle_of_a_study_costs_one_warning_and_no_result(self, project, user_data, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with server(tmp_path / "server") as (uri, kill):
            study = subprocess.Popen(
                command(tracking={**ON, "uri": uri}), cwd=project.root, stderr=subprocess.PIPE, text=True
            )
            experiments = f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=skinbit"
            wait_until(lambda: answers(experiments) or study.poll() is not None)
            kill()
            _, told = study.communicate(timeout=300)
        assert study.returncode == 0, told
        assert told.count("tracking is incomplete: MlflowException: ") == 1
        assert "tracking.enabled=false" in told
        with closing(sqlite3.connect(tmp_path / "server/server.db")) as tables:
            finished = tables.execute("select count(*) from runs where status = 'FINISHED'").fetchone()
        assert finished == (0,), "the server was there to the end"
        assert sorted(table(project, "leaderboard.csv")["experiment"]) == sorted(EXPERIMENTS)
        for experiment in EXPERIMENTS:
            assert (project.root / f"data/demo/06_models/{experiment}/final/best.safetensors").is_file()


@pytest.fixture(scope="module")
def made(make_project, photographs):
    """A finished study that was not tracked; never changed."""
    project = make_project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKINBIT_RAW_DIR", str(photographs))
        run(project, tracking=OFF)
    return project


@pytest.fixture
def done(made, project, user_data):
    """A copy of it."""
    shutil.copytree(made.root / "data", project.root / "data")
    return project


@pytest.mark.long
class TestRunners:
    @pytest.mark.parametrize(("runner", "start_method"), [("ThreadRunner", "fork"), ("ParallelRunner", "spawn")])
    def test_every_runner_leaves_the_same_tree(self, done, runner, start_method):
        """Threads tell what they make; spawned workers know of no hook, so the study tells for them."""
        one = {**STUDY, "experiments": "vit_baseline"}
        options = ["--pipelines", "evaluation", "--runner", runner]
        environment = os.environ | {"KEDRO_MP_CONTEXT": start_method}
        subprocess.run([*command(one), *options], cwd=done.root, env=environment, check=True, timeout=300)
        runs = latest(done)
        assert statuses(runs) == dict.fromkeys(
            ("STUDY", "vit_baseline", "fold_0 of vit_baseline", "fold_1 of vit_baseline"), "FINISHED"
        )
        with closing(sqlite3.connect(done.root / "mlflow.db")) as tables:
            query = "select value from latest_metrics where run_uuid = ? and key = 'cosine_f1'"
            for fold in FOLDS:
                found = tables.execute(query, [runs[f"fold_{fold} of vit_baseline"][1]["run_id"]]).fetchall()
                results = table(done, f"vit_baseline/fold_{fold}/results.csv").set_index("metric")["value"]
                assert found == [(results["cosine_f1"],)]
        files = {path.name for path in (done.root / "mlartifacts").rglob("*") if path.is_file()}
        assert files >= {"results.csv", "resolved_config.yaml", "f1_curves.png", "leaderboard.csv"}


@pytest.mark.long
class TestEnds:
    def test_an_error_fails_the_study_and_what_was_not_complete(self, done):
        spoilt = done.root / "data/demo/07_model_output/vit_triplet/fold_1/embeddings.safetensors"
        spoilt.write_bytes(b"no embeddings")
        with pytest.raises(InputError):
            run(done, pipelines=("evaluation",))
        ended = statuses(latest(done))
        assert (ended["STUDY"], ended["vit_triplet"]) == ("FAILED", "FAILED")

    def test_ctrl_c_fails_the_study(self, project, user_data):
        endless = {"frozen": {"epochs": 100_000, "views": 1}}
        study = subprocess.Popen(
            command(training=endless), cwd=project.root, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_until(lambda: "RUNNING" in running(project, "fold_0 of vit_triplet") or study.poll() is not None)
        os.killpg(study.pid, signal.SIGINT)
        _, told = study.communicate(timeout=120)
        assert study.returncode not in (0, None), told
        wait_until(lambda: running(project, "fold_0 of vit_triplet") == ["FAILED"])
        wait_until(lambda: statuses(latest(project))["STUDY"] == "FAILED")

    def test_a_resumed_study_says_what_it_continues_and_holds_everything(self, done):
        run(done, pipelines=("final_model",))
        first = latest(done)["STUDY"][1]["run_id"]
        (done.root / "data/demo/08_reporting/vit_triplet/fold_1/results.csv").unlink()
        run(done, only_missing=True)
        runs = latest(done)
        assert runs["STUDY"][1]["continues"] == first
        assert statuses(runs) == dict.fromkeys({"STUDY", *TITLES}, "FINISHED")
        made_again = {"vit_triplet", "fold_1 of vit_triplet"}
        assert {title for title, (_, tags) in runs.items() if "kept" in tags} == TITLES - made_again


def running(project, title):
    """Return the statuses of the runs of a title, as far as there is a database."""
    try:
        with closing(sqlite3.connect(f"file:{project.root}/mlflow.db?mode=ro", uri=True)) as tables:
            return [status for (status,) in tables.execute("select status from runs where name = ?", [title])]
    except sqlite3.OperationalError:
        return []


@pytest.mark.long
class TestOff:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_the_study_itself_never_imports_mlflow(self, done, enabled):
        script = (
            "import sys\n"
            "from kedro.framework.cli.cli import main\n"
            f"sys.argv = ['kedro', *{command(tracking={'enabled': enabled})[3:]}, '--pipelines', 'data_split']\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code\n"
            "print([module for module in ('mlflow', 'wandb') if module in sys.modules])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=done.root, capture_output=True, text=True, check=True, timeout=300
        )
        assert ended.stdout.strip().endswith("[]")
        assert (done.root / "mlflow.db").exists() == enabled

    def test_how_a_study_is_tracked_makes_no_output_stale(self, done):
        before = done.outputs()
        run(done, tracking={**ON, "experiment": "other", "artifacts": "config"}, only_missing=True)
        assert done.outputs() == before
        assert not (done.root / "mlflow.db").exists(), "a study that makes nothing is not tracked"

    def test_a_run_that_measures_nothing_is_not_tracked(self, project):
        project.run(
            pipelines=("sample_data",),
            sample={"n_lesions": 2, "n_unlabelled": 0, "width": 32, "height": 32},
            tracking=ON,
        )
        assert not (project.root / "mlflow.db").exists()

    def test_a_library_that_is_missing_is_named_before_anything_is_called_tracked(self, done, monkeypatch, caplog):
        monkeypatch.setattr("skinbit.runtime.tracking.hooks.find_spec", lambda _: None)
        with caplog.at_level(logging.INFO, logger="skinbit"):
            run(done, pipelines=("data_split",), tracking={**ON, "backend": "wandb"})
        assert caplog.text.count("Weights & Biases is not installed; `uv sync --extra wandb` installs it") == 1
        assert "tracked in" not in caplog.text

    def test_a_process_that_cannot_start_costs_one_warning(self, done, monkeypatch, caplog):
        monkeypatch.setattr(sys, "executable", str(done.root / "no-python"))
        with caplog.at_level(logging.WARNING, logger="skinbit"):
            run(done, pipelines=("data_split",))
        assert caplog.text.count("tracking is incomplete: FileNotFoundError") == 1
