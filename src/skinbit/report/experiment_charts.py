"""The charts of an experiment on its page, as SVG: F1 over the cut, training, and pool size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.scoring.pools import DISTRACTORS, LESIONS
from skinbit.report.charts import Axis, Chart, Column, axis_from_zero, cut_label, f1_chart, line_chart, make_axis
from skinbit.report.findings import Row, fold_name

RULES = {
    "own": "the pool's own best cut",
    "corrected": "chosen for a pool of this size",
    "fixed": "the mean of the folds' cuts, uncorrected",
    "informed": "chosen for its size and its share of singleton lesions",
}
"""The selection of a pool's cut, in words."""

_FEWEST_PAIRS = 10
"""Smallest number of pairs in a range of probability that is drawn, as the share of fewer pairs is unreliable."""

_POOLS = {LESIONS: "fewer lesions", DISTRACTORS: "with singleton lesions as distractors"}


def f1_axis(summaries: Sequence[Mapping[str, Any]]) -> Axis:
    """Return an axis for the F1 curves of all experiments."""
    curves = [curve for summary in summaries for methods in summary["curves"].values() for curve in methods.values()]
    return axis_from_zero("pairwise F1", float(max((f1 for curve in curves for f1 in curve["f1"]), default=0)))


def f1_charts(summary: Mapping[str, Any], y: Axis) -> Iterator[Chart]:
    """Yield F1 over the cut for every method with a cut, one line per fold, with the mean of their cuts marked."""
    for method, cut in CUTS.items():
        curves = {fold_name(fold): methods[method] for fold, methods in summary["curves"].items()}
        average = summary["figures"][cut]["mean"] if len(curves) > 1 else None
        yield f1_chart(f"{METHODS[method].title}: F1", cut_label(method), curves, y, average)


def training_charts(histories: Mapping[str, Mapping[str, Column]], f1: Axis) -> Iterator[Chart]:
    """Yield loss and F1 over epochs, one line per fold; nothing without training."""
    if not histories:
        return
    last = max((epoch or 1 for history in histories.values() for epoch in history["epoch"]), default=1)
    highest = max((loss or 0 for history in histories.values() for loss in history["loss"]), default=0)
    x, loss_axis = make_axis("epoch", 1, last, finest=1), axis_from_zero("training loss", highest)
    losses, f1s = (
        {fold_name(fold): (history["epoch"], history[column]) for fold, history in histories.items()}
        for column in ("loss", "f1")
    )
    yield line_chart("Training loss", x, loss_axis, losses)
    yield line_chart("F1 of the validation lesions, plain views", x, f1, f1s, mark_best=True)


def reliability_chart(ranges: Sequence[Row]) -> Iterator[Chart]:
    """Yield the share of positive pairs over their probability; nothing without calibration."""
    filled = [row for row in ranges if row["n_pairs"] >= _FEWEST_PAIRS]
    if not filled:
        return
    expected, found = ([row[name] / row["n_pairs"] for row in filled] for name in ("expected", "found"))
    x, y = make_axis("probability", 0, 1), make_axis("share that are positive", 0, 1)
    yield line_chart("Near pairs of unseen folds", x, y, {"found": (expected, found), "right": ([0, 1], [0, 1])})


def pool_charts(rows: Sequence[Row]) -> Iterator[Chart]:
    """Yield F1 over the pool size for every kind of pool and method, one line per rule that selects the cut."""
    y = axis_from_zero("pairwise F1", max((row["f1"] or 0 for row in rows), default=0))
    rules = {rule: words for rule, words in RULES.items() if any(row["rule"] == rule for row in rows)}
    for pool, method in dict.fromkeys((row["pool"], row["method"]) for row in rows):
        chosen = [row for row in rows if (row["pool"], row["method"]) == (pool, method)]
        sizes = [row["n_images"] for row in chosen if row["n_images"] is not None]
        x = make_axis("images in the pool", min(sizes, default=0), max(sizes, default=1), finest=1)
        curves: dict[str, tuple[Column, Column]] = {}
        for rule, words in rules.items():
            ruled = [row for row in chosen if row["rule"] == rule]
            curves[words] = [row["n_images"] for row in ruled], [row["f1"] for row in ruled]
        yield line_chart(f"{METHODS[method].title}, {_POOLS[pool]}", x, y, curves)
