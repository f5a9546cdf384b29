"""One training of one experiment: from features or pixels of its lesions to weights, history and embeddings."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from skinbit.config import AugmentationParams, BackboneParams, HeadParams, LossParams, TrainingParams
from skinbit.embedding.backbones import Backbone, load_described
from skinbit.embedding.checkpoints import Checkpoint, StateStore
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import embed_views
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.tables import Bytes, Embeddings, Features, Pixels
from skinbit.errors import InputError
from skinbit.matching.labels import FloatArray, lesion_labels
from skinbit.matching.pairs.pool import tiles_of
from skinbit.training.fit import Subset, Training, check_directions, fit
from skinbit.training.images import CachedViews, DecodedPhotographs, TrainingImages
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.sampling import Rows
from skinbit.training.state import Tensors

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
        tile_megabytes: For similarities at any moment of the validation; changes no figure.
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
    tile_megabytes: float = 64.0
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
        checkpoint: Weights and how to rebuild the model; without cuts, and without a backbone that stayed frozen.
        history: One row per epoch.
        embeddings: Of the judged images, test views averaged.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    embeddings: Embeddings


@dataclass(frozen=True)
class Prepared:
    """A module that is ready to learn.

    Attributes:
        module: On the device that trains.
        images: Its input, by row.
        embed: Returns ``(n, n_views, embedding_dim)`` of rows, by the module as it is then.
    """

    module: nn.Module
    images: TrainingImages
    embed: Callable[[Rows], FloatArray]


class Task(Protocol):
    """What is trained, and on what."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """All images, in the order of their rows."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """Fingerprints of the images and of what they are seen by."""
        ...

    @property
    def description(self) -> Mapping[str, Any]:
        """The pretrained backbone."""
        ...

    def prepare(self, recipe: Recipe) -> Prepared:
        """Make the module that learns, as it is before the first step."""
        ...

    def tensors(self, weights: Tensors) -> Tensors:
        """Name the module's weights as a checkpoint names them."""
        ...


@dataclass(frozen=True)
class HeadTask:
    """A projection head on cached views of a frozen backbone.

    Attributes:
        features: ``(n_images, n_test_views, feature_dim)`` of all images; view 0 validates, all of them embed.
        views: ``(n_images, n_training_views, feature_dim)`` of the same images.
    """

    features: Features
    views: Features

    @property
    def image_ids(self) -> tuple[str, ...]:
        """All images, in the order of their rows."""
        return self.features.image_ids

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of features and views."""
        return (*self.features.keys, *self.views.keys)

    @property
    def description(self) -> Mapping[str, Any]:
        """The backbone that made the features."""
        return self.features.description

    def prepare(self, recipe: Recipe) -> Prepared:
        """Draw the head's weights.

        Args:
            recipe: Settings.

        Returns:
            The head.

        Raises:
            InputError: If features and views are not of the same images.
        """
        if self.views.image_ids != self.image_ids:
            raise InputError(
                "Features and training views are of different images.\n  Remedy: run baseline_embeddings again."
            )
        values = self.features.values
        head = make_head(values.shape[2], recipe.training.head, recipe.seed).to(recipe.compute.device)
        images = CachedViews(self.views.values[:, : recipe.training.views], values[:, 0])
        return Prepared(head, images, lambda rows: _project(head, values[rows], recipe.compute))

    def tensors(self, weights: Tensors) -> Tensors:
        """Name the head's weights as a checkpoint names them; the backbone's stay as they were."""
        return {f"head.{name}": tensor for name, tensor in weights.items()}


@dataclass(frozen=True)
class NetworkTask:
    """A backbone with its head, on augmented photographs.

    Attributes:
        pixels: Of all images.
        description: Of the pretrained backbone.
    """

    pixels: Pixels
    description: Mapping[str, Any]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """All images, in the order of their rows."""
        return self.pixels.image_ids

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of pixels, of the pretrained weights, and of how pixels were decoded."""
        return (*self.pixels.keys, self.description["weights_sha256"], json.dumps(self.pixels.description))

    def prepare(self, recipe: Recipe) -> Prepared:
        """Load the backbone and draw the head's weights.

        Args:
            recipe: Settings.

        Returns:
            Both as one module.

        Raises:
            InputError: If the weights are not those of the description.
        """
        loaded = load_described(recipe.backbone, recipe.seed, self.description)
        head = make_head(loaded.feature_dim, recipe.training.head, recipe.seed)
        keeps_statistics = recipe.training.batch_norm == "frozen"
        model = EmbeddingModel(loaded.module.requires_grad_(True), head, keeps_statistics).to(recipe.compute.device)
        crops = self.pixels.crops
        images = DecodedPhotographs(self.pixels.canvases, crops[:, 0], loaded.preprocessing, recipe.augmentation)
        return Prepared(model, images, lambda rows: _embed_crops(model, crops[rows], loaded, recipe))

    def tensors(self, weights: Tensors) -> Tensors:
        """Return the weights, which are named as a checkpoint names them."""
        return weights


def train(task: Task, roles: Roles, recipe: Recipe, store: StateStore) -> Trained:
    """Train an experiment once, and embed the judged images with what has been learnt.

    Args:
        task: A head, or a whole network, with its images.
        roles: Which images train and which are judged.
        recipe: Settings.
        store: Keeps the training's state.

    Returns:
        Weights, their history, embeddings of the judged images.

    Raises:
        InputError: If images are missing, there is only one lesion, the backbone's weights are not those of the
            description, the loss diverges, memory does not suffice, or an image is mapped to nothing.
    """
    row_of = {image_id: row for row, image_id in enumerate(task.image_ids)}
    prepared = task.prepare(recipe)
    learned = Subset(_rows(row_of, roles.train_ids), lesion_labels(list(roles.train_lesions)))
    if len(np.unique(learned.labels)) < 2:
        raise InputError(
            f"{recipe.name}: there is one lesion to learn from. Remedy: give more lesions, or fewer folds."
        )
    judged = Subset(_rows(row_of, roles.judged_ids), lesion_labels(list(roles.judged_lesions)))
    training = Training(
        name=recipe.name,
        module=prepared.module,
        groups=parameter_groups(prepared.module, recipe.training),
        loss=make_loss(recipe.loss),
        params=recipe.training,
        compute=recipe.compute,
        seed=recipe.seed,
        key=_training_key(task, roles, recipe),
        save_every=recipe.save_every,
        limits=tiles_of(recipe.tile_megabytes),
        last_epoch=recipe.last_epoch,
    )
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


def _header(task: Task, recipe: Recipe, tensors: Tensors, epoch: int) -> dict[str, Any]:
    import timm

    from skinbit import __version__

    return {
        "backbone": recipe.backbone.model_dump(mode="json", exclude={"weights"}),
        "preprocessing": task.description["preprocessing"],
        "weights_sha256": task.description["weights_sha256"],
        "holds_backbone": any(name.startswith("backbone.") for name in tensors),
        "head": recipe.training.head.model_dump(mode="json"),
        "loss": recipe.loss_name,
        "loss_params": recipe.loss.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json", exclude={"head"}),
        "epoch": epoch,
        "seed": recipe.seed,
        "versions": {"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    }


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


def _rows(row_of: dict[str, int], image_ids: tuple[str, ...]) -> Rows:
    missing = [image_id for image_id in image_ids if image_id not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} images of split.csv have no features or pixels, the first is {missing[0]}.\n"
            "  Remedy: they are of an earlier split; run baseline_embeddings again."
        )
    return np.array([row_of[image_id] for image_id in image_ids], dtype=np.int64)
