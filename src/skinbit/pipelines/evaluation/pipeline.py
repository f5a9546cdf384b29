"""evaluation: embeddings of every fold -> metrics; results of every experiment; leaderboard of all."""

from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters, settings_of, setup_of, study_settings
from skinbit.pipelines.evaluation.nodes.packaging import gather_cuts, package_fold
from skinbit.pipelines.evaluation.nodes.results import (
    add_test_results,
    collect_results,
    list_software,
    make_leaderboard,
    plot_f1,
    plot_training,
    resolve_machine,
    summarise_experiment,
    write_report,
)
from skinbit.pipelines.evaluation.nodes.scoring import evaluate_embeddings
from skinbit.pipelines.evaluation.nodes.similarity import (
    calibrate_similarities,
    combine_embeddings,
    compare_keypoints,
    compare_keypoints_among,
)
from skinbit.pipelines.evaluation.nodes.transfer import judge_among_distractors, judge_folds

_MAX_GROUP_SIZE = "params:cuts.max_group_size"

_EVALUATION_INPUTS = {"split": "split", **{block: f"params:{block}" for block in ("evaluation", "memory", "seed")}}
"""Inputs of the nodes that evaluate folds, besides those of similarities."""

TILES = "params:memory.tile_megabytes"
"""For nodes that process all pairs without holding them; no result depends on it."""


def create_pipeline(parameters: Parameters, with_leaderboard: bool = True) -> Pipeline:
    """Wire the evaluation of every experiment and fold.

    Args:
        parameters: All parameters; ``study`` determines the graph.
        with_leaderboard: Whether the report of the study is included; False for the pipeline of one experiment.

    """
    experiments = parameters.running
    evaluated = [_experiment(name, parameters) for name in experiments]
    reports = [node for name in experiments for node in _plots(name, parameters)]
    if with_leaderboard:
        results, summaries = (
            {f"{kind}_{name}": f"{name}.{kind}" for name in experiments} for kind in ("results", "summary")
        )
        setups = {name: setup_of(name, parameters.experiments) for name in experiments}
        rank = update_wrapper(partial(make_leaderboard, setups=setups), make_leaderboard)
        reports.append(Node(rank, {**results, **summaries}, "leaderboard", name="make_leaderboard"))
        shown = {"study": "params:study", "audit": "audit_summary", **summaries}
        shown |= {table: table for table in ("leaderboard", "split", "rejected")}
        reports.append(Node(write_report, shown, "report", name="write_report"))
        reports.append(_resolution(study_settings(parameters), "study_parameters", "write_parameters"))
        reports.append(Node(list_software, "lock_file", "study_software", name="list_software"))
    return Pipeline([*evaluated, Pipeline(reports, namespace="report", prefix_datasets_with_namespace=False)])


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
    verified = []
    if parameters.recipes[name].similarity.verification:
        kinds = (False, True) if parameters.has_distractors else (False,)
        verified = [verification(name, f"fold_{fold}", parameters, among) for among in kinds for fold in folds]
    combined = [_combine(name, fold, parameters) for fold in folds if parameters.experiments[name].is_combination]
    evaluated = [_evaluate(name, fold, parameters) for fold in folds]
    return Pipeline([*verified, *combined, *evaluated, _collection(name, parameters)])


def _combine(name: str, fold: int, parameters: Parameters) -> Pipeline:
    kinds = ["embeddings", *(["distractor_embeddings"] if parameters.has_distractors else [])]
    return Pipeline([combination(name, f"fold_{fold}", kind, parameters) for kind in kinds])


def combination(name: str, subset: str, kind: str, parameters: Parameters) -> Pipeline:
    """Wire the combination of an experiment's members.

    Args:
        name: Name of the combination.
        subset: ``fold_<k>`` or ``final``.
        kind: ``embeddings`` or ``distractor_embeddings``.
        parameters: All parameters.

    Returns:
        One node.
    """
    entry = parameters.experiments[name]
    members = {f"member_{member}": f"{member}.{subset}.{kind}" for member in entry.combine}
    shares = dict(zip(entry.combine, entry.member_shares, strict=True))
    combine = update_wrapper(partial(combine_embeddings, shares=shares), combine_embeddings)
    node = Node(combine, members, kind, name=f"combine_{kind}")
    return Pipeline([node], namespace=f"{name}.{subset}", inputs=set(members.values()))


