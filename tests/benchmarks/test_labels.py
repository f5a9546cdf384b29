"""Lesion ids are joined where two photographs were seen to show one lesion, and nowhere else."""

from collections.abc import Mapping

import pandas as pd
import pytest

from benchmarks.labels import SAME_LESION, corrected_lesions

LESIONS = {"i1": "A", "i2": "A", "i3": "B", "i4": "C", "i5": "D", "i6": "D"}


def look(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Return a table of (image_a, image_b, verdict) with the lesions of both images."""
    columns = ["lesion_a", "lesion_b", "image_a", "image_b", "verdict"]
    lesions: Mapping[str, str] = {**LESIONS, "i0": "Z"}
    return pd.DataFrame([(lesions[a], lesions[b], a, b, verdict) for a, b, verdict in rows], columns=columns)


def test_one_pair_of_images_joins_all_images_of_both_lesions():
    assert corrected_lesions(LESIONS, look(("i3", "i5", "same"))) == {**LESIONS, "i5": "B", "i6": "B"}


def test_lesions_are_joined_along_chains_in_any_order():
    for chain in ([("i4", "i5"), ("i2", "i4")], [("i2", "i4"), ("i4", "i5")]):
        corrected = corrected_lesions(LESIONS, look(*((a, b, "same") for a, b in chain)))
        assert corrected == {**LESIONS, "i4": "A", "i5": "A", "i6": "A"}


def test_a_lesion_that_is_not_asked_for_joins_two_that_are():
    corrected = corrected_lesions({"i3": "B", "i4": "C"}, look(("i3", "i0", "same"), ("i4", "i0", "same")))
    assert corrected == {"i3": "B", "i4": "B"}


@pytest.mark.parametrize("verdict", ["different", "cannot tell"])
def test_other_verdicts_change_nothing(verdict):
    assert corrected_lesions(LESIONS, look(("i1", "i5", verdict))) == LESIONS


def test_a_misfiled_photograph_leaves_its_lesion_alone():
    looked_at = look(("i3", "i5", "misfiled"), ("i4", "i6", "same"), ("i3", "i0", "misfiled"))
    assert corrected_lesions(LESIONS, looked_at) == {**LESIONS, "i5": "B", "i6": "C"}


def test_the_committed_pairs_are_each_of_two_lesions_once_and_say_what_was_seen():
    table = pd.read_csv(SAME_LESION, keep_default_na=False)
    assert list(table) == ["lesion_a", "lesion_b", "image_a", "image_b", "inliers", "verdict", "seen"]
    assert set(table["verdict"]) <= {"same", "misfiled", "different", "cannot tell"}
    assert (table["lesion_a"] < table["lesion_b"]).all()
    assert not table.duplicated(["lesion_a", "lesion_b"]).any()
    assert (table["seen"].str.len() > 0).all()


def test_no_committed_pair_that_is_different_is_joined_by_a_chain_of_others():
    table = pd.read_csv(SAME_LESION)
    published = {row[f"image_{side}"]: row[f"lesion_{side}"] for _, row in table.iterrows() for side in "ab"}
    corrected = corrected_lesions(published)
    different = table[table["verdict"] == "different"]
    assert all(corrected[a] != corrected[b] for a, b in zip(different["image_a"], different["image_b"], strict=True))
    same = table[table["verdict"].isin(["same", "misfiled"])]
    assert all(corrected[a] == corrected[b] for a, b in zip(same["image_a"], same["image_b"], strict=True))
