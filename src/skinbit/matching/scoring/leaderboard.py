"""The leaderboard: experiments ordered by F1 at transferred thresholds, with their gaps to the first.

Its columns are chosen here; the report shows some of them (:mod:`skinbit.report.study_report`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from skinbit.matching.methods import METHODS
from skinbit.matching.scoring.uncertainty import interval


def rank_experiments(results: Mapping[str, pd.DataFrame], settings: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Return the leaderboard, ordered by the F1 at the thresholds of the other folds.

    Args:
        results: Table ``metric, fold_<k>, …, mean, std`` of each experiment, with ``test`` if there is a test subset.
        settings: Backbone and loss of each experiment.

    Returns:
        The leaderboard: ``rank, experiment, backbone, loss``, the F1 columns of every method and the intervals of the
        mean transfer F1, ordered by the mean transfer F1 of the threshold (by mean F1 if no experiment has a transfer
        F1); ties by name, undefined last.
    """
    rows = [
        {"experiment": name, "backbone": settings[name][0], "loss": settings[name][1]} | _headline(results[name])
        for name in sorted(results)
    ]
    board = pd.DataFrame(rows)
    board = board.sort_values(_ordered_by(board), ascending=False, kind="stable", na_position="last", ignore_index=True)
    board.insert(0, "rank", np.arange(1, len(board) + 1))
    return board


def _ordered_by(board: pd.DataFrame) -> str:
    return "cosine_f1_transfer_mean" if board["cosine_f1_transfer_mean"].notna().any() else "cosine_f1_mean"


def _headline(results: pd.DataFrame) -> dict[str, float]:
    columns = {str(name): results[name].tolist() for name in results.columns}
    rows = columns["metric"]
    headline: dict[str, float] = {}
    for method in METHODS:
        for metric in (f"{method}_f1", f"{method}_f1_transfer"):
            headline |= {f"{metric}_{column}": columns[column][rows.index(metric)] for column in ("mean", "std")}
        headline[f"{method}_f1_test"] = columns["test"][rows.index(f"{method}_f1")] if "test" in columns else np.nan
    ends = [f"{method}_f1_transfer_{end}" for method in METHODS for end in ("low", "high")]
    return headline | {end: columns["mean"][rows.index(end)] for end in ends}


def add_gaps(board: pd.DataFrame, resampled_f1: Mapping[str, Sequence[float | None]]) -> pd.DataFrame:
    """Return a leaderboard with each experiment's gap to the first.

    Args:
        board: From :func:`rank_experiments`.
        resampled_f1: F1 by threshold of each experiment for resampled lesions, None if undefined; all experiments have
            the same resamples.

    Returns:
        The leaderboard with ``behind_first``, the difference of the metrics by which it is ordered, and its 95 %
        interval, ``behind_first_low`` and ``behind_first_high``.
    """
    key = _ordered_by(board)
    values = {name: np.array(f1, dtype=np.float64) for name, f1 in resampled_f1.items()}
    first = values[str(board["experiment"][0])]
    gaps = [interval(first - values[name]) for name in board["experiment"]]
    low, high = zip(*gaps, strict=True)
    return board.assign(behind_first=board[key][0] - board[key], behind_first_low=low, behind_first_high=high)
