"""evaluation: embeddings of every fold -> figures; per experiment its results; over all the leaderboard."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.evaluation.nodes import (
    add_test_results,
    calibrate_similarities,
    collect_results,
    combine_embeddings,
    compare_keypoints,
    compare_keypoints_among,
    evaluate_embeddings,
    gather_cuts,
    judge_among_distractors,
    judge_folds,
    list_software,
    make_leaderboard,
    package_fold,
    plot_f1,
    plot_training,
    resolve_combination,
    resolve_config,
    summarise_experiment,
    write_parameters,
    write_report,
)

_BLOCKS = (
    *("seed", "study", "data", "split", "loader", "compute", "evaluation", "sample", "report", "training", "losses"),
    *("similarity", "geometry", "backbones", "experiments"),
)
"""Of the parameters that the files of a study depend on."""

_CHOICE = {name: f"params:evaluation.{name}" for name in ("threshold_range", "eps_range", "max_group_size")}
"""The settings by which cuts are chosen, each for itself: strata and resamples must not make a model stale."""


def create_pipeline(parameters: Parameters, with_leaderboard: bool = True) -> Pipeline:
    """Wire the evaluation of every experiment and fold.

    Args:
        parameters: Their ``study`` shapes the graph.
        with_leaderboard: With the report of the study, too; False for the pipeline of one experiment.

    Returns:
        The pipeline.
    """
    experiments = parameters.running
    evaluated = sum((_experiment(name, parameters) for name in experiments), Pipeline([]))
    reports = [node for name in experiments for node in _plots(name, parameters)]
    if with_leaderboard:
        results, summaries = ([f"{name}.{kind}" for name in experiments] for kind in ("results", "summary"))
        make = update_wrapper(partial(make_leaderboard, names=experiments), make_leaderboard)
        inputs = ["params:experiments", *results, *summaries]
        reports.append(Node(make, inputs, "leaderboard", name="make_leaderboard"))
        pages = ["params:study", "leaderboard", "split", "rejected", "audit_summary", *summaries]
        write = update_wrapper(partial(write_report, names=experiments), write_report)
        reports.append(Node(write, pages, "report", name="write_report"))
        blocks = [f"params:{block}" for block in _BLOCKS]
        reports.append(Node(write_parameters, blocks, "study_parameters", name="write_parameters"))
        reports.append(Node(list_software, "lock_file", "study_software", name="list_software"))
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
    verified = [_verify(name, fold) for fold in folds if parameters.similarity_of(name).verification]
    if verified and parameters.has_distractors:
        verified += [_verify_among(name, fold) for fold in folds]
    if parameters.experiments[name].is_combination:
        verified += [_combine(name, fold, parameters) for fold in folds]
    evaluated = sum((_evaluate(name, fold, parameters) for fold in folds), sum(verified, Pipeline([])))
    return evaluated + _collection(name, parameters)


def _combine(name: str, fold: int, parameters: Parameters) -> Pipeline:
    kinds = ["embeddings", *(["distractor_embeddings"] if parameters.has_distractors else [])]
    return sum((combination(name, f"fold_{fold}", kind, parameters) for kind in kinds), Pipeline([]))


def combination(name: str, subset: str, kind: str, parameters: Parameters) -> Pipeline:
    """Wire what combines the embeddings of an experiment's members.

    Args:
        name: Of the combination.
        subset: ``fold_<k>`` or ``final``.
        kind: ``embeddings`` or ``distractor_embeddings``.
        parameters: Name its members.

    Returns:
        One node.
    """
    entry = parameters.experiments[name]
    members = [f"{member}.{subset}.{kind}" for member in entry.combine]
    combine = update_wrapper(partial(combine_embeddings, shares=entry.member_shares), combine_embeddings)
    node = Node(combine, members, kind, name=f"combine_{kind}")
    return Pipeline([node], namespace=f"{name}.{subset}", inputs=set(members))


def _verify(experiment: str, fold: int) -> Pipeline:
    settings = ["params:geometry", "params:compute"]
    node = Node(compare_keypoints, ["embeddings", "keypoints", *settings], "shortlist", name="compare_keypoints")
    namespace = f"{experiment}.fold_{fold}"
    return Pipeline([node], namespace=namespace, inputs={"keypoints"}, parameters=set(settings))


def _verify_among(experiment: str, fold: int) -> Pipeline:
    settings, keypoints = ["params:geometry", "params:compute"], ["keypoints", "distractor_keypoints"]
    inputs = ["embeddings", "distractor_embeddings", *keypoints, *settings]
    node = Node(compare_keypoints_among, inputs, "distractor_shortlist", name="compare_keypoints_among")
    namespace = f"{experiment}.fold_{fold}"
    return Pipeline([node], namespace=namespace, inputs=set(keypoints), parameters=set(settings))


def _evaluate(name: str, fold: int, parameters: Parameters) -> Pipeline:
    """Wire the evaluation of a fold; it stands in the fold's box unless it needs calibrations, made of other folds."""
    settings = parameters.similarity_of(name)
    box = f"{name}.fold_{fold}"
    inputs = {
        "embeddings": f"{box}.embeddings",
        "split": "split",
        **_CHOICE,
        "experiment": f"params:experiments.{name}",
        "similarity": "params:similarity",
        "memory": "params:memory",
    }
    is_trained = parameters.experiments[name].is_trained
    if is_trained:
        inputs["weights"] = f"{box}.weights"
    if settings.is_calibrated:
        inputs["calibration"] = f"{name}.calibration"
    if settings.verification:
        inputs["shortlist"] = f"{box}.shortlist"
    outputs = [f"{box}.{kind}" for kind in ("results", "sweep", "operating_points", "clustered_images")]
    evaluate = update_wrapper(partial(evaluate_embeddings, fold=fold), evaluate_embeddings)
    if settings.is_calibrated:
        nodes = [Node(evaluate, inputs, outputs, name=f"evaluate_fold_{fold}", namespace=name)]
    else:
        nodes = [Node(evaluate, inputs, outputs, name="evaluate_embeddings", namespace=box)]
    return Pipeline([*nodes, *([_package(name, fold, settings.is_calibrated)] if is_trained else [])])


