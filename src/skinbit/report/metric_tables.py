"""The table of all metrics of an experiment, fold by fold, with their names in plain words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skinbit.matching.methods import CUTS, METHODS, PAGED
from skinbit.report.findings import Metrics, folds_of
from skinbit.report.method_tables import Ends

_F1, _CUT, _COUNT, _RATIO = 3, 4, 0, 2
"""Decimals of shares, cuts, counts and ratios of counts."""

_GROUPS = (
    ("bcubed_f1", "BCubed F1", _F1),
    ("ari", "adjusted Rand index", _F1),
    ("ami", "adjusted mutual information", _F1),
    ("n_groups_error", "surplus of groups, as a share of the lesions; negative: too few", _F1),
)
"""Metrics of groups, at the other folds' cut."""


def _own_metrics(method: str, precision_and_recall: str) -> tuple[tuple[str, str, int], ...]:
    """Return the metrics of a method: name in results.csv, label, decimals."""
    cut, word, is_group = METHODS[method].cut, METHODS[method].word, METHODS[method].is_group
    own = ((cut, f"the fold's own {word}", _CUT),) if cut else ()
    there = "there" if cut else "of the pairs"
    elsewhere = f"F1 at the {word} that the other folds choose" if cut else "F1 if several folds ran"
    itself = (
        (f"{method}_f1_self", f"F1 at the {word} that the fold chose without labels", _F1),
        (f"{method}_f1_expected", "F1 that the fold expected there", _F1),
    )
    oracle = ((f"{method}_f1_oracle", f"F1 at the test subset's own best {word}", _F1),) if cut else ()
    return (
        *own,
        (f"{method}_f1", f"F1 {there}", _F1),
        (f"{method}_{precision_and_recall}precision", f"precision {there}", _F1),
        (f"{method}_{precision_and_recall}recall", f"recall {there}", _F1),
        (f"{method}_f1_transfer", elsewhere, _F1),
        (f"{method}_f1_pooled", "F1 at these cuts over the pairs of all folds together", _F1),
        *(itself if cut else ()),
        *oracle,
        *(((f"{method}_{name}", label, decimals) for name, label, decimals in _GROUPS) if is_group else ()),
    )


_TOPICS = (
    *((METHODS[method].title, method, _own_metrics(method, "")) for method in PAGED),
    (
        "Ranking of the pairs, without a cut",
        "",
        (
            ("roc_auc", "probability that a positive pair is more similar than a negative one", _F1),
            ("average_precision", "average precision over positive pairs", _F1),
            ("mean_average_precision", "mean average precision over images", _F1),
            ("recall_at_1", "images whose nearest image shows the same lesion", _F1),
            ("recall_at_5", "images with the same lesion among their five nearest images", _F1),
        ),
    ),
    (
        "With singleton lesions as distractors, at the cuts for such a pool",
        "",
        (
            *((f"{name}_f1_distractors", f"F1: {method.title}", _F1) for name, method in METHODS.items()),
            *(
                (f"{name}_f1_self_distractors", f"F1 at the pool's own cut: {METHODS[name].title}", _F1)
                for name in CUTS
            ),
            *(
                (f"{name}_f1_expected_distractors", f"F1 that the pool expected there: {METHODS[name].title}", _F1)
                for name in CUTS
            ),
            ("recall_at_1_distractors", "images whose nearest image shows the same lesion", _F1),
            ("rho_distractors", "number of images, as a multiple of a fold's", _RATIO),
            ("share_distractors", "share of images with singleton lesions", _F1),
        ),
    ),
    (
        "Subset and training",
        "",
        (
            ("n_images", "images", _COUNT),
            ("n_lesions", "lesions", _COUNT),
            ("n_positive_pairs", "positive pairs", _COUNT),
            ("rho", "number of images, as a multiple of a fold's", _RATIO),
            ("best_epoch", "best epoch", _COUNT),
        ),
    ),
)
"""The metrics of an experiment by topic: title, method of its interval, metrics."""

_MORE_TOPICS = tuple(
    (method.title, name, _own_metrics(name, "pair_")) for name, method in METHODS.items() if name not in PAGED
)
"""The topics of the methods that the leaderboard does not show."""


@dataclass(frozen=True)
class MetricRow:
    """A metric of an experiment.

    Attributes:
        name: Name in ``results.csv``.
        label: Description in words.
        decimals: Number of decimals to show.
        folds: Value in each fold; None if undefined.
        mean: Mean over folds.
        std: Standard deviation over folds.
        test: Value on the test subset.
    """

    name: str
    label: str
    decimals: int
    folds: tuple[float | None, ...]
    mean: float | None
    std: float | None
    test: float | None


@dataclass(frozen=True)
class Topic:
    """Related metrics of an experiment.

    Attributes:
        metrics: Metrics in the order of the table.
        intervals: Names of the ends in ``results.csv``, their values for the mean over folds, and those for the test
            subset; None if the topic has none.
    """

    title: str
    metrics: tuple[MetricRow, ...]
    intervals: tuple[str, Ends, Ends] | None


def topics(metrics: Metrics, has_test: bool) -> tuple[tuple[Topic, ...], tuple[Topic, ...]]:
    """Return the topics of an experiment: those of the leaderboard, then those of the other methods.

    Args:
        metrics: Metrics of the experiment.
        has_test: Whether there are test metrics.
    """
    return tuple(_fill(_TOPICS, metrics, has_test)), tuple(_fill(_MORE_TOPICS, metrics, has_test))


def _fill(
    topics: Sequence[tuple[str, str, Sequence[tuple[str, str, int]]]], metrics: Metrics, has_test: bool
) -> Iterator[Topic]:
    folds = folds_of(metrics)
    for title, method, rows in topics:
        found = tuple(
            MetricRow(
                name=name,
                label=label,
                decimals=decimals,
                folds=tuple(metrics[name][fold] for fold in folds),
                mean=metrics[name]["mean"],
                std=metrics[name]["std"],
                test=metrics[name].get("test") if has_test else None,
            )
            for name, label, decimals in rows
            if name in metrics
        )
        if found:
            yield Topic(title, found, _intervals(metrics, method) if method else None)


def _intervals(metrics: Metrics, method: str) -> tuple[str, Ends, Ends]:
    low, high = (metrics[f"{method}_f1_transfer_{end}"] for end in ("low", "high"))
    name = f"{method}_f1_transfer_low, _high"
    return name, (low["mean"], high["mean"]), (low.get("test"), high.get("test"))
