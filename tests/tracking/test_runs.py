"""What is tracked: parameters, figures and files of runs, from what nodes make."""

import hashlib
import math
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.config import OmegaConfigLoader

from skinbit import settings as project
from skinbit.config import Parameters, settings_of
from skinbit.pipeline_registry import build_pipelines
from skinbit.pipelines.evaluation.nodes.results import resolve_machine
from skinbit.runtime.tracking.runs import (
    STUDY,
    Artifact,
    Content,
    Metric,
    contents_of,
    flatten,
    hash_of,
    is_tracked,
    locate,
    plan_runs,
)

REPOSITORY = Path(__file__).parents[2]
BOTH = {"both": {"combine": ["vit_triplet", "resnet_infonce"], "similarity": {"verification": True}}}


def parameters(**changes) -> Parameters:
    loader = OmegaConfigLoader(
        str(REPOSITORY / "conf"), env="demo", runtime_params=changes, **project.CONFIG_LOADER_ARGS
    )
    return Parameters.model_validate(loader["parameters"])


def outputs(given: Parameters, pipeline="__default__") -> set[str]:
    return build_pipelines(given)[pipeline].all_outputs()


def plan(given: Parameters, pipeline="__default__", kept=()):
    tracked = {name for name in outputs(given, pipeline) if is_tracked(name, given.tracking.artifacts)}
    return plan_runs(tracked, kept, given, "title")


@pytest.fixture
def read(tmp_path):
    """Read what a dataset of some content adds, none of whose files are copied."""

    def read(dataset, content):
        path = tmp_path / ("file.csv" if isinstance(content, pd.DataFrame) else "file.yaml")
        if isinstance(content, pd.DataFrame):
            content.to_csv(path, index=False)
        else:
            path.write_text(yaml.safe_dump(content))
        return contents_of(dataset, str(path), ())

    return read


class TestLocate:
    @pytest.mark.parametrize(
        ("dataset", "run", "kind"),
        [
            ("leaderboard", STUDY, "leaderboard"),
            ("vit_triplet.results", "vit_triplet", "results"),
            ("vit_triplet.fold_0.history", "vit_triplet.fold_0", "fold.history"),
            ("vit_triplet.final.checkpoint", "vit_triplet", "final.checkpoint"),
        ],
    )
    def test_names_of_datasets_tell_run_and_kind(self, dataset, run, kind):
        assert locate(dataset) == (run, kind)


class TestPlan:
    SMALL = parameters(study={"experiments": "vit_triplet+resnet_baseline", "folds": "0+3"})

    def test_there_is_a_run_per_experiment_and_per_fold_below_the_studys(self):
        experiments = {"vit_triplet", "resnet_baseline"}
        folds = {f"{name}.fold_{fold}" for name in experiments for fold in (0, 3)}
        assert plan(self.SMALL).keys() == {STUDY} | experiments | folds

    def test_a_stage_alone_has_the_runs_that_it_adds_to(self):
        assert plan(self.SMALL, "data_split").keys() == {STUDY}
        trained = plan(self.SMALL, "metric_learning")
        assert trained.keys() == {STUDY, "vit_triplet", "vit_triplet.fold_0", "vit_triplet.fold_3"}

    def test_an_experiment_outside_of_the_study_is_tracked_too(self):
        alone = plan(self.SMALL, "vit_infonce")
        assert {"vit_infonce", "vit_infonce.fold_3"} < alone.keys()

    def test_tags_tell_level_backbone_and_loss(self):
        planned = plan(self.SMALL)
        assert planned["vit_triplet.fold_3"].tags == {
            "level": "fold",
            "fold": "3",
            "experiment": "vit_triplet",
            "backbone": "vit",
            "loss": "triplet",
            "frozen": "true",
        }
        fine_tuned = plan(parameters(study={"experiments": "resnet_triplet"}))["resnet_triplet"]
        assert (fine_tuned.tags["level"], fine_tuned.tags["frozen"]) == ("experiment", "false")

    def test_tags_of_a_combination_are_those_of_its_members(self):
        given = parameters(study={"experiments": "both", "folds": 0}, experiments=BOTH)
        planned = plan(given)
        assert planned.keys() >= {"both", "both.fold_0", "vit_triplet.fold_0", "resnet_infonce.fold_0"}
        tags = planned["both"].tags
        assert (tags["backbone"], tags["loss"], tags["frozen"]) == ("vit+resnet", "triplet+infonce", "false")

    def test_runs_whose_datasets_all_hold_are_tagged_as_kept(self):
        kept = {name for name in outputs(self.SMALL) if name.startswith("vit_triplet")} - {"vit_triplet.fold_0.history"}
        planned = plan(self.SMALL, kept=kept)
        assert [run for run in planned if "kept" in planned[run].tags] == ["vit_triplet.fold_3"]

    def test_files_that_are_not_copied_are_not_waited_for(self):
        given = parameters(study={"experiments": "vit_triplet"}, tracking={"artifacts": "config"})
        expected = plan(given)["vit_triplet"].expected
        assert "vit_triplet.resolved_config" in expected
        assert not {"vit_triplet.f1_curves", "vit_triplet.final.checkpoint"} & expected


