"""timm networks as feature extractors: weights from the hub, from a file, or drawn from the seed."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skinbit.config import BackboneParams, PoolingParams
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.embedding.weight_files import check_complete, explain_misfit, find_weights
from skinbit.embedding.weights import FewTensors, FilledTensors, check_finite, drawn_from, refuse
from skinbit.errors import InputError, is_short_of_memory

_REFUSALS = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""Exceptions of timm and PyTorch for arguments, pixels or tensors that do not fit a network."""


@dataclass(frozen=True)
class Backbone:
    """A network that maps pixels to features, with the preprocessing it was trained with.

    Attributes:
        module: ``(n, 3, s, s)`` normalised pixels to ``(n, feature_dim)`` float32 features; in evaluation mode.
        preprocessing: Preprocessing of the model's own configuration.
        feature_dim: Length of a feature vector.
    """

    module: nn.Module
    preprocessing: Preprocessing
    feature_dim: int

    def weights_sha256(self) -> str:
        """Return the hash of all weights and buffers, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class PooledLevels(nn.Module):
    """Pools feature levels, scales each to unit length and concatenates them.

    GeM is the generalised mean ``(mean x^p)^(1/p)`` over positions (Radenovic et al. 2018) of activations clamped at
    1e-6; it suits levels after a ReLU. With unit length, every level has the same weight.
    """

    def __init__(self, levels: nn.Module, channels: list[int], pooling: PoolingParams) -> None:
        super().__init__()
        self.levels = levels
        self._channels = channels
        self._power = pooling.power if pooling.method == "gem" else 1.0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 3, s, s)`` pixels to ``(n, sum of channels)`` features."""
        maps = zip(self.levels(pixels), self._channels, strict=True)
        return torch.cat([nn.functional.normalize(self._pool(level, width)) for level, width in maps], dim=1)

    def _pool(self, level: torch.Tensor, width: int) -> torch.Tensor:
        level = level.float()
        if level.shape[1] != width:  # (n, h, w, c), as some transformers return
            level = level.permute(0, 3, 1, 2)
        if self._power == 1.0:
            return level.mean(dim=(2, 3))
        return level.clamp(min=1e-6).pow(self._power).mean(dim=(2, 3)).pow(1 / self._power)


def load_backbone(params: BackboneParams, seed: int) -> Backbone:
    """Return a timm network with all of its weights, and its preprocessing.

    Args:
        params: Settings of the backbone.
        seed: Seed of the weights if ``pretrained`` is false.

    Returns:
        The backbone on the CPU, frozen in evaluation mode.

    Raises:
        InputError: If timm does not know the model, its weights are missing, unreachable, a pickle, of another network,
            not finite or incomplete, or it cannot process images of this size.
    """
    _check_name(params.model)
    file = find_weights(params)
    with drawn_from(seed), FilledTensors() as filled:
        network = _create(params, file)
    if file is not None:
        check_complete(params, file, network, filled.absent_from(network))
    check_finite(network, params)
    module = _pooled(network, params).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    preprocessing = _preprocessing(network, params)
    return Backbone(module, preprocessing, _feature_dim(module, params))


def outline_backbone(params: BackboneParams) -> Mapping[str, torch.Tensor]:
    """Return shapes and types of a backbone's tensors by name, without allocating them.

    Args:
        params: Untrusted settings of the backbone. Weights are not read.

    Raises:
        InputError: If timm does not know the model or cannot create it.
    """
    _check_name(params.model)
    with drawn_from(0), torch.device("meta"), FewTensors(params):
        return _pooled(_create(params, file=None), params).state_dict()


def _create(params: BackboneParams, file: str | None) -> Any:
    import timm

    weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": file}} if file else {}
    try:
        return timm.create_model(params.model, **weights, **_creation_arguments(params))
    except InputError:
        raise
    except _REFUSALS as error:
        if is_short_of_memory(error):
            raise
        if file is not None:  # without the file it can be created, or its arguments are wrong
            raise explain_misfit(params, file, _create(params, None).state_dict()) from error
        raise refuse(
            params, f"timm cannot create it: {error}", "correct model_args or pooling.levels of backbones.<name>."
        ) from error


def _pooled(network: Any, params: BackboneParams) -> nn.Module:
    module: nn.Module = network
    if params.pooling.levels:
        module = PooledLevels(network, network.feature_info.channels(), params.pooling)
    return module


def load_described(params: BackboneParams, seed: int, weights_sha256: str) -> Backbone:
    """Load a backbone whose weights must be those that were checked earlier.

    Args:
        params: Settings of the backbone.
        seed: Seed of the weights if ``pretrained`` is false.
        weights_sha256: Hash of the checked weights.

    Returns:
        The backbone.

    Raises:
        InputError: If it cannot be loaded, or its weights have changed.
    """
    loaded = load_backbone(params, seed)
    if loaded.weights_sha256() != weights_sha256:
        raise InputError(
            f"The weights of {params.model} have changed since they were checked.\n"
            "  Remedy: do not replace weight files during a run; run baseline_embeddings as a whole."
        )
    return loaded


def _check_name(model: str) -> None:
    """Refuse a name that timm does not know, including its tag after the dot."""
    import timm

    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise _unknown(model, difflib.get_close_matches(architecture, timm.list_models(), n=3))
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and model not in tagged:
        raise _unknown(model, difflib.get_close_matches(model, tagged, n=3, cutoff=0))


def _unknown(model: str, near: list[str]) -> InputError:
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return InputError(
        f'backbones: timm has no model {model!r}.{hint}\n  Remedy: `python -c "import timm; '
        'print(timm.list_models(pretrained=True))"` lists all names.'
    )


def _creation_arguments(params: BackboneParams) -> dict[str, Any]:
    import timm

    arguments: dict[str, Any] = {}
    config = timm.get_pretrained_cfg(params.model, allow_unregistered=True)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = params.image_size  # position embeddings are resampled to this size
    if params.pooling.levels:
        arguments |= {"features_only": True, "out_indices": params.pooling.levels}
    else:
        arguments["num_classes"] = 0
    return arguments | params.model_args


def _preprocessing(network: nn.Module, params: BackboneParams) -> Preprocessing:
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    return Preprocessing(
        image_size=params.image_size,
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=params.mean or tuple(config["mean"]),
        std=params.std or tuple(config["std"]),
    )


def _feature_dim(module: nn.Module, params: BackboneParams) -> int:
    """Return the length of a feature vector, found by a forward pass, which also checks the image size."""
    pixels = torch.zeros(1, 3, params.image_size, params.image_size)
    try:
        with torch.inference_mode():
            features = module(pixels)
    except _REFUSALS as error:
        if is_short_of_memory(error):
            raise
        raise refuse(
            params,
            f"it cannot process images of {params.image_size} pixels: {error}",
            "change backbones.<name>.image_size, or the input settings in model_args.",
        ) from error
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", (1, 1))[0]
    if params.image_size % patch:
        raise refuse(
            params,
            f"{params.image_size} pixels are no multiple of its patches of {patch}",
            "the last rows and columns would be ignored; change backbones.<name>.image_size.",
        )
    if features.ndim != 2:
        raise refuse(
            params,
            f"it returns {features.ndim}-dimensional features instead of one vector per image",
            "use pooling.levels.",
        )
    return int(features.shape[1])
