"""Trainings in processes of their own, killed at random points: what they end with is the same to the last bit."""

import io
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).with_name("training_process.py")


def start(folder):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, SCRIPT.as_posix(), folder.as_posix()]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_after(process, line):
    """Kill a process some time after it printed a line; give all the lines it printed."""
    lines = []
    with process:
        for printed in process.stdout:
            lines.append(printed.strip())
            if lines[-1] == line:
                time.sleep(random.uniform(0, 0.04))
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was meant to be killed in the middle"
    return lines


def run_to_the_end(process):
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    return lines


def run_uninterrupted(folder):
    folder.mkdir()
    with redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(SCRIPT.as_posix())["main"](folder)
    return printed.getvalue().splitlines()


def results(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("processes")
    return root / "whole", root / "killed"


@pytest.fixture(scope="module")
def printed(folders):
    """What was printed without an interruption, in this process, and by processes of which two were killed."""
    whole, killed = folders
    runs = [kill_after(start(killed), line) for line in ("head 5", "backbone 2")]
    return run_uninterrupted(whole), [*runs, run_to_the_end(start(killed))]


def test_every_epoch_is_trained_in_some_process(printed):
    whole, runs = printed
    assert whole == [*(f"head {n}" for n in range(1, 26)), *(f"backbone {n}" for n in range(1, 9))]
    assert list(dict.fromkeys(line for run in runs for line in run)) == whole


def test_a_process_goes_on_where_the_last_state_was_saved(printed):
    _, runs = printed
    for before, after in pairwise(runs):
        reached, resumed = (run[at].split() for run, at in ((before, -1), (after, 0)))
        assert resumed[0] == reached[0]
        assert int(resumed[1]) in (int(reached[1]) + 1, int(reached[1]) + 2)  # killed between saving and telling
    assert not [line for line in runs[2] if line.startswith("head")], "a finished training is not repeated"


@pytest.mark.parametrize("what", ["head", "backbone"])
def test_weights_history_and_embeddings_are_those_of_an_uninterrupted_training(printed, folders, what):
    expected, found = (results(folder) for folder in folders)
    for name in (f"{what}.safetensors", f"{what}_history.json", f"{what}_embeddings.safetensors"):
        assert len(expected[name]) > 100
        assert found[name] == expected[name], name


def test_a_kill_leaves_no_half_state_in_place_of_a_whole_one(printed, folders):
    leftovers = [name for name in results(folders[1]) if not name.endswith(".tmp")]
    assert leftovers == list(results(folders[0]))
