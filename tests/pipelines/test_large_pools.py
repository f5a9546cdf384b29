"""A study and groups of new photographs without a matrix of similarities: the same files as with it."""

import io
import shutil

import pandas as pd
import pytest

from skinbit.errors import InputError

pytestmark = pytest.mark.long  # whole studies

EXPERIMENTS = {
    "plain": {"backbone": "vit", "loss": "baseline"},
    "seen": {"backbone": "vit", "loss": "baseline", "similarity": {"verification": True}},
}
STUDY = {"sample_data": False, "experiments": "plain+seen", "folds": "0+1+2"}
SMALL = {
    "split": {"n_folds": 3, "test_fraction": 0.4},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "evaluation": {"distractors": 5, "resamples": 100},
    "experiments": EXPERIMENTS,
    "study": STUDY,
}
TINY = {"memory": {"max_matrix_images": 10}}
MODELS = ("evaluation", "final_model")


@pytest.fixture(scope="module")
def studied(make_project, photographs, tmp_path_factory):
    """A study whose folds, test subset and distractors were compared in a matrix, and then without."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "images").symlink_to(photographs / "images")
    table = pd.read_csv(photographs / "data.csv", dtype=str)
    is_later = table["lesion_id"].isin(sorted(table["lesion_id"].unique())[::4]) & table["lesion_id"].duplicated()
    table[~is_later].to_csv(folder / "data.csv", index=False)
    project = make_project()
    project.archive = folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKINBIT_RAW_DIR", str(folder))
        project.run(**SMALL)
        project.by_matrix = project.outputs()
        project.run(pipelines=MODELS, **SMALL, **TINY)
        project.by_tiles = project.outputs()
    return project


def table(content):
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, dtype=str)


def test_all_files_of_the_study_are_the_same_but_for_what_is_judged_beside(studied):
    assert studied.by_tiles.keys() == studied.by_matrix.keys()
    differing = {path for path, content in studied.by_matrix.items() if studied.by_tiles[path] != content}
    judgements = {f"08_reporting/{name}/{kind}.csv" for name in EXPERIMENTS for kind in ("fold_judgement", "judgement")}
    assert differing == judgements
    for path in differing:
        found, wanted = table(studied.by_tiles[path]), table(studied.by_matrix[path])
        is_added = ~found["metric"].isin(wanted["metric"])
        assert found["metric"][is_added].str.endswith("_f1_transfer").all()
        pd.testing.assert_frame_equal(found[~is_added].reset_index(drop=True), wanted)


def test_another_limit_makes_no_file_anew(studied, monkeypatch):
    monkeypatch.setenv("SKINBIT_RAW_DIR", str(studied.archive))
    studied.run(only_missing=True, **SMALL)
    assert studied.outputs() == studied.by_tiles  # judgements made by the matrix would differ


def test_the_transfer_f1_that_is_judged_is_that_of_the_curves(studied):
    for name in EXPERIMENTS:
        judged = table(studied.by_tiles[f"08_reporting/{name}/judgement.csv"]).set_index("metric")
        by_curves = table(studied.by_matrix[f"08_reporting/{name}/results.csv"]).set_index("metric")
        for metric in judged.index[judged.index.str.endswith("_f1_transfer")]:
            assert judged.loc[metric, "fold_0"] == by_curves.loc[metric, "fold_0"] != ""


@pytest.fixture(scope="module")
def archive(photographs, tmp_path_factory):
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


@pytest.mark.parametrize(("method", "known"), [("average", True), ("dbscan", False)])
def test_new_photographs_are_grouped_as_with_the_matrix(studied, archive, method, known):
    cluster = {"images": str(archive / "new"), "experiment": "seen", "method": method}
    cluster |= {"known": str(archive / "known/data.csv")} if known else {}
    found = []
    for memory in ({}, TINY):
        studied.run(pipelines=("cluster_images",), cluster=cluster, **SMALL, **memory)
        found.append({path: file for path, file in studied.outputs().items() if "/clusters/" in path})
    assert "07_model_output/clusters/groups.json" in found[0]
    assert found[0] == found[1]


def test_what_needs_all_pairs_at_once_ends_with_the_parameter_to_raise(studied, monkeypatch):
    monkeypatch.setenv("SKINBIT_RAW_DIR", str(studied.archive))
    reranked = {"plain": {**EXPERIMENTS["plain"], "similarity": {"reranking": {"k1": 2}}}, "seen": EXPERIMENTS["seen"]}
    with pytest.raises(InputError, match=r"images are to be re-ranked(.|\n)*Remedy: memory\.max_matrix_images=\d+"):
        studied.run(pipelines=("evaluation",), **SMALL | {"experiments": reranked}, **TINY)
    with pytest.raises(InputError, match=r"photographs are to be compared(.|\n)*Remedy: memory\.max_matrix_images=\d+"):
        studied.run(pipelines=("audit",), **SMALL, **TINY)
