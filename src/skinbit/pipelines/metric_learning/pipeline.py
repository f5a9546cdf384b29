"""metric_learning: per trained experiment and fold, training -> checkpoint, history, embeddings."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.metric_learning.nodes import fine_tune, train_head

PARAMETERS = ("training", "losses", "evaluation", "compute", "seed")


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the trainings of every trained experiment; baselines have none."""
    trained = [name for name in parameters.study.experiments if parameters.experiments[name].is_trained]
    folds = parameters.study.folds
    return sum((_training(name, fold, parameters) for name in trained for fold in folds), Pipeline([]))


def training_inputs(name: str, parameters: Parameters) -> tuple[list[str], list[str]]:
    """Name what a training reads.

    Args:
        name: Of the experiment.
        parameters: Tell whether its backbone is frozen.

    Returns:
        Datasets, then parameters, in the order of the nodes' arguments.
    """
    source = parameters.features_of(name)
    kinds = ("training_views", "features") if parameters.backbone_of(name).frozen else ("pixels", "description")
    settings = [f"backbones.{parameters.experiments[name].backbone}", f"experiments.{name}", *PARAMETERS]
    return [*(f"{source}_{kind}" for kind in kinds), "split", "training_states"], [
        f"params:{block}" for block in settings
    ]


def _training(name: str, fold: int, parameters: Parameters) -> Pipeline:
    train = train_head if parameters.backbone_of(name).frozen else fine_tune
    datasets, settings = training_inputs(name, parameters)
    node = Node(
        update_wrapper(partial(train, name=name, fold=fold), train),
        [*datasets, *settings],
        ["checkpoint", "history", "embeddings"],
        name=train.__name__,
    )
    return Pipeline([node], namespace=f"{name}.fold_{fold}", inputs=set(datasets), parameters=set(settings))
