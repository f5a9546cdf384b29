"""Checkpoints of models that Skinbit did not train."""

from skinbit.config import BackboneParams
from skinbit.embedding.checkpoints import NO_HEAD, Checkpoint
from skinbit.embedding.headers import ModelHeader


def package_backbone(params: BackboneParams, seed: int) -> Checkpoint:
    """Return a checkpoint of a backbone without a head.

    Args:
        params: Settings of the backbone.
        seed: Seed of the weights if they are not pretrained.
    """
    import timm
    import torch

    from skinbit import __version__
    from skinbit.embedding.backbones import load_backbone

    loaded = load_backbone(params, seed)
    header = ModelHeader(
        backbone=params.model_copy(update={"weights": None}),
        preprocessing=loaded.preprocessing,
        weights_sha256=loaded.weights_sha256(),
        holds_backbone=True,
        head=NO_HEAD,
        loss="baseline",
        epoch=None,
        seed=seed,
        versions={"skinbit": __version__, "timm": timm.__version__, "torch": torch.__version__},
    )
    weights = {f"backbone.{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return Checkpoint(weights, header)
