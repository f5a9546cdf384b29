"""Where a training stands: everything that its next epoch depends on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from skinbit.embedding.checkpoints import Checkpoint

logger = logging.getLogger(__name__)

_ROW = {"epoch", "loss", "f1", "recall_at_1", "learning_rate"}
"""Figures of an epoch."""

Tensors = dict[str, torch.Tensor]


@dataclass
class TrainingState:
    """A training after some epochs.

    Batches and augmentations of an epoch are drawn from (seed, epoch), so no state of a random generator belongs here.

    Attributes:
        history: One row per epoch: ``epoch, loss, f1, recall_at_1, learning_rate``.
        best: Weights of the best epoch.
        best_epoch: From 0; -1 before the first.
        centroids: ``(n_lesions, embedding_dim)`` of the last epoch, where the next one's batches depend on them.
        is_finished: Whether the training has ended; only ``best`` and ``history`` are then kept.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    best_epoch: int = -1
    centroids: torch.Tensor | None = None
    is_finished: bool = False

    @property
    def next_epoch(self) -> int:
        """Tell which epoch comes next."""
        return len(self.history)

    def note_epoch(self, row: dict[str, float], module: nn.Module) -> None:
        """Add an epoch; its weights are kept if its F1 is the highest so far, or if no F1 is defined yet."""
        self.history.append(row)
        best_f1 = self.history[self.best_epoch]["f1"] if self.best_epoch >= 0 else math.nan
        if math.isnan(best_f1) or row["f1"] > best_f1:
            self.best = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            self.best_epoch = self.next_epoch - 1

    def epochs_without_gain(self) -> int:
        """Count the epochs since the best one."""
        return self.next_epoch - 1 - self.best_epoch


def pack_state(
    state: TrainingState, key: str, module: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Checkpoint:
    """Put a training into one checkpoint.

    Args:
        state: Where it stands.
        key: Fingerprint of everything that the training depends on.
        module: Its current weights.
        optimiser: Its moments.
        scaler: Its loss scale.

    Returns:
        Tensors and header; of a finished training only history and best weights.
    """
    tensors = {f"best.{name}": tensor for name, tensor in state.best.items()}
    header: dict[str, Any] = {
        "key": key,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "is_finished": state.is_finished,
    }
    if not state.is_finished:
        tensors |= {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        if state.centroids is not None:
            tensors["centroids"] = state.centroids
        header["scaler"] = scaler.state_dict()
    return Checkpoint(tensors, header)


def unpack_state(
    stored: Checkpoint | None,
    key: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> TrainingState:
    """Go on where a training stood.

    Args:
        stored: From :func:`pack_state`, if there is any.
        key: Of the training that asks; the state of another training is not used.
        module: Receives its weights.
        optimiser: Receives its moments.
        scaler: Receives its loss scale.

    Returns:
        The state; that of a training that has not begun where none is stored, or one that does not fit.
    """
    if stored is None or stored.header.get("key") != key:
        return TrainingState()
    if not _fits(stored, module, optimiser, scaler):
        logger.warning("the stored state of this training is damaged: it begins anew")
        return TrainingState()
    header = stored.header
    state = TrainingState(
        list(header["history"]),
        _below(stored, "best."),
        header["best_epoch"],
        stored.tensors.get("centroids"),
        header["is_finished"],
    )
    if not state.is_finished:
        module.load_state_dict(_below(stored, "module."))
        moments: dict[int, Tensors] = {}
        for name, tensor in _below(stored, "optimiser.").items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        _lay_out(optimiser)
        scaler.load_state_dict(header["scaler"])
    return state


class _Header(BaseModel):
    """What a training goes on from, beside tensors."""

    model_config = ConfigDict(strict=True)

    history: Annotated[list[dict[str, float]], Field(min_length=1)]
    best_epoch: Annotated[int, Field(ge=0)]
    is_finished: bool
    scaler: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.best_epoch >= len(self.history) or any(row.keys() != _ROW for row in self.history):
            raise ValueError("the history has another length, or other figures")
        return self


def _fits(
    stored: Checkpoint, module: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> bool:
    """Tell whether a state is of this module and whole; nothing has been loaded yet, so a training may begin anew."""
    try:
        header = _Header.model_validate(dict(stored.header))
    except ValidationError:
        return False
    weights = _layout(module.state_dict())
    if _layout(_below(stored, "best.")) != weights:
        return False
    if header.is_finished:
        return True
    moments = {
        f"{index}.{name}": value
        for index, parameter in enumerate(each for group in optimiser.param_groups for each in group["params"])
        for name, value in (("exp_avg", parameter), ("exp_avg_sq", parameter), ("step", torch.zeros(())))
    }
    centroids = stored.tensors.get("centroids")
    return (
        _layout(_below(stored, "module.")) == weights
        and _layout(_below(stored, "optimiser.")) == _layout(moments)
        and header.scaler.keys() == scaler.state_dict().keys()
        and (centroids is None or centroids.ndim == 2)
    )


def _layout(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Bring moments into the memory layout of their weights: a fused step pairs them by position in memory."""
    for parameter, moments in optimiser.state.items():
        for name, moment in moments.items():
            if moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)


def _below(stored: Checkpoint, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in stored.tensors.items() if name.startswith(prefix)}
