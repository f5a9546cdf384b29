"""How pairs are predicted and evaluated: in folds, in new photographs, and in an audit."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.block import Block, Columns, Name, PathText, split_joined


class CutParams(Block):
    """Which cuts are searched, and how large groups may become."""

    threshold_range: tuple[float, float] = Field(
        default=(-1.0, 1.0), description="range in which the similarity threshold is searched"
    )
    eps_range: tuple[float, float] = Field(
        default=(0.0, 2.0), description="range in which the distance of DBSCAN and of both linkages is searched"
    )
    max_group_size: int | None = Field(
        default=4, ge=2, description="largest group that average and complete linkage form; null: any size"
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
    """How pairs are predicted and evaluated. By default every possible cut is searched."""

    pool_correction: bool = Field(
        default=True,
        description="true: thresholds are corrected for the size of the pool they are applied to; false: they are not",
    )
    resamples: int = Field(
        default=1000, ge=100, le=100_000, description="bootstrap samples of the lesions, for confidence intervals"
    )
    strata: Annotated[tuple[str, ...], BeforeValidator(split_joined)] = Field(
        default=("anatom_site_general", "dx"),
        description="metadata columns by which F1 is broken down, where they exist",
    )
    distractors: int | None = Field(
        default=0,
        ge=0,
        description="singleton lesions added to each fold as distractors, for a second evaluation; null: all of them",
    )
    min_samples: Literal[1, 2] = Field(
        default=2,
        description="DBSCAN's min_samples; 1 and 2 give the same groups, more would miss a lesion's only pair",
    )

    @model_validator(mode="after")
    def _strata_are_columns(self) -> Self:
        if "" in self.strata or len(set(self.strata)) < len(self.strata):
            raise ValueError("strata must name columns, each once; none: []")
        return self


class ClusterParams(Block):
    """Which photographs `cluster_images` groups, and how."""

    images: PathText | None = Field(
        default=None, description="folder of the photographs; relative paths start at the project"
    )
    experiment: Name | None = Field(
        default=None, description="experiment whose model is used; null: `recommended`, unless a checkpoint is given"
    )
    fold: int | None = Field(default=None, ge=0, description="fold whose model is used; null: the final model")
    checkpoint: PathText | None = Field(default=None, description="path of a checkpoint, in place of an experiment")
    method: Literal["cosine", "dbscan", "average", "complete", "mutual"] = Field(
        default="average", description="how photographs are joined into groups, see docs/clustering.md"
    )
    threshold: float | None = Field(
        default=None, ge=-1, le=1, description="similarity threshold of cosine; null: the checkpoint's"
    )
    eps: float | None = Field(default=None, ge=0, le=2, description="distance of dbscan; null: the checkpoint's")
    cut: float | None = Field(
        default=None, ge=0, le=2, description="distance of average and complete linkage; null: the checkpoint's"
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="groups that change when the cut moves by this much are marked for review; null: the folds' spread",
    )
    precision: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="expected share of joined pairs that are right; null: the cut of the greatest expected F1",
    )
    single_share: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="rough share of the photographs whose lesion appears only once, beyond the share in the folds: "
        "the cut is then the folds', made for it; null: the photographs themselves choose the cut",
    )
    max_group_size: int | None = Field(
        default=None, ge=2, description="largest group of average and complete linkage; null: of any size"
    )
    metadata: PathText | None = Field(
        default=None, description="CSV with columns of the photographs that count when they are compared; null: none"
    )
    same: Columns = Field(
        default=(),
        description="columns that must agree where both photographs have a value, beside the model's own",
    )
    known: PathText | None = Field(default=None, description="CSV of photographs whose lesions are known")
    known_images: PathText | None = Field(
        default=None, description="folder of the known photographs; null: `images` beside the CSV"
    )
    decisions: PathText | None = Field(
        default=None,
        description="ledger of what people have answered about photographs, which holds; "
        "null: `09_decisions/decisions.sqlite` of the root, if it is there",
    )
    strict_decisions: bool = Field(
        default=False,
        description="true: answers that contradict each other end the run; false: their photographs are grouped as if "
        "unanswered, and marked",
    )
    n_partners: int = Field(
        default=5, ge=1, le=100, description="most probable partners of each photograph that `matches.csv` lists"
    )

    @property
    def given_cut(self) -> float | None:
        """Return the threshold, eps or cut that the user has set; None where the checkpoint's applies."""
        return self.threshold if self.method == "cosine" else self.eps if self.method == "dbscan" else self.cut

    @property
    def known_folder(self) -> str:
        """Return the folder of the known photographs: the one that is named, or images beside their table."""
        if self.known_images is not None:
            return self.known_images
        parent, separator, _ = str(self.known).replace("\\", "/").rpartition("/")
        return f"{parent}{separator}images"

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.experiment is not None and self.checkpoint is not None:
            raise ValueError("give experiment or checkpoint, not both")
        if self.fold is not None and self.experiment is None:
            raise ValueError("fold needs an experiment")
        for field, methods in (("threshold", ("cosine",)), ("eps", ("dbscan",)), ("cut", ("average", "complete"))):
            if self.method not in methods and getattr(self, field) is not None:
                raise ValueError(f"{field} is for the method {' or '.join(methods)}, not for {self.method}")
        chosen = {"precision": self.precision, "single_share": self.single_share, "a given cut": self.given_cut}
        given = [name for name, value in chosen.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both say where the cut is: give one")
        if self.same and self.metadata is None:
            raise ValueError("same needs metadata, the CSV with these columns")
        if self.known_images is not None and self.known is None:
            raise ValueError("known_images needs known, the CSV with their lesions")
        return self


class AuditParams(Block):
    """What `audit` looks for in photographs, metadata and split, and when it ends a run."""

    experiment: Name | None = Field(
        default=None, description="baseline whose embeddings are compared; null: the first of the study"
    )
    min_points: int = Field(
        default=8,
        ge=3,
        le=1000,
        description="matched keypoints from which photographs of two lesions count as near-duplicates",
    )
    similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="similarity from which photographs of two lesions count as look-alikes; null: by alike_quantile",
    )
    alike_quantile: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="quantile of the similarities within lesions that look-alikes of two lesions must exceed",
    )
    unlike_quantile: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="quantile of the similarities between lesions; pairs of one lesion below it are reported",
    )
    nearest: int = Field(
        default=3,
        ge=2,
        le=100,
        description="an image is reported if this many of its nearest images all belong to one other lesion",
    )
    columns: Annotated[tuple[str, ...], BeforeValidator(split_joined)] = Field(
        default=("anatom_site_general", "dx", "age", "age_approx", "sex"),
        description="metadata columns that must agree for all images of a lesion, where they exist",
    )
    patient_column: str | None = Field(
        default="patient_id",
        min_length=1,
        description="metadata column that identifies patients, where it exists; null: not checked",
    )
    max_pairs: int = Field(
        default=200,
        ge=1,
        description="most pairs that are listed of each kind of finding that rests on similarity alone",
    )
    fail_on: Literal["none", "error", "warning"] = Field(
        default="error",
        description="severity from which a finding ends the run with exit code 1, once everything is written",
    )
