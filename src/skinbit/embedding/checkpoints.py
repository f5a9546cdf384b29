"""A model on disk: its weights, and everything needed to rebuild and use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from skinbit.errors import InputError
from skinbit.matching.whitening import Whitening
from skinbit.params import BackboneParams, HeadParams

if TYPE_CHECKING:
    import torch

    from skinbit.embedding.backbones import Backbone

NO_HEAD = HeadParams(dim=None, neck=False)
"""A baseline's: features scaled to unit length."""


_WHITENING = "whitening."
"""How the names of its tensors begin."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights with the settings they belong to.

    Attributes:
        tensors: Weights and buffers by name, ``backbone.…`` and ``head.…``; without the backbone's where it stayed
            frozen in a fold; ``whitening.…`` where embeddings are whitened.
        header: Plain values: backbone, image size, head, loss, threshold, eps, seed, versions; ``matching``, all that
            makes groups of embeddings.
    """

    tensors: Mapping[str, torch.Tensor]
    header: Mapping[str, Any]


class StateStore(Protocol):
    """Keeps the state of one training between processes."""

    def read(self) -> Checkpoint | None:
        """Give the stored state; None where there is none that can be read."""
        ...

    def write(self, state: Checkpoint) -> None:
        """Replace the stored state, completely or not at all."""
        ...


def rebuild_model(checkpoint: Checkpoint, frozen: Backbone | None = None) -> Backbone:
    """Make a checkpoint a model again.

    Args:
        checkpoint: Of a fold or a final model.
        frozen: The pretrained backbone, for a checkpoint that holds the head alone.

    Returns:
        Its ``module`` maps normalised pixels to embeddings of unit length; evaluation mode, on the CPU.

    Raises:
        InputError: If the checkpoint needs a frozen backbone and none, or one with other weights, is given.
    """
    from skinbit.embedding.backbones import Backbone, load_backbone
    from skinbit.embedding.heads import EmbeddingModel, make_head
    from skinbit.embedding.preprocessing import Preprocessing

    header = checkpoint.header
    if header["holds_backbone"]:
        settings = BackboneParams.model_validate(header["backbone"] | {"pretrained": False, "weights": None})
        backbone = load_backbone(settings, header["seed"])
    elif frozen is None or frozen.weights_sha256() != header["weights_sha256"]:
        raise InputError(
            f"This checkpoint holds the head alone and needs its frozen backbone, {header['backbone']['model']} "
            "with the weights it was trained on.\n"
            "  Remedy: give that backbone, or use the final model, which holds all weights."
        )
    else:
        backbone = frozen
    head = make_head(backbone.feature_dim, HeadParams.model_validate(header["head"]), header["seed"])
    model = EmbeddingModel(backbone.module, head)
    weights = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(_WHITENING)}
    if not header["holds_backbone"]:
        weights |= {f"backbone.{name}": tensor for name, tensor in backbone.module.state_dict().items()}
    model.load_state_dict(weights)
    width = HeadParams.model_validate(header["head"]).dim or backbone.feature_dim
    stored = header["preprocessing"]
    preprocessing = Preprocessing(**stored | {name: tuple(stored[name]) for name in ("mean", "std")})
    return Backbone(model.eval().requires_grad_(False), preprocessing, width)


def with_backbone(checkpoint: Checkpoint, params: BackboneParams, seed: int) -> Checkpoint:
    """Add its frozen backbone to a head, for a model that needs no other file.

    Args:
        checkpoint: Of a head that was trained on a frozen backbone.
        params: The backbone's settings.
        seed: Draws its weights where they are not pretrained.

    Returns:
        All weights.

    Raises:
        InputError: If the backbone's weights are no longer those that the head was trained on.
    """
    from skinbit.embedding.backbones import load_described

    loaded = load_described(params, seed, checkpoint.header)
    backbone = {f"backbone.{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return Checkpoint({**backbone, **checkpoint.tensors}, {**checkpoint.header, "holds_backbone": True})


def whitening_tensors(whitening: Whitening) -> dict[str, torch.Tensor]:
    """Give a whitening as tensors of a checkpoint."""
    import torch

    arrays = {"mean": whitening.mean, "projection": whitening.projection}
    return {f"{_WHITENING}{name}": torch.from_numpy(array) for name, array in arrays.items()}


def whitening_of(checkpoint: Checkpoint) -> Whitening | None:
    """Give the whitening of a checkpoint's embeddings, views averaged; none where they are matched as they are."""
    arrays = [checkpoint.tensors.get(f"{_WHITENING}{name}") for name in ("mean", "projection")]
    return None if arrays[0] is None or arrays[1] is None else Whitening(arrays[0].numpy(), arrays[1].numpy())


def with_cuts(checkpoint: Checkpoint, cuts: Mapping[str, float], matching: Mapping[str, Any]) -> Checkpoint:
    """Write into a checkpoint's header how its embeddings are matched.

    Args:
        checkpoint: A trained model.
        cuts: ``cosine_threshold``, ``dbscan_eps`` and so on, for a pool as large as a fold.
        matching: ``operating_points``, what every fold would choose for a pool of any size
            (:func:`skinbit.matching.operating_points.write_points`); ``similarity``, ``geometry`` and ``calibration``,
            what makes similarities of embeddings.

    Returns:
        The checkpoint with them.
    """
    return replace(checkpoint, header={**checkpoint.header, **cuts, "matching": dict(matching)})