def verification(name: str, subset: str, parameters: Parameters, among: bool = False) -> Node:
    """Wire the comparison of keypoints between a subset's images and their nearest images.

    Args:
        name: Name of an experiment.
        subset: ``fold_<k>`` or ``final``.
        parameters: All parameters.
        among: Whether distractors are included.
    """
    box = f"{name}.{subset}"
    prefix = "distractor_" if among else ""
    inputs = {"embeddings": f"{box}.embeddings", "keypoints": "keypoints", "tile_megabytes": TILES}
    inputs |= {name: name for name in ("pair_cache", "executor")}
    inputs |= {block: f"params:{block}" for block in ("geometry", "compute")}
    if among:
        inputs |= {"distractor_embeddings": f"{box}.distractor_embeddings"}
        inputs |= {"distractor_keypoints": "distractor_keypoints"}
    context = parameters.recipes[name].similarity.context
    if context is not None and context.same:
        inputs |= {"similarity": _similarity(name), "metadata": "metadata"}
        inputs |= {"distractors": "distractors"} if among else {}
    compare = compare_keypoints_among if among else compare_keypoints
    return Node(compare, inputs, f"{box}.{prefix}shortlist", name=compare.__name__, namespace=box)


def _evaluate(name: str, fold: int, parameters: Parameters) -> Pipeline:
    """Wire the evaluation of a fold, in the fold's box unless it needs calibrations, which other folds provide."""
    settings = parameters.recipes[name].similarity
    box = f"{name}.fold_{fold}"
    inputs = {
        **_matched(name, parameters),
        "embeddings": f"{box}.embeddings",
        "split": "split",
        "cuts": "params:cuts",
        "memory": "params:memory",
    }
    is_trained = parameters.experiments[name].is_trained
    if is_trained:
        inputs["weights"] = f"{box}.weights"
    if settings.verification:
        inputs["shortlist"] = f"{box}.shortlist"
    outputs = [f"{box}.{kind}" for kind in ("results", "sweep", "operating_points", "clustered_images", "odds")]
    evaluate = update_wrapper(partial(evaluate_embeddings, name=name, fold=fold), evaluate_embeddings)
    if settings.is_calibrated:
        nodes = [Node(evaluate, inputs, outputs, name=f"evaluate_fold_{fold}", namespace=name)]
    else:
        nodes = [Node(evaluate, inputs, outputs, name="evaluate_embeddings", namespace=box)]
    return Pipeline([*nodes, *([_package(name, fold, settings.is_calibrated)] if is_trained else [])])


def _package(name: str, fold: int, is_calibrated: bool) -> Node:
    box = f"{name}.fold_{fold}"
    inputs = {kind: f"{box}.{kind}" for kind in ("weights", "results", "operating_points", "odds")}
    inputs |= {
        "max_group_size": _MAX_GROUP_SIZE,
        "similarity": _similarity(name),
        "geometry": "params:geometry",
    }
    package, output = update_wrapper(partial(package_fold, fold=fold), package_fold), f"{box}.checkpoint"
    if is_calibrated:
        inputs["calibration"] = f"{name}.calibration"
        return Node(package, inputs, output, name=f"package_fold_{fold}", namespace=name)
    return Node(package, inputs, output, name="package_fold", namespace=box)


def _collection(name: str, parameters: Parameters) -> Pipeline:
    """Wire the nodes that combine an experiment's folds, in the experiment's namespace."""
    nodes = [
        _gathering(name, parameters),
        _fold_evaluation(name, parameters),
        _collecting(name, parameters),
        _summary(name, parameters),
        _resolution(settings_of(name, parameters), f"{name}.resolved_config", "resolve_config", name),
    ]
    if parameters.has_distractors:
        nodes.append(_evaluation_among_distractors(name, parameters))
    if parameters.recipes[name].similarity.is_calibrated:
        nodes.append(_calibrating(name, parameters))
    if parameters.split.use_train_test_split:
        tables = [f"{name}.{kind}" for kind in ("cross_validation", "operating_points", "final.results")]
        inputs, output = [*tables, "params:evaluation"], f"{name}.results"
        nodes.append(Node(add_test_results, inputs, output, name="add_test_results", namespace=name))
    return Pipeline(nodes)


def _gathering(name: str, parameters: Parameters) -> Node:
    inputs = {
        **_calibrated(name, parameters),
        "max_group_size": _MAX_GROUP_SIZE,
        "geometry": "params:geometry",
        "is_synthetic": "params:study.sample_data",
        **_of_folds(name, parameters, "results", "operating_points", "odds"),
    }
    outputs = [f"{name}.{kind}" for kind in ("operating_points", "matching", "averages")]
    return Node(gather_cuts, inputs, outputs, name="gather_cuts", namespace=name)


