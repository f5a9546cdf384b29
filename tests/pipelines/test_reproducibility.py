"""What a study leaves is enough to make it again, and whatever changes is named."""

import json
import logging
import shutil

import pytest
import yaml

from skinbit.runtime.comparison import EQUAL, compare_folders, explain_records
from skinbit.runtime.provenance import software_versions

STUDY = {"experiments": "vit_baseline", "folds": "0+1"}
SMALL = {
    "split": {"n_folds": 2},
    "sample": {"n_lesions": 12, "n_unlabelled": 0, "width": 64, "height": 48},
    "loader": {"workers": 0},
}


@pytest.fixture(scope="module")
def made(make_project):
    """A small study on photographs of its own; never changed."""
    project = make_project()
    project.run(study=STUDY, evaluation={"resamples": 100}, compute={"threads": 1}, **SMALL)
    return project


@pytest.fixture
def done(made, project):
    """A copy of it."""
    shutil.copytree(made.root / "data", project.root / "data")
    return project


def rebuild(project):
    """Do what docs/trust says: its parameters as an environment, another folder for the outputs."""
    environment = project.root / "conf/local"
    shutil.copy(project.root / "data/demo/08_reporting/study/parameters.yml", environment)
    (environment / "globals.yml").write_text("root: data/again\nraw_dir: data/again/01_raw\n")
    project.run(env="local")
    return project.root / "data/demo", project.root / "data/again"


@pytest.mark.long
class TestRebuild:
    def test_the_parameters_of_a_study_are_an_environment_that_makes_the_same_files(self, done):
        compared = compare_folders(*rebuild(done))
        assert len(compared) > 50
        assert [comparison for comparison in compared if comparison.state != EQUAL] == []

    def test_all_parameters_are_there_but_those_that_no_file_depends_on(self, made):
        written = yaml.safe_load(made.outputs()["08_reporting/study/parameters.yml"])
        assert written["compute"] == {"device": "cpu", "precision": "fp32", "threads": 1}
        assert written["study"]["experiments"] == ["vit_baseline"]
        assert written["backbones"]["vit"]["model"] == "test_vit"
        assert not {"tracking", "cluster"} & written.keys()

    def test_software_is_that_of_the_records_and_the_lock_file(self, done):
        assert json.loads(done.outputs()["08_reporting/study/software.json"]) == {
            "versions": software_versions(),
            "uv_lock_sha256": None,
        }
        (done.root / "uv.lock").write_text("version = 1\n")
        done.run(pipelines=("evaluation",), study=STUDY, evaluation={"resamples": 100}, compute={"threads": 1}, **SMALL)
        assert len(json.loads(done.outputs()["08_reporting/study/software.json"])["uv_lock_sha256"]) == 64


class TestStaleInputs:
    def evaluate(self, project, caplog, **changes):
        settings = {"evaluation": {"resamples": 100}, "compute": {"threads": 1}} | changes
        with caplog.at_level(logging.WARNING, logger="skinbit"):
            project.run(pipelines=("evaluation",), study=STUDY, **SMALL, **settings)
        return caplog.text

    def test_a_part_of_a_study_that_has_not_changed_warns_of_nothing(self, done, caplog):
        assert "are stale" not in self.evaluate(done, caplog)

    def test_a_changed_parameter_further_up_is_named(self, done, caplog):
        changed = {"backbones": {"vit": {"image_size": 64}}}
        said = self.evaluate(done, caplog, **changed)
        assert "files that this run reads are stale, as the study would now make them differently" in said
        assert "params:backbones.vit" in said
        assert "vit_baseline.fold_0.embeddings" in said


class TestDamage:
    def test_a_damaged_file_is_named_and_made_again_and_nothing_else(self, done, made, caplog):
        path = done.root / "data/demo/04_feature/vit/features.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        before = {file: file.stat().st_mtime_ns for file in done.root.rglob("data/demo/0*/**/*") if file.is_file()}
        with caplog.at_level(logging.INFO, logger="skinbit"):
            done.run(only_missing=True, study=STUDY, evaluation={"resamples": 100}, compute={"threads": 1}, **SMALL)
        assert (
            f"1 files were damaged, edited or replaced after they were written, and are made again:\n  {path}"
            in caplog.text
        )
        assert "features.safetensors cannot be used (it is damaged" in caplog.text, "the cache is the same file"
        assert [file for file, time in before.items() if file.stat().st_mtime_ns != time] == [path]
        assert done.outputs() == made.outputs()


class TestRecords:
    def test_name_a_changed_version_of_the_software(self, made, done):
        path = done.root / "data/demo/.fingerprints/split.json"
        path.write_text(path.read_text().replace('"torch": "', '"torch": "9'))
        assert explain_records(made.root / "data/demo", done.root / "data/demo") == ["version of torch"]
