"""Selection, transfer between folds, results and leaderboard on cases small enough to work by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from skinbit.matching.evaluation import evaluate_at, evaluate_subset
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.operating_points import carry_over
from skinbit.matching.pairs import unit_vectors
from skinbit.matching.results import (
    Fold,
    collect_folds,
    curve_table,
    points_table,
    rank_experiments,
    read_curve,
    read_points_table,
)
from skinbit.matching.selection import Sweep, choice_at, pairwise_f1, select
from skinbit.params import EvaluationParams

EVERYTHING = EvaluationParams()


def on_circle(*degrees):
    angles = np.radians(degrees)
    return unit_vectors(np.c_[np.cos(angles), np.sin(angles)])


def cosine(degrees):
    return np.cos(np.radians(degrees))


def collect(folds):
    found = {fold: Fold(one.metrics, curve_table(one.sweeps), one.points) for fold, one in folds.items()}
    return collect_folds(found).set_index("metric")


class TestSelection:
    def test_of_equal_f1_the_cut_that_predicts_fewest_pairs_wins(self):
        sweep = Sweep("cosine", *map(np.array, ([0.9, 0.8], [0.85, 0.75], [1, 2], [0, 2])), n_positive_pairs=2)
        assert sweep.f1[0] == sweep.f1[1] == pytest.approx(2 / 3)
        assert select(sweep).cut == 0.85

    def test_only_the_searched_range_is_searched(self):
        embeddings, lesions = on_circle(0, 10, 90, 130), ["a", "a", "b", "b"]
        narrow = EvaluationParams(threshold_range=(-1.0, 0.7), eps_range=(0.3, 2.0))
        assert evaluate_subset(embeddings, lesions, EVERYTHING).metrics["cosine_f1"] == 1
        found = evaluate_subset(embeddings, lesions, narrow).metrics
        assert found["cosine_threshold"] <= 0.7
        assert found["dbscan_eps"] >= 0.3

    def test_a_range_in_which_nothing_is_predicted_gives_f1_0(self):
        high = EvaluationParams(threshold_range=(0.999, 1.0), eps_range=(0.0, 0.001))
        found = evaluate_subset(on_circle(0, 10), ["a", "a"], high).metrics
        assert found["cosine_f1"] == found["dbscan_f1"] == 0
        assert 0.999 <= found["cosine_threshold"] <= 1.0

    def test_no_positive_pair_is_undefined_never_0_or_1(self):
        found = evaluate_subset(on_circle(0, 10, 90), ["a", "b", "c"], EVERYTHING)
        undefined = {name for name, value in found.metrics.items() if np.isnan(value)}
        assert undefined == {
            *(f"{method}_f1" for method in METHODS),
            *(f"{method}_{figure}" for method in ("cosine", "dbscan") for figure in ("precision", "recall")),
            *(
                f"{method}_pair_{figure}"
                for method in ("average", "complete", "mutual")
                for figure in ("precision", "recall")
            ),
            *(*CUTS.values(), "roc_auc", "average_precision"),
            *("recall_at_1", "recall_at_5", "mean_average_precision"),
        }
        assert found.clusters.tolist() == [0, 1, 2]

    @pytest.mark.parametrize("n_images", [1, 2])
    def test_one_or_two_images_work(self, n_images):
        found = evaluate_subset(on_circle(0, 10)[:n_images], ["a", "a"][:n_images], EVERYTHING)
        assert found.metrics["n_images"] == n_images
        assert found.clusters.tolist() == [0] * n_images

    def test_f1_is_0_where_nothing_is_predicted(self):
        assert pairwise_f1(np.array([0]), np.array([0]), 3).tolist() == [0]
        sweep = Sweep("cosine", *map(np.array, ([0.9], [0.8], [1], [0])), n_positive_pairs=1)
        assert choice_at(sweep, 0.95).f1 == 0
        assert np.isnan(choice_at(sweep, 0.95).precision)


class TestSubset:
    def test_a_hand_worked_case(self):
        # Neighbours lie 10, 20, 30 and 40 degrees apart; lesions: a a b b b.
        found = evaluate_subset(on_circle(0, 10, 30, 60, 100), list("aabbb"), EVERYTHING).metrics
        # By threshold: pairs up to 40 degrees apart are a1-a2 + b-pairs 30, 40 + three wrong ones (20, 30, 50 …).
        assert found["n_positive_pairs"] == 4
        # At 30 degrees: predicted 10 (a), 20 (x), 30 (x: a1-b1), 30 (b); at 40: + b-b.
        assert found["cosine_f1"] == pytest.approx(2 * 3 / (5 + 4))
        assert found["cosine_threshold"] == pytest.approx((cosine(40) + cosine(50)) / 2, abs=1e-6)
        # Single linkage joins 10 (a), then 20 (a with b1), 30 (b2), 40 (b3): best is everything together.
        assert found["dbscan_f1"] == pytest.approx(2 * 4 / (10 + 4))
        assert found["dbscan_eps"] == pytest.approx((1 - cosine(40) + 2) / 2, abs=1e-6)

    def test_average_precision_is_the_rankings_not_that_of_average_linkage(self):
        rng = np.random.default_rng(2)
        embeddings, lesions = unit_vectors(rng.normal(size=(40, 4))), list("abcdefghij" * 4)
        found = evaluate_subset(embeddings, lesions, EVERYTHING).metrics
        rows, columns = np.triu_indices(40, 1)
        similarities, labels = (embeddings @ embeddings.T)[rows, columns], np.array(lesions)
        expected = average_precision_score(labels[rows] == labels[columns], similarities)
        assert found["average_precision"] == pytest.approx(expected, abs=1e-6)
        assert found["average_pair_precision"] != found["average_precision"]

    def test_given_cuts_are_evaluated_as_they_are_and_the_oracle_stands_beside(self):
        found = evaluate_subset(on_circle(0, 10, 90, 130), list("aabb"), EVERYTHING)
        given = evaluate_at(found, {"cosine": cosine(20), "dbscan": 1 - cosine(20)})
        assert given["cosine_f1"] == given["dbscan_f1"] == pytest.approx(2 / 3)
        assert given["cosine_recall"] == 1 / 2
        assert given["cosine_threshold"] == cosine(20)
        assert given["cosine_f1_oracle"] == given["dbscan_f1_oracle"] == 1


class TestTransfer:
    def test_is_the_f1_at_the_other_folds_cut(self):
        folds = {
            0: evaluate_subset(on_circle(0, 10, 90, 100), list("aabb"), EVERYTHING),
            3: evaluate_subset(on_circle(0, 58, 130, 132), list("aabb"), EVERYTHING),
        }
        table = collect(folds)
        # Fold 0 chooses a cut between 10 and 80 degrees (at 55), fold 3 between 58 and 72 (at 65).
        assert table.loc["cosine_f1_transfer", "fold_0"] == 1
        assert table.loc["cosine_f1_transfer", "fold_3"] == pytest.approx(2 / 3)
        assert list(table.columns) == ["fold_0", "fold_3", "mean", "std"]
        assert table.loc["cosine_f1_transfer", "std"] == pytest.approx(np.std([1, 2 / 3], ddof=1))

    def test_a_larger_pool_gets_a_stricter_cut_that_serves_it_better(self):
        rng = np.random.default_rng(5)
        centres = rng.normal(size=(200, 8))
        values = unit_vectors(np.repeat(centres, 2, axis=0) + rng.normal(scale=0.5, size=(400, 8)))
        lesions = [f"lesion {n}" for n in np.repeat(np.arange(200), 2)]
        folds = [evaluate_subset(values[n : n + 80], lesions[n : n + 80], EVERYTHING) for n in range(0, 400, 80)]
        whole = evaluate_subset(values, lesions, EVERYTHING)
        f1 = {
            (method, is_corrected): choice_at(
                whole.sweeps[method],
                carry_over([fold.points[method] for fold in folds], 400, is_corrected).value,
            ).f1
            for method in CUTS
            for is_corrected in (False, True)
        }
        assert f1["cosine", False] < f1["cosine", True] <= whole.metrics["cosine_f1"]
        assert f1["dbscan", False] < f1["dbscan", True] <= whole.metrics["dbscan_f1"]

    def test_operating_points_survive_the_way_through_a_file_exactly(self, tmp_path):
        rng = np.random.default_rng(1)
        found = evaluate_subset(unit_vectors(rng.normal(size=(30, 5))), list("abcdef" * 5), EVERYTHING)
        points_table(found.points).to_csv(tmp_path / "points.csv", index=False)
        stored = read_points_table(pd.read_csv(tmp_path / "points.csv"), found.metrics)
        assert stored.keys() == found.points.keys() == CUTS.keys()
        for method, points in found.points.items():
            for column in ("cuts", "tp", "fp"):
                assert getattr(stored[method], column).tolist() == getattr(points, column).tolist()
            assert (stored[method].n_images, stored[method].n_positive_pairs) == (30, points.n_positive_pairs)

    def test_survives_the_way_through_a_file_exactly(self, tmp_path):
        rng = np.random.default_rng(1)
        found = evaluate_subset(unit_vectors(rng.normal(size=(30, 5))), list("abcdef" * 5), EVERYTHING)
        table = curve_table(found.sweeps)
        table.to_csv(tmp_path / "sweep.csv", index=False)
        stored = pd.read_csv(tmp_path / "sweep.csv")
        pd.testing.assert_frame_equal(stored, table, check_exact=True)
        for method, sweep in found.sweeps.items():
            rebuilt = read_curve(stored, method, sweep.n_positive_pairs)
            for cut in sweep.reported:
                assert choice_at(rebuilt, cut).f1 == choice_at(sweep, cut).f1


class TestCollection:
    def test_one_fold_has_no_spread_and_no_transfer(self):
        found = evaluate_subset(on_circle(0, 10, 90), list("aab"), EVERYTHING)
        table = collect({2: found})
        assert table.loc["cosine_f1", "mean"] == table.loc["cosine_f1", "fold_2"] == 1
        assert table["std"].isna().all()
        assert table.loc[[f"{method}_f1_transfer" for method in METHODS], "fold_2"].isna().all()

    def test_a_fold_without_positive_pair_is_left_out_of_the_mean_and_named(self, caplog):
        good = evaluate_subset(on_circle(0, 10, 90), list("aab"), EVERYTHING)
        empty = evaluate_subset(on_circle(0, 10), list("ab"), EVERYTHING)
        table = collect({0: good, 1: empty})
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
