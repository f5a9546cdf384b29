"""Metadata as it is published: every encoding, delimiter and column name that users have, and what is refused."""

from typing import Literal

import pandas as pd
import pytest

from skinbit.config import DataParams, PolicyParams, SplitParams
from skinbit.data.assignment import assign_rows
from skinbit.data.lesions import lesion_fates
from skinbit.data.metadata import MISSHAPEN, NOTES, ROW, find_row_problems, read_metadata
from skinbit.data.problems import Problem
from skinbit.errors import InputError

HAM10000_HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
UNSAFE_IDS = [
    *("../x", "/abs", "C:\\x", "a\0b", ".hidden", "..", "a/b", "x" * 201, "a\nb", "a\x1b[2J", "a\u200b", "\u202egpj.a"),
    *("=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-1+1", "a\xa0b", "a\ufffdb"),
]


def read(text: str, encoding: str = "utf-8") -> pd.DataFrame:
    return read_metadata(text.encode(encoding), "data.csv")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        read(text)
    return refused.value.message


def raw_table(image_ids: list[str], lesion_ids: list[str] | None = None) -> pd.DataFrame:
    lesion_ids = ["L"] * len(image_ids) if lesion_ids is None else lesion_ids
    table = pd.DataFrame({"image_id": image_ids, "lesion_id": lesion_ids}, dtype="str")
    return table.assign(**{ROW: range(2, len(image_ids) + 2), MISSHAPEN: ""})


def problems_of(table: pd.DataFrame, **policy: Literal["keep"]) -> list[Problem]:
    return find_row_problems(table, "data.csv", DataParams(policy=PolicyParams(**policy)))


