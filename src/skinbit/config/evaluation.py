"""How pairs are predicted and evaluated: in folds, in new photographs, and in an audit."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.block import Block, Columns, Name, PathText, split_joined


class CutParams(Block):
    """The ranges in which thresholds and distances are searched, and the largest group."""

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
    """How pairs are predicted and evaluated. By default, every possible threshold and distance is searched."""

    pool_correction: bool = Field(
        default=True,
        description="true: correct thresholds for the number of images they are applied to",
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
        description="min_samples of DBSCAN; 1 and 2 lead to the same groups, more would miss lesions of two images",
    )

    @model_validator(mode="after")
    def _strata_are_columns(self) -> Self:
        if "" in self.strata or len(set(self.strata)) < len(self.strata):
            raise ValueError("strata must name each column once; for no strata, set []")
        return self


class ClusterParams(Block):
    """The photographs that `cluster_images` groups, and the model and method it uses."""

    images: PathText | None = Field(
        default=None, description="folder of the photographs; relative paths start at the project's folder"
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
        default=None, ge=-1, le=1, description="similarity threshold of the method cosine; null: as stored in the model"
    )
    eps: float | None = Field(
        default=None, ge=0, le=2, description="distance of the method dbscan; null: as stored in the model"
    )
    cut: float | None = Field(
        default=None, ge=0, le=2, description="distance of average and complete linkage; null: as stored in the model"
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="mark groups that change when the cut moves by this much; null: the spread of the folds' cuts",
    )
    precision: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="choose the cut for this expected precision of pairs; null: for the largest expected F1",
    )
    single_share: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="expected share of photographs that are their lesion's only one, beyond the share in the folds: "
        "the folds' cut is corrected for it; null: the cut is estimated from the photographs themselves",
    )
    max_group_size: int | None = Field(
        default=None, ge=2, description="largest group of average and complete linkage; null: no limit"
    )
    metadata: PathText | None = Field(
        default=None, description="CSV with the metadata columns that the model or `same` uses; null: none"
    )
    same: Columns = Field(
        default=(),
        description="further columns that must agree where both photographs have a value",
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
        """Return the threshold, eps or cut that the user has set; None where the checkpoint's is used."""
        return self.threshold if self.method == "cosine" else self.eps if self.method == "dbscan" else self.cut

    @property
    def known_folder(self) -> str:
        """Return the folder of the known photographs: `known_images`, or `images` beside their table."""
        if self.known_images is not None:
            return self.known_images
        parent, separator, _ = str(self.known).replace("\\", "/").rpartition("/")
        return f"{parent}{separator}images"

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.experiment is not None and self.checkpoint is not None:
            raise ValueError("set experiment or checkpoint, not both")
        if self.fold is not None and self.experiment is None:
            raise ValueError("fold needs an experiment")
        for field, methods in (("threshold", ("cosine",)), ("eps", ("dbscan",)), ("cut", ("average", "complete"))):
            if self.method not in methods and getattr(self, field) is not None:
                raise ValueError(f"{field} is for the method {' or '.join(methods)}, not for {self.method}")
        chosen = {"precision": self.precision, "single_share": self.single_share, "a given cut": self.given_cut}
        given = [name for name, value in chosen.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both determine the cut: set one of them")
        if self.same and self.metadata is None:
            raise ValueError("same needs metadata, the CSV with these columns")
        if self.known_images is not None and self.known is None:
            raise ValueError("known_images needs known, the CSV with their lesions")
        return self


class AuditParams(Block):
    """What `audit` looks for in photographs, metadata and split, and which findings end a run."""

    experiment: Name | None = Field(
        default=None, description="baseline whose embeddings are compared; null: the first of the study"
    )
    min_points: int = Field(
        default=8,
        ge=3,
        le=1000,
        description="number of matched keypoints from which photographs of two lesions count as near-duplicates",
    )
    similarity: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="similarity from which photographs of two lesions count as look-alikes; null: from alike_quantile",
    )
    alike_quantile: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="look-alikes of two lesions are more similar than this quantile of the similarities within lesions",
    )
    unlike_quantile: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="pairs of one lesion less similar than this quantile of those between lesions are reported",
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
        description="largest number of listed pairs for each kind of finding that is based on similarity alone",
    )
    fail_on: Literal["none", "error", "warning"] = Field(
        default="error",
        description="lowest severity that ends the run with exit code 1, after everything is written",
    )
