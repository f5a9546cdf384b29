"""Runs as MLflow stores them, read without MLflow."""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import STUDY, PlannedRun
from skinbit.runtime.tracking.wire import Plan, TrackingProcess


@dataclass
class Stored:
    """A run in a database."""

    run_id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))


def read_runs(database: Path) -> dict[str, Stored]:
    """Read all runs by name."""
    with closing(sqlite3.connect(database)) as tables:
        runs = {
            name: Stored(key, status) for key, name, status in tables.execute("select run_uuid, name, status from runs")
        }
        by_id = {run.run_id: run for run in runs.values()}
        for key, name, value in tables.execute("select run_uuid, key, value from tags"):
            by_id[key].tags[name] = value
        for key, name, value in tables.execute("select run_uuid, key, value from params"):
            by_id[key].parameters[name] = value
        for key, name, step, value in tables.execute("select run_uuid, key, step, value from metrics order by step"):
            by_id[key].curves[name].append((step, value))
    return runs


@pytest.fixture
def stored(tmp_path) -> Callable[[], dict[str, Stored]]:
    """Read the runs of the project's own database."""
    return lambda: read_runs(tmp_path / "mlflow.db")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A database that MLflow has made, which takes it seconds, with no run but one of a study."""
    folder = tmp_path_factory.mktemp("database")
    process = TrackingProcess(folder)
    process.send(Plan(tracking=TrackingParams(), runs={STUDY: PlannedRun(title="earlier")}, outputs="", resumes=False))
    assert process.end(failed=False) is None
    return folder / "mlflow.db"


@pytest.fixture
def database(tmp_path, empty_database) -> Path:
    """The project's own database, not used for the first time."""
    database = Path(shutil.copy(empty_database, tmp_path))
    with closing(sqlite3.connect(database)) as tables, tables:
        tables.execute("update experiments set artifact_location = ?", [(tmp_path / "mlartifacts").as_uri()])
    return database
