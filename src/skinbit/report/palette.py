"""Colours of figures, those of the pages' light scheme, and what all axes have in common."""

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
"""Colours that tell a few lesions apart."""


def tidy(axes: "Axes") -> None:
    """Leave out what carries nothing: two sides of the frame, and marks that a thin grid makes needless."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=SOFT)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def one_panel(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return a figure, in inches, and its only axes, which are tidy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes
