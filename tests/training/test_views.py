"""Training views: computed once per image and view, extended without touching what is there."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ComputeParams,
    ExecutorParams,
    LoaderParams,
)
from skinbit.data.executor import Execution
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import describe_backbone
from skinbit.embedding.tables import Pixels
from skinbit.errors import InputError
from skinbit.pipelines.baseline_embeddings.nodes import extract_training_views
from skinbit.training.views import ViewMaker
from tests.kept import NOTHING, Kept, read

BACKBONE = BackboneParams(model="test_resnet", image_size=32, pretrained=False)
DESCRIPTION = {"canvas_size": 40, "interpolation": "bicubic", "zooms": [1.0]}


def decoded(names="abcdefg"):
    """Photographs of noise, each with its own bytes."""
    rngs = [np.random.default_rng(ord(name)) for name in names]
    canvases = np.stack([rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for rng in rngs])
    keys = tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)
    return Pixels(tuple(names), canvases, canvases[:, None, 4:36, 4:36], keys, DESCRIPTION)


def make_views(pixels, n_views, stored=NOTHING, seed=1, augmentation=None, backbone=BACKBONE):
    """Run the node, with the views that an earlier run left, if any."""
    description = describe_backbone(load_backbone(backbone, seed), backbone, Compute("cpu", "fp32", 1), 3)
    asked = []

    def feature_cache(name, file):
        asked.append((name, file))
        return Kept(stored)

    made = extract_training_views(
        pixels=pixels,
        description=description,
        feature_cache=feature_cache,
        backbone=backbone,
        augmentation=augmentation or AugmentationParams(),
        loader=LoaderParams(batch_size=3),
        compute=ComputeParams(device="cpu", threads=1),
        executor=Execution(ExecutorParams(photographs=7)),
        seed=seed,
        name="resnet",
        n_views=n_views,
    )
    assert asked == [("resnet", "training_views")]
    return read(made)


@pytest.fixture
def computed(monkeypatch):
    """Note image ids and views that go through the backbone."""
    jobs = []
    make = ViewMaker.__call__

    def make_and_note(maker, pieces):
        for piece in pieces:
            views, rows = np.divmod(piece, len(maker.pixels.image_ids))
            jobs.append(("".join(maker.pixels.image_ids[row] for row in rows), views[0]))
        return make(maker, pieces)

    monkeypatch.setattr(ViewMaker, "__call__", make_and_note)
    return jobs


@pytest.fixture(scope="module")
def three():
    return make_views(decoded(), 3)


def test_views_are_of_the_images_in_their_order_and_differ(three):
    assert three.image_ids == tuple("abcdefg")
    assert three.values.shape == (7, 3, 96)
    assert len(np.unique(three.values.reshape(21, 96).round(4), axis=0)) == 21


def test_extended_views_keep_the_first_and_equal_those_made_at_once(three, computed):
    five = make_views(decoded(), 5, three)
    assert computed == [("abcdefg", 3), ("abcdefg", 4)]
    assert five.values[:, :3].tobytes() == three.values.tobytes()
    assert five.values.tobytes() == make_views(decoded(), 5).values.tobytes()
    assert five.keys == three.keys


def test_as_many_or_fewer_views_compute_nothing(three, computed):
    for n_views in (3, 2):
        again = make_views(decoded(), n_views, three)
        assert again.values.tobytes() == three.values.tobytes()
    assert computed == []


def test_a_new_photograph_computes_only_itself(three, computed):
    more = make_views(decoded("abcxdefg"), 3, three)
    assert computed == [("x", 0), ("x", 1), ("x", 2)]
    assert more.image_ids == tuple("abcxdefg")
    assert np.delete(more.values, 3, axis=0).tobytes() == three.values.tobytes()
    whole = make_views(decoded("abcxdefg"), 3)
    np.testing.assert_allclose(more.values, whole.values, rtol=1e-4, atol=1e-5)


def test_a_new_photograph_and_more_views_at_once(three, computed):
    more = make_views(decoded("xabcdefg"), 4, three)
    assert computed == [("x", 0), ("x", 1), ("x", 2), ("xabcdefg", 3)]
    assert more.values[1:, :3].tobytes() == three.values.tobytes()
    np.testing.assert_allclose(more.values, make_views(decoded("xabcdefg"), 4).values, rtol=1e-4, atol=1e-5)


def test_rows_follow_the_images_and_those_no_longer_used_are_dropped(three, computed):
    fewer = make_views(decoded("gca"), 3, three)
    assert computed == []
    assert fewer.values.tobytes() == three.values[[6, 2, 0]].tobytes()


def test_the_id_has_no_influence(three):
    renamed = make_views(replace(decoded(), image_ids=tuple("1234567")), 3)
    assert renamed.values.tobytes() == three.values.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"augmentation": AugmentationParams(blur=0.9)},
        {"backbone": BACKBONE.model_copy(update={"image_size": 48})},
    ],
    ids=str,
)
def test_other_draws_ranges_or_networks_compute_everything_again(three, computed, changes):
    again = make_views(decoded(), 3, three, **changes)
    assert computed == [("abcdefg", view) for view in range(3)]
    assert not set(again.keys) & set(three.keys)


@pytest.mark.parametrize("change", [{"canvas_size": 41}, {"interpolation": "bilinear"}, {"zooms": [1.0, 2.0]}], ids=str)
def test_photographs_that_were_decoded_differently_compute_everything_again(three, computed, change):
    again = make_views(replace(decoded(), description=DESCRIPTION | change), 3, three)
    assert computed == [("abcdefg", view) for view in range(3)]
    assert not set(again.keys) & set(three.keys)


def test_test_views_of_the_backbone_have_no_influence(three, computed):
    turned = BackboneParams.model_validate(BACKBONE.model_dump() | {"test_views": {"rotations": (0, 90)}})
    assert make_views(decoded(), 3, three, backbone=turned).keys == three.keys
    assert computed == []


def test_a_view_that_is_of_no_use_names_the_image(monkeypatch):
    pixels = decoded()
    monkeypatch.setattr("skinbit.training.views.standardise", lambda images, _: images.fill_(np.nan))
    with pytest.raises(InputError, match="features of image a are not finite"):
        make_views(pixels, 1)
