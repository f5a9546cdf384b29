"""Experiments with every stage of a similarity (whitening, pairs of zooms, keypoints, re-ranking), end to end."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from kedro.framework.startup import bootstrap_project

from skinbit.config import EvaluationParams, SimilarityParams
from skinbit.matching.assembly import LabelledPool, Matching, calibrate, pool_of
from skinbit.matching.cuts.transfer import carry_to_pool
from skinbit.matching.keypoints import sift
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.labels import lesion_labels
from skinbit.matching.scoring.score import metrics_at_cuts, score
from skinbit.matching.similarity.calibration import Calibration
from skinbit.notebook.finished_study import Study
from skinbit.runtime.context import active_parameters
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.files import unpack_header
from skinbit.runtime.session import StudySession
from skinbit.runtime.verification import verify_outputs

VERIFIED = {"verification": True}
ZOOMED = {"rotations": [0, 90], "zooms": [1.0, 2.0]}
EVERYTHING = {
    "whitening": {"kind": "pca"},
    "zoom_pairs": True,
    "scaling": {"share": 0.1, "least": 2},
    "verification": True,
    "calibration": "isotonic",
    "reranking": {"k1": 4},
}
EXPERIMENTS = {
    "seen": {"backbone": "vit", "loss": "baseline", "similarity": VERIFIED},
    "all_in": {"backbone": "vit", "loss": "baseline", "test_views": ZOOMED, "similarity": EVERYTHING},
    "plain": {"backbone": "vit", "loss": "baseline"},
}
STUDY = {"sample_data": False, "experiments": "seen+all_in+plain", "folds": "0+1+2"}
SMALL = {
    "split": {"n_folds": 3},
    "geometry": {"image_side": 96},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "experiments": EXPERIMENTS,
}
FOLDS = (0, 1, 2)


@pytest.fixture(scope="module")
def study(make_project, photographs):
    """One study of three experiments on the same features; never changed."""
    project = make_project(photographs)
    project.run(study=STUDY, **SMALL)
    return project


def table(project, path):
    ids = ("image_id", "lesion_id", "image_a", "image_b")
    return pd.read_csv(project.root / "data/demo" / path, dtype=dict.fromkeys(ids, str), keep_default_na=False)


def figures(project, path):
    read = pd.read_csv(project.root / "data/demo" / path)
    return read.set_index("metric")


def pools(project, experiment="seen"):
    """Return image ids and labelled pool of every fold, as they are on disk."""
    split = table(project, "02_intermediate/split.csv").set_index("image_id")["lesion_id"]
    found = {}
    for fold in FOLDS:
        folder = f"07_model_output/{experiment}/fold_{fold}"
        path = project.root / "data/demo" / folder / "embeddings.safetensors"
        embeddings = EmbeddingsDataset(filepath=str(path)).load()
        lesion_ids = split[list(embeddings.image_ids)].tolist()
        shortlist = read_shortlist(table(project, f"{folder}/shortlist.csv"), embeddings.image_ids)
        found[fold] = (lesion_ids, LabelledPool(embeddings.values, lesion_labels(lesion_ids), shortlist))
    return found


def test_figures_are_those_of_the_reference_but_of_the_re_ranked_experiment(study):
    found = verify_outputs(study.root / "data/demo")
    assert found.first is None
    assert [what.partition(",")[0] for what in found.left_out] == ["all_in"]
    assert found.counts["08_reporting/leaderboard.csv"] > 100


class TestVerified:
    def test_a_fold_is_calibrated_by_the_pairs_of_the_other_folds(self, study):
        params, found = SimilarityParams(verification=True), pools(study)
        for fold in FOLDS:
            lesion_ids, pool = found[fold]
            calibration = calibrate([other for n, (_, other) in found.items() if n != fold], params)
            matched = pool_of(pool.embeddings, params, pool.shortlist, calibration)
            expected = score(matched, lesion_ids, EvaluationParams()).metrics
            reported = figures(study, f"08_reporting/seen/fold_{fold}/results.csv")["value"]
            assert {name: reported[name] for name in expected} == pytest.approx(expected, nan_ok=True)

    def test_the_final_model_carries_all_that_makes_similarities(self, study):
        path = study.root / "data/demo/06_models/seen/final/best.safetensors"
        matching = unpack_header(path.read_bytes())["matching"]
        found = pools(study)
        calibration = calibrate([pool for _, pool in found.values()], SimilarityParams(verification=True))
        assert Calibration.model_validate(matching["calibration"]) == calibration
        assert matching["similarity"]["verification"] is True
        assert matching["geometry"]["neighbours"] == 12, "the demo's"

    def test_test_figures_are_at_the_cut_for_the_size_of_the_test_subset(self, study):
        root = study.root / "data/demo"
        header = unpack_header((root / "06_models/seen/final/best.safetensors").read_bytes())
        matching = Matching.model_validate(header["matching"])
        embeddings = EmbeddingsDataset(filepath=str(root / "07_model_output/seen/final/embeddings.safetensors")).load()
        shortlist = read_shortlist(table(study, "07_model_output/seen/final/shortlist.csv"), embeddings.image_ids)
        pool = matching.pool(embeddings.values, shortlist)
        split = table(study, "02_intermediate/split.csv").set_index("image_id")["lesion_id"]
        carried = carry_to_pool(matching.operating_points, len(embeddings.image_ids), is_corrected=True)
        cuts = {method: cut.value for method, cut in carried.items()}
        lesion_ids = split[list(embeddings.image_ids)].tolist()
        expected = metrics_at_cuts(score(pool, lesion_ids, EvaluationParams(), cuts), cuts)
        reported = figures(study, "08_reporting/seen/results.csv")["test"]
        assert {name: reported[name] for name in expected} == pytest.approx(expected, nan_ok=True)
        assert reported["rho"] == carried["cosine"].rho

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_notebooks_show_the_similarities_that_figures_rest_on(self, study, photographs, monkeypatch, experiment):
        monkeypatch.setenv("SKINBIT_RAW_DIR", str(photographs))
        bootstrap_project(study.root)
        session = StudySession.create(project_path=study.root, env="demo", runtime_params={"study": STUDY, **SMALL})
        opened = Study(session.load_context().catalog, active_parameters())
        lesion_of = table(study, "02_intermediate/split.csv").set_index("image_id")["lesion_id"]
        reported = figures(study, f"08_reporting/{experiment}/results.csv")
        for part, column, figure in (("fold_1", "fold_1", "cosine_f1"), ("final", "test", "cosine_f1_oracle")):
            embeddings = opened.catalog.load(f"{experiment}.{part}.embeddings")
            lesion_ids = lesion_of[list(embeddings.image_ids)].tolist()
            found = score(opened.pool(experiment, part), lesion_ids, EvaluationParams())
            assert found.metrics["cosine_f1"] == pytest.approx(reported.loc[figure, column])
            assert found.metrics["recall_at_1"] == pytest.approx(reported.loc["recall_at_1", column])

    def test_keypoints_are_found_once_for_all_experiments(self, study):
        assert (study.root / "data/demo/04_feature/keypoints.safetensors").exists()
        ids = unpack_header((study.root / "data/demo/04_feature/keypoints.safetensors").read_bytes())["image_ids"]
        assert ids == table(study, "02_intermediate/image_index.csv")["image_id"].tolist()

    def test_an_experiment_without_similarity_settings_is_matched_by_cosine(self, study):
        assert not list((study.root / "data/demo").rglob("plain/**/shortlist.csv"))
        assert not (study.root / "data/demo/08_reporting/plain/calibration.json").exists()

    def test_its_mistakes_are_shown_with_the_points_that_were_counted(self, study):
        folder = study.root / "data/demo/08_reporting"
        drawings = json.loads((folder / "seen/match_drawings.json").read_text())
        shortlist = table(study, "07_model_output/seen/final/shortlist.csv")
        compared = {frozenset(row[:2]): int(row[2]) for row in shortlist.itertuples(index=False)}
        listed = set()
        for method in ("cosine", "dbscan"):
            pairs = json.loads((folder / f"seen/test_misclassifications_{method}.json").read_text())["pairs"]
            mistakes = {frozenset((pair["image_a"], pair["image_b"])) for pair in pairs}
            listed |= mistakes
            is_drawn = any(compared.get(pair, 0) > 0 for pair in mistakes)
            assert ('id="drawings"' in (folder / f"seen/misclassifications_{method}.html").read_text()) == is_drawn
            assert 'id="drawings"' not in (folder / f"plain/misclassifications_{method}.html").read_text()
        counted = {frozenset((each["image_a"], each["image_b"])): each["inliers"] for each in drawings}
        assert counted == {pair: compared[pair] for pair in listed if pair in compared}
        assert any(each["inliers"] > 0 for each in drawings)
        assert all((each["drawing"] is not None) == (each["inliers"] > 0) for each in drawings)
        assert not (folder / "plain/match_drawings.json").exists()

    @pytest.mark.long
    def test_one_fold_alone_is_calibrated_on_its_own_pairs_and_a_warning_says_so(
        self, make_project, photographs, caplog
    ):
        project = make_project(photographs)
        project.run(pipelines=("seen",), study={**STUDY, "experiments": "seen", "folds": 0}, **SMALL)
        assert "calibrated on its own pairs" in caplog.text
        assert np.isnan(figures(project, "08_reporting/seen/results.csv")["mean"]["cosine_f1_transfer"])


class TestPoorFolds:
    def test_a_fold_without_a_positive_pair_is_undefined_not_the_end(self, make_project, photographs, tmp_path):
        folder = tmp_path / "few"
        (folder / "images").mkdir(parents=True)
        metadata = pd.read_csv(photographs / "data.csv", dtype=str)
        first = metadata["lesion_id"] == metadata["lesion_id"].iloc[0]
        few = pd.concat([metadata[first].head(2), metadata[~first].groupby("lesion_id").head(1).head(5)])
        few.to_csv(folder / "data.csv", index=False)
        for image_id in few["image_id"]:
            shutil.copy(photographs / "images" / f"{image_id}.jpg", folder / "images")
        project = make_project(folder)
        project.run(
            study={**STUDY, "experiments": "plain", "folds": "0+1"},
            experiments=EXPERIMENTS,
            data={"min_images_per_lesion": 1},
            split={"n_folds": 2, "use_train_test_split": False},
            loader={"workers": 0},
            compute={"threads": 1},
        )
        results = figures(project, "08_reporting/plain/results.csv")
        assert results.loc["cosine_f1", ["fold_0", "fold_1"]].isna().sum() == 1
        assert (project.root / "data/demo/08_reporting/report.html").exists()


class TestClusterImages:
    @pytest.mark.parametrize(("experiment", "method"), [("seen", "average"), ("all_in", "mutual")])
    def test_of_the_test_photographs_have_exactly_the_reported_f1(
        self, study, photographs, tmp_path, experiment, method
    ):
        split = table(study, "02_intermediate/split.csv")
        test = split[split["fold"] == -1].set_index("image_id")["lesion_id"]
        folder = tmp_path / "new"
        folder.mkdir()
        for image_id in test.index:
            shutil.copy(photographs / "images" / f"{image_id}.jpg", folder)
        as_studied = {"single_share": 0.0, "max_group_size": 4}
        cluster = {"images": str(folder), "experiment": experiment, "method": method, **as_studied}
        study.run(pipelines=("cluster_images",), study=STUDY, cluster=cluster, **SMALL)
        groups = table(study, "07_model_output/clusters/clustered_images.csv").set_index("image_id")["cluster_id"]
        same_group = groups.to_numpy()[:, None] == groups.to_numpy()[None, :]
        lesions = test[groups.index].to_numpy()
        same_lesion = lesions[:, None] == lesions[None, :]
        pairs = np.triu(np.ones_like(same_group), 1)
        n_true, n_predicted, n_positive = (
            (chosen & pairs).sum() for chosen in (same_group & same_lesion, same_group, same_lesion)
        )
        f1 = 2 * n_true / (n_predicted + n_positive)
        assert f1 == figures(study, f"08_reporting/{experiment}/results.csv")["test"][f"{method}_f1"]

    @pytest.fixture
    def cluster(self, study, photographs, tmp_path, monkeypatch):
        """Group the first photographs; return how many were looked at for keypoints, and what was written."""
        looked_at, extract = [], sift.extract_keypoints
        monkeypatch.setattr(sift, "extract_keypoints", lambda *given: looked_at.append(1) or extract(*given))

        def run(n_photographs):
            looked_at.clear()
            folder = tmp_path / f"first {n_photographs}"
            folder.mkdir(exist_ok=True)
            for path in sorted((photographs / "images").iterdir())[:n_photographs]:
                shutil.copy(path, folder)
            given = {"images": str(folder), "experiment": "seen"}
            study.run(pipelines=("cluster_images",), study=STUDY, cluster=given, **SMALL)
            written = {name: content for name, content in study.outputs().items() if "/clusters/" in name}
            return len(looked_at), written

        return run

    def test_keypoints_are_found_once_per_photograph_whatever_its_folder(self, study, cluster, caplog):
        cache = study.root / "data/demo/04_feature/clusters/keypoints.safetensors"
        cache.unlink(missing_ok=True)
        (n_first, first), (n_second, second), (n_added, added) = (cluster(n) for n in (4, 4, 6))
        cache.write_bytes(cache.read_bytes()[:-1])
        n_anew, anew = cluster(6)
        assert (n_first, n_second, n_added, n_anew) == (4, 0, 2, 6)
        assert second == first
        assert anew == added
        assert "clusters/keypoints.safetensors cannot be used" in caplog.text
