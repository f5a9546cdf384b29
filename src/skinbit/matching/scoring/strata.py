"""F1 of the lesions of one site, one diagnosis, or any other stratum, among all lesions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skinbit.matching.scoring.uncertainty import PredictedPairs, bootstrap_f1, interval, mean_f1

STRATUM_COLUMNS = ["stratum", "n_lesions", "n_positive_pairs", "tp", "fp", "precision", "recall", "f1", "low", "high"]
"""Of the table that :func:`f1_by_stratum` gives."""


def f1_by_stratum(predicted: PredictedPairs, strata: Sequence[str], n_resamples: int, seed: int) -> pd.DataFrame:
    """Return F1 over pairs for the lesions of each stratum, judged among all lesions.

    A pair of one lesion belongs to the lesion's stratum. A false pair belongs half to the stratum of either image, so
    the counts of all strata add up to those of the whole, and the F1 of the whole is the mean of the strata's, weighted
    by their predicted and positive pairs.

    Args:
        predicted: Of a subset, or of several (:func:`skinbit.matching.scoring.uncertainty.join_folds`).
        strata: The stratum of each lesion, in their order.
        n_resamples: How often all lesions are drawn anew for the interval.
        seed: Not negative.

    Returns:
        ``stratum, n_lesions, n_positive_pairs, tp, fp, precision, recall, f1, low, high``, by name. ``fp`` may end in a
        half; ``low`` and ``high`` are the 95 % interval of F1 by bootstrap over lesions. Precision is NaN where nothing
        is predicted; recall, F1 and interval are where there is no positive pair.

    Raises:
        ValueError: If there are not as many strata as lesions.
    """
    if len(strata) != predicted.n_lesions:
        raise ValueError(f"{len(strata)} strata were given for {predicted.n_lesions} lesions")
    of_lesions = np.asarray(strata, dtype=str)
    rows = [
        (name, *_judge(_part_of(predicted, of_lesions == name), int((of_lesions == name).sum()), n_resamples, seed))
        for name in np.unique(of_lesions).tolist()
    ]
    return pd.DataFrame(rows, columns=STRATUM_COLUMNS)


def _part_of(predicted: PredictedPairs, is_inside: NDArray[np.bool_]) -> PredictedPairs:
    """Keep what some lesions bear of the counts; all lesions stay, to be drawn from."""
    n_inside = is_inside[predicted.false_a].astype(np.int64) + is_inside[predicted.false_b]
    touched = n_inside > 0
    return replace(
        predicted,
        true_pairs=predicted.true_pairs * is_inside,
        positive_pairs=predicted.positive_pairs * is_inside,
        false_a=predicted.false_a[touched],
        false_b=predicted.false_b[touched],
        false_count=(predicted.false_count * n_inside / 2)[touched],
    )


def _judge(part: PredictedPairs, n_lesions: int, n_resamples: int, seed: int) -> tuple[float, ...]:
    tp, fp, n_positive = int(part.true_pairs.sum()), float(part.false_count.sum()), int(part.positive_pairs.sum())
    precision = tp / (tp + fp) if tp + fp else np.nan
    recall = tp / n_positive if n_positive else np.nan
    bounds = interval(bootstrap_f1([part], n_resamples, seed))
    return n_lesions, n_positive, tp, fp, precision, recall, mean_f1([part]), *bounds
