"""Metadata as it is published: every encoding, delimiter and column name that users have, and what is refused."""

import pandas as pd
import pytest

from skinbit.data.metadata import ROW, lesion_fates, read_metadata
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.schemas import check_raw_metadata

HAM10000_HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
UNSAFE_IDS = ["../x", "/abs", "C:\\x", "a\0b", ".hidden", "..", "a/b", "x" * 201, "a\nb"]


def read(text: str, encoding: str = "utf-8") -> pd.DataFrame:
    return read_metadata(text.encode(encoding), "data.csv")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        read(text)
    return refused.value.message


def raw_table(image_ids: list[str], lesion_ids: list[str] | None = None) -> pd.DataFrame:
    lesion_ids = ["L"] * len(image_ids) if lesion_ids is None else lesion_ids
    table = pd.DataFrame({"image_id": image_ids, "lesion_id": lesion_ids}, dtype="str")
    return table.assign(**{ROW: range(2, len(image_ids) + 2)})


def check_refusal(table: pd.DataFrame) -> str:
    with pytest.raises(InputError) as refused:
        check_raw_metadata(table)
    return refused.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_usual_encoding_delimiter_and_line_end_reads_the_same(
    encoding: str, delimiter: str, line_end: str
) -> None:
    rows = [["lesion_id", "image_id", "site"], ["L1", "a", "Rücken"], ["L2", "b", "café"]]
    table = read(line_end.join(delimiter.join(row) for row in rows) + line_end, encoding)
    assert table.columns.tolist() == [*rows[0], ROW]
    assert table[rows[0]].to_numpy().tolist() == rows[1:]


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_utf_16_of_either_byte_order_is_read(mark: bytes, encoding: str) -> None:
    table = read_metadata(mark + "lesion_id;image_id\nL;ä\n".encode(encoding), "data.csv")
    assert table["image_id"].tolist() == ["ä"]


def test_windows_1252_is_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    read("lesion_id,image_id\nL,ä\n", "cp1252")
    assert "data.csv is no valid Unicode" in caplog.text


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
    check_raw_metadata(table)


@pytest.mark.parametrize("cell", ["007", "NA", "nan", "None", "1e5", "true", "-1", "2020-01-02"])
def test_ids_are_text_and_never_a_number_or_a_missing_value(cell: str) -> None:
    table = read(f"lesion_id,image_id\n{cell},{cell}\n")
    assert table[["lesion_id", "image_id"]].to_numpy().tolist() == [[cell, cell]]


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


def test_rows_with_a_wrong_number_of_cells_are_listed() -> None:
    message = refusal("lesion_id,image_id,dx\nL,a\nL,b,nv\nL,c,nv,more\n")
    assert "2 rows with a wrong number of cells" in message
    assert "row 2: 2 cells, the header has 3" in message
    assert "row 4: 4 cells, the header has 3" in message
    assert "row 3" not in message


def test_missing_columns_are_named_with_those_that_are_there() -> None:
    assert "no column lesion_id; its columns are: image_id, dx" in refusal("image_id,dx\na,nv\n")
    assert "no column image_id; its columns are: lesion_id, file" in refusal("lesion_id,file\nL,a\n")
    assert "no column lesion_id and no column image_id" in refusal("a,b\n1,2\n")


@pytest.mark.parametrize("text", ["", "\n\n", " , ,\n", "\ufeff"])
def test_file_without_content_is_refused(text: str) -> None:
    assert "data.csv is empty" in refusal(text)


def test_header_alone_is_a_table_without_rows() -> None:
    table = read("lesion_id,image_id\n")
    assert (len(table), table.columns.tolist()) == (0, ["lesion_id", "image_id", ROW])
    check_raw_metadata(table)
    assert lesion_fates(table, 2, 4).tolist() == []


def test_column_that_is_there_twice_is_refused() -> None:
    assert "'dx' twice" in refusal("lesion_id,image_id,dx,dx\nL,a,1,2\n")
    assert "'row'" in refusal("lesion_id,image_id,row\nL,a,1\n")


