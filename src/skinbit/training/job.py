"""One training: what it is made of, and which images do what in it."""

from dataclasses import dataclass

from skinbit.config import BackboneParams, TrainingRecipe
from skinbit.embedding.compute import Compute


@dataclass(frozen=True)
class Job:
    """One training of one experiment.

    Attributes:
        name: Experiment and fold, for messages.
        backbone: Of the experiment.
        recipe: Loss, epochs, batches, schedule, head, augmentation.
        compute: Device, precision, threads.
        seed: Of weights, batches and augmentations.
        tile_megabytes: For similarities at any moment of the validation; changes no metric.
        last_epoch: Where a training without validation stops.
    """

    name: str
    backbone: BackboneParams
    recipe: TrainingRecipe
    compute: Compute
    seed: int
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
