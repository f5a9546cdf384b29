"""A checkpoint: its tensors, and a header (:mod:`skinbit.embedding.headers`) that says how to rebuild the model."""

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
"""The head of a baseline: features scaled to unit length."""


_BACKBONE, _HEAD, _WHITENING, _ZOOM_WHITENING = "backbone.", "head.", "whitening.", "zoom_whitening."
"""Prefixes of the names of tensors."""

_WHITENINGS = (_WHITENING, _ZOOM_WHITENING)


@dataclass(frozen=True)
class Checkpoint:
    """Weights with the settings they belong to.

    Attributes:
        tensors: Weights and buffers by name, ``backbone.…`` and ``head.…``; without the backbone's where it stayed
            frozen in a fold; ``whitening.…`` and ``zoom_whitening.…`` where embeddings and their zooms are whitened.
        header: Everything needed to rebuild and use the model, or the models of a combination.
    """

    tensors: Mapping[str, torch.Tensor]
    header: ModelHeader | CombinationHeader

    @property
    def model(self) -> ModelHeader:
        """Return the header of one model.

        Raises:
            ValueError: If this is a combination.
        """
        if isinstance(self.header, CombinationHeader):
            raise ValueError("the checkpoint holds a combination of models")
        return self.header

    @property
    def compares_zooms(self) -> bool:
        """Whether its photographs are compared by their zooms, too."""
        return self.header.matching is not None and self.header.matching.similarity.zoom_pairs

    @property
    def matching(self) -> Matching:
        """Return how its embeddings are matched.

        Raises:
            InputError: If it does not say so.
        """
        if self.header.matching is None:
            raise InputError(
                "The model does not say how its embeddings are matched: it holds trained weights alone, as "
                "weights.safetensors does, or an earlier version of Skinbit made it.\n"
                "  Remedy: best.safetensors in the same folder; if that is missing or old, run the pipeline of its "
                "experiment again: trainings that are finished are not repeated."
            )
        return self.header.matching


@dataclass(frozen=True)
class StoredState:
    """The state of a training as it is stored.

    Attributes:
        tensors: Weights, moments and the like, by name.
        header: Plain values.
    """

    tensors: Mapping[str, torch.Tensor]
    header: Mapping[str, Any]


class StateStore(Protocol):
    """Keeps the state of one training between processes."""

    def read(self) -> StoredState | None:
        """Return the stored state; None where there is none that can be read."""
        ...

    def write(self, state: StoredState) -> None:
        """Replace the stored state, completely or not at all."""
        ...


def rebuild_model(checkpoint: Checkpoint, frozen: Backbone | None = None) -> Backbone:
    """Return the model of a checkpoint.

    Args:
        checkpoint: Of a fold or a final model, from anyone: nothing large is made before all of it has been checked,
            and no other file or address is asked.
        frozen: The pretrained backbone, for a checkpoint that holds the head alone.

    Returns:
        Its ``module`` maps normalised pixels to embeddings of unit length; evaluation mode, on the CPU.

    Raises:
        InputError: If header or tensors are not those of a model, or the checkpoint needs a frozen backbone and none,
            or one with other weights, is given.
    """
    try:
        return _rebuild(checkpoint, checkpoint.model, frozen)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"The model cannot be rebuilt: {error}.\n"
            "  Remedy: use a checkpoint as Skinbit wrote it; run the pipeline of its experiment where it is damaged."
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
            f"This checkpoint holds the head alone and needs its frozen backbone, {header.backbone.model} "
            "with the weights it was trained on.\n"
            "  Remedy: give that backbone, or use the final model, which holds all weights."
        )
    elif _below(weights, _BACKBONE):
        raise ValueError("the checkpoint says that it holds no backbone, but it has tensors of one")
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
    """Check the head's tensors, and that there are none but the backbone's and the head's."""
    import torch

    from skinbit.embedding.heads import Head

    with torch.device("meta"):
        outline = Head(feature_dim, params).state_dict()
    others = {name: tensor for name, tensor in weights.items() if not name.startswith(_BACKBONE)}
    _check_layout(others, {f"{_HEAD}{name}": tensor for name, tensor in outline.items()}, "the head")


def _check_layout(stored: Mapping[str, torch.Tensor], outline: Mapping[str, torch.Tensor], what: str) -> None:
    """Compare names, shapes and types with those that the settings ask for."""
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
    """Refuse NaN and infinity, but where the network itself begins with infinity, as a range that is still open."""
    for name, tensor in weights.items():
        if tensor.isfinite().all() or (tensor.isfinite() | ~made[name].isfinite()).all():
            continue
        raise ValueError(f"the checkpoint's tensor {name!r} holds NaN or infinity")


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
        raise ValueError("the checkpoint's whitening has another shape or type than its embeddings ask for")
    if not (mean.isfinite().all() and projection.isfinite().all()):
        raise ValueError("the checkpoint's whitening holds NaN or infinity")


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

    header = checkpoint.model
    loaded = load_described(params, seed, header.weights_sha256)
    backbone = {f"{_BACKBONE}{name}": tensor for name, tensor in loaded.module.state_dict().items()}
    return Checkpoint({**backbone, **checkpoint.tensors}, header.model_copy(update={"holds_backbone": True}))


def whitening_tensors(fitted: Whitenings) -> dict[str, torch.Tensor]:
    """Return what embeddings are whitened by as tensors of a checkpoint."""
    import torch

    named = {_WHITENING: fitted.values} | ({} if fitted.zooms is None else {_ZOOM_WHITENING: fitted.zooms})
    return {
        f"{prefix}{name}": torch.from_numpy(array)
        for prefix, whitening in named.items()
        for name, array in (("mean", whitening.mean), ("projection", whitening.projection))
    }


def whitening_of(checkpoint: Checkpoint) -> Whitenings | None:
    """Return what a checkpoint's embeddings are whitened by; None where they are not."""
    whitened, zooms = (_below(checkpoint.tensors, prefix) for prefix in _WHITENINGS)
    return Whitenings(_whitening(whitened), _whitening(zooms) if zooms else None) if whitened else None


def _whitening(tensors: Mapping[str, torch.Tensor]) -> Whitening:
    return Whitening(tensors["mean"].numpy(), tensors["projection"].numpy())


def with_cuts(checkpoint: Checkpoint, cuts: Mapping[str, float], matching: Matching) -> Checkpoint:
    """Return a trained model whose header says how its embeddings are matched.

    Args:
        checkpoint: The model.
        cuts: ``cosine_threshold``, ``dbscan_eps`` and so on, for a pool as large as a fold.
        matching: How its embeddings are matched, in a pool of any size.
    """
    return replace(checkpoint, header=checkpoint.header.model_copy(update={**cuts, "matching": matching}))
