"""Frozen features: every image passes the backbone once per test view and is cached."""

import hashlib
import json
import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skinbit.config import BackboneParams, LoaderParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.progress import Progress
from skinbit.embedding.backbones import Backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.loading import batches_in, read_batches
from skinbit.embedding.preprocessing import Preprocessing, crop_zooms, normalise_pixels, rotate
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

    def batches(
        self, pieces: Sequence[Sequence[str]], preprocessing: Preprocessing, views: ViewParams
    ) -> Generator[torch.Tensor]:
        """Yield batches of crops, ``(batch_size, n_zooms, 3, s, s)`` uint8, piece by piece, in the order of the images.

        Workers read on into the next piece, but no batch has images of two pieces.
        """
        image_ids = [image_id for piece in pieces for image_id in piece]
        batches = batches_in([len(piece) for piece in pieces], self.loader.batch_size)
        crops = _Crops(self.photographs, image_ids, preprocessing, views)
        return read_batches(crops, batches, self.loader, pin_memory=self.compute.device == "cuda")


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
    """Return the features of every image, one per test view; see :func:`extract_pieces`.

    Returns:
        ``(n_images, n_views, feature_dim)`` float32.
    """
    (values,) = extract_pieces(extraction, [image_ids], backbone, views)
    return values


def extract_pieces(
    extraction: Extraction, pieces: Sequence[Sequence[str]], backbone: Backbone, views: ViewParams
) -> Iterator[FloatArray]:
    """Yield the features of the images of each piece, one per test view.

    Args:
        extraction: Photographs, loader and compute settings.
        pieces: Image ids, in the order of the result.
        backbone: Frozen network.
        views: Rotations and zooms; view ``r * n_zooms + z``.

    Yields:
        ``(n_images, n_views, feature_dim)`` float32.

    Raises:
        InputError: If a photograph has changed since it was listed, a feature is not finite, or a whole vector is zero;
            names the image.
    """
    compute, n_images = extraction.compute, sum(map(len, pieces))
    module = backbone.module.to(compute.device)
    started = time.perf_counter()
    with (
        closing(extraction.batches(pieces, backbone.preprocessing, views)) as batches,
        Progress(total=n_images, unit="image", desc="features") as bar,
    ):
        for piece in pieces:
            values = np.empty((len(piece), views.n_views, backbone.feature_dim), dtype=np.float32)
            done = 0
            while done < len(piece):
                batch = next(batches)
                rows = slice(done, done + len(batch))
                with deterministic(compute):
                    values[rows] = embed_views(module, batch, backbone.preprocessing, views, compute)
                check_usable(values[rows], piece[rows])
                done += len(batch)
                bar.update(len(batch))
            yield values
    rate = n_images / (time.perf_counter() - started)
    logger.info("%d images x %d views: %.0f images per second", n_images, views.n_views, rate)


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


def check_usable(values: NDArray[np.float32], image_ids: Sequence[str]) -> None:
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
