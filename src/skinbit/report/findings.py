"""What a study found, in sentences; a figure that is undefined is never in one."""

from collections.abc import Mapping, Sequence
from typing import Any

from skinbit.report.data_summary import DataSummary, SubsetSize

Figures = Mapping[str, Mapping[str, float | None]]
"""Per metric its value by fold, ``mean``, ``std`` and perhaps ``test``; undefined ones are None."""

Row = Mapping[str, Any]
"""Of the leaderboard; undefined figures are None."""

_NBSP = "\N{NO-BREAK SPACE}"
"""Keeps a figure on one line with what it belongs to."""

_CUTS = {"cosine": "threshold", "dbscan": "eps"}
_NAMES = {"cosine": "Cosine threshold", "dbscan": "DBSCAN eps"}


def spread_text(mean: float, std: float | None) -> str:
    """Write ``mean ± std`` with three decimals, the mean alone without a spread."""
    return f"{mean:.3f}" + ("" if std is None else f"{_NBSP}±{_NBSP}{std:.3f}")


def has_transfer(leaderboard: Sequence[Row]) -> bool:
    """Tell whether cuts could be carried from fold to fold: more than one fold ran."""
    return any(row["cosine_f1_transfer_mean"] is not None for row in leaderboard)


def headline(leaderboard: Sequence[Row]) -> str:
    """Say in one line which experiment is best.

    Args:
        leaderboard: Best first.

    Returns:
        One line of text.
    """
    best = leaderboard[0]
    mean, std = main_figure(best, "cosine", has_transfer(leaderboard))
    if mean is None:
        return "No experiment has a defined F1"
    is_best = "best: pairwise" if len(leaderboard) > 1 else "with pairwise"
    return f"{best['experiment']} recognises images of the same lesion {is_best} F1{_NBSP}{spread_text(mean, std)}"


def findings(leaderboard: Sequence[Row], data: DataSummary, figures: Mapping[str, Figures]) -> tuple[str, ...]:
    """Say what the headline rests on, and what follows from what did not run.

    Args:
        leaderboard: Best first.
        data: Sizes.
        figures: Per experiment.

    Returns:
        Sentences.
    """
    best = leaderboard[0]
    if best["cosine_f1_mean"] is None:
        return ("No fold that ran has a positive pair, or no cut lies in the searched range.",)
    transfers = has_transfer(leaderboard)
    said = [_basis(data, figures[best["experiment"]], transfers), _test(best, data)]
    if transfers and len(leaderboard) > 1:
        said.append(_lead(leaderboard, figures))
    return (*said, _grouping(leaderboard, transfers))


def main_figure(row: Row, method: str, transfers: bool) -> tuple[float | None, float | None]:
    """Give mean and standard deviation of the F1 that counts.

    Args:
        row: Of the leaderboard.
        method: ``cosine`` or ``dbscan``.
        transfers: Cuts were carried from fold to fold: the F1 at the other folds' cut counts, else that at the own.

    Returns:
        Both; None where undefined.
    """
    name = f"{method}_f1_transfer" if transfers else f"{method}_f1"
    return row[f"{name}_mean"], row[f"{name}_std"]


def _size(subset: SubsetSize) -> str:
    return f"{_count(subset.n_images, 'image')} of {_count(subset.n_lesions, 'lesion')}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def folds_of(figures: Figures) -> list[str]:
    """Give the columns of the folds that ran."""
    return [column for column in figures["cosine_f1"] if column.startswith("fold_")]


def _basis(data: DataSummary, figures: Figures, transfers: bool) -> str:
    folds = folds_of(figures)
    if transfers:
        n_defined = sum(figures["cosine_f1_transfer"][fold] is not None for fold in folds)
        counted = f"{len(folds)} folds" if n_defined == len(folds) else f"{n_defined} of {len(folds)} folds"
        return (
            f"That is the mean ± standard deviation over {counted} ({_size(data.validation)}), each judged "
            "at the mean of the other folds' thresholds."
        )
    if len(folds) > 1:
        return f"That is the mean over those of {len(folds)} folds in which F1 is defined, each at its own threshold."
    return (
        f"Only {folds[0].replace('_', ' ')} ran ({_size(data.validation)}), so no other fold could choose the "
        "threshold: this F1 is at the fold's own best one, which is optimistic, and has no spread."
    )


def _test(best: Row, data: DataSummary) -> str:
    if data.test is None:
        return "No lesions were kept for a test: there is no figure on lesions that no choice has seen."
    f1 = best["cosine_f1_test"]
    if f1 is None:
        return (
            f"There are no test figures: {_size(data.test)} are kept for the test, but the final model has not been "
            "judged on them at these cuts (pipeline final_model), or they hold no positive pair."
        )
    return f"On the test subset, {_size(data.test)} that no choice has seen, its final model reaches F1{_NBSP}{f1:.3f}."


def _lead(leaderboard: Sequence[Row], figures: Mapping[str, Figures]) -> str:
    first, second = leaderboard[:2]
    mean, std = main_figure(second, "cosine", transfers=True)
    if mean is None:
        return "No other experiment has a defined F1."
    ours, theirs = (figures[row["experiment"]]["cosine_f1_transfer"] for row in (first, second))
    both = [(ours[fold], theirs[fold]) for fold in folds_of(figures[first["experiment"]])]
    n_ahead = sum(our is not None and their is not None and our > their for our, their in both)
    return (
        f"The second, {second['experiment']}, has {spread_text(mean, std)}; the first is ahead of it in "
        f"{n_ahead} of {len(both)} folds."
    )


def _grouping(leaderboard: Sequence[Row], transfers: bool) -> str:
    figures = {
        row["experiment"]: (*main_figure(row, "dbscan", transfers), row["dbscan_f1_test"]) for row in leaderboard
    }
    defined = {name: (mean, std, test) for name, (mean, std, test) in figures.items() if mean is not None}
    if not defined:
        return "Grouped by DBSCAN, no F1 is defined."
    best = max(defined, key=lambda name: defined[name][0])
    mean, std, test = defined[best]
    at = "the mean of the other folds' eps" if transfers else "a fold's own eps"
    on_test = "" if test is None else f", test {test:.3f}"
    return f"Grouped by DBSCAN at {at}, the best is {best}: F1{_NBSP}{spread_text(mean, std)}{on_test}."


def transfer_costs(figures: Figures) -> tuple[str, ...]:
    """Say what F1 is lost by carrying the cuts over.

    Args:
        figures: Of an experiment.

    Returns:
        A sentence per method; none where nothing was carried over.
    """
    said = []
    for method, cut in _CUTS.items():
        folds, test = figures[f"{method}_f1"]["mean"], figures.get(f"{method}_f1_oracle", {}).get("test")
        carried = figures[f"{method}_f1_transfer"]["mean"]
        tested = figures[f"{method}_f1"].get("test")
        parts = []
        if folds is not None and carried is not None:
            parts.append(f"carried over from the other folds it costs {_cost(folds, carried)}")
        if test is not None and tested is not None:
            parts.append(f"on the test subset the mean of the folds' {cut} costs {_cost(test, tested)}")
        if parts:
            said.append(f"{_NAMES[method]}: {'; '.join(parts)}.")
    return tuple(said)


def _cost(own: float, carried: float) -> str:
    # Of rounded figures, so that a reader who subtracts finds the same.
    lost = round(own, 3) - round(carried, 3)
    return f"{f'{lost:.3f} of' if lost > 0 else 'no'} F1 ({own:.3f}{_NBSP}→{_NBSP}{carried:.3f})"
