"""The resolved settings of an experiment, with every override applied."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from skinbit.config.backbone import BackboneParams
from skinbit.config.block import Block, located, overridden
from skinbit.config.experiment import ExperimentParams
from skinbit.config.losses import LossesParams, LossName, LossParams
from skinbit.config.similarity import SimilarityParams
from skinbit.config.training import AugmentationParams, TrainingBlock, TrainingParams


class TrainingRecipe(Block):
    """How a model is trained; together with the backbone, the split and the seed this decides its weights."""

    loss: LossName
    loss_options: dict[str, Any] = Field(description="all settings of this loss")
    params: TrainingParams
    augmentation: AugmentationParams
    threads: int = Field(description="CPU threads; results depend on it")
    save_every: float = Field(description="seconds between two saved states; results do not depend on it")

    @property
    def loss_params(self) -> LossParams:
        """Return the settings of the loss."""
        params: LossParams = getattr(LossesParams.model_validate({self.loss: self.loss_options}), self.loss)
        return params


class Recipe(Block):
    """The resolved settings of one experiment."""

    backbone: BackboneParams | None = Field(default=None, description="null for a combination")
    training: TrainingRecipe | None = Field(default=None, description="null where nothing is trained")
    similarity: SimilarityParams

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone keeps its pretrained weights."""
        return self.training is None or (self.backbone is not None and self.backbone.frozen)


@dataclass(frozen=True)
class Shared:
    """The settings that all experiments start from."""

    backbones: Mapping[str, BackboneParams]
    similarity: SimilarityParams
    training: TrainingBlock
    losses: LossesParams


def resolve_recipe(name: str, entry: ExperimentParams, shared: Shared) -> Recipe:
    """Return the settings of an experiment: the shared ones with its overrides applied.

    A combination is never whitened itself: its members may be. Nor has it vectors per zoom.

    Args:
        name: Name of the experiment, for messages.
        entry: The experiment, with its overrides.
        shared: The settings that it overrides.

    Raises:
        ValueError: If an override is unknown or out of range.
    """
    similarity = shared.similarity
    if entry.is_combination:
        similarity = similarity.model_copy(update={"whitening": None, "zoom_pairs": False})
    with located(f"experiments.{name}.similarity"):
        similarity = overridden(similarity, entry.similarity)
    if entry.is_combination:
        return Recipe(similarity=similarity)
    backbone = shared.backbones[str(entry.backbone)].model_copy(update=entry.backbone_overrides)
    training = _resolve_training(name, entry, shared, backbone.frozen) if entry.is_trained else None
    return Recipe(backbone=backbone, training=training, similarity=similarity)


def _resolve_training(name: str, entry: ExperimentParams, shared: Shared, is_frozen: bool) -> TrainingRecipe:
    block, loss = shared.training, str(entry.loss)
    with located(f"experiments.{name}.training"):
        params = overridden(block.frozen if is_frozen else block.fine_tuned, entry.training)
    with located(f"experiments.{name}.augmentation"):
        augmentation = overridden(block.augmentation, entry.augmentation)
    with located(f"experiments.{name}.loss_options"):
        options: Block = overridden(getattr(shared.losses, loss), entry.loss_options)
    return TrainingRecipe(
        loss=loss,
        loss_options=options.model_dump(mode="json"),
        params=params,
        augmentation=augmentation,
        threads=block.threads,
        save_every=block.save_every,
    )
