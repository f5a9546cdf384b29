"""What is saved comes back unchanged, wherever it is stored; equal content gives equal bytes."""

import base64
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints
from uuid import uuid4

import fsspec
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError
from PIL import Image

from skinbit.config import BackboneParams, DataParams
from skinbit.data.images import read_photograph
from skinbit.embedding import tables
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.checkpoints import Checkpoint, StoredState
from skinbit.embedding.headers import read_header
from skinbit.embedding.tables import Embeddings, Features, Gathered
from skinbit.errors import InputError
from skinbit.matching.keypoints.compared import ComparedPairs
from skinbit.matching.keypoints.sift import Keypoints, KeypointTable, tabulate_keypoints
from skinbit.matching.labels import unit_vectors
from skinbit.runtime.datasets import tensors as tensors_module
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.datasets.compared_pairs import ComparedPairsDataset
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.feature_cache import FeatureCacheDataset
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.figure import FigureDataset
from skinbit.runtime.datasets.files import connect, hash_file, pack, unpack, unpack_header
from skinbit.runtime.datasets.folder_listing import FolderListingDataset
from skinbit.runtime.datasets.image_folder import ImageFolderDataset
from skinbit.runtime.datasets.keypoints import KeypointsDataset
from skinbit.runtime.datasets.lookup import LookupDataset
from skinbit.runtime.datasets.metadata_table import MetadataDataset
from skinbit.runtime.datasets.stock import CSVDataset, JSONDataset, YAMLDataset
from skinbit.runtime.datasets.training_state import TrainingStatesDataset
from skinbit.runtime.provenance import StoredFile

