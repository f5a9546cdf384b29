"""baseline_embeddings: images -> frozen features per backbone -> the baselines' embeddings.

Features are shared by every fold and experiment of a backbone; an experiment that overrides settings of its
backbone has features of its own. Experiments that train ask for more: decoded photographs, and training views of
a frozen backbone.
"""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.data.splits import TEST_FOLD
from skinbit.params import Parameters
from skinbit.pipelines.baseline_embeddings.nodes import (
    check_backbone,
    decode_photographs,
    embed_subset,
    extract_features,
    extract_training_views,
    find_keypoints,
)


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire what every backbone in use is asked for, and the embeddings of every baseline and fold."""
    users: dict[str, list[str]] = {}
    for experiment in parameters.study.experiments:
        users.setdefault(parameters.features_of(experiment), []).append(experiment)
    shared = Pipeline(
        [node for name, experiments in users.items() for node in _shared_nodes(name, experiments, parameters)],
        namespace="baseline_embeddings",
        prefix_datasets_with_namespace=False,
    )
    if any(parameters.similarity_of(name).verification for name in parameters.study.experiments):
        shared += Pipeline([_keypoints()], namespace="baseline_embeddings", prefix_datasets_with_namespace=False)
    baselines = [name for name in parameters.study.experiments if not parameters.experiments[name].is_trained]
    return sum((_embedding_pipeline(name, parameters) for name in baselines), shared)


def create_comparison(experiment: str, parameters: Parameters) -> Pipeline:
    """Wire what compares all images without labels or trainings: a baseline's features, and keypoints.

    Args:
        experiment: The baseline.
        parameters: Of the study.

    Returns:
        The same nodes as in a study that asks for both.
    """
    nodes = [*_shared_nodes(parameters.features_of(experiment), [experiment], parameters), _keypoints()]
    return Pipeline(nodes, namespace="baseline_embeddings", prefix_datasets_with_namespace=False)


def _keypoints() -> Node:
    inputs = ["images", "image_index", "keypoint_cache", "params:geometry", "params:data", "params:compute"]
    return Node(find_keypoints, inputs, "keypoints", name="find_keypoints")


def _shared_nodes(name: str, experiments: list[str], parameters: Parameters) -> list[Node]:
    entry = parameters.experiments[experiments[0]]
    backbone = f"params:backbones.{entry.backbone}"
    override = [f"params:experiments.{experiments[0]}"] if entry.has_overrides() else []
    trained = [experiment for experiment in experiments if parameters.experiments[experiment].is_trained]
    heads = [experiment for experiment in trained if parameters.backbone_of(experiment).frozen]
    inputs = ["assignment", backbone, "params:loader", "params:compute", "params:seed", *override]
    nodes = [Node(check_backbone, inputs, f"{name}_description", name=f"check_{name}")]
    if len(heads) + len(experiments) > len(trained):  # a baseline, or a head on frozen features
        nodes.append(_features(name, backbone, override))
    if trained:
        nodes.append(_pixels(name))
    if heads:
        n_views = max(
            parameters.experiments[experiment].training_params(parameters.training, is_frozen=True).views
            for experiment in heads
        )
        nodes.append(_training_views(name, backbone, override, n_views))
    return nodes


def _features(name: str, backbone: str, override: list[str]) -> Node:
    inputs = [
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
    return Node(extract, inputs, f"{name}_features", name=f"extract_{name}_features")


def _pixels(name: str) -> Node:
    inputs = ["images", "image_index", f"{name}_description", "params:training", "params:loader", "params:data"]
    return Node(decode_photographs, inputs, f"{name}_pixels", name=f"decode_{name}_photographs")


def _training_views(name: str, backbone: str, override: list[str], n_views: int) -> Node:
    inputs = [
        f"{name}_pixels",
        f"{name}_description",
        "feature_cache",
        backbone,
        "params:training",
        "params:loader",
        "params:compute",
        "params:seed",
        *override,
    ]
    extract = update_wrapper(partial(extract_training_views, name=name, n_views=n_views), extract_training_views)
    return Node(extract, inputs, f"{name}_training_views", name=f"extract_{name}_training_views")


def _embedding_pipeline(experiment: str, parameters: Parameters) -> Pipeline:
    subsets = {f"fold_{fold}": fold for fold in parameters.study.folds}
    if parameters.split.use_train_test_split:
        subsets["final"] = TEST_FOLD
    features = f"{parameters.features_of(experiment)}_features"
    settings = [f"params:experiments.{experiment}", "params:similarity"]
    embedded = Pipeline([])
    for subset, fold in subsets.items():
        embed = update_wrapper(partial(embed_subset, fold=fold), embed_subset)
        node = Node(embed, [features, "split", *settings], "embeddings", name="embed_subset")
        namespace = f"{experiment}.{subset}"
        embedded += Pipeline([node], namespace=namespace, inputs={features, "split"}, parameters=set(settings))
    return embedded
