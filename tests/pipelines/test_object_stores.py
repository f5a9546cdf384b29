"""Photographs and outputs in buckets of S3: the same files, one run at a time, one message where something fails."""

import json
import logging
import os
import shutil
from pathlib import Path
from urllib.request import Request, urlopen

import fsspec
import pytest
from s3fs import S3FileSystem

from skinbit.errors import InputError
from skinbit.runtime.grouping import group_folder
from skinbit.runtime.session import StudySession

pytestmark = pytest.mark.long

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMIK7MDENG"
LOCK = "archive/out/.fingerprints/run.lock"
STUDY = {
    "sample": {"n_lesions": 24, "n_unlabelled": 12, "width": 64, "height": 48},
    "study": {"experiments": "resnet_zooms+resnet_triplet", "folds": "0+1"},  # the second one trains on photographs
    "training": {"fine_tuned": {"epochs": 1}},
    "evaluation": {"resamples": 100},
    "loader": {"workers": 0},
}
OWN = {"study": {"sample_data": False, "experiments": "resnet_baseline"}}
HOLDER = {
    "lock": f"s3://{LOCK}",
    "token": "other",
    "pid": 7,
    "host": "node7",
    "command": "kedro run",
    "started": "2026",
}


@pytest.fixture(scope="module")
def endpoint():
    """A server of S3 on this machine, and the environment that leads to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        S3FileSystem.clear_instance_cache()
        yield address
        S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def store(endpoint):
    """The file system of this server, with the bucket `archive`."""
    fs = fsspec.filesystem("s3")
    fs.mkdir("archive")
    return fs


@pytest.fixture
def fresh(store):
    """The store, whose file systems are made again before and after the test, since settings are read when they are."""
    S3FileSystem.clear_instance_cache()
    yield store
    S3FileSystem.clear_instance_cache()


def move(project, raw_dir="s3://archive/raw", root="s3://archive/out"):
    """Add the environment `s3` to a project: the demo with other places."""
    shutil.copytree(project.root / "conf/demo", project.root / "conf/s3", dirs_exist_ok=True)
    (project.root / "conf/s3/globals.yml").write_text(f"raw_dir: {raw_dir}\nroot: {root}\n")


def objects(store, folder):
    """Return every object below a folder, by path."""
    paths = store.find(folder)
    return {path.removeprefix(f"{folder}/"): store.cat_file(path) for path in paths}


class LogLines(logging.Handler):
    """Keeps what is logged, by any library and at any level."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def finished(make_project, store):
    """A small demo with two folds, on this machine and in the bucket; and what was logged of the second one."""
    project, log = make_project(), LogLines()
    move(project)
    project.run(**STUDY)
    logging.getLogger().addHandler(log)
    project.run(env="s3", **STUDY)
    logging.getLogger().removeHandler(log)
    return project, log.lines


class TestWholeDemo:
    def test_all_files_are_those_of_a_run_on_this_machine(self, finished, store):
        here = finished[0].outputs()
        there = {
            path: content for path, content in objects(store, "archive/out").items() if ".fingerprints" not in path
        }
        assert len(here) > 60
        assert sorted(there) == sorted(here)
        assert [path for path, content in here.items() if there[path] != content] == []

    def test_so_are_the_photographs(self, finished, store):
        raw = finished[0].root / "data/demo/01_raw"
        here = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
        assert objects(store, "archive/raw") == here

    def test_nothing_unfinished_is_left_nor_the_lock(self, finished, store):
        left = [path for path in objects(store, "archive/out") if path.endswith((".lock", ".tmp"))]
        assert left == []

    def test_no_credentials_are_in_a_file_or_in_the_log(self, finished, store):
        assert not [path for path, content in objects(store, "archive").items() if SECRET.encode() in content]
        assert not [path for path, content in objects(store, "archive").items() if KEY.encode() in content]
        assert not [line for line in finished[1] if SECRET in line or KEY in line]

    def test_the_log_ends_with_addresses(self, finished):
        assert any("s3://archive/out/08_reporting/report.html" in line for line in finished[1])

    def test_a_browser_is_told_that_a_page_is_one(self, finished, store):
        assert store.info("archive/out/08_reporting/report.html")["ContentType"] == "text/html"

    def test_a_run_for_missing_outputs_makes_only_what_is_gone(self, finished, store):
        before = store.find("archive/out", detail=True)
        store.rm_file("archive/out/08_reporting/leaderboard.csv")
        finished[0].run(env="s3", only_missing=True, **STUDY)
        after = store.find("archive/out", detail=True)
        made = [path for path in after if after[path]["LastModified"] != before[path]["LastModified"]]
        assert {path for path in made if ".fingerprints" not in path} <= {
            "archive/out/08_reporting/leaderboard.csv",
            "archive/out/08_reporting/report.html",
        }
        assert {path: entry["ETag"] for path, entry in after.items()} == {
            path: entry["ETag"] for path, entry in before.items()
        }

    def test_a_damaged_object_is_noticed(self, finished, store):
        path = "archive/out/02_intermediate/split.csv"
        whole = store.cat_file(path)
        store.pipe_file(path, whole[:-20])
        with StudySession.create(project_path=finished[0].root, env="s3") as session:
            catalog = session.load_context().catalog
        with pytest.raises(InputError, match=r"s3://archive/out/02_intermediate/split.csv was damaged, edited or repl"):
            catalog.load("split")
        store.pipe_file(path, whole)

    def test_a_folder_of_the_store_is_grouped_as_one_of_this_machine(self, finished, store, monkeypatch, tmp_path):
        project = finished[0]
        monkeypatch.chdir(project.root)
        store.put(str(project.root / "data/demo/01_raw/unlabelled_images"), "archive/new", recursive=True)
        named = {"experiment": "resnet_zooms"}
        here = group_folder(
            "demo", {**STUDY, "cluster": named | {"images": "data/demo/01_raw/unlabelled_images"}}, None
        )
        cluster = named | {"images": "s3://archive/new"}
        there = group_folder("s3", {**STUDY, "cluster": cluster}, tmp_path)
        assert there["table"] == str(tmp_path / "clustered_images.csv")
        for table in (there["table"], "s3://archive/out/07_model_output/clusters/clustered_images.csv"):
            with fsspec.open(table, "rb") as file:
                assert file.read() == (project.root / here["table"]).read_bytes()
        with pytest.raises(InputError, match="--out names a folder on this machine"):
            group_folder("s3", {"cluster": cluster}, Path("s3://archive/copies"))


