"""evaluation: embeddings of every fold -> figures; per experiment its results; over all the leaderboard."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.evaluation.nodes import (
    add_test_results,
    collect_results,
    evaluate_embeddings,
    evaluate_training,
    make_leaderboard,
    plot_f1,
    plot_training,
    resolve_config,
    summarise_experiment,
    write_report,
)


def create_pipeline(parameters: Parameters, with_leaderboard: bool = True) -> Pipeline:
    """Wire the evaluation of every experiment and fold.

    Args:
        parameters: Their ``study`` shapes the graph.
        with_leaderboard: With the report of the study, too; False for the pipeline of one experiment.

    Returns:
        The pipeline.
    """
    experiments = parameters.study.experiments
    evaluated = sum((_experiment(name, parameters) for name in experiments), Pipeline([]))
    reports = [node for name in experiments for node in _plots(name, parameters)]
    if with_leaderboard:
        results = [f"{name}.results" for name in experiments]
        inputs = ["params:study", "params:experiments", *results]
        reports.append(Node(make_leaderboard, inputs, "leaderboard", name="make_leaderboard"))
        pages = ["params:study", "leaderboard", "split", "rejected", *(f"{name}.summary" for name in experiments)]
        reports.append(Node(write_report, pages, "report", name="write_report"))
    return evaluated + Pipeline(reports, namespace="report", prefix_datasets_with_namespace=False)


def _plots(experiment: str, parameters: Parameters) -> list[Node]:
    plots = {"f1_curves": plot_f1}
    if parameters.experiments[experiment].is_trained:
        plots["training_curves"] = plot_training
    return [
        Node(
            update_wrapper(partial(plot, experiment=experiment), plot),
            f"{experiment}.summary",
            f"{experiment}.{figure}",
            name=f"plot_{experiment}_{figure}",
        )
        for figure, plot in plots.items()
    ]


def _experiment(name: str, parameters: Parameters) -> Pipeline:
    folds = parameters.study.folds
    is_trained = parameters.experiments[name].is_trained
    evaluated = sum((_fold(name, fold, is_trained) for fold in folds), Pipeline([]))
    return evaluated + _collection(name, parameters)


def _fold(experiment: str, fold: int, is_trained: bool) -> Pipeline:
    evaluate, made_by = (evaluate_training, ["checkpoint"]) if is_trained else (evaluate_embeddings, [])
    node = Node(
        update_wrapper(partial(evaluate, fold=fold), evaluate),
        ["embeddings", "split", *made_by, "params:evaluation"],
        ["results", "sweep", "clustered_images"],
        name=evaluate.__name__,
    )
    namespace = f"{experiment}.fold_{fold}"
    return Pipeline([node], namespace=namespace, inputs={"split"}, parameters={"params:evaluation"})


def _collection(name: str, parameters: Parameters) -> Pipeline:
    """Wire what joins an experiment's folds; its nodes stand in the experiment's namespace."""
    folds = [f"{name}.fold_{fold}" for fold in parameters.study.folds]
    metrics, sweeps, clusters, histories = (
        [f"{fold}.{kind}" for fold in folds] for kind in ("results", "sweep", "clustered_images", "history")
    )
    if not parameters.experiments[name].is_trained:
        histories = []
    has_test = parameters.split.use_train_test_split
    collected = f"{name}.cross_validation" if has_test else f"{name}.results"
    blocks = ("training", "losses", "data", "split", "evaluation", "loader", "compute", "study", "seed")
    settings = [f"params:backbones.{parameters.experiments[name].backbone}", f"params:experiments.{name}"]
    nodes = [
        Node(
            update_wrapper(partial(collect_results, name=name), collect_results),
            ["params:study", *metrics, *sweeps],
            collected,
            name="collect_results",
            namespace=name,
        ),
        Node(
            summarise_experiment,
            ["params:study", f"{name}.results", f"{name}.resolved_config", *sweeps, *clusters, *histories],
            f"{name}.summary",
            name="summarise_experiment",
            namespace=name,
        ),
        Node(
            resolve_config,
            [*settings, *(f"params:{block}" for block in blocks)],
            f"{name}.resolved_config",
            name="resolve_config",
            namespace=name,
        ),
    ]
    if has_test:
        inputs = [collected, f"{name}.final.results"]
        nodes.append(Node(add_test_results, inputs, f"{name}.results", name="add_test_results", namespace=name))
    return Pipeline(nodes)
