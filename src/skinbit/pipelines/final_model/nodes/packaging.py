"""Nodes: the final model."""

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
        weights: Weights of the final training.
        averages: Averages of the folds' cuts.
        matching: How images are matched, with the folds' cuts for pools of any size.
        backbone: Settings of the backbone.
        seed: Seed of the backbone's weights if they are not pretrained.

    Returns:
        All weights; the header suffices to rebuild the model.
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
        averages: Averages of the folds' cuts.
        matching: How images are matched, with the folds' cuts for pools of any size.
        shares: Weight of each member in the mean of the cosines, by name.
        checkpoints: Checkpoints of the members as ``checkpoint_<name>``, so that names cannot clash with other
            arguments.

    Returns:
        All weights; the header suffices to rebuild every model.
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
        averages: Averages of the folds' cuts.
        matching: How images are matched, with the folds' cuts for pools of any size.
        backbone: Settings of the backbone.
        seed: Seed of the weights if they are not pretrained.
        features: Features of all images used, if embeddings are whitened.
        split: Training lesions, if embeddings are whitened.

    Returns:
        All weights; the header suffices to rebuild the model.
    """
    from skinbit.embedding.packaging import package_backbone

    packed = package_backbone(backbone, seed)
    params = matching.similarity.whitening
    if params is not None and features is not None and split is not None:
        fitted = fit_to_training_lesions(features, split, TEST_FOLD, params, matching.similarity.zoom_pairs)
        whitening = whitening_tensors(fitted)
        packed = Checkpoint({**packed.tensors, **whitening}, packed.header)
    return with_cuts(packed, _average_cuts(averages), matching)
