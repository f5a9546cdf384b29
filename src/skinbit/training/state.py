"""The state of a training: everything that its next epoch depends on."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from skinbit.embedding.checkpoints import StoredState

logger = logging.getLogger(__name__)

_ROW = {"epoch", "loss", "f1", "recall_at_1", "learning_rate"}
"""Metrics of an epoch."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Learner:
    """A module with everything else that its next step depends on.

    Attributes:
        module: Module on the training device.
        optimiser: AdamW over the module's parameters.
        scaler: Scaler of the loss; only used for fp16.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def moments(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield each parameter with the prefix of its moments' names in a stored state."""
        parameters = (each for group in self.optimiser.param_groups for each in group["params"])
        for index, parameter in enumerate(parameters):
            yield f"optimiser.{index}", parameter


@dataclass
class TrainingState:
    """A training after some epochs.

    Batches and augmentations of an epoch depend on (seed, epoch), so the state of a random generator is not needed.

    Attributes:
        history: One row per epoch: ``epoch, loss, f1, recall_at_1, learning_rate``.
        best: Weights of the best epoch.
        best_epoch: Number of the best epoch from 0; -1 before the first.
        centroids: ``(n_lesions, embedding_dim)`` of the last epoch, if the next one's batches depend on them.
        is_finished: Whether the training has ended; then only ``best`` and ``history`` are kept.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    best_epoch: int = -1
    centroids: torch.Tensor | None = None
    is_finished: bool = False

    @property
    def next_epoch(self) -> int:
        """Return the number of the next epoch, from 0."""
        return len(self.history)

    def note_epoch(self, row: dict[str, float], module: nn.Module) -> None:
        """Add an epoch; keep its weights if its F1 is the highest so far, or if no F1 is defined yet."""
        self.history.append(row)
        best_f1 = self.history[self.best_epoch]["f1"] if self.best_epoch >= 0 else math.nan
        if math.isnan(best_f1) or row["f1"] > best_f1:
            self.best = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            self.best_epoch = self.next_epoch - 1

    def epochs_without_gain(self) -> int:
        """Return the number of epochs since the best one."""
        return self.next_epoch - 1 - self.best_epoch


def pack_state(state: TrainingState, key: str, learner: Learner) -> StoredState:
    """Return a training as a stored state; a finished one has only history and best weights.

    Args:
        state: State of the training.
        key: Fingerprint of everything that the training depends on.
        learner: Learner in its current state.
    """
    tensors = _prefixed("best", state.best)
    header: dict[str, Any] = {
        "key": key,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "is_finished": state.is_finished,
    }
    if not state.is_finished:
        tensors |= _prefixed("module", learner.module.state_dict())
        for prefix, parameter in learner.moments():
            tensors |= _prefixed(prefix, learner.optimiser.state[parameter])
        if state.centroids is not None:
            tensors["centroids"] = state.centroids
        header["scaler"] = learner.scaler.state_dict()
    return StoredState(tensors, header)


def unpack_state(stored: StoredState | None, key: str, learner: Learner) -> TrainingState:
    """Return the state from which a training resumes.

    Args:
        stored: State from :func:`pack_state`, or None.
        key: Fingerprint of the training; the state of another training is not used.
        learner: Receives its weights, moments and loss scale.

    Returns:
        The stored state, or that of a new training if none is stored or it does not fit.
    """
    if stored is None or stored.header.get("key") != key:
        return TrainingState()
    header = _read_header(stored, learner)
    if header is None:
        logger.warning("the stored state of this training is damaged: the training restarts")
        return TrainingState()
    best, centroids = _below(stored, "best"), stored.tensors.get("centroids")
    if not header.is_finished:
        learner.module.load_state_dict(_below(stored, "module"))
        for prefix, parameter in learner.moments():
            learner.optimiser.state[parameter] = {
                name: _laid_out(moment, parameter) for name, moment in _below(stored, prefix).items()
            }
        learner.scaler.load_state_dict(header.scaler)
    return TrainingState(header.history, best, header.best_epoch, centroids, header.is_finished)


def _laid_out(moment: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """Return a moment on the device and in the memory layout of its weights, as a fused step pairs them by position."""
    like = torch.empty_like(parameter) if moment.shape == parameter.shape else moment.to(parameter.device)
    return like.detach().copy_(moment)


class _Header(BaseModel):
    """The header of a stored training."""

    model_config = ConfigDict(strict=True)

    history: Annotated[list[dict[str, float]], Field(min_length=1)]
    best_epoch: Annotated[int, Field(ge=0)]
    is_finished: bool
    scaler: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.best_epoch >= len(self.history) or any(row.keys() != _ROW for row in self.history):
            raise ValueError("the history has another length, or other metrics")
        return self


def _read_header(stored: StoredState, learner: Learner) -> _Header | None:
    """Return the header of a complete state of this learner, otherwise None, before anything is loaded."""
    try:
        header = _Header.model_validate(dict(stored.header))
    except ValidationError:
        return None
    weights = learner.module.state_dict()
    asked, found = _prefixed("best", weights), dict(stored.tensors)
    if not header.is_finished:
        asked |= _prefixed("module", weights)
        for prefix, parameter in learner.moments():
            asked |= _prefixed(prefix, {"exp_avg": parameter, "exp_avg_sq": parameter, "step": torch.zeros(())})
        if (
            found.pop("centroids", torch.zeros(1, 1)).ndim != 2
            or header.scaler.keys() != learner.scaler.state_dict().keys()
        ):
            return None
    return header if _layout(found) == _layout(asked) else None


def _layout(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _below(stored: StoredState, prefix: str) -> Tensors:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in stored.tensors.items() if name.startswith(start)}