def _package(name: str, fold: int, is_calibrated: bool) -> Node:
    box = f"{name}.fold_{fold}"
    inputs = {kind: f"{box}.{kind}" for kind in ("weights", "results", "operating_points")}
    inputs |= {
        "max_group_size": _CHOICE["max_group_size"],
        "experiment": f"params:experiments.{name}",
        "similarity": "params:similarity",
        "geometry": "params:geometry",
    }
    package, output = update_wrapper(partial(package_fold, fold=fold), package_fold), f"{box}.checkpoint"
    if is_calibrated:
        inputs["calibration"] = f"{name}.calibration"
        return Node(package, inputs, output, name=f"package_fold_{fold}", namespace=name)
    return Node(package, inputs, output, name="package_fold", namespace=box)


def _collection(name: str, parameters: Parameters) -> Pipeline:
    """Wire what joins an experiment's folds; its nodes stand in the experiment's namespace."""
    folds = [f"{name}.fold_{fold}" for fold in parameters.study.folds]
    metrics, sweeps, points, clusters, embeddings, histories = (
        [f"{fold}.{kind}" for fold in folds]
        for kind in ("results", "sweep", "operating_points", "clustered_images", "embeddings", "history")
    )
    if not parameters.experiments[name].is_trained:
        histories = []
    has_test = parameters.split.use_train_test_split
    collected = f"{name}.cross_validation" if has_test else f"{name}.results"
    entry = f"params:experiments.{name}"
    similarity = parameters.similarity_of(name)
    shortlists = [f"{fold}.shortlist" for fold in folds if similarity.verification]
    calibration = [f"{name}.calibration"] if similarity.is_calibrated else []
    summarised = [f"{name}.{kind}" for kind in ("results", "resampled_f1", "strata", "pools", "resolved_config")]
    judged = [f"{name}.{kind}" for kind in ("judgement", "resampled_f1", "strata", "pools")]
    if parameters.has_distractors:
        judged = [f"{name}.{kind}" for kind in ("fold_judgement", "resampled_f1", "strata", "fold_pools")]
    judging = ("split", "metadata", "params:evaluation", entry, "params:similarity", "params:memory", "params:seed")
    matching = (_CHOICE["max_group_size"], "params:similarity", "params:geometry")
    nodes = [
        Node(
            gather_cuts,
            ["params:study", entry, *matching, *metrics, *points, *calibration],
            [f"{name}.operating_points", f"{name}.matching", f"{name}.averages"],
            name="gather_cuts",
            namespace=name,
        ),
        Node(
            judge_folds,
            ["params:study", f"{name}.operating_points", *judging, *embeddings, *shortlists, *calibration],
            judged,
            name="judge_folds",
            namespace=name,
        ),
        Node(
            update_wrapper(partial(collect_results, name=name), collect_results),
            ["params:study", f"{name}.operating_points", f"{name}.judgement", *metrics, *sweeps],
            collected,
            name="collect_results",
            namespace=name,
        ),
        Node(
            summarise_experiment,
            ["params:study", *summarised, *sweeps, *clusters, *histories],
            f"{name}.summary",
            name="summarise_experiment",
            namespace=name,
        ),
        _resolution(name, parameters),
    ]
    if parameters.has_distractors:
        nodes.append(_judge_among_distractors(name, parameters))
    if calibration:
        inputs = ["params:study", "split", entry, "params:similarity", *embeddings, *shortlists]
        nodes.append(
            Node(calibrate_similarities, inputs, f"{name}.calibration", name="calibrate_similarities", namespace=name)
        )
    if has_test:
        inputs = [collected, f"{name}.operating_points", f"{name}.final.results", "params:evaluation"]
        nodes.append(Node(add_test_results, inputs, f"{name}.results", name="add_test_results", namespace=name))
    return Pipeline(nodes)


