"""Photographs that change after they were checked: every reader names them, and nothing of them is kept."""

import errno
import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.audit.copies import hash_pixels
from skinbit.config import ClusterParams, ComputeParams, DataParams, GeometryParams, LoaderParams, ViewParams
from skinbit.data import decoding
from skinbit.data.listed import ListedPhotographs
from skinbit.data.photographs import Photographs
from skinbit.embedding.backbones import Backbone
from skinbit.embedding.compute import resolve_compute
from skinbit.embedding.features import Extraction, extract_features
from skinbit.embedding.loading import read_batches
from skinbit.embedding.pixels import PixelMaker
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.errors import InputError
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.notebook.pictures import read_photographs
from skinbit.pipelines.cluster_images.nodes.photographs import open_listed
from skinbit.report.drawings import KeypointPhotographs, draw_pairs
from skinbit.report.thumbnails import make_thumbnails
from tests.kept import find_keypoints

SOURCE = Path(__file__).parents[2] / "src/skinbit"
PREPROCESSING = Preprocessing(image_size=12, crop_pct=1.0, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
VICTIM = "b.jpg"


def photograph(seed: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def listed(tmp_path: Path) -> ListedPhotographs:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate("abcd"):
        (folder / f"{name}.jpg").write_bytes(photograph(seed))
    return list_photographs(folder, DataParams(max_megabytes=1))


def becomes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def without(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


CHANGES = {
    "gone": (lambda path: path.unlink(), "it is gone"),
    "the whole folder gone": (lambda path: shutil.rmtree(path.parent), "the whole folder has been removed"),
    "a folder": (without(lambda path: path.mkdir()), "it is a folder"),
    "a broken link": (
        without(lambda path: path.symlink_to("nowhere.jpg")),
        "it is a broken link",
    ),
    "a link to itself": (without(lambda path: path.symlink_to(path)), "it is a circular link"),
    "a link to a device": (without(lambda path: path.symlink_to("/dev/zero")), "it is a pipe or device, not a file"),
    "a link to a photograph elsewhere": (
        without(lambda path: path.symlink_to(shutil.copy(path.parent / "a.jpg", path.parents[1] / "other.jpg"))),
        "it is a link to a file outside of the folder",
    ),
    "a pipe": (without(os.mkfifo), "it is a pipe or device, not a file"),
    "empty": (becomes(b""), "its bytes are not those that data_split read: the file is empty"),
    "cut short": (
        lambda path: path.write_bytes(path.read_bytes()[:500]),
        "its bytes are not those that data_split read: damaged or cut short",
    ),
    "a pointer of Git LFS": (
        becomes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "its bytes are not those that data_split read: not a JPEG, PNG",
    ),
    "another photograph of the study": (
        lambda path: shutil.copy(path.with_name("a.jpg"), path),
        "its bytes are not those that data_split read: it is another photograph, or was saved again",
    ),
    "saved again": (becomes(photograph(1, quality=60)), "it is another photograph, or was saved again"),
    "the same pixels with a comment": (becomes(photograph(1, comment=b"seen")), "or was saved again"),
    "very large": (
        lambda path: path.write_bytes(path.read_bytes() + bytes(2_000_000)),
        "2 megabytes are more than data.max_megabytes=1",
    ),
}
"""What a photograph may become between two stages, and how that is told."""


class TestAPhotograph:
    def test_that_is_as_it_was_is_decoded(self, listed: ListedPhotographs) -> None:
        assert listed.decode("b").size == (64, 48)
        assert [image.size for image in listed.decode_sizes("b", [None, 20])] == [(64, 48), (32, 24)]

    @pytest.mark.parametrize("change", CHANGES)
    def test_that_changed_is_named_with_what_it_became_and_a_remedy(
        self, listed: ListedPhotographs, tmp_path: Path, change: str
    ) -> None:
        spoil, told = CHANGES[change]
        spoil(tmp_path / "images" / VICTIM)
        with pytest.raises(InputError) as refused:
            listed.decode("b")
        message = str(refused.value)
        assert message.startswith(f"The photograph {VICTIM} can no longer be used: ")
        assert told in message
        assert str(tmp_path) not in message
        assert re.search(r"\n  Remedy: put .* back.*: kedro run --pipelines data_split\.$", message)

    @pytest.mark.parametrize("change", CHANGES)
    def test_that_is_put_back_is_used_again(self, listed: ListedPhotographs, tmp_path: Path, change: str) -> None:
        path = tmp_path / "images" / VICTIM
        before, kept = listed.decode("b").tobytes(), tmp_path / "kept"
        shutil.copytree(path.parent, kept)
        CHANGES[change][0](path)
        shutil.rmtree(path.parent, ignore_errors=True)
        shutil.copytree(kept, path.parent)
        assert listed.decode("b").tobytes() == before

    def test_beside_which_others_have_come_is_still_the_one_that_was_checked(
        self, listed: ListedPhotographs, tmp_path: Path
    ) -> None:
        before = listed.decode("b").tobytes()
        Image.new("RGB", (9, 9)).save(tmp_path / "images/b.png")
        assert listed.decode("b").tobytes() == before

    def test_that_a_lowered_limit_refuses_is_told_so(self, listed: ListedPhotographs) -> None:
        with pytest.raises(InputError, match=r"64x48 pixels are more than data\.max_pixels=100\.\n  Remedy: .*setting"):
            replace(listed, data=DataParams(max_pixels=100)).decode("b")

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [
            (errno.EACCES, "give this user permission to read it"),
            (errno.EIO, "check that it is connected and healthy"),
            (errno.ESTALE, "check that it is connected and healthy"),
            (errno.EMFILE, "raise the limit"),
            (errno.ETIMEDOUT, "check that its disk or network drive"),
        ],
    )
    def test_that_cannot_be_read_now_is_no_changed_one(
        self, listed: ListedPhotographs, number: int, remedy: str
    ) -> None:
        class Failing(LocalFileSystem):
            def cat_file(self, path: str, **_: object) -> bytes:
                raise OSError(number, os.strerror(number), path)

        failing = replace(listed, folder=replace(listed.folder, fs=Failing()))
        with pytest.raises(InputError, match=f"{os.strerror(number).lower()}.*\n  Remedy: {remedy}") as refused:
            failing.decode("b")
        assert "data_split" not in str(refused.value)

    def test_for_which_memory_does_not_suffice_is_no_changed_one(
        self, listed: ListedPhotographs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> Image.Image:
            raise MemoryError

        for step in ("exif_transpose", "open"):  # damaged EXIF blocks and files raise many errors; this is none of them
            monkeypatch.setattr(decoding.ImageOps if step == "exif_transpose" else Image, step, fail)
            with pytest.raises(MemoryError):
                listed.decode("b")

    def test_that_was_never_listed_is_said_to_be_unknown(self, listed: ListedPhotographs) -> None:
        with pytest.raises(InputError, match=r"data_split has listed no photograph z\.\n  Remedy: run it again"):
            listed.decode("z")

    def test_of_new_photographs_names_the_pipeline_that_read_them(
        self, listed: ListedPhotographs, tmp_path: Path
    ) -> None:
        (tmp_path / "images" / VICTIM).write_bytes(photograph(9))
        known = listed.table.assign(lesion_id="L1")
        cluster = ClusterParams(images="new", known="known/data.csv")
        opened = open_listed(lambda _: listed.folder, listed.table, known, cluster, DataParams())
        for row in (1, 5):  # of the new ones, and of the known ones
            with pytest.raises(InputError, match=r"those that cluster_images read: (.|\n)*--pipelines cluster_images"):
                opened.decode(row, 16)


class Flattened(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)


def features(listed: ListedPhotographs, workers: int) -> object:
    backbone = Backbone(Flattened(), PREPROCESSING, 3 * 12 * 12)
    compute = resolve_compute(ComputeParams(device="cpu", threads=1))
    loader = LoaderParams(workers=workers, batch_size=2)
    return extract_features(Extraction(listed, loader, compute), listed.image_ids, backbone, ViewParams())


def pixels(listed: ListedPhotographs, workers: int) -> object:
    maker = PixelMaker(listed, PREPROCESSING, ViewParams(), 16, LoaderParams(workers=workers, batch_size=2))
    return list(maker([np.arange(len(listed.image_ids))]))


def drawings(listed: ListedPhotographs) -> object:
    unread = replace(listed, table=listed.table[listed.table["image_id"] != "b"])
    table = find_keypoints(unread, NO_TABLE, GeometryParams(), 1)
    named = replace(table, image_ids=("a", "b", "c"))
    return list(draw_pairs([(0, 1)], KeypointPhotographs.of_study(named, listed), GeometryParams(), 1))


READERS = {
    "features": lambda listed: features(listed, 0),
    "features in worker processes": lambda listed: features(listed, 2),
    "pixels of trainings": lambda listed: pixels(listed, 0),
    "pixels of trainings in worker processes": lambda listed: pixels(listed, 2),
    "keypoints": lambda listed: find_keypoints(listed, NO_TABLE, GeometryParams(), 2).keys,
    "keypoints of new photographs": lambda listed: (
        find_keypoints(Photographs((listed,)), NO_TABLE, GeometryParams(), 2).keys
    ),
    "thumbnails": lambda listed: list(make_thumbnails(listed, ["a", "b"], 16)),
    "drawings": drawings,
    "the audit": lambda listed: list(hash_pixels(listed)),
    "notebooks": lambda listed: read_photographs(listed, ["a", "b"], 16),
}


class TestReader:
    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("change", ["gone", "a folder", "cut short", "another photograph of the study"])
    def test_says_the_same_as_any_other(
        self, listed: ListedPhotographs, tmp_path: Path, reader: str, change: str
    ) -> None:
        CHANGES[change][0](tmp_path / "images" / VICTIM)
        with pytest.raises(InputError) as expected:
            listed.decode("b")
        with pytest.raises(InputError) as found:
            READERS[reader](listed)
        assert str(found.value) == str(expected.value)

    @pytest.mark.parametrize("reader", READERS)
    def test_reads_what_is_as_it_was(self, listed: ListedPhotographs, reader: str) -> None:
        assert len(READERS[reader](listed)) > 0

    def test_is_the_only_one_outside_of_the_checks(self) -> None:
        raw = re.compile(r"\b(read_photograph|decode_image|cat_file)\(|Image\.open\(")
        found = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if raw.search(path.read_text())}
        others = {path for path in found if not path.startswith("runtime/")}  # files that are no photographs
        assert others == {"data/decoding.py", "data/dicom.py", "data/images.py", "data/listed.py"}

    def test_of_a_worker_keeps_other_errors_as_they_are(self) -> None:
        def fail(index: int) -> torch.Tensor:
            raise MemoryError

        with pytest.raises(MemoryError):
            list(read_batches(fail, [[0, 1], [2]], LoaderParams(workers=1, batch_size=2)))
