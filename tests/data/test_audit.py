"""What tables and hashes tell an audit: copies, splits, patients, contradictions."""

import io
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.photographs import list_photographs
from skinbit.audit.audited_study import check_left_out
from skinbit.audit.copies import find_copies, hash_pixels
from skinbit.audit.findings import NOWHERE, Finding, is_leak, tabulate_findings
from skinbit.audit.metadata import check_agreement, check_patients, lesions_of_images
from skinbit.audit.split import check_split, hash_split, places_of, read_split
from skinbit.config import SplitParams
from skinbit.data.splits import split_lesions
from skinbit.errors import InputError
from skinbit.runtime.schemas import AuditFindings


def make_split(*rows):
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "subset", "fold"], dtype="str")


def lesions_of(split):
    return dict(zip(split["image_id"], split["lesion_id"], strict=True))


def kinds_of(findings):
    return Counter(finding.kind for finding in findings)


SOUND = (("a1", "a", "train", "0"), ("a2", "a", "train", "0"), ("b1", "b", "test", "-1"), ("b2", "b", "test", "-1"))


class TestSplit:
    def test_that_is_sound_has_no_finding(self):
        split = make_split(*SOUND)
        assert check_split(split, lesions_of(split)) == []

    def test_with_a_lesion_in_two_folds_names_an_image_of_each(self):
        split = make_split(*SOUND, ("a3", "a", "train", "2"))
        (finding,) = check_split(split, lesions_of(split))
        assert (finding.kind, finding.severity) == ("lesion_across_folds", "error")
        assert (finding.images, finding.lesions) == (("a1", "a3"), ("a", "a"))
        assert finding.detail == "2 images in fold 0, 1 image in fold 2"

    def test_with_a_lesion_in_training_and_test_names_the_test_first(self):
        split = make_split(*SOUND, ("a3", "a", "test", "-1"))
        (finding,) = check_split(split, lesions_of(split))
        assert finding.images == ("a3", "a1")
        assert finding.detail == "1 image in the test subset, 2 images in fold 0"

    def test_that_renames_a_lesion_is_still_seen_to_part_it(self):
        """The metadata say whose image it is: an edited split cannot hide a leak."""
        split = make_split(*SOUND)
        truth = {**lesions_of(split), "b1": "a"}
        found = check_split(split, truth)
        assert kinds_of(found) == {"lesion_across_folds": 1, "split_contradiction": 1}

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            (("a1", "a", "train", "0"), "the image is in 2 rows of the split"),
            (("x", "x", "train", "1"), "the image is not among the images used"),
            (("x", "x", "val", "1"), "subset 'val' is neither train nor test"),
            (("x", "x", "train", "one"), "fold 'one' is not a number"),
            (("x", "x", "train", "1.0"), "fold '1.0' is not a number"),
            (("x", "x", "train", "-1"), "subset train and fold -1: fold -1 is the test subset"),
            (("x", "x", "test", "3"), "subset test and fold 3: fold -1 is the test subset"),
        ],
    )
    def test_with_a_row_that_does_not_fit_says_why(self, row, said):
        (finding,) = check_split(make_split(*SOUND, row), lesions_of(make_split(*SOUND)))
        assert finding.kind == "split_contradiction"
        assert said in finding.detail

    def test_that_leaves_an_image_out_names_it(self):
        (finding,) = check_split(make_split(*SOUND[1:]), lesions_of(make_split(*SOUND)))
        assert (finding.images, finding.detail) == (("a1",), "the image is missing in the split")

    @given(st.integers(5, 40), st.integers(0, 99), st.data())
    def test_one_moved_image_is_found_in_every_split(self, n_lesions, seed, data):
        images = pd.DataFrame({"lesion_id": np.repeat([f"L{n:02}" for n in range(n_lesions)], 2)}, dtype="str")
        images["image_id"] = [f"I{row}" for row in range(len(images))]
        split = split_lesions(images, SplitParams(n_folds=2), seed).astype("str").reset_index(drop=True)
        assert check_split(split, lesions_of(split)) == []
        moved = data.draw(st.integers(0, len(split) - 1))
        elsewhere = split.index[split["fold"] != split.loc[moved, "fold"]][0]
        split.loc[moved, ["subset", "fold"]] = split.loc[elsewhere, ["subset", "fold"]].tolist()
        (finding,) = check_split(split, lesions_of(split))
        assert finding.lesions[0] == split.loc[moved, "lesion_id"]

    def test_places_are_folds_and_the_test_subset(self):
        assert places_of(make_split(*SOUND)) == {"a1": "fold 0", "a2": "fold 0", "b1": "test", "b2": "test"}

    def test_without_a_column_is_refused(self):
        with pytest.raises(InputError, match=r"split\.csv has no column fold"):
            read_split(make_split(*SOUND).drop(columns="fold"))

    def test_with_a_row_cut_short_has_blanks_that_are_found(self):
        split = read_split(make_split(*SOUND, ("a3", "a", None, None)))
        found = check_split(split, {**lesions_of(make_split(*SOUND)), "a3": "a"})
        assert kinds_of(found) == {"split_contradiction": 1, "lesion_across_folds": 1}

    def test_hash_is_that_of_the_content_whatever_the_order_and_type(self):
        split = make_split(*SOUND)
        assert hash_split(split) == hash_split(split.iloc[::-1].astype({"fold": "int64"}))
        assert hash_split(split) != hash_split(split.replace("-1", "1"))


