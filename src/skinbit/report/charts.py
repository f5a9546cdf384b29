"""Charts of a page: axes in percent, paths in a square of 1000 units that the page stretches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from skinbit.matching.methods import METHODS

_SIDE = 1000
"""Units along each side of a chart."""

_WORTH_SHOWING = 0.2
"""The axis covers the cuts at which some fold reaches this share of its best F1."""

_STEPS = (1, 2, 5, 10)

Curve = Mapping[str, Sequence[float]]
"""``cut`` and ``f1`` of a fold, in the order of its curve."""

Column = Sequence[float | None]


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis.

    Attributes:
        at: Position in percent of the axis, 0 to 100.
        text: Its label.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """The range of values along a side of a chart.

    Attributes:
        start: Value at its start.
        end: Value at its end, above ``start``.
        ticks: Ticks in ascending order.
    """

    label: str
    start: float
    end: float
    ticks: tuple[Tick, ...] = ()

    def percent(self, value: float) -> float:
        """Return the position of a value, in percent of the axis, clipped to its ends."""
        return round(100 * min(max((value - self.start) / (self.end - self.start), 0), 1), 2)

    def covers(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.start <= value <= self.end


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Name, such as a fold.
        path: SVG path; empty if nothing is defined.
        best: Position of its maximum ``(x, y)`` in units of the chart; None if it is not marked.
    """

    name: str
    path: str
    best: tuple[int, int] | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over two axes.

    Attributes:
        lines: Lines; the position of a line determines its colour.
        mark: Position of a vertical line on the horizontal axis, in percent; None without one.
    """

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    mark: float | None = None


def make_axis(label: str, start: float, end: float, finest: float = 0) -> Axis:
    """Return an axis with at most six round ticks.

    Args:
        label: Label of the axis.
        start: Value at its start.
        end: Value at its end; an empty range is widened.
        finest: Smallest distance of two ticks: 1 for counts.
    """
    if end <= start:
        start, end = start - 0.5, start + 0.5
    step = _round_step(max((end - start) / 5, finest))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9)
    axis = Axis(label, start, end)
    ticks = tuple(Tick(axis.percent(n * step), f"{n * step:.{decimals}f}") for n in range(first, last + 1))
    return Axis(label, start, end, ticks)


def axis_from_zero(label: str, top: float) -> Axis:
    """Return an axis from 0 to a round value near the top, with the last tick at its end."""
    if top <= 0:
        return make_axis(label, 0, 1)
    step = _round_step(top / 5)
    return make_axis(label, 0, step * math.ceil(top / step - 1e-9))


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def shown_range(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """Return the range of cuts to show.

    Args:
        curves: Curves of all folds.

    Returns:
        Lowest and highest cut at which some fold reaches a fifth of its best F1; None without two such cuts.
    """
    worth: list[float] = []
    for curve in curves:
        least = _WORTH_SHOWING * max(curve["f1"], default=0)
        worth += [cut for cut, f1 in zip(curve["cut"], curve["f1"], strict=True) if f1 >= least]
    return (min(worth), max(worth)) if worth and min(worth) < max(worth) else None


def cut_label(method: str) -> str:
    """Return the name of a method's cut, and whether it is a similarity or a distance."""
    return f"{METHODS[method].word} ({'similarity' if method == 'cosine' else 'distance'})"


def f1_chart(title: str, label: str, curves: Mapping[str, Curve], y: Axis, average: float | None) -> Chart:
    """Return a chart of pairwise F1 over the cut, with one line per fold and its maximum marked.

    Args:
        title: Title of the chart.
        label: Label of the cut.
        curves: Curve of each fold.
        y: Axis of F1.
        average: Mean of the folds' cuts, which is marked; None if undefined.
    """
    x = make_axis(label, *(shown_range(list(curves.values())) or (0, 1)))
    lines = tuple(
        Line(name, _step_path(curve, x, y), _highest(curve["cut"], curve["f1"], x, y)) for name, curve in curves.items()
    )
    return Chart(title, x, y, lines, x.percent(average) if average is not None and x.covers(average) else None)


def line_chart(
    title: str, x: Axis, y: Axis, curves: Mapping[str, tuple[Column, Column]], mark_best: bool = False
) -> Chart:
    """Return a chart whose points are joined by straight lines.

    Args:
        title: Title of the chart.
        x: Horizontal axis.
        y: Vertical axis.
        curves: Positions on both axes by name; undefined values are None and leave a gap.
        mark_best: Whether the maximum of each line is marked; single points are always marked, as they would be
            invisible.
    """
    lines = tuple(
        Line(name, _straight_path(xs, ys, x, y), _highest(xs, ys, x, y) if mark_best or len(xs) == 1 else None)
        for name, (xs, ys) in curves.items()
    )
    return Chart(title, x, y, lines)


def _place(value_x: float, value_y: float, x: Axis, y: Axis) -> tuple[int, int]:
    return round(x.percent(value_x) * _SIDE / 100), _SIDE - round(y.percent(value_y) * _SIDE / 100)


def _step_path(curve: Curve, x: Axis, y: Axis) -> str:
    """Return the path of a curve that is constant between cuts, clipped to the axis."""
    inside = [index for index, cut in enumerate(curve["cut"]) if x.covers(cut)]
    if not inside:
        return ""
    # One further cut on either side, as its value, or its distance, extends into the axis.
    first, last = max(inside[0] - 1, 0), inside[-1] + 2
    places = [_place(cut, f1, x, y) for cut, f1 in zip(curve["cut"][first:last], curve["f1"][first:last], strict=True)]
    is_cut_off = first + len(places) - 1 > inside[-1]
    path = f"M{places[0][0]} {places[0][1]}"
    for number, ((before_x, before_y), (here_x, here_y)) in enumerate(pairwise(places), 2):
        path += f"h{here_x - before_x}" if here_x != before_x else ""
        if here_y != before_y and not (is_cut_off and number == len(places)):
            path += f"v{here_y - before_y}"
    return path


def _straight_path(xs: Column, ys: Column, x: Axis, y: Axis) -> str:
    """Return the path of straight lines between points, with gaps at undefined values."""
    path, is_broken = "", True
    for value_x, value_y in zip(xs, ys, strict=True):
        if value_x is None or value_y is None:
            is_broken = True
            continue
        place = _place(value_x, value_y, x, y)
        path += f"{'M' if is_broken else 'L'}{place[0]} {place[1]}"
        is_broken = False
    return path


def _highest(xs: Column, ys: Column, x: Axis, y: Axis) -> tuple[int, int] | None:
    """Return the position of the first maximum: in a curve the cut with fewest predicted pairs."""
    known = [(at, top) for at, top in zip(xs, ys, strict=True) if at is not None and top is not None]
    return _place(*max(known, key=lambda point: point[1]), x, y) if known else None
