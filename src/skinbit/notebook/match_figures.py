"""Plots of similarities: their distribution, F1 over the cut, lesions that are missed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skinbit.matching.curves import Sweep, choice_at, select
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.report.figures import method_panels
from skinbit.report.palette import ACCENT, BAD, GOOD, INK, LINE, SOFT, SOME, WARN, one_panel, tidy

_N_RANGES = 60

_WORTH_SHOWING = 0.5
"""A curve is drawn where it reaches this share of its best F1."""


def similarity_histograms(similarities: FloatArray, labels: LabelArray, threshold: float) -> Figure:
    """Return a plot of the similarities of positive and negative pairs, as shares and as counts, with the threshold.

    Args:
        similarities: ``(n, n)`` float32, symmetric, n at least 2.
        labels: ``(n,)``, lesion of each image.
        threshold: Smallest similarity of a pair that is predicted positive.

    Returns:
        A figure of two panels: the share of each kind, then counts on a logarithmic scale.
    """
    first, second = np.triu_indices(len(labels), 1)
    pairs, is_positive = similarities[first, second], labels[first] == labels[second]
    lowest, highest = float(pairs.min()), float(pairs.max())
    edges = np.linspace(lowest, max(highest, lowest + 1e-6), _N_RANGES + 1)
    positive, negative = (np.histogram(pairs[kind], edges)[0] for kind in (is_positive, ~is_positive))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    shares, counts = figure.subplots(2, 1, sharex=True)
    for heights, colour, kind in ((negative, WARN, "negative"), (positive, ACCENT, "positive")):
        label = f"{int(heights.sum()):,} {kind} pairs"
        share = 100 * heights / max(int(heights.sum()), 1)
        shares.stairs(share, edges, color=colour, fill=True, alpha=0.35)
        shares.stairs(share, edges, color=colour, linewidth=1.4, label=label)
        counts.stairs(heights, edges, color=colour, fill=True, alpha=0.35)
        counts.stairs(heights, edges, color=colour, linewidth=1.4)
    for axes in (shares, counts):
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.4f}")
        tidy(axes)
    shares.set(ylabel="share of its kind, %")
    counts.set(ylabel="pairs", xlabel="similarity", yscale="log", ylim=(0.7, None))
    shares.legend(frameon=False, loc="upper left")
    return figure


def cut_curves(
    sweeps: Mapping[str, Sweep], chosen: Mapping[str, float], fold_cuts: Mapping[str, Sequence[float]]
) -> Figure:
    """Return a plot of pairwise F1 over the cut, with the selected cut, the best one in hindsight, and the folds' cuts.

    Args:
        sweeps: Curves by method; exact at the selected cuts.
        chosen: Cuts of the methods to draw, selected elsewhere.
        fold_cuts: Cuts of single folds.
    """
    figure, panels = method_panels(list(chosen), width=11, row_height=4.2)
    highest = max(float(np.nan_to_num(sweeps[method].f1).max(initial=0.0)) for method in chosen)
    for axes, method in zip(panels, chosen, strict=True):
        _draw_curve(axes, sweeps[method], chosen[method], fold_cuts[method])
        axes.set_ylim(0, max(1.25 * highest, 0.05))
    return figure


def _draw_curve(axes: Axes, sweep: Sweep, chosen: float, fold_cuts: Sequence[float]) -> None:
    # A curve is constant between the cuts at which pairs enter.
    axes.step(sweep.cuts, sweep.f1, where="post", color=ACCENT, linewidth=1.6)
    marks = (
        (choice_at(sweep, chosen), INK, "o", "chosen"),
        (select(sweep), GOOD, "D", "oracle"),
    )
    for choice, colour, marker, name in marks:
        axes.axvline(choice.cut, color=colour, linestyle="--", linewidth=0.9, alpha=0.6)
        label = f"{name}: F1 {choice.f1:.3f} at {choice.cut:.4f}"
        axes.plot(choice.cut, choice.f1, marker, color=colour, markersize=7, label=label, zorder=3)
    bottom = axes.get_xaxis_transform()
    axes.plot(
        fold_cuts, np.zeros(len(fold_cuts)), "|", color=SOFT, markersize=16, transform=bottom, label="folds' cuts"
    )
    worth_showing = sweep.cuts[sweep.f1 >= _WORTH_SHOWING * sweep.f1.max(initial=0.0)]
    seen = [cut for cut in (*worth_showing, chosen, *fold_cuts) if not np.isnan(cut)]
    if seen:
        margin = 0.1 * (max(seen) - min(seen)) or 0.01
        axes.set_xlim(min(seen) - margin, max(seen) + margin)
    tidy(axes)
    axes.legend(frameon=False, fontsize=9, loc="upper left" if sweep.method == "cosine" else "upper right")


def lesion_outcomes(by_size: pd.DataFrame) -> Figure:
    """Return a plot of lesions with all, some or none of their pairs found, by number of images.

    Args:
        by_size: From :func:`skinbit.matching.scoring.lesions.summarise_by_size`.

    Returns:
        A figure of stacked horizontal bars with their counts.
    """
    figure, axes = one_panel(9, 0.55 * len(by_size) + 1.5)
    labels = [
        f"{n_images} images\n{n_missed:,} of {n_pairs:,} pairs missed"
        for n_images, n_missed, n_pairs in zip(
            by_size["n_images"], by_size["n_missed"], by_size["n_pairs"], strict=True
        )
    ]
    start = np.zeros(len(by_size))
    for column, colour, ink, label in (
        ("all_found", GOOD, "white", "all pairs found"),
        ("some_found", SOME, INK, "some pairs found"),
        ("none_found", BAD, "white", "no pair found"),
    ):
        share = 100 * by_size[column].to_numpy() / by_size["n_lesions"].to_numpy()
        bars = axes.barh(labels, share, left=start, color=colour, label=label, height=0.62)
        texts = [f"{count:,}" if count else "" for count in by_size[column]]
        axes.bar_label(bars, texts, label_type="center", color=ink, weight="bold")
        start += share
    axes.set(xlabel="lesions, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def lesion_similarities(positive_pairs: pd.DataFrame, threshold: float, n_lesions: int = 30) -> Figure:
    """Return a plot of the similarities of each lesion's pairs as a row of dots, least similar pairs on top.

    Args:
        positive_pairs: From :func:`skinbit.matching.scoring.lesions.tabulate_positive_pairs`.
        threshold: Smallest similarity of a pair that is predicted positive.
        n_lesions: Largest number of rows.

    Returns:
        A figure; missed pairs are red.
    """
    lesions = list(dict.fromkeys(positive_pairs["lesion_id"]))[:n_lesions]
    shown = positive_pairs[positive_pairs["lesion_id"].isin(lesions)]
    heights = shown["lesion_id"].map(lesions.index).to_numpy()
    similarities = shown["similarity"].to_numpy()
    is_missed = similarities < threshold
    figure, axes = one_panel(9, 0.19 * len(lesions) + 1.4)
    for row in range(len(lesions)):
        own = similarities[heights == row]
        axes.plot([own.min(), own.max()], [row, row], color=LINE, linewidth=3, solid_capstyle="round", zorder=1)
    for chosen, colour, label in ((is_missed, BAD, "missed pair"), (~is_missed, GOOD, "found pair")):
        axes.plot(similarities[chosen], heights[chosen], "o", color=colour, markersize=5, label=label)
    axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.4f}")
    axes.set(xlabel="similarity of pairs of the lesion", yticks=range(len(lesions)), yticklabels=lesions)
    axes.set_ylim(len(lesions) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
