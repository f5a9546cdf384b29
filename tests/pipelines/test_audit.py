"""`audit`: planted cases of every kind are found, a sound study has no error, nobody's identifier is told."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from skinbit.audit.findings import COLUMNS, KINDS
from skinbit.errors import InputError

STUDY = {"sample_data": False, "experiments": "vit_baseline", "folds": "0+1"}
SMALL = {
    "split": {"n_folds": 2, "test_fraction": 0.4},
    "geometry": {"image_side": 96},
    "loader": {"workers": 0},
    "compute": {"threads": 1},
}
BOTH = ("data_split", "audit")
REPORTING = "data/demo/08_reporting"
SPLIT = "data/demo/02_intermediate/split.csv"
PATIENT = "Jane Doe 1970"


def audit(project, pipelines=BOTH, **options):
    project.run(pipelines=pipelines, study=STUDY, audit={"fail_on": "none", **options}, **SMALL)
    return read_findings(project), read_summary(project)


def read_findings(project):
    return pd.read_csv(project.root / REPORTING / "audit.csv", keep_default_na=False, na_values={"similarity": [""]})


def read_summary(project):
    return json.loads((project.root / REPORTING / "audit.json").read_text())


def pairs(findings, kind, severity="error"):
    chosen = findings[(findings["finding"] == kind) & (findings["severity"] == severity)]
    return {frozenset(pair) - {""} for pair in zip(chosen["image_a"], chosen["image_b"], strict=True)}


def read_metadata(folder):
    return pd.read_csv(folder / "data.csv", dtype=str, keep_default_na=False)


class Planted:
    """The photographs of the fixture, with wrong ones among them."""

    def __init__(self, folder):
        self.folder, self.table = folder, read_metadata(folder)
        sizes = self.table.groupby("lesion_id")["image_id"].size()
        roomy = iter(sorted(sizes.index[sizes == 2]))
        self.first = {lesion: rows["image_id"].iloc[0] for lesion, rows in self.table.groupby("lesion_id")}
        a, b, c, d, e, f, g, h = (next(roomy) for _ in range(8))
        self.same_bytes = self.add("same_bytes", b, self.bytes_of(a), self.first[a])
        self.same_bytes_within = self.add("same_bytes_within", c, self.bytes_of(c), self.first[c])
        self.same_pixels = self.add("same_pixels", e, as_png(self.bytes_of(d)), self.first[d], ".png")
        self.near_duplicate = self.add("near_duplicate", g, turned_and_cropped(self.bytes_of(f)), self.first[f])
        self.contradiction = self.contradict(h)
        self.table["patient_id"] = ""
        self.table.loc[self.table["lesion_id"].isin([a, b, c, d, e, f]), "patient_id"] = PATIENT
        self.table.to_csv(folder / "data.csv", index=False)

    def bytes_of(self, lesion):
        return (self.folder / "images" / f"{self.first[lesion]}.jpg").read_bytes()

    def add(self, image_id, lesion, content, original, suffix=".jpg"):
        (self.folder / "images" / f"{image_id}{suffix}").write_bytes(content)
        row = self.table[self.table["lesion_id"] == lesion].iloc[[0]].assign(image_id=image_id)
        self.table = pd.concat([self.table, row], ignore_index=True)
        return frozenset({image_id, original})

    def contradict(self, lesion):
        images = self.table.loc[self.table["lesion_id"] == lesion, "image_id"]
        self.table.loc[images.index[0], "dx"] = "another"
        return frozenset(images)


def as_png(jpeg):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(buffer, format="PNG")
    return buffer.getvalue()


def turned_and_cropped(jpeg):
    image = Image.open(io.BytesIO(jpeg)).rotate(90, expand=True)
    box = (image.width // 16, image.height // 16, image.width - image.width // 16, image.height - image.height // 16)
    buffer = io.BytesIO()
    image.crop(box).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def planted(make_project, photographs, tmp_path_factory):
    """An audited study with planted cases: the project, what was planted, findings and summary."""
    folder = Path(shutil.copytree(photographs, tmp_path_factory.mktemp("planted") / "photographs"))
    project, cases = make_project(folder), Planted(folder)
    return project, cases, *audit(project)


@pytest.fixture(scope="module")
def sound(make_project, photographs):
    """An audited study of photographs without planted cases."""
    project = make_project(photographs)
    return project, *audit(project)


class TestPlantedCases:
    @pytest.mark.parametrize("kind", ["same_bytes", "same_pixels", "near_duplicate"])
    def test_of_two_lesions_are_errors(self, planted, kind):
        _, cases, findings, _ = planted
        found_as = {"same_bytes": "identical_bytes", "same_pixels": "identical_pixels"}.get(kind, kind)
        assert getattr(cases, kind) in pairs(findings, found_as)

    def test_identical_files_of_one_lesion_are_a_warning(self, planted):
        _, cases, findings, _ = planted
        assert pairs(findings, "identical_bytes", "warning") == {cases.same_bytes_within}

    def test_copies_are_reported_once(self, planted):
        _, cases, findings, _ = planted
        near = pairs(findings, "near_duplicate")
        assert near & {cases.same_bytes, cases.same_pixels} == set()
        assert pairs(findings, "identical_pixels") == {cases.same_pixels}

    def test_a_lesion_whose_images_say_different_things_is_a_warning(self, planted):
        _, cases, findings, _ = planted
        assert cases.contradiction in pairs(findings, "metadata_contradiction", "warning")

    def test_a_patient_in_test_and_training_is_an_error(self, planted):
        _, _, findings, _ = planted
        (detail,) = findings.loc[findings["finding"] == "patient_across_subsets", "detail"]
        assert detail.startswith("patient 1: ")
        assert "in the test subset" in detail

    def test_a_pair_in_two_places_is_called_a_leak(self, planted):
        _, _, findings, _ = planted
        joined = findings[findings["finding"].isin([name for name, kind in KINDS.items() if kind.joins_lesions])]
        errors = joined[joined["severity"] == "error"]
        apart = errors["subset_a"] != errors["subset_b"]
        assert apart.any()
        assert errors["detail"].str.contains("a leak between").equals(apart)

    def test_lesions_that_errors_join_are_listed_together(self, planted):
        _, cases, _, summary = planted
        lesion_of = dict(zip(cases.table["image_id"], cases.table["lesion_id"], strict=True))
        pair = {lesion_of[image] for image in cases.near_duplicate}
        assert any(pair <= set(group) for group in summary["lesions_to_join"])

    def test_the_summary_counts_what_the_table_lists(self, planted):
        _, _, findings, summary = planted
        listed = {kind["finding"]: kind["listed"] for kind in summary["kinds"] if kind["listed"]}
        assert listed == findings["finding"].value_counts().to_dict()
        assert summary["counts"]["error"] == (findings["severity"] == "error").sum()

    def test_nothing_tells_who_the_patient_is_or_where_files_are(self, planted):
        project, cases, _, _ = planted
        for name in ("audit.csv", "audit.json", "audit.html"):
            content = (project.root / REPORTING / name).read_text()
            assert PATIENT not in content
            assert str(cases.folder) not in content
            assert str(project.root) not in content

    def test_keeping_patients_together_mends_the_patient_leak(self, planted, make_project):
        project = make_project(planted[1].folder)
        together = {**SMALL, "split": {**SMALL["split"], "keep_together": "patient_id"}}
        project.run(pipelines=BOTH, study=STUDY, audit={"fail_on": "none"}, **together)
        assert not read_findings(project)["finding"].str.startswith("patient_across").any()


class TestASoundStudy:
    def test_has_no_error(self, sound):
        _, findings, summary = sound
        assert findings.columns.tolist() == COLUMNS
        assert summary["counts"]["error"] == 0
        assert set(findings["finding"]) <= {name for name, kind in KINDS.items() if kind.is_label_error}

    def test_says_what_could_not_be_checked(self, sound):
        _, _, summary = sound
        notes = {check["title"]: check["note"] for check in summary["checks"] if not check["is_done"]}
        assert "no column patient_id" in notes["patients across subsets and folds"]

    def test_ends_well_by_default(self, sound):
        assert audit(sound[0], pipelines=("audit",), fail_on="error")[1]["counts"]["error"] == 0

    def test_without_any_finding_has_a_page_too(self, audited):
        nothing = {"similarity": 1.0, "unlike_quantile": 1e-9, "nearest": 100}
        findings, summary = audit(audited, pipelines=("audit",), fail_on="warning", **nothing)
        assert findings.empty
        assert summary["counts"] == {"error": 0, "warning": 0}
        assert "Nothing was found." in (audited.root / REPORTING / "audit.html").read_text()

    def test_twice_gives_the_same_bytes(self, sound, photographs, make_project):
        again = make_project(photographs)
        audit(again)
        audited = {name for name in again.outputs() if "audit" in name or "pixel_hashes" in name}
        assert len(audited) == 4
        assert all(again.outputs()[name] == sound[0].outputs()[name] for name in audited)


@pytest.fixture
def audited(sound, project, user_data):
    """A copy of the audited study that a test may spoil."""
    shutil.copytree(sound[0].root / "data", project.root / "data")
    return project


@pytest.fixture
def split_study(audited):
    """A study that is split, and its split."""
    project = audited
    split = pd.read_csv(project.root / SPLIT, dtype=str, keep_default_na=False)
    return project, split


class TestTheSplitOnDisk:
    def test_is_audited_as_somebody_edited_it(self, split_study):
        project, split = split_study
        training = split[split["subset"] == "train"]
        moved = training.index[0]
        lesion = split.loc[moved, "lesion_id"]
        split.loc[moved, ["subset", "fold"]] = ["test", "-1"]
        split.to_csv(project.root / SPLIT, index=False)
        with pytest.raises(InputError) as raised:
            audit(project, pipelines=("audit",), fail_on="error")
        assert "1 error: Lesions in several folds or subsets" in raised.value.message
        found = read_findings(project).set_index("finding").loc["lesion_across_folds"]
        assert found["lesion_a"] == lesion
        assert "1 image in the test subset" in found["detail"]

    @pytest.mark.parametrize(("content", "said"), [("image_id,fold\n", "no column lesion_id, subset"), ("", "no row")])
    def test_without_what_a_split_needs_is_refused(self, split_study, content, said):
        project, split = split_study
        (project.root / SPLIT).write_text(content or ",".join(split.columns) + "\n")
        with pytest.raises(InputError, match=f"split.csv has {said}"):
            audit(project, pipelines=("audit",))

    def test_that_is_missing_is_named_with_the_pipeline_that_makes_it(self, split_study):
        project, _ = split_study
        (project.root / SPLIT).unlink()
        with pytest.raises(InputError, match="data_split"):
            audit(project, pipelines=("audit",))


@pytest.mark.long
class TestTheEndOfTheRun:
    def test_is_exit_code_1_and_one_message_after_everything_is_written(self, planted, monkeypatch):
        project, cases, _, _ = planted
        monkeypatch.setenv("SKINBIT_RAW_DIR", str(cases.folder))
        for file in (project.root / REPORTING).glob("audit*"):
            file.unlink()
        params = "study.experiments=vit_baseline,loader.workers=0,compute.threads=1,tracking.enabled=false"
        command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", "audit", "--params", params]
        ended = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "Error: The audit found" in ended.stderr
        assert "1 error: Identical files" in ended.stderr
        assert f"{REPORTING}/audit.html" in ended.stderr
        assert "Traceback" not in ended.stderr + ended.stdout
        assert {file.name for file in (project.root / REPORTING).glob("audit*")} == {
            "audit.csv",
            "audit.json",
            "audit.html",
        }

    def test_may_be_refused_by_warnings_alone(self, sound):
        with pytest.raises(InputError, match="warnings: Two lesions that look alike"):
            audit(sound[0], pipelines=("audit",), fail_on="warning")


@pytest.mark.long
def test_the_report_shows_an_audit_from_the_next_run_on(audited, caplog):
    project, report = audited, audited.root / REPORTING / "report.html"
    for file in report.parent.glob("audit*"):
        file.unlink()
    project.run(study=STUDY, **SMALL)
    assert "There was no audit yet" in report.read_text()
    audit(project, pipelines=("audit",))
    project.run(study=STUDY, only_missing=True, **SMALL)
    assert "1 nodes run: report.write_report; changed: audit_summary" in caplog.text
    assert 'href="audit.html"' in report.read_text()
    assert "of another split" not in report.read_text()
