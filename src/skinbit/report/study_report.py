"""The report of a study: leaderboard, data, and for each experiment its metrics, curves, groups and settings."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skinbit.config import MEMBERS
from skinbit.matching.methods import METHODS, PAGED, Method
from skinbit.matching.scoring.strata import STRATIFIED
from skinbit.report.charts import Axis, Chart, axis_from_zero
from skinbit.report.data_summary import DataSummary, images_per_lesion, summarise_data
from skinbit.report.experiment_charts import (
    RULES,
    f1_axis,
    f1_charts,
    pool_charts,
    reliability_chart,
    training_charts,
)
from skinbit.report.findings import (
    Row,
    findings,
    fold_name,
    folds_of,
    has_transfer,
    headline,
    main_f1,
    rows_of,
    spread_text,
    transfer_costs,
)
from skinbit.report.method_tables import (
    Estimate,
    Gap,
    MethodRow,
    StratumRow,
    compare_methods,
    gap_to_first,
    method_rows,
    stratum_tables,
)
from skinbit.report.metric_tables import Topic, topics

Summary = Mapping[str, Any]
"""Summary of an experiment: settings, metrics, strata, pools, resampled F1, thinned curves, group sizes, histories."""

_BOARD = tuple(f"{method}_{column}" for method in PAGED for column in ("f1_mean", "f1_transfer_mean", "f1_test"))
"""Columns of the leaderboard that the page shows."""

_SIZES = (("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("4", 4, 4), ("5 to 9", 5, 9), ("10 and more", 10, None))
"""Classes of group sizes: label, smallest, largest."""


@dataclass(frozen=True)
class Cell:
    """A metric in the leaderboard.

    Attributes:
        mean: Mean over folds, or the test metric; None if undefined.
        std: Standard deviation over folds; None if undefined, and for a test metric.
        is_best: Whether no other experiment has a higher mean.
    """

    mean: float | None
    std: float | None
    is_best: bool


@dataclass(frozen=True)
class Interval:
    """Mean ± standard deviation on an axis, in percent of it.

    Attributes:
        method: ``cosine`` or ``dbscan``.
        low: Position of mean - std.
        mean: Position of the mean.
        high: Position of mean + std.
        test: Position of the test F1; None if undefined.
        text: Both F1 in words.
    """

    method: str
    low: float
    mean: float
    high: float
    test: float | None
    text: str


@dataclass(frozen=True)
class BoardRow:
    """An experiment in the leaderboard.

    Attributes:
        rank: Rank, from 1.
        cells: F1 by cosine and DBSCAN at a fold's own cut, at the other folds' cut, and on the test subset.
        intervals: Intervals of these methods, if F1 is defined.
        gap: Gap to the first experiment; None for the first.
        methods: Main F1 and test F1 of every method.
    """

    rank: int
    experiment: str
    backbone: str
    loss: str
    cells: tuple[Cell, ...]
    intervals: tuple[Interval, ...]
    gap: Gap | None
    methods: tuple[tuple[Estimate, Estimate], ...]


@dataclass(frozen=True)
class SizeRow:
    """Numbers of groups, or lesions, by their number of images.

    Attributes:
        counts: Number in each size class.
        total: Number in all classes.
        largest: Largest number of images in one.
    """

    label: str
    counts: tuple[int, ...]
    total: int
    largest: int


@dataclass(frozen=True)
class ExperimentReport:
    """The section of an experiment.

    Attributes:
        folds: Names of the folds that ran.
        costs: Sentences about the cost of transferring cuts.
        methods: All methods side by side.
        rho: Images of the test subset / mean of the folds' images, if cuts are corrected for its size; None without a
            test.
        strata: F1 by stratum for every metadata column in ``evaluation.strata``.
        metrics: Metrics by topic.
        more_metrics: Metrics of methods that are not in the leaderboard.
        columns: Metadata columns with the bits that a pair gains if it agrees and loses if it differs.
        reliability: Share of positive pairs over their probability, if similarities are calibrated.
        charts: F1 over every cut; for trained experiments also loss and F1 over epochs.
        pools: F1 over pool size.
        sizes: Group sizes of every fold and of all, and the sizes of all lesions.
        pair_pages: Titles and relative addresses of pages.
        settings: Dotted names and values as text, by block.
    """

    row: BoardRow
    folds: tuple[str, ...]
    has_test: bool
    costs: tuple[str, ...]
    methods: tuple[MethodRow, ...]
    rho: float | None
    strata: tuple[tuple[str, tuple[StratumRow, ...]], ...]
    metrics: tuple[Topic, ...]
    more_metrics: tuple[Topic, ...]
    columns: tuple[tuple[str, float, float], ...]
    reliability: tuple[Chart, ...]
    charts: tuple[Chart, ...]
    pools: tuple[Chart, ...]
    sizes: tuple[SizeRow, ...]
    pair_pages: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class StudyReport:
    """The content of the page.

    Attributes:
        headline: The result in one line.
        findings: Sentences about its basis.
        has_transfer: Whether cuts were transferred between folds.
        has_test: Whether there is a test subset.
        has_intervals: Whether the main F1 was resampled, as one fold ran or cuts were transferred.
        stratified: Titles of the methods with F1 by stratum.
        rules: How the cut of a pool is selected, in the order of the lines.
        board: Leaderboard, best first.
        axis: Axis of the leaderboard's intervals.
        sizes: Labels of the classes of group sizes.
        experiments: Experiments, best first.
    """

    headline: str
    findings: tuple[str, ...]
    has_transfer: bool
    has_test: bool
    has_intervals: bool
    methods: tuple[Method, ...]
    stratified: tuple[str, ...]
    rules: tuple[str, ...]
    board: tuple[BoardRow, ...]
    axis: Axis
    data: DataSummary
    sizes: tuple[str, ...]
    experiments: tuple[ExperimentReport, ...]


def prepare_report(
    leaderboard: pd.DataFrame,
    split: pd.DataFrame,
    rejected: pd.DataFrame,
    summaries: Mapping[str, Summary],
    folds: Sequence[int],
) -> StudyReport:
    """Return everything that the page shows.

    Args:
        leaderboard: Best first.
        split: ``image_id, lesion_id, subset, fold``.
        rejected: ``image_id, lesion_id, reason``.
        summaries: Summary of each experiment in the leaderboard.
        folds: Numbers of the folds that ran.

    Returns:
        The report; equal arguments give an equal one.
    """
    data = summarise_data(split, rejected, folds)
    metrics = {name: summary["figures"] for name, summary in summaries.items()}
    rows = rows_of(leaderboard)
    transfers = has_transfer(rows)
    is_resampled = transfers or len(folds) == 1
    axis = _interval_axis(rows, transfers)
    board = tuple(_board(rows, transfers, is_resampled, axis))
    y, lesion_ids = f1_axis(list(summaries.values())), split.loc[split["fold"].isin(folds), "lesion_id"]
    lesions = _size_row("lesions of these folds", dict(images_per_lesion(lesion_ids)))
    ruled = {pool["rule"] for summary in summaries.values() for pool in summary["pools"]}
    resampled = {name: summary["resampled_f1"] for name, summary in summaries.items() if is_resampled}
    return StudyReport(
        headline=headline(rows),
        findings=findings(rows, data, metrics, resampled),
        has_transfer=transfers,
        has_test=data.test is not None,
        has_intervals=is_resampled,
        methods=tuple(METHODS.values()),
        stratified=tuple(METHODS[method].title for method in STRATIFIED),
        rules=tuple(words for rule, words in RULES.items() if rule in ruled),
        board=board,
        axis=axis,
        data=data,
        sizes=tuple(label for label, _, _ in _SIZES),
        experiments=tuple(_experiment(row, summaries[row.experiment], lesions, y) for row in board),
    )


def _interval_axis(leaderboard: Sequence[Row], transfers: bool) -> Axis:
    ends = [0.0]
    for row in leaderboard:
        for method in PAGED:
            mean, std = main_f1(row, method, transfers)
            ends += [(mean or 0) + (std or 0), row[f"{method}_f1_test"] or 0]
    return axis_from_zero("pairwise F1", min(max(ends), 1))


def _board(leaderboard: Sequence[Row], transfers: bool, is_resampled: bool, axis: Axis) -> Iterator[BoardRow]:
    highest = {
        column: max((row[column] for row in leaderboard if row[column] is not None), default=None) for column in _BOARD
    }
    for row in leaderboard:
        intervals = (_interval(row, method, transfers, axis) for method in PAGED)
        yield BoardRow(
            rank=row["rank"],
            experiment=row["experiment"],
            backbone=row["backbone"],
            loss=row["loss"],
            cells=tuple(_cell(row, column, best) for column, best in highest.items()),
            intervals=tuple(interval for interval in intervals if interval is not None),
            gap=gap_to_first(row, is_resampled),
            methods=compare_methods(row, transfers, is_resampled),
        )


def _cell(row: Row, column: str, highest: float | None) -> Cell:
    std = row[column.replace("_mean", "_std")] if column.endswith("_mean") else None
    return Cell(row[column], std, is_best=highest is not None and row[column] == highest)


def _interval(row: Row, method: str, transfers: bool, axis: Axis) -> Interval | None:
    (mean, std), test = main_f1(row, method, transfers), row[f"{method}_f1_test"]
    if mean is None:
        return None
    spread = std or 0
    on_test = "" if test is None else f", test {test:.3f}"
    return Interval(
        method=method,
        low=axis.percent(mean - spread),
        mean=axis.percent(mean),
        high=axis.percent(mean + spread),
        test=None if test is None else axis.percent(test),
        text=f"{row['experiment']}, {method}: {spread_text(mean, std)}{on_test}",
    )


def _experiment(row: BoardRow, summary: Summary, lesions: SizeRow, y: Axis) -> ExperimentReport:
    metrics = summary["figures"]
    has_test = "test" in metrics["cosine_f1"]
    shown, more = topics(metrics, has_test)
    return ExperimentReport(
        row=row,
        folds=tuple(map(fold_name, folds_of(metrics))),
        has_test=has_test,
        costs=transfer_costs(metrics),
        methods=method_rows(metrics, row.methods),
        rho=metrics.get("rho", {}).get("test"),
        strata=tuple(stratum_tables(summary["strata"])),
        metrics=shown,
        more_metrics=more,
        columns=tuple((column, gained, lost) for column, gained, lost in summary["columns"]),
        reliability=tuple(reliability_chart(summary["reliability"])),
        charts=(*f1_charts(summary, y), *training_charts(summary["histories"], y)),
        pools=tuple(pool_charts(summary["pools"])),
        sizes=(*_group_sizes(summary["groups_by_size"]), lesions),
        pair_pages=_pair_pages(row.experiment) if has_test else (),
        settings=tuple((block, tuple(_flatten(values))) for block, values in _blocks(summary["settings"])),
    )


def _group_sizes(by_fold: Mapping[str, Mapping[str, int]]) -> Iterator[SizeRow]:
    counts = {fold_name(fold): Counter({int(size): n for size, n in sizes.items()}) for fold, sizes in by_fold.items()}
    if len(counts) > 1:
        counts["all folds"] = sum(counts.values(), Counter())
    for label, sizes in counts.items():
        yield _size_row(label, sizes)


def _size_row(label: str, sizes: Mapping[int, int]) -> SizeRow:
    return SizeRow(
        label=label,
        counts=tuple(
            sum(n for size, n in sizes.items() if size >= least and (most is None or size <= most))
            for _, least, most in _SIZES
        ),
        total=sum(sizes.values()),
        largest=max(sizes, default=0),
    )


def _pair_pages(experiment: str) -> tuple[tuple[str, str], ...]:
    titles = {"cosine": "at the threshold", "dbscan": "by DBSCAN"}
    return tuple((titles[method], f"{experiment}/misclassifications_{method}.html") for method in PAGED)


def _blocks(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the blocks of the settings, then those of members; values without a block form one of their own."""
    yield "study", {name: value for name, value in sorted(settings.items()) if not isinstance(value, Mapping)}
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping) and name != MEMBERS:
            yield name, value
    for member, blocks in settings.get(MEMBERS, {}).items():
        yield from ((f"{member}: {block}", values) for block, values in sorted(blocks.items()))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value with its dotted name, as ``--params`` takes it."""
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
