"""The content of runs: tags, parameters, metrics and files, taken from parameters and outputs of nodes.

Plain functions that do not depend on the tracker.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, NamedTuple

import fsspec
import pandas as pd
import yaml
from pydantic import BaseModel

from skinbit.config import LICENCES, ArtifactKind, Parameters, settings_of, setup_of
from skinbit.matching.scoring.score import GROUP_METRICS

STUDY = ""
"""Address of the study's run; an experiment's is its name, a fold's is ``{experiment}.fold_{k}``."""

HASHED = {"image_index": "data_hash", "split": "split_hash"}
"""Tables whose hash is a tag of every run, by name: photographs and lesions by content, and the split."""

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
"""Datasets that are uploaded unchanged, by kind."""

_SHARED = ("study", "data", "split", "evaluation")
"""Blocks of parameters that all experiments share."""

_OVERALL = ("mean", "std")
"""Columns of an experiment's results that are metrics of its run."""

_FOLD = re.compile(r"fold_\d+")


class Metric(NamedTuple):
    """A metric; the values of a curve share its name and differ by step."""

    name: str
    value: float
    step: int = 0


class Artifact(NamedTuple):
    """A file to upload, and its folder in the run."""

    path: str
    folder: str = ""


@dataclass(frozen=True)
class Content:
    """What a dataset adds to a run."""

    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    artifacts: Sequence[Artifact] = ()


class PlannedRun(BaseModel, frozen=True):
    """A run that a study may have.

    Attributes:
        title: Name shown to users.
        parameters: Parameters that are known from the start.
        tags: Tags that are known from the start.
        expected: Datasets that complete the run, including those of nested runs.
    """

    title: str
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    expected: frozenset[str] = frozenset()


def parent_of(run: str) -> str | None:
    """Return the address of a run's parent; None for the study's run."""
    return None if run == STUDY else run.rpartition(".")[0]


def locate(dataset: str) -> tuple[str, str]:
    """Return the address of the run that a dataset belongs to, and the kind of the dataset.

    Args:
        dataset: Name in the catalog: ``vit_triplet.fold_0.history`` belongs to ``("vit_triplet.fold_0",
            "fold.history")``.
    """
    experiment, *rest = dataset.split(".")
    if not rest:
        return STUDY, dataset
    if _FOLD.fullmatch(rest[0]):
        return f"{experiment}.{rest[0]}", ".".join(["fold", *rest[1:]])
    return experiment, ".".join(rest)


def is_tracked(dataset: str, kinds: Collection[ArtifactKind]) -> bool:
    """Whether a dataset adds something to runs if files of these kinds are uploaded."""
    kind = locate(dataset)[1]
    return dataset in HASHED or kind in _READERS or _FILES.get(kind) in kinds


def plan_runs(
    tracked: Collection[str], kept: Collection[str], parameters: Parameters, title: str
) -> dict[str, PlannedRun]:
    """Return the runs that a study may have, by address: one for the study, one per experiment, one per fold.

    Args:
        tracked: Outputs of the pipeline that add something to runs.
        kept: Outputs that are up to date from an earlier run.
        parameters: All parameters.
        title: Name of the study's run.
    """
    shared = {name: getattr(parameters, name).model_dump(mode="json") for name in _SHARED}
    settings = flatten({**shared, "seed": parameters.seed})
    runs = {STUDY: PlannedRun(title=title, parameters=settings, tags={"level": "study"})}
    for run, expected in sorted(_expected(tracked, parameters).items()):
        experiment, _, fold = run.partition(".")
        tags = _tags(experiment, fold, parameters) | ({"kept": "true"} if expected <= set(kept) else {})
        name = f"{fold} of {experiment}" if fold else experiment  # MLflow's table truncates the end
        settings = {} if fold else flatten(_without_compute(settings_of(experiment, parameters)))
        runs[run] = PlannedRun(title=name, parameters=settings, tags=tags, expected=frozenset(expected))
    return runs


def _without_compute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's settings without those of the machine, which are in its file."""
    return {block: values for block, values in settings.items() if block != "compute"}


def _expected(tracked: Collection[str], parameters: Parameters) -> dict[str, set[str]]:
    """Return the datasets that complete each experiment and fold, by address."""
    expected: dict[str, set[str]] = {}
    for dataset in tracked:
        run, _ = locate(dataset)
        if run.partition(".")[0] in parameters.experiments:
            expected.setdefault(run, set()).add(dataset)
    for fold in [run for run in expected if "." in run]:
        experiment = fold.partition(".")[0]
        expected.setdefault(experiment, set()).update(expected[fold])
        expected[fold] |= {f"{experiment}.results"} & set(tracked)  # has the fold's F1 at the other folds' cuts
    return expected