def make_metadata(**columns):
    return pd.DataFrame({"image_id": ["a1", "a2", "b1", "b2"], "lesion_id": list("aabb"), **columns}, dtype="str")


PLACES = {"a1": "fold 0", "a2": "fold 0", "b1": "test", "b2": "test"}


class TestPatients:
    def test_in_training_and_test_are_an_error_and_numbered(self):
        (finding,), check = check_patients(make_metadata(patient_id=["Doe"] * 4), "patient_id", PLACES)
        assert (finding.kind, finding.severity) == ("patient_across_subsets", "error")
        assert finding.detail == "patient 1: 1 lesion in the test subset, 1 lesion in fold 0"
        assert (finding.images, finding.lesions) == (("b1", "a1"), ("b", "a"))
        assert "Doe" not in f"{finding}{check}"

    def test_in_two_folds_are_a_warning(self):
        places = {**PLACES, "b1": "fold 3", "b2": "fold 3"}
        (finding,), _ = check_patients(make_metadata(patient_id=["Doe"] * 4), "patient_id", places)
        assert (finding.kind, finding.severity) == ("patient_across_folds", "warning")

    @pytest.mark.parametrize(
        "patients",
        [
            ["Doe", "Doe", "Poe", "Poe"],
            ["", "", "", ""],
            ["Doe", "Doe", "", ""],
            ["nan"] * 4,
            ["Doe", "N/A", "-", "NULL"],
        ],
    )
    def test_in_one_place_or_unknown_are_no_finding(self, patients):
        findings, check = check_patients(make_metadata(patient_id=patients), "patient_id", PLACES)
        assert findings == []
        assert check.is_done

    @pytest.mark.parametrize("column", [None, "patient_id"])
    def test_without_a_column_are_not_checked(self, column):
        findings, check = check_patients(make_metadata(), column, PLACES)
        assert (findings, check.is_done) == ([], False)

    def test_are_numbered_by_their_images_not_by_their_names(self):
        """In the order of names a number would tell whose it is."""
        places = {"a1": "test", "a2": "fold 0", "b1": "test", "b2": "fold 0"}
        findings, _ = check_patients(make_metadata(patient_id=["Zoe", "Zoe", "Ann", "Ann"]), "patient_id", places)
        assert [(finding.images[0], finding.detail[:9]) for finding in findings] == [
            ("a1", "patient 1"),
            ("b1", "patient 2"),
        ]

    @pytest.mark.parametrize("column", ["place", "lesion", "patient", "lesion_id"])
    def test_may_be_in_a_column_of_any_name(self, column):
        metadata = make_metadata(**({} if column == "lesion_id" else {column: ["Doe"] * 4}))
        findings, check = check_patients(metadata, column, PLACES)
        assert len(findings) == (column != "lesion_id")
        assert check.is_done


