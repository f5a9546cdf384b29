"""Columns of the metadata as evidence, from the table of a study to the groups of new photographs."""

import json

import numpy as np
import pandas as pd
import pytest

from skinbit.errors import InputError

CONTEXT = {
    "same": ["patient_id"],
    "evidence": {"anatom_site_general": "exact", "age": {"kind": "number", "tolerance": 5}},
}
EXPERIMENTS = {
    "pictures": {"backbone": "vit", "loss": "baseline", "similarity": {"verification": True}},
    "columns": {"backbone": "vit", "loss": "baseline", "similarity": {"verification": True, "context": CONTEXT}},
}
SMALL = {
    "split": {"n_folds": 2, "test_fraction": 0.4},
    "geometry": {"image_side": 96},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
    "evaluation": {"distractors": 5},
    "experiments": EXPERIMENTS,
}
CLUSTERS = "data/demo/07_model_output/clusters"


def study(*experiments):
    return {"sample_data": False, "experiments": "+".join(experiments), "folds": "0+1"}


def texts(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def described(archive, tmp_path_factory):
    """The archive with two lesions a patient, ages that drift by up to five years, and some cells blank."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "images").symlink_to(archive / "images")
    table = texts(archive / "data.csv")
    number = pd.Series(pd.factorize(table["lesion_id"])[0])
    rng = np.random.default_rng(0)
    table["patient_id"] = "P" + (number // 2).astype(str)
    table["age"] = (20 + number * 37 % 60 + rng.integers(0, 6, len(table))).astype(str)
    for column in ("patient_id", "age", "anatom_site_general"):
        table.loc[rng.random(len(table)) < 0.1, column] = ""
    table.to_csv(folder / "data.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def studied(make_project, described):
    project = make_project(described)
    project.run(study=study("pictures", "columns"), **SMALL)
    return project


def group(project, folder, **options):
    options = {"images": str(folder / "images"), "experiment": "columns", **options}
    project.run(pipelines=("cluster_images",), cluster=options, study=study("pictures", "columns"), **SMALL)
    return texts(project.root / CLUSTERS / "clustered_images.csv")


@pytest.mark.long
class TestStudies:
    def test_rank_pairs_better_with_columns_than_without(self, studied):
        mean = {}
        for name in EXPERIMENTS:
            results = pd.read_csv(studied.root / f"data/demo/08_reporting/{name}/results.csv").set_index("metric")
            mean[name] = results.loc[["roc_auc", "average_f1", "recall_at_1"], "mean"].to_numpy()
        assert (mean["columns"] >= mean["pictures"]).all()
        assert mean["columns"][0] > mean["pictures"][0]

    def test_compare_no_photographs_of_two_patients(self, studied, described):
        patient_of = texts(described / "data.csv").set_index("image_id")["patient_id"]
        n_compared = {}
        for name in EXPERIMENTS:
            listed = texts(studied.root / f"data/demo/07_model_output/{name}/fold_0/distractor_shortlist.csv")
            patients = [listed[side].map(patient_of) for side in ("image_a", "image_b")]
            differ = (patients[0] != patients[1]) & (patients[0] != "") & (patients[1] != "")
            n_compared[name] = int(differ.sum())
        assert n_compared["columns"] == 0 < n_compared["pictures"]

    def test_write_down_what_columns_weigh(self, studied):
        calibration = json.loads((studied.root / "data/demo/08_reporting/columns/calibration.json").read_text())
        weights = {each["column"]: each for each in calibration["all"]["columns"]}
        assert list(weights) == ["anatom_site_general", "age"]
        assert weights["age"]["difference"] > 1
        assert weights["age"]["agreement"] > 1

    def test_count_the_values(self, studied, described):
        counted = texts(studied.root / "data/demo/02_intermediate/contexts.csv")
        known = (texts(described / "data.csv")["age"] != "").sum()
        assert counted.loc[counted["column"] == "age", "rows"].tolist() == [str(known)]
        assert set(counted["experiment"]) == {"columns"}

    def test_show_what_is_known_of_both_photographs_and_no_patient(self, studied):
        page = (studied.root / "data/demo/08_reporting/columns/misclassifications_cosine.html").read_text()
        assert "age: " in page
        assert "patient" not in page


@pytest.mark.long
class TestGroups:
    def test_obey_and_use_the_columns_of_new_photographs(self, studied, described):
        without, found = (group(studied, described, **of) for of in ({}, {"metadata": str(described / "data.csv")}))
        patient_of = texts(described / "data.csv").set_index("image_id")["patient_id"]
        compared = texts(studied.root / CLUSTERS / "work/shortlist.csv").astype({"row_a": int, "row_b": int})
        of_row = found["image_id"].map(patient_of).fillna("").to_numpy()  # not every photograph has a row
        patients = [of_row[compared[side]] for side in ("row_a", "row_b")]
        assert ((patients[0] == patients[1]) | (patients[0] == "") | (patients[1] == "")).all()
        assert found["probability_of_nearest"].tolist() != without["probability_of_nearest"].tolist()
        page = (studied.root / CLUSTERS / "clusters.html").read_text()
        assert "age: " in page
        assert "patient_id" not in page

    def test_may_be_kept_within_patients_by_a_model_that_knows_no_columns(self, studied, described, tmp_path):
        table = texts(described / "data.csv")
        table.assign(patient_id=["same" if n % 2 else "other" for n in range(len(table))]).drop(
            columns="lesion_id"
        ).to_csv(tmp_path / "rows.csv", index=False)
        group(studied, described, experiment="pictures", metadata=str(tmp_path / "rows.csv"), same="patient_id")
        compared = texts(studied.root / CLUSTERS / "work/shortlist.csv").astype(float)
        columns = texts(studied.root / CLUSTERS / "work/columns.csv")["patient_id"].to_numpy()
        patients = [columns[compared[side].astype(int)] for side in ("row_a", "row_b")]
        assert ((patients[0] == patients[1]) | (patients[0] == "") | (patients[1] == "")).all()
        assert (patients[0] != "").any()


@pytest.mark.long
class TestMistakes:
    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda t: t.rename(columns={"image_id": "picture"}), "has no column image_id"),
            (lambda t: t.assign(image_id="x"), "none of its"),
            (lambda t: t.assign(age="old"), "are not a number"),
            (lambda t: pd.concat([t, t.head(1)]), "have the same photograph"),
            (lambda t: t[["image_id", "dx"]], "none of the columns that the model uses"),
        ],
    )
    def test_of_a_table_of_new_photographs_are_named(self, studied, described, tmp_path, spoil, said):
        spoil(texts(described / "data.csv")).to_csv(tmp_path / "rows.csv", index=False)
        with pytest.raises(InputError, match=said):
            group(studied, described, metadata=str(tmp_path / "rows.csv"))

    def test_a_table_that_is_not_there_is_named(self, studied, described, tmp_path):
        with pytest.raises(InputError, match="There is no table"):
            group(studied, described, metadata=str(tmp_path / "nowhere.csv"))

    def test_a_table_that_a_model_cannot_use_is_refused(self, studied, described):
        with pytest.raises(InputError, match="would change nothing"):
            group(studied, described, experiment="pictures", metadata=str(described / "data.csv"))

    def test_of_the_table_of_a_study_end_it_before_photographs_are_read(self, make_project, described, tmp_path):
        (tmp_path / "images").symlink_to(described / "images")
        texts(described / "data.csv").drop(columns="age").to_csv(tmp_path / "data.csv", index=False)
        project = make_project(tmp_path)
        with pytest.raises(InputError, match=r"names the column 'age', which data.csv does not have"):
            project.run(study=study("columns"), **SMALL)
        assert not (project.root / "data/demo/04_feature").exists()
