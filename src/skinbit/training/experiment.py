"""One training of one experiment: from features or pixels of its lesions to weights, history and embeddings."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from skinbit.embedding.backbones import Backbone, load_described
from skinbit.embedding.checkpoints import Checkpoint, StateStore
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import embed_views
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.tables import Bytes, Embeddings, Features, Pixels
from skinbit.errors import InputError
from skinbit.matching.pairs import FloatArray, lesion_labels
from skinbit.params import AugmentationParams, BackboneParams, HeadParams, LossParams, TrainingParams
from skinbit.training.fit import Fitted, Subset, Training, check_directions, fit
from skinbit.training.images import CachedViews, DecodedPhotographs, TrainingImages
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.sampling import Rows

_EMBED_BATCH = 32
"""Images per forward pass of the final embeddings, per view."""


@dataclass(frozen=True)
class Recipe:
    """All settings of one training, overrides applied.

    Attributes:
        name: Experiment and fold, for messages.
        backbone: Of the experiment.
        loss_name: ``contrastive``, ``triplet`` or ``infonce``.
        loss: Its settings.
        training: Epochs, batches, schedule, head.
        augmentation: Of training images.
        compute: Device, precision, threads.
        seed: Of weights, batches and augmentations.
        save_every: Seconds between two saved states.
        last_epoch: Where a training without validation stops.
    """

    name: str
    backbone: BackboneParams
    loss_name: str
    loss: LossParams
    training: TrainingParams
    augmentation: AugmentationParams
    compute: Compute
    seed: int
    save_every: float
    last_epoch: int | None = None


@dataclass(frozen=True)
class Roles:
    """Which images do what in a training.

    Attributes:
        train_ids: Images to learn from.
        train_lesions: Their lesions.
        judged_ids: Images to embed at the end; in a fold also those that choose the best epoch.
        judged_lesions: Their lesions.
        chooses_epoch: Whether the judged images choose it: never those of the test subset.
    """

    train_ids: tuple[str, ...]
    train_lesions: tuple[str, ...]
    judged_ids: tuple[str, ...]
    judged_lesions: tuple[str, ...]
    chooses_epoch: bool


@dataclass(frozen=True)
class Trained:
    """What one training gives.

    Attributes:
        checkpoint: Weights and how to rebuild the model; without cuts.
        history: One row per epoch.
        embeddings: Of the judged images, test views averaged.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    embeddings: Embeddings


def train_head(recipe: Recipe, features: Features, views: Features, roles: Roles, store: StateStore) -> Trained:
    """Train a projection head on cached views of a frozen backbone.

    Args:
        recipe: Settings.
        features: ``(n_images, n_test_views, feature_dim)`` of all images; view 0 validates, all of them embed.
        views: ``(n_images, n_training_views, feature_dim)`` of the same images.
        roles: Which images train and which are judged.
        store: Keeps the training's state.

    Returns:
        The head, its history, embeddings of the judged images.

    Raises:
        InputError: If images lack features, there is only one lesion, the loss diverges or memory does not suffice.
    """
    row_of = _rows_by_id(features.image_ids)
    if views.image_ids != features.image_ids:
        raise InputError(
            "Features and training views are of different images.\n  Remedy: run baseline_embeddings again."
        )
    used = views.values[:, : recipe.training.views]
    images = CachedViews(used, features.values[:, 0])
    head = make_head(features.values.shape[2], recipe.training.head, recipe.seed).to(recipe.compute.device)
    key = _training_key(recipe, roles, (*features.keys, *views.keys))
    fitted = _fit(recipe, head, images, row_of, roles, key, store)
    values = features.values[_rows(row_of, roles.judged_ids)]
    projected = _project(head, values, recipe.compute)
    check_directions(projected, recipe.name)
    embedded = average_views(projected)
    tensors = {f"head.{name}": tensor for name, tensor in fitted.weights.items()}
    return _trained(recipe, fitted, tensors, features.description, roles, embedded, key)


def fine_tune(
    recipe: Recipe, pixels: Pixels, description: Mapping[str, Any], roles: Roles, store: StateStore
) -> Trained:
    """Train a backbone with its head on augmented photographs.

    Args:
        recipe: Settings.
        pixels: Of all images.
        description: Of the pretrained backbone.
        roles: Which images train and which are judged.
        store: Keeps the training's state.

    Returns:
        Backbone and head, their history, embeddings of the judged images.

    Raises:
        InputError: If images are missing, there is only one lesion, the weights are not those of the description, the
            loss diverges or memory does not suffice.
    """
    row_of = _rows_by_id(pixels.image_ids)
    loaded = load_described(recipe.backbone, recipe.seed, description)
    params = recipe.training
    head = make_head(loaded.feature_dim, params.head, recipe.seed)
    model = EmbeddingModel(loaded.module.requires_grad_(True), head, params.batch_norm == "frozen")
    model = model.to(recipe.compute.device)
    images = DecodedPhotographs(pixels.canvases, pixels.crops[:, 0], loaded.preprocessing, recipe.augmentation)
    key = _training_key(recipe, roles, (*pixels.keys, description["weights_sha256"], json.dumps(pixels.description)))
    fitted = _fit(recipe, model, images, row_of, roles, key, store)
    crops = pixels.crops[_rows(row_of, roles.judged_ids)]
    embedded = average_views(_embed_crops(model, crops, loaded, recipe))
    return _trained(recipe, fitted, fitted.weights, description, roles, embedded, key)


