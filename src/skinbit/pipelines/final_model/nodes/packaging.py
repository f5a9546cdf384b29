"""Nodes: the model that a user keeps."""

import math
from typing import Any

import pandas as pd

from skinbit.config import BackboneParams
from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint, whitening_tensors, with_backbone, with_cuts
from skinbit.embedding.combination import combine_checkpoints
from skinbit.embedding.embeddings import fit_to_training_lesions
from skinbit.embedding.tables import Features
from skinbit.matching.assembly import Matching
from skinbit.matching.methods import CUTS


def package_trained(
    weights: Checkpoint,
    averages: dict[str, Any],
    matching: Matching,
    backbone: BackboneParams,
    seed: int,
) -> Checkpoint:
    """Return the final checkpoint: the trained weights, those of a frozen backbone, and the averaged cuts.

    Args:
        weights: Of the final training.
        averages: Of the folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        backbone: Its settings.
        seed: Draws the backbone's weights where they are not pretrained.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    whole = weights if weights.model.holds_backbone else with_backbone(weights, backbone, seed)
    return with_cuts(whole, _average_cuts(averages), matching)


def _average_cuts(averages: dict[str, Any]) -> dict[str, float]:
    return {cut: math.nan if averages[cut] is None else averages[cut] for cut in CUTS.values()}


def package_combination(
    averages: dict[str, Any], matching: Matching, *, shares: dict[str, float], **checkpoints: Checkpoint
) -> Checkpoint:
    """Return the final checkpoint of a combination: the final models of its members, and the averaged cuts.

    Args:
        averages: Of its folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        shares: Of each member in the mean of the cosines, by name.
        checkpoints: Of the members, under ``checkpoint_<name>``: no member's name is then that of another argument.

    Returns:
        All weights; the header rebuilds every model without any other file.
    """
    members = {member: checkpoints[f"checkpoint_{member}"] for member in shares}
    return combine_checkpoints(members, tuple(shares.values()), _average_cuts(averages), matching)


def package_model(
    averages: dict[str, Any],
    matching: Matching,
    backbone: BackboneParams,
    seed: int,
    features: Features | None = None,
    split: pd.DataFrame | None = None,
) -> Checkpoint:
    """Return the final checkpoint of a baseline: its backbone and the averaged cuts.

    Args:
        averages: Of its folds' cuts.
        matching: What its folds would choose for a pool of any size, and what makes similarities.
        backbone: Its settings.
        seed: Draws the weights where they are not pretrained.
        features: Of all images used, where embeddings are whitened.
        split: Holds the training lesions, where embeddings are whitened.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    from skinbit.embedding.packaging import package_backbone

    packed = package_backbone(backbone, seed)
    params = matching.similarity.whitening
    if params is not None and features is not None and split is not None:
        fitted = fit_to_training_lesions(features, split, TEST_FOLD, params, matching.similarity.zoom_pairs)
        whitening = whitening_tensors(fitted)
        packed = Checkpoint({**packed.tensors, **whitening}, packed.header)
    return with_cuts(packed, _average_cuts(averages), matching)
