"""Arrays in files: small where they are sent elsewhere, and gone from memory after they were read."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from skinbit.data.mapped import MappedArray, take


@pytest.fixture
def mapped(tmp_path: Path) -> MappedArray:
    np.arange(3_000_000, dtype=np.int64).tofile(tmp_path / "numbers")
    return MappedArray(tmp_path / "numbers", np.int64, "r", 8 * 1_000_000, (1_000_000, 2))


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def test_an_array_is_sent_as_its_place_in_the_file(mapped: MappedArray) -> None:
    content = pickle.dumps(mapped)
    assert len(content) < 1000
    received = pickle.loads(content)
    assert isinstance(received, MappedArray)
    assert np.array_equal(received, mapped)


def test_a_part_of_an_array_is_sent_as_it_is(mapped: MappedArray) -> None:
    assert np.array_equal(pickle.loads(pickle.dumps(mapped[5:7, 1])), mapped[5:7, 1])


def test_rows_are_copied(mapped: MappedArray) -> None:
    rows = np.array([7, 0, 7])
    for array in (mapped, np.array(mapped), mapped.reshape(-1, 2)):
        taken = take(array, rows)
        assert taken.tolist() == [[1_000_014, 1_000_015], [1_000_000, 1_000_001], [1_000_014, 1_000_015]]
        assert taken.flags.owndata


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a system that counts pages")
def test_rows_that_were_taken_leave_no_file_in_memory(mapped: MappedArray) -> None:
    before = resident_megabytes()
    for start in range(0, len(mapped), 10_000):
        take(mapped, np.arange(start, start + 10_000))
    assert resident_megabytes() - before < 8  # of 16 MB
