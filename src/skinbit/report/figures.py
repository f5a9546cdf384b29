"""Figures: pairwise F1 over threshold and eps."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_PANELS = {
    "cosine": ("cosine_threshold", "cosine threshold"),
    "dbscan": ("dbscan_eps", "DBSCAN eps (cosine distance)"),
}
_WORTH_SHOWING = 0.05
"""The axis covers the cuts where some fold reaches this share of the best F1."""


def f1_curves(experiment: str, results: pd.DataFrame, curves: dict[int, pd.DataFrame]) -> Figure:
    """Draw pairwise F1 against threshold and eps, a line per fold, its best cut and their mean marked.

    Args:
        experiment: For the title.
        results: ``metric, fold_<k>, …, mean, std``.
        curves: Per fold ``method, cut, tp, fp, f1``.

    Returns:
        A figure of two panels.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    table = results.set_index("metric")
    for axes, (method, (cut, label)) in zip(figure.subplots(1, 2, sharey=True), _PANELS.items(), strict=True):
        for fold, curve in curves.items():
            _draw_fold(axes, fold, curve[curve["method"] == method])
        axes.axvline(
            float(table["mean"][cut]), color="black", linestyle=":", linewidth=1, label="mean of the folds' cuts"
        )
        axes.set(xlabel=label, title=_title(table, method), ylim=(0, 1))
        axes.grid(alpha=0.3)
        _focus(axes, [curve[curve["method"] == method] for curve in curves.values()])
    figure.axes[0].set_ylabel("pairwise F1")
    figure.axes[0].legend(fontsize="small")
    figure.suptitle(experiment)
    return figure


def _draw_fold(axes: Axes, fold: int, curve: pd.DataFrame) -> None:
    # A curve is constant between the cuts at which a pair enters.
    (line,) = axes.step(curve["cut"], curve["f1"], where="post", linewidth=1, label=f"fold {fold}")
    if curve["f1"].notna().any():
        best = int(curve["f1"].argmax())
        axes.plot(curve["cut"].iloc[best], curve["f1"].iloc[best], "o", markersize=4, color=line.get_color())


def _title(table: pd.DataFrame, method: str) -> str:
    best, transfer = (float(table["mean"][metric]) for metric in (f"{method}_f1", f"{method}_f1_transfer"))
    title = f"best F1 {best:.3f}"
    return title if np.isnan(transfer) else f"{title}, with the other folds' cut {transfer:.3f}"


def _focus(axes: Axes, curves: list[pd.DataFrame]) -> None:
    worth = pd.concat([curve[curve["f1"] >= _WORTH_SHOWING * curve["f1"].max()]["cut"] for curve in curves])
    if len(worth) and worth.min() < worth.max():
        axes.set_xlim(worth.min(), worth.max())
