"""The settings of one training, and the roles of images in it."""

from dataclasses import dataclass

from skinbit.config import BackboneParams, TrainingRecipe
from skinbit.embedding.compute import Compute


@dataclass(frozen=True)
class Job:
    """One training of one experiment.

    Attributes:
        name: Experiment and fold, for messages.
        backbone: Settings of the backbone.
        recipe: Loss, epochs, batches, schedule, head, augmentation.
        compute: Device, precision, threads.
        seed: Seed of weights, batches and augmentations.
        tile_megabytes: Size of the similarities that validation holds at once; changes no metric.
        last_epoch: Epoch at which a training without validation stops.
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
    """The roles of images in a training.

    Attributes:
        train_ids: Images to train on.
        train_lesions: Lesions of ``train_ids``.
        judged_ids: Images to embed at the end; in a fold, they also choose the best epoch.
        judged_lesions: Lesions of ``judged_ids``.
        chooses_epoch: Whether ``judged_ids`` choose the epoch; never for the test subset.
    """

    train_ids: tuple[str, ...]
    train_lesions: tuple[str, ...]
    judged_ids: tuple[str, ...]
    judged_lesions: tuple[str, ...]
    chooses_epoch: bool
