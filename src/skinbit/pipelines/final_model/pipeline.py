"""final_model: cuts averaged over the folds -> the model to keep and its test figures."""

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.final_model.nodes import evaluate_test, package_model


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the final model of every experiment; without a test split there are no test figures."""
    return sum((_final(name, parameters) for name in parameters.study.experiments), Pipeline([]))


def _final(name: str, parameters: Parameters) -> Pipeline:
    has_test = parameters.split.use_train_test_split
    collected = f"{name}.cross_validation" if has_test else f"{name}.results"
    settings = [f"params:backbones.{parameters.experiments[name].backbone}", f"params:experiments.{name}"]
    nodes = [Node(package_model, [*settings, collected, "params:seed"], "checkpoint", name="package_model")]
    if has_test:
        inputs = ["embeddings", "split", "checkpoint", "params:evaluation"]
        nodes.append(Node(evaluate_test, inputs, "results", name="evaluate_test"))
    shared = {"split", collected} if has_test else {collected}
    parameters_used = {*settings, "params:seed"} | ({"params:evaluation"} if has_test else set())
    return Pipeline(nodes, namespace=f"{name}.final", inputs=shared, parameters=parameters_used)
