"""`kedro compare` names the first difference of two runs in words that a person can act on."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from kedro.framework.cli.cli import KedroCLI
from safetensors.numpy import save

from skinbit.cli import cli
from skinbit.runtime.comparison import (
    DIFFERENT,
    EQUAL,
    ONLY_FIRST,
    ONLY_SECOND,
    WITHIN_TOLERANCE,
    compare_folders,
    explain_records,
)
from skinbit.runtime.datasets.files import pack
from skinbit.runtime.datasets.fingerprints import FingerprintsDataset
from skinbit.runtime.provenance import Origin, Record


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


def state(folders, tolerance):
    (comparison,) = compare_folders(*folders, tolerance)
    return comparison.state


def difference(folders, tolerance=0.0):
    (comparison,) = compare_folders(*folders, tolerance)
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
            ("a.csv", "id\nx\n", "id\nx\nz\n", "row 3, column id: only in the second"),
            ("a.csv", "id,a\nx,1\n", "id,b\nx,1\n", "columns: 'id,a' and 'id,b'"),
            ("a.csv", "id\r\nx\r\n", "id\nx\n", "byte 2; 7 and 5 bytes"),
            ("a.csv", "id,a\nx,1\n", "id,a\nx\n", "row 2, column a: only in the first"),
            ("a.csv", "id\n00_1\n", "id\n01\n", "row 2, column id: '00_1' and '01'"),
            ("a.json", json.dumps(NESTED), json.dumps(NESTED | {"counts": {}}), "counts.x: only in the first"),
            (
                "a.json",
                json.dumps(NESTED),
                json.dumps(NESTED | {"pairs": [{"similarity": 0.5}, {"similarity": 0.75}]}),
                "pairs[1].similarity: 0.25 and 0.75 (difference 0.5)",
            ),
            (
                "a.json",
                json.dumps(NESTED),
                json.dumps(NESTED | {"pairs": []}),
                "pairs[0].similarity: only in the first",
            ),
            ("a.json", "[true]", "[1]", "[0]: True and 1"),
            ("a.json", "[NaN]", "[NaN] ", "byte 5; 5 and 6 bytes"),
            ("a.json", "{}", "not json", "byte 0; 2 and 8 bytes"),
            ("a.yaml", "seed: 42\n", "seed: 7\n", "seed: 42 and 7 (difference 35)"),
            ("a.png", b"\x89PNG1234", b"\x89PNG1x34", "byte 5"),
            ("a.html", "<p>\n<b>one</b>", "<p>\n<b>two</b>", "line 2: '<b>one</b>' and '<b>two</b>'"),
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

    def test_in_a_long_line_is_shown_with_what_is_around_it(self, folders):
        write(folders, "a.html", *("x" * 1000 + value + "y" * 1000 for value in ("one", "two")))
        first, second = ("x" * 20 + value + "y" * 36 for value in ("one", "two"))
        assert difference(folders) == f"line 1: '{first}… and '{second}…"

    def test_beyond_the_first_megabyte_is_counted_from_the_beginning(self, folders):
        write(folders, "a.bin", bytes(3_000_000), bytes(2_500_000) + b"x" + bytes(499_999))
        assert difference(folders) == "byte 2500000"


NEAR = [
    ("a.csv", "id,f1\nx,0.5\n", "id,f1\nx,0.5009\n"),
    ("a.csv", "id,f1\nx,0.5\ny,\n", "id,f1\nx,0.50\ny,\n"),
    ("a.csv", "id,f1\nx,0.123\n", "id,f1\nx,0.124\n"),  # as floats they are more than 0.001 apart
    ("a.csv", "n,f1\n1,nan\n", "n,f1\n1.0,NaN\n"),
    ("a.csv", "f1\ninf\n", "f1\nInfinity\n"),
    ("a.json", json.dumps(NESTED), json.dumps({**NESTED, "pairs": [{"similarity": 0.5}, {"similarity": 0.2509}]})),
    ("a.json", "[NaN, 1, true]", "[NaN, 1.0005, true]"),
    ("a.yaml", "f1: [0.5, .nan]\n", "f1: [0.5005, .nan]\n"),
    ("a.safetensors", tensors([[0, 1], [np.nan, np.inf]]), tensors([[0, 1.0009], [np.nan, np.inf]])),
    ("a.safetensors", tensors([1], train={"threshold": 0.5}), tensors([1], train={"threshold": 0.5009})),
    ("a.safetensors", tensors(1.0), tensors(1.0009)),
]
FAR = [
    ("a.csv", "id,f1\nx,0.5\ny,1\n", "id,f1\nx,0.5009\ny,3\n", "row 3, column f1: 1 and 3 (difference 2)"),
    ("a.csv", "id,f1\nx,0.5\n", "id,f1\ny,0.5009\n", "row 2, column id: 'x' and 'y'"),
    ("a.csv", "f1\n0.5\n", "f1\n0.5009\n0.5\n", "row 3, column f1: only in the second"),
    ("a.csv", "f1\n0.5\n", "f1\n0.5009,\n", "row 2, column : only in the second"),
    ("a.csv", "f1\n0.5,1\n", "f1\n0.5,2\n", "row 2, column : 1 and 2 (difference 1)"),
    ("a.csv", "f1\n0.5\n", "F1\n0.5\n", "columns: 'f1' and 'F1'"),
    ("a.csv", "f1\nnan\n", "f1\n0.5\n", "row 2, column f1: NaN and 0.5"),
    ("a.csv", 'f1\n""\n', "f1\n0\n", "row 2, column f1: '' and 0"),
    ("a.csv", "id\n12_1\n", "id\n121\n", "row 2, column id: '12_1' and 121"),
    ("a.csv", "id\n007\n", "id\n7\n", "row 2, column id: '007' and 7"),
    ("a.csv", "id\n90071992547409930\n", "id\n90071992547409931\n", "row 2, column id: "),  # one float
    ("a.csv", "id\n12e4567\n", "id\n12e4568\n", "row 2, column id: "),  # both are infinite as floats
    ("a.csv", 'note\n"a\nb"\n', "note\nab\n", "row 2, column note: 'a\\nb' and 'ab'"),
    (
        "a.json",
        json.dumps(NESTED),
        json.dumps({**NESTED, "pairs": [{"similarity": 0.5009}, {"similarity": 0.75}]}),
        "pairs[1].similarity: 0.25 and 0.75 (difference 0.5)",
    ),
    ("a.json", '{"a": 0.5}', '{"a": 0.5, "b": 1}', "b: only in the second"),
    ("a.json", "[0.5]", "[0.5, 0.5]", "[1]: only in the second"),
    ("a.json", '["0.5"]', '["0.50"]', "[0]: '0.5' and '0.50'"),
    ("a.json", "[1]", "[true]", "[0]: 1 and True"),
    ("a.json", "[NaN]", "[0]", "[0]: nan and 0"),
    ("a.json", "[NaN]", "[null]", "[0]: nan and None"),
    ("a.json", "[Infinity]", "[-Infinity]", "[0]: inf and -inf"),
    ("a.json", "[0.5]", "[0.5", "byte 4; "),
    ("a.yaml", "seed: 42\n", "seed: 43\n", "seed: 42 and 43 (difference 1)"),
    (
        "a.safetensors",
        tensors([0, 1, 2, 3]),
        tensors([0, 1.0009, 2.5, 7]),
        "tensor embeddings at [2]: 2.0 and 2.5 (difference 0.5); 2 of 4 values differ, by 4 at most",
    ),
    ("a.safetensors", tensors([np.nan]), tensors([0]), "tensor embeddings at [0]: nan and 0.0"),
    ("a.safetensors", tensors([1]), pack({"embeddings": np.ones(1)}, {}), "tensor embeddings: float32 [1] and float64"),
    ("a.safetensors", tensors([1], f1=0.5), tensors([1.0009], f1=0.75), "header.f1: 0.5 and 0.75 (difference 0.25)"),
    ("a.safetensors", tensors([1], loss="a"), tensors([1], loss="b"), "header.loss: 'a' and 'b'"),
    (
        "a.safetensors",
        save({"x": np.zeros(1)}, {"skinbit": "{}", "format": "np"}),
        save({"x": np.zeros(1)}, {"skinbit": "{}", "format": "pt"}),
        "metadata.format: 'np' and 'pt'",
    ),
    ("a.html", "<p>0.5</p>", "<p>0.5009</p>", "line 1: '<p>0.5</p>' and '<p>0.5009</p>'"),
    ("a.html", "<p>\r\n", "<p>\n", "byte 3; "),
    ("a.png", b"0.5000", b"0.5009", "byte 5"),
]


class TestTolerance:
    @pytest.mark.parametrize(("name", "first", "second"), NEAR)
    def test_numbers_within_it_are_equal_but_not_byte_for_byte(self, folders, name, first, second):
        write(folders, name, first, second)
        assert state(folders, 0.001) == state(folders[::-1], 0.001) == WITHIN_TOLERANCE
        assert state(folders, 0.0) == DIFFERENT

    @pytest.mark.parametrize(("name", "first", "second", "said"), FAR)
    def test_what_is_beyond_it_or_no_number_is_named(self, folders, name, first, second, said):
        write(folders, name, first, second)
        assert difference(folders, 0.001).startswith(said)
        assert state(folders[::-1], 0.001) == DIFFERENT

    def test_equal_bytes_are_equal(self, folders):
        write(folders, "a.csv", "f1\n0.5\n", "f1\n0.5\n")
        assert state(folders, 0.001) == EQUAL

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (np.array([True]), np.array([False])),  # no numbers
            (np.array([2**60]), np.array([2**60 + 5])),  # one float
        ],
    )
    def test_values_of_tensors_are_not_equal_because_floats_are(self, folders, first, second):
        write(folders, "a.safetensors", pack({"x": first}, {}), pack({"x": second}, {}))
        assert difference(folders, 2.0).startswith("tensor x at [0]: ")

    @given(
        st.lists(st.tuples(*[st.floats(-2, 2).map(lambda value: round(value, 2))] * 2), min_size=1, max_size=3),
        st.sampled_from([0.01, 0.1, 1.0]),
    )
    @example([(0.7, 0.8)], 0.1)
    def test_is_symmetric_and_that_of_fractions(self, tmp_path_factory, pairs, tolerance):
        root = tmp_path_factory.mktemp("folders")
        folders = root / "a", root / "b"
        columns = [list(column) for column in zip(*pairs, strict=True)]
        write(folders, "a.json", *map(json.dumps, columns))
        write(folders, "a.csv", *("\n".join(["f1", *map(str, column)]) for column in columns))
        gaps = [abs(Fraction(str(one)) - Fraction(str(other))) for one, other in pairs]
        near = WITHIN_TOLERANCE if max(gaps) <= Fraction(str(tolerance)) else DIFFERENT
        expected = EQUAL if [*map(str, columns[0])] == [*map(str, columns[1])] else near
        for one, other in (folders, folders[::-1]):
            assert {comparison.state for comparison in compare_folders(one, other, tolerance)} == {expected}


class TestFolders:
    def test_every_file_is_counted_once_in_the_order_of_the_stages(self, folders):
        write(folders, "02_intermediate/split.csv", "a", "a")
        write(folders, "08_reporting/report.html", "a", "b")
        write(folders[:1], "06_models/x/best.safetensors", "a")
        write(folders[1:], "07_model_output/x.csv", "a")
        compared = compare_folders(*folders)
        assert [comparison.state for comparison in compared] == [EQUAL, ONLY_FIRST, ONLY_SECOND, DIFFERENT]

    def test_records_hidden_files_and_folders_of_outputs_inside_are_left_out(self, folders):
        write(folders, "02_intermediate/.split.csv.tmp", "a", "b")
        write(folders, ".fingerprints/split.json", "a", "b")
        write(folders, "demo/.fingerprints/split.json", "a", "b")
        write(folders, "demo/split.csv", "a", "b")
        assert compare_folders(*folders) == []

    def test_records_name_what_made_the_files_differently(self, folders):
        def origin(seed, split):
            inputs = (("params:seed", seed), ("split", split))
            return Origin(function="f", bound=None, inputs=inputs, outputs=(), versions={"torch": "1"})

        for folder, seed in zip(folders, "12", strict=True):
            dataset = FingerprintsDataset(path=str(folder / ".fingerprints"))
            dataset.save({"split": Record(origin=origin(seed, "")), "leaderboard": Record(origin=origin(seed, seed))})
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

    def test_the_summary_counts_files_within_the_tolerance_apart(self, folders):
        write(folders, "02_intermediate/split.csv", "a", "a")
        write(folders, "07_model_output/x.csv", "f1\n0.5\n", "f1\n0.5000001\n")
        ended = self.run(*folders, "--tolerance", "1e-6")
        assert ended.exit_code == 0
        said, heading, *_, total = ended.output.splitlines()
        assert said == "tolerance: numbers may differ by 1e-06"
        assert "equal  within the tolerance  different" in heading
        assert total.split() == ["all", "files", "1", "1", "0", "0", "0"]

    def test_without_a_tolerance_nothing_is_said_of_one(self, folders):
        write(folders, "07_model_output/x.csv", "f1\n0.5\n", "f1\n0.50\n")
        plain, zero = self.run(*folders), self.run(*folders, "--tolerance", "0")
        assert plain.exit_code == zero.exit_code == 1
        assert plain.output == zero.output
        assert "tolerance" not in plain.output
        assert plain.output.splitlines()[0] == "07_model_output/x.csv: row 2, column f1: 0.5 and 0.50 (difference 0)"

    def test_the_first_difference_beyond_the_tolerance_is_named(self, folders):
        write(folders, "07_model_output/x.csv", "f1\n0.5\n", "f1\n0.5000001\n")
        write(folders, "07_model_output/y.csv", "f1\n0.5\n", "f1\n0.75\n")
        ended = self.run(*folders, "--all", "--tolerance", "1e-6")
        assert ended.exit_code == 1
        assert "x.csv" not in ended.output
        assert ended.output.startswith("07_model_output/y.csv: row 2, column f1: 0.5 and 0.75 (difference 0.25)\n")

    @pytest.mark.parametrize("tolerance", ["-1e-6", "nan", "inf", "x"])
    def test_a_tolerance_that_is_none_is_one_error(self, folders, tolerance):
        write(folders, "a.csv", "a", "a")
        ended = self.run(*folders, f"--tolerance={tolerance}")
        assert ended.exit_code == 2
        assert "Invalid value for '--tolerance'" in ended.output

    def test_folders_without_outputs_are_refused(self, folders):
        assert self.run(*folders).exit_code == 2
        assert self.run(folders[0], folders[0] / "missing").exit_code == 2

    def test_kedro_has_it_beside_its_own_commands(self, project):
        commands = KedroCLI(project.root).list_commands(None)
        assert {"compare", "run", "registry", "catalog"} <= {*commands}
