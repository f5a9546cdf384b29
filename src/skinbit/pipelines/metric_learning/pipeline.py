"""metric_learning: per trained experiment and fold, training -> weights, history, embeddings."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.data.splits import TEST_FOLD
from skinbit.pipelines.metric_learning.nodes import (
    embed_distractors_by_head,
    embed_distractors_by_network,
    train_model,
)


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the trainings of all trained experiments; baselines have none."""
    trained = [name for name in parameters.running if parameters.experiments[name].is_trained]
    folds = [(name, fold) for name in trained for fold in parameters.study.folds]
    nodes = [training(name, fold, parameters) for name, fold in folds]
    if parameters.has_distractors:
        nodes += [_distractor_embeddings(name, fold, parameters) for name, fold in folds]
    return Pipeline(nodes)


def training(name: str, fold: int, parameters: Parameters) -> Node:
    """Wire a training.

    Args:
        name: Name of the experiment.
        fold: Fold for validation; -1: the final model.
        parameters: All parameters.

    Returns:
        The node, in the box of the fold or of the final model.
    """
    source = parameters.features_of(name)
    inputs = {dataset: dataset for dataset in ("split", "training_states")}
    inputs |= {
        "backbone": f"params:recipes.{name}.backbone",
        "training": f"params:recipes.{name}.training",
    }
    inputs |= {block: f"params:{block}" for block in ("compute", "seed")}
    inputs["tile_megabytes"] = "params:memory.tile_megabytes"
    if parameters.recipes[name].is_frozen:
        views = f"{parameters.training_views_of(name)}_training_views"
        inputs |= {"features": f"{source}_features", "training_views": views}
    else:
        inputs |= {"pixels": f"{source}_pixels", "description": f"{source}_description"}
    if fold == TEST_FOLD:
        box = f"{name}.final"
        inputs["averages"] = f"{name}.averages"
    else:
        box = f"{name}.fold_{fold}"
    train = partial(train_model, name=name, trained_as=parameters.trained_as(name), fold=fold)
    outputs = [f"{box}.{kind}" for kind in ("weights", "history", "embeddings")]
    return Node(update_wrapper(train, train_model), inputs, outputs, name=train_model.__name__, namespace=box)


def _distractor_embeddings(name: str, fold: int, parameters: Parameters) -> Node:
    box = f"{name}.fold_{fold}"
    is_frozen = parameters.recipes[name].is_frozen
    embed = embed_distractors_by_head if is_frozen else embed_distractors_by_network
    datasets = [f"{parameters.features_of(name)}_distractor_features"] if is_frozen else ["distractor_index", "images"]
    settings = ["training.threads", "compute"] if is_frozen else ["loader", "compute", "data"]
    inputs = [f"{box}.weights", *datasets, *(f"params:{block}" for block in settings)]
    return Node(embed, inputs, f"{box}.distractor_embeddings", name="embed_distractors", namespace=box)
