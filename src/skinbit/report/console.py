"""Plain lines of a run's log: the selected cuts, the pairs of each fold, the best experiments."""

from collections.abc import Sequence

import pandas as pd

from skinbit.config import RECOMMENDED, ClusterParams
from skinbit.matching.methods import CUTS, METHODS, PAGED
from skinbit.report.data_summary import DataSummary
from skinbit.report.findings import Row, best_grouping, has_transfer, headline, main_f1, rows_of, spoken


def describe_cuts(results: pd.DataFrame) -> str:
    """Return one line with the mean of each cut, and its standard deviation over several folds.

    Args:
        results: ``metric, fold_<k>, …, mean, std`` of one experiment.
    """
    rows = results.set_index("metric")
    n_folds = sum(str(column).startswith("fold_") for column in rows)
    mean, std = rows["mean"], rows["std"]
    cuts = [f"{_named(method)} {_spread(mean[cut], std[cut], 4)}" for method, cut in CUTS.items()]
    return f"{', '.join(cuts)} ({'one fold' if n_folds == 1 else f'mean of {n_folds} folds'})"


def _named(method: str) -> str:
    return METHODS[method].word if method in PAGED else METHODS[method].title.lower()


def describe_pairs(summary: DataSummary) -> str:
    """Return one line with the number of positive pairs and of all pairs of each subset."""
    subsets = [
        f"{subset.name} {subset.n_positive_pairs:,} of {subset.n_pairs:,}"
        + (f" ({subset.note})" if subset.note else "")
        for subset in summary.subsets
    ]
    return f"positive pairs: {', '.join(subsets)}"


def tabulate_best(leaderboard: pd.DataFrame, n_rows: int) -> str:
    """Return the best experiments as a small table.

    Args:
        leaderboard: From :func:`skinbit.matching.scoring.leaderboard.rank_experiments`, best first.
        n_rows: Largest number of experiments.

    Returns:
        Lines of aligned columns: rank and experiment; F1 at the threshold, which orders the leaderboard; F1 of the best
        grouping method, and the method; and its F1 on the test subset, if there is one.
    """
    rows = rows_of(leaderboard)
    transfers = has_transfer(rows)
    whose = "other folds'" if transfers else "own"
    table = [["rank", "experiment", f"F1, {whose} threshold", f"F1, {whose} cut", "of groups by", "F1, test"]]
    for row in rows[:n_rows]:
        table.append([str(row["rank"]), row["experiment"], *_f1_cells(row, transfers)])
    if all(row[f"{method}_f1_test"] is None for row in rows for method in METHODS):
        table = [cells[:-1] for cells in table]
    left_out = len(rows) - n_rows
    return "\n".join(_aligned(table) + ([f"and {left_out} more"] if left_out > 0 else []))


def _f1_cells(row: Row, transfers: bool) -> list[str]:
    best = best_grouping([row], transfers)
    threshold = _spread(*main_f1(row, "cosine", transfers), 3)
    if best is None:
        return [threshold, "undefined", "", "undefined"]
    return [threshold, _spread(best.mean, best.std, 3), spoken(best.method), _spread(best.test_f1, None, 3)]


_LEFT = ("experiment", "of groups by")
"""Columns of text; numbers are right-aligned."""


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if title in _LEFT else cell.rjust(width)
            for cell, width, title in zip(cells, widths, table[0], strict=True)
        ).rstrip()
        for cells in table
    ]


def describe_best(leaderboard: pd.DataFrame) -> str:
    """Return the best way to group images as a sentence.

    Args:
        leaderboard: The leaderboard, like in :func:`tabulate_best`.
    """
    return headline(rows_of(leaderboard)).replace("\N{NO-BREAK SPACE}", " ")


def grouping_command(leaderboard: pd.DataFrame, env: str | None, is_synthetic: bool) -> str:
    """Return the command that groups a folder of photographs with the best experiment and method.

    Args:
        leaderboard: The leaderboard, like in :func:`tabulate_best`.
        env: Environment of the study; None for the default.
        is_synthetic: Whether the study uses synthetic photographs, for which the starter is better on real ones.
    """
    command, rows = "uv run kedro group FOLDER", rows_of(leaderboard)
    best = best_grouping(rows, has_transfer(rows))
    if is_synthetic or best is None:
        return command
    options = [f"--env {env}"] if env else []
    options += [f"--experiment {best.experiment}"] if best.experiment != RECOMMENDED else []
    options += [f"--method {best.method}"] if best.method != ClusterParams().method else []
    return " ".join([command, *options])


def _spread(mean: float | None, std: float | None, decimals: int) -> str:
    if mean is None or pd.isna(mean):
        return "undefined"
    return f"{mean:.{decimals}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{decimals}f}")
