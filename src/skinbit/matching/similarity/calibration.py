"""Calibrated pair scores: how probable it is that two images show one lesion, given their similarity and inliers.

The embedding and the geometry of local features err on different pairs. A logistic regression fuses the two; an
isotonic one may then mend its curve. Fit it on pairs of training lesions that the embedding model was not trained on
(out of fold): pairs that it was trained on are far too similar.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from skinbit.config import Block
from skinbit.matching.curves import never_falls
from skinbit.matching.labels import FloatArray

Kind = Literal["logistic", "isotonic"]
Values = NDArray[np.float64]

INLIER_STEPS = (0.0, 3.0, 6.0, 12.0, 24.0)
"""Inliers at which the evidence of one more may change. Any two photographs share a few by chance, and beyond a few
dozen there is no doubt left: one slope over log(1 + inliers) fits neither end."""

_PENALTY = 1.0
"""Weight of the squared slopes (of features at unit variance) beside the log loss summed over pairs, scikit-learn's
C = 1. It keeps slopes finite where the pairs are separable; a few dozen positive pairs outweigh it."""

_SOFTNESS = 8.0
"""Divides log-odds before tanh makes similarities of them. With 2 they would be probabilities, stretched to [-1, 1]: in
float32 all sure pairs would be equal from log-odds of 17 on. With 8 pairs at log-odds of ±30 still differ."""


class Calibration(Block):
    """A map from a pair's similarity and inliers to the probability that it is positive.

    Attributes:
        kind: ``logistic`` or ``isotonic``.
        intercept: Log-odds at similarity 0 without inliers.
        similarity_slope: Log-odds per unit of similarity, 0 or more.
        inliers_slopes: Log-odds per unit of log(1 + inliers), from each of ``INLIER_STEPS`` to the next, 0 or more.
        log_odds: Where ``isotonic`` bends, ascending; empty for ``logistic``.
        probabilities: Probability there, ascending; straight lines between, constant beyond.
        pool_sizes: Where similarities are locally scaled: numbers of images, ascending; else empty.
        crowdings: The usual hubness of pools of so many, from
            :func:`skinbit.matching.similarity.hubness.usual_hubness`.
    """

    kind: Kind
    intercept: float
    similarity_slope: NonNegativeFloat
    inliers_slopes: Annotated[
        tuple[NonNegativeFloat, ...], Field(min_length=len(INLIER_STEPS), max_length=len(INLIER_STEPS))
    ]
    log_odds: tuple[float, ...] = ()
    probabilities: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    pool_sizes: tuple[PositiveInt, ...] = ()
    crowdings: tuple[Annotated[float, Field(ge=-1, le=1)], ...] = ()

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if len(self.log_odds) != len(self.probabilities) or (self.kind == "isotonic") != bool(self.log_odds):
            raise ValueError("an isotonic calibration has a probability for each of its log_odds, a logistic one none")
        if not (never_falls(self.log_odds) and never_falls(self.probabilities)):
            raise ValueError("log_odds and probabilities must not fall")
        if len(self.pool_sizes) != len(self.crowdings) or not never_falls(self.pool_sizes):
            raise ValueError("pool_sizes must rise, and each has one of crowdings")
        return self

    def score(self, similarity: NDArray[np.floating], inliers: NDArray[np.number] | None = None) -> Values:
        """Return the probability that pairs are positive.

        Args:
            similarity: Of each pair, any shape.
            inliers: Of each pair, same shape, 0 or more; none: 0 for each.

        Returns:
            Float64 in [0, 1], same shape; never falls where similarity or inliers rise.
        """
        from scipy.special import expit

        evidence = self.evidence(similarity, inliers)
        if self.kind == "isotonic":
            return np.interp(evidence, self.log_odds, self.probabilities)
        probabilities: Values = expit(evidence)
        return probabilities

    def evidence(self, similarity: NDArray[np.floating], inliers: NDArray[np.number] | None = None) -> Values:
        """Return the log-odds of the logistic regression, whatever the kind.

        Args:
            similarity: Of each pair, any shape.
            inliers: Of each pair, same shape, 0 or more; none: 0 for each.

        Returns:
            Float64, same shape; never falls where similarity or inliers rise.
        """
        evidence: Values = self.intercept + self.similarity_slope * np.asarray(similarity, dtype=np.float64)
        if inliers is None:
            return evidence
        for slope, climb in zip(self.inliers_slopes, _climbs(inliers), strict=True):
            evidence = evidence + slope * climb
        return evidence


Calibrations = dict[Annotated[str, Field(pattern=r"^(all|[0-9]{1,6})$")], Calibration]
"""By fold, and of all folds."""


def fit_calibration(
    similarity: NDArray[np.floating],
    inliers: NDArray[np.number] | None,
    is_positive: NDArray[np.bool_],
    kind: Kind = "logistic",
    weights: NDArray[np.floating] | None = None,
) -> Calibration:
    """Fit a calibration on out-of-fold pairs of training lesions.

    Args:
        similarity: ``(m,)``, of each pair.
        inliers: ``(m,)``, 0 or more, 0 where none were counted; none: calibrate similarity alone.
        is_positive: ``(m,)``, whether the pair shows one lesion.
        kind: ``logistic``, or ``isotonic`` regression on the log-odds of the logistic one.
        weights: ``(m,)``, how many pairs each one stands for, more than 0; none: 1 each.

    Returns:
        The calibration.

    Raises:
        ValueError: If lengths differ, a value is not finite or out of range, or all pairs are of one kind; with the
            remedy.
    """
    alike = np.asarray(similarity, dtype=np.float64)
    counted = np.zeros(len(alike)) if inliers is None else np.asarray(inliers, dtype=np.float64)
    weight = np.ones(len(alike)) if weights is None else np.asarray(weights, dtype=np.float64)
    _check_pairs(alike, counted, is_positive, weight)
    slopes, intercept = _fit_logistic(np.stack([alike, *_climbs(counted)]), is_positive, weight)
    logistic = Calibration(kind="logistic", intercept=intercept, similarity_slope=slopes[0], inliers_slopes=slopes[1:])
    if kind == "logistic":
        return logistic
    return _with_isotonic(logistic, logistic.evidence(alike, counted), is_positive, weight)


def fuse(similarities: FloatArray, inliers: NDArray[np.number] | None, calibration: Calibration) -> FloatArray:
    """Turn similarities and inliers of some pairs into one similarity, for any grouper.

    It is tanh of the logistic log-odds over 8, for either kind of calibration: 0 where a pair is as probably positive
    as not. Probabilities themselves would crowd at 0 and 1, where averages no longer tell an unlikely pair from an
    impossible one, and isotonic ones have steps, on which pairs that differ would be equal.

    Args:
        similarities: Of each pair, any shape.
        inliers: Of each pair, same shape, 0 or more; none: 0 for each.
        calibration: Fitted on pairs of the same kind of similarities.

    Returns:
        Float32 in [-1, 1], same shape.
    """
    fused: FloatArray = np.tanh(calibration.evidence(similarities, inliers) / _SOFTNESS).astype(np.float32)
    return fused


def brier_score(probabilities: Values, is_positive: NDArray[np.bool_]) -> float:
    """Return the mean squared difference between probability and truth.

    Args:
        probabilities: ``(m,)`` in [0, 1], at least one.
        is_positive: ``(m,)``, the truth.

    Returns:
        Brier score in [0, 1], 0 is perfect; always the share p of positive pairs gives p(1 - p).
    """
    return float(np.mean((probabilities - is_positive) ** 2))


def calibration_error(probabilities: Values, is_positive: NDArray[np.bool_], n_bins: int = 10) -> float:
    """Return the expected calibration error: how far probabilities are from the share of positive pairs, on average.

    Args:
        probabilities: ``(m,)`` in [0, 1], at least one.
        is_positive: ``(m,)``, the truth.
        n_bins: Equally wide ranges of probability; a range holds its lower edge, the last one both. Within each, mean
            probability and share of positive pairs are compared.

    Returns:
        Error in [0, 1], ranges weighted by their pairs. Where positive pairs are rare, nearly all pairs lie in the
        first range: give it the pairs of a shortlist to hear of the others.
    """
    bins = np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)
    expected = np.bincount(bins, probabilities, minlength=n_bins)
    found = np.bincount(bins, is_positive, minlength=n_bins)
    return float(np.abs(expected - found).sum() / len(probabilities))


def _climbs(inliers: NDArray[np.number]) -> list[Values]:
    """Split log(1 + inliers) into what lies between each of ``INLIER_STEPS`` and the next."""
    logs = np.log1p(np.asarray(inliers, dtype=np.float64))
    return [np.clip(logs, low, high) - low for low, high in pairwise([*np.log1p(INLIER_STEPS), np.inf])]


def _check_pairs(similarity: Values, inliers: Values, is_positive: NDArray[np.bool_], weights: Values) -> None:
    n_pairs = len(is_positive)
    if {len(similarity), len(inliers), len(weights)} != {n_pairs}:
        raise ValueError(
            f"{n_pairs} pairs have {len(similarity)} similarities, {len(inliers)} inliers and {len(weights)} weights. "
            "Remedy: pass one value per pair."
        )
    if not np.isfinite(np.stack([similarity, inliers, weights])).all():
        raise ValueError("a similarity, a count of inliers or a weight is not finite. Remedy: leave such pairs out.")
    if (inliers < 0).any() or (weights <= 0).any():
        raise ValueError("a count of inliers is negative, or a weight not positive. Remedy: leave such pairs out.")
    n_positive = int(np.count_nonzero(is_positive))
    if n_positive in {0, n_pairs}:
        raise ValueError(
            f"{n_positive} of {n_pairs} pairs are positive, which leaves nothing to tell apart. "
            "Remedy: calibrate on lesions with two images or more, and on pairs of different lesions."
        )


def _fit_logistic(features: Values, is_positive: NDArray[np.bool_], weights: Values) -> tuple[tuple[float, ...], float]:
    """Fit slopes of 0 or more and an intercept to ``(k, m)`` features: a convex problem, so there is one answer."""
    from scipy.optimize import Bounds, minimize

    centre = np.average(features, axis=1, weights=weights)
    spread = np.sqrt(np.average((features - centre[:, None]) ** 2, axis=1, weights=weights))
    spread[spread == 0] = 1.0
    standard = (features - centre[:, None]) / spread[:, None]
    lowest = np.append(np.zeros(len(features)), -np.inf)
    start = np.append(np.zeros(len(features)), np.log(weights[is_positive].sum() / weights[~is_positive].sum()))
    found = minimize(
        _penalised_loss,
        start,
        args=(standard, is_positive, weights),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(lowest, np.inf),
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8},
    ).x
    slopes = found[:-1] / spread
    return tuple(slopes.tolist()), float(found[-1] - slopes @ centre)


def _penalised_loss(
    parameters: Values, features: Values, is_positive: NDArray[np.bool_], weights: Values
) -> tuple[float, Values]:
    """Return the penalised log loss of slopes and an intercept, and its gradient, both per positive pair."""
    from scipy.special import expit

    slopes, intercept = parameters[:-1], parameters[-1]
    signs = np.where(is_positive, 1.0, -1.0)
    margins = signs * (slopes @ features + intercept)
    loss = (weights * np.logaddexp(0.0, -margins)).sum() + _PENALTY / 2 * (slopes**2).sum()
    pulls = -weights * signs * expit(-margins)
    gradient = np.append((features * pulls).sum(axis=1) + _PENALTY * slopes, pulls.sum())
    n_positive = weights[is_positive].sum()
    return float(loss / n_positive), gradient / n_positive


def _with_isotonic(
    logistic: Calibration, evidence: Values, is_positive: NDArray[np.bool_], weights: Values
) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(evidence, is_positive.astype(np.float64), weights)
    bends = {"log_odds": tuple(curve.X_thresholds_.tolist()), "probabilities": tuple(curve.y_thresholds_.tolist())}
    return logistic.model_copy(update={"kind": "isotonic", **bends})
