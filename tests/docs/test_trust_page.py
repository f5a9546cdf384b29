"""The tests that docs/trust.md names are those that exist: `python tests/docs/test_trust_page.py` writes them anew.

A test's name is a sentence, with that of its class, so the page need not say again what it shows. A comment on the page
chooses what it lists: a file, a class (``file::TestClass``) or a single test.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/trust.md"
LISTS = re.compile(r"<!-- tests: (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def sentences(file: str, chosen: str) -> Iterator[str]:
    """Yield what the tests of a file say, of a class or a single test where one is chosen."""
    for node in ast.parse((REPOSITORY / file).read_text()).body:
        tests = [child for child in getattr(node, "body", []) if _is_test(child)]
        if isinstance(node, ast.ClassDef) and tests:
            subject = re.sub(r"(?<!^)(?=[A-Z])", " ", node.name.removeprefix("Test")).capitalize()
            said = [test.name.removeprefix("test_").replace("_", " ") for test in tests]
            if chosen in ("", node.name):
                yield f"{subject} … {'; '.join(said)}."
            elif any(test.name == chosen for test in tests):
                yield f"{subject} {chosen.removeprefix('test_').replace('_', ' ')}."
        elif _is_test(node) and chosen in ("", node.name):
            yield node.name.removeprefix("test_").replace("_", " ").capitalize() + "."


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def listed(choices: str) -> str:
    """Return the list of tests that stands below a table, as Markdown."""
    by_file: dict[str, list[str]] = {}
    for choice in choices.split():
        file, _, chosen = choice.partition("::")
        found = list(sentences(file, chosen))
        if not found:
            raise LookupError(f"there is no test {choice}")
        by_file.setdefault(file, []).extend(found)
    rows = [f"| `{file}` | {'<br>'.join(said)} |" for file, said in by_file.items()]
    table = ["| tests | what they say |", "| --- | --- |", *rows]
    return "\n".join([f"<!-- tests: {choices} -->", "", *table, "", "<!-- end -->"])


def test_the_page_lists_the_tests_that_exist():
    page = PAGE.read_text()
    assert len(LISTS.findall(page)) > 5
    expected = LISTS.sub(lambda found: listed(found[1]), page)
    assert page == expected, f"run: python {Path(__file__).relative_to(REPOSITORY)}"


@pytest.mark.parametrize(("part", "following"), [("At the edges", "The data"), ("Relations", "Safety")])
def test_every_row_names_tests_that_exist(part, following):
    page = PAGE.read_text()
    table = page[page.index(f"## {part}") : page.index(f"## {following}")]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| kind", "| relation", "| ---"))]
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`(tests/[^`:]+)::([^`]+)`", row.split("|")[-2])
        assert named, row
        for file, chosen in named:
            assert list(sentences(file, chosen.rpartition("::")[2])), row


def test_the_kinds_at_the_edges_are_numbered():
    kinds = re.findall(r"^\| \*\*(\d+) ", PAGE.read_text(), re.MULTILINE)
    assert [int(kind) for kind in kinds] == list(range(1, 11))


def test_every_promise_of_the_threat_model_names_a_test_that_exists():
    page = (REPOSITORY / "docs/threat-model.md").read_text()
    rows = re.findall(r"^\| [STRIDE](?:, [STRIDE])* \|.*", page, re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        file, _, chosen = row.split("`")[-2].partition("::")
        assert chosen, row
        assert list(sentences(file, chosen)), row


@pytest.mark.parametrize("choice", ["tests/docs/test_docs.py::test_nothing", "tests/docs/conftest.py"])
def test_a_test_that_is_gone_is_missed(choice):
    with pytest.raises((LookupError, FileNotFoundError)):
        listed(choice)


if __name__ == "__main__":
    PAGE.write_text(LISTS.sub(lambda found: listed(found[1]), PAGE.read_text()))
