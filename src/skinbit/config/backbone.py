"""A timm network, its pooling and its test views."""

import re
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from skinbit.config.block import Block, PathText


class PoolingParams(Block):
    """How a backbone's activations become one feature vector."""

    method: Literal["model", "mean", "gem"] = Field(
        default="model", description="model: the network's own pooling; mean, gem: pool the feature levels in `levels`"
    )
    levels: tuple[int, ...] = Field(
        default=(), description="timm's feature levels (out_indices); each is pooled, and the results are concatenated"
    )
    power: float = Field(default=3.0, ge=1, le=100, description="GeM exponent; 1 is the mean, 100 nearly the maximum")

    @model_validator(mode="after")
    def _levels_match_method(self) -> Self:
        if (self.method == "model") == bool(self.levels):
            raise ValueError("pooling 'model' takes no levels; 'mean' and 'gem' need at least one level")
        if list(self.levels) != sorted({level for level in self.levels if level >= 0}):
            raise ValueError("levels must be ascending numbers from 0, each once")
        return self


class ViewParams(Block):
    """Test views of a photograph: every rotation at every zoom is embedded, and the embeddings are averaged."""

    rotations: tuple[Literal[0, 90, 180, 270], ...] = Field(
        default=(0,), description="rotations in degrees; the first is 0"
    )
    zooms: tuple[Annotated[float, Field(ge=1, le=10)], ...] = Field(
        default=(1.0,),
        max_length=16,
        description="1 shows the whole central square, 2 its central half; the first is 1",
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
        """Return the number of views of one photograph."""
        return len(self.rotations) * len(self.zooms)


_OWN_MODEL_ARGS = {
    *("cache_dir", "checkpoint_path", "exportable", "features_only", "no_jit", "num_classes", "out_indices"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable"),
}

_RANDOM_MODEL_ARGS = {"attn_drop_rate", "drop_path_rate", "drop_rate", "pos_drop_rate", "proj_drop_rate"}

_MODEL_NAME = re.compile(r"[A-Za-z0-9]\w*(\.\w+)?", re.ASCII)

_WORD = re.compile(r"\w{0,64}", re.ASCII)


def _is_plain(value: Any) -> bool:
    """Whether a value may be an argument of a network: it cannot name a file, an address or code."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, list | tuple):
        return len(value) <= 64 and all(_is_plain(part) and not isinstance(part, list | tuple) for part in value)
    return value is None or (isinstance(value, int | float) and abs(value) <= 65536)


class BackboneParams(Block):
    """A timm network that turns photographs into features."""

    model: str = Field(min_length=1, max_length=100, description="name of the network in timm, e.g. resnet50.a1_in1k")
    image_size: int = Field(default=224, ge=16, le=2048, description="side of the square input, pixels")
    frozen: bool = Field(
        default=True, description="true: only a head is trained; false: the whole network is fine-tuned"
    )
    pretrained: bool = Field(default=True, description="false: weights are random, drawn from the seed")
    weights: PathText | None = Field(
        default=None, description="path of a local .safetensors file; null: weights from timm's hub"
    )
    model_args: dict[str, Any] = Field(default_factory=dict, description="further arguments of timm.create_model")
    mean: tuple[float, float, float] | None = Field(
        default=None, description="mean subtracted from RGB values in [0, 1]; null: the model's"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="standard deviation by which RGB values in [0, 1] are divided; null: the model's"
    )
    pooling: PoolingParams = PoolingParams()
    test_views: ViewParams = ViewParams()

    def without_folder(self) -> Self:
        """Return the settings with the weights file's name only, as its folder differs between machines."""
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
            raise ValueError(f"model_args: {strange[0]!r} must be a word, a number up to 65536, or a short list")
        return self

    @model_validator(mode="after")
    def _weights_are_usable(self) -> Self:
        if self.weights is not None and not self.pretrained:
            raise ValueError("weights is set, but pretrained is false: remove one of the two")
        if self.weights is not None and PurePosixPath(self.weights).suffix != ".safetensors":
            raise ValueError(f"weights must be a .safetensors file (no pickles), not {self.weights!r}")
        own = sorted(_OWN_MODEL_ARGS & self.model_args.keys())
        if own:
            raise ValueError(f"model_args must not set {', '.join(own)}: other parameters of the backbone set them")
        random = sorted(_RANDOM_MODEL_ARGS & self.model_args.keys())
        if random:
            raise ValueError(f"model_args must not set {', '.join(random)}: dropout does not use the seeded generator")
        return self
