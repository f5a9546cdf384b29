"""A study of TIFF, BMP, WebP and DICOM files is that of the same photographs in PNG, and tells nothing of patients."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.dicom_files import SECRETS, dicom

pytestmark = pytest.mark.long

STUDY = (
    "study.folds=0,study.experiments=vit_baseline+vit_verified,study.sample_data=false,"
    "loader.workers=0,evaluation.resamples=100,cluster.experiment=vit_verified"
)
FORMATS = {".tif": {}, ".bmp": {}, ".webp": {"lossless": True}, ".dcm": None, ".png": {}}
ALIKE = ("02_intermediate/split.csv", "07_model_output/vit_baseline", "08_reporting/vit_baseline", "08_reporting/audit")
"""Outputs that rest on pixels alone; augmentation is drawn by the hashes of files."""


def converted(photographs, folder, formats):
    """Return a copy of a folder whose photographs are in other formats, without loss."""
    (folder / "images").mkdir(parents=True)
    (folder / "data.csv").write_bytes((photographs / "data.csv").read_bytes())
    for number, path in enumerate(sorted((photographs / "images").iterdir())):
        suffix = formats[number % len(formats)]
        target = folder / "images" / f"{path.stem}{suffix}"
        with Image.open(path) as image:
            if suffix == ".dcm":
                target.write_bytes(dicom(np.asarray(image)))
            else:
                image.save(target, **FORMATS[suffix])
    return folder


def run(project, folder, pipelines, params=""):
    command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", pipelines]
    done = subprocess.run(
        [*command, "--params", STUDY + params],
        cwd=project.root,
        env={**os.environ, "SKINBIT_RAW_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_a_study_of_mixed_formats_is_that_of_png_files_and_tells_nothing_of_patients(
    make_project, photographs, tmp_path
):
    alike, mixed = make_project(), make_project()
    run(alike, converted(photographs, tmp_path / "alike", [".png"]), "__default__,audit")
    folder = converted(photographs, tmp_path / "mixed", [*FORMATS])
    said = run(mixed, folder, "__default__,audit,cluster_images", f",cluster.images={folder}/images")
    found = mixed.outputs()
    expected = {name: content for name, content in alike.outputs().items() if name.startswith(ALIKE)}
    assert len(expected) > 20
    assert [name for name, content in expected.items() if found[name] != content] == []
    assert len(found["07_model_output/clusters/clustered_images.csv"].splitlines()) == 1 + len(
        [*(folder / "images").iterdir()]
    )
    files = {path: path.read_bytes() for path in mixed.root.rglob("*") if path.is_file()}
    for secret in SECRETS:
        assert secret not in said
        assert not [path for path, content in files.items() if secret.encode() in content]
    pages = [content.decode() for path, content in files.items() if path.suffix == ".html"]
    assert {kind for page in pages for kind in re.findall(r"data:image/([a-z+]+)", page)} <= {"jpeg", "png", "svg+xml"}
