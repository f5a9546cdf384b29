"""Decoded photographs in one file: what it holds, when it is made anew, and that it is the same every time."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image
from safetensors.numpy import load as load_tensors

from benchmarks.photographs import list_photographs
from skinbit.config import LoaderParams, ViewParams
from skinbit.data import listed as listed_module
from skinbit.data.decoding import decode_image
from skinbit.data.executor import LocalExecutor
from skinbit.data.pieces import Making
from skinbit.embedding.pixels import PixelMaker, complete_pixels
from skinbit.embedding.preprocessing import Preprocessing, crop_zooms
from skinbit.embedding.tables import Embeddings
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.pieces import StoredPieces, pieces_of
from skinbit.runtime.datasets.pixels import PixelsDataset
from tests.kept import decode, in_pieces

PREPROCESSING = Preprocessing(image_size=12, crop_pct=0.8, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
ZOOMS = (1.0, 2.0)
CANVAS = 15
MAX_PIXELS = 10**6


def write_photograph(folder: Path, name: str, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((60, 45), Image.Resampling.BICUBIC).save(folder / f"{name}.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for seed, name in enumerate("abcde"):
        write_photograph(path, name, seed)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> PixelsDataset:
    return PixelsDataset(filepath=(tmp_path / "new" / "pixels.safetensors").as_posix())


def decoding(folder: Path, ids: str = "abcde", workers: int = 0, batch_size: int = 2) -> PixelMaker:
    found = list_photographs(folder)
    listed = replace(found, table=found.table.set_index("image_id").loc[list(ids)].reset_index())
    loader = LoaderParams(workers=workers, batch_size=batch_size)
    return PixelMaker(listed, PREPROCESSING, ViewParams(zooms=ZOOMS), CANVAS, loader)


def stored_bytes(dataset: PixelsDataset) -> bytes:
    return Path(dataset.stored_file()[1]).read_bytes()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Note the bytes of all photographs that are decoded."""
    contents: list[bytes] = []

    def decode_and_note(content: bytes, *rest: int) -> Image.Image:
        contents.append(content)
        return decode_image(content, *rest)

    monkeypatch.setattr(listed_module, "decode_image", decode_and_note)
    return contents


def test_loaded_pixels_are_those_of_the_decoded_photographs(folder: Path, dataset: PixelsDataset) -> None:
    decode(decoding(folder), dataset)
    loaded = dataset.load()
    assert loaded.image_ids == tuple("abcde")
    assert (loaded.canvases.shape, loaded.crops.shape) == ((5, CANVAS, CANVAS, 3), (5, 2, 12, 12, 3))
    whole = PREPROCESSING.model_copy(update={"image_size": CANVAS, "crop_pct": 1.0})
    for row, name in enumerate("abcde"):
        image = decode_image((folder / f"{name}.jpg").read_bytes(), MAX_PIXELS, 30)
        expected = crop_zooms(image, PREPROCESSING, ZOOMS).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(loaded.crops[row], expected)
        np.testing.assert_array_equal(loaded.canvases[row], crop_zooms(image, whole, (1.0,))[0].transpose(1, 2, 0))


def test_loading_maps_the_file_and_cannot_change_it(folder: Path, dataset: PixelsDataset) -> None:
    decode(decoding(folder), dataset)
    loaded = dataset.load()
    assert isinstance(loaded.canvases, np.memmap)
    assert isinstance(loaded.crops, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.canvases[0] = 0


def test_any_safetensors_reader_reads_the_file(folder: Path, dataset: PixelsDataset, tmp_path: Path) -> None:
    decode(decoding(folder), dataset)
    tensors = load_tensors((tmp_path / "new" / "pixels.safetensors").read_bytes())
    loaded = dataset.load()
    assert tensors.keys() == {"canvases", "crops"}
    np.testing.assert_array_equal(tensors["canvases"], loaded.canvases)
    np.testing.assert_array_equal(tensors["crops"], loaded.crops)


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"batch_size": 99}, {"workers": 2}], ids=str)
def test_neither_batches_nor_workers_change_a_byte(
    folder: Path, dataset: PixelsDataset, tmp_path: Path, options: dict[str, int]
) -> None:
    decode(decoding(folder), dataset)
    other = PixelsDataset(filepath=(tmp_path / "other.safetensors").as_posix())
    decode(decoding(folder, **options), other)
    assert (tmp_path / "other.safetensors").read_bytes() == (tmp_path / "new/pixels.safetensors").read_bytes()


