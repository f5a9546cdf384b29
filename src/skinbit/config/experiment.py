"""One row of the study."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.backbone import BackboneParams, PoolingParams, ViewParams
from skinbit.config.block import MAX_MEMBERS, MEMBERS, Block, Name, overridden, split_joined
from skinbit.config.losses import LossesParams, LossName, LossParams
from skinbit.config.similarity import SimilarityParams
from skinbit.config.training import AugmentationParams, TrainingBlock, TrainingParams

_OF_TRAINING = ("frozen", "training", "augmentation", "loss_options")  # a baseline has none of them


class ExperimentParams(Block):
    """One row of the study: a backbone, a loss, and what differs from the settings of both; or a combination."""

    backbone: Name | None = Field(default=None, description="none: a combination")
    loss: LossName | None = Field(default=None, description="baseline: nothing is trained; none: a combination")
    combine: Annotated[tuple[Name, ...], BeforeValidator(split_joined)] = Field(
        default=(), max_length=MAX_MEMBERS, description="experiments whose embeddings are joined; empty: no combination"
    )
    shares: Annotated[tuple[Annotated[float, Field(ge=0.001, le=1000)], ...], BeforeValidator(split_joined)] = Field(
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
        return overridden(training.frozen if is_frozen else training.fine_tuned, self.training)

    def augmentation_params(self, training: TrainingBlock) -> AugmentationParams:
        """Give the ranges of training views with this experiment's in their place."""
        return overridden(training.augmentation, self.augmentation)

    def loss_params(self, losses: LossesParams) -> LossParams:
        """Give the settings of this experiment's loss with the experiment's own in their place."""
        settings: LossParams = getattr(losses, str(self.loss))
        return overridden(settings, self.loss_options)

    def similarity_params(self, similarity: SimilarityParams) -> SimilarityParams:
        """Give what makes similarities, with this experiment's settings in their place.

        Embeddings of a combination are whitened where those of its members are, not once more.
        """
        shared = similarity.model_copy(update={"whitening": None}) if self.is_combination else similarity
        return overridden(shared, self.similarity)

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
