"""The split of lesions into a test subset and folds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def deal(lesion_ids: Sequence[str], n_folds: int, test_fraction: float, seed: int) -> dict[str, int]:
    """Return the fold of each lesion, -1 for the test subset, if neither strata nor bundles are asked for.

    The lesions, by name, are shuffled and the first ``⌈test_fraction · n⌉`` are the test subset; the others, by name,
    are shuffled again and cut into folds that differ by one lesion at most, the larger ones first.
    """
    lesions = sorted(set(lesion_ids))
    n_test = math.ceil(len(lesions) * test_fraction)
    test = {lesions[place] for place in np.random.RandomState(seed).permutation(len(lesions))[:n_test]}
    others = [lesion for lesion in lesions if lesion not in test]
    order = np.arange(len(others))
    np.random.RandomState(seed).shuffle(order)
    fold_of = dict.fromkeys(test, -1)
    start = 0
    for fold in range(n_folds):
        stop = start + len(others) // n_folds + (fold < len(others) % n_folds)
        fold_of |= {others[place]: fold for place in order[start:stop]}
        start = stop
    return fold_of


def broken_rules(split: Sequence[Mapping[str, Any]], n_folds: int, test_fraction: float) -> list[str]:
    """Return the rules that a split breaks: its lesions are disjoint, each image is there once, all parts have lesions.

    Args:
        split: ``image_id, lesion_id, subset, fold`` of each image.
        n_folds: Number of folds.
        test_fraction: Share of lesions in the test subset; 0: there is none.
    """
    folds_of: dict[str, set[int]] = {}
    for row in split:
        folds_of.setdefault(row["lesion_id"], set()).add(int(row["fold"]))
    broken = [f"lesion {lesion} is in folds {sorted(folds)}" for lesion, folds in folds_of.items() if len(folds) > 1]
    images = [row["image_id"] for row in split]
    broken += [f"image {image} is there twice" for image in sorted(set(images)) if images.count(image) > 1]
    wanted = set(range(-1 if test_fraction else 0, n_folds))
    found = {fold for folds in folds_of.values() for fold in folds}
    broken += [f"fold {fold} has no lesion" for fold in sorted(wanted - found)]
    broken += [f"fold {fold} should not be there" for fold in sorted(found - wanted)]
    broken += [
        f"image {row['image_id']} of fold {row['fold']} is in {row['subset']}"
        for row in split
        if (row["subset"] == "test") != (int(row["fold"]) == -1)
    ]
    return broken