def test_a_second_save_of_the_same_decodes_nothing(folder: Path, dataset: PixelsDataset, decoded: list[bytes]) -> None:
    decode(decoding(folder), dataset)
    assert len(decoded) == 5
    before = dataset.load()
    decode(decoding(folder), dataset)
    assert len(decoded) == 5
    np.testing.assert_array_equal(dataset.load().crops, before.crops)


def test_added_photographs_alone_are_decoded(folder: Path, dataset: PixelsDataset, decoded: list[bytes]) -> None:
    decode(decoding(folder, "bd"), dataset)
    decode(decoding(folder, "edbca"), dataset)
    assert len(decoded) == 5
    assert dataset.load().image_ids == tuple("edbca")
    at_once = PixelsDataset(filepath=(folder.parent / "at_once.safetensors").as_posix())
    decode(decoding(folder, "edbca"), at_once)
    assert stored_bytes(dataset) == stored_bytes(at_once)


class Interrupted(LocalExecutor):
    """An executor that is interrupted while the third piece is made."""

    def map(self, make: Any, pieces: Any) -> Iterator[Any]:
        for number, piece in enumerate(super().map(make, pieces)):
            if number == 2:
                raise KeyboardInterrupt
            yield piece


def test_interrupted_decoding_repeats_one_piece(folder: Path, dataset: PixelsDataset, decoded: list[bytes]) -> None:
    store = StoredPieces(PixelsDataset, dataset.stored_file()[1])
    with pytest.raises(KeyboardInterrupt):
        complete_pixels(decoding(folder), store, Making(Interrupted(), 1))
    assert len(decoded) == 3
    assert not dataset.exists()
    decode(decoding(folder), dataset)
    assert len(decoded) == 3 + 3
    assert not Path(pieces_of(dataset.stored_file()[1])).exists()
    whole = PixelsDataset(filepath=(folder.parent / "whole.safetensors").as_posix())
    decode(decoding(folder), whole)
    assert stored_bytes(dataset) == stored_bytes(whole)


def test_pieces_of_other_sizes_are_not_used(folder: Path, dataset: PixelsDataset, decoded: list[bytes]) -> None:
    store = StoredPieces(PixelsDataset, dataset.stored_file()[1])
    complete_pixels(replace(decoding(folder), canvas_size=CANVAS + 1), store, in_pieces(5))
    decode(decoding(folder), dataset)
    assert len(decoded) == 10
    assert dataset.load().canvases.shape[1] == CANVAS


def test_an_image_with_other_bytes_is_decoded_anew(folder: Path, dataset: PixelsDataset, decoded: list[bytes]) -> None:
    decode(decoding(folder), dataset)
    before = dataset.load()
    write_photograph(folder, "c", 99)
    decode(decoding(folder), dataset)
    assert (folder / "c.jpg").read_bytes() in decoded[5:]
    changed = np.abs(dataset.load().canvases.astype(int) - before.canvases).max(axis=(1, 2, 3)) > 0
    assert changed.tolist() == [False, False, True, False, False]


def test_pixels_that_are_in_use_stay_as_they_are_when_others_take_their_place(
    folder: Path, dataset: PixelsDataset
) -> None:
    decode(decoding(folder), dataset)
    in_use = dataset.load()
    before = in_use.canvases.copy()
    decode(decoding(folder, "edc"), dataset)
    np.testing.assert_array_equal(in_use.canvases, before)
    np.testing.assert_array_equal(dataset.load().canvases, before[[4, 3, 2]])


