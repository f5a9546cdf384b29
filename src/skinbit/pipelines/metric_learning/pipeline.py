"""metric_learning: per trained experiment and fold, training -> weights, history, embeddings."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.metric_learning.nodes import (
    embed_distractors_by_head,
    embed_distractors_by_network,
    fine_tune,
    train_head,
)

PARAMETERS = ("training", "losses", "compute", "seed")


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the trainings of every trained experiment; baselines have none."""
    trained = [name for name in parameters.running if parameters.experiments[name].is_trained]
    folds = parameters.study.folds
    trainings = sum((_training(name, fold, parameters) for name in trained for fold in folds), Pipeline([]))
    if not parameters.has_distractors:
        return trainings
    return sum((_distractor_embeddings(name, fold, parameters) for name in trained for fold in folds), trainings)


def training_inputs(name: str, parameters: Parameters) -> tuple[list[str], list[str]]:
    """Name what a training reads.

    Args:
        name: Of the experiment.
        parameters: Tell whether its backbone is frozen.

    Returns:
        Datasets, then parameters, in the order of the nodes' arguments.
    """
    source = parameters.features_of(name)
    if parameters.backbone_of(name).frozen:
        images = [f"{parameters.training_views_of(name)}_training_views", f"{source}_features"]
    else:
        images = [f"{source}_pixels", f"{source}_description"]
    settings = [f"backbones.{parameters.experiments[name].backbone}", f"experiments.{name}", *PARAMETERS]
    return [*images, "split", "training_states"], [f"params:{block}" for block in settings]


def _training(name: str, fold: int, parameters: Parameters) -> Pipeline:
    train = train_head if parameters.backbone_of(name).frozen else fine_tune
    datasets, settings = training_inputs(name, parameters)
    node = Node(
        update_wrapper(partial(train, name=name, trained_as=parameters.trained_as(name), fold=fold), train),
        [*datasets, *settings],
        ["weights", "history", "embeddings"],
        name=train.__name__,
    )
    return Pipeline([node], namespace=f"{name}.fold_{fold}", inputs=set(datasets), parameters=set(settings))


def _distractor_embeddings(name: str, fold: int, parameters: Parameters) -> Pipeline:
    is_frozen = parameters.backbone_of(name).frozen
    embed = embed_distractors_by_head if is_frozen else embed_distractors_by_network
    datasets = [f"{parameters.features_of(name)}_distractor_features"] if is_frozen else ["distractor_index", "images"]
    settings = ["training", "compute"] if is_frozen else ["loader", "compute", "data"]
    blocks = [f"params:{block}" for block in settings]
    node = Node(embed, ["weights", *datasets, *blocks], "distractor_embeddings", name="embed_distractors")
    return Pipeline([node], namespace=f"{name}.fold_{fold}", inputs=set(datasets), parameters=set(blocks))