IDS = ("b", "007", "a", "NA", "ä")  # neither sorted nor plain: order and text must survive
RNG = np.random.default_rng(0)
EMBEDDINGS = Embeddings(IDS, unit_vectors(RNG.normal(size=(5, 10))), {"model": "m", "nested": {"b": 1, "a": [2]}})
WITH_ZOOMS = replace(EMBEDDINGS, zooms=RNG.normal(size=(5, 3, 10)).astype(np.float32))
FEATURES = Features(IDS, RNG.normal(size=(5, 2, 3)).astype(np.float32), tuple("vwxyz"), {"model": "m"})
KEYPOINTS = tabulate_keypoints(
    IDS,
    tuple("vwxyz"),
    [
        Keypoints(
            RNG.normal(size=(n, 2)).astype(np.float32),
            RNG.normal(size=n).astype(np.float32),
            RNG.normal(size=n).astype(np.float32),
            RNG.integers(0, 256, (n, 128)).astype(np.uint8),
            (30, 20 + n),
        )
        for n in (3, 0, 2, 1, 4)
    ],
    {"image_side": 30},
)
PAIRS = ComparedPairs(("v", "w"), np.array([0, 12]), np.array([1.0, 1.25]))
HEADER = {
    "backbone": {"model": "test_resnet", "image_size": 32, "pretrained": False},
    "preprocessing": {
        **{"image_size": 32, "crop_pct": 0.95, "interpolation": "bicubic"},
        **{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    },
    "weights_sha256": "0" * 64,
    "holds_backbone": True,
    "head": {"hidden": [], "dim": None, "neck": False},
    "loss": "baseline",
    "epoch": None,
    "seed": 42,
    "versions": {"skinbit": "0.1.0"},
}
CHECKPOINT = Checkpoint(
    {"z.weight": torch.arange(6.0).view(2, 3), "a.n_steps": torch.tensor(5), "a.bias": torch.zeros(2)},
    read_header(HEADER | {"cosine_threshold": 0.1 + 0.2}),
)
STATE = StoredState(CHECKPOINT.tensors, {"key": "k", "history": [{"f1": 0.1 + 0.2}]})
TABLE = pd.DataFrame({"metric": ["f1", "n"], "value": [0.1 + 0.2, 3.0]})
DOCUMENT = {"b": 1, "a": [1.5, None, "ä"]}

ROUND_TRIPS = [
    (EmbeddingsDataset, "a.safetensors", EMBEDDINGS),
    (FeaturesDataset, "a.safetensors", FEATURES),
    (KeypointsDataset, "a.safetensors", KEYPOINTS),
    (ComparedPairsDataset, "a.safetensors", PAIRS),
    (CheckpointDataset, "a.safetensors", CHECKPOINT),
    (CSVDataset, "a.csv", TABLE),
    (JSONDataset, "a.json", DOCUMENT),
    (YAMLDataset, "a.yaml", DOCUMENT),
]
SAFETENSORS = ROUND_TRIPS[:5]


def names(case: Any) -> str | None:
    return case.__name__ if isinstance(case, type) else None


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet, on a disk and elsewhere."""
    return (tmp_path / "new").as_posix() if request.param == "file" else f"memory:///{uuid4().hex}/new"


def read_bytes(path: str) -> bytes:
    with fsspec.open(path) as file:
        content: bytes = file.read()
    return content


def plain(value: Any) -> Any:
    """Return a value in a form that ``==`` compares completely."""
    if isinstance(value, Embeddings | Features | KeypointTable | ComparedPairs | Checkpoint | StoredState):
        return {name: plain(part) for name, part in vars(value).items()}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | torch.Tensor):
        kind = "array" if isinstance(value, np.ndarray) else "tensor"  # a map is an array, too
        return kind, str(value.dtype), tuple(value.shape), value.tolist()
    return value.to_dict("split") if isinstance(value, pd.DataFrame) else value


@pytest.mark.parametrize(("dataset_type", "name", "value"), ROUND_TRIPS, ids=names)
def test_what_is_saved_comes_back_unchanged(place: str, dataset_type: type, name: str, value: Any) -> None:
    dataset_type(filepath=f"{place}/{name}").save(value)
    assert plain(dataset_type(filepath=f"{place}/{name}").load()) == plain(value)


def test_vectors_of_zooms_are_in_a_file_of_their_own(place: str) -> None:
    for value, name in ((EMBEDDINGS, "a"), (WITH_ZOOMS, "b")):
        EmbeddingsDataset(filepath=f"{place}/{name}.safetensors").save(value)
    alone, beside, zooms = (unpack(read_bytes(f"{place}/{name}.safetensors")) for name in ("a", "b", "b_zooms"))
    assert np.array_equal(alone.tensors["embeddings"], beside.tensors["embeddings"])
    assert np.array_equal(zooms.tensors["embeddings"], WITH_ZOOMS.zooms)
    assert plain(EmbeddingsDataset(filepath=f"{place}/b.safetensors").load()) == plain(WITH_ZOOMS)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (None, "b_zooms.safetensors in the same folder, are missing"),
        (b"other", "is not the file that was written with"),
    ],
)
def test_vectors_of_zooms_that_are_not_those_of_the_embeddings_are_named(
    tmp_path: Path, other: bytes | None, said: str
) -> None:
    dataset = EmbeddingsDataset(filepath=(tmp_path / "b.safetensors").as_posix())
    dataset.save(WITH_ZOOMS)
    zooms = tmp_path / "b_zooms.safetensors"
    zooms.unlink() if other is None else zooms.write_bytes(other)
    with pytest.raises(DatasetError) as refused:
        dataset.load()
    assert said in str(refused.value.__cause__)
    assert "Remedy: it is damaged" in str(refused.value.__cause__)


@pytest.mark.parametrize(("dataset_type", "name", "value"), ROUND_TRIPS, ids=names)
def test_dataset_exists_once_it_is_saved(place: str, dataset_type: type, name: str, value: Any) -> None:
    dataset = dataset_type(filepath=f"{place}/{name}")
    assert not dataset.exists()
    dataset.save(value)
    assert dataset.exists()


@pytest.mark.parametrize(("dataset_type", "name", "value"), ROUND_TRIPS, ids=names)
def test_equal_content_gives_equal_bytes_and_no_other_file(
    place: str, dataset_type: type, name: str, value: Any
) -> None:
    for folder in ("first", "second"):
        dataset_type(filepath=f"{place}/{folder}/{name}").save(value)
    assert read_bytes(f"{place}/first/{name}") == read_bytes(f"{place}/second/{name}")
    fs, root = fsspec.url_to_fs(f"{place}/first")
    assert [path.rsplit("/", 1)[1] for path in fs.ls(root, detail=False)] == [name]


@pytest.mark.parametrize(("dataset_type", "name", "value"), ROUND_TRIPS, ids=names)
def test_missing_file_is_a_dataset_error(place: str, dataset_type: type, name: str, value: Any) -> None:
    with pytest.raises(DatasetError):
        dataset_type(filepath=f"{place}/{name}").load()


@pytest.mark.parametrize(("dataset_type", "name", "value"), SAFETENSORS, ids=names)
def test_header_has_one_key_with_sorted_json(tmp_path: Path, dataset_type: type, name: str, value: Any) -> None:
    dataset_type(filepath=(tmp_path / name).as_posix()).save(value)
    content = (tmp_path / name).read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    assert list(metadata) == ["skinbit"]
    header = json.loads(metadata["skinbit"])
    assert metadata["skinbit"] == json.dumps(header, sort_keys=True)
    assert len(header.pop("seal")) == 64
    assert header == unpack_header(content)


@pytest.mark.parametrize(
    ("dataset_type", "value", "tensor"),
    [(EmbeddingsDataset, EMBEDDINGS, "embeddings"), (FeaturesDataset, FEATURES, "features")],
)
def test_image_ids_are_in_the_header_and_the_tensor_has_its_name(
    tmp_path: Path, dataset_type: type, value: Any, tensor: str
) -> None:
    from safetensors.numpy import load

    dataset_type(filepath=(tmp_path / "a.safetensors").as_posix()).save(value)
    content = (tmp_path / "a.safetensors").read_bytes()
    assert unpack_header(content)["image_ids"] == list(IDS)
    assert list(load(content)) == [tensor]


def test_tables_have_the_bytes_that_the_library_of_the_format_writes(tmp_path: Path) -> None:
    header = {"image_ids": list(KEYPOINTS.image_ids), "keys": list(KEYPOINTS.keys)}
    KeypointsDataset(filepath=(tmp_path / "a").as_posix()).save(KEYPOINTS)
    tensors = {name: getattr(KEYPOINTS, name) for name in KeypointsDataset.tensors}
    assert (tmp_path / "a").read_bytes() == pack(tensors, {**header, "description": KEYPOINTS.description})


@pytest.mark.parametrize("block", [1, 2**24])
def test_rows_of_several_tables_are_written_as_one(place: str, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tables, "_BLOCK", block)
    first, second = (replace(FEATURES, values=FEATURES.values[:, :1] + n) for n in range(2))
    places = [(table, row) for row in (3, 0, 4, 1) for table in (second, first)]
    dataset = FeaturesDataset(filepath=f"{place}/a.safetensors")
    dataset.save(Gathered(tuple("dcba"), tuple("wxyz"), {"model": "m"}, places))
    expected = np.stack([table.values[row, 0] for table, row in places]).reshape(4, 2, -1)
    assert plain(dataset.load()) == plain(Features(tuple("dcba"), expected, tuple("wxyz"), {"model": "m"}))


def test_features_of_no_image_can_be_stored(place: str) -> None:
    dataset = FeaturesDataset(filepath=f"{place}/a.safetensors")
    dataset.save(Gathered((), (), {"model": "m"}, []))
    assert plain(dataset.load()) == plain(replace(FeaturesDataset.empty, description={"model": "m"}))


def test_what_was_written_is_checked_for_numbers_that_are_none(place: str) -> None:
    dataset = FeaturesDataset(filepath=f"{place}/a.safetensors")
    dataset.save(replace(FEATURES, values=FEATURES.values * np.float32(np.nan)))
    with pytest.raises(DatasetError, match="NaN or infinity"):
        dataset.load()


def test_unchanged_tables_are_checked_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = FeaturesDataset(filepath=f"{place}/a.safetensors")
    dataset.save(FEATURES)
    dataset.load()
    monkeypatch.setattr(tensors_module, "_check", lambda *_: pytest.fail("checked again"))
    assert plain(dataset.load()) == plain(FEATURES)


def test_order_of_tensors_and_keys_has_no_influence_on_the_bytes() -> None:
    tensors, header = {"b": np.zeros(2), "a": np.ones(3)}, {"y": 1, "x": {"q": 2, "p": 3}}
    backwards = {"x": {"p": 3, "q": 2}, "y": 1}
    assert pack(tensors, header) == pack(dict(reversed(tensors.items())), backwards)


def test_memory_layout_has_no_influence_on_the_bytes() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    assert pack({"a": np.asfortranarray(values)}, {}) == pack({"a": values}, {})


def test_every_changed_byte_of_sealed_tensors_is_noticed() -> None:
    content = pack({"a": np.arange(4.0)}, {"threshold": 0.5})
    assert unpack(content).header == {"threshold": 0.5}
    for position in range(len(content)):
        changed = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        with pytest.raises(ValueError, match=r"."):
            unpack(changed)


def test_file_that_has_not_changed_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, path = fsspec.filesystem("file"), str(tmp_path / "a.csv")
    Path(path).write_bytes(b"first")
    first = hash_file(fs, path)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        assert hash_file(fs, path) == first
    Path(path).write_bytes(b"other text")
    assert hash_file(fs, path) == StoredFile(size=10, sha256=hashlib.sha256(b"other text").hexdigest())


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x80\x04", b"text of some length", b"\xff" * 64, pickle.dumps({"a": 1}), bytes(8) + b"{}"],
)
def test_garbage_has_no_header(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file written by Skinbit"):
        unpack_header(garbage)


def test_safetensors_of_another_program_have_no_header_of_ours() -> None:
    from safetensors.numpy import save

    for metadata in (None, {"format": "pt"}, {"skinbit": "no json"}):
        with pytest.raises(ValueError, match="not a safetensors file written by Skinbit"):
            unpack_header(save({"a": np.zeros(1)}, metadata))


class Harm:
    """Leaves a trace if it is ever unpickled."""

    is_done = False

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return setattr, (Harm, "is_done", True)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickles_are_refused_and_never_run(tmp_path: Path, save: Callable[[Any, Path], Any]) -> None:
    path = tmp_path / "best.safetensors"
    save(Harm(), path)
    with pytest.raises(DatasetError):
        CheckpointDataset(filepath=path.as_posix()).load()
    assert not Harm.is_done


def test_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    EmbeddingsDataset(filepath=path.as_posix()).save(EMBEDDINGS)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DatasetError):
        EmbeddingsDataset(filepath=path.as_posix()).load()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_checkpoint_rebuilds_a_backbone_with_identical_features(tmp_path: Path, layout: torch.memory_format) -> None:
    params = BackboneParams(model="test_resnet", image_size=32, pretrained=False)
    original, other = (load_backbone(params, seed) for seed in (1, 2))
    dataset = CheckpointDataset(filepath=(tmp_path / "best.safetensors").as_posix())
    dataset.save(Checkpoint(original.module.to(memory_format=layout).state_dict(), read_header(HEADER)))
    other.module.load_state_dict(dict(dataset.load().tensors))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert other.weights_sha256() == original.weights_sha256()
    with torch.inference_mode():
        assert torch.equal(other.module(pixels), original.module.to(memory_format=torch.channels_last)(pixels))


def test_optional_features_are_empty_where_there_is_no_file(place: str) -> None:
    features = FeaturesDataset(filepath=f"{place}/a.safetensors", optional=True).load()
    assert (features.image_ids, features.keys, len(features.values)) == ((), (), 0)


@pytest.mark.parametrize("content", [b"", b"garbage", "cut short", "of another kind"], ids=str)
def test_optional_features_are_empty_where_the_file_is_of_no_use(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "a.safetensors"
    FeaturesDataset(filepath=path.as_posix()).save(FEATURES)
    if content == "of another kind":
        EmbeddingsDataset(filepath=path.as_posix()).save(EMBEDDINGS)
    else:
        path.write_bytes(path.read_bytes()[:-4] if isinstance(content, str) else content)
    assert FeaturesDataset(filepath=path.as_posix(), optional=True).load().image_ids == ()
    with pytest.raises(DatasetError):
        FeaturesDataset(filepath=path.as_posix()).load()


def test_keypoints_of_every_image_come_back(place: str) -> None:
    KeypointsDataset(filepath=f"{place}/a.safetensors").save(KEYPOINTS)
    loaded = KeypointsDataset(filepath=f"{place}/a.safetensors").load()
    assert [len(loaded.of(image_id)) for image_id in IDS] == [3, 0, 2, 1, 4]
    assert [loaded.of(image_id).size for image_id in IDS] == [(30, 23), (30, 20), (30, 22), (30, 21), (30, 24)]


def test_optional_keypoints_are_empty_where_there_is_no_file_or_none_of_use(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    dataset = KeypointsDataset(filepath=path.as_posix(), optional=True)
    assert dataset.load().image_ids == ()
    FeaturesDataset(filepath=path.as_posix()).save(FEATURES)
    assert dataset.load().image_ids == ()
    with pytest.raises(DatasetError):
        KeypointsDataset(filepath=path.as_posix()).load()
    dataset.save(KEYPOINTS)
    assert plain(dataset.load()) == plain(KEYPOINTS)


def test_optional_features_are_loaded_where_there_is_a_file(place: str) -> None:
    FeaturesDataset(filepath=f"{place}/a.safetensors").save(FEATURES)
    assert plain(FeaturesDataset(filepath=f"{place}/a.safetensors", optional=True).load()) == plain(FEATURES)


def test_optional_table_is_empty_where_there_is_no_file(place: str) -> None:
    dataset = CSVDataset(filepath=f"{place}/a.csv", optional=True)
    assert dataset.load().empty
    dataset.save(TABLE)
    assert plain(dataset.load()) == plain(TABLE)


def test_metadata_is_loaded_as_text_with_its_rows(place: str) -> None:
    dataset = MetadataDataset(filepath=f"{place}/data.csv")
    dataset.save(pd.DataFrame({"lesion_id": ["007"], "image_id": ["NA"]}))
    assert dataset.load().to_dict("records") == [{"lesion_id": "007", "image_id": "NA", "row": 2, "misshapen": ""}]


def test_missing_metadata_says_where_to_put_it(place: str) -> None:
    with pytest.raises(DatasetError) as refused:
        MetadataDataset(filepath=f"{place}/data.csv").load()
    assert isinstance(refused.value.__cause__, InputError)
    assert "There is no metadata file" in refused.value.__cause__.message
    assert "SKINBIT_RAW_DIR" in refused.value.__cause__.message


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(buffer, "PNG")
    return buffer.getvalue()


def test_image_folder_is_listed_and_read_by_id(place: str) -> None:
    dataset = ImageFolderDataset(path=f"{place}/images")
    assert not dataset.exists()
    assert dataset.load().files == {}
    dataset.save({"a.png": png(), "b.JPG": b"b"})
    folder = dataset.load()
    assert dataset.exists()
    assert folder.files == {"a": ("a.png",), "b": ("b.JPG",)}
    assert [read_photograph(folder, file, DataParams()) for file in ("a.png", "b.JPG")] == [png(), b"b"]


def test_images_that_are_there_stay_when_others_are_saved(place: str) -> None:
    dataset = ImageFolderDataset(path=f"{place}/images")
    dataset.save({"a.png": b"1"})
    dataset.save({"b.png": b"2"})
    assert dataset.load().files == {"a": ("a.png",), "b": ("b.png",)}


def test_folder_listing_names_files_of_subfolders_sorted(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("z.csv", "images/b.jpg", "images/a.jpg", ".hidden"):
        (tmp_path / name).touch()
    dataset = FolderListingDataset(path=tmp_path.as_posix())
    assert dataset.exists()
    assert dataset.load() == [".hidden", "images/a.jpg", "images/b.jpg", "z.csv"]


def test_folder_that_does_not_exist_is_listed_as_empty(tmp_path: Path) -> None:
    dataset = FolderListingDataset(path=(tmp_path / "nowhere").as_posix())
    assert not dataset.exists()
    assert dataset.load() == []


def test_folder_listing_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be saved"):
        FolderListingDataset(path=tmp_path.as_posix()).save(["a"])


def viz_type(dataset: Any) -> str:
    """Name the type that Kedro-Viz chooses the rendering by."""
    name: str = get_type_hints(dataset.preview)["return"].__name__
    return name


def assert_is_png(preview: str) -> None:
    assert Image.open(io.BytesIO(base64.b64decode(preview))).format == "PNG"


def test_embeddings_are_previewed_as_a_table(place: str) -> None:
    dataset = EmbeddingsDataset(filepath=f"{place}/a.safetensors")
    dataset.save(EMBEDDINGS)
    preview = dataset.preview(nrows=3)
    assert viz_type(dataset) == "TablePreview"
    assert preview["columns"][0] == "image_id"
    assert [row[0] for row in preview["data"]] == list(IDS[:3])
    assert np.shape(preview["data"]) == (3, len(preview["columns"]))
    assert json.dumps(preview)


@pytest.mark.parametrize(
    ("dataset_type", "value", "shown"),
    [
        (FeaturesDataset, FEATURES, {"shape": [5, 2, 3], "model": "m"}),
        (KeypointsDataset, KEYPOINTS, {"images": 5, "keypoints": 10, "image_side": 30}),
        (CheckpointDataset, CHECKPOINT, json.loads(json.dumps(CHECKPOINT.header.model_dump()))),
        (JSONDataset, DOCUMENT, DOCUMENT),
        (YAMLDataset, DOCUMENT, DOCUMENT),
    ],
)
def test_documents_and_headers_are_previewed_as_json(place: str, dataset_type: type, value: Any, shown: Any) -> None:
    dataset = dataset_type(filepath=f"{place}/a.safetensors")
    dataset.save(value)
    preview = dataset.preview()
    assert viz_type(dataset) == "JSONPreview"
    assert json.loads(preview) == shown


@pytest.mark.parametrize("dataset_type", [CSVDataset, MetadataDataset])
def test_tables_are_previewed_with_the_first_rows(place: str, dataset_type: type) -> None:
    dataset = dataset_type(filepath=f"{place}/a.csv")
    dataset.save(pd.DataFrame({"lesion_id": ["L"] * 9, "image_id": list("abcdefghi")}))
    preview = dataset.preview(nrows=2)
    assert len(preview["data"]) == 2
    assert preview["columns"][:2] == ["lesion_id", "image_id"]
    assert json.dumps(preview)


def test_image_folder_is_previewed_as_a_contact_sheet(place: str, caplog: pytest.LogCaptureFixture) -> None:
    dataset = ImageFolderDataset(path=f"{place}/images")
    dataset.save({f"{number}.png": png() for number in range(30)} | {"1.png": b"damaged"})
    preview = dataset.preview(columns=3, rows=2)
    assert viz_type(dataset) == "ImagePreview"
    sheet = Image.open(io.BytesIO(base64.b64decode(preview)))
    assert sheet.size == (3 * 96, 2 * 72)
    assert sheet.getpixel((10, 10)) == (200, 100, 50)
    assert sheet.getpixel((96 + 20, 10)) == (255, 255, 255)  # crossed out
    assert [record.getMessage() for record in caplog.records] == [
        "not shown: 1.png: not a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image"
    ]


def test_feature_cache_finds_features_by_name_and_is_empty_where_there_are_none(place: str) -> None:
    FeaturesDataset(filepath=f"{place}/vit/features.safetensors").save(FEATURES)
    stored_features = FeatureCacheDataset(path=place).load()
    assert stored_features("vit", "features").finished().keys == FEATURES.keys
    assert stored_features("vit", "training_views").finished().image_ids == ()
    assert stored_features("resnet", "features").finished().image_ids == ()


def test_pieces_lie_beside_their_file_and_go_when_it_is_written(place: str, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureCacheDataset(path=place).load()("vit", "features")
    pieces = [replace(FEATURES, keys=tuple(f"{key}{n}" for key in FEATURES.keys)) for n in range(3)]
    for piece in (*pieces, pieces[0]):  # two writers of one piece
        store.keep(piece)
    assert {piece.keys for piece in store.pieces()} == {piece.keys for piece in pieces}
    fs, folder, _ = connect(f"{place}/vit/features.pieces")
    damaged = sorted(fs.ls(folder, detail=False))[0]
    fs.pipe_file(damaged, fs.cat_file(damaged)[:-1])
    with caplog.at_level("WARNING"):
        store = FeatureCacheDataset(path=place).load()("vit", "features")  # as the next run opens it
        assert sum(len(piece.keys) > 0 for piece in store.pieces()) == 2
    assert "features are computed again" in caplog.text
    FeaturesDataset(filepath=f"{place}/vit/features.safetensors").save(FEATURES)
    assert store.pieces() == []
    assert store.finished().keys == FEATURES.keys


def test_figure_is_saved_and_previewed_as_png(place: str) -> None:
    dataset = FigureDataset(filepath=f"{place}/a.png")
    dataset.save(plt.figure(figsize=(1, 1)))
    assert_is_png(dataset.preview())
    assert viz_type(dataset) == "ImagePreview"
    assert read_bytes(f"{place}/a.png") == base64.b64decode(dataset.preview())


def test_training_state_is_read_by_the_training_as_it_was_written(place: str) -> None:
    state_of = TrainingStatesDataset(path=place).load()
    assert state_of("vit_triplet", "fold_0").read() is None
    state_of("vit_triplet", "fold_0").write(STATE)
    assert plain(TrainingStatesDataset(path=place).load()("vit_triplet", "fold_0").read()) == plain(STATE)
    for other in (("vit_triplet", "fold_1"), ("vit_triplet", "final"), ("vit_infonce", "fold_0")):
        assert state_of(*other).read() is None


@pytest.mark.parametrize("content", [b"", b"garbage", "cut short"], ids=str)
def test_training_state_that_is_of_no_use_counts_as_none(tmp_path: Path, content: bytes | str) -> None:
    store = TrainingStatesDataset(path=tmp_path.as_posix()).load()("vit_triplet", "fold_0")
    store.write(STATE)
    path = tmp_path / "vit_triplet" / "fold_0" / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:-4] if isinstance(content, str) else content)
    assert store.read() is None


def test_training_states_are_not_saved_by_kedro(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a training"):
        TrainingStatesDataset(path=tmp_path.as_posix()).save(STATE)


TABLES = {"type": "skinbit.runtime.datasets.metadata_table.MetadataDataset"}


class TestLookup:
    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        for folder in ("home", "sub"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.csv").write_text(f"image_id,lesion_id\n{folder},1\n")
        return tmp_path

    def test_finds_relative_absolute_and_home_paths_and_urls(self, project):
        look_up = LookupDataset(path=str(project), dataset=TABLES).load()
        spellings = {"sub/a.csv": "sub", str(project / "sub" / "a.csv"): "sub", "~/a.csv": "home"}
        spellings[(project / "sub" / "a.csv").as_uri()] = "sub"
        assert {path: look_up(path)["image_id"].item() for path in spellings} == spellings

    def test_is_never_written(self, project):
        with pytest.raises(DatasetError, match="read-only"):
            LookupDataset(path=str(project), dataset=TABLES).save({})


class TestCheckpointErrors:
    @pytest.mark.parametrize("content", [b"", b"no model", pack({}, {"image_ids": []})])
    def test_another_kind_of_file_is_named(self, tmp_path, content):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(DatasetError) as refused:
            CheckpointDataset(filepath=str(tmp_path / "a.safetensors")).load()
        assert "a.safetensors is not a checkpoint of Skinbit" in str(refused.value.__cause__)

    def test_a_missing_model_says_what_trains_it(self, tmp_path):
        with pytest.raises(DatasetError) as refused:
            CheckpointDataset(filepath=str(tmp_path / "a.safetensors")).load()
        assert "kedro run --pipelines EXPERIMENT" in str(refused.value.__cause__)


class TestFingerprintOfAFolder:
    def test_counts_names_and_bytes_whatever_else_is_there(self, tmp_path: Path) -> None:
        dataset = ImageFolderDataset(path=tmp_path.as_posix())
        (tmp_path / "a.jpg").write_bytes(b"a")
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "folder.jpg").mkdir()
        (tmp_path / "broken.jpg").symlink_to("nowhere")
        first = dataset.fingerprint()
        assert first == dataset.fingerprint()
        (tmp_path / "notes.txt").write_text("no photograph")
        assert first == dataset.fingerprint()
        (tmp_path / "a.jpg").write_bytes(b"b")
        assert first != (second := dataset.fingerprint())
        (tmp_path / "folder.jpg").rmdir()
        assert second != dataset.fingerprint()
