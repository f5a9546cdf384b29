"""Assembly of the similarity of two photographs: cosine, local scaling, keypoints, calibration, re-ranking."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from skinbit.config import Block, GeometryParams, ScalingParams, SimilarityParams
from skinbit.matching.cuts.operating_points import PointsOfSubsets
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST, Shortlist
from skinbit.matching.labels import FloatArray, LabelArray
from skinbit.matching.pairs.neighbours import nearest_images
from skinbit.matching.pairs.pool import DEFAULT_LIMITS, Limits, Pool
from skinbit.matching.pairs.sampling import sample_pairs
from skinbit.matching.similarity.calibration import (
    Calibration,
    JudgedPairs,
    PairSample,
    fit_calibration,
    join_samples,
)
from skinbit.matching.similarity.context import Context, weigh
from skinbit.matching.similarity.hubness import (
    Hubness,
    UsualHubness,
    hubness,
    missing_hubness,
    scale,
    usual_hubness,
)
from skinbit.matching.similarity.reranking import find_neighbourhoods, n_nearest

FITTED_ON_SYNTHETIC = "synthetic photographs; a study of photographs with labels of your own is better"
"""Note about a model that was fitted without real lesions."""

_NOTHING_USUAL: UsualHubness = ((), ())
"""Usual hubness if similarities are not scaled or the hubness of small pools is unknown."""


def pool_of(
    embeddings: FloatArray,
    params: SimilarityParams,
    shortlist: Shortlist = NO_SHORTLIST,
    calibration: Calibration | None = None,
    context: Context | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Pool:
    """Return a pool: images with everything needed to compute their similarities.

    Args:
        embeddings: ``(n, d)`` from :func:`skinbit.matching.labels.unit_vectors`.
        params: Settings of scaling and re-ranking.
        shortlist: The pairs whose keypoints were compared.
        calibration: Calibration from other lesions; None: similarities stay cosines, scaled or not.
        context: Metadata columns; None: no column is used.
        limits: Limits on the pairs that observers hold at once.

    """
    found = None if params.scaling is None else _hubness(embeddings, params.scaling, _usual_of(calibration))
    pool = Pool(embeddings, calibration, found, context=context, limits=limits)
    if calibration is not None:
        first, second = shortlist.pairs.T
        keys = np.concatenate([first * len(pool) + second, second * len(pool) + first])
        order = np.argsort(keys)
        support = calibration.support(shortlist.inliers, shortlist.zooms)
        pool = replace(pool, keys=keys[order], support=np.tile(support, 2)[order])
    if params.reranking is not None:
        k1, k2 = params.reranking.k1, params.reranking.k2
        nearest = nearest_images(pool, n_nearest(k1, k2))
        neighbourhoods = find_neighbourhoods(
            nearest.rows, nearest.similarities, pool.of_pairs, (k1, k2), params.reranking.weight
        )
        pool = replace(pool, neighbourhoods=neighbourhoods)
    return pool


class Matching(Block):
    """How a model's embeddings are matched.

    Attributes:
        operating_points: Cuts that each subset would choose for a pool of any size.
        max_group_size: Largest group of the linkages with these cuts.
        similarity: Settings of the similarity.
        geometry: Settings of keypoints.
        calibration: Calibration; None if similarities are not calibrated.
        odds: Odds of every subset, from which a pool chooses its own cut.
        is_synthetic: Whether everything was fitted on synthetic photographs.
    """

    operating_points: PointsOfSubsets
    max_group_size: Annotated[int, Field(ge=2)] | None
    similarity: SimilarityParams
    geometry: GeometryParams
    calibration: Calibration | None
    odds: tuple[PairOdds, ...] = ()
    is_synthetic: bool = False

    @model_validator(mode="after")
    def _is_calibrated_as_it_says(self) -> Self:
        if self.similarity.is_calibrated != (self.calibration is not None):
            raise ValueError("similarity and calibration disagree on whether similarities are calibrated")
        return self

    def pool(
        self,
        embeddings: FloatArray,
        shortlist: Shortlist = NO_SHORTLIST,
        context: Context | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Pool:
        """Return images with the similarities that the model's cross-validation would compute.

        Args:
            embeddings: ``(n, d)`` embeddings of the model.
            shortlist: The pairs whose keypoints were compared.
            context: Metadata columns; None: no metadata.
            limits: Limits on the pairs that observers hold at once.
        """
        return pool_of(embeddings, self.similarity, shortlist, self.calibration, context, limits)


@dataclass(frozen=True)
class LabelledPool:
    """A subset on which a calibration is fitted.

    Attributes:
        embeddings: ``(n, d)``, from a model that was not trained on these lesions.
        labels: ``(n,)`` the lesion of each image.
        shortlist: The pairs whose keypoints were compared.
        context: Metadata columns; None: no column is used.
    """

    embeddings: FloatArray
    labels: LabelArray
    shortlist: Shortlist
    context: Context | None = None


def calibrate(pools: Sequence[LabelledPool], params: SimilarityParams) -> Calibration:
    """Return a calibration fitted on all pairs of some subsets; pairs outside of a shortlist have no inliers.

    Args:
        pools: The subsets.
        params: Kind of calibration, scaling, and whether keypoints were compared.


    Raises:
        ValueError: If there is no positive or no negative pair.
    """
    usual = _NOTHING_USUAL
    if params.scaling is not None:
        usual = usual_hubness([(pool.embeddings, pool.labels) for pool in pools], params.scaling)
    sample = join_samples([_pairs_of(pool, params.scaling, usual) for pool in pools])
    if not params.verification:
        sample = replace(sample, inliers=None, zooms=None)
    columns = () if params.context is None else tuple(params.context.evidence)
    fitted = fit_calibration(sample, params.calibration or "logistic", columns=columns)
    return fitted.model_copy(update={"pool_sizes": usual[0], "crowdings": usual[1]})


def judged_pairs(calibration: Calibration, pool: LabelledPool, params: SimilarityParams) -> JudgedPairs:
    """Return the near pairs of a subset that a calibration was not fitted on, with their probabilities.

    Args:
        calibration: Calibration from other subsets.
        pool: The subset.
        params: Settings of the similarity.

    Returns:
        The pairs of the shortlist or, without one, all positive pairs and a sample of the others.
    """
    usual = _usual_of(calibration)
    if params.verification:
        first, second = pool.shortlist.pairs.T
        similarity = _scaled_pairs(pool, pool.shortlist.pairs, params.scaling, usual)
        is_positive = pool.labels[first] == pool.labels[second]
        support = calibration.support(pool.shortlist.inliers, pool.shortlist.zooms)
        if pool.context is not None:
            support = support + pool.context.support(first, second, calibration.columns)
        probabilities = calibration.score(similarity, support)
    else:
        sample = _pairs_of(pool, params.scaling, usual)
        of_columns = None if sample.columns is None else weigh(sample.columns, calibration.columns)
        is_positive, probabilities = sample.is_positive, calibration.score(sample.similarity, of_columns)
    return JudgedPairs(probabilities, is_positive)


def _usual_of(calibration: Calibration | None) -> UsualHubness:
    return _NOTHING_USUAL if calibration is None else (calibration.pool_sizes, calibration.crowdings)


def _hubness(embeddings: FloatArray, scaling: ScalingParams, usual: UsualHubness) -> Hubness:
    """Return the hubness of a pool's images, corrected to a pool as large as the folds."""
    return hubness(embeddings, scaling) + missing_hubness(len(embeddings), *usual)


