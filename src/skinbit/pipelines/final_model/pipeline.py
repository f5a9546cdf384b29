"""final_model: cuts and best epoch averaged over folds -> the final model, its test metrics and mistakes."""

from collections.abc import Callable
from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.matching.methods import PAGED
from skinbit.pipelines.evaluation.pipeline import combination, verification
from skinbit.pipelines.final_model.nodes.mistakes import (
    draw_matches,
    make_test_thumbnails,
    score_test,
    show_mistakes,
)
from skinbit.pipelines.final_model.nodes.packaging import package_combination, package_model, package_trained
from skinbit.pipelines.metric_learning.pipeline import training


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the final model of every experiment; without a test subset there are no test metrics."""
    shared = []
    if parameters.split.use_train_test_split:
        inputs = ["images", "image_index", "split", "params:data", "params:report.thumbnail"]
        shared.append(Node(make_test_thumbnails, inputs, "thumbnails", name="make_test_thumbnails"))
    return Pipeline([*shared, *(_final(name, parameters) for name in parameters.running)])


def _final(name: str, parameters: Parameters) -> Pipeline:
    entry = parameters.experiments[name]
    make = _training if entry.is_trained else _combination if entry.is_combination else _baseline
    nodes = make(name, parameters)
    if not parameters.split.use_train_test_split:
        return Pipeline(nodes)
    if parameters.recipes[name].similarity.verification:
        nodes.append(verification(name, "final", parameters))
    combined = combination(name, "final", "embeddings", parameters) if entry.is_combination else Pipeline([])
    return Pipeline([combined, *nodes, _mistakes(name, parameters)])


def _mistakes(name: str, parameters: Parameters) -> Pipeline:
    """Wire the test metrics of an experiment and its misclassified pairs; the pages are outside of its box."""
    final = f"{name}.final"
    documents = [f"{name}.test_misclassifications_{method}" for method in PAGED]
    pages = [f"{name}.misclassifications_{method}" for method in PAGED]
    is_verified = parameters.recipes[name].similarity.verification
    drawings = f"{name}.match_drawings"
    scored = {kind: f"{final}.{kind}" for kind in ("embeddings", "checkpoint", *(["shortlist"] if is_verified else []))}
    scored |= {"split": "split", "max_pairs": "params:report.max_pairs"}
    scored |= {block: f"params:{block}" for block in ("evaluation", "memory", "seed")}
    shown = {f"by_{method}": document for method, document in zip(PAGED, documents, strict=True)}
    shown |= {"thumbnails": "thumbnails", "report": "params:report"}
    if is_verified:
        shown["match_drawings"] = drawings
    if parameters.recipes[name].similarity.context is not None:
        scored["metadata"] = shown["metadata"] = "metadata"
        shown["similarity"] = f"params:recipes.{name}.similarity"
    nodes = [
        Node(
            update_wrapper(partial(score_test, name=name), score_test),
            scored,
            [f"{final}.results", *documents],
            name="score_test",
            namespace=final,
        ),
        Node(
            show_mistakes,
            shown,
            pages,
            name="show_mistakes",
            namespace=final,
        ),
    ]
    if is_verified:
        drawn = {f"by_{method}": document for method, document in zip(PAGED, documents, strict=True)}
        drawn |= {dataset: dataset for dataset in ("images", "image_index", "keypoints")}
        drawn |= {"shortlist": f"{final}.shortlist", "max_drawings": "params:report.max_drawings"}
        drawn |= {block: f"params:{block}" for block in ("geometry", "compute", "data")}
        nodes.append(Node(draw_matches, drawn, drawings, name="draw_matches", namespace=final))
    return Pipeline(nodes)


def _baseline(name: str, parameters: Parameters) -> list[Node]:
    inputs = _taken(name) | _settings(name)
    if parameters.recipes[name].similarity.whitening is not None:
        inputs |= {"features": f"{parameters.features_of(name)}_features", "split": "split"}
    return [_packaging(name, package_model, inputs)]


def _combination(name: str, parameters: Parameters) -> list[Node]:
    entry = parameters.experiments[name]
    checkpoints = {f"checkpoint_{member}": f"{member}.final.checkpoint" for member in entry.combine}
    shares = dict(zip(entry.combine, entry.member_shares, strict=True))
    package = update_wrapper(partial(package_combination, shares=shares), package_combination)
    return [_packaging(name, package, _taken(name) | checkpoints)]


def _training(name: str, parameters: Parameters) -> list[Node]:
    inputs = {"weights": f"{name}.final.weights"} | _taken(name) | _settings(name)
    return [training(name, TEST_FOLD, parameters), _packaging(name, package_trained, inputs)]


def _taken(name: str) -> dict[str, str]:
    """Return the inputs that a final model takes from the folds."""
    return {kind: f"{name}.{kind}" for kind in ("averages", "matching")}


def _settings(name: str) -> dict[str, str]:
    return {
        "backbone": f"params:recipes.{name}.backbone",
        "seed": "params:seed",
    }


def _packaging(name: str, package: Callable[..., Checkpoint], inputs: dict[str, str]) -> Node:
    box = f"{name}.final"
    return Node(package, inputs, f"{box}.checkpoint", name=package.__name__, namespace=box)
