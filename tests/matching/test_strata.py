"""Strata: their counts are those of the whole, shared out pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinbit.matching.scoring.strata import STRATUM_COLUMNS, evaluate_strata, f1_by_stratum
from skinbit.matching.scoring.uncertainty import mean_f1, predicted_pairs, predicted_pairs_of_groups


@st.composite
def stratified_groups(draw):
    """Groups and lesions of up to 14 images, and the stratum of each lesion."""
    n_images = draw(st.integers(2, 14))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = np.sort(rng.integers(0, draw(st.integers(1, 6)), n_images))
    strata = rng.choice(["arm", "back", "scalp"], len(np.unique(labels))).tolist()
    return rng.integers(0, draw(st.integers(1, 8)), n_images), labels, strata


def counts_by_hand(groups, labels, strata):
    """Share every predicted pair out to its two images, half each."""
    stratum_of = dict(zip(np.unique(labels).tolist(), strata, strict=True))
    tp, fp = dict.fromkeys(sorted(set(strata)), 0.0), dict.fromkeys(sorted(set(strata)), 0.0)
    for a in range(len(labels)):
        for b in range(a):
            for image in (a, b) if groups[a] == groups[b] else ():
                counts = tp if labels[a] == labels[b] else fp
                counts[stratum_of[int(labels[image])]] += 0.5
    return tp, fp


@given(stratified_groups())
def test_a_false_pair_belongs_half_to_the_stratum_of_either_image(images):
    groups, labels, strata = images
    table = f1_by_stratum(predicted_pairs_of_groups(groups, labels), strata, 5, 0).set_index("stratum")
    tp, fp = counts_by_hand(groups, labels, strata)
    assert table["tp"].to_dict() == tp
    assert table["fp"].to_dict() == fp


@given(stratified_groups())
def test_the_f1_of_the_whole_is_the_weighted_mean_of_its_strata(images):
    groups, labels, strata = images
    predicted = predicted_pairs_of_groups(groups, labels)
    table = f1_by_stratum(predicted, strata, 5, 0)
    if table["n_positive_pairs"].sum():
        weights = table["tp"] + table["fp"] + table["n_positive_pairs"]
        mean = (table["f1"].fillna(0.0) * weights).sum() / weights.sum()
        assert mean == pytest.approx(mean_f1([predicted]))
    assert table["n_lesions"].sum() == len(strata)


def test_a_hand_worked_case():
    # Lesions 0 (arm) and 1 (back) have two images each, lesion 2 (arm) and 3 (scalp) one.
    pairs = np.array([[0, 1], [1, 2], [0, 4]])
    predicted = predicted_pairs(pairs, np.array([0, 0, 1, 1, 2, 3]))
    table = f1_by_stratum(predicted, ["arm", "back", "arm", "scalp"], 200, 0).set_index("stratum")
    # Of the two false pairs one lies within the arm, the other between arm and back.
    assert table.loc["arm", ["n_lesions", "n_positive_pairs", "tp", "fp"]].tolist() == [2, 1, 1, 1.5]
    assert table.loc["arm", ["precision", "recall", "f1"]].tolist() == pytest.approx([1 / 2.5, 1, 2 / 3.5])
    assert table.loc["back", ["tp", "fp", "precision", "recall", "f1"]].tolist() == [0, 0.5, 0, 0, 0]
    assert table.loc["arm", "low"] <= 2 / 3.5 <= table.loc["arm", "high"]
    # A stratum without positive pair has neither recall nor F1, one in which nothing is predicted no precision.
    assert table.loc["scalp", ["precision", "recall", "f1", "low", "high"]].isna().all()


def test_one_stratum_is_the_whole():
    labels = np.repeat(np.arange(20), 2)
    predicted = predicted_pairs_of_groups(np.arange(40) // 3, labels)
    row = f1_by_stratum(predicted, ["arm"] * 20, 100, 0).iloc[0]
    assert row["f1"] == mean_f1([predicted])
    assert row["low"] < row["f1"] < row["high"]


def test_a_lesion_without_stratum_is_refused():
    with pytest.raises(ValueError, match="1 strata were given for 2 lesions"):
        f1_by_stratum(predicted_pairs_of_groups(np.zeros(2, int), np.arange(2)), ["arm"], 5, 0)


def test_tables_of_several_columns_and_methods_are_one_with_rows_from_0():
    groups, labels = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 2, 3])
    fold = {method: predicted_pairs_of_groups(groups, labels) for method in ("cosine", "average", "dbscan")}
    strata = {"site": ["arm", "back"] * 4, "dx": ["nv"] * 8}
    table = evaluate_strata([fold, fold], strata, 5, 0)
    assert table.columns.tolist() == ["column", "method", *STRATUM_COLUMNS]
    assert table.index.tolist() == list(range(6))
    assert table["stratum"].tolist() == ["arm", "back", "arm", "back", "nv", "nv"]
    assert table.groupby(["column", "method"])["n_lesions"].sum().tolist() == [8, 8, 8, 8]
    assert evaluate_strata([fold], {}, 5, 0).columns.tolist() == table.columns.tolist()
