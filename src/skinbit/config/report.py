"""What the pages show, and where runs are tracked."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.block import Block, PathText, split_joined


class ReportParams(Block):
    """What the pages show."""

    thumbnail: int = Field(default=224, ge=32, le=1024, description="longer side of a thumbnail, pixels")
    max_pairs: int = Field(
        default=2000, ge=1, description="largest number of misclassified pairs of each kind on a page, worst first"
    )
    max_drawings: int = Field(
        default=100,
        ge=0,
        description="largest number of drawings of matched keypoints, for misclassified pairs and for new groups",
    )
    max_megabytes: float = Field(
        default=40.0,
        gt=0,
        description="largest size of the images in one page, MB; thumbnails come first, then drawings",
    )


ArtifactKind = Literal["results", "config", "figures", "pages", "checkpoint"]


class TrackingParams(Block):
    """Where runs are tracked; results and fingerprints do not depend on it."""

    enabled: bool = Field(default=True, description="false: runs are not tracked")
    backend: Literal["mlflow", "wandb"] = Field(
        default="mlflow", description="tracking service; wandb needs the extra skinbit[wandb]"
    )
    uri: PathText | None = Field(
        default=None,
        min_length=1,
        description="address of a server, or path of a database; null: the local database of the project",
    )
    experiment: str = Field(default="skinbit", min_length=1, description="name of the MLflow experiment or W&B project")
    artifacts: Annotated[tuple[ArtifactKind, ...], BeforeValidator(split_joined)] = Field(
        default=("results", "config", "figures", "pages", "checkpoint"),
        description="kinds of files that are uploaded; pages show photographs and image ids",
    )

    @model_validator(mode="after")
    def _wandb_has_an_address(self) -> Self:
        if self.backend == "wandb" and self.uri is not None and not self.uri.startswith(("http://", "https://")):
            raise ValueError(f"tracking.uri cannot be {self.uri} for W&B: set a server's address, https://…, or null")
        return self
