"""Folds judged among lesions of one image: what the figures count, and what must not change."""

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image
from pydantic import TypeAdapter

from skinbit.config import DataParams, PolicyParams, SimilarityParams
from skinbit.data.images import find_images
from skinbit.errors import InputError
from skinbit.matching.assembly import pool_of
from skinbit.matching.cuts.operating_points import PointsOfSubsets
from skinbit.matching.cuts.transfer import carry_over, others_of_folds
from skinbit.matching.keypoints.shortlist import read_shortlist
from skinbit.matching.pairs.pool import similarity_matrix
from skinbit.matching.similarity.calibration import Calibration
from skinbit.pipelines.data_split.nodes import draw_distractors
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.verification import verify_outputs

pytestmark = pytest.mark.long  # whole studies

EXPERIMENTS = {
    "whitened": {
        **{"backbone": "vit", "loss": "baseline", "test_views": {"zooms": [1.0, 2.0]}},
        "similarity": {"whitening": {"kind": "pca", "dim": 16}, "zoom_pairs": True},
    },
    "head": {"backbone": "vit", "loss": "contrastive", "similarity": {"verification": True}},
    "network": {"backbone": "resnet", "loss": "infonce"},
}
FOLDS = (0, 1)
STUDY = {"sample_data": False, "experiments": "whitened+head+network", "folds": "0+1"}
SHORT = {"frozen": {"epochs": 2}, "fine_tuned": {"epochs": 1}}
SMALL = {
    "split": {"n_folds": 2},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "experiments": EXPERIMENTS,
    "training": SHORT,
}


@pytest.fixture(scope="module")
def project(make_project, archive):
    """A third of the lesions were photographed once; the study has run without distractors, and then with them."""
    project = make_project(archive)
    project.run(study=STUDY, **SMALL)
    project.without = project.outputs()
    project.run(study=STUDY, evaluation={"distractors": 10}, **SMALL)
    return project


def table(project, path):
    ids = ("image_id", "lesion_id", "image_a", "image_b")
    return pd.read_csv(project.root / "data/demo" / path, dtype=dict.fromkeys(ids, str), keep_default_na=False)


def embeddings(project, experiment, fold, kind):
    path = project.root / f"data/demo/07_model_output/{experiment}/fold_{fold}/{kind}.safetensors"
    return EmbeddingsDataset(filepath=str(path)).load()


def test_figures_are_those_of_the_reference(project):
    found = verify_outputs(project.root / "data/demo")
    assert (found.first, found.left_out) == (None, [])


class TestDrawing:
    """Of six lesions of one image, two cannot be used."""

    @pytest.fixture
    def draw(self, tmp_path):
        for number in range(6):
            Image.new("RGB", (64, 48), (40 * number, 0, 0)).save(tmp_path / f"s{number}.jpg")
        (tmp_path / "s1.jpg").write_bytes(b"no photograph")
        (tmp_path / "s4.jpg").unlink()
        ids = [f"s{number}" for number in range(6)]
        rows = pd.DataFrame({"image_id": ids, "lesion_id": [name.upper() for name in ids], "row": range(2, 8)}).assign(
            misshapen=""
        )
        folder = find_images(LocalFileSystem(), str(tmp_path))
        none = pd.DataFrame({"row": []})
        return lambda number, **policy: draw_distractors(
            rows, none, folder, DataParams(policy=PolicyParams(**policy)), number, 1
        )

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_others_come_in_the_place_of_those_that_cannot_be_used(self, draw, number):
        drawn, index = draw(number, missing="skip", unreadable="skip")
        assert len(drawn) == len(index) == number
        assert set(drawn["image_id"]) == set(index["image_id"]) <= {"s0", "s2", "s3", "s5"}

    def test_all_are_those_that_can_be_used(self, draw):
        assert set(draw(None, missing="skip", unreadable="skip")[0]["image_id"]) == {"s0", "s2", "s3", "s5"}

    def test_more_than_can_be_used_are_an_error(self, draw):
        with pytest.raises(InputError, match="asks for 5 singleton lesions; the metadata have 4"):
            draw(5, missing="skip", unreadable="skip")

    def test_what_cannot_be_used_ends_the_run_where_nobody_allowed_to_leave_it_out(self, draw):
        with pytest.raises(InputError, match=r"s4\.jpg \(row 6 of"):
            draw(None, unreadable="skip")


