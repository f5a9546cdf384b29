"""Differences between photographs of one lesion, imitated on whole batches."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from skinbit.config import AugmentationParams

DRAWS = (
    *("angle", "flip", "zoom", "x", "y", "red", "green", "blue", "exposure", "contrast", "saturation"),
    *("is_blurred", "blur", "has_vignette", "vignette"),
)
"""Names of the random numbers per augmented image, each uniform in [0, 1)."""

_LUMA = (0.299, 0.587, 0.114)
_VIGNETTE_RADII = (0.85, 1.25)
"""Radius of the black border's inner edge, in half sides of the image: it cuts the sides, or only the corners."""

Draws = NDArray[np.float32]


def draw_augmentations(rng: np.random.Generator, n_images: int) -> Draws:
    """Return the random numbers that :func:`augment` needs for each image.

    Args:
        rng: Random generator.
        n_images: Number of images.

    Returns:
        ``(n_images, len(DRAWS))`` uniform in [0, 1).
    """
    draws: Draws = rng.random((n_images, len(DRAWS)), dtype=np.float32)
    return draws


def draw_training_view(seed: int, image_sha256: str, view: int) -> Draws:
    """Return the random numbers of a cached training view, which depend only on seed, image bytes and view.

    Args:
        seed: Seed of the study.
        image_sha256: Hash of the image file.
        view: Number of the view, from 0.

    Returns:
        ``(len(DRAWS),)`` uniform in [0, 1).
    """
    draws: Draws = draw_augmentations(np.random.default_rng([seed, int(image_sha256[:16], 16), view]), 1)[0]
    return draws


def augment(canvases: torch.Tensor, draws: torch.Tensor, params: AugmentationParams, image_size: int) -> torch.Tensor:
    """Return augmented images: rotated, mirrored, zoomed, shifted, relit, blurred and with a vignette.

    Args:
        canvases: ``(n, 3, c, c)`` uint8, whole central squares.
        draws: ``(n, len(DRAWS))`` from :func:`draw_augmentations`, on the same device.
        params: Ranges of the augmentation.
        image_size: Side of the result in pixels.

    Returns:
        ``(n, 3, image_size, image_size)`` float32 in [0, 1], channels last; mirrored beyond the canvas.
    """
    draw = dict(zip(DRAWS, draws.unbind(dim=1), strict=True))
    grid = F.affine_grid(_geometry(draw, params), [len(canvases), 3, image_size, image_size], align_corners=False)
    pixels = F.grid_sample(canvases.float().div_(255), grid, padding_mode="reflection", align_corners=False)
    pixels = _blur(_relight(pixels, draw, params), draw, params)
    return _darken_border(pixels, draw, params).contiguous(memory_format=torch.channels_last)


def _geometry(draw: dict[str, torch.Tensor], params: AugmentationParams) -> torch.Tensor:
    """Return ``(n, 2, 3)`` transforms from coordinates of the result to those of the canvas, both in [-1, 1]."""
    angle = _between(draw["angle"], -params.rotation, params.rotation) * (math.pi / 180)
    mirror = torch.where(draw["flip"] < 0.5, -1.0, 1.0) if params.flip else torch.ones_like(angle)
    seen = torch.exp(-_between(draw["zoom"], math.log(params.zoom[0]), math.log(params.zoom[1])))
    shift = [_between(draw[axis], -2 * params.offset, 2 * params.offset) * seen for axis in ("x", "y")]
    cosine, sine = angle.cos() * seen, angle.sin() * seen
    rows = [torch.stack([cosine * mirror, -sine, shift[0]], dim=1), torch.stack([sine * mirror, cosine, shift[1]], 1)]
    return torch.stack(rows, dim=1)


def _relight(pixels: torch.Tensor, draw: dict[str, torch.Tensor], params: AugmentationParams) -> torch.Tensor:
    gains = torch.stack([_around_one(draw[channel], params.colour) for channel in ("red", "green", "blue")], dim=1)
    pixels = pixels * (gains * _around_one(draw["exposure"], params.exposure)[:, None])[:, :, None, None]
    luma = (pixels * torch.tensor(_LUMA, device=pixels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    pixels = luma + (pixels - luma) * _column(_around_one(draw["saturation"], params.saturation))
    middle = luma.mean(dim=(2, 3), keepdim=True)
    return (middle + (pixels - middle) * _column(_around_one(draw["contrast"], params.contrast))).clamp_(0, 1)


def _blur(pixels: torch.Tensor, draw: dict[str, torch.Tensor], params: AugmentationParams) -> torch.Tensor:
    """Return pixels mixed with a five-pixel box blur, like a slight defocus."""
    rows = (draw["is_blurred"] < params.blur).nonzero()[:, 0]
    if len(rows):
        sharp = pixels[rows]
        padded = F.pad(sharp, (2, 2, 2, 2), mode="replicate")
        pixels[rows] = torch.lerp(sharp, F.avg_pool2d(padded, 5, stride=1), _column(draw["blur"][rows]))
    return pixels


def _darken_border(pixels: torch.Tensor, draw: dict[str, torch.Tensor], params: AugmentationParams) -> torch.Tensor:
    rows = (draw["has_vignette"] < params.vignette).nonzero()[:, 0]
    if len(rows):
        axis = torch.linspace(-1, 1, pixels.shape[-1], device=pixels.device)
        distance = torch.hypot(axis[:, None], axis[None, :])
        inner = _column(_between(draw["vignette"][rows], *_VIGNETTE_RADII))
        pixels[rows] = pixels[rows] * ((inner - distance) * 20).clamp_(0, 1)
    return pixels


def _between(uniform: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * uniform


def _around_one(uniform: torch.Tensor, width: float) -> torch.Tensor:
    return _between(uniform, 1 - width, 1 + width)


def _column(per_image: torch.Tensor) -> torch.Tensor:
    return per_image[:, None, None, None]
