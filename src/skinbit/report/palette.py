"""Colours of figures, those of the pages' light scheme, and the common style of axes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1d2530"
SOFT = "#5b6673"
LINE = "#dcdfe3"
ACCENT = "#0b5cad"
GOOD = "#1a7346"
WARN = "#a05a00"
BAD = "#b3261e"
SOME = "#e6b655"

LESIONS = ("#0b5cad", "#d1495b", "#1a7346", "#e08e0b", "#7b4fa3", "#00838f", "#8d5524", "#c2417c")
"""Colours of a few lesions."""


def tidy(axes: "Axes") -> None:
    """Remove needless parts of axes: two sides of the frame, and tick marks on a grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=SOFT)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def one_panel(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return a figure, in inches, with a single tidy panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes
