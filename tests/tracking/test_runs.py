"""What is tracked: parameters, figures and files of runs, from what nodes make."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kedro.config import OmegaConfigLoader

from skinbit import settings
from skinbit.config import Parameters, settings_of
from skinbit.pipeline_registry import build_pipelines
from skinbit.pipelines.evaluation.nodes.results import resolve_machine
from skinbit.runtime.datasets.stock import CSVDataset
from skinbit.runtime.tracking.messages import STUDY, Content, Metric
from skinbit.runtime.tracking.runs import contents_of, experiment_parameters, flatten, hash_table, locate, plan_runs

REPOSITORY = Path(__file__).parents[2]
EVERYTHING = ("results", "config", "figures", "pages", "checkpoint")
BOTH = {"both": {"combine": ["vit_triplet", "resnet_infonce"], "similarity": {"verification": True}}}


def parameters(**changes) -> Parameters:
    loader = OmegaConfigLoader(
        str(REPOSITORY / "conf"), env="demo", runtime_params=changes, **settings.CONFIG_LOADER_ARGS
    )
    return Parameters.model_validate(loader["parameters"])


def outputs(given: Parameters, pipeline="__default__") -> set[str]:
    return build_pipelines(given)[pipeline].all_outputs()


def plan(given: Parameters, pipeline="__default__", kept=(), kinds=EVERYTHING):
    return plan_runs(outputs(given, pipeline), kept, given, "title", kinds)


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
        expected = plan(self.SMALL, kinds=("config",))["vit_triplet"].expected
        assert "vit_triplet.resolved_config" in expected
        assert not {"vit_triplet.f1_curves", "vit_triplet.final.checkpoint"} & expected


class TestParameters:
    @pytest.mark.parametrize("experiment", ["vit_baseline", "vit_triplet", "resnet_infonce"])
    def test_of_an_experiment_are_its_resolved_configuration(self, experiment):
        given = parameters(study={"experiments": experiment})
        resolved = resolve_machine(settings=settings_of(experiment, given))
        read_back = yaml.safe_load(yaml.safe_dump(resolved))
        added = contents_of(f"{experiment}.resolved_config", read_back, None)[experiment].parameters
        assert added["compute.device"] in {"cpu", "cuda", "mps"}
        assert experiment_parameters(experiment, given) | added == flatten(read_back)

    def test_of_a_combination_are_its_resolved_configuration(self):
        given = parameters(study={"experiments": "both", "folds": 0}, experiments=BOTH)
        resolved = yaml.safe_load(yaml.safe_dump(resolve_machine(settings=settings_of("both", given))))
        added = contents_of("both.resolved_config", resolved, None)["both"].parameters
        flat = experiment_parameters("both", given)
        assert flat | added == flatten(resolved)
        assert flat["members.vit_triplet.loss.margin"] == str(given.losses.triplet.margin)
        assert flat["similarity.verification"] == "true"

    def test_hold_no_path_of_the_machine(self, tmp_path):
        weights = tmp_path / "mine.safetensors"
        backbone = {"weights": str(weights), "pretrained": True}
        flat = experiment_parameters("vit_triplet", parameters(backbones={"vit": backbone}))
        assert flat["backbone.weights"] == "mine.safetensors"
        assert flatten({"a": {"file": str(weights)}}) == {"a.file": "mine.safetensors"}
        assert not [value for value in flat.values() if str(tmp_path) in value]

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
    def test_of_a_fold_are_its_results(self):
        results = pd.DataFrame({"metric": ["cosine_f1", "n_images"], "value": [0.5, 12.0]})
        assert contents_of("vit_triplet.fold_1.results", results, None) == {
            "vit_triplet.fold_1": Content(metrics=(Metric("cosine_f1", 0.5), Metric("n_images", 12.0)))
        }

    def test_of_an_epoch_have_the_epoch_as_step(self):
        history = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.7], "f1": [math.nan, 0.2]})
        (content,) = contents_of("vit_triplet.fold_1.history", history, None).values()
        assert sorted(content.metrics) == [
            Metric("training/f1", 0.2, 2),
            Metric("training/loss", 0.7, 2),
            Metric("training/loss", 0.9, 1),
        ]

    def test_of_an_experiment_are_mean_and_spread_and_folds_gain_the_transfer(self):
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
        contents = contents_of("vit_triplet.results", results, None)
        assert contents["vit_triplet"].metrics == (
            Metric("cosine_f1_mean", 0.7),
            Metric("cosine_f1_std", 0.1),
            Metric("cosine_f1_transfer_mean", 0.5),
        )
        assert contents["vit_triplet.fold_0"].metrics == (Metric("cosine_f1_transfer", 0.5),)
        assert contents["vit_triplet.fold_3"].metrics == ()

    def test_of_an_experiment_hold_every_method_and_folds_gain_their_groups_at_the_other_folds_cuts(self):
        results = pd.DataFrame(
            {
                "metric": ["average_f1", "average_bcubed_f1", "average_f1_transfer_low"],
                "fold_0": [0.6, 0.8, math.nan],
                "mean": [0.6, 0.8, 0.4],
                "std": [math.nan] * 3,
            }
        )
        contents = contents_of("vit_triplet.results", results, None)
        assert {metric.name for metric in contents["vit_triplet"].metrics} == {
            *("average_f1_mean", "average_bcubed_f1_mean", "average_f1_transfer_low_mean")
        }
        assert contents["vit_triplet.fold_0"].metrics == (Metric("average_bcubed_f1", 0.8),)

    @pytest.mark.parametrize("kind", ["resampled_f1", "operating_points", "judgement", "fold_0.operating_points"])
    def test_what_leads_to_figures_adds_none(self, kind):
        assert contents_of(f"vit_triplet.{kind}", None, None) == {}

    def test_of_the_test_subset_stand_on_the_experiment(self):
        results = pd.DataFrame({"metric": ["cosine_f1"], "value": [0.5]})
        assert contents_of("vit_triplet.final.results", results, None) == {
            "vit_triplet": Content(metrics=(Metric("cosine_f1_test", 0.5),))
        }

    @given(st.lists(st.floats(width=32), min_size=1))
    def test_that_are_undefined_are_left_out(self, values):
        results = pd.DataFrame({"metric": [f"m{row}" for row in range(len(values))], "value": values})
        (content,) = contents_of("a.fold_0.results", results, None).values()
        assert [metric.value for metric in content.metrics] == [value for value in values if np.isfinite(value)]


class TestFiles:
    def test_stand_on_their_run_and_the_final_models_in_a_folder(self):
        (content,) = contents_of("vit_triplet.final.checkpoint", None, "/p/best.safetensors").values()
        assert content.artifacts == (("/p/best.safetensors", "final"),)
        assert contents_of("leaderboard", None, "/p/leaderboard.csv")[STUDY].artifacts[0].folder == ""

    def test_hashes_are_those_of_the_files(self, tmp_path):
        table = pd.DataFrame({"image_id": ["007", "NA"], "fold": [0, -1]})
        CSVDataset(filepath=str(tmp_path / "split.csv")).save(table)
        assert hash_table(table) == hashlib.sha256((tmp_path / "split.csv").read_bytes()).hexdigest()