def _resolution(name: str, parameters: Parameters) -> Node:
    entry = parameters.experiments[name]
    shared = ["data", "split", "evaluation", "similarity", "geometry", "loader", "compute", "study", "seed"]
    if entry.is_combination:
        blocks, members = [f"experiments.{name}", *shared], [f"{member}.resolved_config" for member in entry.combine]
        resolve: Callable[..., Any] = resolve_combination
    else:
        blocks, members = [f"backbones.{entry.backbone}", f"experiments.{name}", "training", "losses", *shared], []
        resolve = resolve_config
    inputs = [*(f"params:{block}" for block in blocks), *members]
    return Node(resolve, inputs, f"{name}.resolved_config", name=resolve.__name__, namespace=name)


def _judge_among_distractors(name: str, parameters: Parameters) -> Node:
    similarity = parameters.similarity_of(name)
    kinds = ["embeddings", "distractor_embeddings", *(["distractor_shortlist"] if similarity.verification else [])]
    by_fold = [f"{name}.fold_{fold}.{kind}" for kind in kinds for fold in parameters.study.folds]
    joined = [f"{name}.{kind}" for kind in ("fold_judgement", "fold_pools")]
    settings = [f"params:{block}" for block in ("evaluation", f"experiments.{name}", "similarity", "memory", "seed")]
    calibration = [f"{name}.calibration"] if similarity.is_calibrated else []
    return Node(
        update_wrapper(partial(judge_among_distractors, name=name), judge_among_distractors),
        [
            "params:study",
            f"{name}.operating_points",
            "split",
            "distractors",
            *joined,
            *settings,
            *by_fold,
            *calibration,
        ],
        [f"{name}.judgement", f"{name}.pools"],
        name="judge_among_distractors",
        namespace=name,
    )
