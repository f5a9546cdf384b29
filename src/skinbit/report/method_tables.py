"""The tables of the report that compare methods: in the leaderboard, for an experiment, and by stratum."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from skinbit.matching.methods import CUTS, METHODS, Method
from skinbit.matching.scoring.score import GROUP_METRICS
from skinbit.matching.scoring.strata import STRATIFIED
from skinbit.report.findings import Metrics, Row, main_f1

Ends = tuple[float | None, float | None]
"""Ends of an interval, lower end first; both None if there is no interval."""

UNKNOWN: Ends = (None, None)


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval.

    Attributes:
        value: Value; None if undefined.
        interval: Ends of its 95 % interval.
        is_best: Whether no other method has a higher value.
    """

    value: float | None
    interval: Ends = UNKNOWN
    is_best: bool = False


@dataclass(frozen=True)
class Gap:
    """The gap between an experiment and the first one.

    Attributes:
        value: The first one's F1 minus its own; None if undefined.
        interval: Ends of the difference's 95 % interval.
        is_certain: Whether the interval excludes 0.
    """

    value: float | None
    interval: Ends
    is_certain: bool


@dataclass(frozen=True)
class MethodRow:
    """A method in the section of one experiment.

    Attributes:
        cut: Mean of the folds' own cuts; None if undefined, or if the method needs none.
        test_cut: Cut for the test subset; None if undefined, or if the method needs none.
        f1: The main F1, see :func:`skinbit.report.findings.main_f1`.
        test: F1 on the test subset.
        groups: :data:`skinbit.matching.scoring.score.GROUP_METRICS`, means over folds; empty if the method makes no
            groups.
    """

    method: Method
    cut: float | None
    test_cut: float | None
    f1: Estimate
    test: Estimate
    groups: tuple[float | None, ...]


@dataclass(frozen=True)
class StratumRow:
    """The lesions of one site, diagnosis or other stratum.

    Attributes:
        n_lesions: Number of lesions in all folds that ran.
        n_positive_pairs: Number of positive pairs of these lesions.
        f1: F1 by method of :data:`skinbit.matching.scoring.strata.STRATIFIED`.
    """

    name: str
    n_lesions: int
    n_positive_pairs: int
    f1: tuple[Estimate, ...]


def compare_methods(row: Row, transfers: bool, is_resampled: bool) -> tuple[tuple[Estimate, Estimate], ...]:
    """Return the main F1 and the test F1 by method.

    Args:
        row: Row of the leaderboard.
        transfers: Whether cuts were transferred between folds.
        is_resampled: Whether the main F1 has an interval.
    """
    ends: dict[str, Ends] = {}
    if is_resampled:
        ends = {method: (row[f"{method}_f1_transfer_low"], row[f"{method}_f1_transfer_high"]) for method in METHODS}
    means = _estimates({method: main_f1(row, method, transfers)[0] for method in METHODS}, ends)
    tests = _estimates({method: row[f"{method}_f1_test"] for method in METHODS}, {})
    return tuple(zip(means.values(), tests.values(), strict=True))


def _estimates(values: Mapping[str, float | None], ends: Mapping[str, Ends]) -> dict[str, Estimate]:
    highest = max((value for value in values.values() if value is not None), default=None)
    return {
        method: Estimate(None) if value is None else Estimate(value, ends.get(method, UNKNOWN), value == highest)
        for method, value in values.items()
    }


def gap_to_first(row: Row, is_resampled: bool) -> Gap | None:
    """Return the gap between an experiment and the first one; None for the first one.

    Args:
        row: Row of the leaderboard.
        is_resampled: Whether the main F1 has an interval.
    """
    if row["rank"] == 1:
        return None
    low, high = (row["behind_first_low"], row["behind_first_high"]) if is_resampled else UNKNOWN
    return Gap(row["behind_first"], (low, high), is_certain=low is not None and low > 0)


def method_rows(metrics: Metrics, compared: Sequence[tuple[Estimate, Estimate]]) -> tuple[MethodRow, ...]:
    """Return cuts, F1 and group metrics of every method for one experiment.

    Args:
        metrics: Metrics of the experiment.
        compared: From :func:`compare_methods`.
    """
    rows = []
    for (name, method), (f1, test) in zip(METHODS.items(), compared, strict=True):
        cut = metrics[CUTS[name]] if name in CUTS else {}
        low, high = (metrics[f"{name}_f1_transfer_{end}"].get("test") for end in ("low", "high"))
        groups = tuple(metrics[f"{name}_{metric}"]["mean"] for metric in GROUP_METRICS) if method.is_group else ()
        on_test = Estimate(test.value, (low, high) if test.value is not None else UNKNOWN, test.is_best)
        rows.append(MethodRow(method, cut.get("mean"), cut.get("test"), f1, on_test, groups))
    return tuple(rows)


def stratum_tables(strata: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[StratumRow, ...]]]:
    """Yield each metadata column and its strata, most lesions first.

    Args:
        strata: Rows of ``strata.csv``; undefined metrics are None.
    """
    for column, rows in groupby(strata, key=lambda row: row["column"]):
        by_stratum: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in rows:
            by_stratum.setdefault(row["stratum"], {})[row["method"]] = row
        found = [_stratum_row(name, by_method) for name, by_method in by_stratum.items()]
        yield column, tuple(sorted(found, key=lambda row: (-row.n_lesions, row.name)))


def _stratum_row(name: str, by_method: Mapping[str, Mapping[str, Any]]) -> StratumRow:
    size = next(iter(by_method.values()))
    f1 = tuple(_estimate_of(by_method.get(method)) for method in STRATIFIED)
    return StratumRow(name, size["n_lesions"], size["n_positive_pairs"], f1)


def _estimate_of(row: Mapping[str, Any] | None) -> Estimate:
    return Estimate(None) if row is None else Estimate(row["f1"], (row["low"], row["high"]))
