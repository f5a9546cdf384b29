"""What pages show, and where runs are tracked."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from skinbit.config.block import Block, split_joined


class ReportParams(Block):
    """What pages show."""

    thumbnail: int = Field(default=224, ge=32, le=1024, description="longer side of a thumbnail, pixels")
    max_pairs: int = Field(default=2000, ge=1, description="listed misclassified pairs of each kind, worst first")
    max_drawings: int = Field(
        default=100, ge=0, description="of matched points: an experiment's worst pairs; groups of new photographs"
    )
    max_megabytes: float = Field(
        default=40.0, gt=0, description="of thumbnails, then drawings, in one page; the rest are left out"
    )


ArtifactKind = Literal["results", "config", "figures", "pages", "checkpoint"]


class TrackingParams(Block):
    """Where runs are written down; changes no result, so it is part of no fingerprint."""

    enabled: bool = True
    backend: Literal["mlflow", "wandb"] = Field(default="mlflow", description="wandb: needs the extra skinbit[wandb]")
    uri: str | None = Field(
        default=None, min_length=1, description="of a server or database; none: the project's own, on this machine"
    )
    experiment: str = Field(default="skinbit", min_length=1, description="MLflow experiment, or W&B project")
    artifacts: Annotated[tuple[ArtifactKind, ...], BeforeValidator(split_joined)] = Field(
        default=("results", "config", "figures", "pages", "checkpoint"),
        description="what files are copied; pages show photographs and name images",
    )
