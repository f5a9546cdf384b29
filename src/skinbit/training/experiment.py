"""One training of one experiment: from features or pixels to weights, history and embeddings."""

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
from skinbit.training.job import Job, Roles
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.state import Tensors
from skinbit.training.tasks import Prepared, Task


@dataclass(frozen=True)
class Trained:
    """The result of one training.

    Attributes:
        checkpoint: Weights and header, without cuts, and without a backbone that stayed frozen.
        history: One row per epoch.
        embeddings: Embeddings of the evaluated images, averaged over test views.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    embeddings: Embeddings


def train(task: Task, roles: Roles, job: Job, store: StateStore) -> Trained:
    """Train an experiment once, and embed the evaluated images with the trained model.

    Args:
        task: A head or a whole network, with its images.
        roles: Images to train on and images to evaluate.
        job: Settings of the training.
        store: Stores the training's state.

    Raises:
        InputError: If images are missing, there is only one lesion, the backbone's weights are not those of the
            description, the loss diverges, memory does not suffice, or an embedding is zero.
    """
    prepared = task.prepare(job)
    learned = _subset(task, roles.train_ids, roles.train_lesions)
    judged = _subset(task, roles.judged_ids, roles.judged_lesions)
    if len(np.unique(learned.labels)) < 2:
        raise InputError(f"{job.name}: there is only one lesion to train on. Remedy: use more lesions, or fewer folds.")
    training = _training(prepared, job, _training_key(task, roles, job))
    fitted = fit(training, prepared.images, learned, judged if roles.chooses_epoch else None, store)
    prepared.module.load_state_dict(fitted.weights)
    prepared.module.eval()
    views = prepared.embed(judged.rows)
    check_directions(views, job.name)
    tensors = task.tensors(fitted.weights)
    origin = {"loss": job.recipe.loss, "epoch": fitted.best_epoch, "training": training.key}
    return Trained(
        Checkpoint(tensors, _header(task, job, tensors, fitted.best_epoch)),
        fitted.history,
        Embeddings(roles.judged_ids, average_views(views), origin),
    )


def _subset(task: Task, image_ids: tuple[str, ...], lesions: tuple[str, ...]) -> Subset:
    row_of = {image_id: row for row, image_id in enumerate(task.image_ids)}
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features or pixels, the first is {missing[0]}.\n"
            "  Remedy: they are from an earlier split; run baseline_embeddings again."
        )
    rows = np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
    return Subset(rows, lesion_labels(list(lesions)))


def _training(prepared: Prepared, job: Job, key: str) -> Training:
    return Training(
        name=job.name,
        module=prepared.module,
        groups=parameter_groups(prepared.module, job.recipe.params),
        loss=make_loss(job.recipe.loss_params),
        params=job.recipe.params,
        compute=job.compute,
        seed=job.seed,
        key=key,
        save_every=job.recipe.save_every,
        limits=tiles_of(job.tile_megabytes),
        last_epoch=job.last_epoch,
    )


def _header(task: Task, job: Job, tensors: Tensors, epoch: int) -> ModelHeader:
    import timm

    from skinbit import __version__

    return ModelHeader(
        backbone=job.backbone.model_copy(update={"weights": None}),
        preprocessing=Preprocessing.model_validate(task.description["preprocessing"]),
        weights_sha256=task.description["weights_sha256"],
        holds_backbone=any(name.startswith("backbone.") for name in tensors),
        head=job.recipe.params.head,
        loss=job.recipe.loss,
        loss_params=job.recipe.loss_options,
        training=job.recipe.params.model_dump(mode="json", exclude={"head"}),
        epoch=epoch,
        seed=job.seed,
        versions={"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    )


def _training_key(task: Task, roles: Roles, job: Job) -> str:
    """Return the fingerprint of everything that a training's result depends on."""
    import pytorch_metric_learning
    import timm

    recipe = job.recipe
    content = {
        # Without the path of the weights, as the description has their hash.
        "backbone": job.backbone.model_dump(mode="json", exclude={"weights"}),
        "loss_name": recipe.loss,
        "loss": recipe.loss_options,
        "training": recipe.params.model_dump(mode="json"),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
        "compute": job.compute.describe(),
        "seed": job.seed,
        "last_epoch": job.last_epoch,
        "roles": asdict(roles),
        "inputs": task.keys,
        "versions": [torch.__version__, timm.__version__, pytorch_metric_learning.__version__, np.__version__],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
