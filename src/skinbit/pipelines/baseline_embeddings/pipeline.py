"""baseline_embeddings: images -> frozen features per backbone -> the baselines' embeddings.

Features are shared by every fold and experiment of a backbone; an experiment that overrides settings of its
backbone has features of its own.
"""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.data.splits import TEST_FOLD
from skinbit.params import Parameters
from skinbit.pipelines.baseline_embeddings.nodes import check_backbone, embed_subset, extract_features


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire features of every backbone in use, and the embeddings of every baseline and fold."""
    experiments = parameters.study.experiments
    users = {parameters.features_of(experiment): experiment for experiment in experiments}
    features = Pipeline(
        [node for name, user in users.items() for node in _feature_nodes(name, user, parameters)],
        namespace="baseline_embeddings",
        prefix_datasets_with_namespace=False,
    )
    return sum((_embedding_pipeline(name, parameters) for name in experiments), features)


def _feature_nodes(name: str, experiment: str, parameters: Parameters) -> list[Node]:
    entry = parameters.experiments[experiment]
    backbone = f"params:backbones.{entry.backbone}"
    override = [f"params:experiments.{experiment}"] if entry.has_overrides() else []
    check_inputs = ["assignment", backbone, "params:loader", "params:compute", "params:seed", *override]
    extract_inputs = [
        "images",
        "image_index",
        f"{name}_description",
        "feature_cache",
        backbone,
        "params:loader",
        "params:compute",
        "params:data",
        "params:seed",
        *override,
    ]
    extract = update_wrapper(partial(extract_features, name=name), extract_features)
    return [
        Node(check_backbone, check_inputs, f"{name}_description", name=f"check_{name}"),
        Node(extract, extract_inputs, f"{name}_features", name=f"extract_{name}_features"),
    ]


def _embedding_pipeline(experiment: str, parameters: Parameters) -> Pipeline:
    subsets = {f"fold_{fold}": fold for fold in parameters.study.folds}
    if parameters.split.use_train_test_split:
        subsets["final"] = TEST_FOLD
    features = f"{parameters.features_of(experiment)}_features"
    return sum((_embed(features, fold, f"{experiment}.{subset}") for subset, fold in subsets.items()), Pipeline([]))


def _embed(features: str, fold: int, namespace: str) -> Pipeline:
    embed = update_wrapper(partial(embed_subset, fold=fold), embed_subset)
    node = Node(embed, [features, "split"], "embeddings", name="embed_subset")
    return Pipeline([node], namespace=namespace, inputs={features, "split"})
