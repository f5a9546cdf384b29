"""Calibrated pair scores: how probable it is that two images show one lesion, given their similarity and keypoints.

The embedding and the geometry of local features err on different pairs. A logistic regression fuses the two; an
isotonic one may then mend its curve. Fit it on pairs of training lesions that the embedding model was not trained on
(out of fold): pairs that it was trained on are far too similar.

Of keypoints three things count. That they were compared at all: "not compared" and "compared, nothing agrees" are
different evidence. On how many of them the two images agree. And the zoom between the two: any two photographs share a
few keypoints by chance, nearly always at about the same size, so the same few at another zoom say more.

Archives hold lesions under two ids. Such a pair looks positive and is recorded as negative; a plain logistic regression
would bend its slopes to explain it. So the loss allows that a share of the positive pairs is recorded as negative
(regression with label noise: Copas 1988).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from skinbit.config import Block
from skinbit.matching.curves import never_falls
from skinbit.matching.labels import FloatArray
from skinbit.matching.similarity.context import ColumnWeight, likelihood_ratios, weigh

Kind = Literal["logistic", "isotonic"]
Values = NDArray[np.float64]

INLIER_STEPS = (0.0, 3.0, 6.0, 12.0, 24.0)
"""Inliers at which the evidence of one more may change. Any two photographs share a few by chance, and beyond a few
dozen there is no doubt left: one slope over log(1 + inliers) fits neither end."""

_MISLABELLED = 0.01
"""Share of positive pairs that are recorded as negative. In HAM10000 it is some 0.6 % of pairs; a few times more or
less gives nearly the same slopes, 0 does not."""

_PENALTY = 1.0
"""Weight of the squared slopes (of features at unit variance) beside the log loss summed over pairs, scikit-learn's
C = 1. It keeps slopes finite where the pairs are separable; a few dozen positive pairs outweigh it."""

SOFTNESS = 8.0
"""Divides log-odds before tanh makes similarities of them. With 2 they would be probabilities, stretched to [-1, 1]: in
float32 all sure pairs would be equal from log-odds of 17 on. With 8 pairs at log-odds of ±30 still differ."""


class Calibration(Block):
    """A map from a pair's similarity and inliers to the probability that it is positive.

    Attributes:
        kind: ``logistic`` or ``isotonic``.
        intercept: Log-odds at similarity 0 without inliers.
        similarity_slope: Log-odds per unit of similarity, 0 or more.
        inliers_slopes: Log-odds per unit of log(1 + inliers), from each of ``INLIER_STEPS`` to the next, 0 or more.
        comparison_cost: Log-odds that a pair loses by a comparison of its keypoints, before inliers count, 0 or more.
        zoom_slope: Log-odds per unit of log(zoom) between two images that agree on keypoints, 0 or more.
        columns: What each column of the metadata adds, where any counts.
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
    comparison_cost: NonNegativeFloat = 0.0
    zoom_slope: NonNegativeFloat = 0.0
    columns: tuple[ColumnWeight, ...] = ()
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

    def score(self, similarity: NDArray[np.floating], support: Values | None = None) -> Values:
        """Return the probability that pairs are positive.

        Args:
            similarity: Of each pair, any shape.
            support: What keypoints (:meth:`support`) and columns add, same shape; none: nothing.

        Returns:
            Float64 in [0, 1], same shape; never falls where similarity or support rise.
        """
        from scipy.special import expit

        evidence = self.evidence(similarity, support)
        if self.kind == "isotonic":
            return np.interp(evidence, self.log_odds, self.probabilities)
        probabilities: Values = expit(evidence)
        return probabilities

    def evidence(self, similarity: NDArray[np.floating], support: Values | None = None) -> Values:
        """Return the log-odds of the logistic regression, whatever the kind.

        Args:
            similarity: Of each pair, any shape.
            support: What keypoints (:meth:`support`) and columns add, same shape; none: nothing.

        Returns:
            Float64, same shape; never falls where similarity or support rise.
        """
        evidence: Values = self.intercept + self.similarity_slope * np.asarray(similarity, dtype=np.float64)
        return evidence if support is None else evidence + support

    def support(self, inliers: NDArray[np.number], zooms: NDArray[np.floating]) -> Values:
        """Return the log-odds that a comparison of keypoints adds to pairs.

        Args:
            inliers: Of each pair, any shape, 0 or more; -1 where keypoints were not compared, which adds 0.
            zooms: From the smaller to the larger of the two images, same shape, 1 or more.

        Returns:
            Float64, same shape; never falls where, of compared pairs, inliers or zooms rise.
        """
        slopes = (self.comparison_cost, *self.inliers_slopes, self.zoom_slope)
        added: Values = np.tensordot(np.array(slopes), np.stack(_of_keypoints(inliers, zooms)), axes=1)
        return added


