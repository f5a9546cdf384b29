"""The registered pipelines: one per stage, one per experiment, and the whole study."""

from kedro.pipeline import Pipeline

from skinbit.config import Parameters
from skinbit.pipelines import (
    audit,
    baseline_embeddings,
    cluster_images,
    data_split,
    evaluation,
    final_model,
    metric_learning,
    sample_data,
)
from skinbit.runtime.context import active_parameters


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines of the active study.

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
    stages = _stages(parameters)
    source = sample_data.create_pipeline() if parameters.study.sample_data else Pipeline([])
    experiments = {
        name: Pipeline([source, *_stages(parameters.only(name), with_leaderboard=False).values()])
        for name in parameters.experiments
    }
    study = Pipeline([source, *stages.values()])
    on_demand = {
        "sample_data": sample_data.create_pipeline(),
        "cluster_images": cluster_images.create_pipeline(parameters),
    }
    audited = parameters.audited_experiment
    if audited is not None:
        on_demand["audit"] = audit.create_pipeline(parameters, audited)
    return {**stages, **on_demand, **experiments, "__default__": study}


def _stages(parameters: Parameters, with_leaderboard: bool = True) -> dict[str, Pipeline]:
    """Return the stages of a study, each node tagged with its stage: the boxes of the graph are experiments."""
    stages = {
        "data_split": data_split.create_pipeline(parameters),
        "baseline_embeddings": baseline_embeddings.create_pipeline(parameters),
        "metric_learning": metric_learning.create_pipeline(parameters),
        "evaluation": evaluation.create_pipeline(parameters, with_leaderboard),
        "final_model": final_model.create_pipeline(parameters),
    }
    return {name: stage.tag(name) for name, stage in stages.items()}
