"""Same lesion or not, by cosine threshold: similarity >= threshold predicts a positive pair."""

from dataclasses import replace

import numpy as np

from skinbit.matching.pairs import FloatArray, pair_blocks
from skinbit.matching.ranking import PairRanking
from skinbit.matching.selection import Choice, Sweep, select


def sweep_thresholds(ranking: PairRanking) -> Sweep:
    """Evaluate every distinct threshold exactly; equal similarities enter together.

    F1 can only peak where a positive pair enters: between two of them only false positives are added. The curve
    therefore holds every distinct similarity among the most similar pairs (``ranking.top``), and beyond those,
    where F1 is below 0.19, the similarities of positive pairs. Its maximum is the maximum over all thresholds.

    Args:
        ranking: From :func:`skinbit.matching.ranking.rank_pairs`.

    Returns:
        The curve, ``method`` ``cosine``. Among the most similar pairs a reported threshold lies midway between two
        neighbouring similarities (-1 is the neighbour of the lowest one); beyond, it is the similarity itself.
    """
    negated, n_equal = np.unique(-ranking.top, return_counts=True)
    tp_down_to = np.concatenate([[0], np.cumsum(ranking.n_positives_at)])
    n_in_top = np.searchsorted(-ranking.positives, negated, side="right")
    beyond = slice(int(n_in_top[-1]) if len(n_in_top) else 0, None)

    cuts = np.concatenate([-negated, ranking.positives[beyond]]).astype(np.float64)
    tp = np.concatenate([tp_down_to[n_in_top], tp_down_to[1:][beyond]])
    n_predicted = np.concatenate([np.cumsum(n_equal), ranking.n_at_least[beyond]])
    next_lower = np.concatenate([-negated[1:], [ranking.below_top][: len(negated)], ranking.positives[beyond]])
    return Sweep(
        method="cosine",
        cuts=cuts,
        reported=(cuts + next_lower) / 2,
        tp=tp,
        fp=n_predicted - tp,
        n_positive_pairs=ranking.n_positive_pairs,
    )


def select_threshold(similarities: FloatArray, sweep: Sweep) -> Choice:
    """Choose the threshold with the highest pairwise F1, midway between two neighbouring similarities.

    Args:
        similarities: ``(n, n)`` float32, what the curve was made of.
        sweep: From :func:`sweep_thresholds`, cut to the searched range.

    Returns:
        The choice; of equal F1 the highest threshold.
    """
    choice = select(sweep)
    if choice.cut not in sweep.cuts:
        return choice
    # A peak beyond the most similar pairs (F1 below 0.19): its lower neighbour was not kept, so look for it.
    lower = [values[values < choice.cut].max(initial=-1.0) for values in pair_blocks(similarities)]
    return replace(choice, cut=(choice.cut + float(max(lower))) / 2)
