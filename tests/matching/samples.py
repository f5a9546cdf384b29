"""Pools to test with: of every kind of similarity, well or badly told apart, with ties, copies, and hubs."""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from skinbit.config import RerankingParams, ScalingParams, SimilarityParams
from skinbit.matching.assembly import pool_of
from skinbit.matching.keypoints.shortlist import NO_SHORTLIST, Shortlist
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.neighbours import nearest_images
from skinbit.matching.pairs.pool import DEFAULT_LIMITS, Limits, Pool, similarity_matrix
from skinbit.matching.similarity.calibration import Calibration
from skinbit.matching.similarity.context import ColumnWeight, Context
from skinbit.matching.similarity.reranking import find_neighbourhoods, n_nearest

CALIBRATION = Calibration(
    kind="logistic", intercept=-9.0, similarity_slope=11.0, inliers_slopes=(0.7, 0.5, 0.6, 1.4, 2.0)
).model_copy(update={"comparison_cost": 0.8, "zoom_slope": 1.3})

COLUMNS = (
    ColumnWeight(column="sex", agreement=0.5, difference=3.0),
    ColumnWeight(column="age", agreement=1.25, difference=2.0),
)

VECTORS = ("lesions", "grid", "copies", "hub")
MADE_OF = ("cosines", "scaled", "verified", "all", "reranked", "zooms")

tile_sizes = st.sampled_from([1, 200, 5000, 2**26])


@dataclass(frozen=True)
class GivenPool(Pool):
    """Images with any symmetric similarities, also with such as no vectors have."""

    matrix: np.ndarray = field(default_factory=lambda: np.eye(0, dtype=np.float32))

    def between(self, rows, columns):
        alike = self.matrix[np.ix_(rows, columns)]
        return alike if self.neighbourhoods is None else self.neighbourhoods.mix_block(alike, rows, columns)

    def of_pairs(self, pairs):
        alike = self.matrix[tuple(pairs.T)]
        return alike if self.neighbourhoods is None else self.neighbourhoods.mix_pairs(alike, pairs)

    def subset(self, rows):
        found = given_pool(self.matrix[np.ix_(rows, rows)], self.limits)
        return found if self.neighbourhoods is None else replace(found, neighbourhoods=self.neighbourhoods.subset(rows))


def shortlist_of(pairs, inliers, zooms=None):
    """Return compared pairs, at no zoom unless it is given."""
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Shortlist(rows, np.array(inliers, dtype=np.int64), np.ones(len(rows)) if zooms is None else np.array(zooms))


def given_pool(matrix, limits=DEFAULT_LIMITS):
    return GivenPool(np.empty((len(matrix), 0), np.float32), limits=limits, matrix=np.asarray(matrix, np.float32))


def reranked_pool(pool, k1, k2, weight):
    """Return a pool, re-ranked as the engine does with any similarities."""
    nearest = nearest_images(pool, n_nearest(k1, k2))
    found = find_neighbourhoods(nearest.rows, nearest.similarities, pool.of_pairs, (k1, k2), weight)
    return replace(pool, neighbourhoods=found)


def reranked(pool, k1, k2, weight):
    """Return the matrix of re-ranked similarities."""
    return similarity_matrix(reranked_pool(pool, k1, k2, weight))


def symmetric(values):
    """Return similarities from any square: the upper triangle on both sides, 1 on the diagonal."""
    upper = np.triu(np.asarray(values, dtype=np.float32), 1)
    return upper + upper.T + np.eye(len(upper), dtype=np.float32)


def limited(pool, **limits):
    return replace(pool, limits=Limits(**limits))


@st.composite
def vectors(draw, least=1, most=30, kinds=VECTORS):
    """Embeddings, and the lesion of each image."""
    n_images, n_dims = draw(st.integers(least, most)), draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    labels = rng.integers(0, max(1, n_images // draw(st.integers(1, 4))), n_images)
    noise = rng.normal(size=(n_images, n_dims))
    found = rng.normal(size=(n_images, n_dims))[labels] + draw(st.floats(0.05, 1.5)) * noise
    kind = draw(st.sampled_from(kinds))
    if kind == "grid":
        found = rng.integers(-2, 3, size=(n_images, n_dims)) + 1e-3
    if kind == "copies":
        found = found[rng.integers(0, n_images, n_images)]
    if kind == "hub":
        found[: n_images // 2] = found[0] + 1e-2 * found[: n_images // 2]
    return unit_vectors(found), labels


@st.composite
def pools(draw, least=1, most=30, kinds=VECTORS, made_of=MADE_OF):
    """A pool, and the lesion of each image."""
    embeddings, labels = draw(vectors(least, most, kinds))
    made = draw(st.sampled_from(made_of))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shortlist, calibration, scaling, reranking, context = NO_SHORTLIST, None, None, None, None
    if made == "zooms":
        views = [unit_vectors(embeddings + 0.5 * rng.normal(size=embeddings.shape)) for _ in range(3)]
        embeddings = np.stack([embeddings, *views], axis=1)
    if made in ("scaled", "all", "zooms"):
        scaling = ScalingParams(share=0.1, least=2)
    if made in ("verified", "all"):
        pairs = np.argwhere(np.triu(rng.random((len(labels), len(labels))) < 0.2, 1))
        shortlist = Shortlist(pairs, rng.integers(0, 40, len(pairs)), rng.choice([1.0, 1.5, 3.2], len(pairs)))
        usual = {"pool_sizes": (2, 20), "crowdings": (0.1, 0.3)} if scaling else {}
        calibration = CALIBRATION.model_copy(update=usual)
    if made == "all":
        values = rng.choice([0.0, 1.0, 2.0, np.nan], (3, len(labels)))
        context = Context(values[:1], values[1:], np.array([0.0, 1.0]))
        calibration = calibration.model_copy(update={"columns": COLUMNS})
    if made in ("reranked", "all"):
        reranking = RerankingParams(k1=draw(st.integers(1, 6)), k2=draw(st.integers(1, 4)), weight=0.3)
    params = SimilarityParams(scaling=scaling, reranking=reranking)
    return pool_of(embeddings, params, shortlist, calibration, context), labels


@st.composite
def untied(draw, least=2, most=14):
    """A matrix of which no two pairs are equally similar."""
    n_images = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return symmetric(rng.uniform(-1, 1, (n_images, n_images)))


@st.composite
def tied(draw, least=2, most=14):
    """A matrix of multiples of 1/4, often equal and not always those of vectors."""
    n_images = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return symmetric(rng.integers(-4, 5, (n_images, n_images)) / 4)


def any_matrix(least=2, most=14):
    return st.one_of(untied(least, most), tied(least, most))


def on_circle(*degrees):
    angles = np.radians(degrees)
    return unit_vectors(np.c_[np.cos(angles), np.sin(angles)])
