"""The results of a study in sentences, without undefined metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skinbit.config import ClusterParams
from skinbit.matching.methods import METHODS, PAGED
from skinbit.matching.scoring.uncertainty import interval
from skinbit.report.data_summary import DataSummary, SubsetSize

Metrics = Mapping[str, Mapping[str, float | None]]
"""Value per fold, ``mean``, ``std`` and possibly ``test`` by metric; undefined ones are None."""

Row = Mapping[str, Any]
"""A row of the leaderboard; undefined metrics are None."""

_NBSP = "\N{NO-BREAK SPACE}"
"""Keeps a number on the same line as its unit or name."""

Resampled = Mapping[str, Sequence[float | None]]
"""F1 for resampled lesions by method; undefined ones are None."""


def spread_text(mean: float, std: float | None) -> str:
    """Return ``mean ± std`` with three decimals, or only the mean without a spread."""
    return f"{mean:.3f}" + ("" if std is None else f"{_NBSP}±{_NBSP}{std:.3f}")


def has_transfer(leaderboard: Sequence[Row]) -> bool:
    """Whether cuts could be transferred between folds, as more than one fold ran."""
    return any(row["cosine_f1_transfer_mean"] is not None for row in leaderboard)


@dataclass(frozen=True)
class BestGrouping:
    """The experiment and the method whose groups have the highest F1.

    Attributes:
        row: The experiment's row of the leaderboard.
        method: One of :data:`skinbit.matching.methods.METHODS`.
        mean: F1 over the folds, as :func:`main_f1` returns it.
        std: Standard deviation over the folds; None where undefined.
    """

    row: Row
    method: str
    mean: float
    std: float | None

    @property
    def experiment(self) -> str:
        """Return the name of the experiment."""
        name: str = self.row["experiment"]
        return name

    @property
    def test_f1(self) -> float | None:
        """Return F1 of the same method on the test subset; None if there is none."""
        f1: float | None = self.row[f"{self.method}_f1_test"]
        return f1


def rows_of(leaderboard: pd.DataFrame) -> list[Row]:
    """Return the rows of a leaderboard with None instead of NaN."""
    plain = leaderboard.astype(object).where(leaderboard.notna(), None)
    return [{str(column): value for column, value in row.items()} for row in plain.to_dict(orient="records")]


def best_grouping(leaderboard: Sequence[Row], transfers: bool) -> BestGrouping | None:
    """Return the best way to group images; of equals the experiment that ranks higher, with the default method.

    A threshold predicts pairs that need not form groups, so it only counts if no grouping method has a defined F1.

    Args:
        leaderboard: Best first.
        transfers: Whether cuts were transferred between folds.

    Returns:
        The experiment and the method; None if no F1 is defined.
    """
    found = [
        BestGrouping(row, method, mean, std)
        for row in leaderboard
        for method in METHODS
        for mean, std in [main_f1(row, method, transfers)]
        if mean is not None
    ]
    groups = [best for best in found if METHODS[best.method].is_group]
    return max(groups or found, key=lambda best: (best.mean, _preference(best, leaderboard)), default=None)


def _preference(best: BestGrouping, leaderboard: Sequence[Row]) -> tuple[int, bool]:
    return -leaderboard.index(best.row), best.method == ClusterParams().method


def headline(leaderboard: Sequence[Row]) -> str:
    """Return one line about the best way to group images.

    Args:
        leaderboard: Best first.
    """
    best = best_grouping(leaderboard, has_transfer(leaderboard))
    if best is None:
        return "No experiment has a defined F1"
    superlative = "best: pairwise" if len(leaderboard) > 1 else "with pairwise"
    return (
        f"{best.experiment} with {spoken(best.method)} finds images of the same lesion {superlative} "
        f"F1{_NBSP}{spread_text(best.mean, best.std)}"
    )


def findings(
    leaderboard: Sequence[Row], data: DataSummary, metrics: Mapping[str, Metrics], resampled: Mapping[str, Resampled]
) -> tuple[str, ...]:
    """Return sentences about the basis of the headline, and about what is unknown because it did not run.

    Args:
        leaderboard: Best first.
        data: Sizes of the subsets.
        metrics: Metrics by experiment.
        resampled: F1 for resampled lesions by experiment.
    """
    transfers = has_transfer(leaderboard)
    best = best_grouping(leaderboard, transfers)
    if best is None:
        return ("No fold that ran has a positive pair, or no cut lies in the searched range.",)
    said = [_basis(data, metrics[best.experiment], best.method, transfers), _test(best, data)]
    said.append(_best_method(best, transfers, resampled.get(best.experiment, {})))
    if transfers and len(leaderboard) > 1:
        said.append(_lead(leaderboard, metrics))
    return tuple(said)


def main_f1(row: Row, method: str, transfers: bool) -> tuple[float | None, float | None]:
    """Return mean and standard deviation of the main F1, None if undefined.

    Args:
        row: Row of the leaderboard.
        method: One of :data:`skinbit.matching.methods.METHODS`.
        transfers: Whether cuts were transferred between folds: then F1 at the other folds' cut, otherwise at the own.
    """
    name = f"{method}_f1_transfer" if transfers else f"{method}_f1"
    return row[f"{name}_mean"], row[f"{name}_std"]


def _size(subset: SubsetSize) -> str:
    return f"{_count(subset.n_images, 'image')} of {_count(subset.n_lesions, 'lesion')}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def folds_of(metrics: Metrics) -> list[str]:
    """Return the columns of the folds that ran."""
    return [column for column in metrics["cosine_f1"] if column.startswith("fold_")]


def fold_name(column: str) -> str:
    """Return the name of a fold for a reader: ``fold 0`` for ``fold_0``."""
    return column.replace("_", " ")


def _basis(data: DataSummary, metrics: Metrics, method: str, transfers: bool) -> str:
    folds, cut = folds_of(metrics), METHODS[method].word
    if transfers:
        n_defined = sum(metrics[f"{method}_f1_transfer"][fold] is not None for fold in folds)
        counted = f"{len(folds)} folds" if n_defined == len(folds) else f"{n_defined} of {len(folds)} folds"
        at_cut = f", each evaluated at the mean {cut} of the other folds" if cut else ""
        return f"That is the mean ± standard deviation over {counted} ({_size(data.validation)}){at_cut}."
    if len(folds) > 1:
        at_cut = f", each at its own {cut}" if cut else ""
        return f"That is the mean over those of {len(folds)} folds in which F1 is defined{at_cut}."
    only = f"Only {fold_name(folds[0])} ran ({_size(data.validation)})"
    if not cut:
        return f"{only}, so this F1 has no spread."
    return (
        f"{only}, so no other fold could select the {cut}: this F1 is at the fold's own best {cut}, which is "
        "optimistic, and has no spread."
    )


def _test(best: BestGrouping, data: DataSummary) -> str:
    if data.test is None:
        return "There is no test subset, so there is no F1 on lesions that were not used for any selection."
    f1 = best.test_f1
    if f1 is None:
        return (
            f"There is no F1 on the test subset: {_size(data.test)} are kept for it, but the final model has not been "
            "evaluated on them at these cuts (pipeline final_model), or they hold no positive pair."
        )
    return f"On the test subset, {_size(data.test)} unused for selection, its final model reaches F1{_NBSP}{f1:.3f}."


def _lead(leaderboard: Sequence[Row], metrics: Mapping[str, Metrics]) -> str:
    first, second = leaderboard[:2]
    (best, best_std), (mean, std) = (main_f1(row, "cosine", transfers=True) for row in (first, second))
    if best is None or mean is None:
        return "By the cosine threshold, no other experiment has a defined F1."
    ours, theirs = (metrics[row["experiment"]]["cosine_f1_transfer"] for row in (first, second))
    both = [(ours[fold], theirs[fold]) for fold in folds_of(metrics[first["experiment"]])]
    n_ahead = sum(our is not None and their is not None and our > their for our, their in both)
    return (
        f"The leaderboard is ordered by the F1 of the cosine threshold: {first['experiment']} has "
        f"{spread_text(best, best_std)}, {second['experiment']} {spread_text(mean, std)}; "
        f"the first is ahead in {n_ahead} of {len(both)} folds. {_certainty(second)}"
    )


def _certainty(second: Row) -> str:
    lead, low, high = (second[name] for name in ("behind_first", "behind_first_low", "behind_first_high"))
    if low is None:
        return f"The certainty of this lead of {lead:.3f} is unknown."
    sure = "is certain" if low > 0 else "is not certain"
    return f"This lead of {lead:.3f} {sure}: with other lesions it might be {range_text(low, high)}."


def range_text(low: float, high: float) -> str:
    """Return the ends of an interval with three decimals."""
    return f"{low:.3f}{_NBSP}to{_NBSP}{high:.3f}".replace("-", "\N{MINUS SIGN}")


def _best_method(best: BestGrouping, transfers: bool, resampled: Resampled) -> str:
    """Compare methods within an experiment; they are resampled on the same lesions, so differences are paired."""
    f1 = {method: mean for method in METHODS if (mean := main_f1(best.row, method, transfers)[0]) is not None}
    others = sorted(f1.keys() - {best.method}, key=lambda method: (-f1[method], list(METHODS).index(method)))
    if not others:
        return f"Only {spoken(best.method)} has a defined F1."
    lead = round(best.mean, 3) - round(f1[others[0]], 3)
    compared = f"{abs(lead):.3f} {'above' if lead > 0 else 'below'}" if lead else "no better than"
    name = spoken(best.method)
    said = f"{name[0].upper()}{name[1:]} is {compared} {spoken(others[0])}, the best of the other methods"
    ours, theirs = (np.array(resampled.get(method, ()), dtype=np.float64) for method in (best.method, others[0]))
    low, high = interval(ours - theirs)
    if np.isnan(low) or not lead:
        return f"{said}."
    return f"{said}; this {'is certain' if low > 0 or high < 0 else 'is not certain'} ({range_text(low, high)})."


def spoken(method: str) -> str:
    """Return the name of a method within a sentence."""
    title = METHODS[method].title
    return title if title.isupper() else f"{'' if METHODS[method].is_group else 'the '}{title.lower()}"


def transfer_costs(metrics: Metrics) -> tuple[str, ...]:
    """Return a sentence per method about the F1 that is lost by transferring its cut; empty if none was transferred.

    Args:
        metrics: Metrics of an experiment.
    """
    said = []
    for method in PAGED:
        cut = METHODS[method].word
        folds, test = metrics[f"{method}_f1"]["mean"], metrics.get(f"{method}_f1_oracle", {}).get("test")
        carried = metrics[f"{method}_f1_transfer"]["mean"]
        tested = metrics[f"{method}_f1"].get("test")
        parts = []
        if folds is not None and carried is not None:
            parts.append(f"transferred from the other folds it costs {_cost(folds, carried)}")
        if test is not None and tested is not None:
            parts.append(f"on the test subset the {cut} that the folds choose costs {_cost(test, tested)}")
        if parts:
            said.append(f"{METHODS[method].title}: {'; '.join(parts)}.")
    return tuple(said)


def _cost(own: float, carried: float) -> str:
    # From rounded numbers, so that readers who subtract get the same.
    lost = round(own, 3) - round(carried, 3)
    return f"{f'{lost:.3f} of' if lost > 0 else 'no'} F1 ({own:.3f}{_NBSP}→{_NBSP}{carried:.3f})"
