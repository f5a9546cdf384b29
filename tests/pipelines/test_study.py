"""The promises of `kedro run`, end to end on synthetic photographs and tiny networks."""

import itertools
import json
import logging
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.runner import ThreadRunner
from safetensors.numpy import load

from skinbit.matching.methods import CUTS, PAGED
from skinbit.runtime.datasets.files import unpack_header

FOLDS = range(3)
SPLIT = {"n_folds": len(FOLDS)}
EXPERIMENTS = ("resnet_baseline", "vit_baseline")
ALONE = {"loader": {"workers": 0}}
"""No processes beside the test's own, whose start takes longer than their work."""
ON_USERS_DATA = {"sample_data": False, "experiments": "+".join(EXPERIMENTS), "folds": "0+1+2"}
"""The demo's tiny networks on the user's photographs; test_metric_learning.py trains some."""


@pytest.fixture(scope="module")
def finished(make_project, photographs):
    """One whole study, looked at by several tests."""
    project = make_project(photographs)
    project.run(study=ON_USERS_DATA, split=SPLIT)
    return project


def table(project, path, root="data/demo"):
    return pd.read_csv(project.root / root / path, dtype={"image_id": str, "lesion_id": str})


def mistakes(project, experiment, method):
    return json.loads(project.outputs()[f"08_reporting/{experiment}/test_misclassifications_{method}.json"])


def best_for_pool(method, folds, n_images):
    """Return the cuts with the highest F1 by the counts of all folds together, each false pair counting rho times."""
    rho = n_images / np.mean([fold["n_images"] for fold in folds])
    sign = -1 if method == "cosine" else 1
    f1 = {}
    for cut in {cut for fold in folds for cut in fold["cuts"]}:
        tp, fp = (
            sum(np.interp(sign * cut, sign * np.array(fold["cuts"]), fold[kind], left=0) for fold in folds)
            for kind in ("tp", "fp")
        )
        f1[cut] = 2 * tp / (tp + rho * fp + sum(fold["n_positive_pairs"] for fold in folds))
    return {cut for cut, value in f1.items() if value == pytest.approx(max(f1.values()))}


