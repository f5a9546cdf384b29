"""final_model: cuts and best epoch averaged over the folds -> the model to keep, its test figures and mistakes."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.matching.methods import PAGED
from skinbit.params import Parameters
from skinbit.pipelines.evaluation.nodes import compare_keypoints
from skinbit.pipelines.evaluation.pipeline import combination
from skinbit.pipelines.final_model.nodes import (
    draw_matches,
    evaluate_test,
    fine_tune_final,
    list_mistakes,
    make_test_thumbnails,
    package_combination,
    package_model,
    show_mistakes,
    train_final_head,
)
from skinbit.pipelines.metric_learning.pipeline import training_inputs


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the final model of every experiment; without a test split there are no test figures."""
    shared = []
    if parameters.split.use_train_test_split:
        inputs = ["images", "split", "params:data", "params:report"]
        shared.append(Node(make_test_thumbnails, inputs, "thumbnails", name="make_test_thumbnails"))
    return sum((_final(name, parameters) for name in parameters.running), Pipeline(shared))


def _final(name: str, parameters: Parameters) -> Pipeline:
    has_test = parameters.split.use_train_test_split
    entry = parameters.experiments[name]
    make = _training if entry.is_trained else _combination if entry.is_combination else _baseline
    node, datasets, settings = make(name, parameters)
    nodes = [node]
    if has_test:
        is_verified = parameters.similarity_of(name).verification
        shortlist = ["shortlist"] if is_verified else []
        if is_verified:
            inputs = ["embeddings", "keypoints", "params:geometry", "params:compute"]
            nodes.append(Node(compare_keypoints, inputs, "shortlist", name="compare_keypoints"))
            datasets, settings = datasets | {"keypoints"}, {*settings, "params:geometry", "params:compute"}
        inputs = ["embeddings", "split", "checkpoint", "params:evaluation", "params:memory", "params:seed", *shortlist]
        evaluate = update_wrapper(partial(evaluate_test, name=name), evaluate_test)
        nodes.append(Node(evaluate, inputs, "results", name="evaluate_test"))
        datasets = datasets | {"split"}
        settings = {*settings, "params:evaluation", "params:memory", "params:seed"}
    final = Pipeline(nodes, namespace=f"{name}.final", inputs=datasets, parameters=set(settings))
    if not has_test:
        return final
    combined = combination(name, "final", "embeddings", parameters) if entry.is_combination else Pipeline([])
    return combined + final + _mistakes(name, parameters)


def _mistakes(name: str, parameters: Parameters) -> Pipeline:
    """Wire what shows an experiment's misclassified pairs; its pages leave the experiment's box."""
    final = f"{name}.final"
    documents = [f"{name}.test_misclassifications_{method}" for method in PAGED]
    pages = [f"{name}.misclassifications_{method}" for method in PAGED]
    is_verified = parameters.similarity_of(name).verification
    shortlist, drawings = f"{final}.shortlist", f"{name}.match_drawings"
    settings = ["params:evaluation", "params:report", "params:memory"]
    nodes = [
        Node(
            update_wrapper(partial(list_mistakes, name=name), list_mistakes),
            [f"{final}.embeddings", "split", f"{final}.checkpoint", *settings, *([shortlist] if is_verified else [])],
            documents,
            name="list_mistakes",
            namespace=final,
        ),
        Node(
            show_mistakes,
            ["thumbnails", *documents, "params:report", *([drawings] if is_verified else [])],
            pages,
            name="show_mistakes",
            namespace=final,
        ),
    ]
    if is_verified:
        drawn = ["images", "keypoints", shortlist, *documents]
        settings = ["params:geometry", "params:data", "params:compute", "params:report"]
        nodes.append(Node(draw_matches, [*drawn, *settings], drawings, name="draw_matches", namespace=final))
    return Pipeline(nodes)


def _baseline(name: str, parameters: Parameters) -> tuple[Node, set[str], set[str]]:
    settings = [f"params:backbones.{parameters.experiments[name].backbone}", f"params:experiments.{name}"]
    chosen = [f"{name}.averages", f"{name}.matching"]
    if parameters.similarity_of(name).whitening is not None:
        fitted_on = [f"{parameters.features_of(name)}_features", "split"]
    else:
        fitted_on = []
    inputs = [*settings, *chosen, "params:seed", *fitted_on]
    node = Node(package_model, inputs, "checkpoint", name="package_model")
    return node, {*chosen, *fitted_on}, {*settings, "params:seed"}


def _combination(name: str, parameters: Parameters) -> tuple[Node, set[str], set[str]]:
    entry = parameters.experiments[name]
    inputs = [f"{name}.averages", f"{name}.matching", *(f"{member}.final.checkpoint" for member in entry.combine)]
    package = partial(package_combination, names=entry.combine, shares=entry.member_shares)
    return (
        Node(update_wrapper(package, package_combination), inputs, "checkpoint", name="package_combination"),
        set(inputs),
        set(),
    )


def _training(name: str, parameters: Parameters) -> tuple[Node, set[str], set[str]]:
    train = train_final_head if parameters.backbone_of(name).frozen else fine_tune_final
    datasets, settings = training_inputs(name, parameters)
    chosen = [f"{name}.averages", f"{name}.matching"]
    node = Node(
        update_wrapper(partial(train, name=name, trained_as=parameters.trained_as(name)), train),
        [*datasets, *chosen, *settings],
        ["checkpoint", "embeddings"],
        name=train.__name__,
    )
    return node, {*datasets, *chosen}, set(settings)
