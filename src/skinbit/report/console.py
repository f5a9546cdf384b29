"""Plain lines of a run's log: the cuts that were chosen, the pairs of each fold, the best experiments."""

import pandas as pd

from skinbit.matching.methods import CUTS, METHODS, PAGED
from skinbit.report.data_summary import DataSummary


def describe_cuts(results: pd.DataFrame) -> str:
    """Return one line with the mean of each cut, and the standard deviation where several folds ran.

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
        n_rows: Number of experiments at most.

    Returns:
        Lines of aligned columns: rank, experiment, F1 at the threshold that orders the leaderboard, and F1 on the test
        subset where there is one.
    """
    has_transfer = leaderboard["cosine_f1_transfer_mean"].notna().any()
    metric, whose = ("cosine_f1_transfer", "other folds'") if has_transfer else ("cosine_f1", "own")
    rows = [["rank", "experiment", f"F1, {whose} threshold", "F1, test"]]
    for row in leaderboard.head(n_rows).to_dict(orient="records"):
        f1 = _spread(row[f"{metric}_mean"], row[f"{metric}_std"], 3)
        rows.append([str(row["rank"]), row["experiment"], f1, _spread(row["cosine_f1_test"], float("nan"), 3)])
    if leaderboard["cosine_f1_test"].isna().all():
        rows = [cells[:-1] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in rows
    ]
    left_out = len(leaderboard) - n_rows
    return "\n".join(lines + ([f"and {left_out} more"] if left_out > 0 else []))


def _spread(mean: float, std: float, decimals: int) -> str:
    if pd.isna(mean):
        return "undefined"
    return f"{mean:.{decimals}f}" + ("" if pd.isna(std) else f" ± {std:.{decimals}f}")
