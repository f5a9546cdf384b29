"""Matplotlib figures of an experiment: pairwise F1 over the cut of each method; loss and F1 over epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skinbit.matching.methods import CUTS, METHODS
from skinbit.report.charts import Column, Curve, cut_label, shown_range
from skinbit.report.findings import Metrics, fold_name


def f1_curves(experiment: str, metrics: Metrics, curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Return a figure of pairwise F1 over the cut of each method, one line per fold, with best cuts and their mean.

    Args:
        experiment: Name for the title.
        metrics: Metrics of the experiment.
        curves: Curves by fold and method.

    Returns:
        A figure with one panel for every method with a cut.
    """
    figure, panels = method_panels(list(CUTS), width=10, row_height=4)
    for (method, cut), axes in zip(CUTS.items(), panels, strict=True):
        for fold, methods in curves.items():
            _draw_fold(axes, fold_name(fold), methods[method])
        average = metrics[cut]["mean"]
        if average is not None:
            axes.axvline(average, color="black", linestyle=":", linewidth=1, label="mean of the folds' cuts")
        axes.set_ylim(0, 1)
        axes.set_title(_title(metrics, method), fontsize="medium")
        axes.grid(alpha=0.3)
        axes.set_xlim(shown_range([methods[method] for methods in curves.values()]))
    panels[0].legend(fontsize="small")
    figure.suptitle(experiment)
    return figure


def method_panels(methods: Sequence[str], width: float, row_height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel of pairwise F1 over the cut for each method, two side by side.

    Args:
        methods: Methods with a cut.
        width: Width of the figure, inches.
        row_height: Height of a row of two panels, inches.
    """
    n_rows = -(-len(methods) // 2)
    figure = Figure(figsize=(width, row_height * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, min(len(methods), 2), sharey=True, squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=False):
        axes.set(title=METHODS[method].title, xlabel=cut_label(method))
    for axes in panels[:, 0]:
        axes.set_ylabel("pairwise F1")
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    return figure, list(panels.flat[: len(methods)])


def _draw_fold(axes: Axes, fold: str, curve: Curve) -> None:
    # A curve is constant between the cuts at which pairs enter.
    (line,) = axes.step(curve["cut"], curve["f1"], where="post", linewidth=1, label=fold)
    if curve["f1"]:
        best = max(range(len(curve["f1"])), key=curve["f1"].__getitem__)
        axes.plot(curve["cut"][best], curve["f1"][best], "o", markersize=4, color=line.get_color())


def _title(metrics: Metrics, method: str) -> str:
    best, transfer = (metrics[metric]["mean"] for metric in (f"{method}_f1", f"{method}_f1_transfer"))
    if best is None:
        return f"{METHODS[method].title}\nF1 is undefined"
    carried = "" if transfer is None else f", other folds' cut {transfer:.3f}"
    return f"{METHODS[method].title}\nbest F1 {best:.3f}{carried}"


def training_curves(experiment: str, histories: Mapping[str, Mapping[str, Column]]) -> Figure:
    """Return a figure of loss and validation F1 over epochs, one line per fold, with the best epoch marked.

    Args:
        experiment: Name for the title.
        histories: ``epoch``, ``loss``, ``f1`` by fold; an undefined F1 is None.

    Returns:
        A figure with two panels.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    losses, f1s = figure.subplots(1, 2)
    for fold, history in histories.items():
        epochs, loss, f1 = (np.array(history[column], dtype=float) for column in ("epoch", "loss", "f1"))
        (line,) = losses.plot(epochs, loss, linewidth=1, label=fold_name(fold))
        f1s.plot(epochs, f1, linewidth=1, color=line.get_color())
        if np.isfinite(f1).any():
            best = int(np.nanargmax(f1))
            f1s.plot(epochs[best], f1[best], "o", markersize=4, color=line.get_color())
    losses.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    f1s.set(xlabel="epoch", ylabel="pairwise F1 of the validation lesions, plain views", ylim=(0, 1))
    for axes in (losses, f1s):
        axes.grid(alpha=0.3)
    losses.legend(fontsize="small")
    figure.suptitle(experiment)
    return figure