class TestWholeStudy:
    def test_writes_every_file_of_the_contract(self, finished):
        shared = {f"02_intermediate/{name}.csv" for name in ("metadata", "split", "rejected")}
        shared |= {
            "03_primary/thumbnails.json",
            "08_reporting/study/parameters.yml",
            "08_reporting/study/software.json",
        }
        features = {f"04_feature/{backbone}/features.safetensors" for backbone in ("resnet", "vit")}
        per_fold = {
            path.format(experiment=experiment, fold=fold)
            for experiment in EXPERIMENTS
            for fold in FOLDS
            for path in (
                "07_model_output/{experiment}/fold_{fold}/embeddings.safetensors",
                "07_model_output/{experiment}/fold_{fold}/clustered_images.csv",
                "08_reporting/{experiment}/fold_{fold}/sweep.csv",
                "08_reporting/{experiment}/fold_{fold}/results.csv",
            )
        }
        per_experiment = {
            path.format(experiment=experiment)
            for experiment in EXPERIMENTS
            for path in (
                "06_models/{experiment}/final/best.safetensors",
                "08_reporting/{experiment}/results.csv",
                "08_reporting/{experiment}/operating_points.json",
                "08_reporting/{experiment}/judgement.csv",
                "08_reporting/{experiment}/resampled_f1.csv",
                "08_reporting/{experiment}/strata.csv",
                "08_reporting/{experiment}/resolved_config.yaml",
                "08_reporting/{experiment}/f1_curves.png",
                "08_reporting/{experiment}/test_misclassifications_cosine.json",
                "08_reporting/{experiment}/test_misclassifications_dbscan.json",
                "08_reporting/{experiment}/misclassifications_cosine.html",
                "08_reporting/{experiment}/misclassifications_dbscan.html",
            )
        }
        expected = (
            {"08_reporting/leaderboard.csv", "08_reporting/report.html"} | shared | features | per_fold | per_experiment
        )
        assert expected <= finished.outputs().keys()
        assert not [name for name in finished.outputs() if name.endswith(".tmp")]

    def test_no_lesion_is_in_two_folds_or_in_the_test_subset_too(self, finished):
        split = table(finished, "02_intermediate/split.csv")
        assert split.columns.tolist() == ["image_id", "lesion_id", "subset", "fold"]
        assert (split.groupby("lesion_id")["fold"].nunique() == 1).all()
        assert ((split["fold"] == -1) == (split["subset"] == "test")).all()

    def test_every_row_of_the_metadata_is_used_or_rejected(self, finished, photographs):
        used = table(finished, "02_intermediate/metadata.csv")
        rejected = table(finished, "02_intermediate/rejected.csv")
        published = pd.read_csv(photographs / "data.csv")
        assert sorted([*used["image_id"], *rejected["image_id"]]) == sorted(published["image_id"])
        assert used.columns.tolist() == published.columns.tolist()

    def test_embeddings_are_those_of_the_folds_images_and_of_unit_length(self, finished):
        split = table(finished, "02_intermediate/split.csv")
        for fold in FOLDS:
            content = finished.outputs()[f"07_model_output/vit_baseline/fold_{fold}/embeddings.safetensors"]
            assert unpack_header(content)["image_ids"] == split.loc[split["fold"] == fold, "image_id"].tolist()
            values = load(content)["embeddings"]
            assert values.dtype == np.float32
            assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)

    def test_f1_of_a_fold_follows_from_its_embeddings_and_clusters(self, finished):
        for fold in FOLDS:
            folder = f"resnet_baseline/fold_{fold}"
            clusters = table(finished, f"07_model_output/{folder}/clustered_images.csv")
            values = load(finished.outputs()[f"07_model_output/{folder}/embeddings.safetensors"])["embeddings"]
            figures = table(finished, f"08_reporting/{folder}/results.csv").set_index("metric")["value"]
            similar = (values.astype(float) @ values.T.astype(float)).astype(np.float32).astype(float)
            pairs = np.triu_indices(len(values), 1)
            same = (clusters["lesion_id"].to_numpy()[:, None] == clusters["lesion_id"].to_numpy())[pairs]
            together = (clusters["cluster_id"].to_numpy()[:, None] == clusters["cluster_id"].to_numpy())[pairs]
            for method, predicted in (
                ("cosine", similar[pairs] >= figures["cosine_threshold"]),
                ("dbscan", together),
            ):
                f1 = 2 * (predicted & same).sum() / (predicted.sum() + same.sum())
                assert figures[f"{method}_f1"] == pytest.approx(f1)
            sweep = table(finished, f"08_reporting/{folder}/sweep.csv")
            best = sweep.groupby("method")["f1"].max()
            assert best["cosine"] == figures["cosine_f1"]
            assert best["dbscan"] == figures["dbscan_f1"]

    def test_results_hold_folds_mean_spread_and_test(self, finished):
        results = table(finished, "08_reporting/vit_baseline/results.csv").set_index("metric")
        assert results.columns.tolist() == [*(f"fold_{fold}" for fold in FOLDS), "mean", "std", "test"]
        points = json.loads(finished.outputs()["08_reporting/vit_baseline/operating_points.json"])
        for method, cut in CUTS.items():
            assert results.loc[cut, "test"] in best_for_pool(method, points[method], results.loc["n_images", "test"])
        assert results.loc["cosine_f1", "test"] <= results.loc["cosine_f1_oracle", "test"]
        assert results.loc[["cosine_f1_oracle", "dbscan_f1_oracle"], "mean"].isna().all()
        own = results.loc["cosine_f1", results.columns.str.startswith("fold")]
        assert (results.loc["cosine_f1_transfer", own.index] <= own).all()

    def test_misclassified_pairs_of_the_test_subset_give_its_figures(self, finished):
        split = table(finished, "02_intermediate/split.csv")
        lesion_of = dict(zip(split["image_id"], split["lesion_id"], strict=True))
        test_images = set(split.loc[split["subset"] == "test", "image_id"])
        for experiment, method in itertools.product(EXPERIMENTS, PAGED):
            figures = table(finished, f"08_reporting/{experiment}/results.csv").set_index("metric")["test"]
            document = mistakes(finished, experiment, method)
            counts = document["counts"]
            found, joined, missed = (counts[kind] for kind in ("true_positive", "false_positive", "false_negative"))
            assert document["threshold" if method == "cosine" else "eps"] == figures[CUTS[method]]
            assert figures[f"{method}_f1"] == 2 * found / (2 * found + joined + missed)
            assert figures[f"{method}_recall"] == found / (found + missed)
            assert counts["n_pairs"] == len(test_images) * (len(test_images) - 1) / 2
            assert len(document["pairs"]) == joined + missed > 0
            for pair in document["pairs"]:
                assert {pair["image_a"], pair["image_b"]} <= test_images
                assert (pair["lesion_a"], pair["lesion_b"]) == (lesion_of[pair["image_a"]], lesion_of[pair["image_b"]])
                assert (pair["error"] == "false_negative") == (pair["lesion_a"] == pair["lesion_b"])

    def test_pages_of_misclassified_pairs_hold_their_photographs_and_no_path_of_the_machine(
        self, finished, photographs
    ):
        thumbnails = json.loads(finished.outputs()["03_primary/thumbnails.json"])
        page = finished.outputs()["08_reporting/vit_baseline/misclassifications_cosine.html"].decode()
        pairs = mistakes(finished, "vit_baseline", "cosine")["pairs"]
        assert all(thumbnails[pair[side]] in page for pair in pairs for side in ("image_a", "image_b"))
        assert not [path for path in (finished.root, photographs) if str(path) in page]

    def test_the_leaderboard_ranks_every_experiment(self, finished):
        board = table(finished, "08_reporting/leaderboard.csv")
        assert sorted(board["experiment"]) == sorted(EXPERIMENTS)
        assert board["cosine_f1_transfer_mean"].is_monotonic_decreasing
        assert board["cosine_f1_test"].notna().all()
        assert board["behind_first"].is_monotonic_increasing
        assert board["behind_first"][0] == board["behind_first_high"][0] == 0
        assert (board["cosine_f1_transfer_low"] < board["cosine_f1_transfer_high"]).all()

    def test_the_report_shows_every_experiment_links_pages_that_exist_and_holds_no_path_of_the_machine(
        self, finished, photographs
    ):
        page = finished.outputs()["08_reporting/report.html"].decode()
        assert set(re.findall(r'id="experiment-(\w+)"', page)) == set(EXPERIMENTS)
        linked = {f"08_reporting/{address}" for address in re.findall(r'href="([^#"]+)"', page)}
        assert len(linked) == len(EXPERIMENTS) * len(PAGED)
        assert linked <= finished.outputs().keys()
        assert not [path for path in (finished.root, photographs) if str(path) in page]

    def test_the_resolved_config_holds_defaults_and_no_path_of_the_machine(self, finished):
        text = finished.outputs()["08_reporting/vit_baseline/resolved_config.yaml"].decode()
        config = yaml.safe_load(text)
        assert config["backbone"]["pooling"] == {"method": "model", "levels": [], "power": 3.0}
        assert config["weights_licences"] == {"vit": "not pretrained"}
        assert config["compute"]["threads"] >= 1
        assert config["seed"] == 42
        assert str(finished.root) not in text

    def test_the_final_checkpoint_says_how_to_use_the_model(self, finished):
        content = finished.outputs()["06_models/resnet_baseline/final/best.safetensors"]
        header = unpack_header(content)
        results = table(finished, "08_reporting/resnet_baseline/results.csv").set_index("metric")["mean"]
        assert header["cosine_threshold"] == results["cosine_threshold"]
        assert header["dbscan_eps"] == results["dbscan_eps"]
        assert header["backbone"]["model"] == "test_resnet"
        assert header["preprocessing"]["image_size"] == header["backbone"]["image_size"]


