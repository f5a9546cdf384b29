"""Every notebook runs from top to bottom on a small study, and is stored without outputs."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbstripout import strip_output

from skinbit.errors import InputError
from skinbit.notebook.finished_study import open_study

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SHOWN = {"01_data_and_splits": (4, 4), "02_embeddings": (3, 1), "03_error_analysis": (5, 3)}
"""At least so many figures and tables."""

SMALL_STUDY = {
    "study": {"sample_data": True, "experiments": ["resnet_baseline", "vit_triplet"], "folds": [0, 1]},
    "sample": {"n_lesions": 24, "n_unlabelled": 0, "width": 64, "height": 48},
    "split": {"n_folds": 2, "test_fraction": 0.4},
    "training": {"frozen": {"epochs": 3, "views": 2}},
    "loader": {"workers": 0},
    "tracking": {"enabled": False},
}


def copy_project(root):
    """Copy configuration and notebooks, the demo's study made small."""
    root.mkdir(exist_ok=True)
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(REPOSITORY / name, root)
    (root / "src").mkdir()  # the package itself is installed
    (root / "notebooks").mkdir()
    settings = yaml.safe_load((root / "conf/demo/parameters.yml").read_text())
    merged = {block: settings.get(block, {}) | SMALL_STUDY.get(block, {}) for block in settings | SMALL_STUDY}
    (root / "conf/demo/parameters.yml").write_text(yaml.safe_dump(merged))
    return root


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """The outputs of a small study, made as a user makes them; never changed."""
    root = copy_project(tmp_path_factory.mktemp("project"))
    command = [sys.executable, "-m", "kedro", "run", "--env", "demo"]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=300)
    return root


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


class TestRun:
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_no_cell_fails_and_figures_and_tables_are_shown(self, path, studied, monkeypatch):
        for variable in ("KEDRO_ENV", "KEDRO_LOGGING_CONFIG", "SKINBIT_RAW_DIR", "SKINBIT_METADATA_FILE"):
            monkeypatch.delenv(variable, raising=False)
        notebook = nbformat.read(path, as_version=4)
        folder = {"metadata": {"path": str(studied / "notebooks")}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
        shown = outputs(notebook)
        kinds = [kind for output in shown if "data" in output for kind in output["data"]]
        n_figures, n_tables = SHOWN[path.stem]
        assert kinds.count("image/png") >= n_figures
        assert kinds.count("text/html") >= n_tables
        assert not [output for output in shown if output["output_type"] == "stream"], "a warning or a print"

    def test_every_notebook_is_expected(self):
        assert {path.stem for path in NOTEBOOKS} == SHOWN.keys()


class TestStored:
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_without_outputs_as_pre_commit_would_leave_it(self, path):
        notebook = nbformat.read(path, as_version=4)
        assert outputs(notebook) == []
        assert strip_output(copy.deepcopy(notebook), keep_output=False, keep_count=False, keep_id=False) == notebook

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_with_a_text_before_every_figure_and_no_path_of_a_machine(self, path):
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[0].cell_type == "markdown"
        assert not [cell.source for cell in notebook.cells if str(Path.home()) in cell.source or "/tmp" in cell.source]
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        assert max(len(source.splitlines()) for source in code) <= 16


class TestOpenStudy:
    @pytest.fixture(autouse=True)
    def own_environment(self, monkeypatch):
        monkeypatch.delenv("KEDRO_ENV", raising=False)
        monkeypatch.setenv("KEDRO_LOGGING_CONFIG", str(REPOSITORY / "conf/logging.yml"))

    def test_finds_the_project_above_and_its_best_experiment(self, studied, monkeypatch):
        monkeypatch.chdir(studied / "notebooks")
        study = open_study()
        assert study.best_experiment in ("resnet_baseline", "vit_triplet")
        assert study.parameters.study.folds == (0, 1)

    def test_says_what_to_run_where_there_are_no_outputs(self, tmp_path, monkeypatch):
        monkeypatch.chdir(copy_project(tmp_path / "project_without_outputs") / "notebooks")
        with pytest.raises(InputError, match="kedro run --env demo"):
            open_study()

    def test_outside_of_a_project_is_an_error(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="no Kedro project"):
            open_study()