Calibrations = dict[Annotated[str, Field(pattern=r"^(all|[0-9]{1,6})$")], Calibration]
"""By fold, and of all folds."""


@dataclass(frozen=True)
class PairSample:
    """Out-of-fold pairs of training lesions that a calibration is fitted on.

    Attributes:
        similarity: ``(m,)``, of each pair.
        is_positive: ``(m,)``, whether the pair is recorded as one of one lesion.
        inliers: ``(m,)``, 0 or more, -1 where keypoints were not compared; none: nowhere.
        zooms: ``(m,)``, 1 or more, of pairs that agree on keypoints; none: 1 each.
        columns: ``(2 e, m)`` from :meth:`skinbit.matching.similarity.context.Context.compared`; none: no column counts.
        weights: ``(m,)``, how many pairs each one stands for, more than 0; none: 1 each.
    """

    similarity: NDArray[np.floating]
    is_positive: NDArray[np.bool_]
    inliers: NDArray[np.number] | None = None
    zooms: NDArray[np.floating] | None = None
    columns: Values | None = None
    weights: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.is_positive)


def join_samples(samples: Sequence[PairSample]) -> PairSample:
    """Return the pairs of several samples, with what all of them know."""

    def join(name: str) -> Values | None:
        parts = [getattr(sample, name) for sample in samples]
        return None if any(part is None for part in parts) else np.concatenate(parts, axis=-1)

    similarity, is_positive = (
        np.concatenate([getattr(s, name) for s in samples]) for name in ("similarity", "is_positive")
    )
    return PairSample(similarity, is_positive, join("inliers"), join("zooms"), join("columns"), join("weights"))


def fit_calibration(
    sample: PairSample,
    kind: Kind = "logistic",
    mislabelled: float = _MISLABELLED,
    columns: Sequence[str] = (),
) -> Calibration:
    """Fit a calibration on out-of-fold pairs of training lesions.

    Args:
        sample: The pairs.
        kind: ``logistic``, or ``isotonic`` regression on the log-odds of the logistic one.
        mislabelled: Share of the positive pairs that are recorded as negative, in [0, 1).
        columns: Names of the sample's columns.

    Returns:
        The calibration.

    Raises:
        ValueError: If lengths differ, a value is not finite or out of range, or all pairs are of one kind; with the
            remedy.
    """
    n_pairs, is_positive = len(sample), sample.is_positive
    alike = np.asarray(sample.similarity, dtype=np.float64)
    inliers = np.full(n_pairs, -1.0) if sample.inliers is None else np.asarray(sample.inliers, dtype=np.float64)
    zooms = np.ones(n_pairs) if sample.zooms is None else np.asarray(sample.zooms, dtype=np.float64)
    weights = np.ones(n_pairs) if sample.weights is None else np.asarray(sample.weights, dtype=np.float64)
    _check_pairs(is_positive, similarities=alike, inliers=inliers, zooms=zooms, weights=weights)
    of_pictures = np.stack([alike, *_of_keypoints(inliers, zooms)])
    compared = np.empty((0, n_pairs)) if sample.columns is None else sample.columns
    alone = likelihood_ratios(compared, is_positive, weights, columns)
    of_columns = [weigh(compared[2 * n : 2 * n + 2], (weight,)) for n, weight in enumerate(alone)]
    features = np.vstack([of_pictures, *of_columns])
    slopes, intercept = _fit_logistic(features, is_positive, weights, mislabelled, len(alone))
    logistic = Calibration(
        kind="logistic",
        intercept=intercept,
        similarity_slope=slopes[0],
        comparison_cost=slopes[1],
        inliers_slopes=slopes[2 : len(of_pictures) - 1],
        zoom_slope=slopes[len(of_pictures) - 1],
        columns=tuple(weight.lessened(share) for weight, share in zip(alone, slopes[len(of_pictures) :], strict=True)),
    )
    if kind == "logistic":
        return logistic
    return _with_isotonic(logistic, intercept + np.array(slopes) @ features, is_positive, weights)


