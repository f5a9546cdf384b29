"""`kedro run --only-missing-outputs` equals one full run: an output counts only as long as what made it holds."""

import logging
import os
import re
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
from kedro.runner import SequentialRunner, ThreadRunner
from pydantic import BaseModel
from safetensors.numpy import save_file

from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.provenance import Record, hash_value, plan_origins

STUDY = {"sample_data": False, "experiments": "vit_baseline+resnet_baseline", "folds": "0+1"}
SMALL = {"split": {"n_folds": 2}, "data": {"max_lesions": 14}, "loader": {"workers": 0}}
FIGURES = {"06_", "07_", "08_"}
"""Folders of all that depends on the evaluation's settings."""


def run(project, only_missing=True, study=STUDY, **options):
    """Run the study and give the files that it wrote."""
    before = times(project)
    project.run(only_missing=only_missing, study=study, **SMALL, **options)
    return {name for name, time in times(project).items() if before.get(name) != time}


def times(project):
    return {name: (project.root / "data/demo" / name).stat().st_mtime_ns for name in project.outputs()}


def records(project):
    return project.root / "data/demo/.fingerprints"


@pytest.fixture(scope="module")
def full(make_project, photographs):
    """One full run; never changed."""
    project = make_project(photographs)
    run(project, only_missing=False)
    return project


@pytest.fixture
def done(full, project, user_data):
    """A copy of the full run, on a copy of the photographs."""
    shutil.copytree(full.root / "data", project.root / "data")
    return project


@pytest.mark.long
class TestEqualsOneFullRun:
    @pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
    def test_fold_0_first_and_all_folds_later(self, full, project, user_data, runner):
        first = run(project, only_missing=False, study={**STUDY, "folds": 0}, runner=runner())
        later = run(project, runner=runner())
        assert project.outputs() == full.outputs()
        assert not [name for name in first & later if "fold_0" in name or name.startswith(("02_", "04_"))]
        assert run(project) == set()

    def test_parts_of_the_study_one_by_one(self, full, project, user_data):
        for pipelines in (("data_split",), ("baseline_embeddings",), ("evaluation",), ("final_model",)):
            run(project, pipelines=pipelines)
        joined = {"results.csv", "summary.json", "f1_curves.png", "leaderboard.csv", "report.html"}  # with test figures
        assert {name.split("/")[-1] for name in run(project)} == joined
        assert project.outputs() == full.outputs()

    def test_synthetic_photographs_are_not_made_again(self, project):
        sampled = {**STUDY, "sample_data": True, "experiments": "vit_baseline"}
        options = {"sample": {"n_lesions": 12, "n_unlabelled": 0, "width": 64, "height": 48}, "study": sampled}
        run(project, **options)
        before = project.outputs()
        photograph = next((project.root / "data/demo/01_raw/images").iterdir())
        made = photograph.read_bytes()
        assert run(project, **options) == set()
        assert run(project, **options, pipelines=("data_split",)) == set()
        photograph.write_bytes(b"spoilt")
        assert run(project, **options) == set()
        assert photograph.read_bytes() == made
        assert project.outputs() == before


