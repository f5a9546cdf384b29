"""Groups as a table and as a document."""

import numpy as np
import pandas as pd
import pytest

from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.expected.marks import marked_groups
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.group_documents import describe_groups, group_table, partner_table
from skinbit.matching.grouping import Group, Grouping
from skinbit.runtime.schemas import ClusterMatches

IMAGE_IDS = ("a", "b", "c", "a")
"""Three new photographs and a known one that shares an id."""
KNOWN = pd.DataFrame({"image_id": ["a"], "lesion_id": ["mole"]})
CUT = Cut("average", 0.3, 0.6, 0.8)


@pytest.fixture
def found():
    groups = (Group((0, 2), "mole", 0.75, 0.1), Group((1,), "", np.inf, -np.inf))
    return Grouping(
        np.array([0, 1, 0]), groups, np.array([[3], [-1], [0]]), np.array([[0.75], [np.nan], [0.9]], np.float32)
    )


def test_the_table_has_the_new_photographs_alone(found):
    table = group_table(found, IMAGE_IDS, LogOdds(intercept=0.0, slope=1.0), with_lesions=True)
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
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, None, most_images=4)
    first, second = document["groups"]
    assert (first["image_ids"], first["known_ids"], first["lesion_id"]) == (["a", "c"], ["a"], "mole")
    assert first["margin"] == pytest.approx(0.05)
    assert [doubt.split(",")[0] for doubt in first["doubts"]] == ["Its weakest link"]
    assert (second["known_ids"], second["margin"], second["doubts"]) == ([], None, [])
    assert (first["probability_inside"], second["probability_outside"]) == (None, None)


def test_the_document_has_the_nearest_of_each(found):
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, None, most_images=4)
    assert document["nearest"] == ["a", "", "a"]


def test_links_have_probabilities_where_these_are_known(found):
    log_odds = LogOdds(intercept=-8 * float(np.arctanh(0.75)), slope=1.0)
    first, second = describe_groups(found, IMAGE_IDS, KNOWN, CUT, log_odds, most_images=4)["groups"]
    expected = 1 / (1 + np.exp(8 * (np.arctanh(0.75) - np.arctanh(0.1))))
    assert (first["probability_inside"], first["probability_outside"]) == (0.5, pytest.approx(expected, abs=1e-4))
    assert (second["probability_inside"], second["probability_outside"]) == (None, None)


def test_where_probabilities_are_known_the_least_probable_link_is_the_doubt(found):
    log_odds = LogOdds(intercept=-8 * float(np.arctanh(0.75)), slope=1.0)
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, log_odds, most_images=4)
    assert document["groups"][0]["doubts"] == ["Its weakest link shows the same lesion with a probability of 50%."]
    sure = describe_groups(found, IMAGE_IDS, KNOWN, CUT, LogOdds(intercept=9.0, slope=1.0), most_images=4)
    assert [group["doubts"] for group in sure["groups"]] == [[], []]


def test_a_group_of_contradictory_answers_is_marked_with_its_photographs(found):
    document = describe_groups(found, IMAGE_IDS, KNOWN, CUT, LogOdds(intercept=9.0, slope=1.0), 4, contradictory=(1, 3))
    assert [group["contradictory_ids"] for group in document["groups"]] == [["a"], ["b"]]
    assert document["groups"][1]["doubts"] == ["Answers about b contradict each other; it is grouped without them."]


def test_partners_are_listed_whichever_group_they_are_in():
    groups = (Group((0, 2), "mole", 0.75, 0.1), Group((1,), "", np.inf, -np.inf))
    alike = np.array([[0.75, 0.5], [0.25, 0.0], [0.9, 0.75]], np.float32)
    found = Grouping(np.array([0, 1, 0]), groups, np.array([[3, 1], [0, 2], [3, 0]]), alike)
    inliers, said = [9, None, None, 0, 3, 4], ["site: arm / arm", "", "", "", "", ""]
    table = partner_table(found, IMAGE_IDS, ["mole"], LogOdds(intercept=0.0, slope=1.0), inliers, said)
    assert table["image_id"].tolist() == list("aabbcc")
    assert table["partner"].tolist() == list("abacaa")
    assert table["rank"].tolist() == [1, 2, 1, 2, 1, 2]
    assert table["same_group"].tolist() == ["yes", "no", "no", "no", "yes", "yes"]
    assert table["lesion_id"].tolist() == ["mole", "", "", "", "mole", ""]
    assert table["inliers"].fillna(-1).tolist() == [9, -1, -1, 0, 3, 4]
    assert table["evidence"].tolist() == said
    assert table["similarity"].tolist() == alike.ravel().astype(float).tolist()
    ClusterMatches.validate(table)


class TestMarks:
    log_odds = LogOdds(intercept=0.0, slope=1.0)

    def test_they_hold_most_of_the_wrong_pairs_in_few_photographs(self):
        rng = np.random.default_rng(0)
        sizes, weakest = rng.integers(1, 5, 2000), np.tanh(rng.normal(1.2, 0.6, 2000))
        weakest[sizes == 1] = np.inf
        probabilities = 1 / (1 + np.exp(-8 * np.arctanh(np.minimum(weakest, 0.999))))
        wrong = (sizes - 1) * (1 - probabilities)
        marked = list(marked_groups(weakest, sizes, self.log_odds))
        assert sizes[marked].sum() <= 0.05 * sizes.sum()
        others = np.setdiff1d(np.flatnonzero(sizes > 1), marked)
        assert wrong[marked].sum() > 0.5 * wrong.sum()
        assert (wrong[marked] / sizes[marked]).min() >= (wrong[others] / sizes[others]).max()

    def test_they_end_where_enough_wrong_pairs_are_held(self):
        weakest = np.tanh(np.array([0.0, 0.0, *[0.6] * 200]))
        marked = marked_groups(weakest, np.full(202, 2), self.log_odds)
        assert set(marked) >= {0, 1}
        assert marked[0] == pytest.approx(0.5)
        sure = np.array([0.0, *np.tanh([2.0] * 200)])
        assert set(marked_groups(sure, np.full(201, 2), self.log_odds)) == {0}

    def test_a_single_doubtful_group_of_a_small_folder_is_marked(self):
        assert set(marked_groups(np.array([0.0, np.inf]), np.array([2, 1]), self.log_odds)) == {0}

    def test_a_group_that_answers_alone_hold_counts_as_right(self):
        weakest, sizes = np.array([0.0, np.inf, np.inf]), np.array([2, 3, 1])
        assert set(marked_groups(weakest, sizes, self.log_odds)) == {0}

    def test_photographs_alone_have_none(self):
        assert marked_groups(np.full(5, np.inf), np.ones(5, int), self.log_odds) == {}
