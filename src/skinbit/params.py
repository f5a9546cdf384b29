"""The whole parameter tree as frozen models: every key, its range and its unit.

One root model (``Parameters``) validates everything that YAML and ``--params`` say before anything runs, so a
misspelt key fails at any depth. Nodes receive the blocks typed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from skinbit.errors import SHOWN_PER_KIND

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names become folders, namespaces and pipeline names: lower case, digits, underscores."""

STAGES = {
    *("sample_data", "data_split", "baseline_embeddings", "metric_learning", "evaluation", "final_model"),
    *("cluster_images", "clusters", "report", "audit"),
}
"""Names of pipelines and boxes in the graph, which no experiment may take."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]

MEMBERS = "members"
"""Of the settings of a combination and of its model's header: those of its members."""

MAX_MEMBERS = 16
"""A combination has at most so many."""


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


Policy = Literal["error", "skip"]


class PolicyParams(Block):
    """What happens to a row of the metadata with a problem: it ends the run, or it is left out and listed."""

    cells: Policy = Field(default="error", description="fewer or more cells than the header")
    no_image_id: Policy = Field(default="error", description="a blank cell")
    bad_id: Policy = Field(default="error", description="a path, a formula, or characters that cannot be seen")
    duplicate: Policy = Field(default="error", description="skip: the first row that names a lesion stays")
    two_lesions: Policy = Field(default="error", description="an image_id under two lesions; skip: no row stays")
    case_clash: Policy = Field(default="error", description="ids that differ only in case or accents; no row stays")
    missing: Policy = Field(default="error", description="no file")
    ambiguous: Policy = Field(default="error", description="several files")
    unreadable: Policy = Field(default="error", description="damaged, cut short, or no JPEG or PNG")
    too_large: Policy = Field(default="error", description="above max_pixels or max_megabytes")
    too_small: Policy = Field(default="error", description="below min_side")
    outside: Policy = Field(default="error", description="a link out of the folder, unless follow_links")


class DataParams(Block):
    """Which lesions of the metadata take part, and which photographs can be used."""

    min_images_per_lesion: int = Field(default=2, ge=1)
    max_images_per_lesion: int = Field(default=4, ge=1)
    max_lesions: int | None = Field(default=None, ge=1, description="cut to so many lesions; none: all")
    max_pixels: int = Field(
        default=80_000_000, ge=1, le=89_000_000, description="larger images are refused undecoded; Pillow warns above"
    )
    max_megabytes: float = Field(default=500.0, gt=0, le=4000, description="larger files are refused unread")
    min_side: int = Field(default=16, ge=1, description="shorter side, pixels; smaller images are no photographs")
    follow_links: bool = Field(default=False, description="whether a link may lead out of the folder of images")
    policy: PolicyParams = PolicyParams()

    @field_validator("policy", mode="before")
    @classmethod
    def _is_set_per_kind(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"a policy is set for each kind of problem, e.g. data.policy.missing={value}")
        return value

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
    keep_together: str | None = Field(
        default=None, description="a metadata column, e.g. patient_id: lesions that share a value are dealt together"
    )


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


class MemoryParams(Block):
    """How many pairs of images are held at once, whatever looks at all of them."""

    tile_megabytes: float = Field(
        default=64.0,
        ge=0.001,
        le=65536,
        description="for similarities, which are computed tile by tile; changes speed only",
    )
    max_pairs: int = Field(
        default=30_000_000,
        ge=2,
        description="near pairs that are held; where certainty about a cut takes more, a warning says so",
    )


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
        default=(1.0,), max_length=16, description="1: the whole central square; 2: its central half"
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


