"""Calibrated pair scores: the probability that two images show the same lesion, given similarity and keypoints.

The embedding and the geometry of local features err on different pairs. A logistic regression fuses the two; an
isotonic one may then correct its curve. Both are fitted on pairs of training lesions that the embedding model was not
trained on (out of fold), as pairs that it was trained on are far too similar.

Three features come from keypoints. First, whether they were compared: "not compared" and "compared, but nothing
agrees" are different evidence. Second, the number of keypoints on which both images agree. Third, the zoom between the
two: any two photographs agree on a few keypoints by chance, nearly always at about the same size, so the same number at
a different zoom is stronger evidence.

Archives contain lesions under two ids. Such a pair looks positive and is recorded as negative, and a plain logistic
regression would bend its slopes to explain it. So the loss allows a share of positive pairs to be recorded as negative
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
"""Numbers of inliers at which the slope may change. Any two photographs share a few by chance, and beyond a few dozen
there is no doubt left, so a single slope over log(1 + inliers) fits neither end."""

_MISLABELLED = 0.01
"""Assumed share of positive pairs that are recorded as negative. In HAM10000 it is some 0.6 %; a few times more or
less gives nearly the same slopes, 0 does not."""

_PENALTY = 1.0
"""Weight of the squared slopes (of features at unit variance) relative to the log loss summed over pairs, as with
scikit-learn's C = 1. It keeps slopes finite if pairs are separable; a few dozen positive pairs outweigh it."""

SOFTNESS = 8.0
"""Divisor of log-odds before tanh turns them into similarities. With 2 they would be probabilities, stretched to
[-1, 1], and in float32 all pairs from log-odds of 17 on would be equal. With 8, pairs at log-odds of ±30 still
differ."""


class Calibration(Block):
    """Maps the similarity and inliers of a pair to the probability that it is positive.

    Attributes:
        kind: ``logistic`` or ``isotonic``.
        intercept: Log-odds at similarity 0 without inliers.
        similarity_slope: Log-odds per unit of similarity, 0 or more.
        inliers_slopes: Log-odds per unit of log(1 + inliers), from each of ``INLIER_STEPS`` to the next, 0 or more.
        comparison_cost: Log-odds that a pair loses if its keypoints are compared, before inliers are added, 0 or more.
        zoom_slope: Log-odds per unit of log(zoom) between two images with inliers, 0 or more.
        columns: Weights of metadata columns, if any are used.
        log_odds: Log-odds at the steps of ``isotonic``, ascending; empty for ``logistic``.
        probabilities: Probabilities at these steps, ascending; linear between them, constant beyond.
        pool_sizes: Numbers of images of pools with known hubness, ascending, if similarities are locally scaled;
            otherwise empty.
        crowdings: Usual hubness of pools of these sizes, from
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
            raise ValueError("an isotonic calibration needs one probability per log_odds, a logistic one none")
        if not (never_falls(self.log_odds) and never_falls(self.probabilities)):
            raise ValueError("log_odds and probabilities must not fall")
        if len(self.pool_sizes) != len(self.crowdings) or not never_falls(self.pool_sizes):
            raise ValueError("pool_sizes must rise, with one of crowdings each")
        return self

    def score(self, similarity: NDArray[np.floating], support: Values | None = None) -> Values:
        """Return the probability that pairs are positive.

        Args:
            similarity: Similarity of each pair, any shape.
            support: Log-odds from keypoints (:meth:`support`) and columns, same shape; None: no such evidence.

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
            similarity: Similarity of each pair, any shape.
            support: Log-odds from keypoints (:meth:`support`) and columns, same shape; None: no such evidence.

        Returns:
            Float64, same shape; never falls where similarity or support rise.
        """
        evidence: Values = self.intercept + self.similarity_slope * np.asarray(similarity, dtype=np.float64)
        return evidence if support is None else evidence + support

    def support(self, inliers: NDArray[np.number], zooms: NDArray[np.floating]) -> Values:
        """Return the log-odds that a comparison of keypoints adds to pairs.

        Args:
            inliers: Inliers of each pair, any shape, 0 or more; -1 if its keypoints were not compared, which adds 0.
            zooms: Zoom from the smaller to the larger image of each pair, same shape, 1 or more.

        Returns:
            Float64, same shape; for compared pairs it never falls as inliers or zooms rise.
        """
        slopes = (self.comparison_cost, *self.inliers_slopes, self.zoom_slope)
        added: Values = np.tensordot(np.array(slopes), np.stack(_of_keypoints(inliers, zooms)), axes=1)
        return added


Calibrations = dict[Annotated[str, Field(pattern=r"^(all|[0-9]{1,6})$")], Calibration]
"""Calibrations by fold, and one for all folds."""


@dataclass(frozen=True)
class PairSample:
    """Out-of-fold pairs of training lesions on which a calibration is fitted.

    Attributes:
        similarity: ``(m,)``, similarity of each pair.
        is_positive: ``(m,)``, whether the pair is recorded as one of the same lesion.
        inliers: ``(m,)``, inliers, 0 or more, -1 if keypoints were not compared; None: no pair was compared.
        zooms: ``(m,)``, zooms of pairs with inliers, 1 or more; None: 1 each.
        columns: ``(2 e, m)`` from :meth:`skinbit.matching.similarity.context.Context.compared`; None: no column is
            used.
        weights: ``(m,)``, the number of pairs that each one represents, more than 0; None: 1 each.
    """

    similarity: NDArray[np.floating]
    is_positive: NDArray[np.bool_]
    inliers: NDArray[np.number] | None = None
    zooms: NDArray[np.floating] | None = None
    columns: Values | None = None
    weights: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.is_positive)


def join_samples(samples: Sequence[PairSample]) -> PairSample:
    """Return the pairs of several samples, with the features that all samples have."""

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
    """Return a calibration fitted on out-of-fold pairs of training lesions.

    Args:
        sample: The pairs.
        kind: ``logistic``, or ``isotonic`` regression on the log-odds of the logistic one.
        mislabelled: Share of the positive pairs that are recorded as negative, in [0, 1).
        columns: Names of the sample's columns.


    Raises:
        ValueError: If lengths differ, a value is not finite or out of range, or all pairs are of one kind.
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
    """Return similarities fused with the evidence of keypoints and columns.

    The result is tanh of the logistic log-odds over 8, for both kinds of calibration: 0 if a pair is as probably
    positive as negative. Probabilities would concentrate at 0 and 1, where averages cannot distinguish unlikely from
    impossible pairs, and isotonic ones have steps, on which different pairs would be equal.

    Args:
        similarities: Similarity of each pair, any shape.
        support: Log-odds from keypoints (:meth:`Calibration.support`) and metadata columns, same shape; None: no such
            evidence.
        calibration: Calibration for this kind of similarities.

    Returns:
        Float32 in [-1, 1], same shape.
    """
    fused: FloatArray = np.tanh(calibration.evidence(similarities, support) / SOFTNESS).astype(np.float32)
    return fused


