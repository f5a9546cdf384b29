"""Work on many files in threads: in order, and never far ahead of who takes the results."""

import itertools
import time

import pytest

from skinbit.data.threads import available_cores, map_in_order


def test_results_come_in_order_however_long_each_takes() -> None:
    def wait(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    assert list(map_in_order(wait, range(50))) == list(range(50))


def test_only_a_few_items_are_taken_ahead_of_the_results() -> None:
    taken = []
    results = map_in_order(lambda number: number, (taken.append(n) or n for n in itertools.count()))
    assert list(itertools.islice(results, 10)) == list(range(10))
    results.close()
    assert 10 <= len(taken) <= 10 + 4 * (available_cores() + 1)


def test_an_error_ends_it_at_the_item_that_has_it() -> None:
    results = map_in_order(lambda number: 1 // (number - 2), range(10_000))
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
