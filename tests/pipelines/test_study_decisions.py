"""Answers that correct the labels of a study."""

import hashlib
import logging

import pandas as pd
import pytest

from skinbit.decisions.answers import CANNOT_TELL, SAME, UNDO, Answer
from skinbit.decisions.ledger import Ledger
from skinbit.errors import InputError
from tests.pipelines.test_fingerprints import times


@pytest.fixture
def study(project, user_data, tmp_path):
    """Return a function that splits with the ledger and gives the files that it wrote."""

    def run():
        before, place = times(project), str(tmp_path / "answers.sqlite")
        params = {"study": {"sample_data": False, "folds": 0, "decisions": place}, "split": {"n_folds": 2}}
        project.run(pipelines=("data_split",), only_missing=True, **params)
        return {name for name, time in times(project).items() if before.get(name) != time}

    return run


def hash_of(user_data, image_id: str) -> str:
    return hashlib.sha256((user_data / "images" / f"{image_id}.jpg").read_bytes()).hexdigest()


def table(project, name: str) -> pd.DataFrame:
    return pd.read_csv(project.root / f"data/demo/02_intermediate/{name}.csv", dtype=str, keep_default_na=False)


@pytest.mark.long
def test_answers_correct_labels_before_the_split_and_count_as_an_input(study, project, user_data, tmp_path, caplog):
    published = pd.read_csv(user_data / "data.csv", dtype=str)
    lesions = published.groupby("lesion_id")["image_id"]
    (first, of_first), (second, of_second) = [each for each in lesions if len(each[1]) == 2][:2]
    joined = (hash_of(user_data, of_first.iloc[0]), hash_of(user_data, of_second.iloc[0]))
    ledger = Ledger(tmp_path / "answers.sqlite")
    study()
    assert table(project, "corrected_labels").empty
    assert set(table(project, "metadata")["lesion_id"]) == set(published["lesion_id"])
    ledger.append(answer := Answer(verdict=SAME, parts=(joined,), reviewer="anna"))
    with caplog.at_level(logging.INFO, logger="skinbit"):
        assert "02_intermediate/split.csv" in study()
    assert "changed: study_answers" in caplog.text
    assert "1 are obeyed" in caplog.text
    changed, used = table(project, "corrected_labels"), table(project, "metadata")
    assert changed[["image_id", "lesion_id", "corrected_lesion_id"]].to_numpy().tolist() == [
        [image_id, second, first] for image_id in of_second
    ]
    assert set(used.loc[used["lesion_id"] == first, "image_id"]) == {*of_first, *of_second}
    ledger.append(Answer(verdict=CANNOT_TELL, parts=((joined[0],), (joined[1],))))
    assert study() == set(), "it corrects nothing"
    ledger.append(Answer(verdict=UNDO, undoes=answer.answer_id))
    study()
    assert set(table(project, "metadata")["lesion_id"]) == set(published["lesion_id"])
    ledger.close()


def test_a_ledger_that_is_missing_ends_the_run_before_anything_is_read(study, project):
    with pytest.raises(InputError, match=r"answers\.sqlite"):
        study()
    assert not project.outputs()