@pytest.mark.parametrize(
    "change",
    [
        {"canvas_size": 16},
        {"views": ViewParams()},
        {"preprocessing": PREPROCESSING.model_copy(update={"crop_pct": 0.9})},
        {"preprocessing": PREPROCESSING.model_copy(update={"interpolation": "bilinear"})},
        {"names": list("ABCDE")},
    ],
    ids=str,
)
def test_other_sizes_crops_or_names_are_written_anew(
    folder: Path, dataset: PixelsDataset, change: dict[str, object]
) -> None:
    decode(decoding(folder), dataset)
    before = dataset.load().description, dataset.load().image_ids
    listed = list_photographs(folder)
    named = replace(listed, table=listed.table.assign(image_id=change.get("names", listed.image_ids)))
    others = {name: value for name, value in change.items() if name != "names"}
    decode(replace(decoding(folder), photographs=named, **others), dataset)
    assert (dataset.load().description, dataset.load().image_ids) != before


def test_mean_and_standard_deviation_have_no_influence(
    folder: Path, dataset: PixelsDataset, decoded: list[bytes]
) -> None:
    decode(decoding(folder), dataset)
    decode(replace(decoding(folder), preprocessing=PREPROCESSING.model_copy(update={"mean": (0.1, 0.2, 0.3)})), dataset)
    assert len(decoded) == 5


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff" * 64, bytes(8) + b"{}", "cut short", "of another kind"], ids=str
)
def test_a_file_that_is_of_no_use_is_replaced(
    folder: Path, dataset: PixelsDataset, tmp_path: Path, content: bytes | str
) -> None:
    path = tmp_path / "new" / "pixels.safetensors"
    decode(decoding(folder), dataset)
    whole = path.read_bytes()
    if content == "of another kind":
        EmbeddingsDataset(filepath=path.as_posix()).save(Embeddings(("a",), np.ones((1, 2), np.float32), {}))
    else:
        path.write_bytes(whole[:-4] if isinstance(content, str) else content)
    with pytest.raises(DatasetError):
        dataset.load()
    decode(decoding(folder), dataset)
    assert path.read_bytes() == whole


def test_a_file_elsewhere_is_fetched_once_and_mapped(folder: Path, dataset: PixelsDataset) -> None:
    elsewhere = PixelsDataset(filepath=f"memory:///{uuid4().hex}/pixels.safetensors")
    for place in (dataset, elsewhere):
        decode(decoding(folder), place)
    here, there, again = dataset.load(), elsewhere.load(), elsewhere.load()
    assert np.array_equal(here.canvases, there.canvases)
    assert isinstance(there.canvases, np.memmap)
    assert there.canvases.filename == again.canvases.filename


def test_missing_file_is_a_dataset_error(dataset: PixelsDataset) -> None:
    assert not dataset.exists()
    with pytest.raises(DatasetError):
        dataset.load()


def test_sizes_are_previewed(folder: Path, dataset: PixelsDataset) -> None:
    decode(decoding(folder), dataset)
    shown = json.loads(dataset.preview())
    assert shown["canvases"] == [5, CANVAS, CANVAS, 3]
    assert shown["crops"] == [5, 2, 12, 12, 3]
    assert shown["zooms"] == list(ZOOMS)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_damaged_pixels_are_decoded_again(
    folder: Path, dataset: PixelsDataset, decoded: list[bytes], share: float
) -> None:
    decode(decoding(folder), dataset)
    path = Path(dataset.stored_file()[1])
    whole = path.read_bytes()
    decode(decoding(folder), dataset)
    assert len(decoded) == 5, "what is intact is kept"
    position = int(share * (len(whole) - 1))
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    decode(decoding(folder), dataset)
    assert len(decoded) == 10
    assert path.read_bytes() == whole
