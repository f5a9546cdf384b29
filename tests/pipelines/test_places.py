"""Paths as people write them: absolute, with ``~``, blanks, commas, and names that look like numbers."""

import shutil

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from pydantic import ValidationError

from skinbit.cli import cli
from skinbit.config import BackboneParams
from skinbit.config.evaluation import ClusterParams
from skinbit.errors import InputError
from skinbit.runtime.places import join_place
from skinbit.runtime.session import StudySession
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


def test_the_demo_overwrites_no_table_elsewhere(project, tmp_path, monkeypatch):
    own = tmp_path / "own.csv"
    own.write_text("lesion_id,image_id\nL1,a\n")
    monkeypatch.setenv("SKINBIT_METADATA_FILE", str(own))
    with pytest.raises(InputError, match=r"own\.csv was there before, so it is not overwritten"):
        project.run(pipelines=("sample_data",), sample={"n_lesions": 2, "width": 32, "height": 32})
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
