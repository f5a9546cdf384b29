"""Weights of a network: random from a seed, or complete and finite after loading."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from skinbit.config import BackboneParams
from skinbit.errors import InputError

_MOST_TENSORS = 5000
"""Largest number of tensors of a network while it is created; the largest of timm's have fewer than half."""

_DRAWING = threading.Lock()
"""PyTorch's modules draw initial weights from the global generator, so networks are created one at a time."""


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw the weights of networks created inside from a seed; the global generator keeps its state.

    Args:
        seed: Seed in [0, 2**63).
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def refuse(params: BackboneParams, what: str, remedy: str) -> InputError:
    """Return the error with a backbone's name, the problem and the remedy."""
    return InputError(f"backbone {params.model}: {what.rstrip('.')}.\n  Remedy: {remedy}")


class _Watched(TorchFunctionMode):
    """Passes every call of a PyTorch function to :meth:`see` while this context is active, in this thread only."""

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Inspect a call before it is made."""
        raise NotImplementedError

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make the inspected call."""
        self.see(func, args)
        return func(*args, **(kwargs or {}))


class FilledTensors(_Watched):
    """Records which tensors ``load_state_dict`` fills.

    timm only logs which keys a file lacks. It may wrap and prune the network after loading, but the tensors remain the
    same objects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._filled: dict[int, torch.Tensor] = {}

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Record the target of a copy; keeping it prevents reuse of its id."""
        if function is torch.Tensor.copy_:
            self._filled[id(args[0])] = args[0]

    def absent_from(self, network: nn.Module) -> list[str]:
        """Return the names of a network's tensors that kept their random values.

        Args:
            network: Network as timm returns it, pruned to the levels in use.
        """
        # Integers are counters of training steps, which evaluation does not use.
        return [
            name
            for name, tensor in network.state_dict(keep_vars=True).items()
            if tensor.dtype.is_floating_point and id(tensor) not in self._filled
        ]


def check_finite(network: nn.Module, params: BackboneParams) -> None:
    """Check that all weights are finite, as one NaN spreads to every feature.

    Args:
        network: Network; its buffers are not checked, as they may have open ranges.
        params: For the message.

    Raises:
        InputError: If a weight is NaN or infinite; names its tensor.
    """
    for name, tensor in network.named_parameters():
        if not tensor.isfinite().all():
            raise refuse(
                params,
                f"its weights contain NaN or infinity, in {name}",
                "use undamaged weights (backbones.<name>.weights).",
            )


class FewTensors(_Watched):
    """Stops the creation of a network with too many tensors, as untrusted settings may ask for a million layers."""

    def __init__(self, params: BackboneParams) -> None:
        super().__init__()
        self._params = params
        self._n_made = 0

    def see(self, function: Callable[..., Any], args: Any) -> None:
        """Count the created tensors."""
        self._n_made += function is torch.empty
        if self._n_made > _MOST_TENSORS:
            raise refuse(
                self._params,
                f"with its model_args it has more than {_MOST_TENSORS} tensors",
                "correct backbones.<name>.model_args, or use a checkpoint that you trust.",
            )
