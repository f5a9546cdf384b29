"""Settings of one training, and which images do what in it."""

from dataclasses import dataclass

from skinbit.config import AugmentationParams, BackboneParams, LossParams, TrainingParams
from skinbit.embedding.compute import Compute


@dataclass(frozen=True)
class Recipe:
    """All settings of one training, overrides applied.

    Attributes:
        name: Experiment and fold, for messages.
        backbone: Of the experiment.
        loss_name: ``contrastive``, ``triplet`` or ``infonce``.
        loss: Its settings.
        training: Epochs, batches, schedule, head.
        augmentation: Of training images.
        compute: Device, precision, threads.
        seed: Of weights, batches and augmentations.
        save_every: Seconds between two saved states.
        tile_megabytes: For similarities at any moment of the validation; changes no figure.
        last_epoch: Where a training without validation stops.
    """

    name: str
    backbone: BackboneParams
    loss_name: str
    loss: LossParams
    training: TrainingParams
    augmentation: AugmentationParams
    compute: Compute
    seed: int
    save_every: float
    tile_megabytes: float = 64.0
    last_epoch: int | None = None


@dataclass(frozen=True)
class Roles:
    """Which images do what in a training.

    Attributes:
        train_ids: Images to learn from.
        train_lesions: Their lesions.
        judged_ids: Images to embed at the end; in a fold also those that choose the best epoch.
        judged_lesions: Their lesions.
        chooses_epoch: Whether the judged images choose it: never those of the test subset.
    """

    train_ids: tuple[str, ...]
    train_lesions: tuple[str, ...]
    judged_ids: tuple[str, ...]
    judged_lesions: tuple[str, ...]
    chooses_epoch: bool
