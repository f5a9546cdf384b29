"""The page that follows a pair from file to report names functions that exist."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/life-of-a-pair.md").read_text()
NAMED = sorted(set(re.findall(r"`(skinbit(?:\.\w+)+)`", PAGE)))


def found(dotted: str) -> object:
    """Return what a dotted name stands for: an attribute of the longest part that is a module."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            place: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            place = getattr(place, name)
        return place
    raise ModuleNotFoundError(dotted)


def test_the_page_names_a_function_at_every_station():
    stations = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith(("| station", "| ---"))]
    assert len(stations) > 15
    assert [row for row in stations if "`skinbit." not in row.split("|")[2]] == []


@pytest.mark.parametrize("dotted", NAMED)
def test_a_function_that_the_page_names_exists(dotted):
    assert callable(found(dotted))
    assert inspect.getmodule(found(dotted)).__name__.startswith("skinbit."), "it is imported from elsewhere"
