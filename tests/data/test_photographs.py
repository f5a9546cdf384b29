"""Photographs of several folders, numbered through, and the folders and tables that they are read from."""

import logging

import fsspec
import pandas as pd
import pytest
from PIL import Image

from skinbit.config import DataParams
from skinbit.data.images import find_images
from skinbit.data.photographs import Photographs, check_folder, listed_source, read_folder
from skinbit.errors import InputError


def folder_of(root, *names):
    root.mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(root / name)
    return find_images(fsspec.filesystem("file"), str(root))


def listed(*image_ids):
    return pd.DataFrame({"image_id": image_ids, "file": [f"{each}.png" for each in image_ids], "sha256": image_ids})


@pytest.fixture
def photographs(tmp_path):
    """Two folders that share an image id."""
    new, known = folder_of(tmp_path / "new", "a.png", "b.png"), folder_of(tmp_path / "known", "b.png", "c.png")
    return Photographs((listed_source(new, listed("a", "b")), listed_source(known, listed("b", "c"))))


class TestPhotographs:
    def test_are_numbered_from_folder_to_folder(self, photographs, tmp_path):
        paths = [tmp_path / name for name in ("new/a.png", "new/b.png", "known/b.png", "known/c.png")]
        assert [photographs.read(row) for row in range(4)] == [path.read_bytes() for path in paths]
        assert photographs.hashes == ["a", "b", "b", "c"]

    def test_some_of_them_keep_their_folders_and_their_order(self, photographs):
        taken = photographs.take([1, 2, 3])
        assert [source.image_ids for source in taken.sources] == [["b"], ["b", "c"]]
        assert [taken.read(row) for row in range(3)] == [photographs.read(row) for row in (1, 2, 3)]

    def test_a_folder_of_which_none_is_taken_is_left_out(self, photographs):
        assert [source.image_ids for source in photographs.take([3]).sources] == [["c"]]
        assert photographs.take([]).sources == ()

    def test_files_that_came_later_change_nothing(self, tmp_path):
        folder = folder_of(tmp_path / "new", "a.png", "a.jpg", "z.png")
        source = listed_source(folder, listed("a"))
        assert source.folder.files == {"a": ("a.png",)}


def test_a_folder_that_is_not_there_is_named_with_its_parameter(tmp_path):
    folder = find_images(fsspec.filesystem("file"), str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere\.\n  Remedy: correct cluster\.images"):
        check_folder(folder, "cluster.images")


def test_a_file_that_cannot_be_read_is_listed_and_named_in_the_log(tmp_path, caplog):
    folder = folder_of(tmp_path / "new", "a.png", "b.png")
    (tmp_path / "new" / "b.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        table, unreadable, used = read_folder(folder, DataParams(), lambda image: f"{image.width} wide")
    assert table["image_id"].tolist() == ["a"]
    assert unreadable["file"].tolist() == ["b.png"]
    assert used == {"a": "20 wide"}
    assert "b.png" in caplog.text
