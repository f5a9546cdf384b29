"""An installed package runs without the repository, as `python -m skinbit`; a release is what its commit makes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "skinbit", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_its_configuration_is_named_and_outputs_lie_in_the_working_folder(tmp_path):
    folder = tmp_path / "my study"
    folder.mkdir()
    options = ["--env", "demo", "--pipelines", "sample_data,data_split", "--params"]
    params = (
        "sample.n_lesions=12,sample.n_unlabelled=0,sample.width=64,sample.height=48,"
        "split.n_folds=2,study.folds=0+1,tracking.enabled=false"
    )
    ended = run(folder, "--conf-source", str(REPOSITORY / "conf"), *options, params)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (folder / "data/demo/02_intermediate/split.csv").exists()


def test_without_configuration_it_ends_with_the_remedy(tmp_path):
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "Remedy: add --conf-source" in ended.stderr


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Two copies of the repository, of other times and rights, each with its release."""
    copies = [tmp_path_factory.mktemp(name) / "skinbit" for name in ("one", "another")]
    for copy, mode in zip(copies, (0o644, 0o664), strict=True):
        shutil.copytree(REPOSITORY / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "Makefile", ".gitignore"):
            shutil.copyfile(REPOSITORY / name, copy / name)
        for number, path in enumerate(copy.rglob("*.*")):
            os.utime(path, (number, 1e9 + mode * number))
            path.chmod(0o755 if path.is_dir() else mode)
        subprocess.run(["make", "release"], cwd=copy, check=True, capture_output=True, text=True)
    return [copy / "dist" for copy in copies]


class TestRelease:
    def test_two_copies_of_a_commit_make_the_same_bytes(self, releases):
        first, second = ({path.name: path.read_bytes() for path in dist.iterdir()} for dist in releases)
        assert first == second
        assert {"skinbit.cdx.json", "SHA256SUMS"} < first.keys()

    def test_hashes_are_those_of_the_files(self, releases):
        listed = [line.split() for line in (releases[0] / "SHA256SUMS").read_text().splitlines()]
        assert [Path(name).suffix for _, name in listed] == [".whl", ".json"]
        assert all(hashlib.sha256((releases[0] / name).read_bytes()).hexdigest() == digest for digest, name in listed)

    def test_the_wheel_holds_the_package_and_nothing_else(self, releases):
        (wheel,) = releases[0].glob("*.whl")
        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        sources = (path for path in (REPOSITORY / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
        assert names == {path.relative_to(REPOSITORY / "src").as_posix() for path in sources}

    def test_the_list_of_components_is_the_lock_file_without_what_only_developers_need(self, releases):
        components = json.loads((releases[0] / "skinbit.cdx.json").read_text())["components"]
        found = {(component["name"], component["version"]) for component in components}
        locked = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
        (project,) = (package for package in locked if package["name"] == "skinbit")
        extras = (needed for several in project["optional-dependencies"].values() for needed in several)
        assert {one["name"] for one in (*project["dependencies"], *extras)} < {name for name, _ in found}
        assert found < {(package["name"], package["version"]) for package in locked}
        assert {"pytest", "mypy", "mkdocs"}.isdisjoint(name for name, _ in found)
