"""Plots of the data: lesions by size, the split, positive and negative pairs."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from skinbit.data.splits import TEST_FOLD
from skinbit.report.data_summary import SubsetSize, images_per_lesion
from skinbit.report.palette import ACCENT, INK, LINE, SOFT, WARN, one_panel


def lesion_sizes(published: pd.Series, used: pd.Series) -> Figure:
    """Return a plot of lesions by number of images, as stacked bars of those used and left out.

    Args:
        published: Lesion of each image in the metadata.
        used: Lesion of each image used.
    """
    every, taken = dict(images_per_lesion(published)), dict(images_per_lesion(used))
    sizes = sorted(every)
    kept = [taken.get(size, 0) for size in sizes]
    left_out = [every[size] - taken.get(size, 0) for size in sizes]
    figure, axes = one_panel(6.5, 3.4)
    labels = [str(size) for size in sizes]
    axes.bar(labels, kept, color=ACCENT, label="used", width=0.7)
    if any(left_out):
        axes.bar(labels, left_out, bottom=kept, color=LINE, label="left out", width=0.7)
    for position, size in enumerate(sizes):
        axes.annotate(f"{every[size]:,}", (position, every[size]), (0, 3), textcoords="offset points", ha="center")
    axes.set(xlabel="images of a lesion", ylabel="lesions", ylim=(0, 1.12 * max(every.values())))
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False)
    return figure


def split_map(split: pd.DataFrame) -> Figure:
    """Return a plot of every lesion as a column and every subset as a row, with dark cells where it has images.

    Args:
        split: ``image_id, lesion_id, subset, fold``.

    Returns:
        A figure; a lesion in two subsets would have two cells in its column.
    """
    names = _subset_names(split)
    counts = pd.crosstab(split["fold"], split["lesion_id"]).loc[list(names)]
    columns = sorted(counts.columns, key=lambda lesion: (int(counts[lesion].to_numpy().argmax()), lesion))
    figure, axes = one_panel(11, 2.6)
    cells = np.ma.masked_equal(counts[columns].to_numpy(), 0)
    fewest, most = int(cells.min()), int(cells.max())
    shades = colormaps["Blues"](np.linspace(0.35, 0.95, most - fewest + 1))
    picture = axes.imshow(cells, aspect="auto", cmap=ListedColormap(shades), interpolation="nearest")
    picture.set_clim(fewest - 0.5, most + 0.5)
    axes.set(xlabel="lesions", yticks=range(len(names)), yticklabels=names.values())
    axes.set_yticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", axis="y", color=LINE, linewidth=0.8)
    axes.tick_params(which="both", length=0)
    ticks = np.unique(np.linspace(fewest, most, min(most - fewest + 1, 5)).astype(int))
    figure.colorbar(picture, ax=axes, label="images", ticks=ticks, pad=0.01)
    return figure


def pair_counts(subsets: Sequence[SubsetSize]) -> Figure:
    """Return a plot of positive and negative pairs in each subset, on a logarithmic scale.

    Args:
        subsets: Folds and test subset.

    Returns:
        A figure, with the number of negative pairs per positive pair below each subset.
    """
    figure, axes = one_panel(9, 3.4)
    places = np.arange(len(subsets))
    positive = [subset.n_positive_pairs for subset in subsets]
    negative = [subset.n_pairs - subset.n_positive_pairs for subset in subsets]
    for offset, heights, colour, label in ((-0.2, positive, ACCENT, "positive"), (0.2, negative, WARN, "negative")):
        bars = axes.bar(places + offset, heights, 0.38, color=colour, label=f"{label} pairs")
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, color=SOFT, padding=2)
    ratios = [subset.negatives_per_positive for subset in subsets]
    names = [
        subset.name + ("" if ratio is None else f"\n1 : {ratio:,.0f}")
        for subset, ratio in zip(subsets, ratios, strict=True)
    ]
    axes.set(yscale="log", ylabel="pairs", xticks=places, xticklabels=names)
    axes.margins(y=0.15)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def tabulate_shared_lesions(split: pd.DataFrame) -> pd.DataFrame:
    """Return the number of lesions that any two subsets share.

    Args:
        split: ``image_id, lesion_id, subset, fold``.

    Returns:
        A symmetric table, folds first, then the test subset, with the number of a subset's lesions on the diagonal.
    """
    names = _subset_names(split)
    lesions = [set(split.loc[split["fold"] == fold, "lesion_id"]) for fold in names]
    shared = [[len(one & other) for other in lesions] for one in lesions]
    return pd.DataFrame(shared, index=list(names.values()), columns=list(names.values()))


def _subset_names(split: pd.DataFrame) -> dict[int, str]:
    """Return the names of folds and test subset by fold, the test subset last."""
    folds = sorted(set(split["fold"]), key=lambda fold: (fold == TEST_FOLD, fold))
    return {fold: "test" if fold == TEST_FOLD else f"fold {fold}" for fold in folds}


def choose_by_size(lesion_ids: pd.Series, n_lesions: int) -> list[str]:
    """Return a few lesions, evenly over their numbers of images, most images first.

    Args:
        lesion_ids: Lesion of each image.
        n_lesions: Number of lesions; all, if there are fewer.
    """
    ordered = largest_first(lesion_ids)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(n_lesions, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]


def largest_first(lesion_ids: pd.Series) -> list[str]:
    """Return the lesions with most images first, ties by id.

    Args:
        lesion_ids: Lesion of each image.
    """
    sizes = Counter(lesion_ids.tolist())
    return sorted(sizes, key=lambda lesion: (-sizes[lesion], lesion))