class Reliability(NamedTuple):
    """Pairs in a range of probability: their number, the expected and the actual number of positive ones."""

    low: float
    high: float
    n_pairs: int
    expected: float
    found: int


@dataclass(frozen=True)
class JudgedPairs:
    """Labelled pairs with calibrated probabilities.

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
        """Return the expected and actual number of positive pairs in equally wide ranges of probability.

        Args:
            n_bins: Number of ranges; a range includes its lower edge, the last one both.
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
    """Return the expected calibration error: the mean difference of probabilities from the share of positive pairs.

    Args:
        ranges: Ranges from :meth:`JudgedPairs.reliability`. If positive pairs are rare, nearly all pairs are in the
            first range; use the pairs of a shortlist to evaluate the others.

    Returns:
        Error in [0, 1], with ranges weighted by their number of pairs; NaN without pairs.
    """
    n_pairs = sum(each.n_pairs for each in ranges)
    return sum(abs(each.expected - each.found) for each in ranges) / n_pairs if n_pairs else float("nan")


def _of_keypoints(inliers: NDArray[np.number], zooms: NDArray[np.floating]) -> list[Values]:
    """Return the features of keypoints: -1 for the comparison itself, the increments of inliers, the zoom."""
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
            f"{n_positive} of {n_pairs} pairs are positive, so there is nothing to separate. "
            "Remedy: calibrate on lesions with two images or more, and on pairs of different lesions."
        )


def _fit_logistic(
    features: Values, is_positive: NDArray[np.bool_], weights: Values, mislabelled: float, n_columns: int
) -> tuple[tuple[float, ...], float]:
    """Return slopes of 0 or more and an intercept, fitted to ``(k, m)`` features.

    The last ``n_columns`` features are log-odds of columns: their slopes are 1, or less if other features are
    redundant.
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
    # Without label noise the problem is convex with one solution. With label noise, this solution is the start.
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

    A pair of log-odds z is recorded as positive with probability ``(1 - mislabelled) · expit(z)``. Deviations of slopes
    from their expected values are penalised.
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
