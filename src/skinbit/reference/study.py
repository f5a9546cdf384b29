"""Recomputation of a finished study from its stored embeddings, split, odds and coefficients.

Every figure comes as it is stored and as it is recomputed. No stored figure is used to recompute another one, except
for the operating points of folds, which are compared themselves: cuts are carried from fold to fold by them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from skinbit.reference import intervals, splits
from skinbit.reference.experiment import Experiment
from skinbit.reference.figures import Figure, Table, compare_table
from skinbit.reference.files import UnreadableError, number, read_table, read_yaml
from skinbit.reference.metrics import UNDEFINED, Array
from skinbit.reference.new_photographs import TABLE, model_of_groups, verify_groups
from skinbit.reference.pool import METHODS

SPLIT = "02_intermediate/split.csv"
LEADERBOARD = "08_reporting/leaderboard.csv"


def experiments_of(root: Path) -> list[Experiment]:
    """Return the finished experiments of a study.

    Raises:
        UnreadableError: If there is none.
    """
    names = sorted(path.parent.name for path in (root / "08_reporting").glob("*/results.csv"))
    if not names:
        raise UnreadableError(f"{root / '08_reporting'} has no finished experiment")
    return [Experiment(root, name) for name in names]


def left_out(root: Path) -> list[str]:
    """Return what the reference does not recompute of a study, with the reason.

    Raises:
        UnreadableError: If a file is missing or damaged.
    """
    why = "it uses re-ranking or columns of the metadata"
    found = [f"{each.name}, as {why}" for each in experiments_of(root) if not each.is_covered]
    if (root / TABLE).exists() and model_of_groups(root) is None:
        found.append(f"{TABLE}, as its model is not of this study, or {why}")
    return found


def verify_study(root: Path) -> Iterator[Figure]:
    """Yield every figure of the study in a folder of outputs.

    Raises:
        UnreadableError: If a file is missing or damaged.
    """
    experiments = experiments_of(root)
    yield from _verify_split(root, experiments[0].name)
    results: dict[str, Table] = {}
    resampled: dict[str, Array] = {}
    for experiment in experiments:
        name = experiment.name
        if experiment.is_covered:
            yield from experiment.figures()
            results[name], resampled[name] = experiment.results(), experiment.resampled["cosine"]
        else:
            results[name], resampled[name] = _stored_results(root, name), _stored_resamples(root, name)
    if (root / LEADERBOARD).exists():
        yield from _verify_leaderboard(root, results, resampled)
    matching = model_of_groups(root)
    if matching is not None:
        yield from verify_groups(root, matching)


def _verify_split(root: Path, experiment: str) -> Iterator[Figure]:
    settings = read_yaml(root / "08_reporting" / experiment / "resolved_config.yaml")
    params, seed = settings["split"], settings["seed"]
    fraction = params["test_fraction"] if params["use_train_test_split"] else 0.0
    rows = read_table(root / SPLIT, "image_id", "lesion_id", "subset", "fold")
    broken = splits.broken_rules(rows, params["n_folds"], fraction)
    yield Figure(SPLIT, "all", "broken rules", broken[0] if broken else "none", "none")
    is_plain = params["stratify_by"] is None and params["keep_together"] is None
    if is_plain and settings["data"]["max_lesions"] is None:
        fold_of = splits.deal([row["lesion_id"] for row in rows], params["n_folds"], fraction, seed)
        for row in rows:
            yield Figure(SPLIT, row["image_id"], "fold", row["fold"], str(fold_of[row["lesion_id"]]))


def _stored_results(root: Path, name: str) -> Table:
    path = root / "08_reporting" / name / "results.csv"
    rows = read_table(path, "metric", "mean", "std")
    return {row.pop("metric"): {column: number(path, cell) for column, cell in row.items()} for row in rows}


def _stored_resamples(root: Path, name: str) -> Array:
    path = root / "08_reporting" / name / "resampled_f1.csv"
    return np.array([number(path, row["cosine"]) for row in read_table(path, "cosine")])


def _verify_leaderboard(root: Path, results: Mapping[str, Table], resampled: Mapping[str, Array]) -> Iterator[Figure]:
    """Yield the figures of the leaderboard: F1 of every method, ranks, and gaps to the first with their intervals."""
    listed = [row["experiment"] for row in read_table(root / LEADERBOARD, "rank", "experiment")]
    missing = [name for name in listed if name not in results]
    if missing:
        raise UnreadableError(f"{root / '08_reporting' / missing[0] / 'results.csv'} is missing")
    transferred = {name: results[name]["cosine_f1_transfer"]["mean"] for name in listed}
    has_transfer = any(not np.isnan(f1) for f1 in transferred.values())
    keys = transferred if has_transfer else {name: results[name]["cosine_f1"]["mean"] for name in listed}
    order = sorted(sorted(listed), key=lambda name: np.inf if np.isnan(keys[name]) else -keys[name])
    first = order[0]
    table: Table = {}
    for rank, name in enumerate(order, start=1):
        found = results[name]
        row = {"rank": float(rank)}
        for method in METHODS:
            for metric in (f"{method}_f1", f"{method}_f1_transfer"):
                row |= {f"{metric}_{column}": found[metric][column] for column in ("mean", "std")}
            row[f"{method}_f1_test"] = found[f"{method}_f1"].get("test", UNDEFINED)
            row |= {
                f"{method}_f1_transfer_{end}": found[f"{method}_f1_transfer_{end}"]["mean"] for end in ("low", "high")
            }
        low, high = intervals.interval((resampled[first] - resampled[name]).tolist())
        gap = keys[first] - keys[name]
        table[name] = row | {"behind_first": gap, "behind_first_low": low, "behind_first_high": high}
    yield from compare_table(root, LEADERBOARD, table, "experiment", given=("backbone", "loss"))