class TestOutputsElsewhere:
    def test_figures_are_read_and_files_are_not_copied(self):
        with fsspec.open("memory://study/results.csv", "w") as file:
            file.write("metric,value\ncosine_f1,0.5\n")
        contents = contents_of("vit_triplet.fold_0.results", "memory://study/results.csv", ("results",))
        assert contents == {"vit_triplet.fold_0": Content(metrics=[Metric("cosine_f1", 0.5)])}


class TestParameters:
    def test_of_the_study_are_those_that_all_experiments_share(self):
        given = parameters(study={"folds": "0+3"}, seed=7)
        flat = plan(given)[STUDY].parameters
        assert flat.items() >= {"study.folds": "[0, 3]", "seed": "7"}.items()
        assert {name.partition(".")[0] for name in flat} == {"study", "data", "split", "evaluation", "seed"}

    @pytest.mark.parametrize("experiment", ["vit_baseline", "vit_triplet", "resnet_infonce"])
    def test_of_an_experiment_are_its_resolved_configuration(self, read, experiment):
        given = parameters(study={"experiments": experiment})
        resolved = resolve_machine(settings=settings_of(experiment, given))
        added = read(f"{experiment}.resolved_config", resolved)[experiment].parameters
        assert added["compute.device"] in {"cpu", "cuda", "mps"}
        assert added[f"weights_licences.{experiment.partition('_')[0]}"] == "not pretrained"
        assert plan(given)[experiment].parameters | added == flatten(resolved)

    def test_of_a_combination_are_its_resolved_configuration(self, read):
        given = parameters(study={"experiments": "both", "folds": 0}, experiments=BOTH)
        resolved = resolve_machine(settings=settings_of("both", given))
        flat = plan(given)["both"].parameters
        assert flat | read("both.resolved_config", resolved)["both"].parameters == flatten(resolved)
        assert flat["members.vit_triplet.loss.margin"] == str(given.losses.triplet.margin)
        assert flat["similarity.verification"] == "true"

    def test_hold_no_path_of_the_machine(self, tmp_path):
        weights = str(tmp_path / "mine.safetensors")
        flat = plan(parameters(backbones={"vit": {"weights": weights, "pretrained": True}}))["vit_triplet"].parameters
        assert flat["backbone.weights"] == "mine.safetensors"
        assert not [value for value in flat.values() if str(tmp_path) in value]
        assert flatten({"a": {"file": weights}}) == {"a.file": "mine.safetensors"}

    def test_flat_names_have_dots_and_values_are_text(self):
        tree = {"head": {"hidden": [1024, 8], "dim": None, "neck": True}, "loss": "triplet", "none": {}}
        assert flatten(tree) == {
            "head.hidden": "[1024, 8]",
            "head.dim": "null",
            "head.neck": "true",
            "loss": "triplet",
            "none": "{}",
        }


