"""The cut at which new photographs are grouped, and its uncertainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinbit.config import ClusterParams
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.cuts.transfer import carry_over
from skinbit.matching.methods import CUTS

_NEAREST_RANGE = 0.1
"""Uncertainty of a cut without several folds, as a share of its distance."""


@dataclass(frozen=True)
class Cut:
    """The similarity from which photographs are grouped as the same lesion.

    Attributes:
        method: One of :data:`skinbit.matching.methods.METHODS`.
        value: A threshold (``cosine``, similarity) or a distance; NaN if the method needs none.
        low: Lower end of the cut's uncertainty, as a similarity.
        high: Upper end; ``low <= similarity <= high``.
    """

    method: str
    value: float
    low: float
    high: float

    @property
    def similarity(self) -> float:
        """Return the cut as a similarity, for any method."""
        return self.value if self.method == "cosine" else 1.0 - self.value


NO_CUT = Cut("mutual", np.nan, np.inf, -np.inf)
"""The cut of a method that needs none; no link is near it."""


def carried_cut(known: KnownCuts, n_images: int, cluster: ClusterParams, is_corrected: bool) -> tuple[Cut, str]:
    """Return the cut for a number of photographs: the user's, otherwise the folds', otherwise the model's.

    Args:
        known: Cuts of the user and of the model's folds.
        n_images: Number of photographs, including known ones.
        cluster: Range around the cut in which groups are unsure, and the share of photographs without a partner.
        is_corrected: Whether the cut is corrected for the number of photographs.

    Returns:
        The cut and its origin.
    """
    method, share = known.method, cluster.single_share or 0.0
    if method not in CUTS:
        return NO_CUT, ""
    carried = carry_over(known.operating_points, n_images, is_corrected, share)
    chosen = tuple(fold for fold in carried.chosen if not math.isnan(fold))
    if known.given is not None:
        value, origin = known.given, "as given"
    elif chosen:
        value = carried.value
        origin = f"of the model, for {n_images} photographs, {carried.rho:.2f} times as many as in a fold (rho)"
        if share and is_corrected:
            origin += f", {share:.0%} of them without a partner"
    else:
        value, origin = math.nan if known.value is None else known.value, "of the model"
    return plan_cut(method, value, chosen, cluster.margin), origin


def plan_cut(method: str, value: float, fold_values: tuple[float, ...], margin: float | None) -> Cut:
    """Return a cut with its range of uncertainty.

    Args:
        method: A method with a cut.
        value: Its threshold, or a distance.
        fold_values: Cuts of single folds; their spread around their mean determines the range.
        margin: Half of the range instead; None: the folds' spread or, with fewer than two folds, a tenth of the cut's
            distance.
    """
    at = value if method == "cosine" else 1.0 - value
    if margin is None and len(fold_values) > 1:
        spread = np.array(fold_values) - np.mean(fold_values)
        below, above = (-spread.min(), spread.max()) if method == "cosine" else (spread.max(), -spread.min())
    else:
        below = above = margin if margin is not None else _NEAREST_RANGE * (1.0 - at)
    return Cut(method, value, float(at - below), float(at + above))


def write_cut(cut: Cut) -> dict[str, Any]:
    """Return ``method, cut, similarity, unsure_from, unsure_to``; None if the method needs no cut."""
    values = {"cut": cut.value, "similarity": cut.similarity, "unsure_from": cut.low, "unsure_to": cut.high}
    return {"method": cut.method} | {name: value if np.isfinite(value) else None for name, value in values.items()}


def read_cut(document: Mapping[str, Any]) -> Cut:
    """Return the cut of a document from :func:`write_cut`."""
    if document["cut"] is None:
        return NO_CUT
    return Cut(document["method"], document["cut"], document["unsure_from"], document["unsure_to"])
