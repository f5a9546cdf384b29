"""An experiment that combines the embeddings of others, end to end."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from skinbit.config import EvaluationParams, Parameters, RerankingParams, SimilarityParams, WhiteningParams
from skinbit.matching.assembly import pool_of
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.scoring.score import score
from skinbit.matching.similarity.calibration import Calibration
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.files import unpack_header

pytestmark = pytest.mark.long  # whole studies

MEMBERS = ("head", "whitened")
EXPERIMENTS = {
    "head": {"backbone": "vit", "loss": "contrastive"},
    "whitened": {"backbone": "resnet", "loss": "baseline", "similarity": {"whitening": {"kind": "pca", "dim": 16}}},
    "both": {"combine": [*MEMBERS], "shares": [2, 1], "similarity": {"verification": True}},
}
FOLDS = (0, 1)
STUDY = {"sample_data": False, "experiments": "both", "folds": "0+1"}
SMALL = {
    "split": {"n_folds": 2},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "evaluation": {"distractors": 6},
    "experiments": EXPERIMENTS,
    "training": {"frozen": {"epochs": 2, "views": 3}},
}


@pytest.fixture(scope="module")
def study(make_project, archive):
    """A study that lists the combination alone; never changed but by cluster_images."""
    project = make_project(archive)
    project.run(study=STUDY, **SMALL)
    project.first = project.outputs()
    return project


def table(project, path):
    ids = ("image_id", "lesion_id", "image_a", "image_b")
    return pd.read_csv(project.root / "data/demo" / path, dtype=dict.fromkeys(ids, str), keep_default_na=False)


def embeddings(project, experiment, subset, kind="embeddings"):
    path = project.root / f"data/demo/07_model_output/{experiment}/{subset}/{kind}.safetensors"
    return EmbeddingsDataset(filepath=str(path)).load()


class TestStudy:
    @pytest.mark.parametrize(
        ("subset", "kind"),
        [
            *((f"fold_{fold}", kind) for fold in FOLDS for kind in ("embeddings", "distractor_embeddings")),
            ("final", "embeddings"),
        ],
    )
    def test_cosines_are_the_weighted_mean_of_the_members_cosines(self, study, subset, kind):
        combined, *members = (embeddings(study, name, subset, kind) for name in ("both", *MEMBERS))
        assert {member.image_ids for member in members} == {combined.image_ids}
        expected = np.average([similarity_matrix(Pool(member.values)) for member in members], axis=0, weights=[2, 1])
        np.testing.assert_allclose(similarity_matrix(Pool(combined.values)), expected, atol=2e-6)

    def test_a_fold_is_judged_on_calibrated_similarities_of_the_combined_embeddings(self, study):
        split = table(study, "02_intermediate/split.csv").set_index("image_id")["lesion_id"]
        calibrations = json.loads((study.root / "data/demo/08_reporting/both/calibration.json").read_text())
        for fold in FOLDS:
            embedded = embeddings(study, "both", f"fold_{fold}")
            listed = table(study, f"07_model_output/both/fold_{fold}/shortlist.csv")
            pool = pool_of(
                embedded.values,
                SimilarityParams(verification=True),
                read_shortlist(listed, embedded.image_ids),
                Calibration.model_validate(calibrations[str(fold)]),
            )
            lesions = split[list(embedded.image_ids)].tolist()
            expected = score(pool, lesions, EvaluationParams()).metrics
            reported = pd.read_csv(study.root / f"data/demo/08_reporting/both/fold_{fold}/results.csv")
            found = reported.set_index("metric")["value"]
            assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)

    def test_members_run_although_the_study_lists_the_combination_alone(self, study):
        board = table(study, "08_reporting/leaderboard.csv").set_index("experiment")
        assert set(board.index) == {"both", *MEMBERS}
        assert board.loc["both", ["backbone", "loss"]].tolist() == ["vit+resnet", "contrastive+baseline"]
        assert board.loc["head", ["backbone", "loss"]].tolist() == ["vit", "contrastive"]

    def test_figures_among_distractors_and_of_the_test_subset_are_there(self, study):
        results = table(study, "08_reporting/both/results.csv").set_index("metric")
        columns = ["fold_0", "fold_1"]
        assert results.loc["cosine_f1_distractors", columns].astype(float).between(0, 1).all()
        assert results.loc[["cosine_f1", "dbscan_f1", "average_f1"], "test"].astype(float).between(0, 1).all()

    def test_its_resolved_configuration_names_all_that_its_embeddings_rest_on(self, study):
        folder = study.root / "data/demo/08_reporting"
        config, *members = (
            yaml.safe_load((folder / name / "resolved_config.yaml").read_text()) for name in ("both", *MEMBERS)
        )
        assert (config["experiment"]["combine"], config["experiment"]["shares"]) == ([*MEMBERS], [2.0, 1.0])
        assert config["similarity"]["verification"] is True
        for name, member in zip(MEMBERS, members, strict=True):
            own = config["members"][name]
            assert own["backbone"] == member["backbone"]
            assert own["similarity"]["whitening"] == member["similarity"]["whitening"]
        assert config["members"]["head"]["training"] == members[0]["training"]

    def test_the_pages_show_it(self, study):
        folder = study.root / "data/demo/08_reporting"
        report = (folder / "report.html").read_text()
        assert "vit+resnet, contrastive+baseline" in report
        for block in ("head: training", "whitened: backbone", "whitened: similarity"):
            assert f"<h4>{block}</h4>" in report
        for method in ("cosine", "dbscan"):
            assert f'href="both/misclassifications_{method}.html"' in report
            assert (folder / f"both/misclassifications_{method}.html").exists()
        assert (folder / "both/match_drawings.json").exists()

    def test_the_same_seed_gives_the_same_bytes_and_a_member_that_changes_changes_it(
        self, study, make_project, archive
    ):
        again = make_project(archive)
        again.run(study=STUDY, **SMALL)
        first, second = study.first, again.outputs()
        assert [path for path in first if second[path] != first[path]] == []
        fewer = {**EXPERIMENTS["whitened"], "similarity": {"whitening": {"kind": "pca", "dim": 12}}}
        again.run(only_missing=True, study=STUDY, **{**SMALL, "experiments": {**EXPERIMENTS, "whitened": fewer}})
        changed = {path for path, content in again.outputs().items() if content != second[path]}
        vectors = {path for path in changed if path.endswith("/embeddings.safetensors")}
        subsets = ("fold_0", "fold_1", "final")
        expected = {f"07_model_output/{name}/{subset}" for name in ("both", "whitened") for subset in subsets}
        assert vectors == {f"{folder}/embeddings.safetensors" for folder in expected}
        assert "06_models/both/final/best.safetensors" in changed
        assert not [path for path in changed if "/head/" in path]

    def test_its_pipeline_needs_nothing_that_the_study_has_not_made(self, study, caplog):
        study.run(pipelines=("both",), only_missing=True, study=STUDY, **SMALL)
        assert "both combines head + whitened, which run too" in caplog.text
        assert "nodes run" not in caplog.text


class TestParameters:
    def test_embeddings_that_are_whitened_in_every_experiment_are_not_whitened_once_more(self):
        given = Parameters(
            study={"experiments": ("both",), "folds": (0,)},
            similarity={"whitening": True},
            backbones={"resnet": {"model": "test_resnet"}, "vit": {"model": "test_vit"}},
            experiments={
                "a": {"backbone": "resnet", "loss": "baseline"},
                "b": {"backbone": "vit", "loss": "baseline"},
                "both": {"combine": ("a", "b"), "similarity": {"reranking": {"k1": 3}}},
            },
        )
        assert given.recipes["both"].similarity == SimilarityParams(reranking=RerankingParams(k1=3))
        assert given.recipes["a"].similarity == given.similarity == SimilarityParams(whitening=WhiteningParams())


class TestFinalModel:
    def test_holds_the_models_of_its_members_and_how_to_match(self, study):
        path = study.root / "data/demo/06_models/both/final/best.safetensors"
        header = unpack_header(path.read_bytes())
        assert (header["combine"], header["shares"]) == ([*MEMBERS], [2.0, 1.0])
        assert [member["backbone"]["model"] for member in header["members"]] == ["test_vit", "test_resnet"]
        assert header["matching"]["similarity"]["verification"] is True

    @pytest.mark.parametrize("place", ["experiment", "checkpoint"])
    def test_one_file_groups_the_test_photographs_with_exactly_the_reported_f1(
        self, study, photographs, tmp_path, place
    ):
        split = table(study, "02_intermediate/split.csv")
        test = split[split["fold"] == -1].set_index("image_id")["lesion_id"]
        folder = tmp_path / "new"
        folder.mkdir()
        for image_id in test.index:
            shutil.copy(photographs / "images" / f"{image_id}.jpg", folder)
        model = "both"
        if place == "checkpoint":
            model = str(shutil.copy(study.root / "data/demo/06_models/both/final/best.safetensors", tmp_path))
        cluster = {"images": str(folder), place: model, "method": "average"}
        study.run(pipelines=("cluster_images",), study=STUDY, cluster=cluster, **SMALL)
        groups = table(study, "07_model_output/clusters/clustered_images.csv").set_index("image_id")["cluster_id"]
        same_group = groups.to_numpy()[:, None] == groups.to_numpy()[None, :]
        lesions = test[groups.index].to_numpy()
        same_lesion = lesions[:, None] == lesions[None, :]
        pairs = np.triu(np.ones_like(same_group), 1)
        n_true, n_predicted, n_positive = (
            (chosen & pairs).sum() for chosen in (same_group & same_lesion, same_group, same_lesion)
        )
        reported = table(study, "08_reporting/both/results.csv").set_index("metric")["test"]
        assert 2 * n_true / (n_predicted + n_positive) == pytest.approx(float(reported["average_f1"]), abs=1e-12)
        page = (study.root / "data/demo/07_model_output/clusters/clusters.html").read_text()
        assert "test_vit, contrastive + test_resnet, baseline" in page