def _scaled_pairs(
    pool: LabelledPool, pairs: LabelArray, scaling: ScalingParams | None, usual: UsualHubness
) -> FloatArray:
    """Return the scaled cosines of some pairs of a subset."""
    cosines = Pool(pool.embeddings).of_pairs(pairs)
    if scaling is None:
        return cosines
    first, second = _hubness(pool.embeddings, scaling, usual)[pairs].T
    return scale(cosines, first, second)


def _pairs_of(pool: LabelledPool, scaling: ScalingParams | None, usual: UsualHubness) -> PairSample:
    """Return all positive and all compared pairs of a subset, and a sample of the others with weights."""
    listed = pool.shortlist.pairs
    pairs, weights = sample_pairs(pool.labels, listed)
    inliers, zooms = np.full(len(pairs), -1), np.ones(len(pairs))
    n_images = len(pool.labels)
    compared = np.searchsorted(pairs[:, 0] * n_images + pairs[:, 1], listed[:, 0] * n_images + listed[:, 1])
    inliers[compared], zooms[compared] = pool.shortlist.inliers, pool.shortlist.zooms
    return PairSample(
        similarity=_scaled_pairs(pool, pairs, scaling, usual),
        is_positive=pool.labels[pairs[:, 0]] == pool.labels[pairs[:, 1]],
        inliers=inliers,
        zooms=zooms,
        columns=pool.context.compared(*pairs.T) if pool.context is not None and len(pool.context.evidence) else None,
        weights=weights,
    )
