"""Faults are planted one at a time, in code and not in words; a share has Wilson's interval."""

import ast
import logging

import pytest

from benchmarks.mutants import Planted, interval
from benchmarks.mutation import mutants

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
    path = tmp_path / "module.py"
    path.write_text(MODULE)
    return path


def test_each_mutant_has_one_fault_and_words_have_none(module):
    assert [mutant.change for mutant in mutants(module)] == [
        "1 -> 2",
        "if first < 0: raise ValueError(f'{first - 1} is less than {0}') -> "
        "if not first < 0: raise ValueError(f'{first - 1} is less than {0}')",
        "first < 0 -> first <= 0",
        "0 -> 1",
        "raise ValueError(f'{first - 1} is less than {0}') -> pass",
        "first > second -> first >= second",
    ]


def test_a_mutant_differs_from_the_module_in_one_place_and_has_a_key_of_its_own(module):
    whole = ast.unparse(ast.parse(MODULE)).splitlines()
    found = [(mutant.key, ast.unparse(mutant.tree).splitlines()) for mutant in mutants(module)]
    assert len({key for key, _ in found}) == len(found)
    for _, lines in found:
        assert sum(one != other for one, other in zip(whole, lines, strict=True)) == 1
    assert ast.unparse(ast.parse(MODULE)).splitlines() == whole


def test_keys_stay_where_another_function_changes(module):
    before = [mutant.key for mutant in mutants(module)]
    module.write_text(MODULE.replace("str(first + 1)", "repr(first)").replace('"""A module."""\n', ""))
    assert [mutant.key for mutant in mutants(module)] == before


def test_the_module_is_imported_with_its_fault(module):
    mutant = next(mutant for mutant in mutants(module) if mutant.change.endswith("first >= second"))
    planted = {"logger": logging.getLogger()}
    exec(Planted(module, mutant.tree).get_code("module"), planted)
    assert planted["larger"](1, 1) is True


def test_a_share_has_the_interval_of_wilson():
    assert interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert interval(10, 10)[1] == pytest.approx(1.0)