class TestFigures:
    def test_of_a_fold_are_its_results(self, read):
        results = pd.DataFrame({"metric": ["cosine_f1", "n_images"], "value": [0.5, 12.0]})
        assert read("vit_triplet.fold_1.results", results) == {
            "vit_triplet.fold_1": Content(metrics=[Metric("cosine_f1", 0.5), Metric("n_images", 12.0)])
        }

    def test_of_an_epoch_have_the_epoch_as_step(self, read):
        history = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.7], "f1": [math.nan, 0.2]})
        (content,) = read("vit_triplet.fold_1.history", history).values()
        assert sorted(content.metrics) == [
            Metric("training/f1", 0.2, 2),
            Metric("training/loss", 0.7, 2),
            Metric("training/loss", 0.9, 1),
        ]

    def test_of_an_experiment_are_mean_and_spread_and_folds_gain_the_transfer(self, read):
        results = pd.DataFrame(
            {
                "metric": ["cosine_f1", "cosine_f1_transfer"],
                "fold_0": [0.6, 0.5],
                "fold_3": [0.8, math.nan],
                "mean": [0.7, 0.5],
                "std": [0.1, math.nan],
                "test": [0.4, math.nan],
            }
        )
        contents = read("vit_triplet.results", results)
        assert contents["vit_triplet"].metrics == [
            Metric("cosine_f1_mean", 0.7),
            Metric("cosine_f1_std", 0.1),
            Metric("cosine_f1_transfer_mean", 0.5),
        ]
        assert contents["vit_triplet.fold_0"].metrics == [Metric("cosine_f1_transfer", 0.5)]
        assert contents["vit_triplet.fold_3"].metrics == []

    def test_of_an_experiment_hold_every_method_and_folds_gain_their_groups_at_the_other_folds_cuts(self, read):
        results = pd.DataFrame(
            {
                "metric": ["average_f1", "average_bcubed_f1", "average_f1_transfer_low"],
                "fold_0": [0.6, 0.8, math.nan],
                "mean": [0.6, 0.8, 0.4],
                "std": [math.nan] * 3,
            }
        )
        contents = read("vit_triplet.results", results)
        assert {metric.name for metric in contents["vit_triplet"].metrics} == {
            *("average_f1_mean", "average_bcubed_f1_mean", "average_f1_transfer_low_mean")
        }
        assert contents["vit_triplet.fold_0"].metrics == [Metric("average_bcubed_f1", 0.8)]

    @pytest.mark.parametrize("kind", ["resampled_f1", "operating_points", "judgement", "fold_0.operating_points"])
    def test_what_leads_to_figures_adds_none(self, kind):
        assert not is_tracked(f"vit_triplet.{kind}", ("results", "config", "figures", "pages", "checkpoint"))

    def test_of_the_test_subset_stand_on_the_experiment(self, read):
        results = pd.DataFrame({"metric": ["cosine_f1"], "value": [0.5]})
        assert read("vit_triplet.final.results", results) == {
            "vit_triplet": Content(metrics=[Metric("cosine_f1_test", 0.5)])
        }

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.floats(), min_size=1))
    def test_are_exactly_those_of_the_file_and_the_undefined_ones_are_left_out(self, read, values):
        results = pd.DataFrame({"metric": [f"m{row}" for row in range(len(values))], "value": values})
        (content,) = read("a.fold_0.results", results).values()
        assert [metric.value for metric in content.metrics] == [value for value in values if np.isfinite(value)]


class TestFiles:
    def test_stand_on_their_run_and_the_final_models_in_a_folder(self):
        (content,) = contents_of("vit_triplet.final.checkpoint", "/p/best.safetensors", ("checkpoint",)).values()
        assert content == Content(artifacts=[Artifact("/p/best.safetensors", "final")])
        assert contents_of("leaderboard", "/p/leaderboard.csv", ("results",)) == {
            STUDY: Content(artifacts=[Artifact("/p/leaderboard.csv")])
        }

    def test_of_kinds_that_are_not_copied_stay_where_they_are(self):
        assert contents_of("leaderboard", "/p/leaderboard.csv", ("config",)) == {STUDY: Content()}

    def test_hashes_are_those_of_the_files(self, tmp_path):
        path = tmp_path / "split.csv"
        path.write_bytes(b"image_id,fold\n007,0\n")
        assert hash_of("split", str(path)) == {"split_hash": hashlib.sha256(path.read_bytes()).hexdigest()}
        assert hash_of("leaderboard", str(path)) == {}