class TestSameSeedSameBytes:
    def test_in_another_folder_with_other_workers_and_another_runner(self, finished, project, user_data):
        reference = finished.outputs()
        project.run(runner=ThreadRunner(), study=ON_USERS_DATA, split=SPLIT, **ALONE)
        told = ("resolved_config.yaml", "study/parameters.yml")  # how many workers there were
        again = {name: content for name, content in project.outputs().items() if not name.endswith(told)}
        assert again == {name: reference[name] for name in again}
        assert len(again) == len(reference) - len(EXPERIMENTS) - 1

    def test_when_features_come_from_the_cache(self, finished, caplog):
        reference = finished.outputs()
        with caplog.at_level(logging.INFO, logger="skinbit"):
            finished.run(study=ON_USERS_DATA, split=SPLIT)
        assert caplog.text.count(", 0 to compute") == len(EXPERIMENTS)
        assert finished.outputs() == reference


class TestDemo:
    def test_goes_on_after_a_save_that_was_killed(self, project):
        (project.root / "data/demo/01_raw/images").mkdir(parents=True)
        (project.root / "data/demo/01_raw/images/.SIMG_0000001.jpg.0123abcd.tmp").write_bytes(b"half")
        project.run(pipelines=("sample_data",), sample={"n_lesions": 2, "n_unlabelled": 0, "width": 32, "height": 32})
        assert (project.root / "data/demo/01_raw/data.csv").is_file()

    def test_needs_nothing_and_runs_twice(self, project):
        sample = {"n_lesions": 12, "n_unlabelled": 0, "width": 64, "height": 48}
        for _ in range(2):
            project.run(
                sample=sample, study={"experiments": "vit_baseline", "folds": "0+3"}, split={"n_folds": 4}, **ALONE
            )
        results = table(project, "08_reporting/vit_baseline/results.csv")
        assert results.columns.tolist() == ["metric", "fold_0", "fold_3", "mean", "std", "test"]


