"""Nodes: the model that a user keeps, and what it is worth on lesions that no choice has seen."""

import pandas as pd

from skinbit.data.splits import TEST_FOLD
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.embeddings import lesions_of
from skinbit.embedding.tables import Embeddings
from skinbit.matching.evaluation import METHODS, evaluate_at, evaluate_subset
from skinbit.matching.results import metric_table
from skinbit.params import BackboneParams, EvaluationParams, ExperimentParams


def evaluate_test(
    embeddings: Embeddings, split: pd.DataFrame, checkpoint: Checkpoint, evaluation: EvaluationParams
) -> pd.DataFrame:
    """Evaluate the test images at the threshold and eps that the final model carries; nothing is tuned here.

    Args:
        embeddings: Of the test images.
        split: Tells the lesion of each image.
        checkpoint: The final model.
        evaluation: Searched ranges, for the oracle that shows what the transfer of the cuts costs.

    Returns:
        ``metric, value`` at these cuts, and ``<method>_f1_oracle`` at the test images' own best cuts.
    """
    cuts = {method: float(checkpoint.header[cut]) for method, cut in METHODS.items()}
    found = evaluate_subset(embeddings.values, lesions_of(embeddings, split, TEST_FOLD), evaluation)
    return metric_table(evaluate_at(found, cuts))


def package_model(
    backbone: BackboneParams, experiment: ExperimentParams, cross_validation: pd.DataFrame, seed: int
) -> Checkpoint:
    """Put a baseline's backbone and the averaged cuts into one checkpoint.

    Args:
        backbone: Its settings, before the experiment's overrides.
        experiment: Its entry.
        cross_validation: ``metric, …, mean`` of the experiment.
        seed: Draws the weights where they are not pretrained.

    Returns:
        All weights; the header rebuilds the model without any other file.
    """
    from dataclasses import asdict

    import timm
    import torch

    from skinbit import __version__
    from skinbit.embedding.backbones import load_backbone

    settings = experiment.applied_to(backbone)
    loaded = load_backbone(settings, seed)
    average = cross_validation.set_index("metric")["mean"]
    header = {
        "backbone": settings.model_dump(mode="json", exclude={"weights"}),
        "preprocessing": asdict(loaded.preprocessing),
        "weights_sha256": loaded.weights_sha256(),
        "head": None,
        "loss": experiment.loss,
        "epoch": None,
        "seed": seed,
        **{cut: float(average[cut]) for cut in METHODS.values()},
        "versions": {"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    }
    return Checkpoint(loaded.module.state_dict(), header)
