"""Weights of a backbone: within reach before anything is downloaded, complete after they were loaded."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from skinbit.config import BackboneParams
from skinbit.errors import SHOWN_PER_KIND, InputError

_HUB_TIMEOUT_S = 3.0

_MOST_TENSORS = 5000
"""Of a network while it is made; the largest of timm's have fewer than half."""

_DRAWING = threading.Lock()
"""PyTorch's modules draw their initial weights from the process's global generator: one network at a time."""


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw the weights of networks that are created inside from a seed; the global generator stays as it was.

    Args:
        seed: In [0, 2**63).
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def refuse(params: BackboneParams, what: str, remedy: str) -> InputError:
    """Return the error that names a backbone, what is wrong with it, and what mends it."""
    return InputError(f"backbone {params.model}: {what.rstrip('.')}.\n  Remedy: {remedy}")


def find_weights(params: BackboneParams) -> str | None:
    """Return the safetensors file of a backbone's weights, downloaded if need be; none if the seed draws them.

    Raises:
        InputError: If a local file does not exist, or the published weights are no safetensors or out of reach.
    """
    if not params.pretrained:
        return None
    if params.weights is None:
        return _find_published(params)
    if not Path(params.weights).is_file():
        raise refuse(
            params,
            f"the weights file {params.weights} does not exist",
            "name a file, absolute or relative to the folder that the command runs in.",
        )
    return params.weights


def _find_published(params: BackboneParams) -> str:
    import huggingface_hub
    import timm
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    config = timm.get_pretrained_cfg(params.model, allow_unregistered=True)
    repository, _, revision = ((config.hf_hub_id if config else None) or "").partition("@")
    name = _safe_name((config.hf_hub_filename if config else None) or "pytorch_model.bin")
    if not repository or not name.endswith(".safetensors"):
        raise _no_safetensors(params)
    cached = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
    if isinstance(cached, str):
        return cached
    if not _hub_answers():  # the hub's own retries take most of a minute per model
        raise _out_of_reach(params)
    try:
        return huggingface_hub.hf_hub_download(repository, name, revision=revision or None)
    except RemoteEntryNotFoundError as error:
        raise _no_safetensors(params) from error
    except LocalEntryNotFoundError as error:
        raise _out_of_reach(params) from error
    except (OSError, ValueError) as error:
        raise refuse(
            params,
            f"its pretrained weights cannot be downloaded: {error}",
            "try again, or name a file in backbones.<name>.weights.",
        ) from error


def _safe_name(name: str) -> str:
    """Return the safetensors file that timm would look for in the place of another."""
    return name.replace("pytorch_model.bin", "model.safetensors").replace(".bin", ".safetensors")


def _no_safetensors(params: BackboneParams) -> InputError:
    return refuse(
        params,
        "its published weights are no safetensors file, and Skinbit opens no pickle",
        "choose a model with safetensors weights, or convert them where you trust them and name the .safetensors file "
        "in backbones.<name>.weights.",
    )


def _out_of_reach(params: BackboneParams) -> InputError:
    return refuse(
        params,
        "its pretrained weights are not on this machine and the Hugging Face hub is out of reach",
        "connect once, or download the weights elsewhere and name the file in backbones.<name>.weights, or set "
        "backbones.<name>.pretrained=false for weights drawn from the seed.",
    )


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


class _Watched(TorchFunctionMode):
    """Shows every call of a PyTorch function to :meth:`see` while this context is active, in this thread alone."""

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Look at a call before it is made."""
        raise NotImplementedError

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make the call that was seen."""
        self.see(func, args)
        return func(*args, **(kwargs or {}))


class FilledTensors(_Watched):
    """Notes which tensors ``load_state_dict`` fills.

    timm only logs which keys of a network a file lacks. It may wrap and prune the network after loading, but the
    tensors remain the same objects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._filled: dict[int, torch.Tensor] = {}

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Note the target of a copy; holding it keeps its id from being used again."""
        if function is torch.Tensor.copy_:
            self._filled[id(args[0])] = args[0]

    def check_complete(self, network: nn.Module, params: BackboneParams) -> None:
        """Check that every tensor of a network was filled: half random weights give plausible figures.

        Args:
            network: As timm returns it, pruned to the levels in use.
            params: For the message.

        Raises:
            InputError: If a tensor kept its random values; lists them.
        """
        # Integers are counters of training steps, which no forward pass in evaluation mode reads.
        absent = [
            name
            for name, tensor in network.state_dict(keep_vars=True).items()
            if tensor.dtype.is_floating_point and id(tensor) not in self._filled
        ]
        if absent:
            shown = ", ".join(absent[:SHOWN_PER_KIND]) + (" …" if len(absent) > SHOWN_PER_KIND else "")
            raise refuse(
                params,
                f"the weights lack {len(absent)} of its tensors: {shown}",
                "give weights of the whole backbone, or pool only levels that they cover (pooling.levels).",
            )


def check_finite(network: nn.Module, params: BackboneParams) -> None:
    """Check that weights are numbers: one NaN spreads to every feature.

    Args:
        network: Its buffers are not checked: they may hold ranges that are still open.
        params: For the message.

    Raises:
        InputError: If a weight is NaN or infinite; names its tensor.
    """
    for name, tensor in network.named_parameters():
        if not tensor.isfinite().all():
            raise refuse(
                params,
                f"its weights hold NaN or infinity, in {name}",
                "give undamaged weights (backbones.<name>.weights).",
            )


class FewTensors(_Watched):
    """Stops a network that would never be finished: settings of a stranger may ask for a million layers."""

    def __init__(self, params: BackboneParams) -> None:
        super().__init__()
        self._params = params
        self._n_made = 0

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Count the tensors that are made."""
        self._n_made += function is torch.empty
        if self._n_made > _MOST_TENSORS:
            raise refuse(
                self._params,
                f"with its model_args it has more than {_MOST_TENSORS} tensors",
                "correct backbones.<name>.model_args, or use a checkpoint that you trust.",
            )
