"""Columns are spoilt as asked for, and the table has a row per way to spoil them."""

import shutil

import pandas as pd
import pytest

from benchmarks import columns
from benchmarks.columns import EVIDENCE, spoil, variants


def describe(table):
    """Write columns once per lesion, as HAM10000 does."""
    number = pd.Series(pd.factorize(table["lesion_id"])[0])
    sites, sexes = number.mod(5).astype(str), number.mod(2).map({0: "female", 1: "male"})
    return table.assign(sex=sexes, anatom_site_general=sites, age=(20 + number * 7 % 60).astype(str))


def test_as_many_values_are_spoilt_as_asked_for():
    table = pd.DataFrame({"image_id": range(2000), **dict.fromkeys(EVIDENCE, "kept")})
    blank = spoil(table, 0.2, blank=True)
    for column in EVIDENCE:
        assert abs((blank[column] == "").mean() - 0.2) < 0.05
        assert set(blank[column]) == {"", "kept"}
    assert (spoil(table, 0.2, blank=False)[list(EVIDENCE)] == "kept").all(axis=None)  # others' values are the same


@pytest.mark.long
def test_the_table_has_a_row_per_variant(archive, tmp_path, monkeypatch, capsys):
    root = tmp_path / "study"
    shutil.copytree(archive.root, root)
    for name, target in (("split", "metadata"), ("distractors", "distractors")):
        table = pd.read_csv(root / f"02_intermediate/{name}.csv", dtype=str)
        describe(table).to_csv(root / f"02_intermediate/{target}.csv", index=False)
    for fold in (root / "07_model_output/one").glob("fold_*"):
        shutil.copy(fold / "shortlist.csv", fold / "distractor_shortlist.csv")
    monkeypatch.setattr("sys.argv", ["", "--root", str(root), "--experiment", "one"])
    columns.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in lines[2:])}
    table = describe(pd.DataFrame({"image_id": ["a"], "lesion_id": ["a"]}))
    assert list(rows) == [each.name for each in variants(table)]
    assert all(0 < float(cells[0]) <= 1 for cells in rows.values())
