"""A model on disk: its weights, and everything needed to rebuild and use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Checkpoint:
    """Weights with the settings they belong to.

    Attributes:
        tensors: Weights and buffers by name.
        header: Plain values: backbone, image size, head, loss, threshold, eps, seed, versions.
    """

    tensors: Mapping[str, torch.Tensor]
    header: Mapping[str, Any]
