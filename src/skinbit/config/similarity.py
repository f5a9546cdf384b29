"""What makes two photographs alike."""

from math import ceil
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from skinbit.config.block import Block


class GeometryParams(Block):
    """Whether two photographs show the same places: keypoints, and the similarity transform that joins most of them."""

    neighbours: int = Field(default=8, ge=1, le=1000, description="of each image, its most similar ones, are compared")
    image_side: int = Field(
        default=300, ge=64, le=4096, description="longer side that photographs are scaled to first, pixels"
    )
    n_keypoints: int = Field(default=500, ge=10, le=10_000, description="per image, those with most contrast")
    min_contrast: float = Field(
        default=0.003, ge=0, le=0.5, description="of a keypoint, share of the whole range; OpenCV's 0.04 is for scenes"
    )
    ratio: float = Field(
        default=0.85, gt=0, le=1, description="of a match, distance of descriptors / that of the second nearest is less"
    )
    tolerance: float = Field(
        default=8.0, gt=0, le=100, description="how near a transform must put a match, pixels of scaled images"
    )
    min_matches: int = Field(default=3, ge=2, le=100, description="with fewer that agree there are no inliers")


class WhiteningParams(Block):
    """Evens out the directions of embeddings, fitted on training lesions."""

    kind: Literal["pca", "learned"] = Field(
        default="learned", description="pca: of all images; learned: of what differs between images of one lesion"
    )
    dim: int | None = Field(default=None, ge=2, le=65536, description="directions to keep; none: all")
    shrinkage: float = Field(default=0.1, gt=0, le=1, description="share of the covariance replaced by a sphere")


class ScalingParams(Block):
    """Takes off a cosine how alike both images are to their surroundings (local scaling)."""

    share: float = Field(default=0.0125, gt=0, le=1, description="of a pool's images that are an image's surroundings")
    least: int = Field(default=4, ge=1, description="images that they are at least")
    most: int | None = Field(default=None, ge=1, description="images that they are at most; none: any number")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError(f"most is {self.most}, but least is {self.least}: lower least, or raise most")
        return self

    @property
    def least_pool(self) -> int:
        """Give the number of images from which on surroundings are a share of the pool."""
        return ceil(self.least / self.share)

    def n_near(self, n_images: int) -> int:
        """Count the images that are an image's surroundings in a pool of so many."""
        wanted = max(self.least, round(self.share * n_images))
        return wanted if self.most is None else min(wanted, self.most)


class RerankingParams(Block):
    """Mixes similarities with the overlap of neighbourhoods (k-reciprocal re-ranking)."""

    k1: int = Field(default=4, ge=1, le=1000, description="nearest other images that are a neighbourhood")
    k2: int = Field(default=1, ge=1, le=1000, description="images whose neighbourhoods are averaged, itself included")
    weight: float = Field(default=0.5, ge=0, le=1, description="share of the similarity itself")


class SimilarityParams(Block):
    """What the similarity of two photographs is; the default is the cosine of their embeddings."""

    whitening: WhiteningParams | None = Field(default=None, description="none: embeddings as they are")
    scaling: ScalingParams | None = Field(default=None, description="none: cosines as they are")
    reranking: RerankingParams | None = Field(default=None, description="none: no re-ranking")
    verification: bool = Field(default=False, description="compare each image with its nearest by keypoints")
    calibration: Literal["logistic", "isotonic"] | None = Field(
        default=None,
        description="fitted on pairs of other folds; groups rest on log-odds either way; none: if verified or scaled",
    )

    @field_validator("whitening", "scaling", "reranking", mode="before")
    @classmethod
    def _true_means_defaults(cls, given: object) -> object:
        return {True: {}, False: None}[given] if isinstance(given, bool) else given

    @property
    def is_calibrated(self) -> bool:
        """Tell whether a calibration makes the similarity, fitted on pairs of other folds."""
        return self.verification or self.scaling is not None or self.calibration is not None
