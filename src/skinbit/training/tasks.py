"""What is trained: a head on cached features of a frozen backbone, or a backbone with its head on photographs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from skinbit.embedding.backbones import Backbone, load_described
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import embed_views
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.tables import Bytes, Embeddings, Features, Pixels, Rowed
from skinbit.errors import InputError
from skinbit.matching.labels import FloatArray
from skinbit.training.images import CachedViews, DecodedPhotographs, TrainingImages
from skinbit.training.job import Job
from skinbit.training.sampling import Rows
from skinbit.training.state import Tensors

_EMBED_BATCH = 32
"""Images per view in a forward pass of the final embeddings."""


@dataclass(frozen=True)
class Prepared:
    """A module that is ready for training.

    Attributes:
        module: Module on the training device.
        images: Its input by row.
        embed: Function that embeds rows with the module's current weights, ``(n, n_views, embedding_dim)``.
    """

    module: nn.Module
    images: TrainingImages
    embed: Callable[[Rows], FloatArray]


class Task(Rowed, Protocol):
    """A module to train, with its images; the description is that of the pretrained backbone."""

    def prepare(self, job: Job) -> Prepared:
        """Return the module before the first step."""
        ...

    def tensors(self, weights: Tensors) -> Tensors:
        """Return the module's weights, named as in a checkpoint."""
        ...


@dataclass(frozen=True)
class HeadTask:
    """A projection head on cached views of a frozen backbone.

    Attributes:
        features: ``(n_images, n_test_views, feature_dim)`` of all images; view 0 is validated, all views are embedded.
        views: ``(n_images, n_training_views, feature_dim)`` of the same images.
    """

    features: Features
    views: Features

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Image ids, in the order of rows."""
        return self.features.image_ids

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of features and views."""
        return (*self.features.keys, *self.views.keys)

    @property
    def description(self) -> Mapping[str, Any]:
        """Description of the backbone that made the features."""
        return self.features.description

    def prepare(self, job: Job) -> Prepared:
        """Return a head with random weights drawn from the seed.

        Raises:
            InputError: If features and views are not those of the same images.
        """
        if self.views.image_ids != self.image_ids:
            raise InputError(
                "Features and training views are of different images.\n  Remedy: run baseline_embeddings again."
            )
        values = self.features.values
        head = make_head(values.shape[2], job.recipe.params.head, job.seed).to(job.compute.device)
        images = CachedViews(self.views.values[:, : job.recipe.params.views], values[:, 0])
        return Prepared(head, images, lambda rows: _project(head, values[rows], job.compute))

    def tensors(self, weights: Tensors) -> Tensors:
        """Return the head's weights, named as in a checkpoint; the backbone's are unchanged."""
        return {f"head.{name}": tensor for name, tensor in weights.items()}


@dataclass(frozen=True)
class NetworkTask:
    """A backbone with its head, on augmented photographs.

    Attributes:
        pixels: Pixels of all images.
        description: Description of the pretrained backbone.
    """

    pixels: Pixels
    description: Mapping[str, Any]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Image ids, in the order of rows."""
        return self.pixels.image_ids

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of pixels, of the pretrained weights, and of the decoding."""
        return (*self.pixels.keys, self.description["weights_sha256"], json.dumps(self.pixels.description))

    def prepare(self, job: Job) -> Prepared:
        """Return the pretrained backbone with a head of random weights drawn from the seed.

        Raises:
            InputError: If the weights are not those of the description.
        """
        loaded = load_described(job.backbone, job.seed, self.description["weights_sha256"])
        head = make_head(loaded.feature_dim, job.recipe.params.head, job.seed)
        keeps_statistics = job.recipe.params.batch_norm == "frozen"
        model = EmbeddingModel(loaded.module.requires_grad_(True), head, keeps_statistics).to(job.compute.device)
        crops = self.pixels.crops
        images = DecodedPhotographs(self.pixels.canvases, crops[:, 0], loaded.preprocessing, job.recipe.augmentation)
        return Prepared(model, images, lambda rows: _embed_crops(model, crops[rows], loaded, job))

    def tensors(self, weights: Tensors) -> Tensors:
        """Return the weights, which are already named as in a checkpoint."""
        return weights


def embed_by_head(checkpoint: Checkpoint, features: Features, compute: Compute) -> Embeddings:
    """Return embeddings of other images from a head on a frozen backbone, averaged over test views.

    Args:
        checkpoint: Checkpoint of the head.
        features: ``(n_images, n_test_views, feature_dim)`` of the images, from the same backbone.
        compute: Device, precision, threads.

    Raises:
        InputError: If the features are from another backbone.
    """
    header = checkpoint.model
    if header.weights_sha256 != features.description["weights_sha256"]:
        raise InputError(
            "The head was trained on a backbone with other weights than those that made the features.\n"
            "  Remedy: run baseline_embeddings and metric_learning again."
        )
    width = features.values.shape[2]
    head = make_head(width, header.head, header.seed)
    weights = {name.removeprefix("head."): tensor for name, tensor in checkpoint.tensors.items()}
    head.load_state_dict(weights)
    projected = _project(head.to(compute.device).eval(), features.values, compute)
    return Embeddings(features.image_ids, average_views(projected), {"epoch": header.epoch})


@torch.inference_mode()
def _project(head: nn.Module, values: FloatArray, compute: Compute) -> FloatArray:
    """Return embeddings ``(n, n_views, embedding_dim)`` of features ``(n, n_views, feature_dim)``."""
    # Features that are mapped from their file cannot be written to, and PyTorch has no tensors of that kind.
    flat = torch.from_numpy(np.require(values.reshape(-1, values.shape[2]), requirements="W")).to(compute.device)
    with deterministic(compute), compute.autocast():
        projected: FloatArray = head(flat).float().cpu().numpy()
    return projected.reshape(*values.shape[:2], projected.shape[1])  # without a test subset there may be none


def _embed_crops(model: nn.Module, crops: Bytes, loaded: Backbone, job: Job) -> FloatArray:
    """Return embeddings ``(n, n_views, embedding_dim)`` of crops ``(n, n_zooms, s, s, 3)``; n may be 0."""
    views = job.backbone.test_views
    width = job.recipe.params.head.dim or loaded.feature_dim
    values = np.empty((len(crops), views.n_views, width), dtype=np.float32)
    with deterministic(job.compute):
        for start in range(0, len(crops), _EMBED_BATCH):
            batch = as_tensor(crops[start : start + _EMBED_BATCH])
            embedded = embed_views(model, batch, loaded.preprocessing, views, job.compute)
            values[start : start + len(batch)] = embedded
    return values
