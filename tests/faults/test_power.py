"""After a power cut, of which only synced names and bytes are left, a study goes on and ends as an undisturbed one."""

import hashlib
import json
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.faults.disk import Disk
from tests.faults.power import Remains
from tests.faults.studies import EXPERIMENTS, files_of, fork_run, log_of, make_project

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux: forks, names of open files")

RECORDS = "demo/.fingerprints"
N_CUTS = 20

ARE_NAMES_KEPT = {
    "none that was not synced": lambda seed, folder: False,
    "all": lambda seed, folder: True,
    "those of some folders": lambda seed, folder: random.Random(f"{seed} {folder}").random() < 0.5,
}
"""Which names survive a cut."""


@pytest.fixture(scope="module")
def noted(tmp_path_factory, whole):
    """An undisturbed study, and what it did on the disk."""
    folder = tmp_path_factory.mktemp("noted")
    project = make_project(folder / "project", EXPERIMENTS)
    disk = Disk(project / "data", folder / "notes", are_syncs_kept=True)
    assert fork_run(project, False, disk.arm) == 0, log_of(project)
    assert files_of(project) == whole
    return disk


@pytest.mark.long
def test_every_file_and_its_name_are_synced_before_its_record(noted):
    remains, checked = Remains(), set()
    for number, call in enumerate(noted.calls()):
        if call.kind == "replace":
            assert remains.seen[call.path] in remains.synced, f"{call.target} was renamed before it was synced"
        remains.apply(number, call)
        if call.kind == "fsync" and call.path == RECORDS:
            left = remains.after_cut(lambda folder: False)
            synced = {hash_of(noted, remains, file) for file in left.values()}
            for path in sorted(left.keys() - checked):
                recorded = recorded_in(noted, remains, path, left[path])
                assert recorded in ({None} | synced), f"the record {path} would outlive its file"
                checked.add(path)
    assert sum(path.startswith(RECORDS) for path in checked) > 50


def hash_of(disk: Disk, remains: Remains, file: int) -> str | None:
    number = remains.synced.get(file)
    return None if number is None else hashlib.sha256(disk.synced(number).read_bytes()).hexdigest()


def recorded_in(disk: Disk, remains: Remains, path: str, file: int) -> str | None:
    """Return the hash of the file that a record is about."""
    if not path.startswith(f"{RECORDS}/") or not path.endswith(".json"):
        return None
    stored = json.loads(disk.synced(remains.synced[file]).read_text())["record"]["file"]
    return stored and stored["sha256"]


def cut_off(disk: Disk, n_calls: int, mode: str, seed: int, project: Path) -> None:
    """Write into a project what is left of its outputs after a number of calls."""
    remains = Remains()
    for number, call in enumerate(disk.calls()[:n_calls]):
        remains.apply(number, call)
    for path, file in remains.after_cut(partial(ARE_NAMES_KEPT[mode], seed)).items():
        place = project / "data" / path
        if file in remains.folders:
            place.mkdir(parents=True, exist_ok=True)
        elif file in remains.synced:
            shutil.copyfile(disk.synced(remains.synced[file]), place)
        else:
            place.touch()


def check_cut(disk: Disk, whole: dict[str, bytes], project: Path, mode: str, seed: int) -> None:
    n_calls = random.Random(seed).randint(1, len(disk.calls()))
    cut_off(disk, n_calls, mode, seed, project)
    assert fork_run(project, only_missing=True) == 0, log_of(project)
    found = files_of(project)
    assert [name for name in sorted(found | whole) if found.get(name) != whole.get(name)] == [], (n_calls, mode)


@pytest.mark.long
def test_a_power_cut(noted, whole, tmp_path):
    check_cut(noted, whole, make_project(tmp_path / "project", EXPERIMENTS), "those of some folders", 0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(N_CUTS))
@pytest.mark.parametrize("mode", ARE_NAMES_KEPT)
def test_power_cuts(noted, whole, tmp_path, mode, seed):
    check_cut(noted, whole, make_project(tmp_path / "project", EXPERIMENTS), mode, seed)
