"""The cut for grouping photographs, with the expected metrics, as a document."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from skinbit.config import ClusterParams
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.cuts.grouping_cut import Cut, carried_cut, plan_cut, write_cut
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.odds import LogOdds, PairOdds
from skinbit.matching.expected.own_cut import Expected, OwnCut, expect_of_pool
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.pool import Pool

logger = logging.getLogger(__name__)

UNKNOWN: dict[str, Any] = {"expected": None, "log_odds": None}
"""Expected metrics if the model has no odds or the method needs no cut."""


def settle_cut(
    pool: Pool,
    constraints: Constraints,
    odds: Sequence[PairOdds],
    known_cuts: KnownCuts,
    cluster: ClusterParams,
    is_corrected: bool,
) -> dict[str, Any]:
    """Return the cut at which photographs are grouped, with the expected metrics; plain values.

    The photographs themselves choose the cut, unless the user sets a cut or the share of photographs without a partner;
    then it is the user's cut, or the folds'.

    Args:
        pool: New photographs, then known ones.
        constraints: Their known lesions, and what people have answered.
        odds: Of the folds of the model; none: the folds choose.
        known_cuts: What the user and the folds of the model say.
        cluster: The method, and what the user wants.
        is_corrected: Whether the number of photographs counts where the folds choose.

    Returns:
        The document of :func:`skinbit.matching.cuts.grouping_cut.write_cut`, with ``expected`` and with ``log_odds``,
        which map similarities to probabilities; both None if nothing can be expected.
    """
    can_expect = bool(odds) and known_cuts.method in CUTS and pool.n_pairs > 0 and bool((constraints.known < 0).any())
    is_own = can_expect and cluster.single_share is None and known_cuts.given is None
    carried = None if is_own else carried_cut(known_cuts, len(pool), cluster, is_corrected)
    if carried is not None and (not can_expect or math.isnan(carried[0].value)):
        _log_cut(*carried)
        return {**write_cut(carried[0]), **UNKNOWN}
    given = None if carried is None else carried[0].value
    found = expect_of_pool(
        pool, constraints, odds, known_cuts.method, cluster.max_group_size, given=given, precision=cluster.precision
    )
    cut, origin = _own_cut(found, known_cuts.method, cluster) if carried is None else carried
    _log_cut(cut, origin, found.log_odds)
    _log_expected(found.expected)
    expected = found.expected.model_dump(mode="json")
    if warning := warn_of_unlike(expected):
        logger.warning("%s", warning)
    return {**write_cut(cut), "expected": expected, "log_odds": found.log_odds.model_dump(mode="json")}


def _own_cut(found: OwnCut, method: str, cluster: ClusterParams) -> tuple[Cut, str]:
    aim = "largest expected F1" if cluster.precision is None else f"expected precision of {cluster.precision:.0%}"
    return plan_cut(method, found.chosen.cut, found.cuts_of_folds, cluster.margin), f"chosen for the {aim}"


def _log_cut(cut: Cut, origin: str, log_odds: LogOdds | None = None) -> None:
    """Log the cut at which photographs are grouped, and its origin; nothing for a method without a cut."""
    if cut.method not in CUTS:
        return
    if log_odds is None:
        which = f"with a similarity of {cut.similarity:.4f}"
    else:
        which = f"that show one lesion with a probability of {log_odds.percentage(cut.similarity)}"
    logger.info("joining photographs %s or more (%s %.4f, %s)", which, CUTS[cut.method], cut.value, origin)


def warn_of_unlike(expected: Mapping[str, Any] | None) -> str:
    """Return a warning about photographs that differ from those of the study; empty if none is known to.

    Args:
        expected: Expected metrics of a document from :func:`settle_cut`.
    """
    if not (expected and expected["unlike_folds"]):
        return ""
    return (
        f"These photographs differ from those of the study: {'; '.join(expected['unlike_folds'])}. Probabilities, "
        "expected precision, recall and F1 may be wrong. Another device or grey photographs may be the cause. "
        "Remedy: review all groups, not only the marked ones; or train a model that includes such photographs."
    )


def _log_expected(expected: Expected) -> None:
    logger.info(
        "%.0f positive pairs are expected, and %.0f %% of the photographs without a partner",
        expected.n_positive_pairs,
        100 * expected.single_share,
    )
    if expected.f1 is None:
        logger.info("hardly any positive pair is expected: nothing is joined, and there is no expected F1")
        return
    told = (("precision", expected.precision), ("recall", expected.recall), ("F1", expected.f1))
    logger.info(
        "expected without labels: %s",
        ", ".join(f"{name} {of.value:.3f} [{of.low:.3f}, {of.high:.3f}]" for name, of in told if of is not None),
    )
