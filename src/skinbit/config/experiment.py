"""An experiment of the study: a backbone, a loss and its overrides, or a combination of other experiments."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.backbone import PoolingParams, ViewParams
from skinbit.config.block import MAX_MEMBERS, Block, Name, split_joined
from skinbit.config.losses import LossName

_OF_TRAINING = ("frozen", "training", "augmentation", "loss_options")  # a baseline has none of them


class ExperimentParams(Block):
    """One experiment: a backbone, a loss and overrides of their settings; or a combination of experiments."""

    backbone: Name | None = Field(default=None, description="backbone of the experiment; null in a combination")
    loss: LossName | None = Field(
        default=None, description="training loss; baseline: nothing is trained; null in a combination"
    )
    combine: Annotated[tuple[Name, ...], BeforeValidator(split_joined)] = Field(
        default=(),
        max_length=MAX_MEMBERS,
        description="experiments whose similarities are averaged; empty: not a combination",
    )
    shares: Annotated[tuple[Annotated[float, Field(ge=0.001, le=1000)], ...], BeforeValidator(split_joined)] = Field(
        default=(), description="weights of the combined experiments, relative to each other; empty: equal"
    )
    frozen: bool | None = Field(default=None, description="overrides `frozen` of the backbone; null: no override")
    image_size: int | None = Field(
        default=None, ge=16, le=2048, description="overrides `image_size` of the backbone; null: no override"
    )
    pooling: PoolingParams | None = None
    test_views: ViewParams | None = None
    training: dict[str, Any] = Field(
        default_factory=dict, description="overrides of training.frozen or training.fine_tuned"
    )
    augmentation: dict[str, Any] = Field(default_factory=dict, description="overrides of training.augmentation")
    loss_options: dict[str, Any] = Field(default_factory=dict, description="overrides of losses.<loss>")
    similarity: dict[str, Any] = Field(default_factory=dict, description="overrides of similarity")

    @property
    def is_combination(self) -> bool:
        """Whether the experiment combines others."""
        return bool(self.combine)

    @property
    def member_shares(self) -> tuple[float, ...]:
        """Return the share of every member."""
        return self.shares or (1.0,) * len(self.combine)

    @property
    def is_trained(self) -> bool:
        """Whether the experiment trains anything."""
        return self.loss not in (None, "baseline")

    @model_validator(mode="after")
    def _has_a_model_or_members(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) not in (None, (), {})}
        unused = [name for name in type(self).model_fields if name in given - {"combine", "shares", "similarity"}]
        if self.combine and unused:
            raise ValueError(
                f"combine takes the embeddings of other experiments as they are: remove {', '.join(unused)}, "
                "or set it in the members"
            )
        if self.combine and self.similarity.get("zoom_pairs"):
            raise ValueError(
                "combine takes one vector per photograph: leave similarity.zoom_pairs out, or name a baseline instead"
            )
        if self.combine and self.similarity.get("whitening") is not None:
            raise ValueError(
                "combine takes embeddings as they are: set similarity.whitening in members that are baselines"
            )
        missing = [name for name in ("backbone", "loss") if name not in given]
        if missing and not self.combine:
            raise ValueError(f"set {' and '.join(missing)}, or combine to the names of other experiments")
        if self.combine and len(self.combine) < 2:
            raise ValueError(f"combine names only {self.combine[0]}: name two or more experiments")
        if len(set(self.combine)) < len(self.combine):
            raise ValueError(f"combine names an experiment twice: {', '.join(self.combine)}")
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

    @property
    def feature_overrides(self) -> dict[str, Any]:
        """Return the overrides of the backbone for which this experiment needs its own features."""
        replaced = {name: getattr(self, name) for name in ("image_size", "pooling", "test_views")}
        return {name: value for name, value in replaced.items() if value is not None}

    @property
    def backbone_overrides(self) -> dict[str, Any]:
        """Return all overrides of the backbone's settings."""
        return self.feature_overrides | ({} if self.frozen is None else {"frozen": self.frozen})


def with_members(names: Iterable[str], experiments: Mapping[str, ExperimentParams]) -> tuple[str, ...]:
    """Return experiments, followed by the members of combinations that are not among them."""
    named = tuple(names)
    members = (member for name in named for member in experiments[name].combine)
    return tuple(dict.fromkeys((*named, *members)))


def setup_of(name: str, experiments: Mapping[str, ExperimentParams]) -> tuple[str, str]:
    """Return backbone and loss of an experiment as tables show them; a combination's members are joined by +."""
    shown = [experiments[member] for member in experiments[name].combine] or [experiments[name]]
    return "+".join(str(entry.backbone) for entry in shown), "+".join(str(entry.loss) for entry in shown)
