"""SQLite and Python's own files, under a disk that refuses: test_native_writes.py runs this with disk.c before libc."""

import ctypes
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kedro.io import DatasetError

from skinbit.decisions.answers import Answer
from skinbit.decisions.ledger import Ledger, read_answers
from skinbit.embedding.tables import Pixels
from skinbit.errors import InputError
from skinbit.runtime.datasets.pixels import PixelsDataset
from tests.faults.disk import ERRORS, Fault

N_ANSWERS = 8
LEDGER, TABLE, PIXELS = "decisions/ledger.sqlite", "answers.csv", "pixels.safetensors"

_DISK = ctypes.CDLL(None)


def answer(number: int) -> Answer:
    """Return one of many answers."""
    parts = tuple((f"{number + part:064x}",) for part in (1, 2))
    return Answer(answer_id=f"{number:032x}", verdict="different lesions", parts=parts)


def write_answers(folder: Path) -> None:
    """Append answers to a ledger while the disk refuses, and see that those it took are there, and that it goes on."""
    ledger, taken = None, []
    with suppress(InputError):
        ledger = Ledger(folder / LEDGER)
    for number in range(N_ANSWERS if ledger else 0):
        with suppress(InputError):
            ledger.append(answer(number))
            taken.append(answer(number).answer_id)
    with suppress(InputError):
        if ledger:
            ledger.export_csv(folder / TABLE)
    _DISK.mend()
    ledger = ledger or Ledger(folder / LEDGER)
    ledger.append(answer(N_ANSWERS))
    ledger.close()
    stored = [held.answer_id for held in read_answers(folder / LEDGER)]
    assert set(taken) | {answer(N_ANSWERS).answer_id} <= set(stored), "an answer is lost"
    assert len(stored) == len(set(stored)), "an answer is there twice"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "a temporary file is left"


def write_pixels(folder: Path) -> None:
    """Save photographs while the disk refuses, and see that there is no file, or all of it."""
    dataset = PixelsDataset(filepath=str(folder / PIXELS))
    canvases, crops = (np.full(shape, 7, np.uint8) for shape in ((2, 40, 40, 3), (2, 1, 30, 30, 3)))
    pixels = Pixels(("a", "b"), canvases, crops, ("x", "y"), {"seed": 1})
    with suppress(DatasetError):
        dataset.save(pixels)
    _DISK.mend()
    assert {path.name for path in folder.iterdir()} <= {PIXELS}, "a temporary file is left"
    dataset.save(pixels)
    assert (dataset.load().canvases == 7).all(), "photographs are lost"


class Tried(NamedTuple):
    """What a scenario met in a process of its own.

    Attributes:
        n_calls: By which it wrote until it was over, or until the disk took everything again.
        wrong: What went wrong.
    """

    n_calls: int
    wrong: str


def attempt(scenario: Callable[[Path], None], folder: Path, fault: Fault) -> Tried:
    """Run a scenario in a child, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    receives, sends = os.pipe()
    child = os.fork()
    if child == 0:
        wrong = ""
        _DISK.refuse(os.fsencode(folder), fault.number, fault.error, fault.is_lasting, fault.is_short)
        try:
            scenario(folder)
        except BaseException:
            wrong = traceback.format_exc()[-4000:]
        _DISK.mend()
        os.write(sends, json.dumps([_DISK.count_calls(), wrong]).encode())
        os._exit(0)
    os.close(sends)
    with open(receives) as pipe:
        tried = Tried(*json.load(pipe))
    os.waitpid(child, 0)
    return tried


def main(folder: str, n_faults: int) -> None:
    """Print how many faults of each scenario were met, and what went wrong."""
    rng, report = random.Random(0), {}
    for scenario in (write_answers, write_pixels):
        place = Path(folder, scenario.__name__)
        undisturbed = attempt(scenario, place, Fault(10**9, ERRORS[0], False, False))
        faults = [Fault.draw(rng, undisturbed.n_calls) for _ in range(n_faults)]
        found = [f"{fault}: {tried.wrong}" for fault in faults if (tried := attempt(scenario, place, fault)).wrong]
        report[scenario.__name__] = {"calls": undisturbed.n_calls, "wrong": [undisturbed.wrong, *found]}
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
