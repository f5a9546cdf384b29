"""Pixels on their way into a backbone, against images made by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from skinbit.config import ViewParams
from skinbit.embedding.preprocessing import Preprocessing, crop_zooms, normalise_pixels, rotate


def preprocessing(size: int = 4, crop_pct: float = 1.0, interpolation: str = "nearest") -> Preprocessing:
    return Preprocessing(
        image_size=size, crop_pct=crop_pct, interpolation=interpolation, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25)
    )


def numbered(width: int, height: int) -> tuple[Image.Image, np.ndarray]:
    """Return an image whose red is the column, whose green is the row, and its pixels (3, height, width)."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    pixels = np.stack([columns, rows, np.zeros_like(rows)])
    return Image.fromarray(pixels.transpose(1, 2, 0)), pixels


def test_plain_view_is_the_central_square() -> None:
    image, pixels = numbered(8, 4)
    assert (crop_zooms(image, preprocessing(4), (1.0,))[0] == pixels[:, :, 2:6]).all()


def test_upright_image_is_cropped_alike() -> None:
    image, pixels = numbered(4, 8)
    assert (crop_zooms(image, preprocessing(4), (1.0,))[0] == pixels[:, 2:6, :]).all()


def test_zoom_2_is_the_central_half() -> None:
    image, pixels = numbered(16, 8)
    assert (crop_zooms(image, preprocessing(4), (1.0, 2.0))[1] == pixels[:, 2:6, 6:10]).all()


def test_zooms_keep_their_order() -> None:
    image, pixels = numbered(16, 16)
    plain, closest, closer = crop_zooms(image, preprocessing(4), (1.0, 4.0, 2.0))
    assert (closest == pixels[:, 6:10, 6:10]).all()
    assert closer[0].min() < closest[0].min()
    assert plain[0].min() < closer[0].min()


def test_crop_pct_is_the_share_of_the_shorter_side() -> None:
    image, pixels = numbered(10, 8)
    assert (crop_zooms(image, preprocessing(4, crop_pct=0.5), (1.0,))[0] == pixels[:, 2:6, 3:7]).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_smooth_interpolation_averages_where_it_shrinks(interpolation: str) -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = Image.fromarray(checkers.astype(np.uint8)).convert("RGB")
    crop = crop_zooms(image, preprocessing(8, interpolation=interpolation), (1.0,))[0]
    assert np.abs(crop.astype(int) - 127).max() <= 2


def test_interpolations_differ() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    names = ("nearest", "bilinear", "bicubic", "lanczos")
    crops = {crop_zooms(image, preprocessing(16, interpolation=name), (1.0,)).tobytes() for name in names}
    assert len(crops) == 4


def test_crops_are_uint8_with_channels_before_rows() -> None:
    crops = crop_zooms(numbered(9, 7)[0], preprocessing(5), (1.0, 2.0))
    assert (crops.shape, crops.dtype) == ((2, 3, 5, 5), np.uint8)


def test_pixels_are_scaled_then_centred_then_divided() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3).repeat(1, 3, 1, 1)
    normalised = normalise_pixels(pixels, preprocessing())[0, :, 0]
    expected = [[0.0, 0.2, 1.0], [-1.0, -0.6, 1.0], [-4.0, -3.2, 0.0]]
    torch.testing.assert_close(normalised, torch.tensor(expected))


def test_normalising_leaves_the_input_alone_and_is_float32_channels_last() -> None:
    pixels = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    normalised = normalise_pixels(pixels, preprocessing())
    assert (pixels == 7).all()
    assert normalised.dtype == torch.float32
    assert normalised.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0, [[1, 2], [3, 4]]), (90, [[2, 4], [1, 3]]), (180, [[4, 3], [2, 1]]), (270, [[3, 1], [4, 2]])],
)
def test_rotation_is_counter_clockwise_and_exact(degrees: int, expected: list[list[int]]) -> None:
    assert rotate(torch.tensor([[[[1, 2], [3, 4]]]]), degrees)[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("size", "crop_pct", "zooms", "side"),
    [(224, 1.0, (1.0,), 224), (224, 0.875, (1.0,), 256), (96, 0.95, (1.0, 2.0), 203)],
)
def test_least_side_is_where_the_closest_view_would_be_magnified(
    size: int, crop_pct: float, zooms: tuple[float, ...], side: int
) -> None:
    assert preprocessing(size, crop_pct).least_side(ViewParams(zooms=zooms)) == side


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_every_view_is_channels_last_in_memory(degrees: int) -> None:
    pixels = normalise_pixels(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), preprocessing())
    assert rotate(pixels, degrees).is_contiguous(memory_format=torch.channels_last)
