"""Device, precision and threads of networks; deterministic on all devices."""

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from skinbit.config import ComputeParams
from skinbit.data.threads import available_cores
from skinbit.errors import InputError

_TURN = threading.Condition()
"""The number of threads is set per process and changes results: networks run in parallel only if theirs are equal."""

_computing: list[int] = []
"""Threads of each network that is running."""


@dataclass(frozen=True)
class Compute:
    """Compute settings, with ``auto`` and 0 resolved for this machine.

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

    def describe(self) -> dict[str, Any]:
        """Return the settings and the kind of hardware, for the keys of what is computed with them.

        The kind is what decides how PyTorch computes: the instruction set of a processor, not its name, so that a cache
        serves all machines of one kind; or the model of a GPU.
        """
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        if self.device == "cuda":
            kind = torch.cuda.get_device_name()
        return asdict(self) | {"hardware": kind}


def resolve_compute(params: ComputeParams) -> Compute:
    """Return device, precision and threads for this machine.

    Args:
        params: Settings of the configuration.

    Returns:
        The settings without ``auto`` and 0.

    Raises:
        InputError: If PyTorch does not find the requested device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(name for name, is_there in available.items() if is_there)
    if params.device != "auto":
        device = params.device
        if not available[device]:
            raise InputError(f"compute.device is {device}, but PyTorch finds none. Remedy: set compute.device=auto.")
    precision = params.precision
    if precision == "auto":
        precision = "fp32" if device != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return Compute(device, precision, params.threads or available_cores())


@contextmanager
def deterministic(compute: Compute) -> Iterator[None]:
    """Run PyTorch with a fixed number of threads and deterministic algorithms.

    On a GPU a few operations have no deterministic algorithm: PyTorch then logs a warning with the operation, and a
    training may differ in its last digits. Threads of this process that request another number of threads wait; those
    that request the same number run in parallel.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required for deterministic cuBLAS
    before, tries_out = torch.get_num_threads(), torch.backends.cudnn.benchmark
    with _TURN:
        _TURN.wait_for(lambda: not _computing or _computing[0] == compute.threads)
        _computing.append(compute.threads)
        # OpenMP's number belongs to the calling thread, MKL's to the process: set both in every thread.
        torch.set_num_threads(compute.threads)
        torch.use_deterministic_algorithms(True, warn_only=compute.device != "cpu")
        torch.backends.cudnn.benchmark = False  # it chooses algorithms by time, which varies
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
