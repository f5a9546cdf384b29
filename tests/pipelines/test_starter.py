"""The starter: a model of synthetic photographs groups a folder of which no lesion is known."""

import logging
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import starter
from skinbit.errors import InputError

pytestmark = pytest.mark.long  # whole studies

CLUSTERS = Path("data/starter/07_model_output/clusters")
TINY = {
    "backbones": {"resnet18_zooms": {"model": "test_resnet", "image_size": 32, "pretrained": False, "weights": None}},
    "sample": {"n_lesions": 24, "width": 96, "height": 72},
    "geometry": {"image_side": 96},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
}


def group(project, folder):
    """Do what docs/clustering says, with a tiny network."""
    project.run(
        env="starter",
        pipelines=("starter", "cluster_images"),
        only_missing=True,
        cluster={"images": str(folder)},
        **TINY,
    )
    return pd.read_csv(project.root / CLUSTERS / "clustered_images.csv", dtype={"image_id": str})


def test_groups_a_folder_without_labels_and_says_what_it_was_fitted_on(project, photographs, caplog):
    clustered = group(project, photographs / "images")
    assert set(clustered["image_id"]) == {path.stem for path in (photographs / "images").iterdir()}
    assert clustered["cluster_id"].nunique() < len(clustered)
    assert "the model was fitted on synthetic photographs" in caplog.text
    assert "synthetic photographs; a study" in (project.root / CLUSTERS / "clusters.html").read_text()


def test_is_made_once(project, photographs, tmp_path, caplog):
    group(project, photographs / "images")
    model = project.root / "data/starter/06_models/starter/final/best.safetensors"
    made = model.stat().st_mtime_ns, model.read_bytes()
    (tmp_path / "few").mkdir()
    for path in sorted((photographs / "images").iterdir())[:5]:
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert len(group(project, tmp_path / "few")) == 5
    assert (model.stat().st_mtime_ns, model.read_bytes()) == made
    assert "make_sample" not in caplog.text


def test_is_judged_on_the_folds_of_a_finished_study(project, photographs, monkeypatch, capsys):
    group(project, photographs / "images")
    root = project.root / "data/starter"
    model = root / "06_models/starter/final/best.safetensors"
    given = ["--root", root, "--features", "resnet18_zooms", "--checkpoint", model]
    monkeypatch.setattr(sys, "argv", ["starter", *map(str, given)])
    starter.main()
    *_, mean = capsys.readouterr().out.strip().splitlines()
    precision, recall, f1 = (float(cell) for cell in mean.split("|")[2:5])
    assert 0.8 < f1 <= max(precision, recall)


def test_never_writes_its_photographs_beside_others(project, photographs, monkeypatch):
    monkeypatch.setenv("SKINBIT_RAW_DIR", str(photographs))
    with pytest.raises(InputError, match="unset SKINBIT_RAW_DIR"):
        group(project, photographs / "images")
