"""The metrics of a subset at cuts selected on other subsets: by fold, with distractors, and over all folds."""

from collections.abc import Mapping, Sequence

from skinbit.matching.methods import METHODS
from skinbit.matching.scoring.score import AtCuts
from skinbit.matching.scoring.uncertainty import PredictedPairs, join_folds, mean_f1


def transfer_metrics(evaluated: AtCuts) -> dict[str, float]:
    """Return F1 of pairs at cuts selected on other subsets, by name of the metric.

    Args:
        evaluated: Metrics of a subset at these cuts.

    Returns:
        ``<method>_f1_transfer`` of every method, NaN without a cut.
    """
    return {f"{method}_f1_transfer": f1 for method, f1 in _f1_of(evaluated).items()}


def distractor_metrics(evaluated: AtCuts, rho: float, single_share: float) -> dict[str, float]:
    """Return the metrics of a subset with distractors, by name.

    Args:
        evaluated: Metrics of the subset with distractors, at cuts selected elsewhere.
        rho: Images of the pool / images of the subsets on which the cuts were selected.
        single_share: Share of distractors.

    Returns:
        ``<method>_f1_distractors``, NaN if a method has no cut; those of :func:`self_metrics`;
        ``recall_at_1_distractors``; ``rho_distractors``, ``share_distractors``.
    """
    return {
        **{f"{method}_f1_distractors": f1 for method, f1 in _f1_of(evaluated).items()},
        **self_metrics(evaluated, "_distractors"),
        "recall_at_1_distractors": evaluated.recall_at_1,
        "rho_distractors": rho,
        "share_distractors": single_share,
    }


def self_metrics(evaluated: AtCuts, suffix: str = "") -> dict[str, float]:
    """Return F1 of pairs at the cuts that a subset chooses for itself, and the F1 that it expects there, by name.

    Args:
        evaluated: Metrics of a subset.
        suffix: Suffix of the names: ``_distractors`` if there are distractors.

    Returns:
        ``<method>_f1_self`` and ``<method>_f1_expected`` of every method that has a cut.
    """
    return {
        name + suffix: value
        for method, found in evaluated.own.items()
        for name, value in ((f"{method}_f1_self", found.f1), (f"{method}_f1_expected", found.expected.f1))
    }


def _f1_of(evaluated: AtCuts) -> dict[str, float]:
    predicted = evaluated.predicted
    return {method: mean_f1([predicted[method]]) if method in predicted else float("nan") for method in METHODS}


def pooled_metrics(folds: Sequence[Mapping[str, PredictedPairs]]) -> dict[str, float]:
    """Return F1 over the pairs of all folds together, in which a fold with few positive pairs has little weight.

    Counts are summed first, as Forman and Scholz (2010) advise: 2·ΣTP / (ΣTP + ΣFP + ΣP). Pairs between folds are
    neither predicted nor counted.

    Args:
        folds: Predicted pairs of every fold, by method, at cuts selected on the other folds.

    Returns:
        ``<method>_f1_pooled``; NaN if a fold has no cut.
    """
    return {
        f"{method}_f1_pooled": mean_f1([join_folds([fold[method] for fold in folds])])
        if all(method in fold for fold in folds)
        else float("nan")
        for method in METHODS
    }
