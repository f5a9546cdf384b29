"""Frozen features: every image goes through the backbone once per test view, and never again."""

import hashlib
import json
import logging
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from skinbit.config import BackboneParams, LoaderParams, ViewParams
from skinbit.data.images import ImageFolder, decode_image
from skinbit.embedding.backbones import Backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.preprocessing import Preprocessing, crop_zooms, normalise_pixels, rotate
from skinbit.errors import InputError
from skinbit.matching.labels import FloatArray

logger = logging.getLogger(__name__)


def describe_backbone(backbone: Backbone, params: BackboneParams, compute: Compute, batch_size: int) -> dict[str, Any]:
    """Write down everything about a backbone that its features depend on.

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
        "preprocessing": asdict(backbone.preprocessing),
        "pooling": params.pooling.model_dump(mode="json"),
        "test_views": params.test_views.model_dump(mode="json"),
        "compute": asdict(compute) | {"batch_size": batch_size},
        "versions": {"pillow": PIL.__version__, "timm": timm.__version__, "torch": torch.__version__},
    }


def feature_key(description: dict[str, Any], image_sha256: str) -> str:
    """Fingerprint one image's features: image bytes, weights, preprocessing, views, compute."""
    return hashlib.sha256(f"{json.dumps(description, sort_keys=True)}{image_sha256}".encode()).hexdigest()


class _Crops(Dataset[torch.Tensor]):
    """Decodes and crops photographs; runs in the loader's worker processes."""

    def __init__(
        self,
        folder: ImageFolder,
        image_ids: list[str],
        preprocessing: Preprocessing,
        views: ViewParams,
        max_pixels: int,
    ) -> None:
        self._folder = folder
        self._image_ids = image_ids
        self._preprocessing = preprocessing
        self._views = views
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._image_ids)

    def __getitem__(self, index: int) -> torch.Tensor:
        content = self._folder.read(self._image_ids[index])
        image = decode_image(content, self._max_pixels, self._preprocessing.least_side(self._views))
        return torch.from_numpy(crop_zooms(image, self._preprocessing, self._views.zooms))


def extract_features(
    folder: ImageFolder,
    image_ids: list[str],
    backbone: Backbone,
    views: ViewParams,
    loader: LoaderParams,
    compute: Compute,
    max_pixels: int,
) -> FloatArray:
    """Run every image through the backbone, once per test view.

    Args:
        folder: Where the photographs are.
        image_ids: Which photographs, in this order.
        backbone: Frozen network.
        views: Rotations x zooms; view ``r * n_zooms + z``.
        loader: Worker processes and batch size.
        compute: Device, precision, threads.
        max_pixels: Larger images are refused.

    Returns:
        ``(n_images, n_views, feature_dim)`` float32.

    Raises:
        InputError: If a feature is not finite, or a whole vector is zero; names the image.
    """
    crops = _Crops(folder, image_ids, backbone.preprocessing, views, max_pixels)
    workers = min(loader.workers, -(-len(image_ids) // loader.batch_size))
    batches = DataLoader(
        crops,
        loader.batch_size,
        num_workers=workers,
        pin_memory=compute.device == "cuda",
        generator=torch.Generator(),  # else it draws from the global one, while another thread draws weights from it
    )
    module = backbone.module.to(compute.device)
    values = np.empty((len(image_ids), views.n_views, backbone.feature_dim), dtype=np.float32)
    started = time.perf_counter()
    with (
        deterministic(compute),
        tqdm(total=len(image_ids), unit="image", desc="features", disable=None) as bar,
    ):
        for number, batch in enumerate(batches):
            rows = slice(number * loader.batch_size, number * loader.batch_size + len(batch))
            values[rows] = embed_views(module, batch, backbone.preprocessing, views, compute)
            check_usable(values[rows], image_ids[rows])
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