class TestLock:
    @pytest.fixture(autouse=True)
    def _moved(self, project, store):
        move(project)
        yield
        if store.exists(LOCK):
            store.rm_file(LOCK)

    def test_a_second_run_names_the_first_and_how_to_go_on_if_it_was_killed(self, project, store):
        store.pipe_file(LOCK, json.dumps(HOLDER).encode())
        with pytest.raises(InputError) as refused:
            project.run(env="s3", **OWN)
        for said in ("Process 7 on node7 (`kedro run`, since 2026) is writing to s3://archive/out", f"s3://{LOCK}"):
            assert said in refused.value.message
        assert store.exists(LOCK)

    def test_the_store_lets_only_one_of_two_runs_in_that_see_no_other(self, project, store, monkeypatch):
        from skinbit.runtime import locking

        seen = iter([None])  # nobody; then the real holder
        read = locking._read_holder
        monkeypatch.setattr(locking, "_read_holder", lambda lock: next(seen) if seen.__length_hint__() else read(lock))
        store.pipe_file(LOCK, json.dumps(HOLDER).encode())
        with pytest.raises(InputError, match="Process 7 on node7"):
            project.run(env="s3", **OWN)
        assert json.loads(store.cat_file(LOCK)) == HOLDER


class TestOneMessage:
    @pytest.mark.parametrize("places", [{"raw_dir": "s3://nowhere/raw"}, {"root": "s3://nowhere/out"}])
    def test_a_bucket_that_is_not_there(self, project, fresh, places):
        move(project, **places)
        with pytest.raises(InputError, match=r"There is no bucket nowhere.*\n  Remedy: correct the address"):
            project.run(env="s3", **OWN)
        assert not fresh.exists("nowhere")

    def test_a_bucket_of_photographs_to_group_that_is_not_there(self, project, fresh, monkeypatch):
        move(project)
        monkeypatch.chdir(project.root)
        with pytest.raises(InputError, match="There is no bucket nowhere at s3://nowhere/new"):
            group_folder("s3", {"cluster": {"images": "s3://nowhere/new"}}, None)

    def test_no_credentials(self, project, fresh, monkeypatch):
        move(project)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(InputError, match="There are no credentials for the object store"):
            project.run(env="s3", **OWN)

    def test_an_endpoint_that_does_not_answer(self, project, fresh, monkeypatch):
        move(project)
        monkeypatch.setattr(S3FileSystem, "retries", 1)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(InputError, match=r"127.0.0.1:9 cannot be reached.\n  Remedy: .* AWS_ENDPOINT_URL"):
            project.run(env="s3", **OWN)

    def test_access_that_is_refused_and_nothing_of_the_credentials(self, project, fresh, endpoint):
        move(project)
        command = Request(f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})
        urlopen(command).close()  # from now on credentials are looked at
        try:
            with pytest.raises(InputError, match="refuses access") as refused:
                project.run(env="s3", **OWN)
        finally:
            urlopen(Request(command.full_url, data=b"1000000", headers=dict(command.headers))).close()
        assert KEY not in refused.value.message
        assert SECRET not in refused.value.message
