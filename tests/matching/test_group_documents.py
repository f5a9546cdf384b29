"""Groups as a table and as a document."""

import numpy as np
import pandas as pd
import pytest

from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.group_documents import describe_groups, group_table
from skinbit.matching.grouping import Group, Grouping

IMAGE_IDS = ("a", "b", "c", "a")
"""Three new photographs and a known one that shares an id."""
KNOWN = pd.DataFrame({"image_id": ["a"], "lesion_id": ["mole"]})
CUT = Cut("average", 0.3, 0.6, 0.8)


@pytest.fixture
def found():
    groups = (Group((0, 2), "mole", 0.75, 0.1), Group((1,), "", np.inf, -np.inf))
    return Grouping(np.array([0, 1, 0]), groups, np.array([3, -1, 0]), np.array([0.75, np.nan, 0.9], np.float32))


def test_the_table_has_the_new_photographs_alone(found):
    table = group_table(found, IMAGE_IDS, {"intercept": 0.0, "slope": 1.0}, with_lesions=True)
    assert table["image_id"].tolist() == ["a", "b", "c"]
    assert table["cluster_id"].tolist() == [0, 1, 0]
    assert table["lesion_id"].tolist() == ["mole", "", "mole"]
    probabilities = 1 / (1 + np.exp(-8 * np.arctanh([0.75, 0.9])))
    assert table["probability_of_nearest"].tolist() == pytest.approx(
        [probabilities[0], np.nan, probabilities[1]], abs=1e-4, nan_ok=True
    )
    unknown = group_table(found, IMAGE_IDS, None, with_lesions=False)
    assert "lesion_id" not in unknown
    assert unknown["probability_of_nearest"].isna().all()


def test_a_group_has_its_known_photographs_and_its_doubts(found):
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, most_images=4)
    first, second = document["groups"]
    assert (first["image_ids"], first["known_ids"], first["lesion_id"]) == (["a", "c"], ["a"], "mole")
    assert first["margin"] == pytest.approx(0.05)
    assert [doubt.split(",")[0] for doubt in first["doubts"]] == ["Its weakest link"]
    assert (second["known_ids"], second["margin"], second["doubts"]) == ([], None, [])


def test_the_document_has_the_cut_and_the_nearest_of_each(found):
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, most_images=4)
    assert document["nearest"] == ["a", "", "a"]
    assert (document["method"], document["cut"], document["unsure_from"]) == ("average", 0.3, 0.6)
