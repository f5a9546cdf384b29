"""How well does a model that saw none of these lesions group them? On the stored features of a finished study.

uv run python -m benchmarks.starter --root data/ham10000 --features zooms \
    --checkpoint data/starter/06_models/starter/final/best.safetensors

The photographs of every fold are grouped as cluster_images groups a folder: by average linkage, at the cut that they
choose for themselves. Labels only judge. With --archive all folds and the lesions of one photograph are one folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.stored import compare_anew, read_keypoints, read_table, required
from benchmarks.timing import describe_machine, markdown_table
from skinbit.embedding.checkpoints import Checkpoint, whitening_of
from skinbit.embedding.embeddings import baseline_embeddings
from skinbit.embedding.tables import Features
from skinbit.matching.clustering.constraints import unconstrained
from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.expected.own_cut import expect_of_pool
from skinbit.matching.grouping import group_images
from skinbit.matching.keypoints.compared import shortlist_by_keypoints
from skinbit.matching.keypoints.sift import KeypointSets, choose_keypoints
from skinbit.matching.labels import FloatArray, lesion_labels
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.uncertainty import predicted_pairs_of_groups
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.datasets.features import FeaturesDataset

METHOD = "average"


def embed(checkpoint: Checkpoint, features: Features, image_ids: list[str]) -> FloatArray:
    """Return the embeddings that a frozen model makes of stored features, ``(n, d)``."""
    embeddings = baseline_embeddings(features, image_ids, checkpoint.compares_zooms)
    whitening = whitening_of(checkpoint)
    return (embeddings if whitening is None else whitening.apply(embeddings)).vectors


def judge(
    checkpoint: Checkpoint, embeddings: FloatArray, keypoints: KeypointSets, lesions: Sequence[str]
) -> list[float]:
    """Group photographs and compare the groups with their lesions.

    Args:
        checkpoint: What makes similarities, and odds.
        embeddings: ``(n, d)``, of the photographs.
        keypoints: Of the same, in the same order.
        lesions: Of the same.

    Returns:
        Precision, recall and F1 over pairs, and the F1 that was expected.
    """
    matching = checkpoint.matching
    shortlist = shortlist_by_keypoints(Pool(embeddings), keypoints, compare_anew(matching.geometry))
    pool = matching.pool(embeddings, shortlist)
    own = expect_of_pool(pool, unconstrained(len(pool)), matching.odds, METHOD, None)
    cut, expected = own.chosen.cut, own.expected.f1
    groups = group_images(pool, (), Cut(METHOD, cut, 1 - cut, 1 - cut), None).cluster_ids
    pairs = predicted_pairs_of_groups(groups, lesion_labels(list(lesions)))
    right, positive, wrong = (
        int(counts.sum()) for counts in (pairs.true_pairs, pairs.positive_pairs, pairs.false_count)
    )
    precision, recall = right / max(right + wrong, 1), right / max(positive, 1)
    return [
        precision,
        recall,
        2 * right / max(right + wrong + positive, 1),
        np.nan if expected is None else expected.value,
    ]


def main() -> None:
    """Print precision, recall and F1 of every fold, or of the whole archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--features", required=True, help="the model's backbone, as that study calls it")
    parser.add_argument("--checkpoint", required=True, type=Path, help="of a baseline with similarity.verification")
    parser.add_argument("--archive", action="store_true", help="all photographs as one folder")
    given = parser.parse_args()
    checkpoint = CheckpointDataset(filepath=str(required(given.checkpoint, "make the model first"))).load()
    names = ("features", "distractor_features") if given.archive else ("features",)
    folder = given.root / "04_feature" / given.features
    stored = [
        FeaturesDataset(filepath=str(required(folder / f"{name}.safetensors", "its study"))).load() for name in names
    ]
    tables = ("keypoints", "distractor_keypoints") if given.archive else ("keypoints",)
    keypoints = [read_keypoints(given.root, name) for name in tables]
    split = read_table(given.root / "02_intermediate/split.csv")
    folders = dict(list(split.groupby("fold")))
    if given.archive:
        folders = {"archive": pd.concat([split, read_table(given.root / "02_intermediate/distractors.csv")])}
    found = []
    for table in folders.values():
        own = [[image_id for image_id in table["image_id"] if image_id in set(one.image_ids)] for one in stored]
        embeddings = np.concatenate([embed(checkpoint, one, ids) for one, ids in zip(stored, own, strict=True)])
        image_ids = [image_id for ids in own for image_id in ids]
        lesions = table.set_index("image_id")["lesion_id"].loc[image_ids]
        found.append(judge(checkpoint, embeddings, choose_keypoints(keypoints, image_ids), lesions.tolist()))
    rows = [[str(name), *(f"{value:.4f}" for value in values)] for name, values in zip(folders, found, strict=True)]
    rows.append(["mean", *(f"{value:.4f}" for value in np.mean(found, axis=0))])
    print(describe_machine("numpy", "scipy", "opencv-python-headless"))
    print(markdown_table(["folder", "precision", "recall", "F1", "expected F1"], rows))


if __name__ == "__main__":
    main()
