"""Paths as people write them: absolute, with ``~``, blanks, commas, and names that look like numbers."""

import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from pydantic import ValidationError

from skinbit.cli import cli
from skinbit.config import BackboneParams, TrackingParams
from skinbit.config.evaluation import ClusterParams
from skinbit.errors import InputError
from skinbit.runtime.places import join_place
from skinbit.runtime.session import StudySession
from skinbit.runtime.tracking.database import check_database, database_address
from tests.pipelines.raw_data import write_photographs


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("data/01_raw", "data.csv"), "data/01_raw/data.csv"),
        (("data/01_raw", "/tables/own.csv"), "/tables/own.csv"),
        (("~/photographs", "data.csv"), "/home/anna/photographs/data.csv"),
        (("data", "~/own.csv"), "/home/anna/own.csv"),
        (("data", "s3://bucket/own.csv"), "s3://bucket/own.csv"),
        (("s3://bucket/raw", "own.csv"), "s3://bucket/raw/own.csv"),
        ((2019, "my data, new.csv"), "2019/my data, new.csv"),
        (("a~b", "c~.csv"), "a~b/c~.csv"),
    ],
)
def test_a_file_in_a_folder_may_be_written_in_any_way(monkeypatch, parts, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    assert join_place(*parts) == expected


@pytest.mark.parametrize(
    ("raw_dir", "metadata_file"),
    [
        ("{raw}", "{raw}/data.csv"),
        ("~/my photographs, new", "data.csv"),
        ("~/my photographs, new", "~/my photographs, new/data.csv"),
        ("2019", "data.csv"),
        ("2019", "../2019/data.csv"),
    ],
)
def test_places_in_environment_variables_are_found(project, tmp_path, monkeypatch, raw_dir, metadata_file):
    raw = tmp_path / "my photographs, new"
    raw.mkdir()
    write_photographs(raw, 3, seed=1, width=64, height=48)
    shutil.copytree(raw, project.root / "2019")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SKINBIT_RAW_DIR", raw_dir.format(raw=raw))
    monkeypatch.setenv("SKINBIT_METADATA_FILE", metadata_file.format(raw=raw))
    monkeypatch.chdir(project.root)
    bootstrap_project(project.root)
    with StudySession.create(project_path=project.root) as session:
        catalog = session.load_context().catalog
    assert len(catalog.load("raw_metadata")) > 0
    assert len(catalog.load("images").files) > 0


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("runs.db", "sqlite:////home/anna/project/runs.db"),
        ("my runs, new/2019.db", "sqlite:////home/anna/project/my runs, new/2019.db"),
        ("/data/runs.db", "sqlite:////data/runs.db"),
        ("~/runs.db", "sqlite:////home/anna/runs.db"),
        ("sqlite:///runs.db", "sqlite:////home/anna/project/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("sqlite:///~/runs.db", "sqlite:////home/anna/runs.db"),
        ("databricks.db", "sqlite:////home/anna/project/databricks.db"),
        ("http://127.0.0.1:5000", None),
        ("postgresql+psycopg2://me@host/runs", None),
        ("databricks", None),
        ("uc:main", None),
    ],
)
def test_a_tracking_database_may_be_written_as_a_path_of_the_project(monkeypatch, place, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    assert database_address(place, Path("/home/anna/project")) == expected


def test_a_tracking_database_that_another_program_holds_is_said_to_be_in_use(tmp_path, monkeypatch):
    address = database_address("runs.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as held:
        held.execute("create table runs(id)")
        check_database(address)
        held.execute("begin exclusive")
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        with pytest.raises(ValueError, match=r"runs\.db is in use \(database is locked\): end the program"):
            check_database(address)


@pytest.mark.parametrize("place", ["{folder}", "sqlite:///{folder}"])
def test_a_folder_of_runs_is_no_database(tmp_path, place):
    with pytest.raises(ValueError, match=r"is a folder where the database should be: .*migrate-filestore"):
        check_database(database_address(place.format(folder=tmp_path), tmp_path))


def test_runs_of_weights_and_biases_are_at_no_path():
    with pytest.raises(
        ValidationError, match=r"tracking.uri cannot be wandb/ for W&B: set a server's address, https://"
    ):
        TrackingParams(backend="wandb", uri="wandb/")
    assert TrackingParams(backend="wandb", uri="https://api.wandb.ai").uri == "https://api.wandb.ai"


def test_the_demo_overwrites_no_table_elsewhere(project, tmp_path, monkeypatch):
    own = tmp_path / "own.csv"
    own.write_text("lesion_id,image_id\nL1,a\n")
    monkeypatch.setenv("SKINBIT_METADATA_FILE", str(own))
    with pytest.raises(InputError, match=r"own\.csv already exists, so it is not overwritten"):
        project.run(pipelines=("sample_data",), sample={"n_lesions": 2, "n_unlabelled": 0, "width": 32, "height": 32})
    assert own.read_text() == "lesion_id,image_id\nL1,a\n"


@pytest.mark.parametrize("name", ["images", "checkpoint", "known", "known_images"])
@pytest.mark.parametrize("value", [2019, 1e3, True])
def test_a_path_that_was_read_as_a_number_is_told_how_to_be_written(name, value):
    with pytest.raises(ValidationError, match="begin it with"):
        ClusterParams(**{name: value})


def test_weights_that_were_read_as_a_number_are_told_how_to_be_written():
    with pytest.raises(ValidationError, match="begin it with"):
        BackboneParams(model="test_resnet", weights=2019)


def test_a_comma_in_a_value_of_the_command_is_told_where_it_belongs():
    ended = CliRunner().invoke(cli, ["run", "--params", "cluster.images=lesions, 2019"])
    assert ended.exit_code == 2
    assert "Item `2019` must contain a key" in ended.output
    assert "conf/local/parameters.yml" in ended.output
