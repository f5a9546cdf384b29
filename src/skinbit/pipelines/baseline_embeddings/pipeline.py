"""baseline_embeddings: images -> frozen features per backbone -> the baselines' embeddings.

All folds and experiments of a backbone share its features; an experiment that overrides settings of its backbone has
its own. Trained experiments need more: decoded photographs and, for a frozen backbone, training views, which are
shared by experiments with the same augmentation.
"""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.data.splits import TEST_FOLD
from skinbit.pipelines.baseline_embeddings.nodes import (
    check_backbone,
    decode_photographs,
    embed_distractors,
    embed_subset,
    extract_features,
    extract_training_views,
    find_keypoints,
)

_KEYPOINT_SETTINGS = ("params:geometry", "params:data", "params:compute", "executor")


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire everything that the backbones in use must compute, and the embeddings of every baseline and fold."""
    users: dict[str, list[str]] = {}
    models = [name for name in parameters.running if not parameters.experiments[name].is_combination]
    for experiment in models:
        users.setdefault(parameters.features_of(experiment), []).append(experiment)
    shared = Pipeline(
        [
            node
            for name, experiments in users.items()
            for node in _shared_nodes(name, experiments, parameters, parameters.has_distractors)
        ],
        namespace="baseline_embeddings",
        prefix_datasets_with_namespace=False,
    )
    if any(parameters.recipes[name].similarity.verification for name in parameters.running):
        nodes = [_keypoints(), *([_distractor_keypoints()] if parameters.has_distractors else [])]
        shared += Pipeline(nodes, namespace="baseline_embeddings", prefix_datasets_with_namespace=False)
    baselines = [name for name in models if not parameters.experiments[name].is_trained]
    return Pipeline([shared, *(_embedding_pipeline(name, parameters) for name in baselines)])


def create_comparison(experiment: str, parameters: Parameters) -> Pipeline:
    """Wire the comparison of all images without labels or training: a baseline's features, and keypoints.

    Args:
        experiment: Name of the baseline.
        parameters: All parameters.

    Returns:
        The same nodes as in a study with both.
    """
    shared = _shared_nodes(parameters.features_of(experiment), [experiment], parameters, has_distractors=False)
    nodes = [*shared, _keypoints()]
    return Pipeline(nodes, namespace="baseline_embeddings", prefix_datasets_with_namespace=False)


def _keypoints() -> Node:
    return Node(
        find_keypoints,
        ["images", "image_index", "keypoint_cache", *_KEYPOINT_SETTINGS],
        "keypoints",
        name="find_keypoints",
    )


def _distractor_keypoints() -> Node:
    inputs = ["images", "distractor_index", "distractor_keypoint_cache", *_KEYPOINT_SETTINGS]
    return Node(find_keypoints, inputs, "distractor_keypoints", name="find_distractor_keypoints")


def _shared_nodes(name: str, experiments: list[str], parameters: Parameters, has_distractors: bool) -> list[Node]:
    backbone = _backbone(name, parameters)
    trained = [experiment for experiment in experiments if parameters.experiments[experiment].is_trained]
    heads = [experiment for experiment in trained if parameters.recipes[experiment].is_frozen]
    inputs = ["row_problems", backbone, "params:loader", "params:compute", "params:seed"]
    nodes = [Node(check_backbone, inputs, f"{name}_description", name=f"check_{name}")]
    if len(heads) + len(experiments) > len(trained):  # a baseline, or a head on frozen features
        nodes.append(_features(name, backbone))
        if has_distractors:
            nodes.append(_distractor_features(name, backbone))
    if trained:
        nodes.append(_pixels(name))
    return [*nodes, *_training_views(name, heads, parameters)]


def _features(name: str, backbone: str) -> Node:
    inputs = ["images", "image_index", *_extraction(name, backbone)]
    extract = update_wrapper(partial(extract_features, name=name), extract_features)
    return Node(extract, inputs, f"{name}_features", name=f"extract_{name}_features")


def _distractor_features(name: str, backbone: str) -> Node:
    inputs = ["images", "distractor_index", *_extraction(name, backbone)]
    extract = partial(extract_features, name=name, file="distractor_features")
    return Node(
        update_wrapper(extract, extract_features),
        inputs,
        f"{name}_distractor_features",
        name=f"extract_{name}_distractor_features",
    )


def _extraction(name: str, backbone: str) -> list[str]:
    """Return the names of the inputs from which features of photographs are computed."""
    settings = ["params:loader", "params:compute", "params:data", "executor", "params:seed"]
    return [f"{name}_description", "feature_cache", backbone, *settings]


def _pixels(name: str) -> Node:
    settings = ["params:training.canvas", "params:loader", "params:data", "executor"]
    inputs = ["images", "image_index", f"{name}_description", f"{name}_pixel_cache", *settings]
    return Node(decode_photographs, inputs, f"{name}_pixels", name=f"decode_{name}_photographs")


def _training_views(features: str, heads: list[str], parameters: Parameters) -> list[Node]:
    """Wire training views for heads on the same features: one set per augmentation, as many as any head needs."""
    users: dict[str, list[str]] = {}
    for experiment in heads:
        users.setdefault(parameters.training_views_of(experiment), []).append(experiment)
    return [_extract_views(name, features, experiments, parameters) for name, experiments in users.items()]


def _extract_views(name: str, features: str, experiments: list[str], parameters: Parameters) -> Node:
    is_own = name in parameters.experiments and parameters.recipes[name].training is not None
    inputs = [
        f"{features}_pixels",
        f"{features}_description",
        "feature_cache",
        _backbone(features, parameters),
        f"params:recipes.{name}.training.augmentation" if is_own else "params:training.augmentation",
        "params:loader",
        "params:compute",
        "executor",
        "params:seed",
    ]
    trainings = (parameters.recipes[experiment].training for experiment in experiments)
    n_views = max(training.params.views for training in trainings if training is not None)
    extract = update_wrapper(partial(extract_training_views, name=name, n_views=n_views), extract_training_views)
    return Node(extract, inputs, f"{name}_training_views", name=f"extract_{name}_training_views")


def _backbone(features: str, parameters: Parameters) -> str:
    """Return the parameter with the backbone of some features: its own, or that of one experiment."""
    return (
        f"params:recipes.{features}.backbone" if features in parameters.experiments else f"params:backbones.{features}"
    )


def _embedding_pipeline(experiment: str, parameters: Parameters) -> Pipeline:
    subsets = {f"fold_{fold}": fold for fold in parameters.study.folds}
    if parameters.split.use_train_test_split:
        subsets["final"] = TEST_FOLD
    features = f"{parameters.features_of(experiment)}_features"
    settings = [f"params:recipes.{experiment}.similarity"]
    embedded = Pipeline([])
    for subset, fold in subsets.items():
        embed = update_wrapper(partial(embed_subset, fold=fold), embed_subset)
        node = Node(embed, [features, "split", *settings], "embeddings", name="embed_subset")
        namespace = f"{experiment}.{subset}"
        embedded += Pipeline([node], namespace=namespace, inputs={features, "split"}, parameters=set(settings))
        if parameters.has_distractors and fold != TEST_FOLD:
            embedded += _distractor_embeddings(experiment, fold, parameters, settings)
    return embedded


def _distractor_embeddings(experiment: str, fold: int, parameters: Parameters, settings: list[str]) -> Pipeline:
    kinds = ("distractor_features", "features")
    datasets = [*(f"{parameters.features_of(experiment)}_{kind}" for kind in kinds), "split"]
    embed = update_wrapper(partial(embed_distractors, fold=fold), embed_distractors)
    node = Node(embed, [*datasets, *settings], "distractor_embeddings", name="embed_distractors")
    namespace = f"{experiment}.fold_{fold}"
    return Pipeline([node], namespace=namespace, inputs=set(datasets), parameters=set(settings))
