"""Relations between whole studies: promises of docs/trust.md, in the part of that name, per kind of experiment."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from skinbit.errors import InputError
from tests.pipelines.raw_data import write_photographs

pytestmark = pytest.mark.long  # whole studies

TINY = {"epochs": 2, "views": 2, "head": {"hidden": [8], "dim": 8}}
EXPERIMENTS = {
    "frozen": {"backbone": "vit", "loss": "baseline"},
    "head": {"backbone": "vit", "loss": "triplet", "training": TINY},
    "whole": {"backbone": "resnet", "loss": "contrastive", "training": {"epochs": 1}},
    "keypoints": {"backbone": "vit", "loss": "baseline", "similarity": {"verification": True, "reranking": {"k1": 2}}},
    "combination": {"combine": ["frozen", "head"]},
}
UNTRAINED = ("frozen", "keypoints")
SMALL = {
    "experiments": EXPERIMENTS,
    "split": {"n_folds": 2, "test_fraction": 0.4},
    "geometry": {"image_side": 96},
    "evaluation": {"resamples": 100, "distractors": 0},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
}
N_LESIONS = 24


def run(project, experiments=EXPERIMENTS, pipelines=(), **changes):
    chosen = {"sample_data": False, "experiments": "+".join(experiments), "folds": "0+1"}
    project.run(pipelines=pipelines, study=chosen, **SMALL, **changes)
    return project


def tables(project, experiments=EXPERIMENTS):
    """Return tables and documents of some experiments by path."""
    folders = tuple(f"08_reporting/{experiment}/" for experiment in experiments)
    found = project.outputs().items()
    return {path: content for path, content in found if path.startswith(folders) and path.endswith((".csv", ".json"))}


def f1(project, experiment, subset):
    """Return F1 of average linkage at a cut that was chosen elsewhere."""
    board = pd.read_csv(project.root / "data/demo/08_reporting/leaderboard.csv").set_index("experiment")
    return float(board.loc[experiment, f"average_f1_{subset}"])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    write_photographs(folder, N_LESIONS, seed=7, width=96, height=72)
    return folder


@pytest.fixture(scope="module")
def study(make_project, original):
    """A study of every kind of experiment; never changed."""
    return run(make_project(original))


@pytest.fixture
def derive(original, tmp_path) -> Callable:
    """Make a folder of photographs from the original one, its files written in another order."""

    def make(rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table, prefix: str = "") -> Path:
        table = pd.read_csv(original / "data.csv", dtype=str)
        (tmp_path / "derived/images").mkdir(parents=True)
        for image_id in table["image_id"].sample(frac=1, random_state=1):
            shutil.copy(original / "images" / f"{image_id}.jpg", tmp_path / f"derived/images/{prefix}{image_id}.jpg")
        table = rows(table)
        table.assign(image_id=prefix + table["image_id"]).to_csv(tmp_path / "derived/data.csv", index=False)
        return tmp_path / "derived"

    return make


def test_the_order_of_files_and_names_that_keep_the_order_of_rows_change_no_figure(study, make_project, derive):
    expected, other = tables(study), tables(run(make_project(derive(prefix="other_"))))
    assert len(expected) > 50
    assert {path: content.replace(b"other_", b"") for path, content in other.items()} == expected


def test_the_order_of_rows_changes_last_digits_where_nothing_is_trained(study, make_project, derive):
    other = run(make_project(derive(rows=lambda table: table.sample(frac=1, random_state=1))), UNTRAINED)
    for experiment, tolerance in (("frozen", 1e-12), ("keypoints", 1e-6)):
        figures = [
            pd.read_csv(io.BytesIO(tables(each)[f"08_reporting/{experiment}/results.csv"])) for each in (study, other)
        ]
        one, another = (table[~table["metric"].str.contains("_low|_high")] for table in figures)
        pd.testing.assert_frame_equal(one, another, rtol=0, atol=tolerance)


def test_with_shuffled_labels_f1_falls_to_chance(study, make_project, derive):
    def shuffle(table):
        return table.assign(lesion_id=table["lesion_id"].sample(frac=1, random_state=3).to_numpy())

    other = run(make_project(derive(rows=shuffle)), UNTRAINED)
    for subset in ("transfer_mean", "test"):
        assert f1(study, "keypoints", subset) > 0.9
        assert f1(other, "keypoints", subset) < 0.3
        print(subset, f1(study, "keypoints", subset), f1(other, "keypoints", subset))  # noqa: T201


def test_a_photograph_of_a_test_lesion_in_training_is_named_and_its_effect_told(study, make_project, derive):
    split = pd.read_csv(study.root / "data/demo/02_intermediate/split.csv", dtype=str)
    victim, host = (split[split["subset"] == subset].iloc[0] for subset in ("test", "train"))

    def plant(table):
        return pd.concat([table, pd.DataFrame([{"image_id": "planted", "lesion_id": host["lesion_id"]}])])

    folder = derive(rows=plant)
    shutil.copy(folder / "images" / f"{victim['image_id']}.jpg", folder / "images/planted.jpg")
    project = make_project(folder)
    with pytest.raises(InputError, match="The audit found problems") as raised:
        run(project, pipelines=("data_split", "audit"))
    assert raised.value.exit_code == 1
    findings = pd.read_csv(project.root / "data/demo/08_reporting/audit.csv", dtype=str)
    found = findings[findings["severity"] == "error"]
    assert {victim["image_id"], "planted"} in [set(pair) for pair in found[["image_a", "image_b"]].to_numpy()]
    run(project, ("head",))
    without, planted = f1(study, "head", "test"), f1(project, "head", "test")
    print(f"head, test subset: {without}, with the planted photograph {planted}")  # noqa: T201
    assert without != planted