_OWN_MODEL_ARGS = {
    *("cache_dir", "checkpoint_path", "exportable", "features_only", "no_jit", "num_classes", "out_indices"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable"),
}
_RANDOM_MODEL_ARGS = {"attn_drop_rate", "drop_path_rate", "drop_rate", "pos_drop_rate", "proj_drop_rate"}


_MODEL_NAME = re.compile(r"[A-Za-z0-9]\w*(\.\w+)?", re.ASCII)
_WORD = re.compile(r"\w{0,64}", re.ASCII)


def _is_plain(value: Any) -> bool:
    """Tell whether a value can be an argument of a network: nothing that could name a file, an address or code."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, list | tuple):
        return len(value) <= 64 and all(_is_plain(part) and not isinstance(part, list | tuple) for part in value)
    return value is None or (isinstance(value, int | float) and abs(value) <= 65536)


class BackboneParams(Block):
    """A timm network that turns photographs into features."""

    model: str = Field(min_length=1, max_length=100, description="timm name, e.g. resnet50.a1_in1k")
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

    def without_folder(self) -> Self:
        """Give the same settings with the mere name of a weights file: its folder is this machine's affair."""
        return self if self.weights is None else self.model_copy(update={"weights": PurePath(self.weights).name})

    @model_validator(mode="after")
    def _names_no_other_place(self) -> Self:
        if not _MODEL_NAME.fullmatch(self.model):
            raise ValueError(
                f"model must be a timm name such as resnet50.a1_in1k, not {self.model!r}: no path, address or hub name"
            )
        strange = sorted(
            name for name, value in self.model_args.items() if not (_WORD.fullmatch(name) and _is_plain(value))
        )
        if strange:
            raise ValueError(f"model_args: {strange[0]!r} is no word, number of at most 65536, or short list of those")
        return self

    @model_validator(mode="after")
    def _weights_are_usable(self) -> Self:
        if self.weights is not None and not self.pretrained:
            raise ValueError("weights are given, but pretrained is false: remove one of the two")
        if self.weights is not None and PurePosixPath(self.weights).suffix != ".safetensors":
            raise ValueError(f"weights must be a .safetensors file (no pickles), not {self.weights!r}")
        own = sorted(_OWN_MODEL_ARGS & self.model_args.keys())
        if own:
            raise ValueError(f"model_args must not set {', '.join(own)}: other parameters of the backbone decide that")
        random = sorted(_RANDOM_MODEL_ARGS & self.model_args.keys())
        if random:
            raise ValueError(f"model_args must not set {', '.join(random)}: dropout draws from no seeded generator")
        return self


class HeadParams(Block):
    """The projection head: maps features to an embedding of unit length."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(),
        max_length=16,
        description="widths of hidden layers, each with batch norm and ReLU; none: a linear head",
    )
    dim: int | None = Field(default=256, ge=2, le=65536, description="of the embedding; none: no head, features as is")
    neck: bool = Field(default=True, description="batch norm of the features first (BNNeck)")

    @model_validator(mode="after")
    def _hidden_layers_need_an_output(self) -> Self:
        if self.dim is None and self.hidden:
            raise ValueError("head.hidden is given, but head.dim is none: give the width of the embedding")
        return self


class TrainingParams(Block):
    """How one experiment is trained."""

    epochs: int = Field(ge=1, le=100_000, description="at most; each shows every training lesion once")
    lesions_per_batch: int = Field(ge=3, description="a batch holds images_per_lesion images of each")
    images_per_lesion: int = Field(default=2, ge=2, description="of a lesion with fewer all are taken")
    learning_rate: float = Field(gt=0, le=10, description="AdamW's, of the head, after warm-up")
    weight_decay: float = Field(default=0.03, ge=0, le=10, description="AdamW's, of matrices")
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of the epochs in which the learning rate rises; then it falls",
    )
    clip_norm: float = Field(default=5.0, gt=0, description="gradients are scaled down to this norm")
    patience: int = Field(default=0, ge=0, description="stop after so many epochs without a better F1; 0: never")
    hard_lesions: int = Field(
        default=0, ge=0, description="fill batches with groups of so many lesions that were close in the last epoch"
    )
    views: int = Field(default=12, ge=1, le=1000, description="cached training views per image; frozen backbones only")
    backbone_rate: float = Field(
        default=1.0, gt=0, le=10, description="learning rate of the last layer of a fine-tuned backbone / the head's"
    )
    layer_decay: float = Field(
        default=0.9, gt=0, le=1, description="that of each layer of a fine-tuned backbone / the next layer's"
    )
    batch_norm: Literal["train", "frozen"] = Field(
        default="train", description="frozen: a fine-tuned backbone keeps its pretrained batch-norm statistics"
    )
    head: HeadParams = HeadParams()


class AugmentationParams(Block):
    """What differs between two photographs of one lesion."""

    rotation: float = Field(default=180.0, ge=0, le=180, description="degrees either way")
    flip: bool = True
    zoom: tuple[Annotated[float, Field(ge=0.5, le=10)], Annotated[float, Field(ge=0.5, le=10)]] = Field(
        default=(0.9, 2.2), description="1: the whole central square; 3: its central third"
    )
    offset: float = Field(default=0.12, ge=0, le=0.5, description="of the centre, share of the square that is seen")
    colour: float = Field(default=0.1, ge=0, lt=1, description="relative change of each channel")
    exposure: float = Field(default=0.25, ge=0, lt=1, description="relative change of brightness")
    contrast: float = Field(default=0.2, ge=0, lt=1, description="relative change")
    saturation: float = Field(default=0.3, ge=0, le=1, description="relative change")
    blur: float = Field(default=0.3, ge=0, le=1, description="share of images that are blurred")
    vignette: float = Field(default=0.2, ge=0, le=1, description="share of images with a round black border")

    @model_validator(mode="after")
    def _zoom_rises(self) -> Self:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("augmentation.zoom must rise")
        return self


class TrainingBlock(Block):
    """Training of heads on frozen backbones, and of whole backbones.

    An experiment's `training` overrides `frozen` or `fine_tuned`, its `augmentation` the block of that name.
    """

    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads per training; figures depend on it")
    save_every: float = Field(default=2.0, ge=0, description="seconds between two saved states; 0: after every epoch")
    canvas: float = Field(default=1.25, ge=1, le=4, description="side of decoded images / image_size")
    augmentation: AugmentationParams = AugmentationParams()
    frozen: TrainingParams = TrainingParams(epochs=60, lesions_per_batch=128, learning_rate=2e-3)
    fine_tuned: TrainingParams = TrainingParams(epochs=30, lesions_per_batch=48, learning_rate=5e-4)


class ContrastiveParams(Block):
    """Contrastive loss (Hadsell et al. 2006) on cosine similarity."""

    margin: float = Field(
        default=0.5, gt=-1, lt=1, description="negative pairs below it cost nothing; 0.5 is distance 1 (Hadsell)"
    )
    miner: Literal["all", "hard"] = Field(default="all", description="hard: each anchor's most similar negative")


class TripletParams(Block):
    """Triplet loss (Schroff et al. 2015) on cosine similarity."""

    margin: float = Field(
        default=0.1, gt=0, lt=2, description="of similarity; 0.1 is FaceNet's 0.2 of squared distance"
    )
    miner: Literal["all", "semihard", "hard"] = Field(
        default="semihard", description="semihard: negatives that are farther than the positive, within the margin"
    )


class InfonceParams(Block):
    """InfoNCE (van den Oord et al. 2018), its form for several positives (Khosla et al. 2020)."""

    temperature: float = Field(default=0.07, gt=0, le=10, description="0.07: He et al. 2020, Khosla et al. 2020")
    miner: Literal["all", "hard"] = Field(default="all", description="hard: each anchor's most similar negative")


LossParams = ContrastiveParams | TripletParams | InfonceParams


class LossesParams(Block):
    """Settings of the losses; an experiment's `loss_options` overrides them."""

    contrastive: ContrastiveParams = ContrastiveParams()
    triplet: TripletParams = TripletParams()
    infonce: InfonceParams = InfonceParams()


_OF_TRAINING = ("frozen", "training", "augmentation", "loss_options")  # a baseline has none of them


class ExperimentParams(Block):
    """One row of the study: a backbone, a loss, and what differs from the settings of both; or a combination."""

    backbone: Name | None = Field(default=None, description="none: a combination")
    loss: Literal["baseline", "contrastive", "triplet", "infonce"] | None = Field(
        default=None, description="baseline: nothing is trained; none: a combination"
    )
    combine: Annotated[tuple[Name, ...], BeforeValidator(_split_joined)] = Field(
        default=(), max_length=MAX_MEMBERS, description="experiments whose embeddings are joined; empty: no combination"
    )
    shares: Annotated[tuple[Annotated[float, Field(ge=0.001, le=1000)], ...], BeforeValidator(_split_joined)] = Field(
        default=(), description="of the members in the similarity, relative to each other; empty: equal"
    )
    frozen: bool | None = Field(default=None, description="none: the backbone's")
    image_size: int | None = Field(default=None, ge=16, le=2048, description="none: the backbone's")
    pooling: PoolingParams | None = None
    test_views: ViewParams | None = None
    training: dict[str, Any] = Field(default_factory=dict, description="overrides of training.frozen or .fine_tuned")
    augmentation: dict[str, Any] = Field(default_factory=dict, description="overrides of training.augmentation")
    loss_options: dict[str, Any] = Field(default_factory=dict, description="overrides of losses.<loss>")
    similarity: dict[str, Any] = Field(default_factory=dict, description="overrides of similarity")

    @property
    def is_combination(self) -> bool:
        """Tell whether its embeddings are those of other experiments."""
        return bool(self.combine)

    @property
    def member_shares(self) -> tuple[float, ...]:
        """Give the share of every member."""
        return self.shares or (1.0,) * len(self.combine)

    @property
    def is_trained(self) -> bool:
        """Tell whether anything is trained."""
        return self.loss not in (None, "baseline")

    @model_validator(mode="after")
    def _has_a_model_or_members(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) not in (None, (), {})}
        unused = [name for name in type(self).model_fields if name in given - {"combine", "shares", "similarity"}]
        if self.combine and unused:
            raise ValueError(
                f"combine takes the embeddings of other experiments as they are: remove {', '.join(unused)}, "
                "or set it in those"
            )
        if self.combine and self.similarity.get("whitening") is not None:
            raise ValueError(
                "combine takes embeddings as they are: set similarity.whitening in members that are baselines"
            )
        missing = [name for name in ("backbone", "loss") if name not in given]
        if missing and not self.combine:
            raise ValueError(f"give {' and '.join(missing)}, or combine: names of other experiments")
        if self.combine and len(self.combine) < 2:
            raise ValueError(f"combine names {self.combine[0]} alone: name two or more experiments")
        if len(set(self.combine)) < len(self.combine):
            raise ValueError(f"combine names one twice: {', '.join(self.combine)}")
        if self.shares and len(self.shares) != len(self.combine):
            raise ValueError(
                f"shares has {len(self.shares)} numbers, but combine names {len(self.combine)} experiments"
            )
        return self

    @model_validator(mode="after")
    def _baselines_train_nothing(self) -> Self:
        idle = [name for name in _OF_TRAINING if getattr(self, name) not in (None, {})]
        if idle and not self.is_trained:
            raise ValueError(f"a baseline trains nothing: remove {', '.join(idle)}")
        return self

    def has_overrides(self) -> bool:
        """Tell whether this experiment needs features of its own."""
        return bool(self._overrides())

    def applied_to(self, backbone: BackboneParams) -> BackboneParams:
        """Give the backbone's settings with this experiment's in their place."""
        frozen = {} if self.frozen is None else {"frozen": self.frozen}
        return backbone.model_copy(update=self._overrides() | frozen)

    def training_params(self, training: TrainingBlock, is_frozen: bool) -> TrainingParams:
        """Give the training settings for a frozen or a fine-tuned backbone with this experiment's in their place."""
        return _overridden(training.frozen if is_frozen else training.fine_tuned, self.training)

    def augmentation_params(self, training: TrainingBlock) -> AugmentationParams:
        """Give the ranges of training views with this experiment's in their place."""
        return _overridden(training.augmentation, self.augmentation)

    def loss_params(self, losses: LossesParams) -> LossParams:
        """Give the settings of this experiment's loss with the experiment's own in their place."""
        settings: LossParams = getattr(losses, str(self.loss))
        return _overridden(settings, self.loss_options)

    def similarity_params(self, similarity: SimilarityParams) -> SimilarityParams:
        """Give what makes similarities, with this experiment's settings in their place.

        Embeddings of a combination are whitened where those of its members are, not once more.
        """
        shared = similarity.model_copy(update={"whitening": None}) if self.is_combination else similarity
        return _overridden(shared, self.similarity)

    def settings(self, backbone: BackboneParams, training: TrainingBlock, losses: LossesParams) -> dict[str, Any]:
        """Give everything that is set for this experiment alone, defaults included, as plain values by block."""
        own = self.applied_to(backbone).without_folder()
        blocks: dict[str, Block] = {"backbone": own, "experiment": self}
        if self.is_trained:
            blocks |= {
                "training": self.training_params(training, own.frozen),
                "augmentation": self.augmentation_params(training),
                "loss": self.loss_params(losses),
            }
        plain = {name: block.model_dump(mode="json") for name, block in blocks.items()}
        if self.is_trained:
            plain["training"] |= {"threads": training.threads, "canvas": training.canvas}
        return plain

    def combined_settings(self, members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Give the same for a combination: of all settings of its members those that their embeddings rest on."""
        own = ("backbone", "experiment", "training", "augmentation", "loss")
        plain = {
            member: {block: settings[block] for block in own if block in settings}
            | {"similarity": {"whitening": settings["similarity"]["whitening"]}}
            for member, settings in members.items()
        }
        return {"experiment": self.model_dump(mode="json"), MEMBERS: plain}

    def _overrides(self) -> dict[str, Any]:
        replaced = {name: getattr(self, name) for name in ("image_size", "pooling", "test_views")}
        return {name: value for name, value in replaced.items() if value is not None}


def with_members(names: Iterable[str], experiments: Mapping[str, ExperimentParams]) -> tuple[str, ...]:
    """Give experiments and, behind them, the members of combinations that are not among them."""
    named = tuple(names)
    members = (member for name in named for member in experiments[name].combine)
    return tuple(dict.fromkeys((*named, *members)))


def setup_of(name: str, experiments: Mapping[str, ExperimentParams]) -> tuple[str, str]:
    """Name backbone and loss of an experiment as tables show them: of a combination its members', joined by +."""
    shown = [experiments[member] for member in experiments[name].combine] or [experiments[name]]
    return "+".join(str(entry.backbone) for entry in shown), "+".join(str(entry.loss) for entry in shown)


AnyBlock = TypeVar("AnyBlock", bound=Block)


def _overridden(block: AnyBlock, overrides: dict[str, Any]) -> AnyBlock:
    """Validate a block anew with some of its values, at any depth, replaced."""
    return type(block).model_validate(_merged(block.model_dump(), overrides))


def _merged(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(values.get(name), dict)
        merged[name] = _merged(values[name], value) if nested else value
    return merged


class EvaluationParams(Block):
    """How pairs are predicted and judged; the default searches every cut."""

    threshold_range: tuple[float, float] = Field(default=(-1.0, 1.0), description="similarity")
    eps_range: tuple[float, float] = Field(
        default=(0.0, 2.0), description="distance, also of average and complete linkage"
    )
    max_group_size: int | None = Field(
        default=4, ge=2, description="average and complete linkage make no larger groups; none: of any size"
    )
    pool_correction: bool = Field(
        default=True, description="cuts are chosen for the size of the pool they are carried to; false: as they are"
    )
    resamples: int = Field(default=1000, ge=100, le=100_000, description="of lesions, for intervals")
    strata: Annotated[tuple[str, ...], BeforeValidator(_split_joined)] = Field(
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

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for field, (low, high), limits in (
            ("threshold_range", self.threshold_range, (-1.0, 1.0)),
            ("eps_range", self.eps_range, (0.0, 2.0)),
        ):
            if not limits[0] <= low < high <= limits[1]:
                raise ValueError(f"{field} must rise within {limits[0]} and {limits[1]}")
        return self


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
    columns: Annotated[tuple[str, ...], BeforeValidator(_split_joined)] = Field(
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


ArtifactKind = Literal["results", "config", "figures", "pages", "checkpoint"]


class TrackingParams(Block):
    """Where runs are written down; changes no result, so it is part of no fingerprint."""

    enabled: bool = True
    backend: Literal["mlflow", "wandb"] = Field(default="mlflow", description="wandb: needs the extra skinbit[wandb]")
    uri: str | None = Field(
        default=None, min_length=1, description="of a server or database; none: the project's own, on this machine"
    )
    experiment: str = Field(default="skinbit", min_length=1, description="MLflow experiment, or W&B project")
    artifacts: Annotated[tuple[ArtifactKind, ...], BeforeValidator(_split_joined)] = Field(
        default=("results", "config", "figures", "pages", "checkpoint"),
        description="what files are copied; pages show photographs and name images",
    )


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
    memory: MemoryParams = MemoryParams()
    evaluation: EvaluationParams = EvaluationParams()
    sample: SampleParams = SampleParams()
    report: ReportParams = ReportParams()
    cluster: ClusterParams = ClusterParams()
    audit: AuditParams = AuditParams()
    tracking: TrackingParams = TrackingParams()
    training: TrainingBlock = TrainingBlock()
    losses: LossesParams = LossesParams()
    similarity: SimilarityParams = SimilarityParams()
    geometry: GeometryParams = GeometryParams()
    backbones: dict[Name, BackboneParams]
    experiments: dict[Name, ExperimentParams]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        _require(self.study.experiments, self.experiments, "study.experiments", "experiment")
        named = [entry.backbone for entry in self.experiments.values() if entry.backbone is not None]
        _require(named, self.backbones, "experiments", "backbone")
        beyond = [fold for fold in self.study.folds if fold >= self.split.n_folds]
        if beyond:
            raise ValueError(f"study.folds names fold {beyond[0]}, but split.n_folds is {self.split.n_folds}")
        clash = sorted(set(self.backbones) & set(self.experiments))
        if clash:
            raise ValueError(f"{clash[0]!r} names a backbone and an experiment: rename one of them")
        taken = sorted(STAGES & (self.experiments.keys() | self.backbones.keys()))
        if taken:
            raise ValueError(
                f"an experiment or backbone must not be called {taken[0]!r}: a stage of the study has this name"
            )
        return self

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for name, entry in self.experiments.items():
            _require(entry.combine, self.experiments, f"experiments.{name}.combine", "experiment")
            nested = [member for member in entry.combine if self.experiments[member].is_combination]
            if nested:
                raise ValueError(
                    f"experiments.{name}.combine names {nested[0]}, which is a combination: name its members instead"
                )
        return self

    @model_validator(mode="after")
    def _clustering_model_exists(self) -> Self:
        name, fold = self.cluster.experiment, self.cluster.fold
        if name is not None:
            _require([name], self.experiments, "cluster.experiment", "experiment")
            if fold is not None and not self.experiments[name].is_trained:
                raise ValueError(f"cluster.fold: {name} trains nothing, so it has a final model only; leave fold out")
            if fold is not None and fold >= self.split.n_folds:
                raise ValueError(f"cluster.fold is {fold}, but split.n_folds is {self.split.n_folds}")
        return self

    @model_validator(mode="after")
    def _audited_baseline_exists(self) -> Self:
        name = self.audit.experiment
        if name is not None:
            _require([name], self.experiments, "audit.experiment", "experiment")
            if self.experiments[name].is_combination:
                raise ValueError(f"audit.experiment: {name} is a combination; name a baseline")
            if self.experiments[name].is_trained:
                raise ValueError(
                    f"audit.experiment: {name} is trained on the labels that an audit doubts, and each of its folds "
                    "has embeddings of its own; name a baseline"
                )
        return self

    @model_validator(mode="after")
    def _overrides_are_known(self) -> Self:
        for name, entry in self.experiments.items():
            if entry.is_trained:
                is_frozen = self.backbone_of(name).frozen
                with _named(f"experiments.{name}.training"):
                    head = entry.training_params(self.training, is_frozen).head
                with _named(f"experiments.{name}.augmentation"):
                    entry.augmentation_params(self.training)
                with _named(f"experiments.{name}.loss_options"):
                    entry.loss_params(self.losses)
                if is_frozen and head.dim is None and not head.neck:
                    raise ValueError(f"experiments.{name}: frozen and without a head there is nothing to train")
        return self

    @model_validator(mode="after")
    def _groups_can_hold_a_lesion(self) -> Self:
        size, largest = self.evaluation.max_group_size, self.data.max_images_per_lesion
        if size is not None and size < largest:
            raise ValueError(
                f"evaluation.max_group_size is {size}, but a lesion may have {largest} images "
                "(data.max_images_per_lesion): raise the one, or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _distractors_are_left_out(self) -> Self:
        if self.has_distractors and self.data.min_images_per_lesion < 2:
            raise ValueError(
                "evaluation.distractors puts lesions of one image among the folds' lesions, but "
                "data.min_images_per_lesion=1 has dealt them into the folds: set the one to 0, or the other to 2"
            )
        return self

    @model_validator(mode="after")
    def _every_fold_gets_a_lesion(self) -> Self:
        n_parts = self.split.n_folds + self.split.use_train_test_split
        if self.data.max_lesions is not None and self.data.max_lesions < n_parts:
            raise ValueError(f"data.max_lesions is {self.data.max_lesions}, but folds and test subset need {n_parts}")
        return self

    @model_validator(mode="after")
    def _similarities_are_known(self) -> Self:
        for name in self.experiments:
            with _named(f"experiments.{name}.similarity"):
                self.similarity_of(name)
        trained = [name for name in self.running if self.experiments[name].is_trained]
        whitened = [name for name in trained if self.similarity_of(name).whitening is not None]
        if whitened:
            raise ValueError(
                f"similarity.whitening is for experiments that train nothing, not for {whitened[0]}: a trained head "
                "has weighed its directions already. Set it in experiments.<baseline>.similarity"
            )
        return self

    @property
    def has_distractors(self) -> bool:
        """Tell whether folds are judged among lesions of one image, too."""
        return self.evaluation.distractors != 0

    @property
    def running(self) -> tuple[str, ...]:
        """Name the experiments that run: those of the study, and the members of combinations among them."""
        return with_members(self.study.experiments, self.experiments)

    def similarity_of(self, experiment: str) -> SimilarityParams:
        """Give what makes the similarities of an experiment, its overrides applied."""
        return self.experiments[experiment].similarity_params(self.similarity)

    def backbone_of(self, experiment: str) -> BackboneParams:
        """Give the settings of an experiment's backbone, its overrides applied."""
        entry = self.experiments[experiment]
        return entry.applied_to(self.backbones[str(entry.backbone)])

    def features_of(self, experiment: str) -> str:
        """Name the features that an experiment uses: its backbone's, or its own where it overrides settings."""
        entry = self.experiments[experiment]
        return experiment if entry.has_overrides() else str(entry.backbone)

    def training_views_of(self, experiment: str) -> str:
        """Name the training views that an experiment uses: those of its features, unless it augments otherwise.

        Then they have the name of the first experiment that makes the same ones.
        """
        wanted = self._augmented_features(experiment)
        if wanted[1] == self.training.augmentation:
            return wanted[0]
        return next(name for name in self.experiments if self._augmented_features(name) == wanted)

    def _augmented_features(self, experiment: str) -> tuple[str, AugmentationParams | None]:
        """Give what training views depend on; no augmentation where nothing is trained."""
        entry = self.experiments[experiment]
        if not entry.is_trained:
            return experiment, None
        return self.features_of(experiment), entry.augmentation_params(self.training)

    def trained_as(self, experiment: str) -> str:
        """Name the first experiment whose trainings are the same, itself if there is none before it.

        Experiments that differ in their similarity alone are trained once: they share the states of their trainings.
        """
        own = self._training_of(experiment)
        trained = (name for name, entry in self.experiments.items() if entry.is_trained)
        return next(name for name in trained if self._training_of(name) == own)

    def _training_of(self, experiment: str) -> tuple[Block, ...]:
        entry, backbone = self.experiments[experiment], self.backbone_of(experiment)
        training = entry.training_params(self.training, backbone.frozen)
        return backbone, training, entry.augmentation_params(self.training), entry.loss_params(self.losses)

    @property
    def audited_experiment(self) -> str | None:
        """Name the baseline whose embeddings an audit compares; none where no baseline is declared."""
        if self.audit.experiment is not None:
            return self.audit.experiment
        named = (*self.study.experiments, *self.experiments)
        return next((name for name in named if self.experiments[name].loss == "baseline"), None)

    def only(self, experiment: str) -> "Parameters":
        """Give the same parameters for a study of one experiment, and of its members where it is a combination."""
        return self.model_copy(update={"study": self.study.model_copy(update={"experiments": (experiment,)})})


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Say where values that are merged from several places are wrong."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{place}: {in_words(error)}") from error


def in_words(error: ValidationError) -> str:
    """Say in one line what a model of pydantic refused: where each problem is, and what it is."""
    problems = [
        ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))))
        for problem in error.errors()
    ]
    more = f" and {len(problems) - SHOWN_PER_KIND} more" if len(problems) > SHOWN_PER_KIND else ""
    return "; ".join(problems[:SHOWN_PER_KIND]) + more


def _require(names: Iterable[str], known: dict[str, Any], where: str, kind: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where} names the unknown {kind} {name!r}; declared: {', '.join(sorted(known))}")
