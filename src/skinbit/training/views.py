"""Training views: features of random augmentations, computed once for all folds and losses."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skinbit.config import AugmentationParams, BackboneParams
from skinbit.data.mapped import take
from skinbit.data.pieces import Making, PieceStore, Rows, Wanted, complete
from skinbit.data.progress import Progress
from skinbit.embedding.backbones import Backbone, load_described
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.features import check_usable
from skinbit.embedding.pixels import as_tensor
from skinbit.embedding.preprocessing import standardise
from skinbit.embedding.tables import Features, Gathered, Pixels
from skinbit.matching.labels import FloatArray
from skinbit.training.augmentation import augment, draw_training_view

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
        backbone: Settings of the frozen network.
        augmentation: Ranges of the augmentation.
        compute: Device, precision, threads.
        batch_size: Images per forward pass.
        seed: Seed of the random numbers, and of weights that are not pretrained.
        keys: Fingerprint of each photograph's views.
        description: Everything that views depend on, except the photograph and the view's number.
    """

    pixels: Pixels
    backbone: BackboneParams
    augmentation: AugmentationParams
    compute: Compute
    batch_size: int
    seed: int
    keys: Sequence[str]
    description: Mapping[str, Any]

    def __call__(self, pieces: Sequence[Rows]) -> Iterator[Features]:
        """Yield the training views of each piece, all of one number.

        Args:
            pieces: ``view * n_images + row`` of each view.

        Raises:
            InputError: If a feature is not finite, or a whole vector is zero; names the image.
        """
        backbone = load_described(self.backbone, self.seed, self.description["weights_sha256"])
        backbone.module.to(self.compute.device)
        n_images, n_views = len(self.pixels.image_ids), sum(map(len, pieces))
        started = time.perf_counter()
        with Progress(total=n_views, unit="view", desc="training views") as bar:
            for piece in pieces:
                view, rows = int(piece[0]) // n_images, piece % n_images
                image_ids = [self.pixels.image_ids[row] for row in rows]
                values = np.empty((len(rows), 1, backbone.feature_dim), dtype=np.float32)
                for start in range(0, len(rows), self.batch_size):
                    batch = slice(start, start + self.batch_size)
                    with deterministic(self.compute):
                        values[batch, 0] = self._embed(backbone, rows[batch], view)
                    check_usable(values[batch], image_ids[batch])
                    bar.update(len(values[batch]))
                keys = tuple(_view_key(self.keys[row], view) for row in rows)
                yield Features(tuple(image_ids), values, keys, self.description)
        rate = n_views / (time.perf_counter() - started)
        logger.info("%d training views: %.0f views per second", n_views, rate)

    @torch.inference_mode()
    def _embed(self, backbone: Backbone, rows: Rows, view: int) -> FloatArray:
        preprocessing, device = backbone.preprocessing, self.compute.device
        draws = np.stack([draw_training_view(self.seed, self.pixels.keys[row], view) for row in rows])
        canvases = as_tensor(take(self.pixels.canvases, rows)).to(device)
        augmented = augment(canvases, torch.from_numpy(draws).to(device), self.augmentation, preprocessing.image_size)
        with self.compute.autocast():
            features: torch.Tensor = backbone.module(standardise(augmented, preprocessing))
        embedded: FloatArray = features.float().cpu().numpy()
        return embedded


def complete_views(
    maker: ViewMaker, name: str, n_views: int, store: PieceStore[Features], making: Making
) -> Gathered[Features]:
    """Return training views of all photographs, after making those that no earlier run has made.

    Args:
        maker: What makes views.
        name: Name of the views, for the log.
        n_views: Smallest number of views per photograph.
        store: Views of earlier runs.
        making: Executor, and size of a piece.

    Returns:
        Where the views of each photograph are; more than asked for if the finished file of an earlier run has more.
    """
    finished, image_ids = store.finished(), maker.pixels.image_ids
    if not set(maker.keys).isdisjoint(finished.keys):
        n_views = max(n_views, finished.values.shape[1])
    wanted = Wanted(
        f"{name}, {n_views} training views of {len(image_ids)} photographs",
        "view",
        [_view_key(key, view) for view in range(n_views) for key in maker.keys],
        image_ids * n_views,
        [view for view in range(n_views) for _ in image_ids],
    )
    places = complete(wanted, _Views(store, finished), maker, making)
    n_images = len(image_ids)
    by_image = [places[view * n_images + row] for row in range(n_images) for view in range(n_views)]
    return Gathered(image_ids, tuple(maker.keys), maker.description, by_image)


@dataclass(frozen=True)
class _Views:
    """Stored views with one row per photograph and view, as pieces have them."""

    store: PieceStore[Features]
    whole: Features

    def finished(self) -> Features:
        n_images, n_views, feature_dim = self.whole.values.shape
        keys = tuple(_view_key(key, view) for key in self.whole.keys for view in range(n_views))
        values = self.whole.values.reshape(n_images * n_views, 1, feature_dim)
        return Features((), values, keys, self.whole.description)

    def pieces(self) -> list[Features]:
        return self.store.pieces()

    def keep(self, piece: Features) -> Features:
        return self.store.keep(piece)


def _view_key(key: str, view: int) -> str:
    return f"{key}.{view}"
