"""What is written is synced: bytes before their name, a name before it counts, a new folder with the one above it."""

import errno
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from fsspec.implementations.local import LocalFileSystem

from skinbit.decisions.ledger import Ledger, write_table
from skinbit.durable import make_folder, replaced
from skinbit.errors import InputError
from skinbit.runtime.datasets.files import remove_folder
from skinbit.runtime.locking import hold
from tests.faults.disk import Disk, Fault

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux: names of open files")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Notes what is written below a folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    disk = Disk(folder, tmp_path / "notes")
    disk.arm(monkeypatch.setattr)
    return disk


def done(disk: Disk, *kinds: str) -> list[tuple[str, str]]:
    """Return calls of some kinds, temporary files under one name."""
    calls = (call for call in disk.calls() if call.kind in kinds)
    return [(call.kind, "temporary" if call.path.endswith(".tmp") else call.target or call.path) for call in calls]


ORDER = [("fsync", "temporary"), ("replace", "temporary"), ("fsync", ".")]


def test_bytes_are_synced_before_they_are_renamed_and_the_name_after_it(disk):
    with replaced(str(disk.folder / "file")) as temporary:
        Path(temporary).write_bytes(b"content")
    assert done(disk, "fsync", "replace") == ORDER


def test_so_are_those_of_exported_answers(disk):
    write_table(pd.DataFrame({"image_id": ["a"]}), disk.folder / "answers.csv")
    assert done(disk, "fsync", "replace") == ORDER


def test_new_folders_are_synced_with_those_above(disk):
    make_folder(disk.folder / "a/b")
    assert {("fsync", "."), ("fsync", "a")} == {*done(disk, "fsync")}
    make_folder(disk.folder / "a/b")
    assert len(done(disk, "fsync")) == 2


def test_so_is_that_of_a_ledger(disk):
    with closing(Ledger(disk.folder / "decisions/ledger.sqlite")):
        assert ("fsync", ".") in done(disk, "fsync")


def test_pieces_that_were_removed_do_not_come_back(disk):
    (disk.folder / "features.pieces").mkdir()
    remove_folder(LocalFileSystem(), str(disk.folder / "features.pieces"))
    assert done(disk, "rmdir", "fsync") == [("rmdir", "features.pieces"), ("fsync", ".")]


def test_a_disk_that_fails_to_the_end_hides_no_message_and_keeps_no_folder_held(disk):
    def run() -> None:
        with hold(disk.folder, "command"):
            disk.fault = Fault(1, errno.EIO, is_lasting=True, is_short=False)
            raise InputError("the message")

    with pytest.raises(InputError, match="the message"):
        run()
    disk.fault = None
    with hold(disk.folder, "another") as token:
        assert token.command == "another"
