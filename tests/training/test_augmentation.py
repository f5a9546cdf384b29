"""Augmentations: what each range does by itself, and that an image's result depends on nothing but its own draws."""

import hashlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skinbit.config import AugmentationParams
from skinbit.training.augmentation import DRAWS, augment, draw_augmentations, draw_training_view

NOTHING = {
    "rotation": 0.0,
    "flip": False,
    "zoom": (1.0, 1.0),
    "offset": 0.0,
    "colour": 0.0,
    "exposure": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "blur": 0.0,
    "vignette": 0.0,
}
SHA256 = hashlib.sha256(b"photograph").hexdigest()


def only(**ranges):
    """Return settings that change nothing but what is named."""
    return AugmentationParams(**{**NOTHING, **ranges})


def photographs(n_images=4, side=40, seed=0):
    """Smooth random pictures, none symmetric."""
    coarse = torch.rand(n_images, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    return smooth.mul(255).clamp(0, 255).to(torch.uint8)


def drawn(n_images=4, seed=0, **fixed):
    """Random draws, some of them the same given number for all images."""
    draws = torch.from_numpy(draw_augmentations(np.random.default_rng(seed), n_images))
    for name, value in fixed.items():
        draws[:, DRAWS.index(name)] = value
    return draws


def scaled(canvases):
    return canvases.float() / 255


def assert_same(one, other, atol=2e-6):
    torch.testing.assert_close(one, other, rtol=0, atol=atol, check_stride=False)


class TestAnyRanges:
    @pytest.mark.parametrize("image_size", [16, 40, 50])
    def test_results_are_images_of_the_size_asked_for(self, image_size):
        for seed in range(5):
            pixels = augment(photographs(seed=seed), drawn(seed=seed), AugmentationParams(), image_size)
            assert (pixels.shape, pixels.dtype) == ((4, 3, image_size, image_size), torch.float32)
            assert pixels.is_contiguous(memory_format=torch.channels_last)
            assert 0 <= pixels.min() < pixels.max() <= 1

    @pytest.mark.parametrize("level", [0, 255])
    def test_black_and_white_stay_within_range(self, level):
        canvases = torch.full((6, 3, 20, 20), level, dtype=torch.uint8)
        ranges = only(colour=0.9, exposure=0.9, contrast=0.9, saturation=1.0, blur=1.0)
        pixels = augment(canvases, drawn(6), ranges, 16)
        assert (pixels.min() >= 0) & (pixels.max() <= 1)

    def test_an_image_depends_on_its_own_draws_and_not_on_its_batch(self):
        canvases, draws = photographs(7), drawn(7)
        ranges = AugmentationParams(blur=0.5, vignette=0.5)
        whole = augment(canvases, draws, ranges, 32)
        for rows in ([0], [3, 1], [6, 5, 4, 2]):
            assert_same(augment(canvases[rows], draws[rows], ranges, 32), whole[rows])
        others = draws.clone()
        others[1:] = drawn(6, seed=1)
        assert_same(augment(canvases, others, ranges, 32)[0], whole[0])

    def test_canvases_stay_as_they_are(self):
        canvases = photographs()
        before = canvases.clone()
        augment(canvases, drawn(), AugmentationParams(blur=1.0, vignette=1.0), 40)
        assert torch.equal(canvases, before)

    def test_draws_make_images_differ(self):
        canvases = photographs(1).expand(5, -1, -1, -1)
        pixels = augment(canvases, drawn(5), AugmentationParams(), 32)
        distances = torch.cdist(pixels.flatten(1), pixels.flatten(1)) + torch.eye(5)
        assert distances.min() > 0.1


class TestNoRanges:
    @pytest.mark.parametrize("side", [40, 32, 24])
    def test_it_is_a_plain_resize_whatever_is_drawn(self, side):
        canvases = photographs()
        expected = F.interpolate(scaled(canvases), size=(side, side), mode="bilinear", align_corners=False)
        for seed in range(4):
            assert_same(augment(canvases, drawn(seed=seed), only(), side), expected)


class TestGeometry:
    def test_half_a_turn_mirrors_both_axes(self):
        canvases = photographs()
        turned = augment(canvases, drawn(angle=1.0), only(rotation=180.0), 40)
        assert_same(turned, scaled(canvases).flip(2, 3), atol=1e-4)

    def test_the_middle_of_the_angles_turns_nothing(self):
        canvases = photographs()
        assert_same(augment(canvases, drawn(angle=0.5), only(rotation=180.0), 40), scaled(canvases))

    def test_a_quarter_turn_either_way(self):
        canvases = photographs()
        ways = [augment(canvases, drawn(angle=angle), only(rotation=90.0), 40) for angle in (0.0, 1.0)]
        quarters = [torch.rot90(scaled(canvases), turns, dims=(2, 3)) for turns in (1, -1)]
        if (ways[0] - quarters[0]).abs().max() > 0.1:
            quarters.reverse()
        for way, quarter in zip(ways, quarters, strict=True):
            assert_same(way, quarter, atol=1e-4)

    def test_half_of_the_images_are_mirrored(self):
        canvases = photographs()
        assert_same(augment(canvases, drawn(flip=0.49), only(flip=True), 40), scaled(canvases).flip(3))
        assert_same(augment(canvases, drawn(flip=0.5), only(flip=True), 40), scaled(canvases))

    def test_zoom_2_sees_the_central_half(self):
        canvases = photographs()
        assert_same(augment(canvases, drawn(), only(zoom=(2.0, 2.0)), 20), scaled(canvases)[..., 10:30, 10:30])

    def test_zooms_lie_between_both_ends(self):
        canvases = photographs()
        for draw, zoom in ((0.0, 1.0), (0.5, 2.0), (1.0, 4.0)):
            expected = augment(canvases, drawn(), only(zoom=(zoom, zoom)), 20)
            assert_same(augment(canvases, drawn(zoom=draw), only(zoom=(1.0, 4.0)), 20), expected, atol=1e-5)

    def test_offset_is_a_share_of_the_square_that_is_seen(self):
        canvases = photographs()
        shifted = augment(canvases, drawn(x=1.0, y=0.0), only(zoom=(2.0, 2.0), offset=0.25), 20)
        assert_same(shifted, scaled(canvases)[..., 5:25, 15:35], atol=1e-5)

    def test_what_lies_beyond_the_canvas_is_mirrored(self):
        canvases = photographs()
        wide = augment(canvases, drawn(), only(zoom=(0.5, 0.5)), 80)
        assert_same(wide[..., 20:60, 20:60], scaled(canvases), atol=1e-5)
        assert_same(wide[..., :20], wide[..., 20:40].flip(3), atol=1e-5)
        assert_same(wide[..., 60:, :], wide[..., 40:60, :].flip(2), atol=1e-5)


class TestLight:
    def test_channels_get_their_own_gain_and_exposure_is_everyones(self):
        canvases = photographs().clamp(0, 120)
        gained = augment(canvases, drawn(red=1.0, green=0.5, blue=0.0), only(colour=0.2), 40)
        gains = torch.tensor([1.2, 1.0, 0.8]).view(1, 3, 1, 1)
        assert_same(gained, scaled(canvases) * gains, atol=1e-5)
        assert_same(augment(canvases, drawn(exposure=1.0), only(exposure=0.5), 40), scaled(canvases) * 1.5, atol=1e-5)

    def test_without_saturation_there_is_no_colour_and_the_same_brightness(self):
        grey = augment(photographs(), drawn(saturation=0.0), only(saturation=1.0), 40)
        luma = (scaled(photographs()) * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        assert_same(grey, luma.expand_as(grey), atol=1e-5)

    def test_contrast_stretches_about_the_mean_brightness(self):
        canvases = photographs()
        flat = augment(canvases, drawn(contrast=0.0), only(contrast=0.5), 40)
        assert torch.allclose(flat.std(dim=(1, 2, 3)), scaled(canvases).std(dim=(1, 2, 3)) / 2, atol=0.02)
        luma = (scaled(canvases) * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        assert_same(flat, (scaled(canvases) + luma.mean(dim=(2, 3), keepdim=True)) / 2, atol=1e-5)


class TestBlurAndVignette:
    def test_only_the_drawn_share_of_images_is_blurred(self):
        canvases, draws = photographs(), drawn(blur=1.0)
        draws[:, DRAWS.index("is_blurred")] = torch.tensor([0.1, 0.3, 0.29, 0.9])
        blurred = augment(canvases, draws, only(blur=0.3), 40)
        sharp = scaled(canvases)
        assert_same(blurred[[1, 3]], sharp[[1, 3]])
        box = F.avg_pool2d(sharp, 5, stride=1)
        assert_same(blurred[[0, 2]][..., 2:-2, 2:-2], box[[0, 2]], atol=1e-5)

    @pytest.mark.parametrize("size", [0.0, 1.0])
    def test_a_vignette_blackens_the_corners_and_spares_the_middle(self, size):
        canvases = photographs().clamp(60, 255)
        dark = augment(canvases, drawn(vignette=size), only(vignette=1.0), 40)
        corners = dark[..., [0, 0, -1, -1], [0, -1, 0, -1]]
        assert not corners.any()
        assert_same(dark[..., 10:30, 10:30], scaled(canvases)[..., 10:30, 10:30])
        assert bool(dark[..., 20, 0].any()) == (size == 1.0), "the smallest one cuts the sides, too"


class TestTrainingViews:
    def test_draws_are_uniform_and_reproducible(self):
        draws = draw_augmentations(np.random.default_rng(0), 2000)
        assert (draws.shape, draws.dtype) == ((2000, len(DRAWS)), np.float32)
        assert (draws.min() >= 0) & (draws.max() < 1)
        assert draws.mean(axis=0) == pytest.approx([0.5] * len(DRAWS), abs=0.03)

    def test_a_view_depends_on_seed_bytes_and_number_alone(self):
        first = draw_training_view(42, SHA256, 3)
        np.random.default_rng(0).random(5)
        assert np.array_equal(draw_training_view(42, SHA256, 3), first)
        other_bytes = hashlib.sha256(b"another").hexdigest()
        others = [draw_training_view(*key) for key in ((43, SHA256, 3), (42, other_bytes, 3), (42, SHA256, 4))]
        assert all(np.abs(other - first).max() > 0.1 for other in others)
