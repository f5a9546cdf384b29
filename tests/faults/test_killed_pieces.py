"""A step that is killed at any moment repeats at most one piece, and ends with the bytes of a step that was not."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that kills")

N_PIECES, SIZE = 12, 2

STEP = """
import sys, time
from skinbit.data.executor import LocalExecutor
from skinbit.data.pieces import Making, Wanted, complete
from skinbit.embedding.tables import Features
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.pieces import StoredPieces
import numpy as np

file, log, n_pieces, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
keys = [f"{row:03}" for row in range(n_pieces * size)]

def make(pieces):
    for rows in pieces:
        with open(log, "a") as noted:
            print(rows[0], file=noted, flush=True)
        time.sleep(0.02)
        values = np.array([[[row, row + 1]] for row in rows], np.float32)
        yield Features(tuple(keys[row] for row in rows), values, tuple(keys[row] for row in rows), {})

places = complete(
    Wanted("rows", "row", keys, keys), StoredPieces(FeaturesDataset, file), make, Making(LocalExecutor(), size)
)
values = np.stack([table.values[row] for table, row in places])
FeaturesDataset(filepath=file).save(Features(tuple(keys), values, tuple(keys), {}))
"""


def run(folder: Path, name: str, kill_when: int | None, wait: float = 0.0) -> bool:
    """Run the step; kill it a while after it has begun some number of pieces.

    Returns:
        Whether it came to its end.
    """
    log = folder / f"{name}.log"
    log.touch()
    command = [sys.executable, "-c", STEP, str(folder / f"{name}.safetensors"), str(log), str(N_PIECES), str(SIZE)]
    with subprocess.Popen(command) as process:
        begun = len(log.read_text().splitlines())
        while kill_when is not None and process.poll() is None:
            if len(log.read_text().splitlines()) >= begun + kill_when:
                try:
                    process.wait(wait)
                except subprocess.TimeoutExpired:
                    process.kill()
                break
        return process.wait() == 0


def check(folder: Path, n_kills: int, seed: int) -> None:
    """Kill steps until there were enough kills, and compare the files and what was made."""
    rng = random.Random(seed)
    assert run(folder, "whole", None)
    whole, kills = (folder / "whole.safetensors").read_bytes(), 0
    while kills < n_kills:
        name, own = f"killed{kills}", 0
        while not run(folder, name, rng.randint(1, 3), rng.uniform(0, 0.03)):
            own += 1
        kills += own
        made = (folder / f"{name}.log").read_text().splitlines()
        assert (folder / f"{name}.safetensors").read_bytes() == whole
        assert set(made) == {str(row) for row in range(0, N_PIECES * SIZE, SIZE)}
        assert len(made) <= N_PIECES + own, "a kill costs at most one piece"
        assert not (folder / f"{name}.pieces").exists()


@pytest.mark.long
def test_ten_kills(tmp_path):
    check(tmp_path, 10, seed=3)


@pytest.mark.faults
def test_thirty_kills(tmp_path):
    check(tmp_path, 30, seed=1)
