"""What the pages show, and where runs are tracked."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.block import Block, PathText, split_joined


class ReportParams(Block):
    """What the pages show."""

    thumbnail: int = Field(default=224, ge=32, le=1024, description="longer side of a thumbnail, pixels")
    max_pairs: int = Field(
        default=2000, ge=1, description="most misclassified pairs of each kind that a page lists, worst first"
    )
    max_drawings: int = Field(
        default=100,
        ge=0,
        description="most drawings of matched keypoints, of an experiment's worst pairs and of new groups",
    )
    max_megabytes: float = Field(
        default=40.0, gt=0, description="most thumbnails, then drawings, in one page, in MB; the rest is left out"
    )


ArtifactKind = Literal["results", "config", "figures", "pages", "checkpoint"]


class TrackingParams(Block):
    """Where runs are tracked; this changes no result, so it is part of no fingerprint."""

    enabled: bool = Field(default=True, description="false: runs are not tracked")
    backend: Literal["mlflow", "wandb"] = Field(
        default="mlflow", description="tracking service; wandb needs the extra skinbit[wandb]"
    )
    uri: PathText | None = Field(
        default=None,
        min_length=1,
        description="address of a server, or path of a database; null: the project's own, on this machine",
    )
    experiment: str = Field(default="skinbit", min_length=1, description="name of the MLflow experiment or W&B project")
    artifacts: Annotated[tuple[ArtifactKind, ...], BeforeValidator(split_joined)] = Field(
        default=("results", "config", "figures", "pages", "checkpoint"),
        description="kinds of files that are copied there; pages show photographs and name images",
    )

    @model_validator(mode="after")
    def _wandb_has_an_address(self) -> Self:
        if self.backend == "wandb" and self.uri is not None and not self.uri.startswith(("http://", "https://")):
            raise ValueError(f"W&B keeps no runs at {self.uri}: uri is a server's address, https://…, or null")
        return self
