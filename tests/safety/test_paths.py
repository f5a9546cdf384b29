"""Where files are written is decided by configuration alone: no path is made of what photographs or models say."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from skinbit.config import Name, StudyParams

CATALOG = yaml.safe_load((Path(__file__).parents[2] / "conf/base/catalog.yml").read_text(encoding="utf-8"))
PLACEHOLDERS = {"backbone", "experiment", "figure", "fold", "method", "new_or_known", "subset", "table"}
"""Names of parameters' blocks, numbers of folds, and words of the code."""


def written() -> dict[str, str]:
    in_files = {name: entry for name, entry in CATALOG.items() if name != "executor"}
    entries = {name: entry for name, entry in in_files.items() if not name.startswith("_")}
    return {name: entry.get("filepath") or entry["path"] for name, entry in entries.items()}


def test_every_file_is_below_the_root_or_is_raw_data():
    read_only = {
        "photograph_folders",
        "metadata_files",
        "column_files",
        "checkpoint_files",
        "lock_file",
        "study_answers",
    }
    places = {name: path for name, path in written().items() if name not in read_only}
    assert len(places) > 40
    assert [path for path in places.values() if not re.match(r"\$\{_(root|raw_dir|metadata_file)\}(/|$)", path)] == []
    assert [path for path in places.values() if ".." in path] == []


def test_placeholders_are_names_of_the_configuration():
    found = {name for path in written().values() for name in re.findall(r"(?<!\$)\{(\w+)\}", path)}
    assert found == PLACEHOLDERS


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/a", "a\n", "a.b", "A", "é", "{a}", "${a}", "~", "a b", "-a", "1a", "a\0"],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)
    with pytest.raises(ValidationError):
        StudyParams(experiments=(name,), folds=(0,))


@given(st.one_of(st.text(), st.from_regex(r"[a-z][a-z0-9_./\\\n]*", fullmatch=True)))
def test_a_name_is_one_plain_part_of_a_path(name):
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        return
    assert Path("root", name).parent == Path("root")
    assert re.fullmatch("[a-z][a-z0-9_]*", name)


@pytest.mark.parametrize("fold", ["../1", "1/..", -1, 1.5])
def test_a_fold_is_a_number(fold):
    with pytest.raises(ValidationError):
        StudyParams(experiments=("a",), folds=(fold,))
