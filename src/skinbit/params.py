"""The whole parameter tree as frozen models: every key, its range and its unit.

One root model (``Parameters``) validates everything that YAML and ``--params`` say before anything runs, so a
misspelt key fails at any depth. Nodes receive the blocks typed.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names become folders, namespaces and pipeline names: lower case, digits, underscores."""

STAGES = {
    *("sample_data", "data_split", "baseline_embeddings", "metric_learning", "evaluation", "final_model"),
    *("cluster_images", "report"),
}
"""Names of pipelines and boxes in the graph, which no experiment may take."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Block(BaseModel):
    """A block of parameters: unknown keys are refused, values cannot change during a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def _split_joined(value: Any) -> Any:
    """Read ``a+b`` and a single value as a list: Kedro's ``--params`` cannot pass lists."""
    if isinstance(value, str):
        return [part.strip() for part in value.split("+")]
    return value if isinstance(value, list | tuple) else [value]


class StudyParams(Block):
    """What runs: the only parameters that shape the graph."""

    experiments: Annotated[tuple[Name, ...], BeforeValidator(_split_joined), Field(min_length=1)]
    folds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_split_joined), Field(min_length=1)]
    sample_data: bool = Field(default=False, description="make synthetic photographs first")

    @model_validator(mode="after")
    def _listed_once(self) -> Self:
        for field in ("experiments", "folds"):
            listed = getattr(self, field)
            if len(set(listed)) < len(listed):
                raise ValueError(f"study.{field} names one twice: {', '.join(map(str, listed))}")
        return self