class TestShapeOfTheStudy:
    @pytest.mark.long
    def test_without_a_test_split_all_lesions_are_cross_validated(self, project, user_data):
        split = {**SPLIT, "use_train_test_split": False, "stratify_by": "dx"}
        training = {"frozen": {"epochs": 1, "views": 1}}
        project.run(study={**ON_USERS_DATA, "experiments": "vit_baseline+vit_triplet"}, split=split, training=training)
        dealt = table(project, "02_intermediate/split.csv")
        assert set(dealt["subset"]) == {"train"}
        assert set(dealt["fold"]) == set(FOLDS)
        for experiment in ("vit_baseline", "vit_triplet"):
            assert "test" not in table(project, f"08_reporting/{experiment}/results.csv")
        assert not [name for name in project.outputs() if "misclassifications" in name or "thumbnails" in name]
        assert table(project, "08_reporting/leaderboard.csv")["cosine_f1_test"].isna().all()

    def test_an_experiments_name_runs_all_that_it_needs_and_nothing_else(self, project, user_data):
        project.run(pipelines=("vit_baseline",), study=ON_USERS_DATA, split=SPLIT, **ALONE)
        written = project.outputs()
        assert "08_reporting/vit_baseline/results.csv" in written
        assert not [
            name for name in written if any(other in name for other in ("resnet", "leaderboard", "report.html"))
        ]

    def test_an_experiment_that_overrides_its_backbone_has_features_of_its_own(self, project, user_data):
        experiments = {"vit_close": {"backbone": "vit", "loss": "baseline", "test_views": {"zooms": [1.0, 2.0]}}}
        study = {**ON_USERS_DATA, "experiments": "vit_close+vit_baseline", "folds": 0}
        project.run(
            pipelines=("data_split", "baseline_embeddings"), study=study, split=SPLIT, **ALONE, experiments=experiments
        )
        views = {
            name: load(project.outputs()[f"04_feature/{name}/features.safetensors"])["features"].shape[1]
            for name in ("vit_close", "vit")
        }
        assert views == {"vit_close": 2, "vit": 1}

    def test_dev_cuts_the_users_data_to_30_lesions_and_fold_0(self, project, user_data):
        tiny = {"model": "test_vit", "pretrained": False, "image_size": 64}
        backbones = dict.fromkeys(("resnet", "vit", "dinov2"), tiny)
        study = {"experiments": "vit_baseline"}
        project.run(env="dev", backbones=backbones, study=study, loader={"workers": 0}, compute={"threads": 1})
        split = table(project, "02_intermediate/split.csv", "data/dev")
        assert split["lesion_id"].nunique() == 30
        assert table(project, "02_intermediate/metadata.csv", "data/dev")["lesion_id"].nunique() == 30
        assert table(project, "08_reporting/leaderboard.csv", "data/dev")["cosine_f1_mean"].notna().all()
        rejected = table(project, "02_intermediate/rejected.csv", "data/dev")
        assert (rejected["reason"] == "outside the subset of 30 lesions").any()

    def test_lesions_with_too_few_or_too_many_images_are_left_out_and_counted(self, project, user_data, caplog):
        with caplog.at_level(logging.INFO, logger="skinbit"):
            project.run(
                pipelines=("data_split",),
                study={**ON_USERS_DATA, "folds": 0},
                data={"min_images_per_lesion": 3, "max_images_per_lesion": 3},
                split={"n_folds": 2, "use_train_test_split": False},
            )
        rejected = table(project, "02_intermediate/rejected.csv")
        assert set(rejected["reason"]) == {"lesion has fewer than 3 images", "lesion has more than 3 images"}
        for reason, images in rejected.groupby("reason"):
            assert f"left out {len(images)} images: {reason}" in caplog.text

    def test_test_figures_of_other_cuts_are_not_shown(self, finished, project, user_data, caplog):
        one = {**ON_USERS_DATA, "experiments": "vit_baseline"}
        shutil.copytree(finished.root / "data", project.root / "data")
        project.run(pipelines=("evaluation",), study=one, split=SPLIT, evaluation={"threshold_range": [-1.0, 0.5]})
        assert "test" not in table(project, "08_reporting/vit_baseline/results.csv")
        assert "run the pipeline final_model" in caplog.text

    def test_a_local_weights_file_is_named_in_the_resolved_config_without_its_folder(
        self, project, user_data, tmp_path
    ):
        import timm
        from safetensors.torch import save_file

        save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "mine.safetensors")
        backbones = {"resnet": {"weights": str(tmp_path / "mine.safetensors"), "pretrained": True}}
        project.run(study={**ON_USERS_DATA, "experiments": "resnet_baseline", "folds": 0}, backbones=backbones, **ALONE)
        text = project.outputs()["08_reporting/resnet_baseline/resolved_config.yaml"].decode()
        assert yaml.safe_load(text)["backbone"]["weights"] == "mine.safetensors"
        everything = b"".join(content for name, content in project.outputs().items() if "08_" in name or "06_" in name)
        assert str(tmp_path).encode() not in everything
