"""What is tracked: from parameters and outputs of nodes to the parameters, tags, figures and files of runs.

Plain functions; nothing here knows where runs are written down.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from skinbit.config import ArtifactKind, Parameters, settings_of, setup_of
from skinbit.matching.scoring.score import GROUP_FIGURES
from skinbit.runtime.tracking.messages import STUDY, Artifact, Content, Metric, PlannedRun

HASHED = {"image_index": "data_hash", "split": "split_hash"}
"""Tables whose hash is a tag of every run, by name: photographs and lesions by content, and how they are dealt."""

_FILES: dict[str, ArtifactKind] = {
    "leaderboard": "results",
    "report": "pages",
    "audit_summary": "results",
    "audit_page": "pages",
    "results": "results",
    "strata": "results",
    "resolved_config": "config",
    "f1_curves": "figures",
    "training_curves": "figures",
    "final.checkpoint": "checkpoint",
    "misclassifications_cosine": "pages",
    "misclassifications_dbscan": "pages",
    "test_misclassifications_cosine": "pages",
    "test_misclassifications_dbscan": "pages",
}
"""Datasets that are copied as they are, by their kind."""

_FOLD = re.compile(r"fold_\d+")


def locate(dataset: str) -> tuple[str, str]:
    """Tell which run a dataset belongs to.

    Args:
        dataset: Name in the catalog, e.g. ``vit_triplet.fold_0.history``.

    Returns:
        Address of the run, and the dataset's kind: ``("vit_triplet.fold_0", "fold.history")``.
    """
    experiment, *rest = dataset.split(".")
    if not rest:
        return STUDY, dataset
    if _FOLD.fullmatch(rest[0]):
        return f"{experiment}.{rest[0]}", ".".join(["fold", *rest[1:]])
    return experiment, ".".join(rest)


def has_figures(dataset: str) -> bool:
    """Tell whether figures are read from a dataset."""
    return locate(dataset)[1] in _READERS


def is_copied(dataset: str, kinds: Collection[ArtifactKind]) -> bool:
    """Tell whether a dataset's file is copied, where files of these kinds are."""
    return _FILES.get(locate(dataset)[1]) in kinds


def plan_runs(
    outputs: Collection[str], kept: Collection[str], parameters: Parameters, study: str, kinds: Collection[ArtifactKind]
) -> dict[str, PlannedRun]:
    """Plan the runs of a study: its own, one per experiment, one per fold.

    Args:
        outputs: Datasets that the pipeline makes.
        kept: Those that hold from an earlier run.
        parameters: Of the study.
        study: Title of the study's run.
        kinds: Files that are copied.

    Returns:
        Runs by address; experiments and folds without an output of their own have none.
    """
    runs = {STUDY: PlannedRun(title=study, parameters=study_parameters(parameters), tags={"level": "study"})}
    for run, expected in sorted(_expected(outputs, parameters, kinds).items()):
        experiment, _, fold = run.partition(".")
        tags = _tags(experiment, fold, parameters) | ({"kept": "true"} if expected <= set(kept) else {})
        settings = {} if fold else experiment_parameters(experiment, parameters)
        title = f"{fold} of {experiment}" if fold else experiment  # MLflow's table cuts the end off
        runs[run] = PlannedRun(title=title, parameters=settings, tags=tags, expected=frozenset(expected))
    return runs


def _expected(outputs: Collection[str], parameters: Parameters, kinds: Collection[ArtifactKind]) -> dict[str, set[str]]:
    """Give the datasets that complete each experiment and fold, by address."""
    expected: dict[str, set[str]] = {}
    for dataset in outputs:
        run, _ = locate(dataset)
        if run.partition(".")[0] in parameters.experiments and (has_figures(dataset) or is_copied(dataset, kinds)):
            expected.setdefault(run, set()).add(dataset)
    for fold in [run for run in expected if "." in run]:
        experiment = fold.partition(".")[0]
        expected.setdefault(experiment, set()).update(expected[fold])
        expected[fold] |= {f"{experiment}.results"} & set(outputs)  # tells the fold's F1 at the other folds' cuts
    return expected


def _tags(experiment: str, fold: str, parameters: Parameters) -> dict[str, str]:
    backbone, loss = setup_of(experiment, parameters.experiments)
    place = {"level": "fold", "fold": fold.removeprefix("fold_")} if fold else {"level": "experiment"}
    return place | {
        "experiment": experiment,
        "backbone": backbone,
        "loss": loss,
        "frozen": str(_is_frozen(experiment, parameters)).lower(),
    }


