"""Checkpoints: tensors, and a header (:mod:`skinbit.embedding.headers`) from which the model is rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from skinbit.config import BackboneParams, HeadParams
from skinbit.embedding.embeddings import Whitenings
from skinbit.embedding.headers import CombinationHeader, ModelHeader
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.similarity.whitening import Whitening

if TYPE_CHECKING:
    import torch

    from skinbit.embedding.backbones import Backbone

NO_HEAD = HeadParams(dim=None, neck=False)
"""Head of a baseline: scales features to unit length."""


_BACKBONE, _HEAD, _WHITENING, _ZOOM_WHITENING = "backbone.", "head.", "whitening.", "zoom_whitening."
"""Prefixes of the names of tensors."""

_WHITENINGS = (_WHITENING, _ZOOM_WHITENING)


@dataclass(frozen=True)
class Checkpoint:
    """Weights with their settings.

    Attributes:
        tensors: Weights and buffers by name: ``backbone.…``, unless it stayed frozen in a fold, and ``head.…``;
            ``whitening.…`` and ``zoom_whitening.…`` if embeddings and their zooms are whitened.
        header: Everything needed to rebuild and use the model, or the models of a combination.
    """

    tensors: Mapping[str, torch.Tensor]
    header: ModelHeader | CombinationHeader

    @property
    def model(self) -> ModelHeader:
        """Return the header of a single model.

        Raises:
            ValueError: If this is a combination.
        """
        if isinstance(self.header, CombinationHeader):
            raise ValueError("the checkpoint has a combination of models")
        return self.header

    @property
    def compares_zooms(self) -> bool:
        """Whether photographs are compared by their zooms, too."""
        return self.header.matching is not None and self.header.matching.similarity.zoom_pairs

    @property
    def matching(self) -> Matching:
        """Return how its embeddings are matched.

        Raises:
            InputError: If the header does not contain it.
        """
        if self.header.matching is None:
            raise InputError(
                "The model has no settings for matching: it has only trained weights, like "
                "weights.safetensors, or an earlier version of Skinbit made it.\n"
                "  Remedy: use best.safetensors in the same folder; if it is missing or old, run the pipeline of its "
                "experiment again: trainings that are finished are not repeated."
            )
        return self.header.matching


@dataclass(frozen=True)
class StoredState:
    """A stored training state.

    Attributes:
        tensors: Weights, moments and other tensors by name.
        header: Plain values.
    """

    tensors: Mapping[str, torch.Tensor]
    header: Mapping[str, Any]


class StateStore(Protocol):
    """Stores the state of one training between processes."""

    def read(self) -> StoredState | None:
        """Return the stored state; None if there is no readable one."""
        ...

    def write(self, state: StoredState) -> None:
        """Replace the stored state, completely or not at all."""
        ...


def rebuild_model(checkpoint: Checkpoint, frozen: Backbone | None = None) -> Backbone:
    """Return the model of an untrusted checkpoint.

    Args:
        checkpoint: Checkpoint of a fold or of a final model. Everything is checked before anything large is allocated,
            and no other file or address is accessed.
        frozen: Pretrained backbone, for a checkpoint with only a head.

    Returns:
        The model; its ``module`` maps normalised pixels to embeddings of unit length, in evaluation mode, on the CPU.

    Raises:
        InputError: If header or tensors are not those of a model, or a required frozen backbone is missing or has other
            weights.
    """
    try:
        return _rebuild(checkpoint, checkpoint.model, frozen)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"The model cannot be rebuilt: {error}.\n"
            "  Remedy: use an unchanged checkpoint of Skinbit; if it is damaged, run the pipeline of its experiment."
        ) from error


def _rebuild(checkpoint: Checkpoint, header: ModelHeader, frozen: Backbone | None) -> Backbone:
    from skinbit.embedding.backbones import Backbone, load_backbone
    from skinbit.embedding.heads import EmbeddingModel, make_head

    weights = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(_WHITENINGS)}
    if header.holds_backbone:
        settings = header.backbone.model_copy(update={"pretrained": False})
        _check_backbone(_below(weights, _BACKBONE), settings)
        backbone = load_backbone(settings, header.seed)
    elif frozen is None or frozen.weights_sha256() != header.weights_sha256:
        raise InputError(
            f"This checkpoint has only a head and needs its frozen backbone, {header.backbone.model} "
            "with the weights it was trained on.\n"
            "  Remedy: pass that backbone, or use the final model, which has all weights."
        )
    elif _below(weights, _BACKBONE):
        raise ValueError("the checkpoint's header excludes a backbone, but it has tensors of one")
    else:
        backbone = frozen
        weights |= {f"{_BACKBONE}{name}": tensor for name, tensor in backbone.module.state_dict().items()}
    width = header.head.dim or backbone.feature_dim
    _check_head(weights, backbone.feature_dim, header.head)
    _check_whitenings(checkpoint, width)
    model = EmbeddingModel(backbone.module, make_head(backbone.feature_dim, header.head, header.seed))
    _check_values(weights, model.state_dict())
    model.load_state_dict(weights)
    return Backbone(model.eval().requires_grad_(False), header.preprocessing, width)


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_backbone(stored: Mapping[str, torch.Tensor], params: BackboneParams) -> None:
    from skinbit.embedding.backbones import outline_backbone

    _check_layout(stored, outline_backbone(params), params.model)


def _check_head(weights: Mapping[str, torch.Tensor], feature_dim: int, params: HeadParams) -> None:
    """Check the head's tensors, and that there are no others besides the backbone's."""
    import torch

    from skinbit.embedding.heads import Head

    with torch.device("meta"):
        outline = Head(feature_dim, params).state_dict()
    others = {name: tensor for name, tensor in weights.items() if not name.startswith(_BACKBONE)}
    _check_layout(others, {f"{_HEAD}{name}": tensor for name, tensor in outline.items()}, "the head")


def _check_layout(stored: Mapping[str, torch.Tensor], outline: Mapping[str, torch.Tensor], what: str) -> None:
    """Compare names, shapes and types of tensors with those of the settings."""
    missing, unexpected = sorted(outline.keys() - stored.keys()), sorted(stored.keys() - outline.keys())
    if missing or unexpected:
        said = [f"{len(names)} {kind}, such as {names[0]!r}" for names, kind in _named(missing, unexpected)]
        raise ValueError(f"the checkpoint's tensors are not those of {what}: {'; '.join(said)}")
    for name, tensor in outline.items():
        if (stored[name].shape, stored[name].dtype) != (tensor.shape, tensor.dtype):
            found, asked = (f"{each.dtype} {tuple(each.shape)}" for each in (stored[name], tensor))
            raise ValueError(f"the checkpoint's tensor {name!r} is {found}, not {asked}, as {what} needs it")


def _named(missing: list[str], unexpected: list[str]) -> list[tuple[list[str], str]]:
    return [(names, kind) for names, kind in ((missing, "missing"), (unexpected, "unexpected")) if names]


def _check_values(weights: Mapping[str, torch.Tensor], made: Mapping[str, torch.Tensor]) -> None:
    """Refuse NaN and infinity, except where the network itself starts with infinity, such as in open ranges."""
    for name, tensor in weights.items():
        if tensor.isfinite().all() or (tensor.isfinite() | ~made[name].isfinite()).all():
            continue
        raise ValueError(f"the checkpoint's tensor {name!r} contains NaN or infinity")


def _check_whitenings(checkpoint: Checkpoint, width: int) -> None:
    values, zooms = (_below(checkpoint.tensors, prefix) for prefix in _WHITENINGS)
    for stored in (values, zooms):
        _check_whitening(stored, width)
    needs_both = bool(zooms) or (bool(values) and checkpoint.compares_zooms)
    if needs_both and not (values and zooms and values["projection"].shape == zooms["projection"].shape):
        raise ValueError("the checkpoint's whitenings of photographs and of their zooms do not fit together")


def _check_whitening(stored: Mapping[str, torch.Tensor], width: int) -> None:
    import torch

    if not stored:
        return
    if stored.keys() != {"mean", "projection"}:
        raise ValueError(f"the checkpoint's whitening needs mean and projection, not {', '.join(sorted(stored))}")
    mean, projection = stored["mean"], stored["projection"]
    fits = mean.shape == (width,) and projection.shape[:1] == (width,) and projection.ndim == 2 and projection.numel()
    if not fits or {mean.dtype, projection.dtype} != {torch.float64}:
        raise ValueError("the checkpoint's whitening does not have the shape or type of its embeddings")
    if not (mean.isfinite().all() and projection.isfinite().all()):
        raise ValueError("the checkpoint's whitening contains NaN or infinity")


def with_backbone(checkpoint: Checkpoint, params: BackboneParams, seed: int) -> Checkpoint:
    """Return a head's checkpoint with its frozen backbone, so that the model needs no other file.

    Args:
        checkpoint: Checkpoint of a head on a frozen backbone.
        params: The backbone's settings.
        seed: Seed of the backbone's weights if they are not pretrained.

    Returns:
        The checkpoint with all weights.

    Raises:
        InputError: If the backbone's weights have changed since the head was trained.
    """
    from skinbit.embedding.backbones import load_described

    header = checkpoint.model
    loaded = load_described(params, seed, header.weights_sha256)
    backbone = {f"{_BACKBONE}{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return Checkpoint({**backbone, **checkpoint.tensors}, header.model_copy(update={"holds_backbone": True}))


def whitening_tensors(fitted: Whitenings) -> dict[str, torch.Tensor]:
    """Return the whitenings of embeddings as tensors of a checkpoint."""
    import torch

    named = {_WHITENING: fitted.values} | ({} if fitted.zooms is None else {_ZOOM_WHITENING: fitted.zooms})
    return {
        f"{prefix}{name}": torch.from_numpy(array)
        for prefix, whitening in named.items()
        for name, array in (("mean", whitening.mean), ("projection", whitening.projection))
    }


def whitening_of(checkpoint: Checkpoint) -> Whitenings | None:
    """Return the whitenings of a checkpoint's embeddings; None if they are not whitened."""
    whitened, zooms = (_below(checkpoint.tensors, prefix) for prefix in _WHITENINGS)
    return Whitenings(_whitening(whitened), _whitening(zooms) if zooms else None) if whitened else None


def _whitening(tensors: Mapping[str, torch.Tensor]) -> Whitening:
    return Whitening(tensors["mean"].numpy(), tensors["projection"].numpy())


def with_cuts(checkpoint: Checkpoint, cuts: Mapping[str, float], matching: Matching) -> Checkpoint:
    """Return a trained model with the settings for matching in its header.

    Args:
        checkpoint: The model.
        cuts: ``cosine_threshold``, ``dbscan_eps`` and so on, for a pool of the size of a fold.
        matching: How embeddings are matched in a pool of any size.
    """
    return replace(checkpoint, header=checkpoint.header.model_copy(update={**cuts, "matching": matching}))
