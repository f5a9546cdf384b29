"""An installed package runs without the repository: `python -m skinbit` is its `kedro run`."""

import os
import subprocess
import sys
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
