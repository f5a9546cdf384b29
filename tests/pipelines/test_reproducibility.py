"""What a study leaves is enough to make it again, and whatever changes is named."""

import json
import logging
import shutil

import pytest
import yaml
from click.testing import CliRunner

from skinbit.cli import cli
from skinbit.runtime.comparison import EQUAL, compare_folders, explain_records
from skinbit.runtime.provenance import software_versions
from skinbit.runtime.verification import verify_outputs

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


FOLD = "08_reporting/vit_baseline/fold_0"


def replaced(number, by):
    """Return a change of a line: of one of its cells."""
    return lambda cells: [*cells[:number], by, *cells[number + 1 :]]


class TestVerification:
    def change(self, root, file, row, edit):
        """Change the first line of a table that begins with something."""
        lines = (root / file).read_text().splitlines()
        place = next(place for place, line in enumerate(lines) if line.startswith(row))
        lines[place] = ",".join(edit(lines[place].split(",")))
        (root / file).write_text("\n".join(lines) + "\n")

    def test_every_figure_of_a_study_is_that_of_the_reference(self, made):
        found = verify_outputs(made.root / "data/demo")
        assert found.first is None
        assert sum(found.counts.values()) > 1000
        assert {"08_reporting/leaderboard.csv", "08_reporting/*/results.csv", "02_intermediate/split.csv"} <= {
            *found.counts
        }
        assert list(found.lines())[-1].split() == ["all", "files", str(sum(found.counts.values())), "0"]

    @pytest.mark.parametrize(
        ("file", "row", "edit", "place"),
        [
            ("08_reporting/leaderboard.csv", "1,", replaced(4, "0.99"), "row vit_baseline, column cosine_f1_mean"),
            ("08_reporting/leaderboard.csv", "1,", replaced(0, "2"), "row vit_baseline, column rank"),
            (f"{FOLD}/results.csv", "cosine_threshold", replaced(1, "0.5"), "row cosine_threshold, column value"),
            (f"{FOLD}/results.csv", "roc_auc", replaced(0, "auc"), "row roc_auc, column value: stored absent"),
            (f"{FOLD}/sweep.csv", "average", replaced(2, "77"), "row average 1, column tp: stored 77.0, recomputed"),
            (
                "08_reporting/vit_baseline/judgement.csv",
                "average_ari",
                replaced(1, "1"),
                "row average_ari, column fold_0",
            ),
            ("08_reporting/vit_baseline/resampled_f1.csv", "0.", replaced(2, "2.0"), "column average: stored 2.0"),
            (
                "08_reporting/vit_baseline/final/results.csv",
                "rho",
                replaced(1, "3"),
                "row rho, column value: stored 3.0",
            ),
            ("02_intermediate/split.csv", "SIMG", replaced(3, "1"), "02_intermediate/split.csv: row"),
        ],
    )
    def test_a_changed_figure_is_named(self, done, file, row, edit, place):
        self.change(done.root / "data/demo", file, row, edit)
        found = verify_outputs(done.root / "data/demo")
        said = next(found.lines())
        assert said.startswith(f"{file}: ")
        assert place in said
        assert sum(found.different.values()) >= 1

    def test_photographs_that_changed_groups_are_named(self, done):
        file = "07_model_output/vit_baseline/fold_0/clustered_images.csv"
        rows = (done.root / "data/demo" / file).read_text().splitlines()
        image, *_, group = rows[1].split(",")
        self.change(done.root / "data/demo", file, image, replaced(2, "7"))
        said = next(verify_outputs(done.root / "data/demo").lines())
        assert said == f"{file}: row 1, column cluster_id: stored 7, recomputed {group}"

    def test_a_changed_cut_is_named_where_it_is_chosen(self, done):
        path = done.root / "data/demo" / FOLD / "operating_points.json"
        points = json.loads(path.read_text())
        points["average"]["cuts"][0] += 1e-5
        path.write_text(json.dumps(points))
        said = next(verify_outputs(done.root / "data/demo").lines())
        assert said.startswith(f"{FOLD}/operating_points.json: row average 1, column cut: stored")

    @pytest.mark.parametrize(
        ("file", "content", "why"),
        [
            (f"{FOLD}/results.csv", None, "is missing"),
            (f"{FOLD}/results.csv", b"metric,value\ncosine_f1\n", "row 2 of"),
            (f"{FOLD}/sweep.csv", b"method,cut,tp,fp\n", "has no column f1"),
            (f"{FOLD}/sweep.csv", b"method,cut,tp,fp,f1\ncosine,x,1,1,1\n", "has 'x' in place of a number"),
            (f"{FOLD}/operating_points.json", b'{"cosine": {}}', "is not as Skinbit writes it (KeyError: 'cuts')"),
            (f"{FOLD}/odds.json", b"[", "cannot be read"),
            ("07_model_output/vit_baseline/fold_1/embeddings.safetensors", b"12345678", "cannot be read"),
            ("08_reporting/vit_baseline/resolved_config.yaml", b"a: [", "cannot be read"),
            ("02_intermediate/split.csv", b"\xff", "cannot be read"),
        ],
    )
    def test_a_missing_or_damaged_file_is_one_message(self, done, file, content, why):
        path = done.root / "data/demo" / file
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        refused = verify_outputs(done.root / "data/demo").failure
        assert refused is not None
        assert str(path) in refused.message
        assert why in refused.message
        assert "Remedy: `kedro run --only-missing-outputs`" in refused.message

    @pytest.mark.long
    def test_the_command_ends_with_0_or_1_and_one_message(self, done, monkeypatch):
        monkeypatch.chdir(done.root)
        arguments = ["verify", "--env", "demo"]
        ended = CliRunner().invoke(cli, arguments)
        assert (ended.exit_code, "all files" in ended.output) == (0, True)
        self.change(done.root / "data/demo", f"{FOLD}/results.csv", "cosine_f1", replaced(1, "0.123"))
        ended = CliRunner().invoke(cli, arguments)
        assert ended.exit_code == 1
        assert ended.output.startswith(f"{FOLD}/results.csv: row cosine_f1, column value: stored 0.123, recomputed ")
        shutil.rmtree(done.root / "data/demo/08_reporting")
        ended = CliRunner().invoke(cli, arguments)
        assert ended.exit_code == 1
        assert "Error: The study cannot be verified: " in ended.output
        assert "has no finished experiment" in ended.output
