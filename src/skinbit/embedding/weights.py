"""Weights of a backbone: within reach before anything is downloaded, complete after they were loaded."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from skinbit.config import BackboneParams
from skinbit.errors import SHOWN_PER_KIND, InputError

_HUB_TIMEOUT_S = 3.0

_MOST_TENSORS = 5000
"""Of a network while it is made; the largest of timm's have fewer than half."""

_DRAWING = threading.Lock()
"""PyTorch's modules draw their initial weights from the process's global generator: one network at a time."""


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Have the networks that are created inside draw their weights from a seed; the global generator stays as it was.

    Args:
        seed: In [0, 2**63).
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def explain(params: BackboneParams, what: str) -> str:
    """Begin a message about a backbone with its name.

    Args:
        params: Of the backbone.
        what: What is wrong with it.

    Returns:
        A sentence.
    """
    return f"backbone {params.model}: {what.rstrip('.')}."


def check_within_reach(params: BackboneParams) -> None:
    """Fail at once where weights are missing; the hub's own retries take most of a minute per model.

    Args:
        params: Of the backbone.

    Raises:
        InputError: If a local file does not exist, or the hub is needed and does not answer.
    """
    if params.weights is not None:
        if not Path(params.weights).is_file():
            raise InputError(
                explain(params, f"the weights file {params.weights} does not exist")
                + "\n  Remedy: name a file, absolute or relative to the folder that the command runs in."
            )
    elif params.pretrained and not _is_cached(params.model) and not _hub_answers():
        raise InputError(
            explain(
                params,
                "its pretrained weights are not on this machine and the Hugging Face hub is out of reach",
            )
            + "\n  Remedy: connect once, or download the weights elsewhere and name the file in "
            "backbones.<name>.weights, or set backbones.<name>.pretrained=false for weights drawn from the seed."
        )


def _is_cached(model: str) -> bool:
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(model, allow_unregistered=True)
    hub_id = config.hf_hub_id if config else None
    names = ("model.safetensors", "pytorch_model.bin")
    return hub_id is not None and any(isinstance(try_to_load_from_cache(hub_id, name), str) for name in names)


def _hub_answers() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    if address.scheme in getproxies():  # only the hub's own client knows the way
        return True
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=_HUB_TIMEOUT_S):
            return True
    except OSError:
        return False


@contextmanager
def missing_weights() -> Iterator[dict[int, str]]:
    """Note which tensors a checkpoint leaves untouched: timm itself only logs them.

    Yields:
        Names of the missing tensors by the identity of the tensor, which survives timm's wrapping and pruning.
    """
    missing: dict[int, str] = {}
    load = nn.Module.load_state_dict

    def load_and_note(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        outcome = load(module, *args, **kwargs)
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        missing.update({id(tensors[key]): key for key in outcome.missing_keys if key in tensors})
        return outcome

    nn.Module.load_state_dict = load_and_note  # type: ignore[method-assign,assignment]
    try:
        yield missing
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]


def check_coverage(network: nn.Module, missing: dict[int, str], params: BackboneParams) -> None:
    """Check that a checkpoint covered every tensor that the network uses: half random ones give plausible figures.

    Args:
        network: As timm gave it, pruned to the levels in use.
        missing: From :func:`missing_weights`.
        params: For the message.

    Raises:
        InputError: If a tensor kept its random values; lists them.
    """
    used = [*network.parameters(), *network.buffers()]
    # A counter of training steps that no forward pass in evaluation mode reads.
    absent = [missing[id(tensor)] for tensor in used if id(tensor) in missing and tensor.dtype.is_floating_point]
    if absent:
        shown = ", ".join(absent[:SHOWN_PER_KIND]) + (" …" if len(absent) > SHOWN_PER_KIND else "")
        raise InputError(
            explain(params, f"the weights lack {len(absent)} of its tensors: {shown}")
            + "\n  Remedy: give weights of the whole backbone, or pool only levels that they cover (pooling.levels)."
        )


def check_finite(network: nn.Module, params: BackboneParams) -> None:
    """Check that weights are numbers: one NaN spreads to every feature.

    Args:
        network: As timm gave it.
        params: For the message.

    Raises:
        InputError: If a weight is NaN or infinite; names its tensor. Buffers may hold ranges that are still open.
    """
    for name, tensor in network.named_parameters():
        if not tensor.isfinite().all():
            raise InputError(
                explain(params, f"its weights hold NaN or infinity, in {name}")
                + "\n  Remedy: give undamaged weights (backbones.<name>.weights)."
            )


@contextmanager
def without_pickle(params: BackboneParams) -> Iterator[None]:
    """Refuse weights that are published as a pickle, which timm would open with ``torch.load``.

    Args:
        params: Of the backbone.
    """
    load = torch.load

    def refuse(*_: Any, **__: Any) -> Any:
        raise InputError(
            explain(params, "its published weights are a pickle, which Skinbit does not open")
            + "\n  Remedy: choose a model with safetensors weights, or convert them where you trust them and name the "
            ".safetensors file in backbones.<name>.weights."
        )

    torch.load = refuse
    try:
        yield
    finally:
        torch.load = load


@contextmanager
def few_tensors(params: BackboneParams) -> Iterator[None]:
    """Stop a network that would never be finished: settings of a stranger may ask for a million layers.

    Args:
        params: Of the backbone.
    """
    mine, count = threading.get_ident(), itertools.count(1)

    def check(*_: Any) -> None:
        if threading.get_ident() == mine and next(count) > _MOST_TENSORS:
            raise InputError(
                explain(params, f"with its model_args it has more than {_MOST_TENSORS} tensors")
                + "\n  Remedy: correct backbones.<name>.model_args, or use a checkpoint that you trust."
            )

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
