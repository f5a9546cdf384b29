"""From photographs to the pixels that a backbone expects, one tensor per test view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveInt

from skinbit.config import Block, ViewParams

if TYPE_CHECKING:
    import torch

_INTERPOLATION = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


_Mean = Annotated[float, Field(ge=-10, le=10)]
_Std = Annotated[float, Field(ge=1e-3, le=10)]


class Preprocessing(Block):
    """Preprocessing of a backbone, from its timm configuration.

    Attributes:
        image_size: Side of the square input, pixels.
        crop_pct: Share of the shorter side that the plain view covers.
        interpolation: Pillow's name of the resampling filter.
        mean: Mean of RGB in [0, 1] that is subtracted.
        std: Standard deviation of RGB in [0, 1] that is divided by.
    """

    image_size: PositiveInt
    crop_pct: Annotated[float, Field(ge=0.1, le=1.2)]
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"]
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Std, _Std, _Std]

    def least_side(self, views: ViewParams) -> int:
        """Return the shorter side in pixels below which the closest view would be enlarged."""
        return int(np.ceil(self.image_size * max(views.zooms) / self.crop_pct))


def crop_zooms(image: Image.Image, preprocessing: Preprocessing, zooms: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the central square of an image at each zoom, resized.

    Args:
        image: RGB, upright.
        preprocessing: Size, crop and interpolation.
        zooms: 1 for the plain view, 2 for its central half.

    Returns:
        ``(n_zooms, 3, image_size, image_size)`` uint8.
    """
    size = (preprocessing.image_size, preprocessing.image_size)
    resample = _INTERPOLATION[preprocessing.interpolation]
    crops = []
    for zoom in zooms:
        side = min(image.size) * preprocessing.crop_pct / zoom
        left, top = (image.width - side) / 2, (image.height - side) / 2
        resized = image.resize(size, resample, box=(left, top, left + side, top + side))
        crops.append(np.asarray(resized).transpose(2, 0, 1))
    return np.stack(crops)


def normalise_pixels(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Return uint8 pixels scaled to [0, 1] and standardised.

    Args:
        pixels: ``(n, 3, h, w)`` uint8.
        preprocessing: Mean and standard deviation.

    Returns:
        ``(n, 3, h, w)`` float32, channels last in memory, which is faster for convolutions.
    """
    import torch

    return standardise(pixels.to(torch.float32, memory_format=torch.channels_last).div_(255), preprocessing)


def standardise(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Subtract the mean and divide by the standard deviation, in place.

    Args:
        pixels: ``(n, 3, h, w)`` float32 in [0, 1].
        preprocessing: Mean and standard deviation.

    Returns:
        ``(n, 3, h, w)`` float32.
    """
    import torch

    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1)
    return pixels.sub_(mean).div_(std)


def rotate(pixels: torch.Tensor, degrees: int) -> torch.Tensor:
    """Return square images rotated counter-clockwise by a multiple of 90 degrees, without resampling.

    Args:
        pixels: ``(n, 3, s, s)``.
        degrees: 0, 90, 180 or 270.

    Returns:
        ``(n, 3, s, s)``, channels last in memory, which ``rot90`` does not preserve.
    """
    import torch

    turned = pixels if degrees == 0 else torch.rot90(pixels, degrees // 90, dims=(-2, -1))
    return turned.contiguous(memory_format=torch.channels_last)
