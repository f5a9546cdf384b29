"""The registered pipelines: one per stage, one per experiment, and the whole study."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

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


def register_pipelines() -> Mapping[str, Pipeline]:
    """Return the pipelines of the active study.

    Pipelines are imported by name: Kedro's ``find_pipelines`` imports only what ``--pipelines`` names, and an
    experiment has no folder of its own.
    """
    return build_pipelines(active_parameters())


def build_pipelines(parameters: Parameters) -> Mapping[str, Pipeline]:
    """Return all pipelines by name.

    Args:
        parameters: All parameters; ``study`` determines the graph.

    Returns:
        ``__default__`` is the whole study; an experiment's name is everything from raw data to its results.
    """
    builders: dict[str, Callable[[], Pipeline]] = {
        **_stage_builders(parameters),
        "sample_data": partial(sample_data.create_pipeline, parameters.sample),
        "cluster_images": partial(cluster_images.create_pipeline, parameters),
    }
    audited = parameters.audited_experiment
    if audited is not None:
        builders["audit"] = partial(audit.create_pipeline, parameters, audited)
    for name in parameters.experiments:
        builders[name] = partial(_build_study, parameters.only(name), with_leaderboard=False)
    builders["__default__"] = partial(_build_study, parameters)
    return _PipelinesOnDemand(builders)


class _PipelinesOnDemand(Mapping[str, Pipeline]):
    """Pipelines by name, each built on first access, as a run needs one or two of dozens."""

    def __init__(self, builders: Mapping[str, Callable[[], Pipeline]]) -> None:
        self._builders = builders
        self._built: dict[str, Pipeline] = {}

    def __getitem__(self, name: str) -> Pipeline:
        if name not in self._built:
            self._built[name] = self._builders[name]()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)


def _build_study(parameters: Parameters, with_leaderboard: bool = True) -> Pipeline:
    source = sample_data.create_pipeline(parameters.sample) if parameters.study.sample_data else Pipeline([])
    stages = [build() for build in _stage_builders(parameters, with_leaderboard).values()]
    if with_leaderboard and parameters.groups_sample:
        stages.append(cluster_images.create_pipeline(parameters))
    return Pipeline([source, *stages])


def _stage_builders(parameters: Parameters, with_leaderboard: bool = True) -> dict[str, Callable[[], Pipeline]]:
    """Return functions that build the stages of a study; the nodes of a stage are tagged with its name."""
    builders = {
        "data_split": partial(data_split.create_pipeline, parameters),
        "baseline_embeddings": partial(baseline_embeddings.create_pipeline, parameters),
        "metric_learning": partial(metric_learning.create_pipeline, parameters),
        "evaluation": partial(evaluation.create_pipeline, parameters, with_leaderboard),
        "final_model": partial(final_model.create_pipeline, parameters),
    }
    return {name: partial(_build_tagged, build, name) for name, build in builders.items()}


def _build_tagged(build: Callable[[], Pipeline], tag: str) -> Pipeline:
    return build().tag(tag)