def fuse(similarities: FloatArray, support: Values | None, calibration: Calibration) -> FloatArray:
    """Turn similarities and the support of keypoints for some pairs into one similarity, for any grouper.

    It is tanh of the logistic log-odds over 8, for either kind of calibration: 0 where a pair is as probably positive
    as not. Probabilities themselves would crowd at 0 and 1, where averages no longer tell an unlikely pair from an
    impossible one, and isotonic ones have steps, on which pairs that differ would be equal.

    Args:
        similarities: Of each pair, any shape.
        support: What keypoints (:meth:`Calibration.support`) and columns of the metadata add, same shape; none:
            nothing.
        calibration: Fitted on pairs of the same kind of similarities.

    Returns:
        Float32 in [-1, 1], same shape.
    """
    fused: FloatArray = np.tanh(calibration.evidence(similarities, support) / SOFTNESS).astype(np.float32)
    return fused


class Reliability(NamedTuple):
    """Pairs of some probability: how many, how many of them were to be positive, and how many are."""

    low: float
    high: float
    n_pairs: int
    expected: float
    found: int


@dataclass(frozen=True)
class JudgedPairs:
    """Labelled pairs with the probabilities that a calibration gives them.

    Attributes:
        probabilities: ``(m,)`` in [0, 1].
        is_positive: ``(m,)``, the truth.
    """

    probabilities: Values
    is_positive: NDArray[np.bool_]

    @property
    def brier_score(self) -> float:
        """Return the mean squared difference between probability and truth, 0 is perfect; NaN without pairs."""
        return float(np.mean((self.probabilities - self.is_positive) ** 2)) if len(self.probabilities) else float("nan")

    def reliability(self, n_bins: int = 10) -> list[Reliability]:
        """Return, in equally wide ranges of probability, how many pairs are positive and how many were to be expected.

        Args:
            n_bins: Number of ranges; a range holds its lower edge, the last one both.
        """
        bins = np.minimum((self.probabilities * n_bins).astype(np.int64), n_bins - 1)
        n_pairs = np.bincount(bins, minlength=n_bins).tolist()
        expected = np.bincount(bins, self.probabilities, minlength=n_bins).tolist()
        found = np.bincount(bins, self.is_positive, minlength=n_bins).astype(np.int64).tolist()
        return [
            Reliability(n / n_bins, (n + 1) / n_bins, *counts)
            for n, counts in enumerate(zip(n_pairs, expected, found, strict=True))
        ]


def join_judged(subsets: Sequence[JudgedPairs]) -> JudgedPairs:
    """Return the pairs of several subsets, at least one."""
    return JudgedPairs(
        np.concatenate([each.probabilities for each in subsets]), np.concatenate([each.is_positive for each in subsets])
    )


def calibration_error(ranges: Sequence[Reliability]) -> float:
    """Return the expected calibration error: how far probabilities are from the share of positive pairs, on average.

    Args:
        ranges: From :meth:`JudgedPairs.reliability`. Where positive pairs are rare, nearly all pairs lie in the first
            range: take the pairs of a shortlist to hear of the others.

    Returns:
        Error in [0, 1], ranges weighted by their pairs; NaN without pairs.
    """
    n_pairs = sum(each.n_pairs for each in ranges)
    return sum(abs(each.expected - each.found) for each in ranges) / n_pairs if n_pairs else float("nan")


def _of_keypoints(inliers: NDArray[np.number], zooms: NDArray[np.floating]) -> list[Values]:
    """Return what a comparison of keypoints says: -1 for the comparison itself, the climbs of inliers, the zoom."""
    counted = np.asarray(inliers, dtype=np.float64)
    logs = np.log1p(np.maximum(counted, 0.0))
    climbs = [np.clip(logs, low, high) - low for low, high in pairwise([*np.log1p(INLIER_STEPS), np.inf])]
    return [-(counted >= 0.0).astype(np.float64), *climbs, np.where(counted > 0.0, np.log(zooms), 0.0)]


