"""The tables of an experiment: metrics of its folds side by side, curves, group sizes."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from skinbit.matching.curves import Sweep
from skinbit.matching.methods import METHODS

logger = logging.getLogger(__name__)

_CURVE_COLUMNS = ["method", "cut", "tp", "fp", "f1"]


def metric_table(metrics: Mapping[str, float]) -> pd.DataFrame:
    """Return metrics as a table ``metric, value``."""
    return pd.DataFrame({"metric": list(metrics), "value": list(metrics.values())})


def curve_table(sweeps: Mapping[str, Sweep]) -> pd.DataFrame:
    """Return curves as a table.

    Args:
        sweeps: The curve of each method.

    Returns:
        ``method, cut, tp, fp, f1``, one row per cut; see :class:`skinbit.matching.curves.Sweep` for their order.
    """
    tables = [
        pd.DataFrame({"method": method, "cut": sweep.cuts, "tp": sweep.tp, "fp": sweep.fp, "f1": sweep.f1})
        for method, sweep in sweeps.items()
    ]
    return pd.concat(tables, ignore_index=True)[_CURVE_COLUMNS]


def collect_folds(
    metrics: Mapping[int, Mapping[str, float]], transfer_f1: Mapping[int, Mapping[str, float]]
) -> pd.DataFrame:
    """Return the metrics of folds side by side, with transfer F1, mean and standard deviation.

    The transfer F1 of a fold is its F1 at the mean of the other folds' cuts, which were not chosen on this fold.

    Args:
        metrics: Metrics of each fold at its own best cuts.
        transfer_f1: ``<method>_f1_transfer`` of each fold; NaN or missing if undefined.

    Returns:
        ``metric, fold_<k>, …, mean, std``; the sample standard deviation (n - 1), over folds in which the metric is
        defined.
    """
    columns = {f"fold_{fold}": _with_transfer(found, transfer_f1.get(fold, {})) for fold, found in metrics.items()}
    _warn_undefined({column: found["cosine_f1"] for column, found in columns.items()})
    return _side_by_side(columns)


def _with_transfer(metrics: Mapping[str, float], transfer_f1: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with each method's transfer F1 inserted after its recall."""
    extended: dict[str, float] = {}
    for name, value in metrics.items():
        extended[name] = value
        method = name.removesuffix("_recall").removesuffix("_pair")
        if method in METHODS:
            transfer = f"{method}_f1_transfer"
            extended[transfer] = transfer_f1.get(transfer, float("nan"))
    return extended


def _warn_undefined(f1_of: Mapping[str, float]) -> None:
    undefined = [fold for fold, f1 in f1_of.items() if np.isnan(f1)]
    if undefined:
        logger.warning("%s: no positive pair, or no cut in the searched range; F1 is undefined", ", ".join(undefined))


def interval_metrics(intervals: Mapping[str, tuple[float, float]], of: str = "transfer") -> dict[str, float]:
    """Return the ends of the intervals of F1 as metrics.

    Args:
        intervals: Low and high end, by method.
        of: Kind of F1: ``transfer`` or ``distractors``.

    Returns:
        ``<method>_f1_<of>_low`` and ``_high``.
    """
    return {
        f"{method}_f1_{of}_{end}": value
        for method, ends in intervals.items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }


def judgement_table(metrics: Mapping[int, Mapping[str, float]], of_all: Mapping[str, float]) -> pd.DataFrame:
    """Return the metrics of every fold side by side, with mean and standard deviation, and those of all folds together.

    Args:
        metrics: Metrics of each fold.
        of_all: Metrics of all folds together, like those of :func:`interval_metrics`; they are in the column of the
            mean.

    Returns:
        ``metric, fold_<k>, …, mean, std``.
    """
    table = _side_by_side({f"fold_{fold}": found for fold, found in metrics.items()})
    rows = pd.DataFrame({"metric": list(of_all), "mean": list(of_all.values())})
    return pd.concat([table, rows], ignore_index=True)


def _side_by_side(columns: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(columns)
    spread = table.std(axis=1, ddof=1) if len(columns) > 1 else np.nan
    return table.assign(mean=table.mean(axis=1), std=spread).rename_axis("metric").reset_index()


def thin_curves(table: pd.DataFrame, n_points: int) -> dict[str, dict[str, list[float]]]:
    """Return the curves of a fold, thinned for drawing, with their maxima.

    Args:
        table: From :func:`curve_table`.
        n_points: Approximate number of rows per method, evenly spaced.

    Returns:
        ``cut`` and ``f1`` of the kept rows by method, in order; no rows if F1 is undefined.
    """
    thinned = {}
    for method in METHODS:
        rows = table[(table["method"] == method) & table["f1"].notna()]
        evenly = np.linspace(0, len(rows) - 1, min(n_points, len(rows))).astype(int)
        kept = rows.iloc[np.union1d(evenly, rows["f1"].argmax() if len(rows) else [])]
        thinned[method] = {"cut": kept["cut"].tolist(), "f1": kept["f1"].tolist()}
    return thinned


def group_sizes(cluster_ids: Sequence[int]) -> dict[str, int]:
    """Return the number of groups by their number of images.

    Args:
        cluster_ids: Group of each image.

    Returns:
        Number of groups with one image, two, …; keys are text, as in JSON.
    """
    counts = Counter(Counter(cluster_ids).values())
    return {str(size): counts[size] for size in sorted(counts)}
