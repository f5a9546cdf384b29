"""Recomputation of the groups of new photographs, at the cut at which they were made."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skinbit.reference.cuts import expit, spread
from skinbit.reference.figures import Figure, Value, compare_rows
from skinbit.reference.files import number, read_json, read_table, read_tensor, written_by_skinbit
from skinbit.reference.groups import (
    LARGEST,
    Rules,
    groups_at,
    linkage_merges,
    mutual_merges,
    numbered,
    single_merges,
)
from skinbit.reference.metrics import UNDEFINED, Array, Rows
from skinbit.reference.similarity import Compared, similarities

CLUSTERS = "07_model_output/clusters"
TABLE = f"{CLUSTERS}/clustered_images.csv"

DIGITS = 4
"""Decimals of a stored probability."""


def model_of_groups(root: Path) -> Mapping[str, Any] | None:
    """Return how the model of the groups matches images.

    Returns:
        The ``matching.json`` of the experiment with the odds by which they were made; None if there are no groups, or
        those of an earlier version, the model is from elsewhere, or it uses re-ranking or columns of the metadata.
    """
    path = root / CLUSTERS / "work/review.json"
    if not (root / TABLE).exists() or not path.exists():
        return None
    noted = read_json(path)
    for candidate in sorted((root / "08_reporting").glob("*/matching.json")):
        matching = read_json(candidate)
        with written_by_skinbit(candidate):
            is_plain = not matching["similarity"].get("reranking") and not matching["similarity"].get("context")
            with written_by_skinbit(path):
                if noted["odds"] and noted["odds"] == matching["odds"]:
                    return dict(matching) if is_plain and "max_group_size" in noted else None
    return None


def verify_groups(root: Path, matching: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield the group of every new photograph, the similarity to its nearest one and the probability of that pair.

    Args:
        root: Folder of outputs.
        matching: From :func:`model_of_groups`.
    """
    work = root / CLUSTERS / "work"
    vectors, image_ids = read_tensor(root / "04_feature/clusters/features.safetensors", "features")
    known = read_table(work / "known_photographs.csv", "image_id", "lesion_id")
    settled, noted = read_json(work / "cut.json"), read_json(work / "review.json")
    with written_by_skinbit(work / "shortlist.csv"):
        compared = [
            Compared(int(row["row_a"]), int(row["row_b"]), int(row["inliers"]), float(row["zoom"]))
            for row in read_table(work / "shortlist.csv", "row_a", "row_b", "inliers", "zoom")
        ]
    with written_by_skinbit(work / "review.json"):
        cap = noted["max_group_size"]
    matrix = similarities(vectors, matching["similarity"]["scaling"], matching["calibration"], compared)
    lesions = [row["lesion_id"] for row in known]
    n_new = len(image_ids) - len(lesions)
    with written_by_skinbit(work / "cut.json"):
        groups = _groups(matrix, settled["method"], settled["cut"], cap, _rules(work, n_new, lesions))
        line = settled["log_odds"]
    np.fill_diagonal(matrix, -np.inf)
    nearest = matrix[:n_new].max(axis=1, initial=-np.inf)
    lesion_of = dict(zip(groups[n_new:].tolist(), lesions, strict=True))
    wanted: list[Mapping[str, Value]] = []
    for row, group in enumerate(numbered(groups[:n_new]).tolist()):
        similarity = float(nearest[row]) if np.isfinite(nearest[row]) else UNDEFINED
        cells: dict[str, Value] = {"image_id": image_ids[row], "cluster_id": float(group)}
        cells |= {"similarity_to_nearest": similarity, "probability_of_nearest": _probability(similarity, line)}
        wanted.append(cells | ({"lesion_id": lesion_of.get(int(groups[row]), "")} if lesions else {}))
    texts = ("image_id", "lesion_id")
    stored = [
        {column: cell if column in texts else number(root / TABLE, cell) for column, cell in row.items()}
        for row in read_table(root / TABLE, "image_id", "cluster_id")
    ]
    yield from compare_rows(TABLE, stored, wanted)


def _rules(work: Path, n_new: int, lesions: list[str]) -> Rules:
    names = sorted(set(lesions))
    decisions = read_json(work / "decisions.json")
    with written_by_skinbit(work / "decisions.json"):
        must, cannot = ([(int(one), int(other)) for one, other in decisions[kind]] for kind in ("must", "cannot"))
    return Rules([*[-1] * n_new, *(names.index(lesion) for lesion in lesions)], must, cannot)


def _groups(matrix: Array, method: str, cut: float | None, cap: int | None, rules: Rules) -> Rows:
    reached = UNDEFINED if cut is None else float(cut)
    if method == "mutual":
        merges, reached = mutual_merges(matrix, rules), LARGEST
    elif method == "cosine":
        merges, reached = single_merges(matrix, rules, matrix >= reached), LARGEST
    elif method == "dbscan":
        merges = single_merges(matrix, rules)
    else:
        merges = linkage_merges(matrix, method, cap, rules)
    return groups_at(merges, len(matrix), reached, rules)


def _probability(similarity: float, line: Mapping[str, float] | None) -> float:
    if line is None:
        return UNDEFINED
    return round(float(expit(line["intercept"] + line["slope"] * spread(np.array(similarity)))), DIGITS)
