"""Random studies: embeddings, lesions, and everything else that a figure depends on, from a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skinbit.config import EvaluationParams, ScalingParams, SimilarityParams
from skinbit.matching.assembly import pool_of
from skinbit.matching.clustering.constraints import Constraints
from skinbit.matching.expected.odds import LEVELS, PairOdds
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.similarity.calibration import Calibration
from skinbit.reference.groups import Rules
from skinbit.reference.similarity import Compared

VECTORS = ("lesions", "noise", "grid", "copies", "hub", "one point", "axes")
STAGES = ("cosines", "zooms", "scaled", "verified", "all")
RANGES = (((-1.0, 1.0), (0.0, 2.0)), ((0.2, 0.9), (0.1, 0.7)), ((0.95, 1.0), (0.05, 0.3)), ((-1.0, 0.0), (1.0, 2.0)))


@dataclass(frozen=True)
class Study:
    """One random pool with its lesions and settings.

    Attributes:
        vectors: Embeddings.
        labels: Lesion of each image.
        similarity: Settings of the similarity.
        calibration: Coefficients, if similarities are calibrated.
        compared: Pairs whose keypoints were compared.
        params: Searched ranges and largest group.
        odds: Odds of other folds.
        constraints: Known lesions of the last images, and answers about pairs.
        rng: Source of further choices.
    """

    vectors: np.ndarray
    labels: np.ndarray
    similarity: SimilarityParams
    calibration: Calibration | None
    compared: tuple[Compared, ...]
    params: EvaluationParams
    odds: tuple[PairOdds, ...]
    constraints: Constraints
    rng: np.random.Generator

    @property
    def pool(self) -> Pool:
        """The pool as the product sees it."""
        rows = np.array([each[:2] for each in self.compared], dtype=np.int64).reshape(-1, 2)
        inliers = np.array([each.inliers for each in self.compared], dtype=np.int64)
        shortlist = Shortlist(rows, inliers, np.array([each.zoom for each in self.compared], dtype=np.float64))
        return pool_of(self.vectors, self.similarity, shortlist, self.calibration)

    @property
    def scaling(self) -> dict[str, Any] | None:
        return None if self.similarity.scaling is None else self.similarity.scaling.model_dump()

    @property
    def coefficients(self) -> dict[str, Any] | None:
        return None if self.calibration is None else self.calibration.model_dump()

    @property
    def lesion_ids(self) -> list[str]:
        return [f"lesion {label:02}" for label in self.labels.tolist()]

    @property
    def rules(self) -> Rules:
        """The constraints as the reference reads them."""
        must, cannot = (
            [tuple(pair) for pair in pairs.tolist()] for pairs in (self.constraints.must, self.constraints.cannot)
        )
        return Rules(self.constraints.known.tolist(), must, cannot)

    def value_in(self, values: np.ndarray) -> float:
        """Choose one of some values, or any number near them."""
        if len(values) and self.rng.random() < 0.5:
            return float(self.rng.choice(values))
        return float(self.rng.uniform(values.min(initial=0.0) - 0.1, values.max(initial=1.0) + 0.1))


def make_study(seed: int) -> Study:
    """Return the study of a seed."""
    rng = np.random.default_rng(seed)
    n_images = int(rng.integers(1, rng.choice([4, 12, 26])))
    labels = rng.integers(0, max(1, n_images // rng.integers(1, 5)), n_images)
    vectors, stage = _vectors(rng, labels), rng.choice(STAGES)
    if stage == "zooms":
        views = [unit_vectors(vectors + rng.choice([0.0, 0.5]) * rng.normal(size=vectors.shape)) for _ in range(3)]
        vectors = np.stack([vectors, *views], axis=1)
    scaling = ScalingParams(share=rng.choice([0.1, 0.5]), least=int(rng.integers(1, 4)), most=rng.choice([None, 4]))
    is_scaled, is_verified = stage in ("scaled", "all"), stage in ("verified", "all")
    compared = _compared(rng, n_images) if is_verified else ()
    searched = RANGES[rng.integers(len(RANGES))]
    cap = rng.choice([2, 3, 4, None])
    return Study(
        vectors,
        labels,
        SimilarityParams(scaling=scaling if is_scaled else None, verification=is_verified),
        _calibration(rng, is_scaled) if is_scaled or is_verified else None,
        compared,
        EvaluationParams(threshold_range=searched[0], eps_range=searched[1], max_group_size=cap),
        tuple(_odds(rng) for _ in range(rng.integers(1, 4))),
        _constraints(rng, labels),
        rng,
    )


def _vectors(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    shape = len(labels), int(rng.integers(2, 8))
    noise, kind = rng.normal(size=shape), rng.choice(VECTORS)
    found = rng.normal(size=shape)[labels] + rng.uniform(0.05, 1.5) * noise
    if kind == "noise":
        found = noise
    if kind == "grid":
        found = rng.integers(-2, 3, size=shape) + 1e-3
    if kind == "copies":
        found = found[rng.integers(0, len(labels), len(labels))]
    if kind == "hub":
        found[: len(labels) // 2] = found[0] + 1e-2 * found[: len(labels) // 2]
    if kind == "one point":
        found = np.ones(shape)
    if kind == "axes":  # cosines of -1, 0 and 1
        found = np.eye(shape[1])[rng.integers(0, shape[1], len(labels))] * rng.choice([-1, 1], (len(labels), 1))
    return unit_vectors(found)


def _compared(rng: np.random.Generator, n_images: int) -> tuple[Compared, ...]:
    rows = np.argwhere(np.triu(rng.random((n_images, n_images)) < 0.2, 1)).tolist()
    inliers = [int(each) for each in rng.choice([0, 1, 3, 7, 24, 40], len(rows))]
    zooms = [float(rng.choice([1.0, 1.5, 3.2])) if each else 1.0 for each in inliers]
    return tuple(Compared(*pair, *agreed) for pair, agreed in zip(rows, zip(inliers, zooms, strict=True), strict=True))


def _calibration(rng: np.random.Generator, is_scaled: bool) -> Calibration:
    return Calibration(
        kind="logistic",
        intercept=rng.uniform(-12, 0),
        similarity_slope=rng.choice([0.0, 3.0, 11.0, 60.0]),
        inliers_slopes=tuple(rng.uniform(0, 2, 5).tolist()),
        comparison_cost=rng.uniform(0, 2),
        zoom_slope=rng.uniform(0, 2),
        pool_sizes=(2, 20) if is_scaled else (),
        crowdings=(0.1, 0.3) if is_scaled else (),
    )


def _odds(rng: np.random.Generator) -> PairOdds:
    quantiles = np.sort(rng.normal(8, 6, len(LEVELS)))
    return PairOdds(
        intercept=rng.uniform(-9, 2),
        slope=rng.choice([0.01, 0.3, 1.0, 4.0]),
        prior=rng.choice([1e-4, 0.01, 0.3]),
        positives=tuple(quantiles.tolist()) if rng.random() < 0.8 else (),
    )


def _constraints(rng: np.random.Generator, labels: np.ndarray) -> Constraints:
    """Return constraints that do not contradict: they all follow from the lesions."""
    n_images = len(labels)
    n_new = n_images - int(rng.integers(0, 1 + n_images // 2))
    known = np.where(np.arange(n_images) < n_new, -1, labels)
    same = np.equal.outer(labels, labels)
    drawn = np.triu(rng.random(same.shape) < rng.choice([0.0, 0.1, 0.4]), 1)
    return Constraints(known, np.argwhere(drawn & same), np.argwhere(drawn & ~same))