def _fit(
    recipe: Recipe,
    module: nn.Module,
    images: TrainingImages,
    row_of: dict[str, int],
    roles: Roles,
    key: str,
    store: StateStore,
) -> Fitted:
    train = Subset(_rows(row_of, roles.train_ids), lesion_labels(list(roles.train_lesions)))
    if len(np.unique(train.labels)) < 2:
        raise InputError(
            f"{recipe.name}: there is one lesion to learn from. Remedy: give more lesions, or fewer folds."
        )
    judged = Subset(_rows(row_of, roles.judged_ids), lesion_labels(list(roles.judged_lesions)))
    training = Training(
        name=recipe.name,
        module=module,
        groups=parameter_groups(module, recipe.training),
        loss=make_loss(recipe.loss),
        params=recipe.training,
        compute=recipe.compute,
        seed=recipe.seed,
        key=key,
        save_every=recipe.save_every,
        last_epoch=recipe.last_epoch,
    )
    fitted = fit(training, images, train, judged if roles.chooses_epoch else None, store)
    module.load_state_dict(fitted.weights)
    module.eval()
    return fitted


def embed_by_head(checkpoint: Checkpoint, features: Features, compute: Compute) -> Embeddings:
    """Embed other images with a head that was trained on a frozen backbone.

    Args:
        checkpoint: Of the head.
        features: ``(n_images, n_test_views, feature_dim)`` of the images, by the backbone that it was trained on.
        compute: Device, precision, threads.

    Returns:
        One embedding per image, test views averaged.

    Raises:
        InputError: If the features are of another backbone.
    """
    if checkpoint.header["weights_sha256"] != features.description["weights_sha256"]:
        raise InputError(
            "The head was trained on a backbone with other weights than those that made the features.\n"
            "  Remedy: run baseline_embeddings and metric_learning again."
        )
    width = features.values.shape[2]
    head = make_head(width, HeadParams.model_validate(checkpoint.header["head"]), checkpoint.header["seed"])
    weights = {name.removeprefix("head."): tensor for name, tensor in checkpoint.tensors.items()}
    head.load_state_dict(weights)
    projected = _project(head.to(compute.device).eval(), features.values, compute)
    return Embeddings(features.image_ids, average_views(projected), {"epoch": checkpoint.header["epoch"]})


@torch.inference_mode()
def _project(head: nn.Module, values: FloatArray, compute: Compute) -> FloatArray:
    """Map ``(n, n_views, feature_dim)`` features to ``(n, n_views, embedding_dim)``."""
    flat = torch.from_numpy(values.reshape(-1, values.shape[2])).to(compute.device)
    with deterministic(compute), compute.autocast():
        projected: FloatArray = head(flat).float().cpu().numpy()
    return projected.reshape(*values.shape[:2], projected.shape[1])  # without a test subset there may be none


def _embed_crops(model: nn.Module, crops: Bytes, loaded: Backbone, recipe: Recipe) -> FloatArray:
    """Map ``(n, n_zooms, s, s, 3)`` crops to ``(n, n_views, embedding_dim)``; without a test subset n may be 0."""
    views = recipe.backbone.test_views
    width = recipe.training.head.dim or loaded.feature_dim
    values = np.empty((len(crops), views.n_views, width), dtype=np.float32)
    with deterministic(recipe.compute):
        for start in range(0, len(crops), _EMBED_BATCH):
            batch = as_tensor(crops[start : start + _EMBED_BATCH])
            embedded = embed_views(model, batch, loaded.preprocessing, views, recipe.compute)
            values[start : start + len(batch)] = embedded
    return values


def _trained(
    recipe: Recipe,
    fitted: Fitted,
    tensors: Mapping[str, torch.Tensor],
    description: Mapping[str, Any],
    roles: Roles,
    embedded: FloatArray,
    key: str,
) -> Trained:
    import timm

    from skinbit import __version__

    header = {
        "backbone": recipe.backbone.model_dump(mode="json", exclude={"weights"}),
        "preprocessing": description["preprocessing"],
        "weights_sha256": description["weights_sha256"],
        "holds_backbone": any(name.startswith("backbone.") for name in tensors),
        "head": recipe.training.head.model_dump(mode="json"),
        "loss": recipe.loss_name,
        "loss_params": recipe.loss.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json", exclude={"head"}),
        "epoch": fitted.best_epoch,
        "seed": recipe.seed,
        "versions": {"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    origin = {"loss": recipe.loss_name, "epoch": fitted.best_epoch, "training": key}
    return Trained(Checkpoint(tensors, header), fitted.history, Embeddings(roles.judged_ids, embedded, origin))


def _training_key(recipe: Recipe, roles: Roles, inputs: tuple[str, ...]) -> str:
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
        "inputs": inputs,
        "versions": [torch.__version__, timm.__version__, pytorch_metric_learning.__version__, np.__version__],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _rows_by_id(image_ids: tuple[str, ...]) -> dict[str, int]:
    return {image_id: row for row, image_id in enumerate(image_ids)}


def _rows(row_of: dict[str, int], image_ids: tuple[str, ...]) -> Rows:
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features or pixels, the first is {missing[0]}.\n"
            "  Remedy: they are of an earlier split; run baseline_embeddings again."
        )
    return np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
