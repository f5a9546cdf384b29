"""What an experiment is made of, every override in its place."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from skinbit.config.backbone import BackboneParams
from skinbit.config.block import MEMBERS, Block, located, overridden
from skinbit.config.experiment import ExperimentParams
from skinbit.config.losses import LossesParams, LossName, LossParams
from skinbit.config.similarity import SimilarityParams
from skinbit.config.training import AugmentationParams, TrainingParams

if TYPE_CHECKING:
    from skinbit.config.parameters import Parameters


class TrainingRecipe(Block):
    """How a model is trained: with its backbone, the split and the seed, all that its weights depend on."""

    loss: LossName
    loss_options: dict[str, Any] = Field(description="every setting of this loss")
    params: TrainingParams
    augmentation: AugmentationParams
    threads: int = Field(description="CPU threads; figures depend on it")
    save_every: float = Field(description="seconds between two saved states; figures do not depend on it")

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


def resolve_recipe(name: str, parameters: "Parameters") -> Recipe:
    """Return the settings of an experiment, its overrides applied to the study's.

    The embeddings of a combination are whitened where those of its members are, not once more.

    Args:
        name: Of the experiment.
        parameters: Of the study.

    Raises:
        ValueError: If an override is unknown or out of range.
    """
    entry = parameters.experiments[name]
    shared = parameters.similarity
    if entry.is_combination:
        shared = shared.model_copy(update={"whitening": None})
    with located(f"experiments.{name}.similarity"):
        similarity = overridden(shared, entry.similarity)
    if entry.is_combination:
        return Recipe(similarity=similarity)
    backbone = parameters.backbones[str(entry.backbone)].model_copy(update=entry.backbone_overrides)
    training = _resolve_training(name, entry, parameters, backbone.frozen) if entry.is_trained else None
    return Recipe(backbone=backbone, training=training, similarity=similarity)


def _resolve_training(name: str, entry: ExperimentParams, parameters: "Parameters", is_frozen: bool) -> TrainingRecipe:
    block, loss = parameters.training, str(entry.loss)
    with located(f"experiments.{name}.training"):
        params = overridden(block.frozen if is_frozen else block.fine_tuned, entry.training)
    with located(f"experiments.{name}.augmentation"):
        augmentation = overridden(block.augmentation, entry.augmentation)
    with located(f"experiments.{name}.loss_options"):
        options: Block = overridden(getattr(parameters.losses, loss), entry.loss_options)
    return TrainingRecipe(
        loss=loss,
        loss_options=options.model_dump(mode="json"),
        params=params,
        augmentation=augmentation,
        threads=block.threads,
        save_every=block.save_every,
    )


def settings_of(name: str, parameters: "Parameters") -> dict[str, Any]:
    """Return every value that an experiment runs with, defaults included, as plain values by block."""
    recipe = parameters.recipes[name]
    own: dict[str, Block] = {"similarity": recipe.similarity}
    blocks = own | {block: getattr(parameters, block) for block in ("data", "split", "evaluation", "loader", "compute")}
    if recipe.similarity.verification:
        blocks["geometry"] = parameters.geometry
    shared = {block: value.model_dump(mode="json") for block, value in blocks.items()}
    shared |= {"memory": {"max_pairs": parameters.memory.max_pairs}}
    shared |= {"folds": list(parameters.study.folds), "seed": parameters.seed}
    return shared | _own_settings(name, parameters)


def _own_settings(name: str, parameters: "Parameters") -> dict[str, Any]:
    """Return what is set for an experiment alone; of a combination's members, what their embeddings rest on."""
    entry, recipe = parameters.experiments[name], parameters.recipes[name]
    plain: dict[str, Any] = {"experiment": entry.model_dump(mode="json")}
    if recipe.backbone is None:
        return plain | {MEMBERS: {member: _member_settings(member, parameters) for member in entry.combine}}
    plain["backbone"] = recipe.backbone.without_folder().model_dump(mode="json")
    training = recipe.training
    if training is not None:
        of_training = {"threads": training.threads, "canvas": parameters.training.canvas}
        plain["training"] = training.params.model_dump(mode="json") | of_training
        plain["augmentation"] = training.augmentation.model_dump(mode="json")
        plain["loss"] = training.loss_options
    return plain


def _member_settings(member: str, parameters: "Parameters") -> Mapping[str, Any]:
    whitening = parameters.recipes[member].similarity.whitening
    plain = None if whitening is None else whitening.model_dump(mode="json")
    return _own_settings(member, parameters) | {"similarity": {"whitening": plain}}


def study_settings(parameters: "Parameters") -> dict[str, Any]:
    """Return all parameters that the files of a study depend on: as a Kedro environment they make the same files again.

    Weights files are named without their folders, which say where on a machine they are.
    """
    named = {name: backbone.without_folder() for name, backbone in parameters.backbones.items()}
    written = parameters.model_copy(update={"backbones": named})
    left_out: dict[str, Any] = {"audit": True, "cluster": True, "tracking": True, "memory": {"tile_megabytes"}}
    return written.model_dump(mode="json", exclude=left_out)
