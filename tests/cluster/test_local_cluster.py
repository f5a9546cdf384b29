"""Pieces on a cluster of this machine: order, memory, errors, and workers that die or hang."""

import os
import signal
from contextlib import suppress
from dataclasses import replace

import pytest

from skinbit.config import ComputeParams
from skinbit.data.executor import PieceLostError
from skinbit.errors import InputError
from skinbit.runtime.cluster.opening import open_cluster
from skinbit.runtime.locking import hold
from tests.cluster.makers import Squares

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of Dask and its dependencies
]


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    compute = ComputeParams(device="cpu", threads=1)
    with hold(tmp_path_factory.mktemp("root"), "kedro run") as token, open_cluster("local:2", compute, token) as opened:
        yield opened


def tries(folder):
    """Return how often each number was begun."""
    names = [int(path.name.partition(".")[0]) for path in folder.iterdir()]
    return {number: names.count(number) for number in sorted(set(names))}


@pytest.mark.long
def test_results_come_in_order_and_few_are_given_out_at_a_time(executor, tmp_path):
    results = executor.map(Squares(tmp_path, seconds=0.01), range(30))
    assert next(results) == 0
    assert len(tries(tmp_path)) <= 2 * 2 + 1
    assert list(results) == [number**2 for number in range(1, 30)]
    assert tries(tmp_path) == dict.fromkeys(range(30), 1)


@pytest.mark.long
def test_no_pieces_are_no_work(executor, tmp_path):
    assert list(executor.map(Squares(tmp_path), [])) == []


@pytest.mark.long
def test_the_piece_of_a_worker_that_dies_is_made_again(executor, tmp_path):
    assert list(executor.map(Squares(tmp_path, 3, "killed", 0.01), range(10))) == [number**2 for number in range(10)]
    begun = tries(tmp_path)
    assert begun[3] == 2
    assert sum(begun.values()) <= 10 + 4, "at most what was given out is made again"


@pytest.mark.long
def test_a_worker_that_hangs_is_started_again(executor, tmp_path):
    impatient = replace(executor, patience_s=4.0)
    assert list(impatient.map(Squares(tmp_path, 4, "hang", 0.01), range(8))) == [number**2 for number in range(8)]
    assert tries(tmp_path)[4] == 2


@pytest.mark.faults
def test_a_piece_of_which_every_worker_dies_is_given_up(executor, tmp_path):
    with pytest.raises(PieceLostError, match="memory"):
        list(executor.map(Squares(tmp_path, 1, "always killed"), range(3)))
    assert list(executor.map(Squares(tmp_path), [5])) == [25], "the cluster goes on"


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "kind", "words"), [("unreadable", RuntimeError, "UnreadableError: a and b"), ("input", InputError, "photo")]
)
def test_an_error_arrives_whatever_it_is(executor, tmp_path, how, kind, words):
    with pytest.raises(kind, match=words) as caught:
        list(executor.map(Squares(tmp_path, 2, how), range(6)))
    assert how == "unreadable" or caught.value.__cause__.errno == 5


@pytest.mark.faults
def test_all_workers_may_die_at_once(executor, tmp_path):
    results = executor.map(Squares(tmp_path, seconds=0.05), range(12))
    assert next(results) == 0
    for process in {int(path.name.rpartition(".")[2]) for path in tmp_path.iterdir()}:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert list(results) == [number**2 for number in range(1, 12)]