def _is_frozen(experiment: str, parameters: Parameters) -> bool:
    entry = parameters.experiments[experiment]
    if entry.is_combination:
        return all(_is_frozen(member, parameters) for member in entry.combine)
    return parameters.recipes[experiment].is_frozen


def study_parameters(parameters: Parameters) -> dict[str, str]:
    """Give the parameters that all experiments share, flattened."""
    blocks: dict[str, Any] = {
        name: getattr(parameters, name).model_dump(mode="json") for name in ("study", "data", "split", "evaluation")
    }
    return flatten(blocks | {"seed": parameters.seed})


def experiment_parameters(experiment: str, parameters: Parameters) -> dict[str, str]:
    """Give the parameters of an experiment, flattened: its resolved configuration without what a machine decides.

    Args:
        experiment: Its name.
        parameters: Of the study.

    Returns:
        The entries of ``resolved_config.yaml`` but those of ``compute``, which the file itself adds.
    """
    settings = settings_of(experiment, parameters)
    return flatten({block: values for block, values in settings.items() if block != "compute"})


def flatten(tree: Mapping[str, Any]) -> dict[str, str]:
    """Write nested settings as text by dotted name.

    Args:
        tree: Plain values; mappings are nested, lists and empty mappings become JSON.

    Returns:
        ``{"training.head.dim": "128", …}``; of an absolute path only the last part, as folders are a machine's affair.
    """
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{key}": text for key, text in flatten(value).items()}
        else:
            flat[name] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, str):
        return PurePath(value).name if PurePath(value).is_absolute() else value
    return json.dumps(value, sort_keys=True)


def hash_table(table: pd.DataFrame) -> str:
    """Hash a table: the SHA-256 of its CSV file."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def contents_of(dataset: str, data: Any, path: str | None) -> dict[str, Content]:
    """Give what a dataset adds to runs.

    Args:
        dataset: Its name.
        data: Its content; read only where it has figures.
        path: Of its file, where that is copied; a final model's lands in a folder ``final``.

    Returns:
        Figures, parameters and files, by address of the run; undefined figures are left out.
    """
    run, kind = locate(dataset)
    contents = _READERS[kind](run, data) if kind in _READERS else {}
    if path is not None:
        file = Content(artifacts=(Artifact(path, kind.rpartition(".")[0]),))
        contents[run] = contents.get(run, Content()).joined(file)
    return contents


def _read_fold(run: str, results: pd.DataFrame) -> dict[str, Content]:
    return {run: _figures(zip(results["metric"], results["value"], strict=True))}


def _read_curves(run: str, history: pd.DataFrame) -> dict[str, Content]:
    columns = [name for name in history.columns if name != "epoch"]
    points = [
        Metric(f"training/{name}", float(value), int(epoch))
        for name in columns
        for epoch, value in zip(history["epoch"], history[name], strict=True)
    ]
    return {run: Content(metrics=tuple(point for point in points if math.isfinite(point.value)))}


def _read_experiment(run: str, results: pd.DataFrame) -> dict[str, Content]:
    """Read mean and spread; the folds gain what only their comparison tells, pairs and groups at others' cuts."""
    table = results.set_index("metric")
    carried = [name for name in table.index if name.endswith(("_transfer", *GROUP_FIGURES))]
    contents = {
        f"{run}.{fold}": _figures((name, table.loc[name, fold]) for name in carried)
        for fold in table.columns
        if _FOLD.fullmatch(fold)
    }
    overall = ((f"{name}_{column}", table.loc[name, column]) for name in table.index for column in ("mean", "std"))
    return contents | {run: _figures(overall)}


def _read_test(run: str, results: pd.DataFrame) -> dict[str, Content]:
    return {
        run: _figures((f"{name}_test", value) for name, value in zip(results["metric"], results["value"], strict=True))
    }


def _read_compute(run: str, resolved_config: Mapping[str, Any]) -> dict[str, Content]:
    return {run: Content(parameters=flatten({"compute": resolved_config["compute"]}))}


def _figures(named: Any) -> Content:
    metrics = (Metric(str(name), float(value)) for name, value in named)
    return Content(metrics=tuple(metric for metric in metrics if math.isfinite(metric.value)))


_READERS: dict[str, Callable[[str, Any], dict[str, Content]]] = {
    "fold.results": _read_fold,
    "fold.history": _read_curves,
    "results": _read_experiment,
    "final.results": _read_test,
    "resolved_config": _read_compute,
}
"""How figures are read, by a dataset's kind."""
