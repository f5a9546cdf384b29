"""What is written down about matching, as typed documents: files that come from elsewhere are read through these."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from skinbit.config import Block, GeometryParams, SimilarityParams
from skinbit.matching.methods import CUTS
from skinbit.matching.similarity.calibration import INLIER_STEPS

CutValue = Annotated[float, Field(ge=-1, le=2)]
"""A threshold, or a distance: a method knows which."""

Similarity = Annotated[float, Field(ge=-1.01, le=1.01)]
"""A cosine may leave [-1, 1] by rounding."""


class PointsDocument(Block):
    """Cuts of one subset with their counts, fewest predicted pairs first.

    See :class:`skinbit.matching.cuts.operating_points.OperatingPoints`.
    """

    cuts: tuple[CutValue, ...]
    tp: tuple[NonNegativeInt, ...]
    fp: tuple[NonNegativeInt, ...]
    n_positive_pairs: NonNegativeInt
    n_images: PositiveInt
    reach: Annotated[float, Field(ge=0, le=2)] = 2.0

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if not len(self.cuts) == len(self.tp) == len(self.fp):
            raise ValueError("cuts, tp and fp are of different lengths")
        if not (_rises(self.tp) and _rises(self.fp)):
            raise ValueError("tp and fp must not fall")
        if not (_rises(self.cuts) or _rises(self.cuts[::-1])):
            raise ValueError("cuts must rise, or fall")
        if self.tp and self.tp[-1] > self.n_positive_pairs:
            raise ValueError("there are more true positives than positive pairs")
        return self


def _rises(values: tuple[float, ...]) -> bool:
    return all(first <= second for first, second in pairwise(values))


def _of_known_methods(document: dict[str, tuple[PointsDocument, ...]]) -> dict[str, tuple[PointsDocument, ...]]:
    unknown = sorted(document.keys() - CUTS.keys())
    if unknown:
        raise ValueError(f"there is no method {unknown[0]!r} with a cut")
    if len({len(subsets) for subsets in document.values()}) > 1:
        raise ValueError("the methods have different numbers of subsets")
    return document


OperatingPointsDocument = Annotated[dict[str, tuple[PointsDocument, ...]], AfterValidator(_of_known_methods)]
"""By method, one entry per subset: :func:`skinbit.matching.cuts.operating_points.write_points`."""


class CalibrationDocument(Block):
    """A calibration: :func:`skinbit.matching.assembly.write_calibration`."""

    kind: Literal["logistic", "isotonic"]
    intercept: float
    similarity_slope: NonNegativeFloat
    inliers_slopes: Annotated[
        tuple[NonNegativeFloat, ...], Field(min_length=len(INLIER_STEPS), max_length=len(INLIER_STEPS))
    ]
    log_odds: tuple[float, ...]
    probabilities: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    pool_sizes: tuple[PositiveInt, ...] = ()
    crowdings: tuple[Annotated[float, Field(ge=-1, le=1)], ...] = ()

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if len(self.log_odds) != len(self.probabilities) or (self.kind == "isotonic") != bool(self.log_odds):
            raise ValueError("an isotonic calibration has a probability for each of its log_odds, a logistic one none")
        if not (_rises(self.log_odds) and _rises(self.probabilities)):
            raise ValueError("log_odds and probabilities must not fall")
        if len(self.pool_sizes) != len(self.crowdings) or not _rises(self.pool_sizes):
            raise ValueError("pool_sizes must rise, and each has one of crowdings")
        return self


CalibrationsDocument = dict[Annotated[str, Field(pattern=r"^(all|[0-9]{1,6})$")], CalibrationDocument]
"""By fold, and of all folds."""


class MatchingDocument(Block):
    """How a model's embeddings are matched: :func:`skinbit.matching.assembly.write_matching`."""

    operating_points: OperatingPointsDocument
    max_group_size: Annotated[int, Field(ge=2)] | None
    similarity: SimilarityParams
    geometry: GeometryParams
    calibration: CalibrationDocument | None

    @model_validator(mode="after")
    def _is_calibrated_as_it_says(self) -> Self:
        if self.similarity.is_calibrated != (self.calibration is not None):
            raise ValueError("similarity and calibration disagree on whether similarities are calibrated")
        return self
