"""`kedro compare` names the first difference of two runs in words that a person can act on."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.framework.cli.cli import KedroCLI

from skinbit.cli import cli
from skinbit.comparison import (
    DIFFERENT,
    EQUAL,
    ONLY_FIRST,
    ONLY_SECOND,
    compare_folders,
    count_states,
    explain_records,
)
from skinbit.datasets.files import pack
from skinbit.datasets.fingerprints import FingerprintsDataset
from skinbit.fingerprints import Recipe, Record


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


def write(folders, name, *contents):
    for folder, content in zip(folders, contents, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def difference(folders):
    (comparison,) = compare_folders(*folders)
    assert comparison.state == DIFFERENT
    return comparison.difference


def tensors(values, **header):
    return pack({"embeddings": np.float32(values)}, header)


NESTED = {"pairs": [{"similarity": 0.5}, {"similarity": 0.25}], "counts": {"x": 1}}


class TestDifference:
    @pytest.mark.parametrize(
        ("name", "first", "second", "said"),
        [
            ("a.csv", "id,f1\nx,0.5\n", "id,f1\nx,0.75\n", "row 2, column f1: 0.5 and 0.75 (difference 0.25)"),
            ("a.csv", "id,f1\nx,\n", "id,f1\nx,0.75\n", "row 2, column f1: '' and 0.75"),
            ("a.csv", "id\nx\n", "id\ny\n", "row 2, column id: 'x' and 'y'"),
            ("a.csv", "id\nx\n", "id\nx\nz\n", "2 and 3 rows"),
            ("a.csv", "id,a\nx,1\n", "id,b\nx,1\n", "columns: 'id,a' and 'id,b'"),
            ("a.csv", "id\r\nx\r\n", "id\nx\n", "byte 2; 7 and 5 bytes"),
            ("a.json", json.dumps(NESTED), json.dumps(NESTED | {"counts": {}}), "counts.x: only in the first"),
            (
                "a.json",
                json.dumps(NESTED),
                json.dumps(NESTED | {"pairs": [{"similarity": 0.5}, {"similarity": 0.75}]}),
                "pairs[1].similarity: 0.25 and 0.75 (difference 0.5)",
            ),
            ("a.json", json.dumps(NESTED), json.dumps(NESTED | {"pairs": []}), "pairs: 2 and 0 entries"),
            ("a.json", "[true]", "[1]", "[0]: True and 1"),
            ("a.json", "[NaN]", "[NaN] ", "byte 5; 5 and 6 bytes"),
            ("a.json", "{}", "not json", "byte 0; 2 and 8 bytes"),
            ("a.yaml", "seed: 42\n", "seed: 7\n", "seed: 42 and 7 (difference 35)"),
            ("a.png", b"\x89PNG1234", b"\x89PNG1x34", "byte 5"),
            ("a.html", "<p>\n<b>one</b>", "<p>\n<b>two</b>", "line 2, column 4: '<b>one</b>' and '<b>two</b>'"),
            (
                "a.safetensors",
                tensors([[0, 1], [np.nan, 3]]),
                tensors([[0, 1.5], [np.nan, 7]]),
                "tensor embeddings at [0, 1]: 1.0 and 1.5 (difference 0.5); 2 of 4 values differ, by 4 at most",
            ),
            ("a.safetensors", tensors([1, 2]), tensors([[1, 2]]), "tensor embeddings: float32 [2] and float32 [1, 2]"),
            ("a.safetensors", tensors([1], seed=42), tensors([1], seed=43), "header.seed: 42 and 43 (difference 1)"),
            (
                "a.safetensors",
                pack({"x": np.zeros(1)}, {}),
                pack({"y": np.zeros(1)}, {}),
                "tensor x: only in the first",
            ),
            ("a.safetensors", tensors([1]), b"damaged", "byte 0; "),
        ],
    )
    def test_is_named_in_the_terms_of_the_file(self, folders, name, first, second, said):
        write(folders, name, first, second)
        assert difference(folders).startswith(said)

    def test_beyond_the_first_megabyte_is_counted_from_the_beginning(self, folders):
        write(folders, "a.bin", bytes(3_000_000), bytes(2_500_000) + b"x" + bytes(499_999))
        assert difference(folders) == "byte 2500000"


class TestFolders:
    def test_every_file_is_counted_once_in_the_order_of_the_stages(self, folders):
        write(folders, "02_intermediate/split.csv", "a", "a")
        write(folders, "08_reporting/report.html", "a", "b")
        write(folders[:1], "06_models/x/best.safetensors", "a")
        write(folders[1:], "07_model_output/x.csv", "a")
        compared = compare_folders(*folders)
        assert [comparison.state for comparison in compared] == [EQUAL, ONLY_FIRST, ONLY_SECOND, DIFFERENT]
        assert count_states(compared)["08_reporting"] == {DIFFERENT: 1}

    def test_records_hidden_files_and_folders_of_outputs_inside_are_left_out(self, folders):
        write(folders, "02_intermediate/.split.csv.tmp", "a", "b")
        write(folders, ".fingerprints/split.json", "a", "b")
        write(folders, "demo/.fingerprints/split.json", "a", "b")
        write(folders, "demo/split.csv", "a", "b")
        assert compare_folders(*folders) == []

    def test_records_name_what_made_the_files_differently(self, folders):
        def recipe(seed, split):
            inputs = (("params:seed", seed), ("split", split))
            return Recipe(function="f", bound=None, inputs=inputs, outputs=(), versions={"torch": "1"})

        for folder, seed in zip(folders, "12", strict=True):
            dataset = FingerprintsDataset(path=str(folder / ".fingerprints"))
            dataset.save({"split": Record(recipe=recipe(seed, "")), "leaderboard": Record(recipe=recipe(seed, seed))})
            (folder / ".fingerprints" / "damaged.json").write_text("{}")
        assert explain_records(*folders) == ["params:seed"]


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(cli, ["compare", *map(str, arguments)])

    def test_equal_folders_end_with_0(self, folders):
        write(folders, "02_intermediate/split.csv", "a", "a")
        ended = self.run(*folders)
        assert ended.exit_code == 0
        assert ended.output.splitlines()[-1].split() == ["all", "files", "1", "0", "0", "0"]

    def test_the_first_difference_is_named_and_all_on_demand(self, folders):
        write(folders, "02_intermediate/split.csv", "id\na\n", "id\nb\n")
        shutil.copytree(folders[0] / "02_intermediate", folders[0] / "08_reporting")
        first, every = self.run(*folders), self.run(*folders, "--all")
        assert first.exit_code == every.exit_code == 1
        assert first.output.splitlines()[0] == "02_intermediate/split.csv: row 2, column id: 'a' and 'b'"
        assert "08_reporting/split.csv" not in first.output
        assert f"08_reporting/split.csv: only in {folders[0]}" in every.output

    def test_folders_without_outputs_are_refused(self, folders):
        assert self.run(*folders).exit_code == 2
        assert self.run(folders[0], folders[0] / "missing").exit_code == 2

    def test_kedro_has_it_beside_its_own_commands(self, project):
        commands = KedroCLI(project.root).list_commands(None)
        assert {"compare", "run", "registry", "catalog"} <= {*commands}
