"""Nodes: the model that a user keeps, and what it is worth on lesions that no choice has seen."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import NO_HEAD, Checkpoint, StateStore
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, Features, Pixels
from skinbit.matching.evaluation import METHODS, evaluate_at, evaluate_subset
from skinbit.matching.results import metric_table
from skinbit.params import (
    BackboneParams,
    ComputeParams,
    EvaluationParams,
    ExperimentParams,
    LossesParams,
    TrainingBlock,
)
from skinbit.pipelines.metric_learning.nodes import make_recipe, roles_of_fold

if TYPE_CHECKING:
    from skinbit.training.experiment import Recipe


def evaluate_test(
    embeddings: Embeddings, split: pd.DataFrame, checkpoint: Checkpoint, evaluation: EvaluationParams
) -> pd.DataFrame:
    """Evaluate the test images at the threshold and eps that the final model carries; nothing is tuned here.

    Args:
        embeddings: Of the test images.
        split: Tells the lesion of each image.
        checkpoint: The final model.
        evaluation: Searched ranges, for the oracle that shows what the transfer of the cuts costs.

    Returns:
        ``metric, value`` at these cuts, and ``<method>_f1_oracle`` at the test images' own best cuts.
    """
    cuts = {method: float(checkpoint.header[cut]) for method, cut in METHODS.items()}
    found = evaluate_subset(embeddings.values, lesions_of(embeddings, split, TEST_FOLD), evaluation)
    return metric_table(evaluate_at(found, cuts))


def train_final_head(
    training_views: Features,
    features: Features,
    split: pd.DataFrame,
    training_states: Callable[[str, str], StateStore],
    cross_validation: pd.DataFrame,
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    compute: ComputeParams,
    seed: int,
    *,
    name: str,
) -> tuple[Checkpoint, Embeddings]:
    """Train a head on all training lesions, for as many epochs as the folds' best ones on average.

    Args:
        training_views: Cached features of random augmentations.
        features: Cached features of the test views.
        split: ``image_id, lesion_id, subset, fold``.
        training_states: Where an interrupted training goes on, by experiment and fold.
        cross_validation: ``metric, …, mean`` of the experiment.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        compute: Where to compute.
        seed: Of weights, batches, views.
        name: Of the experiment.

    Returns:
        All weights with the averaged cuts; embeddings of the test images.
    """
    from skinbit.training.experiment import train_head, with_backbone

    recipe = make_recipe(f"{name} final", backbone, experiment, training, losses, compute, seed)
    recipe = _with_average_epoch(recipe, cross_validation)
    roles = roles_of_fold(split, TEST_FOLD)
    trained = train_head(recipe, features, training_views, roles, training_states(name, "final"))
    checkpoint = with_backbone(trained.checkpoint, recipe)
    return _with_average_cuts(checkpoint, cross_validation), trained.embeddings


def fine_tune_final(
    pixels: Pixels,
    description: dict[str, Any],
    split: pd.DataFrame,
    training_states: Callable[[str, str], StateStore],
    cross_validation: pd.DataFrame,
    backbone: BackboneParams,
    experiment: ExperimentParams,
    training: TrainingBlock,
    losses: LossesParams,
    compute: ComputeParams,
    seed: int,
    *,
    name: str,
) -> tuple[Checkpoint, Embeddings]:
    """Fine-tune on all training lesions, for as many epochs as the folds' best ones on average.

    Args:
        pixels: Decoded photographs.
        description: Of the pretrained backbone.
        split: ``image_id, lesion_id, subset, fold``.
        training_states: Where an interrupted training goes on, by experiment and fold.
        cross_validation: ``metric, …, mean`` of the experiment.
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        training: Settings of trainings.
        losses: Settings of losses.
        compute: Where to compute.
        seed: Of weights, batches, augmentations.
        name: Of the experiment.

    Returns:
        All weights with the averaged cuts; embeddings of the test images.
    """
    from skinbit.training.experiment import fine_tune

    recipe = make_recipe(f"{name} final", backbone, experiment, training, losses, compute, seed)
    recipe = _with_average_epoch(recipe, cross_validation)
    roles = roles_of_fold(split, TEST_FOLD)
    trained = fine_tune(recipe, pixels, description, roles, training_states(name, "final"))
    return _with_average_cuts(trained.checkpoint, cross_validation), trained.embeddings


def _with_average_epoch(recipe: "Recipe", cross_validation: pd.DataFrame) -> "Recipe":
    """Stop where the folds were best on average; the schedule stays theirs, so an epoch means the same."""
    average = cross_validation.set_index("metric")["mean"]
    return replace(recipe, last_epoch=max(1, round(float(average["best_epoch"]))))


def _with_average_cuts(checkpoint: Checkpoint, cross_validation: pd.DataFrame) -> Checkpoint:
    average = cross_validation.set_index("metric")["mean"]
    return replace(checkpoint, header={**checkpoint.header, **{cut: float(average[cut]) for cut in METHODS.values()}})


def package_model(
    backbone: BackboneParams, experiment: ExperimentParams, cross_validation: pd.DataFrame, seed: int
) -> Checkpoint:
    """Put a baseline's backbone and the averaged cuts into one checkpoint.

    Args:
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        cross_validation: ``metric, …, mean`` of the experiment.
        seed: Draws the weights where they are not pretrained.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    from dataclasses import asdict

    import timm
    import torch

    from skinbit import __version__
    from skinbit.embedding.backbones import load_backbone

    settings = experiment.applied_to(backbone)
    loaded = load_backbone(settings, seed)
    average = cross_validation.set_index("metric")["mean"]
    header = {
        "backbone": settings.model_dump(mode="json", exclude={"weights"}),
        "preprocessing": asdict(loaded.preprocessing),
        "weights_sha256": loaded.weights_sha256(),
        "holds_backbone": True,
        "head": NO_HEAD.model_dump(mode="json"),
        "loss": experiment.loss,
        "epoch": None,
        "seed": seed,
        **{cut: float(average[cut]) for cut in METHODS.values()},
        "versions": {"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    weights = {f"backbone.{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return Checkpoint(weights, header)
