"""Tables as the public archives publish them: read, or told from others, with what supplies what they lack."""

from pathlib import Path

import pytest

from skinbit.config import DataParams
from skinbit.data.metadata import NOTES, ROW, find_row_problems, read_metadata
from skinbit.errors import InputError

RUN_UNCHANGED = {
    "ISIC 2018, lesion groupings": (
        "image,lesion_id,diagnosis_confirm_type",
        ["ISIC_0024306,HAM_0000550,follow_up", "ISIC_0024307,HAM_0003577,follow_up"],
    ),
    "ISIC 2019": (
        "image,age_approx,anatom_site_general,lesion_id,sex",
        ["ISIC_0000000,55,anterior torso,,female", "ISIC_0024306,30,anterior torso,HAM_0000550,female"],
    ),
    "ISIC 2020, v2": (
        "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
        ["ISIC_2637011,IP_7279968,IL_7972535,male,45,head/neck,unknown,benign,0"],
    ),
    "ISIC 2024, Kaggle": ("isic_id,target,patient_id,age_approx,lesion_id", ["ISIC_0015670,0,IP_1235828,60,"]),
    "BCN20000": (
        "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split",
        ["BCN_0000000001.jpg,55.0,anterior torso,MEL,BCN_0003884,2012-05-16,male,train"],
    ),
    "PAD-UFES-20": (
        "patient_id,lesion_id,smoke,diagnostic,img_id,biopsed",
        ["PAT_46,881,,NEV,PAT_46_881_14.png,False"],
    ),
    "MILK10k": (
        "lesion_id,image_type,isic_id,attribution,copyright_license",
        [
            "IL_0000652,clinical: close-up,ISIC_8149219,MILK,CC-BY-NC",
            "IL_0000652,dermoscopic,ISIC_4671410,MILK,CC-BY-NC",
        ],
    ),
    "HIBA": ("isic_id,attribution,age_approx,lesion_id,patient_id,sex", ["ISIC_0000001,HIBA,60,IL_1,IP_1,male"]),
    "HAM10000": (
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        ["HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp"],
    ),
}

LACKING = {
    "image_name_1,image_name_2": "ISIC_2020_Training_GroundTruth_v2.csv",
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target": (
        "ISIC_2020_Training_GroundTruth_v2.csv"
    ),
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge": "test table of ISIC 2020",
    "image,patient,age_approx,anatom_site_general,sex": "test table of ISIC 2020",
    "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC": "ISIC2018_Task3_Training_LesionGroupings.csv",
    "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK": "ISIC_2019_Training_Metadata.csv",
    "image,age_approx,anatom_site_general,sex": "ISIC_2019_Training_Metadata.csv",
    "image_id,melanoma,seborrheic_keratosis": "isic metadata download",
    "image_id,age_approximate,sex": "isic metadata download",
    "ISIC_0000000,benign": "its first line is a row, not a header",
    "lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC": "MILK10k_Training_Metadata.csv",
    "case_num,diagnosis,seven_point_score,location,clinic,derm,case_id": "two photographs per row",
    "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,qc,url": "can be grouped (docs/clustering.md)",
    "isic_id,attribution,copyright_license,age_approx": "isic metadata download",
}

NEAREST = {
    "Lesion ID,image_id": "rename 'Lesion ID' to lesion_id, if it is that (",
    "lesion_id,Image": "rename 'Image' to image_id",
    "lesion,filename": "rename 'lesion' to lesion_id, if it is that; rename 'filename' to image_id",
    "lession_id,image_id": "rename 'lession_id' to lesion_id",
    "isic_id,LesionId": "rename 'LesionId' to lesion_id",
    "patient,image_id": "Remedy: name a column lesion_id (the image column may also be image, isic_id,",
}


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        read_metadata(text.encode(), "data.csv")
    return refused.value.message


