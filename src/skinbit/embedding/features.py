"""Frozen features: every image goes through the backbone once per test view, and never again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from skinbit.config import BackboneParams, LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.embedding.backbones import Backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.loading import read_batches
from skinbit.embedding.preprocessing import Preprocessing, crop_zooms, normalise_pixels, rotate
from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.matching.labels import FloatArray

logger = logging.getLogger(__name__)


def describe_backbone(backbone: Backbone, params: BackboneParams, compute: Compute, batch_size: int) -> dict[str, Any]:
    """Return everything about a backbone that its features depend on.

    Args:
        backbone: With its weights loaded.
        params: Its settings.
        compute: Device, precision and threads change the last digits.
        batch_size: So does the number of images per forward pass.

    Returns:
        Plain values, ready for JSON; equal descriptions mean equal features for equal image bytes.
    """
    import PIL
    import timm

    return {
        "model": params.model,
        "weights_sha256": backbone.weights_sha256(),
        "feature_dim": backbone.feature_dim,
        "preprocessing": backbone.preprocessing.model_dump(),
        "pooling": params.pooling.model_dump(mode="json"),
        "test_views": params.test_views.model_dump(mode="json"),
        "compute": asdict(compute) | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }


def feature_key(description: dict[str, Any], image_sha256: str) -> str:
    """Return the fingerprint of one image's features: image bytes, weights, preprocessing, views, compute."""
    return hashlib.sha256(f"{json.dumps(description, sort_keys=True)}{image_sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Wanted:
    """Features that are asked for.

    Attributes:
        name: Of the features, for the log.
        image_ids: One per row.
        keys: Per row, the fingerprint of everything that the values depend on.
        n_views: Per image, at least.
        description: Of the backbone, with its ``feature_dim``; plain values.
    """

    name: str
    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    n_views: int
    description: Mapping[str, Any]


def complete_features(
    wanted: Wanted, stored: Features, make: Callable[[NDArray[np.int64], range], FloatArray]
) -> Features:
    """Return features of an earlier run where their keys are wanted, and make the others.

    Args:
        wanted: Which features.
        stored: Of an earlier run; images that are no longer wanted are dropped.
        make: Makes some views of the images in some rows: ``(n_rows, n_views, feature_dim)`` float32.

    Returns:
        Features of all images, in the order asked for; of each as many views as ``stored`` has where that is more.
    """
    row_of = {key: row for row, key in enumerate(stored.keys)}
    is_known = np.array([key in row_of for key in wanted.keys], dtype=bool)
    n_stored = stored.values.shape[1] if is_known.any() else 0
    n_views = max(wanted.n_views, n_stored)
    values = np.empty((len(wanted.keys), n_views, wanted.description["feature_dim"]), dtype=np.float32)
    if n_stored:
        values[is_known, :n_stored] = stored.values[[row_of[key] for key in wanted.keys if key in row_of]]
    n_known, n_all = is_known.sum() * n_stored, len(wanted.keys) * n_views
    counts = (wanted.name, len(wanted.keys), n_views, n_known, n_all - n_known)
    logger.info("%s: %d images x %d views: %d features from the cache, %d to compute", *counts)
    for rows, views in (
        (np.flatnonzero(is_known), range(n_stored, n_views)),
        (np.flatnonzero(~is_known), range(n_views)),
    ):
        if len(rows) and len(views):
            values[rows, views.start :] = make(rows, views)
    return Features(wanted.image_ids, values, wanted.keys, wanted.description)


@dataclass(frozen=True)
class Extraction:
    """How photographs are read and run through a network.

    Attributes:
        photographs: To be read.
        loader: Worker processes and batch size.
        compute: Device, precision, threads.
    """

    photographs: ListedPhotographs
    loader: LoaderParams
    compute: Compute

    def batches(self, image_ids: list[str], preprocessing: Preprocessing, views: ViewParams) -> Iterator[torch.Tensor]:
        """Yield batches of crops, ``(batch_size, n_zooms, 3, s, s)`` uint8, in the order of the images."""
        crops = _Crops(self.photographs, image_ids, preprocessing, views)
        return read_batches(crops, len(image_ids), self.loader, pin_memory=self.compute.device == "cuda")


@dataclass(frozen=True)
class _Crops:
    """Decodes and crops photographs; runs in the loader's worker processes."""

    photographs: ListedPhotographs
    image_ids: list[str]
    preprocessing: Preprocessing
    views: ViewParams

    def __call__(self, index: int) -> torch.Tensor:
        image = self.photographs.decode(self.image_ids[index], self.preprocessing.least_side(self.views))
        return torch.from_numpy(crop_zooms(image, self.preprocessing, self.views.zooms))


def extract_features(extraction: Extraction, image_ids: list[str], backbone: Backbone, views: ViewParams) -> FloatArray:
    """Run every image through the backbone, once per test view.

    Args:
        extraction: Where the photographs are, and where to compute.
        image_ids: Which photographs, in this order.
        backbone: Frozen network.
        views: Rotations x zooms; view ``r * n_zooms + z``.

    Returns:
        ``(n_images, n_views, feature_dim)`` float32.

    Raises:
        InputError: If a photograph is not as it was when it was listed, a feature is not finite, or a whole vector is
            zero; names the image.
    """
    compute = extraction.compute
    module = backbone.module.to(compute.device)
    values = np.empty((len(image_ids), views.n_views, backbone.feature_dim), dtype=np.float32)
    started, done = time.perf_counter(), 0
    with deterministic(compute), tqdm(total=len(image_ids), unit="image", desc="features", disable=None) as bar:
        for batch in extraction.batches(image_ids, backbone.preprocessing, views):
            rows = slice(done, done + len(batch))
            values[rows] = embed_views(module, batch, backbone.preprocessing, views, compute)
            check_usable(values[rows], image_ids[rows])
            done += len(batch)
            bar.update(len(batch))
    rate = len(image_ids) / (time.perf_counter() - started)
    logger.info("%d images x %d views: %.0f images per second", len(image_ids), views.n_views, rate)
    return values


@torch.inference_mode()
def embed_views(
    module: torch.nn.Module,
    batch: torch.Tensor,
    preprocessing: Preprocessing,
    views: ViewParams,
    compute: Compute,
) -> NDArray[np.float32]:
    """Map the crops of images to their test views' features.

    Args:
        module: Pixels to features, on the device of ``compute``.
        batch: ``(n, n_zooms, 3, s, s)`` uint8.
        preprocessing: Mean and standard deviation.
        views: Rotations x zooms.
        compute: Device and precision.

    Returns:
        ``(n, n_views, feature_dim)`` float32.
    """
    crops = batch.to(compute.device, non_blocking=True)
    zoomed = [normalise_pixels(crops[:, zoom], preprocessing) for zoom in range(crops.shape[1])]
    with compute.autocast():
        features = [module(rotate(pixels, degrees)).float() for degrees in views.rotations for pixels in zoomed]
    return torch.stack(features, dim=1).cpu().numpy()


def check_usable(values: NDArray[np.float32], image_ids: list[str]) -> None:
    """Check features before they are stored.

    Args:
        values: ``(n_images, n_views, feature_dim)``.
        image_ids: For the message.

    Raises:
        InputError: If a feature is not finite, or a whole vector is zero; names the image.
    """
    usable = (np.isfinite(values).all(axis=2) & (values != 0).any(axis=2)).all(axis=1)
    if not usable.all():
        raise InputError(
            f"The features of image {image_ids[int(np.argmin(usable))]} are not finite, or all zero.\n"
            "  Remedy: look at the image; set compute.precision=fp32; check that the weights fit the model."
        )
