"""What a run says in plain lines."""

import re

import numpy as np
import pandas as pd
import pytest

from skinbit.matching.methods import METHODS
from skinbit.report.console import describe_best, describe_cuts, describe_pairs, grouping_command, tabulate_best
from skinbit.report.data_summary import summarise_data


def board(*rows):
    """A leaderboard of ``experiment``, then per method the F1 by fold, by the other folds' cuts, and of the test."""
    named = []
    for rank, (experiment, f1_of) in enumerate(rows, start=1):
        row = {"rank": rank, "experiment": experiment}
        for method in METHODS:
            own, transfer, test = f1_of.get(method, (np.nan,) * 3)
            row |= {f"{method}_f1_mean": own, f"{method}_f1_transfer_mean": transfer, f"{method}_f1_test": test}
            row |= {f"{method}_f1_std": 0.01, f"{method}_f1_transfer_std": 0.02}
        named.append(row)
    return pd.DataFrame(named)


class TestBest:
    def test_the_threshold_stands_beside_the_best_groups_and_their_f1_on_the_test_subset(self):
        table = board(
            ("vit_triplet", {"cosine": (0.9, 0.8, 0.75), "average": (0.9, 0.85, 0.7), "dbscan": (0.9, 0.4, 0.8)}),
            ("dinov2_contrastive", {"cosine": (0.7, 0.6, 0.5), "dbscan": (0.7, 0.55, 0.45)}),
            ("a", {}),
        )
        lines = tabulate_best(table, n_rows=2).splitlines()
        cells = [re.split("  +", line.strip()) for line in lines]
        assert cells == [
            ["rank", "experiment", "F1, other folds' threshold", "F1, other folds' cut", "of groups by", "F1, test"],
            ["1", "vit_triplet", "0.800 ± 0.020", "0.850 ± 0.020", "average linkage", "0.700"],
            ["2", "dinov2_contrastive", "0.600 ± 0.020", "0.550 ± 0.020", "DBSCAN", "0.450"],
            ["and 1 more"],
        ]
        assert len({len(line) for line in lines[:-1]}) == 1

    def test_one_fold_shows_f1_at_its_own_threshold(self):
        text = tabulate_best(board(("a", {"cosine": (0.9, np.nan, 0.5)})), n_rows=5)
        assert "F1, own threshold" in text.splitlines()[0]
        assert "0.900 ± 0.010" in text.splitlines()[1]

    def test_without_a_test_subset_there_is_no_column_for_it(self):
        assert "test" not in tabulate_best(board(("a", {"cosine": (0.9, 0.8, np.nan)})), n_rows=5)

    def test_what_is_undefined_is_called_so(self):
        assert "undefined" in tabulate_best(board(("a", {"cosine": (0.9, 0.8, 0.5)}), ("b", {})), n_rows=5)

    def test_the_best_groups_are_named_in_a_sentence(self):
        table = board(("a", {"cosine": (0.9, 0.8, 0.5), "average": (0.7, 0.6, 0.5)}))
        assert describe_best(table) == (
            "a with average linkage finds images of the same lesion with pairwise F1 0.600 ± 0.020"
        )

    @pytest.mark.parametrize(
        ("experiment", "method", "env", "is_synthetic", "options"),
        [
            ("recommended", "average", None, False, ""),
            ("vit_triplet", "dbscan", "local2", False, " --env local2 --experiment vit_triplet --method dbscan"),
            ("vit_triplet", "dbscan", "demo", True, ""),
        ],
    )
    def test_the_command_groups_photographs_as_the_best_experiment_did(
        self, experiment, method, env, is_synthetic, options
    ):
        table = board((experiment, {method: (0.9, 0.8, 0.5)}))
        assert grouping_command(table, env, is_synthetic) == f"uv run kedro group FOLDER{options}"


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
