"""How pairs are predicted and judged, in folds, in new photographs, and in an audit."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.block import Block, Name, split_joined


class CutParams(Block):
    """Which cuts are searched, and how large groups may become."""

    threshold_range: tuple[float, float] = Field(default=(-1.0, 1.0), description="similarity")
    eps_range: tuple[float, float] = Field(
        default=(0.0, 2.0), description="distance, also of average and complete linkage"
    )
    max_group_size: int | None = Field(
        default=4, ge=2, description="average and complete linkage make no larger groups; none: of any size"
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for field, (low, high), limits in (
            ("threshold_range", self.threshold_range, (-1.0, 1.0)),
            ("eps_range", self.eps_range, (0.0, 2.0)),
        ):
            if not limits[0] <= low < high <= limits[1]:
                raise ValueError(f"{field} must rise within {limits[0]} and {limits[1]}")
        return self


class EvaluationParams(CutParams):
    """How pairs are predicted and judged; the default searches every cut."""

    pool_correction: bool = Field(
        default=True, description="cuts are chosen for the size of the pool they are carried to; false: as they are"
    )
    resamples: int = Field(default=1000, ge=100, le=100_000, description="of lesions, for intervals")
    strata: Annotated[tuple[str, ...], BeforeValidator(split_joined)] = Field(
        default=("anatom_site_general", "dx"), description="metadata columns to tell F1 apart by; where they exist"
    )
    distractors: int | None = Field(
        default=0, ge=0, description="lesions of one image put among each fold's for further figures; none: all"
    )
    min_samples: Literal[1, 2] = Field(
        default=2,
        description="DBSCAN; 1 and 2 give the same groups, more would leave a lesion's only pair unmatched",
    )

    @model_validator(mode="after")
    def _strata_are_columns(self) -> Self:
        if "" in self.strata or len(set(self.strata)) < len(self.strata):
            raise ValueError("strata must name columns, each once; none: []")
        return self


class ClusterParams(Block):
    """What `cluster_images` groups, and how."""

    images: str | None = Field(default=None, description="folder of photographs; relative to the project")
    experiment: Name | None = Field(default=None, description="whose model; none: give a checkpoint")
    fold: int | None = Field(default=None, ge=0, description="of the experiment; none: its final model")
    checkpoint: str | None = Field(default=None, description="a checkpoint anywhere, instead of an experiment")
    method: Literal["cosine", "dbscan", "average", "complete", "mutual"] = Field(
        default="average", description="what joins photographs into groups: see docs/clustering.md"
    )
    threshold: float | None = Field(default=None, ge=-1, le=1, description="of cosine; none: the checkpoint's")
    eps: float | None = Field(default=None, ge=0, le=2, description="of dbscan; none: the checkpoint's")
    cut: float | None = Field(default=None, ge=0, le=2, description="of average and complete; none: the checkpoint's")
    margin: float | None = Field(
        default=None, ge=0, le=2, description="groups that change within it are to be checked; none: the folds' spread"
    )
    single_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="about what share of the photographs shows a lesion that no other one shows, beyond the folds'",
    )
    known: str | None = Field(default=None, description="CSV of photographs whose lesions are known")
    known_images: str | None = Field(default=None, description="their folder; none: images beside the CSV")

    @property
    def given_cut(self) -> float | None:
        """Give the threshold, eps or cut that is named; none: the checkpoint's."""
        return self.threshold if self.method == "cosine" else self.eps if self.method == "dbscan" else self.cut

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.experiment is not None and self.checkpoint is not None:
            raise ValueError("give experiment or checkpoint, not both")
        if self.fold is not None and self.experiment is None:
            raise ValueError("fold needs an experiment")
        for field, methods in (("threshold", ("cosine",)), ("eps", ("dbscan",)), ("cut", ("average", "complete"))):
            if self.method not in methods and getattr(self, field) is not None:
                raise ValueError(f"{field} is for the method {' or '.join(methods)}, not for {self.method}")
        if self.known_images is not None and self.known is None:
            raise ValueError("known_images needs known, the CSV with their lesions")
        return self


class AuditParams(Block):
    """What `audit` looks for in photographs, metadata and split, and when it ends a run."""

    experiment: Name | None = Field(
        default=None, description="baseline whose embeddings are compared; none: the study's first"
    )
    min_points: int = Field(
        default=8, ge=3, le=1000, description="on so many, photographs of two lesions agree to be near-duplicates"
    )
    similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="from which on photographs of two lesions look alike; none: alike_quantile",
    )
    alike_quantile: float = Field(
        default=0.9, gt=0, lt=1, description="share of one lesion's pairs that are less alike than two lesions look"
    )
    unlike_quantile: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of two lesions' pairs; photographs of one lesion that are less alike",
    )
    nearest: int = Field(
        default=3, ge=2, le=100, description="an image whose so many nearest are all of one other lesion is looked at"
    )
    columns: Annotated[tuple[str, ...], BeforeValidator(split_joined)] = Field(
        default=("anatom_site_general", "dx", "age", "age_approx", "sex"),
        description="metadata columns that say the same of every image of a lesion; where they exist",
    )
    patient_column: str | None = Field(
        default="patient_id",
        min_length=1,
        description="metadata column of patients, where it exists; none: no patients",
    )
    max_pairs: int = Field(default=200, ge=1, description="listed pairs of each kind that is found by similarity alone")
    fail_on: Literal["none", "error", "warning"] = Field(
        default="error", description="least severe finding that ends the run with exit code 1, after all is written"
    )
