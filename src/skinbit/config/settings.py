"""The settings of an experiment and of a study, written down in full."""

from pathlib import PurePath
from typing import Any

from skinbit.config.block import MEMBERS, Block
from skinbit.config.parameters import Parameters


def settings_of(name: str, parameters: Parameters) -> dict[str, Any]:
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


def _own_settings(name: str, parameters: Parameters) -> dict[str, Any]:
    """Return an experiment's own settings; for a combination, those that its members' embeddings depend on."""
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


def _member_settings(member: str, parameters: Parameters) -> dict[str, Any]:
    whitening = parameters.recipes[member].similarity.whitening
    plain = None if whitening is None else whitening.model_dump(mode="json")
    return _own_settings(member, parameters) | {"similarity": {"whitening": plain}}


def study_settings(parameters: Parameters) -> dict[str, Any]:
    """Return all parameters that a study's files depend on; as a Kedro environment they reproduce these files.

    Weights files and the ledger are named without their folders, which differ between machines.
    """
    named = {name: backbone.without_folder() for name, backbone in parameters.backbones.items()}
    decisions = parameters.study.decisions and PurePath(parameters.study.decisions).name
    study = parameters.study.model_copy(update={"decisions": decisions})
    written = parameters.model_copy(update={"backbones": named, "study": study})
    left_out: dict[str, Any] = dict.fromkeys(("audit", "cluster", "tracking", "executor"), True)
    left_out |= {"memory": {"tile_megabytes"}}
    return written.model_dump(mode="json", exclude=left_out)