def found_in(table: pd.DataFrame) -> list[tuple[str, int]]:
    return [(problem.kind, problem.row) for problem in problems_of(table)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_usual_encoding_delimiter_and_line_end_reads_the_same(
    encoding: str, delimiter: str, line_end: str
) -> None:
    rows = [["lesion_id", "image_id", "site"], ["L1", "a", "Rücken"], ["L2", "b", "café"]]
    table = read(line_end.join(delimiter.join(row) for row in rows) + line_end, encoding)
    assert table.columns.tolist() == [*rows[0], ROW, MISSHAPEN]
    assert table[rows[0]].to_numpy().tolist() == rows[1:]


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_utf_16_of_either_byte_order_is_read(mark: bytes, encoding: str) -> None:
    table = read_metadata(mark + "lesion_id;image_id\nL;ä\n".encode(encoding), "data.csv")
    assert table["image_id"].tolist() == ["ä"]


def test_windows_1252_is_read_with_a_note() -> None:
    assert read("lesion_id,image_id\nL,ä\n", "cp1252").attrs[NOTES] == ["not valid Unicode; read as Windows-1252"]


def test_blanks_around_cells_and_names_are_removed() -> None:
    table = read(" lesion_id , image_id \n  L1\t,  a \n")
    assert table[["lesion_id", "image_id"]].to_numpy().tolist() == [["L1", "a"]]


def test_blanks_inside_cells_stay() -> None:
    assert read("lesion_id,image_id\nL 1,a b\n")["lesion_id"].tolist() == ["L 1"]


@pytest.mark.parametrize("alias", ["image", "isic_id"])
def test_published_names_of_the_image_column_are_read(alias: str) -> None:
    assert read(f"lesion_id,{alias}\nL,a\n")["image_id"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [("image", "image_id"), ("isic_id", "image_id"), ("localization", "anatom_site_general")],
)
def test_canonical_column_stands_where_both_are_present(alias: str, canonical: str) -> None:
    other = "image_id," if canonical != "image_id" else ""
    table = read(f"lesion_id,{other}{alias},{canonical}\nL,{'i,' if other else ''}theirs,ours\n")
    assert (table[alias].tolist(), table[canonical].tolist()) == (["theirs"], ["ours"])


def test_header_of_ham10000_works_unchanged() -> None:
    table = read(f"{HAM10000_HEADER}\nHAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp\n")
    assert table.loc[0, ["lesion_id", "image_id", "anatom_site_general", "age"]].tolist() == [
        "HAM_0000118",
        "ISIC_0027419",
        "scalp",
        "80.0",
    ]
    assert problems_of(table) == []


@pytest.mark.parametrize("cell", ["007", "NA", "nan", "None", "1e5", "true", "-1", "2020-01-02"])
def test_ids_are_text_and_never_a_number_or_a_missing_value(cell: str) -> None:
    table = read(f"lesion_id,image_id\n{cell},{cell}\n")
    assert table[["lesion_id", "image_id"]].to_numpy().tolist() == [[cell, cell]]


WORDS_FOR_MISSING = [
    *(
        "nan",
        "NaN",
        "None",
        "NULL",
        "null",
        "n/a",
        "N/A",
        "<NA>",
        "#N/A",
        "-",
        "NaT",
        "\\N",
        "#NV",
        "(null)",
        "?",
        "unknown",
    ),
    *("-1.#IND", "#DIV/0!", "undefined", "n.a.", "NA?", "--", "\u2014", ".", "Not Available", "#NAME?"),
]


@pytest.mark.parametrize("word", WORDS_FOR_MISSING)
def test_a_word_for_a_missing_value_is_no_lesion(word: str) -> None:
    table = raw_table(["a", "b", "c"], [word, "L", word])
    assert found_in(table) == [("placeholder", 2), ("placeholder", 4)]
    kept = {problem.kind for problem in problems_of(table, placeholder="keep")}
    assert kept <= {"bad_id"}  # a path or a formula is none, whatever it stands for


@pytest.mark.parametrize(
    "lesion_id", ["0", "-1", "999", "Nana", "N", "A-", "unk7", "none of these", "x?", "NB", "nan1"]
)
def test_other_words_and_numbers_are_lesions(lesion_id: str) -> None:
    assert found_in(raw_table(["a", "b"], [lesion_id, lesion_id])) == []


def test_one_photograph_may_be_called_by_such_a_word_and_several_not() -> None:
    assert found_in(raw_table(["NA", "b"])) == []
    assert found_in(raw_table(["nan", "b", "nan"], ["L", "L", "M"])) == [("placeholder", 2), ("placeholder", 4)]
    assert found_in(raw_table(["n/a", "b"])) == [("placeholder", 2)]


def test_an_image_with_and_without_a_lesion_is_there_twice_and_not_of_two_lesions() -> None:
    assert found_in(raw_table(["a", "a"], ["L", "nan"])) == [("placeholder", 3), ("duplicate", 3)]


@pytest.mark.parametrize(
    ("one", "other"), [("7", "007"), ("7.0", "7"), ("1e3", "1000"), ("1E+03", "1000.00"), ("7,0", "07"), ("+7", "7")]
)
def test_ids_that_differ_only_in_how_a_number_is_written_are_problems(one: str, other: str) -> None:
    assert found_in(raw_table([one, "x", other])) == [("number_clash", 2), ("number_clash", 4)]
    lesions = raw_table(["x", "y", "z"], [one, other, other])
    assert found_in(lesions) == [("number_clash", row) for row in (2, 3, 4)]
    assert problems_of(lesions, number_clash="keep") == []


@pytest.mark.parametrize(
    ("one", "other"), [("7", "-7"), ("L7", "L07"), ("0x10", "16"), ("0e1", "0e2"), ("12e4", "120000"), ("1_0", "10")]
)
def test_other_ids_are_different_numbers_or_none(one: str, other: str) -> None:
    assert found_in(raw_table([one, other])) == []


def test_long_numbers_are_compared_to_the_last_digit() -> None:
    assert found_in(raw_table([f"{'1' * 150}1", f"{'1' * 150}2", f"0{'1' * 150}1"])) == [
        ("number_clash", 2),
        ("number_clash", 4),
    ]


def test_ids_that_look_alike_are_told_letter_by_letter() -> None:
    problems = problems_of(raw_table(["x", "y"], ["caf\u00e9", "cafe\u0301"]))
    assert problems[0].problem == r"lesion_id 'caf\xe9': elsewhere 'cafe\u0301'"


def test_empty_cells_are_empty_text() -> None:
    assert read("lesion_id,image_id\n,a\n")["lesion_id"].tolist() == [""]


def test_row_numbers_are_those_of_a_spreadsheet() -> None:
    text = 'lesion_id,image_id,note\nL,row 2,"two\nlines"\n\nL,row 4,\n,,\nL,row 6,"a\r\n\r\nb"\nL,row 7,\n'
    table = read(text)
    assert [f"row {row}" for row in table[ROW]] == table["image_id"].tolist()


def test_lines_before_the_header_are_counted_and_skipped() -> None:
    table = read("\n \nlesion_id;image_id\nL;a\n")
    assert (table["image_id"].tolist(), table[ROW].tolist()) == (["a"], [4])


def test_delimiters_in_quotes_are_content() -> None:
    assert read('lesion_id,image_id,dx\nL,a,"x,y"\n')["dx"].tolist() == ["x,y"]


def test_rows_with_a_wrong_number_of_cells_are_told_and_keep_the_shape_of_the_table() -> None:
    table = read("lesion_id,image_id,dx\nL,a\nL,b,nv\nL,c,nv,more\nL,d,nv,,\n")
    assert table[MISSHAPEN].tolist() == ["2 cells, but the header has 3", "", "4 cells, but the header has 3", ""]
    assert table["dx"].tolist() == ["", "nv", "nv", "nv"]
    assert found_in(table) == [("cells", 2), ("cells", 4)]


def test_lines_that_a_missing_quote_swallowed_are_told() -> None:
    table = read('lesion_id,image_id,note\nL,a,"x\nL,b,y\nL,c,"z\nM,d,"two\nlines, not, rows"\n')
    assert table[MISSHAPEN].tolist() == ["a quoted cell contains 1 lines that look like rows; is a quote missing?", ""]
    assert table["image_id"].tolist() == ["a", "d"]


def test_a_column_without_a_name_is_left_out() -> None:
    table = read(",lesion_id,image_id,,\n0,L,a,,\n1,L,b,,\n")
    assert table.columns.tolist() == ["lesion_id", "image_id", ROW, MISSHAPEN]
    assert table.attrs[NOTES] == ["columns without a name are left out, number 1, 4, 5"]


def test_line_ends_inside_of_cells_become_the_same_everywhere() -> None:
    assert read('lesion_id,image_id,note\nL,a,"x\ry\r\nz"\n')["note"].tolist() == ["x\ny\nz"]


def test_missing_columns_are_named_with_those_that_are_there() -> None:
    assert "no column lesion_id; its columns are: image_id, dx" in refusal("image_id,dx\na,nv\n")
    assert "no column image_id; its columns are: lesion_id, file" in refusal("lesion_id,file\nL,a\n")
    assert "no column lesion_id and no column image_id" in refusal("a,b\n1,2\n")


@pytest.mark.parametrize("text", ["", "\n\n", " , ,\n", "\ufeff"])
def test_file_without_content_is_refused(text: str) -> None:
    assert "data.csv is empty" in refusal(text)


def test_header_alone_is_a_table_without_rows() -> None:
    table = read("lesion_id,image_id\n")
    assert (len(table), table.columns.tolist()) == (0, ["lesion_id", "image_id", ROW, MISSHAPEN])
    assert problems_of(table) == []
    assert lesion_fates(table, {}, 2, 4).tolist() == []


def test_column_that_is_there_twice_is_refused() -> None:
    assert "'dx' twice" in refusal("lesion_id,image_id,dx,dx\nL,a,1,2\n")
    assert "'row'" in refusal("lesion_id,image_id,row\nL,a,1\n")


def test_quote_that_never_ends_is_refused() -> None:
    assert "data.csv" in refusal('lesion_id,image_id\nL,"a\n' + "L,b\n" * 50_000)


def test_fate_depends_on_the_number_of_images_of_the_lesion() -> None:
    n_images = {"one": 1, "two": 2, "four": 4, "five": 5, "": 3}
    lesions = [name for name, n in n_images.items() for _ in range(n)]
    table = raw_table([str(number) for number in range(len(lesions))], lesions)
    reasons = lesion_fates(table, {}, minimum=2, maximum=4)
    assert reasons.value_counts().to_dict() == {
        "": 6,
        "lesion has fewer than 2 images": 1,
        "lesion has more than 4 images": 5,
        "no lesion_id": 3,
    }
    assert set(table["lesion_id"][reasons == ""]) == {"two", "four"}


def test_fate_of_a_lesion_that_lost_images_has_a_reason_of_its_own() -> None:
    table = raw_table(["a", "b", "c", "d", "e", "f"], ["two", "two", *["three"] * 3, "one"])
    reasons = lesion_fates(table, {2: "missing", 4: "bad_id"}, minimum=2, maximum=4)
    assert reasons.tolist() == [
        "image is missing",
        "lesion has fewer than 2 images without problems",
        "id cannot be used",
        *["", ""],
        "lesion has fewer than 2 images",
    ]


def test_a_lesion_has_too_many_images_whether_all_can_be_read_or_not() -> None:
    table = raw_table(list("abcde"))
    assert set(lesion_fates(table, {2: "unreadable"}, 2, 4)[1:]) == {"lesion has more than 4 images"}
    assert set(lesion_fates(table, {2: "duplicate"}, 2, 4)[1:]) == {""}


def test_lesions_beyond_the_wanted_number_are_left_out_and_others_keep_their_own_reason() -> None:
    lesions = [f"L{number:02}" for number in range(40) for _ in "12"]
    table = raw_table([f"I{row}" for row in range(82)], [*lesions, "alone", ""])
    kinds, usable = {5: "unreadable"}, pd.Series(range(2, 84)).drop(3)
    found = assign_rows(table, kinds, usable, DataParams(max_lesions=12), (SplitParams(), 42))
    assert MISSHAPEN not in found
    reasons = found.set_index("image_id")["reason"]
    assert reasons[["I80", "I81", "I3", "I2"]].tolist() == [
        "lesion has fewer than 2 images",
        "no lesion_id",
        "image cannot be read",
        "lesion has fewer than 2 images without problems",
    ]
    assert (reasons == "outside the subset of 12 lesions").sum() == 2 * (39 - 12)
    taking_part = found[found["reason"] == ""]
    assert taking_part["lesion_id"].nunique() == 12
    assert taking_part[["subset", "fold"]].notna().all().all()
    left_out = found[found["reason"] != ""]
    assert (left_out["subset"] == "").all()
    assert left_out["fold"].isna().all()


@pytest.mark.parametrize("image_id", ["ISIC_0027419", "007", "café 1", "図-1", "a.b", "NA", "-12", "x" * 200])
def test_plain_names_are_accepted_as_ids(image_id: str) -> None:
    assert problems_of(raw_table([image_id, "other"])) == []


@pytest.mark.parametrize("unsafe", UNSAFE_IDS)
@pytest.mark.parametrize("column", ["image_id", "lesion_id"])
def test_ids_that_could_be_a_path_or_cannot_be_seen_are_problems(unsafe: str, column: str) -> None:
    ids = {"image_ids": ["a", "b"], "lesion_ids": ["L", "L"]}
    ids[f"{column}s"][1] = unsafe
    (problem,) = problems_of(raw_table(**ids))
    assert (problem.kind, problem.row, problem.file) == ("bad_id", 3, "data.csv")
    assert problem.problem.startswith(f"{column} {unsafe!r}"[:50])
    assert problem.problem.isprintable()


def test_blank_image_id_is_a_problem_and_blank_lesion_id_is_not() -> None:
    assert found_in(raw_table(["a", "", "b"])) == [("no_image_id", 3)]
    assert found_in(raw_table(["a", "b"], ["", ""])) == []


def test_rows_that_repeat_an_image_are_problems_and_the_first_one_with_a_lesion_is_none() -> None:
    table = raw_table(["a", "b", "a", "a"], ["", "L", "L", "L"])
    assert [(p.row, p.problem) for p in problems_of(table)] == [
        (2, "image_id 'a': also in row 4"),
        (5, "image_id 'a': also in row 4"),
    ]


def test_every_row_of_an_image_under_two_lesions_is_a_problem() -> None:
    problems = problems_of(raw_table(["a", "b", "a"], ["L", "L", "M"]))
    assert [(p.kind, p.row) for p in problems] == [("two_lesions", 2), ("two_lesions", 4)]
    assert problems[0].problem == "image_id 'a': lesion_id 'L', in row 4 'M'"


@pytest.mark.parametrize(("one", "other"), [("A1", "a1"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "straße")])
def test_ids_that_differ_only_in_case_or_accents_are_problems(one: str, other: str) -> None:
    assert found_in(raw_table([one, "x", other])) == [("case_clash", 2), ("case_clash", 4)]
    assert found_in(raw_table(["x", "y", "z"], [one, other, other])) == [("case_clash", row) for row in (2, 3, 4)]


def test_a_row_has_all_of_its_problems() -> None:
    assert found_in(raw_table(["a", "a", "", "../x"], ["L", "L", "L", "/etc"])) == [
        ("duplicate", 3),
        ("no_image_id", 4),
        ("bad_id", 5),
        ("bad_id", 5),
    ]
