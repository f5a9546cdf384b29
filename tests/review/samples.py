"""A small folder of photographs, and the groups that a run might have made of it."""

import hashlib
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from PIL import Image

from skinbit.config import DataParams, GeometryParams
from skinbit.data.images import find_images
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.matching.expected.candidates import read_candidates
from skinbit.matching.expected.odds import PairOdds
from skinbit.matching.keypoints.shortlist import Shortlist
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.report.thumbnails import shrink
from skinbit.review.grouped import Grouped, assemble
from skinbit.review.pictures import Pictures

DATA = DataParams(min_side=8)

NOTED = {
    "images": "",
    "known_images": None,
    "model": "resnet18, triplet",
    "geometry": GeometryParams().model_dump(mode="json"),
    "evidence": ["site"],
    "odds": [{"intercept": 0.0, "slope": 1.0, "prior": 0.1, "positives": [float(level) for level in range(-13, 14)]}],
}


def write_photographs(folder: Path, n_photographs: int, n_different: int = 10**9) -> pd.DataFrame:
    """Write photographs of one colour each, so many different ones; return ``image_id, file, sha256``."""
    folder.mkdir()
    records = []
    for number in range(n_photographs):
        colour = tuple(np.random.default_rng(number % n_different).integers(0, 255, 3).tolist())
        file = folder / f"p{number:03}.png"
        Image.new("RGB", (40, 30), colour).save(file)
        records.append((file.stem, file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
    return pd.DataFrame(records, columns=["image_id", "file", "sha256"], dtype=str)


def outputs(listed: pd.DataFrame, group_size: int = 3, doubts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a run might make of photographs: each group's are in a row, and any two groups might be one."""
    image_ids = listed["image_id"].tolist()
    n = len(image_ids)
    groups = [
        {
            "cluster_id": number,
            "lesion_id": "",
            "image_ids": image_ids[start : start + group_size],
            "known_ids": [],
            "contradictory_ids": [],
            "margin": 0.1,
            "probability_inside": 0.8,
            "probability_outside": 0.3,
            "doubts": list(doubts) if number == 0 else [],
        }
        for number, start in enumerate(range(0, n, group_size))
    ]
    probabilities = [0.3 if row % group_size == group_size - 1 else 0.6 + 0.3 * row / n for row in range(n)]
    estimate = {"value": 0.9, "low": 0.8, "high": 1.0}
    pairs = [(row, row + 1) for row in range(n - 1)]
    return {
        "clustered_images": pd.DataFrame(
            {
                "image_id": image_ids,
                "cluster_id": np.arange(n) // group_size,
                "similarity_to_nearest": 0.5,
                "probability_of_nearest": probabilities,
            }
        ),
        "cluster_groups": {
            **{"method": "average", "cut": 0.3, "similarity": 0.7, "unsure_from": 0.6, "unsure_to": 0.8},
            "expected": {
                **dict.fromkeys(("precision", "recall", "f1"), estimate),
                **{"n_positive_pairs": 9.0, "single_share": 0.1, "unlike_folds": []},
            },
            "log_odds": {"intercept": 0.0, "slope": 1.0},
            "answers": None,
            "certificate": None,
            "groups": groups,
            "nearest": [image_ids[(row + 1) % n] for row in range(n)],
        },
        "cluster_matches": pd.DataFrame(
            {
                "image_id": image_ids,
                "partner": [image_ids[(row + 1) % n] for row in range(n)],
                "rank": 1,
                "similarity": 0.5,
                "probability": probabilities,
                "inliers": pd.array([5] * n, dtype="Int64"),
                "evidence": "",
                "same_group": ["no" if row % group_size == group_size - 1 else "yes" for row in range(n)],
            }
        ),
        "cluster_columns": pd.DataFrame({"image_id": image_ids, "patient": "secret", "site": "back"}),
        "cluster_candidates": pd.DataFrame(pairs, columns=["row_a", "row_b"]).assign(
            probability=probabilities[:-1], inliers=5
        ),
        "cluster_shortlist": pd.DataFrame(pairs, columns=["row_a", "row_b"]).assign(inliers=5, zoom=1.0),
        "known_photographs": pd.DataFrame(columns=["image_id", "file", "sha256", "lesion_id"], dtype=str),
    }


def make_grouped(
    folder: Path, n_photographs: int = 9, n_different: int = 10**9, n_known: int = 0, **changes: Any
) -> Grouped:
    """Write photographs into a new folder and return them in groups; the last ones are of a known lesion by itself."""
    listed = write_photographs(folder, n_photographs, n_different)
    new, known = listed[: n_photographs - n_known], listed[n_photographs - n_known :]
    made = outputs(new, **changes)
    found = find_images(fsspec.filesystem("file"), str(folder))
    sources = [ListedPhotographs(found, table, DATA, "cluster_images") for table in (new, known) if len(table)]
    columns = made["cluster_columns"].reindex(range(n_photographs)).fillna("")
    pairs = made["cluster_shortlist"][["row_a", "row_b"]].to_numpy()
    return assemble(
        Photographs(tuple(sources)),
        made["cluster_groups"],
        made["cluster_matches"],
        known.assign(lesion_id="mole"),
        (
            Shortlist(pairs, np.full(len(pairs), 5), np.ones(len(pairs))),
            read_candidates(made["cluster_candidates"]),
        ),
        (columns, NOTED["evidence"]),
        (NOTED["model"], [PairOdds(**each) for each in NOTED["odds"]]),
    )


def make_pictures(grouped: Grouped) -> Pictures:
    """Return pictures of photographs without keypoints."""

    def thumbnails() -> dict[int, str]:
        return {row: shrink(grouped.photographs.decode(row), 16) for row in range(len(grouped.lesions))}

    return Pictures(grouped, thumbnails, lambda: NO_TABLE, GeometryParams())