def test_distractors_are_lesions_of_one_image_that_no_fold_has(project):
    distractors = table(project, "02_intermediate/distractors.csv")
    split = table(project, "02_intermediate/split.csv")
    assert len(distractors) == 10
    assert not set(distractors["lesion_id"]) & set(split["lesion_id"])


@pytest.mark.parametrize("kind", ["06_models", "02_intermediate/split.csv", "04_feature/vit/features", "embeddings.s"])
def test_nothing_is_trained_or_dealt_otherwise_because_of_them(project, kind):
    kept = {path: content for path, content in project.without.items() if kind in path}
    assert kept
    now = project.outputs()
    assert {path: now[path] for path in kept} == kept


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_all_other_figures_stay_as_they_are(project, experiment):
    with_them = table(project, f"08_reporting/{experiment}/results.csv").set_index("metric")
    path = project.root / "without.csv"
    path.write_bytes(project.without[f"08_reporting/{experiment}/results.csv"])
    without = pd.read_csv(path, keep_default_na=False).set_index("metric")
    added = with_them.index.difference(without.index)
    assert all("distractors" in name for name in added)
    assert with_them.drop(added).to_csv() == without.to_csv()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_f1_by_threshold_counts_every_pair_of_the_pool(project, experiment):
    from json import loads

    folder = project.root / f"data/demo/08_reporting/{experiment}"
    points = others_of_folds(
        TypeAdapter(PointsOfSubsets).validate_json((folder / "operating_points.json").read_text()), FOLDS
    )
    split = table(project, "02_intermediate/split.csv").set_index("image_id")["lesion_id"]
    distractors = table(project, "02_intermediate/distractors.csv").set_index("image_id")["lesion_id"]
    reported = table(project, f"08_reporting/{experiment}/results.csv").set_index("metric")
    for fold in FOLDS:
        own, others = (embeddings(project, experiment, fold, kind) for kind in ("embeddings", "distractor_embeddings"))
        image_ids = (*own.image_ids, *others.image_ids)
        lesions = np.array([*split[list(own.image_ids)], *distractors[list(others.image_ids)]])
        calibration, shortlist = None, None
        if experiment == "head":
            calibration = Calibration.model_validate(loads((folder / "calibration.json").read_text())[str(fold)])
            shortlist = table(project, f"07_model_output/{experiment}/fold_{fold}/distractor_shortlist.csv")
            assert shortlist["image_b"].isin(distractors.index).any()
        values, listed = np.concatenate([own.vectors, others.vectors]), read_shortlist(shortlist, image_ids)
        similarities = similarity_matrix(pool_of(values, SimilarityParams(), listed, calibration))
        cut = carry_over(points[fold]["cosine"], len(lesions), is_corrected=True, single_share=10 / len(lesions))
        once = np.triu(np.ones_like(similarities, dtype=bool), 1)
        is_joined, is_positive = (similarities >= cut.value) & once, (lesions[:, None] == lesions) & once
        tp, n_joined, n_positive = ((is_joined & is_positive).sum(), is_joined.sum(), is_positive.sum())
        column = f"fold_{fold}"
        assert float(reported.loc["cosine_f1_distractors", column]) == pytest.approx(2 * tp / (n_joined + n_positive))
        assert float(reported.loc["rho_distractors", column]) == pytest.approx(cut.rho)


def test_the_report_shows_them(project):
    page = (project.root / "data/demo/08_reporting/report.html").read_text()
    assert "Cosine threshold, with singleton lesions as distractors" in page
    assert "With singleton lesions as distractors, at the cuts for such a pool" in page
    assert "singleton lesions as distractors" not in project.without["08_reporting/report.html"].decode().lower()
