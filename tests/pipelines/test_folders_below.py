"""A study whose photographs lie in a folder per lesion, as MILK10k ships them."""

import shutil

import pandas as pd
import pytest

STUDY = {"experiments": "vit_baseline", "folds": 0, "sample_data": False}


@pytest.mark.long
def test_a_study_of_folders_per_lesion_has_the_figures_of_the_flat_one(make_project, photographs, tmp_path):
    nested = tmp_path / "nested"
    shutil.copytree(photographs, nested)
    lesions = pd.read_csv(nested / "data.csv", dtype=str).set_index("image_id")["lesion_id"]
    for path in list((nested / "images").iterdir()):
        folder = path.parent / lesions[path.stem]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    flat, deep = make_project(photographs), make_project(nested)
    flat.run(study=STUDY)
    deep.run(study=STUDY, data={"subfolders": True})
    results = [project.outputs()["08_reporting/vit_baseline/fold_0/results.csv"] for project in (flat, deep)]
    assert results[0] == results[1]
