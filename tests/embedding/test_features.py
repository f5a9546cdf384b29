"""Frozen features: what they depend on, in which order they come, and that none is computed twice."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import (
    BackboneParams,
    ComputeParams,
    DataParams,
    ExecutorParams,
    LoaderParams,
    PoolingParams,
    SimilarityParams,
    ViewParams,
    WhiteningParams,
)
from skinbit.data.executor import Execution
from skinbit.data.listed import ListedPhotographs
from skinbit.embedding.backbones import Backbone, load_backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.embeddings import average_rotations, average_views, baseline_embeddings, fit_to_training_lesions
from skinbit.embedding.features import (
    Extraction,
    describe_backbone,
    extract_features,
    extract_pieces,
    feature_key,
)
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.similarity.whitening import fit_whitening
from skinbit.pipelines.baseline_embeddings import nodes
from tests.kept import NOTHING, Kept, read

SIZE = 32
CPU = Compute("cpu", "fp32", 1)
IN_PROCESS = LoaderParams(workers=0, batch_size=3)
PLAIN = ViewParams()
SIX_VIEWS = ViewParams(rotations=(0, 90, 270), zooms=(1.0, 2.0))
RESNET = BackboneParams(model="test_resnet", image_size=SIZE, pretrained=False)


class PixelsAsFeatures(torch.nn.Module):
    """Returns the pixels themselves, so that a test can see what a backbone is shown."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)


def show_pixels(size: int = SIZE, mean: float = 0.0) -> Backbone:
    preprocessing = Preprocessing(
        image_size=size, crop_pct=1.0, interpolation="bilinear", mean=(mean,) * 3, std=(1.0,) * 3
    )
    return Backbone(PixelsAsFeatures(), preprocessing, 3 * size * size)


def extract(
    photographs: ListedPhotographs,
    backbone: Backbone,
    image_ids: str = "abcdefg",
    views: ViewParams = PLAIN,
    loader: LoaderParams = IN_PROCESS,
    compute: Compute = CPU,
) -> np.ndarray:
    return extract_features(Extraction(photographs, loader, compute), list(image_ids), backbone, views)


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return load_backbone(RESNET, 1)


def test_plain_view_shows_the_image_itself(photographs: ListedPhotographs, photograph_a: Image.Image) -> None:
    central = photograph_a.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(7.5, 0, 52.5, 45))
    shown = extract(photographs, show_pixels(mean=0.25), "a")[0, 0].reshape(3, SIZE, SIZE)
    np.testing.assert_allclose(shown.transpose(1, 2, 0), np.asarray(central) / 255 - 0.25, atol=1e-6)


def test_view_number_is_rotation_times_zooms_plus_zoom(photographs: ListedPhotographs) -> None:
    shown = extract(photographs, show_pixels(), "a", SIX_VIEWS)[0].reshape(6, 3, SIZE, SIZE)
    for rotation, quarter_turns in enumerate((0, 1, 3)):
        for zoom in range(2):
            expected = np.rot90(shown[zoom], quarter_turns, axes=(1, 2))
            np.testing.assert_array_equal(shown[rotation * 2 + zoom], expected)
    assert np.abs(shown[0] - shown[1]).max() > 0.1


def test_view_0_does_not_depend_on_the_other_views(photographs: ListedPhotographs, resnet: Backbone) -> None:
    alone = extract(photographs, resnet)
    among_six = extract(photographs, resnet, views=SIX_VIEWS)
    assert (alone.shape, among_six.shape) == ((7, 1, 96), (7, 6, 96))
    np.testing.assert_allclose(among_six[:, 0], alone[:, 0], rtol=1e-4, atol=1e-5)


