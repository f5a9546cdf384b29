"""Nodes: one training of one experiment, on a fold's training lesions or on all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from skinbit.data.images import ImageFolder
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint, StateStore
from skinbit.embedding.tables import Embeddings, Features, Pixels
from skinbit.params import (
    BackboneParams,
    ComputeParams,
    DataParams,
    ExperimentParams,
    LoaderParams,
    LossesParams,
    TrainingBlock,
)

if TYPE_CHECKING:
    from skinbit.training.experiment import Recipe, Roles

HISTORY = ["epoch", "loss", "f1", "recall_at_1", "learning_rate"]


def train_head(
    training_views: Features,
    features: Features,
    split: pd.DataFrame,
    training_states: Callable[[str, str], StateStore],
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    compute: ComputeParams,
    seed: int,
    *,
    name: str,
    trained_as: str,
    fold: int,
) -> tuple[Checkpoint, pd.DataFrame, Embeddings]:
    """Train a head on a frozen backbone, on all training lesions but one fold's.

    Args:
        training_views: Cached features of random augmentations.
        features: Cached features of the test views.
        split: ``image_id, lesion_id, subset, fold``.
        training_states: Where an interrupted training goes on, by experiment and fold.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        compute: Where to compute.
        seed: Of weights, batches, views.
        name: Of the experiment.
        trained_as: The experiment that keeps the state: another one of the same training need not be trained again.
        fold: Whose lesions validate.

    Returns:
        The head; its history; embeddings of the fold's images.
    """
    from skinbit.training.experiment import train_head as train

    recipe = make_recipe(f"{name} fold {fold}", backbone, experiment, training, losses, compute, seed)
    roles = roles_of_fold(split, fold)
    trained = train(recipe, features, training_views, roles, training_states(trained_as, f"fold_{fold}"))
    return trained.checkpoint, history_table(trained.history), trained.embeddings


def fine_tune(
    pixels: Pixels,
    description: dict[str, Any],
    split: pd.DataFrame,
    training_states: Callable[[str, str], StateStore],
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    compute: ComputeParams,
    seed: int,
    *,
    name: str,
    trained_as: str,
    fold: int,
) -> tuple[Checkpoint, pd.DataFrame, Embeddings]:
    """Fine-tune a backbone with its head, on all training lesions but one fold's.

    Args:
        pixels: Decoded photographs.
        description: Of the pretrained backbone.
        split: ``image_id, lesion_id, subset, fold``.
        training_states: Where an interrupted training goes on, by experiment and fold.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        compute: Where to compute.
        seed: Of weights, batches, augmentations.
        name: Of the experiment.
        trained_as: The experiment that keeps the state: another one of the same training need not be trained again.
        fold: Whose lesions validate.

    Returns:
        All weights; their history; embeddings of the fold's images.
    """
    from skinbit.training.experiment import fine_tune as train

    recipe = make_recipe(f"{name} fold {fold}", backbone, experiment, training, losses, compute, seed)
    roles = roles_of_fold(split, fold)
    trained = train(recipe, pixels, description, roles, training_states(trained_as, f"fold_{fold}"))
    return trained.checkpoint, history_table(trained.history), trained.embeddings


def embed_distractors_by_head(
    weights: Checkpoint, distractor_features: Features, training: TrainingBlock, compute: ComputeParams
) -> Embeddings:
    """Embed the distractors with the head of one fold.

    Args:
        weights: Of the fold.
        distractor_features: Of all distractors.
        training: Number of threads, as in the training.
        compute: Where to compute.

    Returns:
        One embedding per distractor.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.training.experiment import embed_by_head

    return embed_by_head(weights, distractor_features, replace(resolve_compute(compute), threads=training.threads))


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
        weights: Of the fold.
        distractor_index: ``image_id, file, sha256, width, height``.
        images: The folder of photographs.
        loader: Worker processes and batch size.
        compute: Where to compute.
        data: Pixel limit.

    Returns:
        One embedding per distractor.

    Raises:
        InputError: If an image gives no usable embedding.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.embedding.inference import embed_photographs

    image_ids = distractor_index["image_id"].tolist()
    values = embed_photographs(weights, images, image_ids, loader, resolve_compute(compute), data.max_pixels)
    return Embeddings(tuple(image_ids), values, {"epoch": weights.header["epoch"]})


def make_recipe(
    name: str,
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    compute: ComputeParams,
    seed: int,
) -> Recipe:
    """Resolve the settings of one training: the experiment's overrides in their places, ``auto`` settled.

    Args:
        name: Experiment and fold, for messages.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        compute: Where to compute; a training has its own number of threads.
        seed: The seed.

    Returns:
        The recipe.
    """
    from skinbit.embedding.compute import resolve_compute
    from skinbit.training.experiment import Recipe

    settings = experiment.applied_to(backbone)
    return Recipe(
        name=name,
        backbone=settings,
        loss_name=str(experiment.loss),
        loss=experiment.loss_params(losses),
        training=experiment.training_params(training, settings.frozen),
        augmentation=experiment.augmentation_params(training),
        compute=replace(resolve_compute(compute), threads=training.threads),
        seed=seed,
        save_every=training.save_every,
    )


def roles_of_fold(split: pd.DataFrame, fold: int) -> Roles:
    """Tell which images train, and which are judged.

    Args:
        split: ``image_id, lesion_id, subset, fold``.
        fold: Whose lesions are judged and choose the best epoch; -1: the test subset, which chooses nothing.

    Returns:
        The roles, images in the order of the split; never does a test image train.
    """
    from skinbit.training.experiment import Roles

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