class TestChanges:
    def test_nothing_runs_again_where_nothing_has_changed(self, done, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            assert run(done) == set()
        assert "outputs are up to date\n" in caplog.text

    def test_a_parameter_reaches_what_depends_on_it_and_nothing_else(self, done, full, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            written = run(done, evaluation={"threshold_range": [-1.0, 0.5]})
        assert {name[:3] for name in written} == FIGURES
        assert not [name for name in written if "embeddings" in name]
        assert re.search(r"\d+ nodes run: .+; changed: .*params:evaluation", caplog.text)
        run(done)
        assert done.outputs() == full.outputs()

    def test_a_photograph(self, done, user_data):
        first, second = sorted((user_data / "images").iterdir())[:2]
        first.write_bytes(second.read_bytes())
        written = run(done)
        assert "02_intermediate/image_index.csv" in written
        assert "08_reporting/leaderboard.csv" in written
        assert "02_intermediate/draft/row_problems.csv" not in written

    def test_the_times_of_the_photographs_do_not_count(self, done, user_data):
        for path in (user_data / "images").iterdir():
            os.utime(path, (0, 0))
        assert run(done) == set()

    def test_the_metadata(self, done, user_data):
        lines = (user_data / "data.csv").read_text().splitlines()
        (user_data / "data.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
        assert "02_intermediate/draft/assignment.csv" in run(done)

    def test_a_file_of_weights_that_was_replaced(self, project, user_data, tmp_path):
        import timm
        import torch

        def write_weights(seed):
            torch.manual_seed(seed)
            network = timm.create_model("test_resnet")
            save_file({name: t.numpy() for name, t in network.state_dict().items()}, tmp_path / "mine.safetensors")

        options = {
            "backbones": {"resnet": {"weights": str(tmp_path / "mine.safetensors"), "pretrained": True}},
            "pipelines": ("baseline_embeddings",),
        }
        write_weights(1)
        run(project, pipelines=("data_split",))
        run(project, **options)
        assert run(project, **options) == set()
        write_weights(2)
        written = run(project, **options)
        assert {name.split("/")[1] for name in written} == {"resnet", "resnet_baseline"}

    def test_an_output_that_is_missing_runs_its_node_only(self, done, full):
        name = "08_reporting/vit_baseline/fold_1/sweep.csv"
        (done.root / "data/demo" / name).unlink()
        beside = {
            name.replace("sweep.csv", other)
            for other in ("sweep.csv", "results.csv", "operating_points.json", "odds.json")
        }
        by_its_node = beside | {name.replace("08_reporting", "07_model_output")}
        assert {path.replace("clustered_images", "sweep") for path in run(done)} == by_its_node
        assert done.outputs() == full.outputs()

    @pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
    def test_an_output_without_a_readable_record_is_made_again(self, done, spoil):
        spoil(records(done) / "leaderboard.json")
        assert run(done) == {"08_reporting/leaderboard.csv"}

    @pytest.mark.long
    def test_files_that_are_older_than_the_records_are_not_trusted(self, done, caplog):
        shutil.rmtree(records(done))
        for _ in range(2):
            with caplog.at_level(logging.INFO, logger="skinbit"):
                assert "08_reporting/leaderboard.csv" in run(done, pipelines=("evaluation",))
            assert "metadata (of unknown origin)" in caplog.text
        assert "08_reporting/leaderboard.csv" in run(done)
        assert run(done) == set()


class TestRecords:
    def test_a_part_of_the_study_leaves_the_records_of_the_whole(self, done, full):
        before = {path.name: path.read_bytes() for path in records(full).iterdir()}
        run(done, only_missing=False, pipelines=("evaluation",))
        assert {path.name: path.read_bytes() for path in records(done).iterdir()} == before

    def test_what_was_made_of_stale_inputs_is_stale(self, done, full):
        run(done, only_missing=False, pipelines=("data_split",), seed=7)
        with pytest.raises(ValueError, match=r"not those of the images in fold"):
            run(done, only_missing=False, pipelines=("evaluation",))
        run(done)
        assert done.outputs() == full.outputs()

    def test_a_save_that_fails_leaves_no_record(self, done, user_data, monkeypatch):
        from skinbit.runtime.datasets.stock import CSVDataset

        def fail(self, data):
            raise OSError("disk full")

        monkeypatch.setattr(CSVDataset, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            run(done, only_missing=False, pipelines=("data_split",))
        assert not (records(done) / "row_problems.json").exists()

    def test_a_save_outside_of_a_run_removes_the_record(self, done):
        from kedro.framework.session import KedroSession

        with KedroSession.create(project_path=done.root, env="demo") as session:
            catalog = session.load_context().catalog
            catalog.save("leaderboard", catalog.load("leaderboard"))
            assert catalog.exists("leaderboard")
        assert run(done) == {"08_reporting/leaderboard.csv"}


def function(*inputs):
    return inputs


def step(inputs, outputs, func=function):
    return SimpleNamespace(func=func, inputs=inputs, outputs=outputs)


def fingerprints(steps, given):
    return {name: origin and origin.fingerprint for name, origin in plan_origins(steps, given).items()}


class TestRecipes:
    CHAIN = (step(["a", "p"], ["b"]), step(["b"], ["c", "d"]), step(["a"], ["e"]))

    def test_a_change_reaches_what_depends_on_it(self):
        before = fingerprints(self.CHAIN, {"a": "1", "p": "1"})
        after = fingerprints(self.CHAIN, {"a": "1", "p": "2"})
        assert {name for name in before if before[name] != after[name]} == {"b", "c", "d"}

    def test_what_depends_on_something_unknown_is_unknown(self):
        found = fingerprints(self.CHAIN, {"a": "1", "p": None})
        assert [name for name, fingerprint in found.items() if fingerprint is None] == ["b", "c", "d"]

    def test_a_part_of_a_graph_gives_the_fingerprints_of_the_whole(self):
        whole = fingerprints(self.CHAIN, {"a": "1", "p": "1"})
        assert fingerprints(self.CHAIN[1:2], {"b": whole["b"]})["d"] == whole["d"]

    def test_inputs_that_are_not_given_do_not_count(self):
        alone = fingerprints([step(["a"], ["b"])], {"a": "1"})
        assert fingerprints([step(["a"], ["b"])], {"a": "1", "cache": "1"}) == alone
        assert plan_origins([step(["a", "cache"], ["b"])], {"a": "1"})["b"].fingerprint == alone["b"]

    @pytest.mark.parametrize(
        "other",
        [
            step(["b", "a"], ["c"]),
            step(["a", "b"], ["c", "d"]),
            step(["a", "b"], ["c"], partial(function, 1)),
            step(["a", "b"], ["c"], partial(function, fold=1)),
            step(["a", "b"], ["c"], fingerprints),
        ],
    )
    def test_order_function_and_bound_arguments_count(self, other):
        given = {"a": "1", "b": "2"}
        assert fingerprints([step(["a", "b"], ["c"])], given)["c"] != fingerprints([other], given)["c"]

    def test_differences_name_what_changed(self):
        before, after = (plan_origins(self.CHAIN, {"a": "1", "p": p}) for p in "12")
        assert after["b"].differences(before["b"]) == ("p",)
        newer = before["b"].model_copy(update={"versions": {**before["b"].versions, "torch": "99"}})
        assert newer.differences(before["b"]) == ("version of torch",)
        assert before["b"].model_copy(update={"bound": 1}).differences(before["b"]) == ("function",)

    def test_a_record_survives_its_file(self, tmp_path):
        origin = plan_origins([step(["a"], ["b"], partial(function, fold=(1, 2)))], {"a": "1"})["b"]
        dataset = FingerprintsDataset(path=str(tmp_path / "records"))
        assert not dataset.exists()
        dataset.save({"x.y": Record(origin=origin, content="c")})
        assert dataset.load()["x.y"].origin.fingerprint == origin.fingerprint
        dataset.forget("x.y")
        dataset.forget("x.y")
        assert dataset.load() == {}


class TestHashValue:
    def test_models_count_as_their_values_in_any_order(self):
        class Model(BaseModel):
            a: tuple[int, ...] = (1, 2)
            b: str | None = None

        assert hash_value(Model()) == hash_value({"b": None, "a": [1, 2]})
        assert hash_value(Model(a=(2, 1))) != hash_value(Model())

    def test_weights_below_the_home_count_by_their_content_too(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "w.safetensors").write_bytes(b"1")
        before = hash_value({"weights": "~/w.safetensors"})
        assert hash_value({"weights": str(tmp_path / "w.safetensors")}) == before
        (tmp_path / "w.safetensors").write_bytes(b"2")
        assert hash_value({"weights": "~/w.safetensors"}) != before

    def test_weights_count_by_content_and_name_not_by_folder(self, tmp_path):
        (tmp_path / "other").mkdir()
        here, there = tmp_path / "w.safetensors", tmp_path / "other" / "w.safetensors"
        here.write_bytes(b"1")
        there.write_bytes(b"1")
        before = hash_value({"vit": {"weights": str(here)}})
        assert hash_value({"vit": {"weights": str(there)}}) == before
        there.write_bytes(b"2")
        assert hash_value({"vit": {"weights": str(there)}}) != before
        there.unlink()
        assert hash_value({"vit": {"weights": str(there)}}) != before
        assert hash_value({"weights": None}) == hash_value({"weights": None})
