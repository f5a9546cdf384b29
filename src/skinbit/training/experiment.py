"""One training of one experiment: from features or pixels of its lesions to weights, history and embeddings."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import torch

from skinbit.embedding.checkpoints import Checkpoint, StateStore
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.headers import ModelHeader
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.embedding.tables import Embeddings
from skinbit.errors import InputError
from skinbit.matching.labels import lesion_labels
from skinbit.matching.pairs.pool import tiles_of
from skinbit.training.fit import Subset, Training, check_directions, fit
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.recipe import Recipe, Roles
from skinbit.training.state import Tensors
from skinbit.training.tasks import Prepared, Task


@dataclass(frozen=True)
class Trained:
    """The result of one training.

    Attributes:
        checkpoint: Weights and how to rebuild the model; without cuts, and without a backbone that stayed frozen.
        history: One row per epoch.
        embeddings: Of the judged images, test views averaged.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    embeddings: Embeddings


def train(task: Task, roles: Roles, recipe: Recipe, store: StateStore) -> Trained:
    """Train an experiment once, and embed the judged images with what has been learnt.

    Args:
        task: A head, or a whole network, with its images.
        roles: Which images train and which are judged.
        recipe: Settings.
        store: Keeps the training's state.

    Raises:
        InputError: If images are missing, there is only one lesion, the backbone's weights are not those of the
            description, the loss diverges, memory does not suffice, or an image is mapped to nothing.
    """
    prepared = task.prepare(recipe)
    learned = _subset(task, roles.train_ids, roles.train_lesions)
    judged = _subset(task, roles.judged_ids, roles.judged_lesions)
    if len(np.unique(learned.labels)) < 2:
        raise InputError(
            f"{recipe.name}: there is one lesion to learn from. Remedy: give more lesions, or fewer folds."
        )
    training = _training(prepared, recipe, _training_key(task, roles, recipe))
    fitted = fit(training, prepared.images, learned, judged if roles.chooses_epoch else None, store)
    prepared.module.load_state_dict(fitted.weights)
    prepared.module.eval()
    views = prepared.embed(judged.rows)
    check_directions(views, recipe.name)
    tensors = task.tensors(fitted.weights)
    origin = {"loss": recipe.loss_name, "epoch": fitted.best_epoch, "training": training.key}
    return Trained(
        Checkpoint(tensors, _header(task, recipe, tensors, fitted.best_epoch)),
        fitted.history,
        Embeddings(roles.judged_ids, average_views(views), origin),
    )


def _subset(task: Task, image_ids: tuple[str, ...], lesions: tuple[str, ...]) -> Subset:
    row_of = {image_id: row for row, image_id in enumerate(task.image_ids)}
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features or pixels, the first is {missing[0]}.\n"
            "  Remedy: they are of an earlier split; run baseline_embeddings again."
        )
    rows = np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
    return Subset(rows, lesion_labels(list(lesions)))


def _training(prepared: Prepared, recipe: Recipe, key: str) -> Training:
    return Training(
        name=recipe.name,
        module=prepared.module,
        groups=parameter_groups(prepared.module, recipe.training),
        loss=make_loss(recipe.loss),
        params=recipe.training,
        compute=recipe.compute,
        seed=recipe.seed,
        key=key,
        save_every=recipe.save_every,
        limits=tiles_of(recipe.tile_megabytes),
        last_epoch=recipe.last_epoch,
    )


def _header(task: Task, recipe: Recipe, tensors: Tensors, epoch: int) -> ModelHeader:
    import timm

    from skinbit import __version__

    return ModelHeader(
        backbone=recipe.backbone.model_copy(update={"weights": None}),
        preprocessing=Preprocessing.model_validate(task.description["preprocessing"]),
        weights_sha256=task.description["weights_sha256"],
        holds_backbone=any(name.startswith("backbone.") for name in tensors),
        head=recipe.training.head,
        loss=recipe.loss_name,
        loss_params=recipe.loss.model_dump(mode="json"),
        training=recipe.training.model_dump(mode="json", exclude={"head"}),
        epoch=epoch,
        seed=recipe.seed,
        versions={"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    )


def _training_key(task: Task, roles: Roles, recipe: Recipe) -> str:
    """Fingerprint everything that a training's result depends on."""
    import pytorch_metric_learning
    import timm

    settings = {
        name: getattr(recipe, name).model_dump(mode="json") for name in ("backbone", "loss", "training", "augmentation")
    }
    settings["backbone"].pop("weights")  # a path; the description's hash stands for the content
    content = {
        **settings,
        "loss_name": recipe.loss_name,
        "compute": asdict(recipe.compute),
        "seed": recipe.seed,
        "last_epoch": recipe.last_epoch,
        "roles": asdict(roles),
        "inputs": task.keys,
        "versions": [torch.__version__, timm.__version__, pytorch_metric_learning.__version__, np.__version__],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