def test_quote_that_never_ends_is_refused() -> None:
    assert "data.csv" in refusal('lesion_id,image_id\nL,"a\n' + "L,b\n" * 50_000)


def test_fate_depends_on_the_number_of_images_of_the_lesion() -> None:
    n_images = {"one": 1, "two": 2, "four": 4, "five": 5, "": 3}
    table = pd.DataFrame({"lesion_id": [name for name, n in n_images.items() for _ in range(n)]}, dtype="str")
    reasons = lesion_fates(table.assign(image_id="x"), minimum=2, maximum=4)
    assert reasons.value_counts().to_dict() == {
        "": 6,
        "lesion has fewer than 2 images": 1,
        "lesion has more than 4 images": 5,
        "no lesion_id": 3,
    }
    assert set(table["lesion_id"][reasons == ""]) == {"two", "four"}


@pytest.mark.parametrize("image_id", ["ISIC_0027419", "007", "café 1", "図-1", "a.b", "NA", "x" * 200])
def test_plain_names_are_accepted_as_ids(image_id: str) -> None:
    assert check_raw_metadata(raw_table([image_id, "other"])) is None


@pytest.mark.parametrize("unsafe", UNSAFE_IDS)
@pytest.mark.parametrize("column", ["image_id", "lesion_id"])
def test_ids_that_could_be_a_path_are_refused(unsafe: str, column: str) -> None:
    ids = {"image_ids": ["a", "b"], "lesion_ids": ["L", "L"]}
    ids[f"{column}s"][1] = unsafe
    message = check_refusal(raw_table(**ids))
    assert "1 ids that cannot be used" in message
    assert f"row 3: {column} {unsafe!r}" in message


@pytest.mark.parametrize("formula", ["=1+1", "@SUM(A1)", "+x", "-cmd|' /C calc'!A0", "-1+2", "+", "\uff1d1"])
@pytest.mark.parametrize("column", ["image_id", "lesion_id"])
def test_ids_that_a_spreadsheet_would_run_are_refused(formula: str, column: str) -> None:
    ids = {"image_ids": ["a", "b"], "lesion_ids": ["L", "L"]}
    ids[f"{column}s"][1] = formula
    message = check_refusal(raw_table(**ids))
    assert "1 ids that a spreadsheet would take for a formula" in message
    assert f"row 3: {column} {formula!r}" in message


@pytest.mark.parametrize("number", ["-12", "+5", "-0.5", "-1e-3", "1-2", "a=b", "x@y"])
def test_numbers_and_signs_within_an_id_are_no_formulas(number: str) -> None:
    assert check_raw_metadata(raw_table([number, "other"], [number, number])) is None


def test_blank_image_id_is_refused_and_blank_lesion_id_is_not() -> None:
    assert "1 rows without an image_id:\n  - row 3: image_id ''" in check_refusal(raw_table(["a", "", "b"]))
    assert check_raw_metadata(raw_table(["a", "b"], ["", ""])) is None


def test_every_row_of_a_doubled_image_id_is_listed() -> None:
    message = check_refusal(raw_table(["a", "b", "a"]))
    assert "2 rows with an image_id that another row has" in message
    assert "row 2: image_id 'a'" in message
    assert "row 4: image_id 'a'" in message
    assert "row 3" not in message


def test_all_kinds_of_problems_are_in_one_message() -> None:
    message = check_refusal(raw_table(["a", "a", "", "../x"], ["L", "L", "L", "/etc"]))
    assert "2 rows with an image_id that another row has" in message
    assert "1 rows without an image_id" in message
    assert "2 ids that cannot be used" in message
    assert message.count("Remedy:") == 3


def test_first_problems_of_a_kind_are_listed_in_order_and_the_rest_is_counted() -> None:
    message = check_refusal(raw_table([f".{number}" for number in range(25)]))
    assert "25 ids that cannot be used" in message
    listed = [line.split(":")[0] for line in message.splitlines() if line.startswith("  - ")]
    assert listed == [f"  - row {row}" for row in range(2, 2 + SHOWN_PER_KIND)]
    assert "… and 5 more" in message
