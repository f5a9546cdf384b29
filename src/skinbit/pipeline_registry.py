"""The registered pipelines: one per stage, one per experiment, and the whole study."""

from kedro.pipeline import Pipeline

from skinbit.params import Parameters
from skinbit.pipelines import (
    baseline_embeddings,
    cluster_images,
    data_split,
    evaluation,
    final_model,
    metric_learning,
    sample_data,
)
from skinbit.study import active_parameters


def register_pipelines() -> dict[str, Pipeline]:
    """Give the pipelines of the active study.

    Pipelines are imported by name: Kedro's ``find_pipelines`` imports only what ``--pipelines`` names, and an
    experiment has no folder of its own.
    """
    return build_pipelines(active_parameters())


def build_pipelines(parameters: Parameters) -> dict[str, Pipeline]:
    """Build all pipelines.

    Args:
        parameters: Their ``study`` shapes the graph.

    Returns:
        Pipelines by name; ``__default__`` is the whole study, an experiment's name all that it needs from raw data
        to its results.
    """
    stages = {
        "data_split": data_split.create_pipeline(),
        "baseline_embeddings": baseline_embeddings.create_pipeline(parameters),
        "metric_learning": metric_learning.create_pipeline(parameters),
        "evaluation": evaluation.create_pipeline(parameters),
        "final_model": final_model.create_pipeline(parameters),
    }
    source = sample_data.create_pipeline() if parameters.study.sample_data else Pipeline([])
    experiments = {name: source + _experiment(parameters.only(name)) for name in parameters.experiments}
    study = sum(stages.values(), source)
    on_demand = {
        "sample_data": sample_data.create_pipeline(),
        "cluster_images": cluster_images.create_pipeline(parameters),
    }
    return {**stages, **on_demand, **experiments, "__default__": study}


def _experiment(parameters: Parameters) -> Pipeline:
    return (
        data_split.create_pipeline()
        + baseline_embeddings.create_pipeline(parameters)
        + metric_learning.create_pipeline(parameters)
        + evaluation.create_pipeline(parameters, with_leaderboard=False)
        + final_model.create_pipeline(parameters)
    )
