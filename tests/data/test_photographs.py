"""Photographs of several folders, numbered through, and the folders and tables that they are read from."""

import hashlib
import logging

import fsspec
import pytest
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.config import DataParams
from skinbit.data.images import find_images
from skinbit.data.photographs import Photographs, check_folder, read_folder
from skinbit.errors import InputError


def folder_of(root, first, *names):
    root.mkdir()
    for number, name in enumerate(names, first):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(root / name)
    return list_photographs(root)


@pytest.fixture
def photographs(tmp_path):
    """Two folders that share an image id."""
    new, known = folder_of(tmp_path / "new", 0, "a.png", "b.png"), folder_of(tmp_path / "known", 2, "b.png", "c.png")
    return Photographs((new, known))


class TestPhotographs:
    def test_are_numbered_from_folder_to_folder(self, photographs, tmp_path):
        paths = [tmp_path / name for name in ("new/a.png", "new/b.png", "known/b.png", "known/c.png")]
        assert [photographs.decode(row, 1).getpixel((0, 0))[0] for row in range(4)] == [0, 1, 2, 3]
        assert photographs.hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    def test_say_in_which_folder_each_is(self, photographs):
        assert photographs.source_numbers == [0, 0, 1, 1]

    def test_files_that_came_later_change_nothing(self, tmp_path):
        listed = folder_of(tmp_path / "new", 0, "a.png")
        for name in ("a.jpg", "z.png"):
            Image.new("RGB", (5, 5)).save(tmp_path / "new" / name)
        assert listed.decode("a").size == (20, 20)


def test_a_folder_that_is_not_there_is_named_with_its_parameter(tmp_path):
    folder = find_images(fsspec.filesystem("file"), str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere\.\n  Remedy: correct cluster\.images"):
        check_folder(folder, "cluster.images")


def test_a_file_that_cannot_be_read_is_listed_and_named_in_the_log(tmp_path, caplog):
    folder = folder_of(tmp_path / "new", 0, "a.png", "b.png").folder
    (tmp_path / "new" / "b.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        table, unreadable, used = read_folder(folder, DataParams(), lambda image: f"{image.width} wide")
    assert table["image_id"].tolist() == ["a"]
    assert unreadable["file"].tolist() == ["b.png"]
    assert used == {"a": "20 wide"}
    assert "b.png" in caplog.text
