"""Promises of docs/trust.md, in the part on relations: an embedding hardly changes with what shows the same skin."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import BackboneParams, LoaderParams, ViewParams
from skinbit.data.synthetic import make_photographs
from skinbit.embedding.backbones import Backbone, load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import Extraction, extract_features

ALL_ROUND = ViewParams(rotations=(0, 90, 180, 270))


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    return [photograph.jpeg for photograph in make_photographs(2, 7, 96, 72)]


@pytest.fixture(scope="module", params=["test_resnet", "test_vit"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(BackboneParams(model=request.param, image_size=160, pretrained=False), 1)


def embed(
    folder: Path,
    jpegs: list[bytes],
    backbone: Backbone,
    views: ViewParams = ALL_ROUND,
    batch_size: int = 4,
) -> np.ndarray:
    """Write photographs into a folder and return their embeddings."""
    folder.mkdir()
    names = [f"{number:03}" for number in range(len(jpegs))]
    for name, jpeg in zip(names, jpegs, strict=True):
        (folder / f"{name}.jpg").write_bytes(jpeg)
    extraction = Extraction(
        list_photographs(folder), LoaderParams(workers=0, batch_size=batch_size), Compute("cpu", "fp32", 1)
    )
    return average_views(extract_features(extraction, names, backbone, views))


def changed(jpeg: bytes, change: Callable[[Image.Image], Image.Image], **options: int) -> bytes:
    buffer = io.BytesIO()
    change(Image.open(io.BytesIO(jpeg))).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_the_size_of_batches_changes_no_embedding(tmp_path: Path, jpegs: list[bytes], backbone: Backbone) -> None:
    several, one = (embed(tmp_path / str(size), jpegs, backbone, ViewParams(), size) for size in (4, 1))
    np.testing.assert_allclose(several, one, rtol=0, atol=1e-6)


def test_a_photograph_that_is_saved_again_stays_what_it_was(
    tmp_path: Path, jpegs: list[bytes], backbone: Backbone
) -> None:
    again = [changed(jpeg, lambda image: image, quality=95) for jpeg in jpegs]
    cosines = np.sum(embed(tmp_path / "one", jpegs, backbone) * embed(tmp_path / "other", again, backbone), axis=1)
    assert cosines.min() > 0.9999


def test_a_photograph_that_is_turned_stays_what_it_was_if_it_is_seen_from_all_sides(
    tmp_path: Path, jpegs: list[bytes], backbone: Backbone
) -> None:
    turned = [
        changed(jpeg, lambda image: image.transpose(Image.Transpose.ROTATE_90), quality=100, subsampling=0)
        for jpeg in jpegs
    ]
    cosines = np.sum(embed(tmp_path / "one", jpegs, backbone) * embed(tmp_path / "other", turned, backbone), axis=1)
    assert cosines.min() > 0.9999