def _check_pairs(is_positive: NDArray[np.bool_], **columns: Values) -> None:
    n_pairs = len(is_positive)
    if {len(values) for values in columns.values()} != {n_pairs}:
        lengths = ", ".join(f"{len(values)} {name}" for name, values in columns.items())
        raise ValueError(f"{n_pairs} pairs have {lengths}. Remedy: pass one value per pair.")
    least = {"inliers": -1.0, "zooms": 1.0, "weights": np.finfo(np.float64).tiny}
    for name, values in columns.items():
        if not (np.isfinite(values) & (values >= least.get(name, -np.inf))).all():
            raise ValueError(f"one of the {name} is not finite or out of range. Remedy: leave such pairs out.")
    n_positive = int(np.count_nonzero(is_positive))
    if n_positive in {0, n_pairs}:
        raise ValueError(
            f"{n_positive} of {n_pairs} pairs are positive, which leaves nothing to tell apart. "
            "Remedy: calibrate on lesions with two images or more, and on pairs of different lesions."
        )


def _fit_logistic(
    features: Values, is_positive: NDArray[np.bool_], weights: Values, mislabelled: float, n_columns: int
) -> tuple[tuple[float, ...], float]:
    """Fit slopes of 0 or more and an intercept to ``(k, m)`` features.

    The last ``n_columns`` are log-odds by columns: their slopes are 1, or less where the other features say the same.
    """
    from scipy.optimize import Bounds, minimize

    centre = np.average(features, axis=1, weights=weights)
    spread = np.sqrt(np.average((features - centre[:, None]) ** 2, axis=1, weights=weights))
    spread[spread == 0] = 1.0
    standard = (features - centre[:, None]) / spread[:, None]
    lowest = np.append(np.zeros(len(features)), -np.inf)
    is_column = np.arange(len(features)) >= len(features) - n_columns
    expected = np.where(is_column, spread, 0.0)
    highest = np.append(np.where(is_column, spread, np.inf), np.inf)
    start = np.append(expected, np.log(weights[is_positive].sum() / weights[~is_positive].sum()))
    # Without label noise the problem is convex and has one answer. With it, a start from that answer stays near to it.
    for share in sorted({0.0, mislabelled}):
        start = minimize(
            _penalised_loss,
            start,
            args=(standard, is_positive, weights, share, expected),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(lowest, highest),
            options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8},
        ).x
    slopes = start[:-1] / spread
    return tuple(slopes.tolist()), float(start[-1] - slopes @ centre)


def _penalised_loss(
    parameters: Values,
    features: Values,
    is_positive: NDArray[np.bool_],
    weights: Values,
    mislabelled: float,
    expected: Values,
) -> tuple[float, Values]:
    """Return the penalised log loss of slopes and an intercept, and its gradient, both per positive pair.

    A pair of log-odds z is recorded as positive with probability ``(1 - mislabelled) · expit(z)``. Slopes that differ
    from the expected ones are penalised.
    """
    from scipy.special import expit

    slopes, intercept = parameters[:-1], parameters[-1]
    evidence = slopes @ features + intercept
    # 1 - (1 - e) / (1 + exp(-z)) = (e + exp(-z)) / (1 + exp(-z)); for e = 0 that is expit(-z).
    with np.errstate(divide="ignore"):
        recorded = np.where(is_positive, np.log1p(-mislabelled), np.logaddexp(np.log(mislabelled), -evidence))
    loss = (
        -(weights * (recorded - np.logaddexp(0.0, -evidence))).sum() + _PENALTY / 2 * ((slopes - expected) ** 2).sum()
    )
    probability, unlikely = expit(evidence), expit(-evidence)
    falls = (1.0 - mislabelled) * probability * unlikely / (unlikely + mislabelled * probability)
    pulls = weights * np.where(is_positive, -unlikely, falls)
    # Not a matrix product, whose sums depend on the number of threads.
    gradient = np.append(np.einsum("km,m->k", features, pulls) + _PENALTY * (slopes - expected), pulls.sum())
    n_positive = weights[is_positive].sum()
    return float(loss / n_positive), gradient / n_positive


def _with_isotonic(
    logistic: Calibration, evidence: Values, is_positive: NDArray[np.bool_], weights: Values
) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(evidence, is_positive.astype(np.float64), weights)
    bends = {"log_odds": tuple(curve.X_thresholds_.tolist()), "probabilities": tuple(curve.y_thresholds_.tolist())}
    return logistic.model_copy(update={"kind": "isotonic", **bends})
