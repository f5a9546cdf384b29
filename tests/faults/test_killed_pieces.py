"""A step that is killed at any moment repeats at most one piece, and ends with the bytes of a step that was not."""

import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from skinbit.data.executor import LocalExecutor
from tests.faults import studies

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks"),
    pytest.mark.usefixtures("whole"),  # imports everything
]

SMALL_PIECES = {"photographs": 4, "pairs": 20}
LONGEST_PIECE_S = 0.05


@dataclass(frozen=True)
class AtPiece:
    """A kill while a piece is made.

    Attributes:
        log: A line for every piece that any run begins: what makes it, and the keys of its rows.
        count: Number of the run's piece that is not finished; 0: the run comes to its end.
        wait_s: Time between the beginning of the piece and the kill, unless the piece is finished earlier.
    """

    log: Path
    count: int
    wait_s: float

    def arm(self) -> None:
        """Note every piece that this process begins, and kill the process and all its children at the piece."""
        in_order, begun = LocalExecutor.map, Counter()

        def noted(executor: LocalExecutor, make: Any, pieces: Sequence[Any]) -> Iterator[Any]:
            tables = in_order(executor, make, pieces)
            for rows in pieces:
                begun["pieces"] += 1
                with self.log.open("a") as log:
                    print(type(make).__name__, *(f"{make.keys[row % len(make.keys)]}.{row}" for row in rows), file=log)
                if begun["pieces"] == self.count:
                    threading.Timer(self.wait_s, os.killpg, (0, signal.SIGKILL)).start()
                table = next(tables)
                if begun["pieces"] == self.count:
                    os.killpg(0, signal.SIGKILL)
                yield table

        LocalExecutor.map = noted


def kill_often(folder: Path, n_kills: int, seed: int, experiments: Sequence[str]) -> Counter:
    """Kill studies while they make pieces, resume each to its end, and compare files and counts.

    Returns:
        Number of kills by what made the piece.
    """
    torch.set_num_threads(1)  # a fork would inherit threads of a pool in an unknown state
    rng, kills = random.Random(seed), Counter()

    def make_project(name: str) -> tuple[Path, Path]:
        project = studies.make_project(folder / name, experiments)
        parameters = project / "conf/campaign/parameters.yml"
        parameters.write_text(yaml.safe_dump(yaml.safe_load(parameters.read_text()) | {"executor": SMALL_PIECES}))
        (folder / f"{name}.log").touch()
        return project, folder / f"{name}.log"

    def finish(project: Path, log: Path) -> dict[str, bytes]:
        assert studies.fork_run(project, True, AtPiece(log, 0, 0.0).arm) == 0, (project / "log.txt").read_text()
        found = studies.files_of(project)
        shutil.rmtree(project)
        return found

    whole, log = make_project("whole")
    expected, pieces = finish(whole, log), log.read_text().splitlines()
    while kills.total() < n_kills:
        project, log = make_project(f"study_{kills.total()}")
        killed = Counter()
        for _ in range(rng.randint(1, 4)):
            makers = [piece.split()[0] for piece in pieces[len(log.read_text().splitlines()) - killed.total() :]]
            maker = rng.choice(sorted(set(makers)))
            count = rng.choice([number for number, each in enumerate(makers, start=1) if each == maker])
            kill = AtPiece(log, count, rng.uniform(0, LONGEST_PIECE_S))
            assert studies.fork_run(project, True, kill.arm) == -signal.SIGKILL, (project / "log.txt").read_text()
            killed[log.read_text().splitlines()[-1].split()[0]] += 1
        found, begun = finish(project, log), log.read_text().splitlines()
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        assert differing == []
        assert set(begun) == set(pieces)
        assert len(begun) - len(pieces) <= killed.total(), "a kill costs at most one piece"
        kills += killed
    return kills


@pytest.mark.long
def test_a_kill_repeats_at_most_one_piece(tmp_path):
    assert kill_often(tmp_path, 1, seed=3, experiments=("vit_verified",)).total() >= 1


@pytest.mark.faults
def test_thirty_kills_repeat_at_most_one_piece_each(tmp_path):
    experiments = ("vit_baseline", "vit_triplet", "resnet_contrastive", "vit_verified")
    kills = kill_often(tmp_path, 30, seed=1, experiments=experiments)
    print(kills)  # noqa: T201
    assert {"FeatureMaker", "PixelMaker", "ViewMaker", "KeypointMaker", "PairMaker"} <= kills.keys()
