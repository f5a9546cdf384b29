"""Nothing about medical data leaves this machine, not even that somebody works with it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from skinbit import settings
from skinbit.config import TrackingParams
from skinbit.runtime.tracking.process import QUIET

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]
SAYS_SO = ("MLFLOW", "HF_", "WANDB", "DO_NOT_TRACK", "SKINBIT", "KEDRO")
TINY = (
    "study.experiments=vit_triplet,study.folds=0+1,split.n_folds=2,sample.n_lesions=16,sample.width=64,sample.height=48,"
    "training.frozen.epochs=2,training.frozen.views=2,loader.workers=0"
)


def run_watched(folder: Path, *command: str, returncode: int = 0) -> dict[str, str]:
    """Run Python without a way out of this machine; give what each of its processes tried to reach."""
    watched = folder / "watched"
    watched.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent), str(REPOSITORY / "src")])
    # A user's machine has none of the switches that this one may have.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SAYS_SO)}
    home = folder / "home"
    home.mkdir()
    environment = kept | {"PYTHONPATH": path, "WATCHED": str(watched), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == returncode, ended.stderr[-2000:]
    return {file.name: file.read_text() for file in sorted(watched.iterdir())}


def test_a_whole_study_with_tracking_asks_nobody_anything(tmp_path):
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "src").mkdir()
    tried = run_watched(tmp_path, "-m", "kedro", "run", "--env", "demo", "--params", TINY)
    assert (tmp_path / "data/demo/08_reporting/report.html").exists()
    assert (tmp_path / "mlflow.db").exists()
    assert len(tried) >= 2, "the tracking process is watched too"
    assert {name: attempts for name, attempts in tried.items() if attempts} == {}


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket().connect_ex(('192.0.2.1', 80))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 80))",
        "__import__('urllib.request').request.urlopen('http://example.org')",
    ],
)
def test_an_attempt_would_be_noticed(tmp_path, attempt):
    code = f"import contextlib, socket\nwith contextlib.suppress(OSError): {attempt}"
    assert all(run_watched(tmp_path, "-c", code).values())


@pytest.mark.parametrize("command", [("info",), ("run",), ("--version",)], ids=" ".join)
def test_a_command_of_kedro_in_a_folder_without_a_project_asks_nobody_and_notes_nobody(tmp_path, command):
    tried = run_watched(tmp_path, "-m", "kedro", *command, returncode=2 if command == ("run",) else 0)
    assert {name: attempts for name, attempts in tried.items() if attempts} == {}
    assert list((tmp_path / "home").rglob("*")) == []


def test_kedros_own_telemetry_is_not_installed_and_refused_where_pip_installs_it(tmp_path):
    assert importlib.util.find_spec("kedro_telemetry") is None
    assert yaml.safe_load((REPOSITORY / ".telemetry").read_text()) == {"consent": False}
    assert "kedro_telemetry" in settings.DISABLE_HOOKS_FOR_PLUGINS
    code = """
import os
from kedro.framework.cli.cli import _init_plugins
_init_plugins()  # what every command of Kedro begins with, in whatever folder
assert os.environ["DO_NOT_TRACK"] == "1"
"""
    run_watched(tmp_path, "-c", code)


def test_libraries_are_told_to_tell_nobody():
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert QUIET["MLFLOW_DISABLE_TELEMETRY"] == QUIET["DO_NOT_TRACK"] == "true"
    assert QUIET["WANDB_ERROR_REPORTING"] == "false"


def test_the_switches_are_those_that_the_libraries_read(tmp_path):
    code = f"""
import os
import skinbit.settings
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY
os.environ |= {QUIET!r}
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
"""
    run_watched(tmp_path, "-c", code)


def test_runs_are_tracked_on_this_machine_unless_an_address_is_given():
    assert (TrackingParams().backend, TrackingParams().uri) == ("mlflow", None)
    assert [
        path.name
        for path in sorted((REPOSITORY / "conf").rglob("*.yml"))
        if (yaml.safe_load(path.read_text()) or {}).get("tracking", {}).get("uri") is not None
    ] == []


def test_weights_and_biases_is_not_installed_unless_asked_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if name.startswith("wandb")]
