"""The training loop, in which a module learns to embed photographs of one lesion close to each other."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from skinbit.config import TrainingParams
from skinbit.data.progress import Progress, count
from skinbit.embedding.checkpoints import StateStore
from skinbit.embedding.compute import Compute, deterministic
from skinbit.errors import InputError, is_short_of_memory
from skinbit.matching.cuts.survey import best_f1_and_recall
from skinbit.matching.labels import FloatArray, LabelArray, unit_vectors
from skinbit.matching.pairs.pool import DEFAULT_LIMITS, Limits, Pool
from skinbit.training.images import TrainingImages
from skinbit.training.losses import Loss
from skinbit.training.sampling import Rows, hard_order, lesion_batches
from skinbit.training.state import Learner, Tensors, TrainingState, pack_state, unpack_state

logger = logging.getLogger(__name__)

_PLAIN_BATCH = 256
"""Images per forward pass of the validation."""

_LEAST_RATE = 0.01
"""Share of the learning rate at which the cosine schedule ends."""


@dataclass(frozen=True)
class Subset:
    """Images for training or for validation.

    Attributes:
        rows: Rows of the images in :class:`TrainingImages`.
        labels: Lesion of each image, 0 … n_lesions - 1.
    """

    rows: Rows
    labels: LabelArray


@dataclass(frozen=True)
class Fitted:
    """The result of a training.

    Attributes:
        weights: Weights of the best epoch by validation F1, or of the last one without validation.
        history: One row per epoch: ``epoch, loss, f1, recall_at_1, learning_rate``; epochs count from 1.
        best_epoch: Number of the best epoch, from 1.
    """

    weights: Tensors
    history: list[dict[str, float]]
    best_epoch: int


@dataclass(frozen=True)
class Training:
    """Everything that a training needs besides its images and their lesions.

    Attributes:
        name: Name for messages and the progress bar.
        module: Maps the input of :class:`TrainingImages` to embeddings; on the device of ``compute``.
        groups: Parameters with ``lr`` and ``weight_decay``.
        loss: Loss of embeddings and lesions.
        params: Epochs, batches, schedule.
        compute: Device, precision, threads.
        seed: Seed of batches and augmentations.
        key: Fingerprint of everything that the result depends on.
        save_every: Seconds between saved states.
        limits: How many similarities the validation holds at once.
        last_epoch: Epoch at which training stops before the schedule ends; None: all epochs of ``params``.
    """

    name: str
    module: nn.Module
    groups: list[dict[str, object]]
    loss: Loss
    params: TrainingParams
    compute: Compute
    seed: int
    key: str
    save_every: float
    limits: Limits = DEFAULT_LIMITS
    last_epoch: int | None = None


def fit(
    training: Training, images: TrainingImages, train: Subset, validation: Subset | None, store: StateStore
) -> Fitted:
    """Train with validation and early stopping, and keep the best weights; resumes an interrupted training.

    Args:
        training: Module and settings.
        images: All images.
        train: Lesions to train on.
        validation: Other lesions that choose the best epoch; None: all epochs run, and the last one is kept.
        store: Stores the state; a finished training is not repeated.

    Returns:
        Weights and history, which do not depend on interruptions on a CPU.

    Raises:
        InputError: If the loss diverges or memory does not suffice; names the parameter to change.
    """
    optimiser = torch.optim.AdamW(training.groups, fused=True)
    scaler = torch.amp.GradScaler(training.compute.device, enabled=training.compute.precision == "fp16")
    learner = Learner(training.module, optimiser, scaler)
    state = unpack_state(store.read(), training.key, learner)
    n_before = state.next_epoch
    if state.is_finished:
        logger.info("%s: trained before, best epoch %d", training.name, state.best_epoch + 1)
    else:
        if state.next_epoch:
            logger.info("%s: resumes after epoch %d", training.name, state.next_epoch)
        with deterministic(training.compute), _mendable(training):
            _Training(training, learner, images, train, validation).finish(state, store)
    count("epoch", made=state.next_epoch - n_before, found=n_before)
    return Fitted(state.best, state.history, state.best_epoch + 1)


@dataclass(frozen=True)
class _Training:
    """A training with its learner and its images."""

    training: Training
    learner: Learner
    images: TrainingImages
    train: Subset
    validation: Subset | None

    def finish(self, state: TrainingState, store: StateStore) -> None:
        """Run the remaining epochs, and save the state from time to time."""
        training = self.training
        started = saved = time.perf_counter()
        total = training.last_epoch or training.params.epochs
        with Progress(total=total, initial=state.next_epoch, unit="epoch", desc=training.name) as bar:
            while not state.is_finished:
                row = self._learn(state) | self._validate()
                state.note_epoch(row, training.module)
                state.is_finished = state.next_epoch >= total or self._has_stalled(state)
                if state.is_finished or time.perf_counter() - saved >= training.save_every:
                    store.write(pack_state(state, training.key, self.learner))
                    saved = time.perf_counter()
                shown = ("loss", "f1") if self.validation else ("loss",)
                bar.set_postfix({metric: f"{row[metric]:.3f}" for metric in shown})
                bar.update()
        f1, best = state.history[state.best_epoch]["f1"], state.best_epoch + 1
        kept = "the last one is kept" if math.isnan(f1) else f"best epoch {best} (F1 {f1:.3f})"
        seconds = time.perf_counter() - started
        logger.info("%s: %d epochs in %.1f s, %s", training.name, state.next_epoch, seconds, kept)

    def _has_stalled(self, state: TrainingState) -> bool:
        return self.validation is not None and 0 < self.training.params.patience <= state.epochs_without_gain()

    def _learn(self, state: TrainingState) -> dict[str, float]:
        """Train for one epoch, in which every lesion is shown once.

        Returns:
            ``epoch``, mean ``loss`` over batches, ``learning_rate`` of the last step.
        """
        training, params, device = self.training, self.training.params, self.training.compute.device
        rng = np.random.default_rng([training.seed, state.next_epoch])
        order = None
        if params.hard_lesions > 1 and state.centroids is not None:
            order = hard_order(state.centroids.numpy(), params.hard_lesions, rng)
        batches = lesion_batches(self.train.labels, params.lesions_per_batch, params.images_per_lesion, rng, order)
        training.module.train()
        losses, seen = [], []
        for step, batch in enumerate(batches):
            rate = _schedule(state.next_epoch + (step + 1) / len(batches), params)
            inputs = self.images.drawn(self.train.rows[batch], rng, device)
            labels = torch.from_numpy(self.train.labels[batch]).to(device)
            loss, embeddings = take_step(training, self.learner, inputs, labels, rate)
            losses.append(loss)
            seen.append(embeddings)
        if params.hard_lesions > 1:
            state.centroids = _centroids(torch.cat(seen), self.train.labels[np.concatenate(batches)])
        return {
            "epoch": float(state.next_epoch + 1),
            "loss": math.fsum(losses) / len(losses),
            "learning_rate": params.learning_rate * rate,
        }

    def _validate(self) -> dict[str, float]:
        """Return pairwise F1 at its best threshold and recall@1 of plain views; NaN without validation."""
        if self.validation is None:
            return {"f1": math.nan, "recall_at_1": math.nan}
        embeddings = unit_vectors(self._embed_plain(self.validation.rows))
        f1, recall = best_f1_and_recall(Pool(embeddings, limits=self.training.limits), self.validation.labels)
        return {"f1": f1, "recall_at_1": recall}

    @torch.inference_mode()
    def _embed_plain(self, rows: Rows) -> FloatArray:
        training = self.training
        training.module.eval()
        blocks = []
        for start in range(0, len(rows), _PLAIN_BATCH):
            inputs = self.images.plain(rows[start : start + _PLAIN_BATCH], training.compute.device)
            with training.compute.autocast():
                blocks.append(training.module(inputs).float().cpu().numpy())
        embeddings = np.concatenate(blocks)
        check_directions(embeddings, training.name)
        return embeddings


def take_step(
    training: Training, learner: Learner, inputs: torch.Tensor, labels: torch.Tensor, rate: float
) -> tuple[float, torch.Tensor]:
    """Train on one batch.

    Args:
        training: Loss and settings.
        learner: Module and optimiser.
        inputs: Input of the batch, on the device.
        labels: ``(n,)``, the lesion of each image.
        rate: Factor of the learning rate.

    Returns:
        The loss, and the batch's embeddings on the CPU.

    Raises:
        InputError: If the loss or its gradient is not finite; names the parameter to change.
    """
    optimiser, scaler = learner.optimiser, learner.scaler
    for group in optimiser.param_groups:
        group["lr"] = group["full_lr"] * rate
    with training.compute.autocast():
        embeddings = learner.module(inputs)
    loss = training.loss(embeddings, labels)
    optimiser.zero_grad()
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimiser)
    norm = nn.utils.clip_grad_norm_(learner.module.parameters(), training.params.clip_norm)
    # With fp16, the scaler skips a step whose gradients overflow, and lowers its scale.
    if not torch.isfinite(loss) or not (torch.isfinite(norm) or scaler.is_enabled()):
        raise InputError(
            f"{training.name}: the loss diverged (loss {float(loss.detach()):.3g}, gradient norm {float(norm):.3g}).\n"
            f"  Remedy: lower learning_rate (now {training.params.learning_rate:g}), or raise warmup (now "
            f"{training.params.warmup:g}), in training.frozen or training.fine_tuned or in the experiment's "
            "training."
        )
    scaler.step(optimiser)
    scaler.update()
    return float(loss.detach()), embeddings.detach().cpu()


def _schedule(epochs_done: float, params: TrainingParams) -> float:
    """Return the factor of the learning rate after this many epochs: linear warm-up, then a cosine."""
    warmup = params.warmup * params.epochs
    if epochs_done < warmup:
        return epochs_done / warmup
    progress = (epochs_done - warmup) / (params.epochs - warmup)
    return _LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * progress)) / 2


def _centroids(embeddings: torch.Tensor, labels: LabelArray) -> torch.Tensor:
    sums = torch.zeros(int(labels.max()) + 1, embeddings.shape[1])
    return nn.functional.normalize(sums.index_add_(0, torch.from_numpy(labels), embeddings), dim=1)


def check_directions(embeddings: FloatArray, name: str) -> None:
    """Check that no embedding is zero, which happens if all ReLUs of a narrow head are inactive.

    Args:
        embeddings: ``(..., embedding_dim)``.
        name: Name of the training, for the message.

    Raises:
        InputError: If one is zero or not finite; names the parameters to change.
    """
    if not (np.isfinite(embeddings).all() and embeddings.any(axis=-1).all()):
        raise InputError(
            f"{name}: the head maps some image to a zero vector, which has no similarity to others.\n"
            "  Remedy: widen or remove head.hidden, or lower learning_rate, in training.frozen or training.fine_tuned "
            "or in the experiment's training."
        )


@contextmanager
def _mendable(training: Training) -> Iterator[None]:
    """Turn a lack of memory into a message that names the parameter to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_short_of_memory(error):
            raise
        raise InputError(
            f"{training.name}: memory does not suffice on {training.compute.device}.\n"
            f"  Remedy: lower lesions_per_batch (now {training.params.lesions_per_batch}) in training.frozen or "
            "training.fine_tuned or in the experiment's training; a smaller image_size helps, too."
        ) from error
