"""Nodes: one training of one experiment, on the training lesions of the other folds or on all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from skinbit.config import (
    BackboneParams,
    ComputeParams,
    DataParams,
    LoaderParams,
    TrainingRecipe,
)
from skinbit.data.images import ImageFolder
from skinbit.data.listed import ListedPhotographs
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint, StateStore
from skinbit.embedding.tables import Embeddings, Features, Pixels

if TYPE_CHECKING:
    from skinbit.training.job import Roles
    from skinbit.training.tasks import Task

HISTORY = ["epoch", "loss", "f1", "recall_at_1", "learning_rate"]


def train_model(
    split: pd.DataFrame,
    training_states: Callable[[str, str], StateStore],
    backbone: BackboneParams,
    training: TrainingRecipe,
    compute: ComputeParams,
    seed: int,
    tile_megabytes: float,
    features: Features | None = None,
    training_views: Features | None = None,
    pixels: Pixels | None = None,
    description: dict[str, Any] | None = None,
    averages: dict[str, Any] | None = None,
    *,
    name: str,
    trained_as: str,
    fold: int,
) -> tuple[Checkpoint, pd.DataFrame, Embeddings]:
    """Train an experiment on all training lesions except one fold's or, for its final model, on all of them.

    Args:
        split: ``image_id, lesion_id, subset, fold``.
        training_states: Stored states, by experiment and fold, from which an interrupted training resumes.
        backbone: Settings of the backbone.
        training: Loss, epochs, batches, schedule, augmentation.
        compute: Device, precision and threads.
        seed: Seed of weights, batches, views and augmentations.
        tile_megabytes: Size of the similarities that validation holds at once.
        features: Cached features of the test views, for a frozen backbone.
        training_views: Cached features of random augmentations, for a frozen backbone.
        pixels: Decoded photographs, for a fine-tuned backbone.
        description: Description of the pretrained backbone, for a fine-tuned backbone.
        averages: Averages of the folds, for the final model, which stops at their mean best epoch.
        name: Name of the experiment.
        trained_as: Experiment that stores the state, which may be another one with the same training.
        fold: Fold for validation; -1: none, and the test images are embedded.

    Returns:
        The trained weights: the head, and the backbone unless it stayed frozen; their history; embeddings of the fold's
        or the test images.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.training.experiment import train
    from skinbit.training.job import Job

    place = "final" if fold == TEST_FOLD else f"fold_{fold}"
    job = Job(
        name=f"{name} {place.replace('_', ' ')}",
        backbone=backbone,
        recipe=training,
        compute=replace(resolve_compute(compute), threads=training.threads),
        seed=seed,
        tile_megabytes=tile_megabytes,
        # The schedule stays that of the folds, so that epochs are comparable.
        last_epoch=None if averages is None else max(1, round(averages["best_epoch"])),
    )
    task = _task(features, training_views, pixels, description)
    trained = train(task, roles_of_fold(split, fold), job, training_states(trained_as, place))
    return trained.checkpoint, history_table(trained.history), trained.embeddings


def _task(
    features: Features | None,
    training_views: Features | None,
    pixels: Pixels | None,
    description: dict[str, Any] | None,
) -> Task:
    from skinbit.training.tasks import HeadTask, NetworkTask

    if features is not None and training_views is not None:
        return HeadTask(features, training_views)
    if pixels is not None and description is not None:
        return NetworkTask(pixels, description)
    raise TypeError("a training needs features and training views, or pixels and the description of a backbone")


def embed_distractors_by_head(
    weights: Checkpoint, distractor_features: Features, threads: int, compute: ComputeParams
) -> Embeddings:
    """Embed the distractors with the head of one fold.

    Args:
        weights: Trained weights of the fold.
        distractor_features: Features of all distractors.
        threads: CPU threads of the training.
        compute: Device, precision and threads.

    Returns:
        One embedding per distractor.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.training.tasks import embed_by_head

    return embed_by_head(weights, distractor_features, replace(resolve_compute(compute), threads=threads))


def embed_distractors_by_network(
    weights: Checkpoint,
    distractor_index: pd.DataFrame,
    images: ImageFolder,
    loader: LoaderParams,
    compute: ComputeParams,
    data: DataParams,
) -> Embeddings:
    """Embed the distractors with the fine-tuned network of one fold.

    Args:
        weights: Trained weights of the fold.
        distractor_index: ``image_id, file, sha256, width, height``.
        images: The folder of photographs.
        loader: Worker processes and batch size.
        compute: Device, precision and threads.
        data: Limits of a photograph.

    Returns:
        One embedding per distractor.

    Raises:
        InputError: If a photograph has changed since it was listed, or has no usable embedding.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.features import Extraction
    from skinbit.embedding.inference import embed_photographs

    photographs = ListedPhotographs(images, distractor_index, data)
    extraction = Extraction(photographs, loader, resolve_compute(compute))
    values = embed_photographs(weights, extraction, photographs.image_ids)[:, 0]
    return Embeddings(tuple(photographs.image_ids), values, {"epoch": weights.model.epoch})


def roles_of_fold(split: pd.DataFrame, fold: int) -> Roles:
    """Return the images to train on, and the images to evaluate.

    Args:
        split: ``image_id, lesion_id, subset, fold``.
        fold: Fold that is evaluated and chooses the best epoch; -1: the test subset, which chooses nothing.

    Returns:
        The roles, with images in the order of the split; test images are never trained on.
    """
    from skinbit.training.job import Roles

    train = split[(split["fold"] != fold) & (split["fold"] != TEST_FOLD)]
    judged = split[split["fold"] == fold]
    return Roles(
        tuple(train["image_id"]),
        tuple(train["lesion_id"]),
        tuple(judged["image_id"]),
        tuple(judged["lesion_id"]),
        chooses_epoch=fold != TEST_FOLD,
    )


def history_table(history: list[dict[str, float]]) -> pd.DataFrame:
    """Return a training's history as a table.

    Args:
        history: One row per epoch.

    Returns:
        ``epoch, loss, f1, recall_at_1, learning_rate``.
    """
    return pd.DataFrame(history, columns=HISTORY).astype({"epoch": "int64"})
