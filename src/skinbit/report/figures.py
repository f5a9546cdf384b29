"""Figures: pairwise F1 over threshold and eps."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_PANELS = {
    "cosine": ("cosine_threshold", "cosine threshold"),
    "dbscan": ("dbscan_eps", "DBSCAN eps (cosine distance)"),
}
_WORTH_SHOWING = 0.05
"""The axis covers the cuts where some fold reaches this share of its best F1."""

Curve = Mapping[str, list[float]]
Figures = Mapping[str, Mapping[str, float | None]]


def f1_curves(experiment: str, figures: Figures, curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw pairwise F1 against threshold and eps, a line per fold, its best cut and their mean marked.

    Args:
        experiment: For the title.
        figures: Per metric its value by fold, and ``mean``.
        curves: Per fold and method ``cut`` and ``f1``.

    Returns:
        A figure of two panels.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (method, (cut, label)) in zip(figure.subplots(1, 2, sharey=True), _PANELS.items(), strict=True):
        for fold, methods in curves.items():
            _draw_fold(axes, fold.replace("_", " "), methods[method])
        average = figures[cut]["mean"]
        if average is not None:
            axes.axvline(average, color="black", linestyle=":", linewidth=1, label="mean of the folds' cuts")
        axes.set(xlabel=label, title=_title(figures, method), ylim=(0, 1))
        axes.grid(alpha=0.3)
        _focus(axes, [methods[method] for methods in curves.values()])
    figure.axes[0].set_ylabel("pairwise F1")
    figure.axes[0].legend(fontsize="small")
    figure.suptitle(experiment)
    return figure


def _draw_fold(axes: Axes, fold: str, curve: Curve) -> None:
    # A curve is constant between the cuts at which a pair enters.
    (line,) = axes.step(curve["cut"], curve["f1"], where="post", linewidth=1, label=fold)
    if curve["f1"]:
        best = max(range(len(curve["f1"])), key=curve["f1"].__getitem__)
        axes.plot(curve["cut"][best], curve["f1"][best], "o", markersize=4, color=line.get_color())


def _title(figures: Figures, method: str) -> str:
    best, transfer = (figures[metric]["mean"] for metric in (f"{method}_f1", f"{method}_f1_transfer"))
    if best is None:
        return "F1 is undefined"
    return f"best F1 {best:.3f}" + ("" if transfer is None else f", with the other folds' cut {transfer:.3f}")


def _focus(axes: Axes, curves: list[Curve]) -> None:
    worth = [
        cut
        for curve in curves
        for cut, f1 in zip(curve["cut"], curve["f1"], strict=True)
        if f1 >= _WORTH_SHOWING * max(curve["f1"])
    ]
    if worth and min(worth) < max(worth):
        axes.set_xlim(min(worth), max(worth))
