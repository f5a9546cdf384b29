"""How the similarity of two photographs is computed."""

from math import ceil
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from skinbit.config.block import Block, Columns, split_joined


class GeometryParams(Block):
    """How the keypoints of two photographs are matched: by the similarity transform on which most matches agree."""

    neighbours: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="number of nearest images with which each image's keypoints are compared",
    )
    more_neighbours: int = Field(
        default=16,
        ge=0,
        le=1000,
        description="the same number for images that agree with none of these; up to neighbours: no more",
    )
    enough_inliers: int = Field(
        default=12,
        ge=1,
        le=10_000,
        description="matched keypoints from which two images count as partners while pairs are proposed",
    )
    image_side: int = Field(
        default=300, ge=64, le=4096, description="photographs are first scaled to this longer side, pixels"
    )
    n_keypoints: int = Field(
        default=500,
        ge=10,
        le=10_000,
        description="largest number of keypoints per image; those with most contrast are kept",
    )
    min_contrast: float = Field(
        default=0.003,
        ge=0,
        le=0.5,
        description="smallest contrast of a keypoint, as a share of the full range; OpenCV's 0.04 is meant for scenes",
    )
    ratio: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Lowe's ratio: a match is accepted if its distance is below this share of the second nearest",
    )
    tolerance: float = Field(
        default=8.0,
        gt=0,
        le=100,
        description="largest distance of an inlier from its transformed position, pixels of the scaled images",
    )
    min_matches: int = Field(
        default=3, ge=2, le=100, description="smallest number of inliers; a pair with fewer counts as having none"
    )


class WhiteningParams(Block):
    """Whitening of embeddings: all directions are scaled to the same variance, fitted on the training lesions."""

    kind: Literal["pca", "learned"] = Field(
        default="learned",
        description="covariance that is whitened; pca: of all images; learned: of the differences within lesions",
    )
    dim: int | None = Field(default=None, ge=2, le=65536, description="number of directions that are kept; null: all")
    shrinkage: float = Field(
        default=0.1, gt=0, le=1, description="weight of the identity that is mixed into the covariance"
    )


class ScalingParams(Block):
    """Local scaling (CSLS): each image's mean similarity to its nearest neighbours is subtracted from its cosines."""

    share: float = Field(
        default=0.0125, gt=0, le=1, description="share of the pool that counts as an image's nearest neighbours"
    )
    least: int = Field(default=4, ge=1, description="smallest number of nearest neighbours")
    most: int | None = Field(default=None, ge=1, description="largest number of nearest neighbours; null: no limit")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError(f"most is {self.most}, but least is {self.least}: lower least, or raise most")
        return self

    @property
    def least_pool(self) -> int:
        """Return the smallest pool in which the share, and not `least`, decides the number of neighbours."""
        return ceil(self.least / self.share)

    def n_near(self, n_images: int) -> int:
        """Return the number of nearest neighbours in a pool of ``n_images``."""
        wanted = max(self.least, round(self.share * n_images))
        return wanted if self.most is None else min(wanted, self.most)


class RerankingParams(Block):
    """K-reciprocal re-ranking: each similarity is mixed with the overlap of both images' neighbourhoods."""

    k1: int = Field(default=4, ge=1, le=1000, description="number of nearest images in a neighbourhood")
    k2: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="number of images whose neighbourhoods are averaged (query expansion), including the image itself",
    )
    weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the similarity; the overlap has the remaining weight"
    )


class EvidenceParams(Block):
    """When two photographs agree in a column of the metadata."""

    kind: Literal["exact", "number", "date"] = Field(
        default="exact",
        description="how values are read; exact: as text, whatever the case; date: 2026-11-28, with or without a time",
    )
    tolerance: float = Field(
        default=0.0, ge=0, description="largest difference between two values that agree; days for dates"
    )

    @model_validator(mode="after")
    def _texts_have_no_difference(self) -> Self:
        if self.kind == "exact" and self.tolerance:
            raise ValueError("tolerance is for the kinds number and date: name one of them, or leave it out")
        return self


class ContextParams(Block):
    """Columns of the metadata that are used when images are compared: some must agree, others count as evidence."""

    same: Columns = Field(
        default=(),
        description="columns that must agree where both photographs have a value, e.g. [patient_id]",
    )
    evidence: dict[str, EvidenceParams] = Field(
        default_factory=dict,
        description="columns whose agreement makes a pair more probable; the folds give its weight, e.g. {sex: exact}",
    )

    @field_validator("evidence", mode="before")
    @classmethod
    def _kind_alone(cls, given: Any) -> Any:
        named = given if isinstance(given, dict) else dict.fromkeys(split_joined(given), "exact")
        return {column: {"kind": of} if isinstance(of, str) else of for column, of in named.items()}

    @model_validator(mode="after")
    def _columns_say_something_else(self) -> Self:
        answers = {"lesion_id", "image_id"} & {*self.same, *self.evidence}
        if answers:
            raise ValueError(f"{min(answers)} cannot be evidence: name other columns of the metadata")
        doubled = sorted({*self.same} & {*self.evidence})
        if doubled:
            raise ValueError(f"{doubled[0]} is in same and in evidence: name it once")
        if not self.columns:
            raise ValueError("context names no column: name some in same or evidence, or set context to null")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Return all columns, those that must agree first."""
        return (*self.same, *self.evidence)


class ContextsParams(Block):
    """The columns of the metadata that each experiment uses."""

    by_experiment: dict[str, ContextParams]


class SimilarityParams(Block):
    """The stages of the similarity of two photographs; by default it is the cosine of their embeddings."""

    whitening: WhiteningParams | None = Field(default=None, description="null: embeddings are not whitened")
    zoom_pairs: bool = Field(
        default=False,
        description="true: average the cosine with that of the most similar pair of zooms, one zoom of each image",
    )
    scaling: ScalingParams | None = Field(default=None, description="null: cosines are not scaled")
    reranking: RerankingParams | None = Field(default=None, description="null: no re-ranking")
    verification: bool = Field(default=False, description="true: the keypoints of nearest images are compared, too")
    context: ContextParams | None = Field(default=None, description="null: no column of the metadata is used")
    calibration: Literal["logistic", "isotonic"] | None = Field(
        default=None,
        description="how log-odds are fitted on pairs of other folds; "
        "null: logistic with verification, scaling or context, otherwise none",
    )

    @field_validator("whitening", "scaling", "reranking", mode="before")
    @classmethod
    def _true_means_defaults(cls, given: object) -> object:
        return {True: {}, False: None}[given] if isinstance(given, bool) else given

    @property
    def is_calibrated(self) -> bool:
        """Whether the similarity is calibrated on pairs of other folds."""
        stages = (self.scaling, self.context, self.calibration)
        return self.verification or any(stage is not None for stage in stages)