def test_features_are_those_of_the_network(photographs: ListedPhotographs, resnet: Backbone) -> None:
    exact = replace(show_pixels(), preprocessing=resnet.preprocessing)
    shown = torch.from_numpy(extract(photographs, exact).reshape(7, 3, SIZE, SIZE))
    with torch.inference_mode():
        expected = resnet.module(shown).numpy()
    np.testing.assert_allclose(extract(photographs, resnet)[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_rows_come_in_the_order_asked_for(photographs: ListedPhotographs) -> None:
    forwards, backwards = (extract(photographs, show_pixels(8), ids) for ids in ("abcdefg", "gfedcba"))
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert len(np.unique(forwards[:, 0, 0])) > 1


def test_features_do_not_depend_on_the_number_of_workers(photographs: ListedPhotographs, resnet: Backbone) -> None:
    alone = extract(photographs, resnet, views=SIX_VIEWS)
    with_workers = extract(photographs, resnet, views=SIX_VIEWS, loader=IN_PROCESS.model_copy(update={"workers": 2}))
    assert alone.tobytes() == with_workers.tobytes()


def test_extraction_restores_threads_and_determinism(photographs: ListedPhotographs) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    extract(photographs, show_pixels(8), "a", compute=Compute("cpu", "fp32", 2))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.parametrize(("device", "only_warns"), [("cpu", False), ("cuda", True)])
def test_operations_without_a_deterministic_algorithm_end_a_run_on_a_cpu_only(
    monkeypatch: pytest.MonkeyPatch, device: str, only_warns: bool
) -> None:
    monkeypatch.setattr("torch.backends.cudnn.benchmark", True)
    with deterministic(Compute(device, "fp32", 1)):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == only_warns
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark


def test_mixed_precision_on_the_cpu_is_close(photographs: ListedPhotographs, resnet: Backbone) -> None:
    exact = extract(photographs, resnet)[:, 0]
    mixed = extract(photographs, resnet, compute=Compute("cpu", "bf16", 1))[:, 0]
    assert mixed.dtype == np.float32
    assert 0 < np.abs(exact - mixed).max() < 0.05 * np.abs(exact).max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_features_on_a_gpu_are_close_and_repeatable(photographs: ListedPhotographs, precision: str) -> None:
    backbone = load_backbone(RESNET, 1)
    exact = extract(photographs, backbone)[:, 0]
    first, again = (extract(photographs, backbone, compute=Compute("cuda", precision, 1))[:, 0] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert np.abs(exact - first).max() < 0.05 * np.abs(exact).max()


class NotANumberForLightImages(PixelsAsFeatures):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = super().forward(pixels)
        return torch.where(features.mean(dim=1, keepdim=True) > 0.9, torch.nan, features)


@pytest.mark.parametrize(("culprit", "level"), [("light", 255), ("black", 0)])
def test_image_whose_features_are_not_finite_or_all_zero_is_named(tmp_path: Path, culprit: str, level: int) -> None:
    levels = {"dark": 10, "grey": 128, "brown": 60, culprit: level}
    for name, grey in levels.items():
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / f"{name}.png")
    backbone = replace(show_pixels(8), module=NotANumberForLightImages())
    with pytest.raises(ValueError, match=f"features of image {culprit} are not finite, or all zero"):
        extract_features(Extraction(list_photographs(tmp_path), IN_PROCESS, CPU), list(levels), backbone, PLAIN)


def test_image_above_the_pixel_limit_is_refused(photographs: ListedPhotographs) -> None:
    with pytest.raises(ValueError, match="60x45 pixels"):
        extract(replace(photographs, data=DataParams(max_pixels=100)), show_pixels(8), "a")


def key(params: BackboneParams = RESNET, image: str = "a", seed: int = 1, **changes: Any) -> str:
    backbone = load_backbone(params, seed)
    description = describe_backbone(backbone, params, changes.get("compute", CPU), changes.get("batch_size", 3))
    return feature_key(description, hashlib.sha256(image.encode()).hexdigest())


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "b"},
        {"seed": 2},
        {"batch_size": 4},
        {"compute": Compute("cpu", "bf16", 1)},
        {"compute": Compute("cpu", "fp32", 2)},
        {"params": RESNET.model_copy(update={"image_size": 48})},
        {"params": RESNET.model_copy(update={"test_views": ViewParams(rotations=(0, 90))})},
        {"params": RESNET.model_copy(update={"test_views": ViewParams(zooms=(1.0, 2.0))})},
        {"params": RESNET.model_copy(update={"pooling": PoolingParams(method="gem", levels=(1,))})},
        {"params": RESNET.model_copy(update={"mean": (0.1, 0.2, 0.3)})},
        {"params": RESNET.model_copy(update={"model_args": {"pretrained_cfg_overlay": {"crop_pct": 0.5}}})},
    ],
    ids=str,
)
def test_key_changes_with_everything_that_features_depend_on(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_key_changes_with_the_kind_of_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    here = key()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert key() != here


def test_key_is_the_same_for_the_same_features() -> None:
    assert key() == key(params=RESNET.model_copy(update={"frozen": False}))


def run_node(
    photographs: ListedPhotographs,
    index: pd.DataFrame,
    stored: Features | None = None,
    backbone: BackboneParams = RESNET,
    seed: int = 1,
    loader: LoaderParams = IN_PROCESS,
) -> Features:
    """Run the node, with the features that an earlier run left, if any."""
    gathered = nodes.extract_features(
        images=photographs.folder,
        image_index=index,
        description=describe_backbone(load_backbone(backbone, seed), backbone, CPU, loader.batch_size),
        feature_cache=lambda name, file: Kept(stored or NOTHING),
        name="resnet",
        backbone=backbone,
        loader=loader,
        compute=ComputeParams(device="cpu", threads=1),
        data=DataParams(),
        executor=Execution(ExecutorParams(photographs=4)),  # rounded up to two batches
        seed=seed,
    )
    return read(gathered)


@pytest.fixture(scope="module")
def index(photographs: ListedPhotographs) -> pd.DataFrame:
    return photographs.table


@pytest.fixture(scope="module")
def stored(photographs: ListedPhotographs, index: pd.DataFrame) -> Features:
    return run_node(photographs, index)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the ids of all images that go through a backbone."""
    ids: list[str] = []

    def extract_and_note(extraction: Extraction, pieces: Sequence[list[str]], *rest: Any) -> Iterator[np.ndarray]:
        for piece, values in zip(pieces, extract_pieces(extraction, pieces, *rest), strict=True):
            ids.extend(piece)
            yield values

    monkeypatch.setattr("skinbit.embedding.makers.extract_pieces", extract_and_note)
    return ids


def test_node_describes_what_it_computed(photographs: ListedPhotographs, resnet: Backbone, stored: Features) -> None:
    assert stored.image_ids == tuple("abcdefg")
    assert stored.description["weights_sha256"] == resnet.weights_sha256()
    assert len(set(stored.keys)) == 7
    np.testing.assert_array_equal(stored.values, extract(photographs, resnet))


def test_second_run_computes_nothing(
    photographs: ListedPhotographs, index: pd.DataFrame, stored: Features, computed: list[str]
) -> None:
    again = run_node(photographs, index, stored)
    assert computed == []
    assert (again.image_ids, again.keys) == (stored.image_ids, stored.keys)
    np.testing.assert_array_equal(again.values, stored.values)


def test_second_run_with_other_workers_computes_nothing(
    photographs: ListedPhotographs, index: pd.DataFrame, stored: Features, computed: list[str]
) -> None:
    again = run_node(photographs, index, stored, loader=IN_PROCESS.model_copy(update={"workers": 2}))
    assert computed == []
    assert again.keys == stored.keys


def test_only_new_images_are_computed_and_rows_follow_the_index(
    photographs: ListedPhotographs, index: pd.DataFrame, stored: Features, computed: list[str]
) -> None:
    rows = [6, 2, 0]
    part = Features(tuple("gca"), stored.values[rows], tuple(stored.keys[row] for row in rows), stored.description)
    completed = run_node(photographs, index, part)
    assert computed == list("bdef")
    assert completed.image_ids == tuple("abcdefg")
    np.testing.assert_allclose(completed.values, stored.values, rtol=1e-4, atol=1e-5)


def test_images_that_are_no_longer_used_are_dropped(
    photographs: ListedPhotographs, index: pd.DataFrame, stored: Features, computed: list[str]
) -> None:
    fewer = run_node(photographs, index.iloc[[4, 1]], stored)
    assert computed == []
    assert fewer.image_ids == ("e", "b")
    np.testing.assert_array_equal(fewer.values, stored.values[[4, 1]])


def test_image_with_other_bytes_under_the_same_id_is_computed_again(
    tmp_path: Path, photographs: ListedPhotographs, stored: Features, computed: list[str]
) -> None:
    shutil.copytree(photographs.folder.root, tmp_path, dirs_exist_ok=True)
    Image.new("RGB", (60, 45), (200, 100, 50)).save(tmp_path / "a.png")
    replaced = list_photographs(tmp_path)
    assert run_node(replaced, replaced.table, stored).keys[0] != stored.keys[0]
    assert computed == ["a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"backbone": RESNET.model_copy(update={"model": "test_vit"})},
        {"backbone": RESNET.model_copy(update={"image_size": 48})},
        {"backbone": RESNET.model_copy(update={"test_views": SIX_VIEWS})},
    ],
    ids=str,
)
def test_other_weights_or_settings_compute_everything_again(
    photographs: ListedPhotographs, index: pd.DataFrame, stored: Features, computed: list[str], changes: dict[str, Any]
) -> None:
    recomputed = run_node(photographs, index, stored, **changes)
    assert computed == list("abcdefg")
    assert not set(recomputed.keys) & set(stored.keys)


def test_averaged_views_have_unit_length() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4, 8)).astype(np.float32)
    averaged = average_views(values)
    assert (averaged.shape, averaged.dtype) == ((5, 8), np.float32)
    np.testing.assert_allclose(np.linalg.norm(averaged, axis=1), 1, atol=1e-6)


def test_every_view_has_the_same_say_whatever_its_length() -> None:
    views = np.array([[[100.0, 0.0], [0.0, 0.01]]], dtype=np.float32)
    np.testing.assert_allclose(average_views(views), [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_view_without_a_direction_has_no_say() -> None:
    np.testing.assert_allclose(average_views(np.array([[[3.0, 4.0], [0.0, 0.0]]], np.float32)), [[0.6, 0.8]], atol=1e-6)


def test_baseline_embeddings_come_in_the_order_asked_for() -> None:
    features = Features(("a", "b", "c"), np.eye(3, dtype=np.float32)[:, None], ("k",) * 3, {"model": "m"})
    embeddings = baseline_embeddings(features, ["c", "a"])
    assert embeddings.image_ids == ("c", "a")
    assert embeddings.values.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert embeddings.description == {"model": "m"}


def test_averages_in_blocks_are_those_of_all_images_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(7, 6, 33)).astype(np.float32)
    described = {"test_views": SIX_VIEWS.model_dump(mode="json")}
    features = Features(tuple("abcdefg"), values, tuple("abcdefg"), described)
    monkeypatch.setattr("skinbit.embedding.embeddings._BLOCK_ROWS", 2)
    found = baseline_embeddings(features, list("gabdc"), with_zooms=True)
    rows = [6, 0, 1, 3, 2]
    assert found.values.tobytes() == average_views(values[rows]).tobytes()
    assert found.zooms is not None
    assert found.zooms.tobytes() == average_rotations(values[rows], SIX_VIEWS).tobytes()


def test_image_without_features_is_named() -> None:
    features = Features(("a",), np.ones((1, 1, 2), np.float32), ("k",), {})
    with pytest.raises(ValueError, match=r"2 images .*have no features, the first is x"):
        baseline_embeddings(features, ["a", "x", "y"])


def test_fold_takes_its_own_images_in_the_order_of_the_split() -> None:
    features = Features(("a", "b", "c"), np.eye(3, dtype=np.float32)[:, None], ("k",) * 3, {})
    split = pd.DataFrame({"image_id": ["c", "b", "a"], "fold": [0, -1, 0]})
    assert nodes.embed_subset(features, split, SimilarityParams(), fold=0).image_ids == ("c", "a")
    assert nodes.embed_subset(features, split, SimilarityParams(), fold=-1).image_ids == ("b",)


class TestWhitening:
    WHITENED = SimilarityParams(whitening=WhiteningParams(shrinkage=0.001))

    def photographs(self, seed: int = 0) -> tuple[Features, pd.DataFrame]:
        rng = np.random.default_rng(seed)
        fold = np.repeat([0, 1, 2, -1], 10)
        image_ids = [f"image{n}" for n in range(40)]
        lesion_ids = [f"lesion{n // 2}" for n in range(40)]
        split = pd.DataFrame({"image_id": image_ids, "lesion_id": lesion_ids, "fold": fold})
        # The second direction is what differs between photographs of one lesion; the first is the lesion's own.
        values = np.c_[np.repeat(rng.normal(size=20), 2), 3 * rng.normal(size=40), rng.normal(scale=0.01, size=40)]
        return Features(tuple(image_ids), values[:, None].astype(np.float32), ("k",) * 40, {}), split

    def test_directions_that_differ_within_lesions_lose_their_say(self) -> None:
        features, split = self.photographs()
        embeddings = nodes.embed_subset(features, split, self.WHITENED, fold=0).values
        partners, strangers = (embeddings @ embeddings.T)[::2][:, 1::2].diagonal(), embeddings[::2] @ embeddings[1::2].T
        assert partners.mean() > strangers[~np.eye(5, dtype=bool)].mean() + 0.3

    @pytest.mark.parametrize("fold", [0, -1])
    def test_it_is_fitted_on_training_lesions_only(self, fold: int) -> None:
        features, split = self.photographs()
        params = WhiteningParams()
        fitted = fit_to_training_lesions(features, split, fold, params)
        is_unseen = ((split["fold"] == fold) | (split["fold"] == -1)).to_numpy()
        changed = np.where(is_unseen[:, None, None], self.photographs(seed=9)[0].values, features.values)
        again = fit_to_training_lesions(replace(features, values=changed), split, fold, params)
        assert (fitted.values.projection == again.values.projection).all()
        assert (fitted.values.mean == again.values.mean).all()
        other = fit_to_training_lesions(replace(features, values=changed), split, 1, params)
        assert fold == -1 or (other.values.projection != fitted.values.projection).any()

    def test_zooms_are_whitened_by_what_differs_between_those_of_training_lesions(self) -> None:
        features, split = self.photographs()
        rng, views = np.random.default_rng(1), ViewParams(zooms=(1.0, 2.0))
        values = features.values * rng.uniform(0.5, 2.0, size=(40, 2, 3)).astype(np.float32)
        zoomed = replace(features, values=values, description={"test_views": views.model_dump(mode="json")})
        fitted = fit_to_training_lesions(zoomed, split, 0, WhiteningParams(), with_zooms=True)
        training = np.flatnonzero(split["fold"].isin([1, 2]))
        labels = np.repeat(lesion_labels(split["lesion_id"].iloc[training].tolist()), 2)
        alone = fit_whitening(unit_vectors(values[training].reshape(-1, 3)), labels, kind="learned")
        assert fitted.zooms is not None
        assert np.array_equal(fitted.zooms.projection, alone.projection)
        found = nodes.embed_subset(
            zoomed, split, SimilarityParams(whitening=WhiteningParams(), zoom_pairs=True), fold=0
        )
        assert found.zooms is not None
        assert np.array_equal(found.zooms[:, 1], alone.apply(unit_vectors(values[:10, 1])))

    def test_every_zoom_is_the_mean_of_its_rotations(self) -> None:
        values = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)
        found = average_rotations(values, ViewParams(rotations=(0, 90), zooms=(1.0, 2.0, 3.0)))
        for zoom in range(3):
            assert np.array_equal(found[:, zoom], average_views(values[:, [zoom, zoom + 3]]))

    def test_what_cannot_be_whitened_is_said(self) -> None:
        features, split = self.photographs()
        alone = split.assign(lesion_id=[f"lesion{n}" for n in range(40)])
        with pytest.raises(InputError, match="cannot be whitened"):
            nodes.embed_subset(features, alone, self.WHITENED, fold=0)


def test_photographs_fixture_holds_different_pictures(photographs: ListedPhotographs) -> None:
    assert {photographs.decode(name).size for name in "abcdefg"} == {(60, 45)}
    assert len(set(photographs.hashes)) == 7