@pytest.mark.parametrize(("header", "rows"), RUN_UNCHANGED.values(), ids=RUN_UNCHANGED)
def test_tables_with_a_photograph_a_row_and_a_lesion_are_read_unchanged(header: str, rows: list[str]) -> None:
    table = read_metadata("\n".join([header, *rows, ""]).encode(), "data.csv")
    assert find_row_problems(table, "data.csv", DataParams()) == []
    assert all(image_id in row for image_id, row in zip(table["image_id"], rows, strict=True))
    assert table["image_id"].str.fullmatch(r"(ISIC|BCN|PAT)_[0-9_]+(\.jpg|\.png)?").all()
    assert table["lesion_id"].str.fullmatch(r"((HAM|BCN|IL)_\d+|\d*)").all()


@pytest.mark.parametrize(("header", "said"), LACKING.items())
def test_tables_without_what_is_needed_are_known_and_what_supplies_it_is_named(header: str, said: str) -> None:
    message = refusal(f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    assert message.startswith("data.csv has no column ")
    assert said in message
    assert message.count("Remedy: ") == 1


@pytest.mark.parametrize(("header", "said"), NEAREST.items())
def test_the_nearest_of_other_columns_is_named(header: str, said: str) -> None:
    message = refusal(f"{header}\n1,2\n")
    assert f"its columns are: {header.replace(',', ', ')}." in message
    assert said in message


def test_cells_divided_by_blanks_are_told() -> None:
    assert "comma, semicolon, tab or pipe, but by blanks;" in refusal("lesion_id   image_id   dx\nL   a   nv\n")


@pytest.mark.parametrize("named", ["sep=|\n", '"sep=^"\r\n', "SEP=;\r", "sep=;;;\n"])
def test_the_delimiter_that_excel_names_is_taken_and_its_line_is_no_row(named: str) -> None:
    delimiter = named.strip('"')[4]
    lines = [delimiter.join(cells) for cells in (["lesion_id", "image_id", "a,b"], ["L", "x", "1,2;3"[:3]])]
    table = read_metadata((named + "\n".join(lines)).encode("utf-16"), "data.csv")
    assert table[["lesion_id", "image_id", "a,b"]].to_numpy().tolist() == [["L", "x", "1,2"]]
    assert table[ROW].tolist() == [2]


def test_comments_before_the_header_are_counted_as_rows_and_told() -> None:
    table = read_metadata(b'# "made by, hand\n\n#|2024|\nlesion_id;image_id\nL;a\n', "data.csv")
    assert (table["image_id"].tolist(), table[ROW].tolist()) == (["a"], [5])
    assert table.attrs[NOTES] == ["comment lines before the header that are ignored: 2"]


@pytest.mark.parametrize("header", ["#lesion_id,image_id", "# lesion_id,image_id", "#,lesion_id,image_id"])
def test_a_header_may_begin_as_a_comment(header: str) -> None:
    cells = "1,L,a" if header.startswith("#,") else "L,a"
    table = read_metadata(f"{header}\n{cells}\n".encode(), "data.csv")
    assert table[["lesion_id", "image_id"]].to_numpy().tolist() == [["L", "a"]]


def test_delimiters_in_quotes_do_not_count() -> None:
    table = read_metadata(b'lesion_id,image_id,"a|b|c;d;e;f"\nL,x,1\n', "data.csv")
    assert table["image_id"].tolist() == ["x"]


def test_the_script_of_the_page_turns_the_table_of_derm7pt_into_one_that_is_read(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("release_v0/meta", "release_v0/images/NEL"):
        Path(folder).mkdir(parents=True)
    Path("release_v0/meta/meta.csv").write_text("case_num,diagnosis,clinic,derm\n1,nevus,NEL/b.jpg,NEL/a.JPG\n")
    for name in ("a.JPG", "b.jpg"):
        Path("release_v0/images/NEL", name).write_bytes(b"")
    page = (Path(__file__).parents[2] / "docs/data-format.md").read_text()
    exec(page.split("```py\n")[1].split("```")[0], {})
    table = read_metadata(Path("derm7pt/data.csv").read_bytes(), "data.csv")
    assert table[["lesion_id", "image_id", "dx"]].to_numpy().tolist() == [["1", "a", "nevus"], ["1", "b", "nevus"]]
    assert {path.stem for path in Path("derm7pt/images").iterdir()} == {"a", "b"}
