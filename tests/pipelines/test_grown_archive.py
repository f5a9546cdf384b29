"""An archive that grows costs what is new: rows that are made, counted where the executor gets them."""

from collections import defaultdict

import pandas as pd
import pytest

from skinbit.data.executor import LocalExecutor
from tests.pipelines.raw_data import write_photographs

EXPERIMENTS = {
    "verified": {"backbone": "vit", "loss": "triplet", "similarity": {"verification": True}},
}
SETTINGS = {
    "study": {"sample_data": False, "experiments": "verified", "folds": "0+1"},
    "split": {"n_folds": 2},
    "geometry": {"image_side": 96},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "evaluation": {"resamples": 100},
    "training": {"frozen": {"epochs": 2, "views": 2, "lesions_per_batch": 4, "head": {"hidden": [8], "dim": 8}}},
    "experiments": EXPERIMENTS,
}


@pytest.fixture
def made(monkeypatch):
    """Return the keys of the rows that were made, by what makes them; the test empties it between runs."""
    in_order, keys = LocalExecutor.map, defaultdict(list)

    def noted(executor, make, pieces):
        for table in in_order(executor, make, pieces):
            keys[type(make).__name__] += table.keys
            yield table

    monkeypatch.setattr(LocalExecutor, "map", noted)
    return keys


def counts(made):
    assert all(len(set(keys)) == len(keys) for keys in made.values()), "nothing is made twice"
    found = {name: len(keys) for name, keys in made.items()}
    made.clear()
    return found


@pytest.mark.long
def test_of_an_archive_and_a_folder_that_grow_only_new_photographs_and_pairs_are_computed(
    project, tmp_path, monkeypatch, made
):
    (folder := tmp_path / "photographs").mkdir()
    write_photographs(folder, 14, seed=7, width=96, height=72)
    monkeypatch.setenv("SKINBIT_RAW_DIR", str(folder))
    metadata = pd.read_csv(folder / "data.csv", dtype=str)
    lesions = metadata["lesion_id"].unique()
    is_new = metadata["lesion_id"].isin(lesions[-2:])
    n_old, n_new = int((~is_new).sum()), int(is_new.sum())

    metadata[~is_new].to_csv(folder / "data.csv", index=False)
    project.run(**SETTINGS)
    pairs_before, first = set(made["PairMaker"]), counts(made)
    of_photographs = ("FeatureMaker", "KeypointMaker", "PixelMaker")
    assert [first[maker] for maker in of_photographs] == [n_old] * 3
    assert first["ViewMaker"] == 2 * n_old
    project.run(**SETTINGS)
    assert counts(made) == {}

    metadata.to_csv(folder / "data.csv", index=False)
    project.run(**SETTINGS)
    new_pairs, grown = set(made["PairMaker"]), counts(made)
    assert [grown[maker] for maker in of_photographs] == [n_new] * 3
    assert grown["ViewMaker"] == 2 * n_new
    assert pairs_before.isdisjoint(new_pairs), "the head is another one, so other pairs are compared, but none again"

    images = sorted((folder / "images").iterdir())
    (seen := tmp_path / "seen").mkdir()
    for image in images[:16]:
        (seen / image.name).write_bytes(image.read_bytes())
    grouped = {"pipelines": ("cluster_images",), "cluster": {"images": str(seen), "experiment": "verified"}}
    project.run(**grouped, **SETTINGS)
    assert counts(made)["EmbeddingMaker"] == 16
    for image in images[16:18]:
        (seen / image.name).write_bytes(image.read_bytes())
    project.run(**grouped, **SETTINGS)
    again = counts(made)
    assert (again["EmbeddingMaker"], again["KeypointMaker"]) == (2, 2)
    n_pairs_of_new = 2 * 16 + 1
    assert again.get("PairMaker", 0) <= n_pairs_of_new
