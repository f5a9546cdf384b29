"""Training views: features of random augmentations, computed once for all folds and losses."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skinbit.config import AugmentationParams
from skinbit.data.progress import Progress
from skinbit.embedding.backbones import Backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.features import check_usable
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.preprocessing import standardise
from skinbit.embedding.tables import Pixels
from skinbit.matching.labels import FloatArray
from skinbit.training.augmentation import augment, draw_training_view
from skinbit.training.sampling import Rows

logger = logging.getLogger(__name__)


def describe_views(
    description: Mapping[str, Any], pixels: Pixels, augmentation: AugmentationParams, seed: int
) -> dict[str, Any]:
    """Return everything that training views depend on, except the image and the view's number.

    Args:
        description: Description of the backbone.
        pixels: Images to augment.
        augmentation: Ranges of the augmentation.
        seed: Seed of the random numbers.

    Returns:
        Plain values for JSON.
    """
    shared = {name: value for name, value in description.items() if name != "test_views"}
    # Also the zooms of the test views, as the closest one decides at which scale a JPEG is decoded.
    canvas = {name: pixels.description[name] for name in ("canvas_size", "interpolation", "zooms")}
    return {**shared, "augmentation": augmentation.model_dump(mode="json"), "canvas": canvas, "seed": seed}


@dataclass(frozen=True)
class ViewMaker:
    """Augments photographs and passes them through a frozen backbone.

    Attributes:
        pixels: Decoded photographs.
        backbone: Frozen network.
        augmentation: Ranges of the augmentation.
        compute: Device, precision, threads.
        batch_size: Images per forward pass.
        seed: Seed of the random numbers.
    """

    pixels: Pixels
    backbone: Backbone
    augmentation: AugmentationParams
    compute: Compute
    batch_size: int
    seed: int

    def extract(self, rows: Rows, views: range) -> FloatArray:
        """Return training views of some photographs.

        Args:
            rows: Rows of the photographs.
            views: Numbers of the views; each is independent of the others.

        Returns:
            ``(len(rows), len(views), feature_dim)`` float32.

        Raises:
            InputError: If a feature is not finite, or a whole vector is zero; names the image.
        """
        self.backbone.module.to(self.compute.device)
        values = np.empty((len(rows), len(views), self.backbone.feature_dim), dtype=np.float32)
        n_views = len(rows) * len(views)
        started = time.perf_counter()
        with deterministic(self.compute), Progress(total=n_views, unit="view", desc="training views") as bar:
            for column, view in enumerate(views):
                for start in range(0, len(rows), self.batch_size):
                    batch = rows[start : start + self.batch_size]
                    embedded = self._embed(batch, view)
                    check_usable(embedded[:, None], [self.pixels.image_ids[row] for row in batch])
                    values[start : start + len(batch), column] = embedded
                    bar.update(len(batch))
        rate = n_views / (time.perf_counter() - started)
        logger.info("%d images x %d training views: %.0f views per second", len(rows), len(views), rate)
        return values

    @torch.inference_mode()
    def _embed(self, rows: Rows, view: int) -> FloatArray:
        preprocessing, device = self.backbone.preprocessing, self.compute.device
        draws = np.stack([draw_training_view(self.seed, self.pixels.keys[row], view) for row in rows])
        canvases = as_tensor(self.pixels.canvases[rows]).to(device)
        augmented = augment(canvases, torch.from_numpy(draws).to(device), self.augmentation, preprocessing.image_size)
        with self.compute.autocast():
            features: torch.Tensor = self.backbone.module(standardise(augmented, preprocessing))
        embedded: FloatArray = features.float().cpu().numpy()
        return embedded