def _tags(experiment: str, fold: str, parameters: Parameters) -> dict[str, str]:
    backbone, loss = setup_of(experiment, parameters.experiments)
    place = {"level": "fold", "fold": fold.removeprefix("fold_")} if fold else {"level": "experiment"}
    frozen = str(_is_frozen(experiment, parameters)).lower()
    return place | {"experiment": experiment, "backbone": backbone, "loss": loss, "frozen": frozen}


def _is_frozen(experiment: str, parameters: Parameters) -> bool:
    entry = parameters.experiments[experiment]
    if entry.is_combination:
        return all(_is_frozen(member, parameters) for member in entry.combine)
    return parameters.recipes[experiment].is_frozen


def flatten(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as text by dotted name: ``{"training.head.dim": "128", …}``.

    Args:
        tree: Plain values; mappings are nested, lists and empty mappings become JSON. Of absolute paths, only the last
            part is kept, as folders differ between machines.
    """
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{key}": text for key, text in flatten(value).items()}
        elif isinstance(value, str):
            flat[name] = PurePath(value).name if PurePath(value).is_absolute() else value
        else:
            flat[name] = json.dumps(value, sort_keys=True)
    return flat


def hash_of(dataset: str, path: str) -> dict[str, str]:
    """Return the tag that a dataset adds to every run, the SHA-256 of its file; most datasets add none."""
    if dataset not in HASHED:
        return {}
    with fsspec.open(path, "rb") as file:
        return {HASHED[dataset]: hashlib.sha256(file.read()).hexdigest()}


def contents_of(dataset: str, path: str, kinds: Collection[ArtifactKind]) -> dict[str, Content]:
    """Return what a dataset adds to runs, by address of the run; undefined metrics are left out.

    Args:
        dataset: Name of the dataset.
        path: Path of its file, or its address on another machine; read if it has metrics or parameters.
        kinds: Kinds of files that are uploaded from this machine; a final model goes into a folder ``final``.
    """
    run, kind = locate(dataset)
    contents = _READERS[kind](run, _load(path)) if kind in _READERS else {run: Content()}
    if _FILES.get(kind) in kinds and "://" not in path:
        contents[run] = replace(contents[run], artifacts=[Artifact(path, kind.rpartition(".")[0])])
    return contents


def _load(path: str) -> Any:
    with fsspec.open(path, "rb") as file:
        return yaml.safe_load(file) if path.endswith(".yaml") else pd.read_csv(file)


def _read_fold(run: str, results: pd.DataFrame) -> dict[str, Content]:
    return {run: _metrics(zip(results["metric"], results["value"], strict=True))}


def _read_curves(run: str, history: pd.DataFrame) -> dict[str, Content]:
    points = history.melt("epoch").itertuples(index=False)
    return {run: _metrics((f"training/{name}", value, epoch) for epoch, name, value in points)}


def _read_experiment(run: str, results: pd.DataFrame) -> dict[str, Content]:
    """Return an experiment's means and spreads, and for its folds the metrics at the other folds' cuts."""
    table = results.set_index("metric")
    carried = [name for name in table.index if name.endswith(("_transfer", "_self", "_expected", *GROUP_METRICS))]
    folds = [name for name in table.columns if _FOLD.fullmatch(name)]
    overall = _metrics((f"{name}_{column}", table.loc[name, column]) for name in table.index for column in _OVERALL)
    return {f"{run}.{fold}": _metrics(table.loc[carried, fold].items()) for fold in folds} | {run: overall}


def _read_test(run: str, results: pd.DataFrame) -> dict[str, Content]:
    return {
        run: _metrics((f"{name}_test", value) for name, value in zip(results["metric"], results["value"], strict=True))
    }


def _read_machine(run: str, resolved_config: Mapping[str, Any]) -> dict[str, Content]:
    added = {name: resolved_config[name] for name in ("compute", LICENCES) if name in resolved_config}
    return {run: Content(parameters=flatten(added))}


def _metrics(rows: Iterable[tuple[Any, ...]]) -> Content:
    """Return metrics from rows of name, value and possibly step, without undefined ones."""
    metrics = (Metric(str(name), float(value), *map(int, step)) for name, value, *step in rows)
    return Content(metrics=[metric for metric in metrics if math.isfinite(metric.value)])


_READERS: dict[str, Callable[[str, Any], dict[str, Content]]] = {
    "fold.results": _read_fold,
    "fold.history": _read_curves,
    "results": _read_experiment,
    "final.results": _read_test,
    "resolved_config": _read_machine,
}
"""Functions that read metrics, by kind of dataset."""
