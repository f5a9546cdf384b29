"""The cut of photographs to be grouped, chosen and written down with what is expected there."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinbit.config import ClusterParams
from skinbit.matching.cuts.grouping_cut import Cut, carried_cut, log_cut, plan_cut, write_cut
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.odds import PairOdds, spread
from skinbit.matching.expected.own_cut import Estimate, OwnCut, expect_of_pool
from skinbit.matching.labels import LabelArray
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.similarity.calibration import Values

logger = logging.getLogger(__name__)

UNKNOWN: dict[str, Any] = {"expected": None, "log_odds": None}
"""What is expected where the model holds no odds, or the method needs no cut."""


def settle_cut(
    pool: Pool,
    known: LabelArray,
    odds: Sequence[PairOdds],
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    is_corrected: bool,
) -> dict[str, Any]:
    """Return where photographs are joined, and what is expected there; plain values.

    The photographs themselves choose the cut, unless the user names a cut or says how many have no partner: then it is
    the user's, or what the folds choose.

    Args:
        pool: New photographs, then known ones.
        known: ``(n,)`` the known lesion of each photograph, -1 of new ones.
        odds: Of the folds of the model; none: the folds choose.
        known_cuts: What the user and the folds of the model say.
        cluster: The method, and what the user wants.
        is_corrected: Whether the number of photographs counts where the folds choose.

    Returns:
        That of :func:`skinbit.matching.cuts.grouping_cut.write_cut`; ``expected``, and ``log_odds``, by which
        probabilities follow from similarities, both None where nothing can be expected.
    """
    can_expect = bool(odds) and known_cuts.method in CUTS and pool.n_pairs > 0 and bool((known < 0).any())
    is_own = can_expect and cluster.single_share is None and known_cuts.given is None
    cut = None if is_own else carried_cut(known_cuts, len(pool), cluster, is_corrected)
    if cut is not None and (not can_expect or math.isnan(cut.value)):
        return {**write_cut(cut), **UNKNOWN}
    given = None if cut is None else cut.value
    found = expect_of_pool(
        pool, known, odds, known_cuts.method, cluster.max_group_size, given=given, precision=cluster.precision
    )
    if cut is None:
        cut = _own_cut(found, known_cuts.method, cluster)
    _log_expected(found)
    log_odds = {"intercept": found.prior.odds.intercept + found.prior.shift, "slope": found.prior.odds.slope}
    return {**write_cut(cut), "expected": _write(found), "log_odds": log_odds}


def probabilities_of(log_odds: Mapping[str, float] | None, similarities: NDArray[np.floating]) -> Values:
    """Return the probability that pairs show one lesion.

    Args:
        log_odds: Intercept and slope, from :func:`settle_cut`; None: nothing is known.
        similarities: Of the pairs, any shape; NaN: there is no pair.

    Returns:
        Float64 in [0, 1], same shape; NaN where nothing is known.
    """
    from scipy.special import expit

    if log_odds is None:
        return np.full(similarities.shape, np.nan)
    probabilities: Values = expit(log_odds["intercept"] + log_odds["slope"] * spread(similarities))
    return probabilities


def _own_cut(found: OwnCut, method: str, cluster: ClusterParams) -> Cut:
    aim = "greatest expected F1" if cluster.precision is None else f"expected precision of {cluster.precision:.0%}"
    return log_cut(plan_cut(method, found.expected.cut, found.cuts_of_folds, cluster.margin), f"chosen for the {aim}")


def _log_expected(found: OwnCut) -> None:
    logger.info(
        "%.0f pairs of one lesion are expected, %.0f %% of the photographs without a partner",
        found.expected.n_positive,
        100 * found.single_share,
    )
    if math.isnan(found.f1.value):
        logger.info("as good as no pair of one lesion is expected: nothing is joined, and no F1 can be expected")
        return
    told = (("precision", found.precision), ("recall", found.recall), ("F1", found.f1))
    logger.info(
        "expected without labels: %s",
        ", ".join(f"{name} {of.value:.3f} [{of.low:.3f}, {of.high:.3f}]" for name, of in told),
    )


def _write(found: OwnCut) -> dict[str, Any]:
    return {
        "precision": _write_estimate(found.precision),
        "recall": _write_estimate(found.recall),
        "f1": _write_estimate(found.f1),
        "n_positive_pairs": found.expected.n_positive,
        "single_share": found.single_share,
    }


def _write_estimate(estimate: Estimate) -> dict[str, float] | None:
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return None if any(math.isnan(value) for value in values.values()) else values
