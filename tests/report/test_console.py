"""What a run says in plain lines."""

import numpy as np
import pandas as pd

from skinbit.report.console import describe_cuts, describe_pairs, tabulate_best
from skinbit.report.data_summary import summarise_data


def board(*rows):
    columns = ["rank", "experiment", "cosine_f1", "cosine_f1_transfer", "cosine_f1_test"]
    table = pd.DataFrame(rows, columns=columns)
    for metric in ("cosine_f1", "cosine_f1_transfer"):
        table = table.rename(columns={metric: f"{metric}_mean"}).assign(**{f"{metric}_std": 0.01})
    return table


class TestBest:
    def test_columns_are_aligned_and_the_rest_is_counted(self):
        table = board(
            (1, "vit_triplet", 0.9, 0.8, 0.75), (2, "dinov2_contrastive", 0.7, 0.6, 0.5), (3, "a", 0.1, 0.1, 0.1)
        )
        lines = tabulate_best(table, n_rows=2).splitlines()
        assert lines[0].split() == ["rank", "experiment", "F1,", "other", "folds'", "threshold", "F1,", "test"]
        assert lines[1].split() == ["1", "vit_triplet", "0.800", "±", "0.010", "0.750"]
        assert lines[-1] == "and 1 more"
        assert len({len(line) for line in lines[:-1]}) == 1

    def test_one_fold_shows_f1_at_its_own_threshold(self):
        text = tabulate_best(board((1, "a", 0.9, np.nan, 0.5)).assign(cosine_f1_std=np.nan), n_rows=5)
        assert text.splitlines()[0].split() == ["rank", "experiment", "F1,", "own", "threshold", "F1,", "test"]
        assert text.splitlines()[1].split() == ["1", "a", "0.900", "0.500"]

    def test_without_a_test_subset_there_is_no_column_for_it(self):
        assert "test" not in tabulate_best(board((1, "a", 0.9, 0.8, np.nan)), n_rows=5)

    def test_what_is_undefined_is_called_so(self):
        assert "undefined" in tabulate_best(board((1, "a", 0.9, 0.8, 0.5), (2, "b", np.nan, np.nan, np.nan)), n_rows=5)


class TestCuts:
    def results(self, **columns):
        return pd.DataFrame({"metric": ["cosine_threshold", "dbscan_eps", "average_cut", "complete_cut"], **columns})

    def test_are_means_with_their_spread(self):
        results = self.results(
            fold_0=[0.9, 0.1, 0.3, 0.4],
            fold_3=[0.8, 0.2, 0.3, 0.6],
            mean=[0.85, 0.15, 0.3, 0.5],
            std=[0.0707, 0.0707, 0, 0.1414],
        )
        assert describe_cuts(results) == (
            "threshold 0.8500 ± 0.0707, eps 0.1500 ± 0.0707, average linkage 0.3000 ± 0.0000, "
            "complete linkage 0.5000 ± 0.1414 (mean of 2 folds)"
        )

    def test_of_one_fold_have_no_spread(self):
        undefined = [np.nan] * 3
        results = self.results(fold_0=[0.9, *undefined], mean=[0.9, *undefined], std=[np.nan, *undefined])
        assert describe_cuts(results).startswith("threshold 0.9000, eps undefined, ")
        assert describe_cuts(results).endswith(" (one fold)")


def test_positive_pairs_are_counted_per_subset():
    rows = [
        ("1", "a", "train", 0),
        ("2", "a", "train", 0),
        ("3", "b", "train", 0),
        ("4", "c", "test", -1),
        ("5", "c", "test", -1),
    ]
    split = pd.DataFrame(rows, columns=["image_id", "lesion_id", "subset", "fold"])
    rejected = pd.DataFrame(columns=["image_id", "lesion_id", "reason"])
    assert describe_pairs(summarise_data(split, rejected, [0])) == "positive pairs: fold 0 1 of 3, test 1 of 1"
