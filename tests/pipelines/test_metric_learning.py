"""Trainings under `kedro run`, end to end on synthetic photographs and tiny networks."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from kedro.runner import ParallelRunner, ThreadRunner
from safetensors.numpy import load

from skinbit.config import Parameters
from skinbit.errors import InputError
from skinbit.matching.methods import CUTS
from skinbit.runtime.datasets.files import unpack_header

EXPERIMENTS = ("resnet_infonce", "vit_triplet")
FOLDS = (0, 1)
EPOCHS = {"resnet_infonce": 2, "vit_triplet": 4}
STUDY = {"sample_data": False, "experiments": "+".join(EXPERIMENTS), "folds": "0+1"}
TRAINING = {
    "fine_tuned": {"epochs": EPOCHS["resnet_infonce"]},
    "frozen": {"epochs": EPOCHS["vit_triplet"], "views": 3},
}
SMALL = {"split": {"n_folds": 3}, "training": TRAINING, "loader": {"workers": 0}, "compute": {"threads": 1}}


def run(project, study=STUDY, **options):
    project.run(study=study, **{**SMALL, **options})


@pytest.fixture(scope="module")
def trained(make_project, photographs):
    """One study of a fine-tuned and of a frozen backbone; never changed."""
    project = make_project(photographs)
    run(project)
    return project


@pytest.fixture(scope="module")
def files(trained):
    return trained.outputs()


def table(project, path):
    return pd.read_csv(project.root / "data/demo" / path, dtype={"image_id": str, "lesion_id": str})


class TestFiles:
    def test_every_file_of_the_contract_is_there(self, files):
        per_fold = (
            "06_models/{experiment}/fold_{fold}/weights.safetensors",
            "06_models/{experiment}/fold_{fold}/best.safetensors",
            "07_model_output/{experiment}/fold_{fold}/embeddings.safetensors",
            "07_model_output/{experiment}/fold_{fold}/clustered_images.csv",
            "07_model_output/{experiment}/fold_{fold}/history.csv",
            "08_reporting/{experiment}/fold_{fold}/sweep.csv",
            "08_reporting/{experiment}/fold_{fold}/results.csv",
        )
        per_experiment = (
            "06_models/{experiment}/final/weights.safetensors",
            "06_models/{experiment}/final/best.safetensors",
            "07_model_output/{experiment}/final/history.csv",
            "07_model_output/{experiment}/final/embeddings.safetensors",
            "08_reporting/{experiment}/averages.json",
            "08_reporting/{experiment}/results.csv",
            "08_reporting/{experiment}/training_curves.png",
            "08_reporting/{experiment}/f1_curves.png",
            "08_reporting/{experiment}/summary.json",
            "08_reporting/{experiment}/resolved_config.yaml",
        )
        paths = [path.format(experiment=e, fold=k) for e in EXPERIMENTS for k in FOLDS for path in per_fold]
        paths += [path.format(experiment=experiment) for experiment in EXPERIMENTS for path in per_experiment]
        shared = ["08_reporting/leaderboard.csv", "03_primary/resnet/pixels.safetensors"]
        shared += [f"04_feature/vit/{name}.safetensors" for name in ("features", "training_views")]
        assert {*paths, *shared} <= files.keys()
        assert not [name for name in files if name.endswith(".tmp")]

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_a_history_has_a_row_per_epoch(self, trained, experiment):
        for fold in FOLDS:
            history = table(trained, f"07_model_output/{experiment}/fold_{fold}/history.csv")
            assert history.columns.tolist() == ["epoch", "loss", "f1", "recall_at_1", "learning_rate"]
            assert history["epoch"].tolist() == list(range(1, EPOCHS[experiment] + 1))
            assert history.notna().all(axis=None)

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_final_training_ends_at_the_average_epoch_and_validates_nothing(self, trained, files, experiment):
        history = table(trained, f"07_model_output/{experiment}/final/history.csv")
        average = json.loads(files[f"08_reporting/{experiment}/averages.json"])["best_epoch"]
        assert history["epoch"].tolist() == list(range(1, max(1, round(average)) + 1))
        assert history["loss"].notna().all()
        assert history[["f1", "recall_at_1"]].isna().all(axis=None)

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_a_checkpoint_tells_how_its_model_was_made_and_is_used(self, trained, files, experiment):
        for fold in FOLDS:
            header = unpack_header(files[f"06_models/{experiment}/fold_{fold}/best.safetensors"])
            history = table(trained, f"07_model_output/{experiment}/fold_{fold}/history.csv")
            figures = table(trained, f"08_reporting/{experiment}/fold_{fold}/results.csv").set_index("metric")["value"]
            assert header["backbone"]["model"] == f"test_{experiment.split('_')[0]}"
            assert header["loss"] == experiment.split("_")[1]
            assert header["head"].keys() == {"hidden", "dim", "neck"}
            assert header["epoch"] == figures["best_epoch"] == history["f1"].argmax() + 1
            assert header["seed"] == 42
            assert header["versions"].keys() == {"skinbit", "timm", "torch"}
            for cut in ("cosine_threshold", "dbscan_eps"):
                assert header[cut] == figures[cut]

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_weights_of_a_fold_are_those_of_its_checkpoint_and_know_of_no_cut(self, files, experiment):
        for fold in FOLDS:
            weights, checkpoint = (
                files[f"06_models/{experiment}/fold_{fold}/{name}.safetensors"] for name in ("weights", "best")
            )
            tensors, others = load(weights), load(checkpoint)
            assert tensors.keys() == others.keys()
            assert all(np.array_equal(tensor, others[name]) for name, tensor in tensors.items())
            added = unpack_header(checkpoint).keys() - unpack_header(weights).keys()
            assert added == {*CUTS.values(), "matching"}

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_final_model_takes_the_means_that_the_results_show(self, trained, files, experiment):
        averages = json.loads(files[f"08_reporting/{experiment}/averages.json"])
        means = table(trained, f"08_reporting/{experiment}/results.csv").set_index("metric")["mean"]
        assert averages == {name: means[name] for name in (*CUTS.values(), "best_epoch")}
        final = unpack_header(files[f"06_models/{experiment}/final/best.safetensors"])
        assert {cut: final[cut] for cut in CUTS.values()} == {cut: averages[cut] for cut in CUTS.values()}

    def test_only_a_fine_tuned_fold_holds_a_backbone_and_every_final_model_does(self, files):
        held = {
            (experiment, part): {
                name.split(".")[0] for name in load(files[f"06_models/{experiment}/{part}/best.safetensors"])
            }
            for experiment in EXPERIMENTS
            for part in ("fold_0", "final")
        }
        whole = {"backbone", "head"}
        assert held == {
            ("resnet_infonce", "fold_0"): whole,
            ("resnet_infonce", "final"): whole,
            ("vit_triplet", "fold_0"): {"head"},
            ("vit_triplet", "final"): whole,
        }

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_embeddings_are_those_of_the_judged_images_and_of_unit_length(self, trained, files, experiment):
        split = table(trained, "02_intermediate/split.csv")
        width = unpack_header(files[f"06_models/{experiment}/final/best.safetensors"])["head"]["dim"]
        for part, fold in (("fold_0", 0), ("fold_1", 1), ("final", -1)):
            content = files[f"07_model_output/{experiment}/{part}/embeddings.safetensors"]
            assert unpack_header(content)["image_ids"] == split.loc[split["fold"] == fold, "image_id"].tolist()
            values = load(content)["embeddings"]
            assert (values.dtype, values.shape[1]) == (np.float32, width)
            assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_results_hold_best_epoch_and_test_figures_at_the_average_cuts(self, trained, files, experiment):
        results = table(trained, f"08_reporting/{experiment}/results.csv").set_index("metric")
        final = unpack_header(files[f"06_models/{experiment}/final/best.safetensors"])
        assert results.loc["best_epoch", "mean"] == results.loc["best_epoch", ["fold_0", "fold_1"]].mean()
        assert final["epoch"] == max(1, round(results.loc["best_epoch", "mean"]))
        assert final["cosine_threshold"] == results.loc["cosine_threshold", "mean"]
        assert results.loc["cosine_f1", "test"] > 0

    def test_a_summary_holds_the_histories(self, files):
        summary = json.loads(files["08_reporting/vit_triplet/summary.json"])
        assert summary["histories"].keys() == {"fold_0", "fold_1"}
        assert summary["histories"]["fold_1"]["epoch"] == [1, 2, 3, 4]


def comparable(files):
    """Leave out what tells how it was run, and figures."""
    return {name: content for name, content in files.items() if name.endswith((".csv", ".json", ".safetensors"))}


class TestSameSeedSameBytes:
    # Python's multiprocessing drops the name that update_wrapper gives a partial.
    @pytest.mark.filterwarnings("ignore:The node producing outputs")
    @pytest.mark.parametrize("runner", [ThreadRunner, ParallelRunner])
    @pytest.mark.long
    def test_in_another_folder_with_another_runner(self, files, project, user_data, runner):
        run(project, runner=runner())
        again, reference = comparable(project.outputs()), comparable(files)
        assert again.keys() == reference.keys()
        assert [name for name in reference if again[name] != reference[name]] == []
        assert rewritten(project) == set()  # threads and worker processes leave records, too

    def test_a_second_run_trains_nothing_and_changes_nothing(self, trained, files, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            run(trained)
        assert caplog.text.count("trained before") == 6
        assert " epochs in " not in caplog.text
        assert "were already decoded" in caplog.text
        assert trained.outputs() == files


@pytest.fixture
def done(trained, make_project, photographs):
    """A copy of the trained study."""
    project = make_project(photographs)
    shutil.copytree(trained.root / "data", project.root / "data")
    return project


def rewritten(project, **options):
    """Run what is missing or stale, and return the files that were written."""

    def times():
        return {name: (project.root / "data/demo" / name).stat().st_mtime_ns for name in project.outputs()}

    before = times()
    run(project, only_missing=True, **options)
    return {name for name, time in times().items() if before.get(name) != time}


class TestWhatTheEvaluationReaches:
    def test_strata_and_resamples_reach_no_model_and_nothing_that_a_training_gives(self, done):
        written = rewritten(done, evaluation={"strata": ["dx"], "resamples": 100})
        assert "08_reporting/vit_triplet/strata.csv" in written
        made = ("06_models/", "07_model_output/", "08_reporting/{}/averages", "08_reporting/{}/matching")
        unchanged = tuple(start.format(experiment) for start in made for experiment in EXPERIMENTS)
        assert [name for name in written if name.startswith(unchanged)] == []

    @pytest.mark.long
    def test_how_cuts_are_chosen_reaches_the_models_and_trains_none_of_them_again(self, done, trained, caplog):
        choice = {"threshold_range": [0.2, 0.9], "max_group_size": None}
        with caplog.at_level(logging.INFO, logger="skinbit"):
            written = rewritten(done, evaluation=choice)
        assert " epochs in " not in caplog.text
        parts = {
            f"06_models/{experiment}/{part}" for experiment in EXPERIMENTS for part in ("fold_0", "fold_1", "final")
        }
        assert {f"{part}/best.safetensors" for part in parts} <= written
        assert not [
            name for name in written if "fold_" in name and name.endswith(("weights.safetensors", "history.csv"))
        ]
        for part in parts:
            header = unpack_header((done.root / "data/demo" / part / "best.safetensors").read_bytes())
            assert 0.2 <= header["cosine_threshold"] <= 0.9
            assert header["matching"]["max_group_size"] is None
        run(done, only_missing=True)
        assert done.outputs() == trained.outputs()


class TestSharedTrainings:
    def test_experiments_that_differ_in_their_similarity_alone_are_trained_once(self, done, caplog):
        calibrated = {"backbone": "vit", "loss": "triplet", "similarity": {"calibration": "logistic"}}
        with caplog.at_level(logging.INFO, logger="skinbit"):
            run(done, STUDY | {"experiments": "calibrated"}, experiments={"calibrated": calibrated})
        assert caplog.text.count("trained before") == len(FOLDS) + 1
        assert " epochs in " not in caplog.text
        files = done.outputs()
        for fold in FOLDS:
            for made in ("06_models/{}/fold_{}/weights", "07_model_output/{}/fold_{}/embeddings"):
                own, other = (made.format(name, fold) for name in ("calibrated", "vit_triplet"))
                assert files[f"{own}.safetensors"] == files[f"{other}.safetensors"]

    @pytest.mark.parametrize(
        ("difference", "is_shared"),
        [
            ({}, True),
            ({"similarity": {"verification": True}}, True),
            ({"loss_options": {"margin": 0.1}}, True),  # the default, spelt out
            ({"loss_options": {"margin": 0.2}}, False),
            ({"augmentation": {"vignette": 0.2}}, True),  # the default, too
            ({"augmentation": {"vignette": 0.5}}, False),
            ({"loss": "infonce"}, False),
            ({"training": {"epochs": 7}}, False),
            ({"image_size": 64}, False),
            ({"backbone": "dinov2"}, False),
            ({"frozen": False}, False),
        ],
        ids=str,
    )
    def test_only_what_a_training_rests_on_tells_trainings_apart(self, difference, is_shared):
        backbones = {name: {"model": f"test_{name}"} for name in ("vit", "dinov2")}
        own = {"backbone": "vit", "loss": "triplet"}
        experiments = {"baseline": {"backbone": "vit", "loss": "baseline"}, "first": own, "second": own | difference}
        parameters = Parameters.model_validate(
            {"study": {"experiments": ["second"], "folds": [0]}, "backbones": backbones, "experiments": experiments}
        )
        assert parameters.trained_as("first") == "first"
        assert parameters.trained_as("second") == ("first" if is_shared else "second")


class TestErrors:
    def test_a_fold_before_its_features_names_what_to_run_first(self, project, user_data):
        with pytest.raises(InputError, match="run the pipelines that make this file first") as raised:
            run(project, pipelines=("metric_learning",))
        assert "data_split" in raised.value.message
        assert "baseline_embeddings" in raised.value.message
