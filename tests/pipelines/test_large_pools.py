"""Pools of which neither all pairs, nor all near pairs, are held: from raw data to the report and to new groups."""

import io
import json
import logging
import shutil

import pandas as pd
import pytest

from skinbit.errors import InputError
from tests.pipelines.raw_data import write_photographs

pytestmark = pytest.mark.long  # whole studies

EXPERIMENTS = {
    "plain": {"backbone": "vit", "loss": "baseline"},
    "seen": {"backbone": "vit", "loss": "baseline", "similarity": {"verification": True}},
    "reranked": {"backbone": "vit", "loss": "baseline", "similarity": {"reranking": {"k1": 2}}},
    "trained": {"backbone": "vit", "loss": "contrastive", "training": {"epochs": 1, "views": 1}},
}
SMALL = {
    "split": {"n_folds": 3, "test_fraction": 0.4},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "evaluation": {"distractors": 5, "resamples": 100},
    "audit": {"fail_on": "none"},
    "experiments": EXPERIMENTS,
    "study": {"sample_data": False, "experiments": "+".join(EXPERIMENTS), "folds": "0+1+2"},
}
MANY_TILES = {"memory": {"tile_megabytes": 0.002}}
"""Tiles of nine by nine images."""

LOOKING = ("metric_learning", "evaluation", "final_model")
"""Pipelines that look at all pairs of images."""


@pytest.fixture(scope="module")
def studied(make_project, archive):
    """A study whose pools are one tile each, and then many."""
    project = make_project(archive)
    project.run(**SMALL)
    project.run(pipelines=("audit",), **SMALL)
    project.run(only_missing=True, **SMALL)  # the report, now with its audit
    project.in_one_tile = project.outputs()
    shutil.rmtree(project.root / "data/demo/06_models")  # else trainings are found finished
    project.run(pipelines=LOOKING, **SMALL, **MANY_TILES)
    project.run(pipelines=("audit",), **SMALL, **MANY_TILES)
    project.in_many_tiles = project.outputs()
    return project


def test_every_file_of_a_study_is_the_same_in_one_tile_and_in_many(studied):
    assert studied.in_many_tiles.keys() == studied.in_one_tile.keys()
    differing = [path for path, content in studied.in_one_tile.items() if studied.in_many_tiles[path] != content]
    assert differing == []


def test_another_size_of_tiles_makes_no_file_anew(studied):
    times = {path: (studied.root / "data/demo" / path).stat().st_mtime_ns for path in studied.outputs()}
    studied.run(only_missing=True, **SMALL)
    assert {path: (studied.root / "data/demo" / path).stat().st_mtime_ns for path in studied.outputs()} == times


@pytest.fixture(scope="module")
def to_group(photographs, tmp_path_factory):
    """A third of the photographs have known lesions; the others are new."""
    folder = tmp_path_factory.mktemp("archive")
    metadata = pd.read_csv(photographs / "data.csv", dtype=str)
    is_known = metadata.index % 3 == 0
    (folder / "known/images").mkdir(parents=True)
    (folder / "new").mkdir()
    for image_id, known in zip(metadata["image_id"], is_known, strict=True):
        shutil.copy(photographs / "images" / f"{image_id}.jpg", folder / ("known/images" if known else "new"))
    metadata[is_known].to_csv(folder / "known/data.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("experiment", "method", "known"),
    [("seen", "average", True), ("reranked", "complete", False), ("plain", "dbscan", True)],
)
def test_new_photographs_are_grouped_alike_in_one_tile_and_in_many(studied, to_group, experiment, method, known):
    cluster = {"images": str(to_group / "new"), "experiment": experiment, "method": method}
    cluster |= {"known": str(to_group / "known/data.csv")} if known else {}
    found = []
    for memory in ({}, MANY_TILES):
        studied.run(pipelines=("cluster_images",), cluster=cluster, **SMALL, **memory)
        found.append({path: file for path, file in studied.outputs().items() if "/clusters/" in path})
    assert "07_model_output/clusters/groups.json" in found[0]
    assert found[0] == found[1]


