"""Folds side by side, transfer between them, tables in files, and the leaderboard."""

import logging

import numpy as np
import pandas as pd
import pytest

from skinbit.config import EvaluationParams
from skinbit.matching.cuts.operating_points import gather_subsets
from skinbit.matching.cuts.transfer import cuts_of_folds
from skinbit.matching.labels import unit_vectors
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.leaderboard import add_gaps, rank_experiments
from skinbit.matching.scoring.results import collect_folds, curve_table, thin_curves
from skinbit.matching.scoring.score import score
from skinbit.matching.scoring.transfer_metrics import transfer_metrics
from skinbit.runtime.datasets.stock import ObjectDataset
from tests.matching.samples import on_circle


def scored(embeddings, lesion_ids, cuts=None):
    return score(Pool(embeddings), lesion_ids, EvaluationParams(), cuts)


def collect(folds):
    """Score every fold at the mean of the other folds' cuts, as a study does."""
    points = gather_subsets([scored(*images).points for images in folds.values()])
    carried = cuts_of_folds(points, list(folds))
    found = {fold: scored(*images, carried[fold]) for fold, images in folds.items()}
    transfer = {fold: transfer_metrics(each.given) for fold, each in found.items() if len(folds) > 1}
    return collect_folds({fold: each.metrics for fold, each in found.items()}, transfer).set_index("metric")


def random_images():
    return unit_vectors(np.random.default_rng(1).normal(size=(30, 5))), list("abcdef" * 5)


class TestTransfer:
    def test_is_the_f1_at_the_other_folds_cut(self):
        table = collect({0: (on_circle(0, 10, 90, 100), list("aabb")), 3: (on_circle(0, 58, 130, 132), list("aabb"))})
        # Fold 0 chooses a cut between 10 and 80 degrees (at 55), fold 3 between 58 and 72 (at 65).
        assert table.loc["cosine_f1_transfer", "fold_0"] == 1
        assert table.loc["cosine_f1_transfer", "fold_3"] == pytest.approx(2 / 3)
        assert list(table.columns) == ["fold_0", "fold_3", "mean", "std"]
        assert table.loc["cosine_f1_transfer", "std"] == pytest.approx(np.std([1, 2 / 3], ddof=1))

    def test_stands_behind_the_recall_of_its_method(self):
        names = collect({0: (on_circle(0, 10, 90, 100), list("aabb"))}).index.tolist()
        for method in METHODS:
            recall = "recall" if method in ("cosine", "dbscan") else "pair_recall"
            assert names[names.index(f"{method}_{recall}") + 1] == f"{method}_f1_transfer"


class TestFiles:
    def test_operating_points_survive_exactly(self, tmp_path):
        found = scored(*random_images())
        contract = "skinbit.matching.cuts.operating_points.PointsOfSubset"
        dataset = ObjectDataset(filepath=str(tmp_path / "points.json"), contract=contract)
        dataset.save(found.points)
        assert dataset.load() == found.points
        assert found.points.keys() == CUTS.keys()
        assert [points.is_similarity for points in dataset.load().values()] == [True, False, False, False]

    def test_curves_survive_exactly(self, tmp_path):
        table = curve_table(scored(*random_images()).sweeps)
        table.to_csv(tmp_path / "sweep.csv", index=False)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "sweep.csv"), table, check_exact=True)
        assert set(table["method"]) == set(METHODS)


class TestCollection:
    def test_one_fold_has_no_spread_and_no_transfer(self):
        table = collect({2: (on_circle(0, 10, 90), list("aab"))})
        assert table.loc["cosine_f1", "mean"] == table.loc["cosine_f1", "fold_2"] == 1
        assert table["std"].isna().all()
        assert table.loc[[f"{method}_f1_transfer" for method in METHODS], "fold_2"].isna().all()

    def test_a_fold_without_positive_pair_is_left_out_of_the_mean_and_named(self, caplog):
        caplog.set_level(logging.WARNING)
        table = collect({0: (on_circle(0, 10, 90), list("aab")), 1: (on_circle(0, 10), list("ab"))})
        assert table.loc["cosine_f1", "mean"] == 1
        assert "fold_1" in caplog.text


def results(transfer, own=0.5, test=None):
    kinds = {"": own, "_transfer": transfer, "_transfer_low": transfer, "_transfer_high": transfer}
    rows = {f"{method}_f1{kind}": value for method in METHODS for kind, value in kinds.items()}
    table = pd.DataFrame({"metric": list(rows), "mean": list(rows.values()), "std": 0.1})
    return table if test is None else table.assign(test=test)


class TestLeaderboard:
    def test_is_ordered_by_transfer_f1_then_name_undefined_last(self):
        settings = dict.fromkeys("abcd", ("vit", "baseline"))
        board = rank_experiments(
            {"d": results(0.7), "c": results(0.4), "b": results(np.nan), "a": results(0.7)}, settings
        )
        assert board["experiment"].tolist() == ["a", "d", "c", "b"]
        assert board["rank"].tolist() == [1, 2, 3, 4]
        assert board.index.tolist() == [0, 1, 2, 3]

    def test_gaps_are_those_to_the_first_on_the_same_resamples(self):
        board = rank_experiments({"a": results(0.4), "b": results(0.7)}, dict.fromkeys("ab", ("vit", "baseline")))
        rng = np.random.default_rng(0)
        resampled = {"a": (0.4 + 0.1 * rng.random(99)).tolist(), "b": [0.8] * 98 + [None]}
        found = add_gaps(board, resampled)
        assert found["behind_first"].tolist() == [0.0, pytest.approx(0.3)]
        low, high = np.quantile(0.8 - np.array(resampled["a"][:98]), [0.025, 0.975])
        assert found["behind_first_low"].tolist() == pytest.approx([0.0, low])
        assert found["behind_first_high"].tolist() == pytest.approx([0.0, high])

    def test_is_ordered_by_own_f1_where_one_fold_ran(self):
        settings = dict.fromkeys("ab", ("vit", "baseline"))
        board = rank_experiments({"a": results(np.nan, own=0.2), "b": results(np.nan, own=0.3)}, settings)
        assert board["experiment"].tolist() == ["b", "a"]

    def test_has_the_columns_of_the_contract(self):
        board = rank_experiments({"a": results(0.5, test=0.25)}, {"a": ("vit", "baseline")})
        kinds = ("f1_mean", "f1_std", "f1_transfer_mean", "f1_transfer_std", "f1_test")
        figures = [f"{method}_{kind}" for method in METHODS for kind in kinds]
        assert board.columns.tolist()[:14] == ["rank", "experiment", "backbone", "loss", *figures[:10]]
        assert board.columns.tolist()[14:29] == figures[10:]
        assert board.loc[0, "cosine_f1_test"] == 0.25


def test_thinned_curves_keep_their_ends_and_their_maximum():
    f1 = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.3, 0.2, 0.1]
    table = pd.DataFrame({"method": "average", "cut": np.arange(9) / 10, "f1": f1})
    undefined = pd.DataFrame({"method": "cosine", "cut": [0.5], "f1": [np.nan]})
    found = thin_curves(pd.concat([table, undefined]), 3)
    assert found["average"] == {"cut": [0.0, 0.2, 0.4, 0.8], "f1": [0.1, 0.9, 0.4, 0.1]}
    assert found["cosine"] == found["dbscan"] == {"cut": [], "f1": []}
    assert thin_curves(table, 100)["average"]["f1"] == f1
