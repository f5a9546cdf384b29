"""Where networks compute, with which precision and how many threads; deterministic everywhere."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from skinbit.config import ComputeParams
from skinbit.data.threads import available_cores
from skinbit.errors import InputError

_TURN = threading.Condition()
"""The number of threads is the process's, and figures depend on it: only networks with equal ones compute together."""

_computing: list[int] = []
"""Threads of each network that computes now."""


@dataclass(frozen=True)
class Compute:
    """Resolved compute settings: what ``auto`` and 0 mean on this machine.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        threads: CPU threads of PyTorch.
    """

    device: str
    precision: str
    threads: int

    def autocast(self) -> torch.autocast:
        """Return the mixed-precision context, which does nothing for ``fp32``."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device, dtype=dtype, enabled=self.precision != "fp32")


def resolve_compute(params: ComputeParams) -> Compute:
    """Settle device, precision and threads on this machine.

    Args:
        params: As configured.

    Returns:
        The settings without ``auto`` and 0.

    Raises:
        InputError: If a device is asked for that PyTorch does not see.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(name for name, is_there in available.items() if is_there)
    if params.device != "auto":
        device = params.device
        if not available[device]:
            raise InputError(f"compute.device is {device}, but PyTorch sees none. Remedy: set compute.device=auto.")
    precision = params.precision
    if precision == "auto":
        precision = "fp32" if device != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return Compute(device, precision, params.threads or available_cores())


@contextmanager
def deterministic(compute: Compute) -> Iterator[None]:
    """Run PyTorch with a fixed number of threads and deterministic algorithms.

    On a GPU a few operations have no deterministic algorithm: PyTorch then warns and names the operation, and does not
    end a training that will differ in its last digits. Threads of this process that ask for another number wait; those
    that ask for the same one compute side by side.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    before, tries_out = torch.get_num_threads(), torch.backends.cudnn.benchmark
    with _TURN:
        _TURN.wait_for(lambda: not _computing or _computing[0] == compute.threads)
        _computing.append(compute.threads)
        # OpenMP's number belongs to the calling thread, MKL's to the process: set it even where another has set it.
        torch.set_num_threads(compute.threads)
        torch.use_deterministic_algorithms(True, warn_only=compute.device != "cpu")
        torch.backends.cudnn.benchmark = False  # it chooses algorithms by their time, which is never twice the same
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # saves time
    try:
        yield
    finally:
        with _TURN:
            _computing.pop()
            if not _computing:
                torch.set_num_threads(before)
                torch.use_deterministic_algorithms(False)
                torch.backends.cudnn.benchmark = tries_out
            _TURN.notify_all()