def _fold_evaluation(name: str, parameters: Parameters) -> Node:
    inputs = {
        **_matched(name, parameters),
        **_EVALUATION_INPUTS,
        "operating_points": f"{name}.operating_points",
        "metadata": "metadata",
        **_of_folds(name, parameters, "embeddings", "odds", *_shortlist(name, parameters)),
    }
    table, pools = ("fold_judgement", "fold_pools") if parameters.has_distractors else ("judgement", "pools")
    outputs = [f"{name}.{kind}" for kind in (table, "resampled_f1", "strata", pools)]
    return Node(judge_folds, inputs, outputs, name="judge_folds", namespace=name)


def _evaluation_among_distractors(name: str, parameters: Parameters) -> Node:
    shortlists = [f"distractor_{kind}" for kind in _shortlist(name, parameters)]
    inputs = {
        **_matched(name, parameters),
        **_EVALUATION_INPUTS,
        "operating_points": f"{name}.operating_points",
        "distractors": "distractors",
        "judgement": f"{name}.fold_judgement",
        "pools": f"{name}.fold_pools",
        **_of_folds(name, parameters, "embeddings", "distractor_embeddings", "odds", *shortlists),
    }
    evaluate = update_wrapper(partial(judge_among_distractors, name=name), judge_among_distractors)
    outputs = [f"{name}.judgement", f"{name}.pools"]
    return Node(evaluate, inputs, outputs, name="judge_among_distractors", namespace=name)


def _collecting(name: str, parameters: Parameters) -> Node:
    collect = update_wrapper(partial(collect_results, name=name), collect_results)
    inputs = {"judgement": f"{name}.judgement", **_of_folds(name, parameters, "results")}
    output = f"{name}.{'cross_validation' if parameters.split.use_train_test_split else 'results'}"
    return Node(collect, inputs, output, name="collect_results", namespace=name)


def _summary(name: str, parameters: Parameters) -> Node:
    history = ["history"] if parameters.experiments[name].is_trained else []
    kinds = ("results", "resampled_f1", "strata", "pools", "resolved_config")
    inputs = {kind: f"{name}.{kind}" for kind in kinds}
    if parameters.recipes[name].similarity.is_calibrated:
        inputs |= {kind: f"{name}.{kind}" for kind in ("calibration", "reliability")}
    inputs |= _of_folds(name, parameters, "sweep", "clustered_images", *history)
    return Node(summarise_experiment, inputs, f"{name}.summary", name="summarise_experiment", namespace=name)


def _calibrating(name: str, parameters: Parameters) -> Node:
    inputs = {"similarity": _similarity(name), "split": "split", **_columns(name, parameters)}
    inputs |= _of_folds(name, parameters, "embeddings", *_shortlist(name, parameters))
    outputs = [f"{name}.calibration", f"{name}.reliability"]
    return Node(calibrate_similarities, inputs, outputs, name="calibrate_similarities", namespace=name)


def _matched(name: str, parameters: Parameters) -> dict[str, str]:
    """Return the inputs with which an experiment's embeddings are compared."""
    return _calibrated(name, parameters) | _columns(name, parameters)


def _columns(name: str, parameters: Parameters) -> dict[str, str]:
    return {} if parameters.recipes[name].similarity.context is None else {"metadata": "metadata"}


def _calibrated(name: str, parameters: Parameters) -> dict[str, str]:
    """Return the inputs with the settings of an experiment's similarities."""
    is_calibrated = parameters.recipes[name].similarity.is_calibrated
    return {"similarity": _similarity(name), **({"calibration": f"{name}.calibration"} if is_calibrated else {})}


def _shortlist(name: str, parameters: Parameters) -> list[str]:
    return ["shortlist"] if parameters.recipes[name].similarity.verification else []


def _of_folds(name: str, parameters: Parameters, *kinds: str) -> dict[str, str]:
    """Return the inputs of a node that combines folds: every fold's datasets by argument ``fold_<k>_<kind>``."""
    return {f"fold_{fold}_{kind}": f"{name}.fold_{fold}.{kind}" for fold in parameters.study.folds for kind in kinds}


def _resolution(settings: dict[str, Any], output: str, node: str, namespace: str | None = None) -> Node:
    resolve = update_wrapper(partial(resolve_machine, settings=settings), resolve_machine)
    return Node(resolve, None, output, name=node, namespace=namespace)


def _similarity(name: str) -> str:
    return f"params:recipes.{name}.similarity"
