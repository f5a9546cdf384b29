"""A Kedro project in a temporary folder, run as a user runs it."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from skinbit.runtime.session import StudySession
from tests.pipelines.raw_data import write_photographs

REPOSITORY = Path(__file__).parents[2]
N_LESIONS = 36


class Project:
    """A copy of the configuration in a folder of its own, and the user's photographs where they are always the same."""

    def __init__(self, root: Path, photographs: Path | None = None) -> None:
        self.root, self.photographs = root, photographs
        shutil.copytree(REPOSITORY / "conf", root / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(REPOSITORY / name, root)
        (root / "src").mkdir()  # the package itself is installed
        (root / "conf/base/parameters_tracking.yml").write_text("tracking: {enabled: false}\n")  # tests/tracking

    def run(
        self, env: str = "demo", pipelines: tuple[str, ...] = (), only_missing: bool = False, runner=None, **params
    ):
        """Do what ``kedro run --env ENV --pipelines … --params …`` does."""
        bootstrap_project(self.root)
        logging.getLogger("skinbit").setLevel(logging.INFO)
        with pytest.MonkeyPatch.context() as patch:
            if self.photographs is not None:
                patch.setenv("SKINBIT_RAW_DIR", str(self.photographs))
            session: KedroSession = StudySession.create(project_path=self.root, env=env, runtime_params=params)
            with session:
                return session.run(
                    pipeline_names=list(pipelines) or None, only_missing_outputs=only_missing, runner=runner
                )

    def outputs(self, root: str = "data/demo") -> dict[str, bytes]:
        """Return every file below a root, by path; not photographs, records and compared pairs."""
        aside = {"01_raw", ".fingerprints", "pairs.pieces"}
        files = [path for path in (self.root / root).rglob("*") if path.is_file() and not aside & {*path.parts}]
        return {path.relative_to(self.root / root).as_posix(): path.read_bytes() for path in sorted(files)}


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A user's folder: data.csv and images/, synthetic, as `sample_data` would write it; never changed."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder, N_LESIONS, seed=7, width=96, height=72)
    return folder


@pytest.fixture(scope="session")
def archive(photographs, tmp_path_factory) -> Path:
    """The photographs, but of a third of the lesions one only; never changed."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "images").symlink_to(photographs / "images")
    metadata = pd.read_csv(photographs / "data.csv", dtype=str)
    lesions = sorted(metadata["lesion_id"].unique())
    is_later = metadata["lesion_id"].isin(lesions[::3]) & metadata["lesion_id"].duplicated()
    metadata[~is_later].to_csv(folder / "data.csv", index=False)
    return folder


@pytest.fixture
def user_data(photographs, tmp_path, monkeypatch) -> Path:
    """A copy of the user's folder that a test may spoil; the study reads it."""
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    monkeypatch.setenv("SKINBIT_RAW_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def make_project(tmp_path_factory) -> Callable[..., Project]:
    """Make a fresh project, of some photographs or of those that the environment names."""
    return lambda photographs=None: Project(tmp_path_factory.mktemp("project"), photographs)


@pytest.fixture
def project(make_project) -> Project:
    """A fresh project."""
    return make_project()
