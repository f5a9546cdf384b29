"""The pages on safety name tests that exist."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "docs" / "trust.md"]
NAMED = sorted(
    {name for page in PAGES for name in re.findall(r"`(tests/\S+?::\S+?)`", page.read_text(encoding="utf-8"))}
)


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    methods = {
        f"{c.name}::{f.name}" for c in tree.body if isinstance(c, ast.ClassDef) for f in c.body if hasattr(f, "name")
    }
    return methods | {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


def test_there_are_such_pages_with_such_names():
    assert len(NAMED) > 25


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name):
    file, _, function = name.partition("::")
    assert function in functions(REPOSITORY / file)
