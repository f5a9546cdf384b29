"""Faults are planted one at a time, in code and not in words; a share has Wilson's interval."""

import logging
from pathlib import Path

import pytest

from benchmarks.mutants import Result, interval, report
from benchmarks.mutation import Planted, keys, mutants

MODULE = '''"""A module."""

def larger(first: int | None, second: int = 1) -> bool:
    """Whether 1 < 2."""
    logger.info("%d", first + 1)
    if first < 0:
        raise ValueError(f"{first - 1} is less than {0}")
    return first > second


def explain(first: int) -> str:
    return str(first + 1)
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("module.py")
    path.write_text(MODULE)
    return path


def test_each_mutant_has_one_fault_and_words_have_none(module):
    found = mutants(module, keys(module))
    assert [mutant.change for mutant in found] == [
        "1 -> 2",
        "if first < 0: raise ValueError(f'{first - 1} is less than {0}') -> "
        "if not first < 0: raise ValueError(f'{first - 1} is less than {0}')",
        "first < 0 -> first <= 0",
        "0 -> 1",
        "raise ValueError(f'{first - 1} is less than {0}') -> pass",
        "first > second -> first >= second",
    ]
    assert {mutant.function for mutant in found} == {"larger"}
    assert len({mutant.key for mutant in found}) == len(found)


def test_keys_stay_where_another_function_changes(module):
    before = keys(module)
    module.write_text(MODULE.replace("str(first + 1)", "repr(first)").replace('"""A module."""\n', ""))
    assert keys(module) == before


def test_a_module_is_imported_with_its_fault_and_no_other(module, monkeypatch):
    first, *_, last = keys(module)
    for key, default, equal in ((first, 2, False), (last, 1, True)):
        (mutant,) = mutants(module, {key})
        planted = {"logger": logging.getLogger()}
        exec(Planted(mutant).get_code("module"), planted)
        assert planted["larger"].__defaults__ == (default,)
        assert planted["larger"](1, 1) is equal


def test_survivors_count_unless_they_change_nothing(module, monkeypatch):
    monkeypatch.setattr("benchmarks.mutants.modules", lambda: {module: "metrics"})
    drawn = mutants(module, keys(module))[:3]
    results = {mutant.key: Result(mutant.key, "survived", 0.1, 1) for mutant in drawn[1:]}
    results[drawn[0].key] = Result(drawn[0].key, "killed", 0.1, 1)
    *_, unexplained = report(drawn, results, ()).splitlines()
    *_, explained = report(drawn, results, {drawn[1].key}).splitlines()
    assert unexplained.startswith("1 of 3 noticed: 33.3%")
    assert explained.startswith("1 of 2 noticed: 50.0%")


def test_a_share_has_the_interval_of_wilson():
    assert interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert interval(10, 10)[1] == pytest.approx(1.0)
