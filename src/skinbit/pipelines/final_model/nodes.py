"""Nodes: the model that a user keeps, and what it is worth on lesions that no choice has seen."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from skinbit.data.images import ImageFolder
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import NO_HEAD, Checkpoint, StateStore, with_backbone, with_cuts
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings, Features, Pixels
from skinbit.matching.evaluation import METHODS, evaluate_at, evaluate_subset
from skinbit.matching.mistakes import find_mistakes, mistakes_document
from skinbit.matching.results import metric_table
from skinbit.params import (
    BackboneParams,
    ComputeParams,
    DataParams,
    EvaluationParams,
    ExperimentParams,
    LossesParams,
    ReportParams,
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
    cuts = _cuts_of(checkpoint)
    lesion_ids = lesions_of(embeddings, split, TEST_FOLD)
    found = evaluate_subset(embeddings.values, lesion_ids, evaluation, thresholds=[cuts["cosine"]])
    return metric_table(evaluate_at(found, cuts))


def _cuts_of(checkpoint: Checkpoint) -> dict[str, float]:
    return {method: float(checkpoint.header[cut]) for method, cut in METHODS.items()}


def list_mistakes(
    embeddings: Embeddings, split: pd.DataFrame, checkpoint: Checkpoint, report: ReportParams, *, name: str
) -> tuple[dict[str, Any], ...]:
    """List the misclassified pairs of the test images at the threshold and eps that the final model carries.

    Args:
        embeddings: Of the test images.
        split: Tells the lesion of each image.
        checkpoint: The final model.
        report: How many pairs of each kind are listed.
        name: Of the experiment.

    Returns:
        A document per method, by cosine threshold and by DBSCAN; see
        :func:`skinbit.matching.mistakes.mistakes_document`.
    """
    lesion_ids = lesions_of(embeddings, split, TEST_FOLD)
    cuts = _cuts_of(checkpoint)
    found = find_mistakes(embeddings.values, lesion_ids, embeddings.image_ids, cuts, report.max_pairs)
    return tuple(mistakes_document(name, found[method]) for method in METHODS)


def make_test_thumbnails(
    images: ImageFolder, split: pd.DataFrame, data: DataParams, report: ReportParams
) -> dict[str, str]:
    """Make small copies of all test photographs, for the pages of every experiment.

    Args:
        images: The folder of photographs.
        split: Tells which images are the test subset.
        data: Pixel limit.
        report: Size of a thumbnail.

    Returns:
        ``data:`` addresses by image id.

    Raises:
        InputError: If a photograph is missing or cannot be read.
    """
    from tqdm.auto import tqdm

    from skinbit.report.thumbnails import make_thumbnails

    image_ids = split.loc[split["fold"] == TEST_FOLD, "image_id"].tolist()
    made = make_thumbnails(images, image_ids, report.thumbnail, data.max_pixels)
    return dict(tqdm(made, total=len(image_ids), unit="image", desc="thumbnails", disable=None))


def show_mistakes(
    thumbnails: dict[str, str], by_cosine: dict[str, Any], by_dbscan: dict[str, Any], report: ReportParams
) -> tuple[str, str]:
    """Make pages that show misclassified pairs side by side.

    Args:
        thumbnails: Of the test images.
        by_cosine: Misclassified pairs by cosine threshold.
        by_dbscan: Misclassified pairs by DBSCAN.
        report: How many megabytes of thumbnails a page may hold.

    Returns:
        HTML of each method.
    """
    from skinbit.report.mistakes import render_mistakes

    return render_mistakes(by_cosine, thumbnails, report), render_mistakes(by_dbscan, thumbnails, report)


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
    from skinbit.training.experiment import train_head

    recipe = make_recipe(f"{name} final", backbone, experiment, training, losses, compute, seed)
    recipe = _with_average_epoch(recipe, cross_validation)
    roles = roles_of_fold(split, TEST_FOLD)
    trained = train_head(recipe, features, training_views, roles, training_states(name, "final"))
    checkpoint = with_backbone(trained.checkpoint, recipe.backbone, seed)
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
    columns = cross_validation.set_index("metric")
    folds = [column for column in columns if str(column).startswith("fold_")]
    cuts = {cut: float(columns["mean"][cut]) for cut in METHODS.values()}
    fold_cuts = {cut: [float(columns[fold][cut]) for fold in folds] for cut in METHODS.values()}
    return with_cuts(checkpoint, cuts, fold_cuts)


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
    header = {
        "backbone": settings.model_dump(mode="json", exclude={"weights"}),
        "preprocessing": asdict(loaded.preprocessing),
        "weights_sha256": loaded.weights_sha256(),
        "holds_backbone": True,
        "head": NO_HEAD.model_dump(mode="json"),
        "loss": experiment.loss,
        "epoch": None,
        "seed": seed,
        "versions": {"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    weights = {f"backbone.{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return _with_average_cuts(Checkpoint(weights, header), cross_validation)
