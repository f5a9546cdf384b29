"""The input of trainings: cached features or pixels of images."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from skinbit.config import AugmentationParams
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.preprocessing import Preprocessing, normalise_pixels, standardise
from skinbit.embedding.tables import Bytes
from skinbit.matching.labels import FloatArray
from skinbit.training.augmentation import augment, draw_augmentations
from skinbit.training.sampling import Rows


class TrainingImages(Protocol):
    """Images by row, as input of the trained module."""

    def drawn(self, rows: Rows, rng: np.random.Generator, device: str) -> torch.Tensor:
        """Return a random view of each image."""
        ...

    def plain(self, rows: Rows, device: str) -> torch.Tensor:
        """Return the plain view of each image."""
        ...


@dataclass(frozen=True)
class CachedViews:
    """Images as seen by a frozen backbone.

    Attributes:
        training_views: ``(n_images, n_views, feature_dim)`` float32, features of random augmentations.
        plain_views: ``(n_images, feature_dim)`` float32, features of the plain image.
    """

    training_views: FloatArray
    plain_views: FloatArray

    def drawn(self, rows: Rows, rng: np.random.Generator, device: str) -> torch.Tensor:
        """Return one of the training views of each image: ``(n, feature_dim)``."""
        views = rng.integers(self.training_views.shape[1], size=len(rows))
        return torch.from_numpy(self.training_views[rows, views]).to(device)

    def plain(self, rows: Rows, device: str) -> torch.Tensor:
        """Return the plain view's features: ``(n, feature_dim)``."""
        return torch.from_numpy(self.plain_views[rows]).to(device)


@dataclass(frozen=True)
class DecodedPhotographs:
    """Images as pixels, augmented on the training device.

    Attributes:
        canvases: ``(n_images, c, c, 3)`` uint8, the input of augmentation.
        plain_crops: ``(n_images, s, s, 3)`` uint8, the plain view.
        preprocessing: Mean, standard deviation, image size.
        augmentation: Ranges of the augmentation.
    """

    canvases: Bytes
    plain_crops: Bytes
    preprocessing: Preprocessing
    augmentation: AugmentationParams

    def drawn(self, rows: Rows, rng: np.random.Generator, device: str) -> torch.Tensor:
        """Return an augmentation of each image: ``(n, 3, s, s)`` normalised pixels."""
        draws = torch.from_numpy(draw_augmentations(rng, len(rows))).to(device)
        canvases = as_tensor(self.canvases[rows]).to(device)
        pixels = augment(canvases, draws, self.augmentation, self.preprocessing.image_size)
        return standardise(pixels, self.preprocessing)

    def plain(self, rows: Rows, device: str) -> torch.Tensor:
        """Return the plain view: ``(n, 3, s, s)`` normalised pixels."""
        return normalise_pixels(as_tensor(self.plain_crops[rows]).to(device), self.preprocessing)