N_LESIONS = 70
FEW_PAIRS = {"memory": {"max_pairs": 150}}
LARGE = SMALL | {
    "split": {"n_folds": 2, "test_fraction": 0.2},
    "evaluation": {"distractors": 0, "resamples": 100},
    "study": {"sample_data": False, "experiments": "plain+reranked+trained", "folds": "0+1"},
    **FEW_PAIRS,
}
"""Folds of some 75 images, of whose 2,800 pairs one in twenty is held."""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Some 190 photographs."""
    folder = tmp_path_factory.mktemp("crowd")
    write_photographs(folder, N_LESIONS, seed=3, width=64, height=48)
    assert len(list((folder / "images").iterdir())) >= 175
    return folder


@pytest.fixture(scope="module")
def crowded(make_project, crowd):
    """A study of them whose pools have far more pairs than are held."""
    project = make_project(crowd)
    project.run(**LARGE)
    project.run(pipelines=("audit",), **LARGE)
    return project


class TestFewPairsHeld:
    def test_a_study_reaches_its_report(self, crowded):
        outputs = crowded.outputs()
        assert b"<html" in outputs["08_reporting/report.html"]
        for name in ("plain", "reranked", "trained"):
            results = pd.read_csv(io.BytesIO(outputs[f"08_reporting/{name}/results.csv"])).set_index("metric")
            transfer = results.loc[["cosine_f1_transfer", "average_f1_transfer"], ["fold_0", "fold_1"]]
            assert ((transfer >= 0) & (transfer <= 1)).all(axis=None)

    def test_curves_end_and_say_where(self, crowded):
        for name in ("plain", "reranked", "trained"):
            points = json.loads(crowded.outputs()[f"08_reporting/{name}/operating_points.json"])
            for method in ("dbscan", "average", "complete"):
                reach = [subset.get("reach", 2.0) for subset in points[method]]
                assert max(reach) < 2
                cuts = [max(subset["cuts"], default=0.0) for subset in points[method]]
                assert all(cut <= end for cut, end in zip(cuts, reach, strict=True))

    def test_ranks_are_those_of_all_pairs(self, crowded, make_project, crowd):
        whole = make_project(crowd)
        unlimited = {name: value for name, value in LARGE.items() if name != "memory"}
        study = LARGE["study"] | {"experiments": "plain"}
        whole.run(pipelines=("data_split", "baseline_embeddings", "evaluation"), **unlimited | {"study": study})
        ranks = ["roc_auc", "average_precision", "recall_at_1", "recall_at_5", "mean_average_precision"]
        path = "08_reporting/plain/fold_0/results.csv"
        few, all_pairs = (
            pd.read_csv(io.BytesIO(each.outputs()[path])).set_index("metric") for each in (crowded, whole)
        )
        pd.testing.assert_series_equal(few["value"][ranks], all_pairs["value"][ranks], check_exact=True)

    def test_its_models_group_new_photographs(self, crowded, photographs):
        for name in ("plain", "trained"):
            cluster = {"images": str(photographs / "images"), "experiment": name}
            crowded.run(pipelines=("cluster_images",), cluster=cluster, **LARGE)
            groups = pd.read_csv(crowded.root / "data/demo/07_model_output/clusters/clustered_images.csv")
            assert len(groups) == len(list((photographs / "images").iterdir()))

    def test_the_audit_compares_all_photographs(self, crowded):
        summary = json.loads(crowded.outputs()["08_reporting/audit.json"])
        assert summary["n_images"] > 175

    def test_methods_whose_best_cut_is_not_proven_are_named(self, crowded, caplog):
        with caplog.at_level(logging.WARNING, logger="skinbit"):
            crowded.run(pipelines=("evaluation",), **LARGE)
        assert any("memory.max_pairs is 150" in record.getMessage() for record in caplog.records)

    def test_a_cut_that_asks_for_more_pairs_than_are_held_ends_with_the_parameter_to_raise(self, crowded, photographs):
        cluster = {"images": str(photographs / "images"), "experiment": "plain", "method": "dbscan", "eps": 1.5}
        with pytest.raises(InputError, match=r"More than 20 pairs of the (.|\n)*raise memory\.max_pairs"):
            crowded.run(pipelines=("cluster_images",), cluster=cluster, **LARGE | {"memory": {"max_pairs": 20}})