class TestAgreement:
    def test_lesions_whose_images_disagree_are_named_with_their_values(self):
        metadata = make_metadata(dx=["nv", "mel", "nv", "nv"], sex=["f", "m", "f", ""])
        (finding,), check = check_agreement(metadata, ["dx", "sex", "age"], None)
        assert (finding.images, finding.lesions) == (("a1", "a2"), ("a", "a"))
        assert finding.detail == "dx nv, mel; sex f, m"
        assert check.note == "columns dx, sex"

    def test_patients_of_one_lesion_are_counted_never_named(self):
        metadata = make_metadata(patient_id=["Doe", "Poe", "Roe", "Roe"])
        for columns in ([], ["patient_id"]):
            (finding,), _ = check_agreement(metadata, columns, "patient_id")
            assert finding.detail == "2 patients"

    def test_a_blank_contradicts_nothing(self):
        findings, check = check_agreement(make_metadata(dx=["nv", "", "", ""]), ["dx"], None)
        assert (findings, check.is_done) == ([], True)

    def test_without_columns_nothing_is_checked(self):
        assert not check_agreement(make_metadata(), ["dx"], "patient_id")[1].is_done


def make_hashes(*rows):
    return pd.DataFrame(rows, columns=["image_id", "sha256", "pixels_sha256"])


class TestCopies:
    LESIONS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c"}  # noqa: RUF012

    def found(self, *rows):
        return {(each.kind, each.severity, each.images) for each in find_copies(make_hashes(*rows), self.LESIONS)}

    def test_of_one_lesion_are_a_warning_of_two_an_error(self):
        assert self.found(("a1", "x", "p"), ("a2", "x", "p")) == {("identical_bytes", "warning", ("a1", "a2"))}
        assert self.found(("a1", "x", "p"), ("b1", "x", "p")) == {("identical_bytes", "error", ("a1", "b1"))}

    def test_of_pixels_in_different_files_are_found_too(self):
        assert self.found(("a1", "x", "p"), ("b1", "y", "p")) == {("identical_pixels", "error", ("a1", "b1"))}

    def test_identical_files_are_not_reported_as_identical_pixels_again(self):
        rows = (("a1", "x", "p"), ("a2", "x", "p"), ("b1", "y", "p"))
        assert self.found(*rows) == {
            ("identical_bytes", "warning", ("a1", "a2")),
            ("identical_pixels", "error", ("a1", "b1")),
        }

    def test_of_n_there_are_n_minus_1_pairs_and_every_lesion_is_linked(self):
        rows = [(image, "x", "p") for image in self.LESIONS]
        found = find_copies(make_hashes(*rows), self.LESIONS)
        assert len(found) == 4
        assert {finding.lesions for finding in found if finding.severity == "error"} == {("a", "b"), ("b", "c")}
        assert found[0].detail == "one lesion, of 5 copies"

    def test_there_are_none_among_different_photographs(self):
        assert self.found(*((image, image, image) for image in self.LESIONS)) == set()


@pytest.fixture
def folder(tmp_path):
    def written(**images):
        for name, content in images.items():
            stem, _, suffix = name.rpartition("_")
            (tmp_path / f"{stem}.{suffix}").write_bytes(content)
        return list_photographs(tmp_path)

    return written


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def noise(seed, size=(8, 6)):
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


