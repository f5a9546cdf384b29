"""The figures of folds and experiments side by side: curves, results, leaderboard."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from skinbit.matching.evaluation import METHODS
from skinbit.matching.selection import Sweep, choice_at, mean_of_others

logger = logging.getLogger(__name__)

_CURVE_COLUMNS = ["method", "cut", "tp", "fp", "f1"]


def metric_table(metrics: Mapping[str, float]) -> pd.DataFrame:
    """Write figures down as ``metric, value``."""
    return pd.DataFrame({"metric": list(metrics), "value": list(metrics.values())})


def curve_table(sweeps: Mapping[str, Sweep]) -> pd.DataFrame:
    """Write sweeps down as a table.

    Args:
        sweeps: The curve of each method.

    Returns:
        ``method, cut, tp, fp, f1``, a row per cut; see :class:`skinbit.matching.selection.Sweep` for their order.
    """
    tables = [
        pd.DataFrame({"method": method, "cut": sweep.cuts, "tp": sweep.tp, "fp": sweep.fp, "f1": sweep.f1})
        for method, sweep in sweeps.items()
    ]
    return pd.concat(tables, ignore_index=True)[_CURVE_COLUMNS]


def read_curve(table: pd.DataFrame, method: str, n_positive_pairs: int) -> Sweep:
    """Rebuild a sweep from its table.

    Args:
        table: From :func:`curve_table`.
        method: ``cosine`` or ``dbscan``.
        n_positive_pairs: Of the subset it was made on.

    Returns:
        The sweep; its reported cuts are not stored, the cuts stand for them.
    """
    rows = table[table["method"] == method]
    cuts = rows["cut"].to_numpy(np.float64)
    return Sweep(method, cuts, cuts, rows["tp"].to_numpy(), rows["fp"].to_numpy(), n_positive_pairs)


def collect_folds(metrics: Mapping[int, Mapping[str, float]], curves: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Put the folds side by side, with mean and standard deviation, and add the transfer F1.

    The transfer F1 of a fold is its F1 at the mean of the other folds' cuts: what a cut chosen elsewhere is worth.

    Args:
        metrics: Figures of each fold.
        curves: Curves of each fold, from :func:`curve_table`.

    Returns:
        ``metric, fold_<k>, …, mean, std``; the standard deviation is the sample's (n - 1), over the folds in which
        the metric is defined.
    """
    transfers = {method: _transfer_f1(metrics, curves, method) for method in METHODS}
    columns = {f"fold_{fold}": _with_transfer(metrics[fold], fold, transfers) for fold in metrics}
    table = pd.DataFrame(columns)
    _warn_undefined(table)
    spread = table.std(axis=1, ddof=1) if len(metrics) > 1 else np.nan
    return table.assign(mean=table.mean(axis=1), std=spread).rename_axis("metric").reset_index()


def _transfer_f1(
    metrics: Mapping[int, Mapping[str, float]], curves: Mapping[int, pd.DataFrame], method: str
) -> dict[int, float]:
    elsewhere = mean_of_others([fold[METHODS[method]] for fold in metrics.values()])
    return {
        fold: choice_at(read_curve(curves[fold], method, int(metrics[fold]["n_positive_pairs"])), cut).f1
        for fold, cut in zip(metrics, elsewhere, strict=True)
    }


def _with_transfer(
    metrics: Mapping[str, float], fold: int, transfers: Mapping[str, Mapping[int, float]]
) -> dict[str, float]:
    """Insert the transfer F1 of each method behind its recall."""
    extended: dict[str, float] = {}
    for name, value in metrics.items():
        extended[name] = value
        method = name.removesuffix("_recall")
        if method in transfers:
            extended[f"{method}_f1_transfer"] = transfers[method][fold]
    return extended


def _warn_undefined(table: pd.DataFrame) -> None:
    undefined = [str(fold) for fold, f1 in table.loc["cosine_f1"].items() if np.isnan(f1)]
    if undefined:
        logger.warning("%s: no positive pair, or no cut in the searched range; F1 is undefined", ", ".join(undefined))


def thin_curves(table: pd.DataFrame, n_points: int) -> dict[str, dict[str, list[float]]]:
    """Thin the curves of a fold for drawing; their maxima stay.

    Args:
        table: From :func:`curve_table`.
        n_points: About how many rows to keep per method, evenly over its rows.

    Returns:
        Per method ``cut`` and ``f1`` of the kept rows, in their order; no row where F1 is undefined.
    """
    thinned = {}
    for method in METHODS:
        rows = table[(table["method"] == method) & table["f1"].notna()]
        evenly = np.linspace(0, len(rows) - 1, min(n_points, len(rows))).astype(int)
        kept = rows.iloc[np.union1d(evenly, rows["f1"].argmax() if len(rows) else [])]
        thinned[method] = {"cut": kept["cut"].tolist(), "f1": kept["f1"].tolist()}
    return thinned


def group_sizes(cluster_ids: Sequence[int]) -> dict[str, int]:
    """Count groups by their number of images.

    Args:
        cluster_ids: The group of each image.

    Returns:
        How many groups have one image, two, …; keys are text, as in JSON.
    """
    counts = Counter(Counter(cluster_ids).values())
    return {str(size): counts[size] for size in sorted(counts)}


def rank_experiments(results: Mapping[str, pd.DataFrame], settings: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Order the experiments by what their thresholds are worth elsewhere.

    Args:
        results: Per experiment ``metric, fold_<k>, …, mean, std`` and, with a test split, ``test``.
        settings: Per experiment its backbone and loss.

    Returns:
        The leaderboard: ``rank, experiment, backbone, loss`` and the F1 columns, best mean transfer F1 first (mean
        F1, where no experiment has a transfer F1), ties by name, undefined last.
    """
    rows = [
        {"experiment": name, "backbone": settings[name][0], "loss": settings[name][1]} | _headline(results[name])
        for name in sorted(results)
    ]
    board = pd.DataFrame(rows)
    key = "cosine_f1_transfer_mean" if board["cosine_f1_transfer_mean"].notna().any() else "cosine_f1_mean"
    board = board.sort_values(key, ascending=False, kind="stable", na_position="last", ignore_index=True)
    board.insert(0, "rank", np.arange(1, len(board) + 1))
    return board


def _headline(results: pd.DataFrame) -> dict[str, float]:
    columns = {str(name): results[name].tolist() for name in results.columns}
    rows = columns["metric"]
    headline: dict[str, float] = {}
    for method in METHODS:
        for metric in (f"{method}_f1", f"{method}_f1_transfer"):
            headline |= {f"{metric}_{column}": columns[column][rows.index(metric)] for column in ("mean", "std")}
        headline[f"{method}_f1_test"] = columns["test"][rows.index(f"{method}_f1")] if "test" in columns else np.nan
    return headline