class DataParams(Block):
    """Which lesions of the metadata take part."""

    min_images_per_lesion: int = Field(default=2, ge=1)
    max_images_per_lesion: int = Field(default=4, ge=1)
    max_lesions: int | None = Field(default=None, ge=1, description="cut to so many lesions; none: all")
    max_pixels: int = Field(
        default=80_000_000, ge=1, le=89_000_000, description="larger images are refused undecoded; Pillow warns above"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_images_per_lesion > self.max_images_per_lesion:
            raise ValueError("min_images_per_lesion is larger than max_images_per_lesion")
        return self


class SplitParams(Block):
    """How lesions are dealt into subsets and folds."""

    n_folds: int = Field(default=5, ge=2)
    use_train_test_split: bool = True
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of lesions")
    stratify_by: str | None = Field(default=None, description="a metadata column; none: not stratified")


class LoaderParams(Block):
    """How photographs reach the network; changes the speed, never a figure."""

    workers: int = Field(default=2, ge=0, description="decoding processes; 0: decode in the main process")
    batch_size: int = Field(default=32, ge=1, description="images per batch and view")


class ComputeParams(Block):
    """Where and how networks compute; changes figures in the last digits, so it is part of every cache key."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 or fp16 on a CUDA device, fp32 elsewhere"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of PyTorch; 0: one per available core")


class PoolingParams(Block):
    """How a backbone's activations become one feature vector."""

    method: Literal["model", "mean", "gem"] = Field(
        default="model", description="model: the network's own pooling; mean and gem: over `levels`"
    )
    levels: tuple[int, ...] = Field(
        default=(), description="timm's feature levels (out_indices), pooled each and concatenated"
    )
    power: float = Field(default=3.0, ge=1, le=100, description="GeM exponent; 1 is the mean, 100 nearly the maximum")

    @model_validator(mode="after")
    def _levels_match_method(self) -> Self:
        if (self.method == "model") == bool(self.levels):
            raise ValueError("pooling 'model' takes no levels; 'mean' and 'gem' need at least one level")
        if list(self.levels) != sorted({level for level in self.levels if level >= 0}):
            raise ValueError("levels must rise from 0 on, each once")
        return self


class ViewParams(Block):
    """Test views of a photograph: rotations x zooms, embedded each and averaged."""

    rotations: tuple[Literal[0, 90, 180, 270], ...] = Field(default=(0,), description="degrees")
    zooms: tuple[Annotated[float, Field(ge=1, le=10)], ...] = Field(
        default=(1.0,), description="1: the whole central square; 2: its central half"
    )

    @model_validator(mode="after")
    def _plain_view_first(self) -> Self:
        if not self.rotations or not self.zooms or (self.rotations[0], self.zooms[0]) != (0, 1.0):
            raise ValueError("rotations must begin with 0 and zooms with 1.0: view 0 is the plain image")
        if len(set(self.rotations)) < len(self.rotations) or len(set(self.zooms)) < len(self.zooms):
            raise ValueError("rotations and zooms must not repeat")
        return self

    @property
    def n_views(self) -> int:
        """Count the views of one photograph."""
        return len(self.rotations) * len(self.zooms)


_OWN_MODEL_ARGS = {"checkpoint_path", "features_only", "num_classes", "out_indices", "pretrained"}


class BackboneParams(Block):
    """A timm network that turns photographs into features."""

    model: str = Field(min_length=1, description="timm name, e.g. resnet50.a1_in1k")
    image_size: int = Field(default=224, ge=16, le=2048, description="pixels, square")
    frozen: bool = Field(default=True, description="weights stay fixed in training")
    pretrained: bool = Field(default=True, description="false: weights drawn from the seed")
    weights: str | None = Field(default=None, description="local .safetensors file; none: timm's hub weights")
    model_args: dict[str, Any] = Field(default_factory=dict, description="more arguments of timm.create_model")
    mean: tuple[float, float, float] | None = Field(
        default=None, description="of RGB in [0, 1], for weights trained with another than the model's own"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(default=None, description="likewise")
    pooling: PoolingParams = PoolingParams()
    test_views: ViewParams = ViewParams()

    @model_validator(mode="after")
    def _weights_are_usable(self) -> Self:
        if self.weights is not None and not self.pretrained:
            raise ValueError("weights are given, but pretrained is false: remove one of the two")
        if self.weights is not None and PurePosixPath(self.weights).suffix != ".safetensors":
            raise ValueError(f"weights must be a .safetensors file (no pickles), not {self.weights!r}")
        own = sorted(_OWN_MODEL_ARGS & self.model_args.keys())
        if own:
            raise ValueError(f"model_args must not set {', '.join(own)}: other parameters of the backbone decide that")
        return self


class ExperimentParams(Block):
    """One row of the study: a backbone, a loss, and what differs from the backbone's own settings."""

    backbone: Name
    loss: Literal["baseline"] = Field(description="baseline: nothing is trained")
    image_size: int | None = Field(default=None, ge=16, le=2048, description="none: the backbone's")
    pooling: PoolingParams | None = None
    test_views: ViewParams | None = None

    def has_overrides(self) -> bool:
        """Tell whether this experiment needs features of its own."""
        return bool(self._overrides())

    def applied_to(self, backbone: BackboneParams) -> BackboneParams:
        """Give the backbone's settings with this experiment's in their place."""
        return backbone.model_copy(update=self._overrides())

    def _overrides(self) -> dict[str, Any]:
        replaced = {name: getattr(self, name) for name in ("image_size", "pooling", "test_views")}
        return {name: value for name, value in replaced.items() if value is not None}


class EvaluationParams(Block):
    """The range that thresholds and eps are searched in; the default is everything."""

    threshold_range: tuple[float, float] = Field(default=(-1.0, 1.0), description="cosine similarity")
    eps_range: tuple[float, float] = Field(default=(0.0, 2.0), description="cosine distance")
    min_samples: Literal[1, 2] = Field(
        default=2,
        description="DBSCAN; 1 and 2 give the same groups, more would leave a lesion's only pair unmatched",
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


class SampleParams(Block):
    """The synthetic photographs of `sample_data`."""

    n_lesions: int = Field(default=60, ge=1)
    width: int = Field(default=200, ge=16, le=4096, description="pixels")
    height: int = Field(default=150, ge=16, le=4096, description="pixels")


class Parameters(Block):
    """The root: every block of ``parameters*.yml``."""

    seed: int = Field(default=42, strict=True, ge=0, lt=2**32)
    study: StudyParams
    data: DataParams = DataParams()
    split: SplitParams = SplitParams()
    loader: LoaderParams = LoaderParams()
    compute: ComputeParams = ComputeParams()
    evaluation: EvaluationParams = EvaluationParams()
    sample: SampleParams = SampleParams()
    backbones: dict[Name, BackboneParams]
    experiments: dict[Name, ExperimentParams]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        _require(self.study.experiments, self.experiments, "study.experiments", "experiment")
        _require([entry.backbone for entry in self.experiments.values()], self.backbones, "experiments", "backbone")
        beyond = [fold for fold in self.study.folds if fold >= self.split.n_folds]
        if beyond:
            raise ValueError(f"study.folds names fold {beyond[0]}, but split.n_folds is {self.split.n_folds}")
        clash = sorted(set(self.backbones) & set(self.experiments))
        if clash:
            raise ValueError(f"{clash[0]!r} names a backbone and an experiment: rename one of them")
        taken = sorted(STAGES & self.experiments.keys())
        if taken:
            raise ValueError(f"an experiment must not be called {taken[0]!r}: a stage of the study has this name")
        return self

    @model_validator(mode="after")
    def _every_fold_gets_a_lesion(self) -> Self:
        n_parts = self.split.n_folds + self.split.use_train_test_split
        if self.data.max_lesions is not None and self.data.max_lesions < n_parts:
            raise ValueError(f"data.max_lesions is {self.data.max_lesions}, but folds and test subset need {n_parts}")
        return self

    def features_of(self, experiment: str) -> str:
        """Name the features that an experiment uses: its backbone's, or its own where it overrides settings."""
        entry = self.experiments[experiment]
        return experiment if entry.has_overrides() else entry.backbone

    def only(self, experiment: str) -> "Parameters":
        """Give the same parameters for a study of one experiment."""
        return self.model_copy(update={"study": self.study.model_copy(update={"experiments": (experiment,)})})


def _require(names: tuple[str, ...] | list[str], known: dict[str, Any], where: str, kind: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where} names the unknown {kind} {name!r}; declared: {', '.join(sorted(known))}")