class TestPixels:
    def test_are_equal_whatever_the_file_holds_them(self, folder):
        turned = noise(1).transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
        files = {
            "plain_png": encode(noise(1), "PNG"),
            "commented_png": encode(noise(1), "PNG", compress_level=0),
            "turned_png": encode(turned, "PNG", exif=exif),
            "other_png": encode(noise(2), "PNG"),
        }
        found = dict(hash_pixels(folder(**files)))
        assert found["plain"] == found["commented"] == found["turned"] != found["other"]

    def test_of_other_sides_differ_though_their_bytes_are_equal(self, folder):
        files = {
            "wide_png": encode(Image.new("RGB", (6, 4)), "PNG"),
            "high_png": encode(Image.new("RGB", (4, 6)), "PNG"),
        }
        high, wide = dict(hash_pixels(folder(**files))).values()
        assert wide != high

    def test_that_cannot_be_read_are_named(self, folder):
        with pytest.raises(InputError, match=r"photograph damaged\.png can no longer be used"):
            list(hash_pixels(folder(damaged_png=b"no image")))


def make_finding(kind, severity, images=("a1", "b1"), weight=0.0, similarity=None):
    return Finding(kind, severity, images, tuple(image[0] for image in images), "said", similarity, weight)


class TestTable:
    def test_lists_errors_first_then_kinds_then_the_strongest(self):
        findings = [
            make_finding("look_alike", "warning", weight=0.9, similarity=0.9),
            make_finding("look_alike", "warning", ("a2", "b1"), weight=0.95, similarity=0.95),
            make_finding("near_duplicate", "error", weight=9.0, similarity=0.9),
            make_finding("identical_bytes", "warning", ("a1", "a2")),
            make_finding("identical_bytes", "error"),
        ]
        table = tabulate_findings(findings, PLACES)
        AuditFindings.validate(table)
        assert table["finding"].tolist() == [
            *("identical_bytes", "near_duplicate", "identical_bytes", "look_alike", "look_alike")
        ]
        assert table["similarity"].dropna().tolist() == [0.9, 0.95, 0.9]

    def test_is_the_same_whatever_the_order_of_findings(self):
        findings = [make_finding(kind, "error", images) for kind in ("near_duplicate", "identical_bytes") for images in
                    (("a1", "b1"), ("a2", "b1"))]  # fmt: skip
        assert tabulate_findings(findings, PLACES).equals(tabulate_findings(findings[::-1], PLACES))

    def test_says_where_images_are_and_that_it_is_a_leak(self):
        (row,) = tabulate_findings([make_finding("near_duplicate", "error")], PLACES).to_dict(orient="records")
        assert (row["subset_a"], row["subset_b"]) == ("fold 0", "test")
        assert row["detail"] == "said; a leak between fold 0 and the test subset"

    def test_leaves_a_second_image_blank_and_says_that_one_is_not_dealt(self):
        (row,) = tabulate_findings([make_finding("split_contradiction", "error", ("x1",))], PLACES).to_dict("records")
        assert (row["image_a"], row["image_b"], row["subset_a"], row["subset_b"]) == ("x1", "", NOWHERE, "")

    def test_of_nothing_has_its_columns(self):
        AuditFindings.validate(tabulate_findings([], PLACES))

    def test_only_one_skin_in_two_places_is_a_leak(self):
        assert is_leak("identical_pixels", "error", "test", "fold 0")
        assert not is_leak("identical_pixels", "error", "fold 0", "fold 0")
        assert not is_leak("identical_pixels", "error", "test", NOWHERE)
        assert not is_leak("look_alike", "warning", "test", "fold 0")


def test_tables_of_different_images_are_refused():
    with pytest.raises(InputError, match="1 are in only one of them, the"):
        lesions_of_images(make_metadata(), pd.DataFrame({"image_id": ["a1", "a2", "b1"]}))


def test_images_left_out_are_counted_where_there_are_any():
    rejected = pd.DataFrame({"image_id": ["a"], "lesion_id": ["a"], "reason": ["r"]})
    assert check_left_out(rejected.iloc[:0]) == []
    (check,) = check_left_out(rejected)
    assert not check.is_done
    assert check.note.startswith("1 images")
