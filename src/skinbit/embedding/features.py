"""Frozen features: every image passes the backbone once per test view and is cached."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skinbit.config import BackboneParams, LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.progress import Progress, count
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
        backbone: Backbone with its weights.
        params: Settings of the backbone.
        compute: Device, its kind, precision and threads, which change the last digits.
        batch_size: Images per forward pass, which also changes the last digits.

    Returns:
        Plain values for JSON; equal descriptions and equal image bytes mean equal features.
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
        "compute": compute.describe() | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }


def feature_key(description: dict[str, Any], image_sha256: str) -> str:
    """Return the fingerprint of an image's features: image bytes, weights, preprocessing, views, compute."""
    return hashlib.sha256(f"{json.dumps(description, sort_keys=True)}{image_sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Wanted:
    """A request for features.

    Attributes:
        name: Name of the features, for the log.
        image_ids: One per row.
        keys: Fingerprint of everything that the values of a row depend on.
        n_views: Smallest number of views per image.
        description: Description of the backbone, with its ``feature_dim``; plain values.
    """

    name: str
    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    n_views: int
    description: Mapping[str, Any]


def complete_features(
    wanted: Wanted, stored: Features, make: Callable[[NDArray[np.int64], range], FloatArray]
) -> Features:
    """Return features of an earlier run where their keys match, and compute the others.

    Args:
        wanted: The requested features.
        stored: Features of an earlier run; images that are no longer requested are dropped.
        make: Function that computes views of the images in some rows: ``(n_rows, n_views, feature_dim)`` float32.

    Returns:
        Features of all images, in the requested order, with as many views as ``stored`` has if that is more.
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
    count("feature", made=int(n_all - n_known), found=int(n_known))
    for rows, views in (
        (np.flatnonzero(is_known), range(n_stored, n_views)),
        (np.flatnonzero(~is_known), range(n_views)),
    ):
        if len(rows) and len(views):
            values[rows, views.start :] = make(rows, views)
    return Features(wanted.image_ids, values, wanted.keys, wanted.description)


@dataclass(frozen=True)
class Extraction:
    """How photographs are read and passed through a network.

    Attributes:
        photographs: Photographs to read.
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
    """Decodes and crops photographs, in the loader's worker processes."""

    photographs: ListedPhotographs
    image_ids: list[str]
    preprocessing: Preprocessing
    views: ViewParams

    def __call__(self, index: int) -> torch.Tensor:
        image = self.photographs.decode(self.image_ids[index], self.preprocessing.least_side(self.views))
        return torch.from_numpy(crop_zooms(image, self.preprocessing, self.views.zooms))


def extract_features(extraction: Extraction, image_ids: list[str], backbone: Backbone, views: ViewParams) -> FloatArray:
    """Return the features of every image, one per test view.

    Args:
        extraction: Photographs, loader and compute settings.
        image_ids: Image ids, in the order of the result.
        backbone: Frozen network.
        views: Rotations and zooms; view ``r * n_zooms + z``.

    Returns:
        ``(n_images, n_views, feature_dim)`` float32.

    Raises:
        InputError: If a photograph has changed since it was listed, a feature is not finite, or a whole vector is zero;
            names the image.
    """
    compute = extraction.compute
    module = backbone.module.to(compute.device)
    values = np.empty((len(image_ids), views.n_views, backbone.feature_dim), dtype=np.float32)
    started, done = time.perf_counter(), 0
    with deterministic(compute), Progress(total=len(image_ids), unit="image", desc="features") as bar:
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
    """Return the features of all test views of some images.

    Args:
        module: Maps pixels to features, on the device of ``compute``.
        batch: ``(n, n_zooms, 3, s, s)`` uint8.
        preprocessing: Mean and standard deviation.
        views: Rotations and zooms.
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
        image_ids: Image ids, for the message.

    Raises:
        InputError: If a feature is not finite, or a whole vector is zero; names the image.
    """
    usable = (np.isfinite(values).all(axis=2) & (values != 0).any(axis=2)).all(axis=1)
    if not usable.all():
        raise InputError(
            f"The features of image {image_ids[int(np.argmin(usable))]} are not finite, or all zero.\n"
            "  Remedy: look at the image; set compute.precision=fp32; check that the weights fit the model."
        )
