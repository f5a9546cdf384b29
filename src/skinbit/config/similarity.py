"""How the similarity of two photographs is computed."""

from math import ceil
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from skinbit.config.block import Block, Columns, split_joined


class GeometryParams(Block):
    """How keypoints of two photographs are matched: the similarity transform on which most matches agree counts."""

    neighbours: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="most similar images of each image whose keypoints are compared with its own",
    )
    more_neighbours: int = Field(
        default=16,
        ge=0,
        le=1000,
        description="the same of images that agree with none of those; not above neighbours: no more are compared",
    )
    enough_inliers: int = Field(
        default=12,
        ge=1,
        le=10_000,
        description="two images that agree on so many keypoints are taken as partners where pairs are proposed",
    )
    image_side: int = Field(
        default=300, ge=64, le=4096, description="photographs are first scaled to this longer side, pixels"
    )
    n_keypoints: int = Field(
        default=500, ge=10, le=10_000, description="keypoints that are kept per image, those with most contrast"
    )
    min_contrast: float = Field(
        default=0.003,
        ge=0,
        le=0.5,
        description="least contrast of a keypoint, as a share of the full range; OpenCV's 0.04 is meant for scenes",
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
        description="an inlier lies within this distance of where the transform puts it, pixels of the scaled images",
    )
    min_matches: int = Field(
        default=3, ge=2, le=100, description="least number of inliers; with fewer, a pair counts as having none"
    )


class WhiteningParams(Block):
    """Whitens embeddings: scales all directions to the same variance, fitted on the training lesions."""

    kind: Literal["pca", "learned"] = Field(
        default="learned",
        description="covariance to whiten; pca: that of all images; learned: that of differences within lesions",
    )
    dim: int | None = Field(default=None, ge=2, le=65536, description="directions that are kept; null: all")
    shrinkage: float = Field(
        default=0.1, gt=0, le=1, description="weight of the identity that is mixed into the covariance"
    )


class ScalingParams(Block):
    """Subtracts from a cosine each image's mean similarity to its nearest neighbours (local scaling, CSLS)."""

    share: float = Field(
        default=0.0125, gt=0, le=1, description="share of the pool that counts as an image's nearest neighbours"
    )
    least: int = Field(default=4, ge=1, description="least number of nearest neighbours")
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
    """Mixes each similarity with the overlap of both images' neighbourhoods (k-reciprocal re-ranking)."""

    k1: int = Field(default=4, ge=1, le=1000, description="size of a neighbourhood: the nearest other images")
    k2: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="images whose neighbourhoods are averaged (query expansion), the image itself included",
    )
    weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the similarity itself; the rest is the overlap"
    )


class EvidenceParams(Block):
    """When two photographs agree in a column of the metadata."""

    kind: Literal["exact", "number", "date"] = Field(
        default="exact",
        description="how values are read; exact: as text, whatever the case; date: 2026-11-28, with or without a time",
    )
    tolerance: float = Field(
        default=0.0, ge=0, description="largest difference of two values that agree, in days where they are dates"
    )

    @model_validator(mode="after")
    def _texts_have_no_difference(self) -> Self:
        if self.kind == "exact" and self.tolerance:
            raise ValueError("tolerance is for the kinds number and date: name one of them, or leave it out")
        return self


class ContextParams(Block):
    """What the metadata says beside the pictures: columns that must agree, and columns that count as evidence."""

    same: Columns = Field(
        default=(),
        description="columns that must agree where both photographs have a value, e.g. [patient_id]",
    )
    evidence: dict[str, EvidenceParams] = Field(
        default_factory=dict,
        description="columns that make one lesion more or less probable, weighed by the folds, e.g. {sex: exact}",
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
            raise ValueError(f"{min(answers)} is no evidence: name other columns of the metadata")
        doubled = sorted({*self.same} & {*self.evidence})
        if doubled:
            raise ValueError(f"{doubled[0]} is in same and in evidence: name it once")
        if not self.columns:
            raise ValueError("context names no column: name some in same or evidence, or set context to null")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Return all columns that it names."""
        return (*self.same, *self.evidence)


class ContextsParams(Block):
    """The columns of the metadata that count, by experiment."""

    by_experiment: dict[str, ContextParams]


class SimilarityParams(Block):
    """The stages of the similarity of two photographs; by default it is the cosine of their embeddings."""

    whitening: WhiteningParams | None = Field(default=None, description="null: embeddings are not whitened")
    zoom_pairs: bool = Field(
        default=False,
        description="true: half of a cosine is that of the two most similar zooms of both photographs, one of each",
    )
    scaling: ScalingParams | None = Field(default=None, description="null: cosines are not scaled")
    reranking: RerankingParams | None = Field(default=None, description="null: no re-ranking")
    verification: bool = Field(
        default=False, description="true: pairs of nearest images are verified by their keypoints"
    )
    context: ContextParams | None = Field(default=None, description="null: no column of the metadata counts")
    calibration: Literal["logistic", "isotonic"] | None = Field(
        default=None,
        description="fit of the log-odds on pairs of other folds; "
        "null: logistic if verified, scaled or with context, otherwise none",
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
