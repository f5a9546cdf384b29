"""Runs in MLflow: in the project's database or on a server.

Only ``MlflowClient`` is used, since MLflow's fluent interface has one active run per thread, and a study has many.
"""

from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.database import check_database, database_address
from skinbit.runtime.tracking.runs import Content, parent_of

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
"""In the project's folder; ignored by git."""

_REMOTE = ("http://", "https://", "databricks", "uc:")
"""Schemes of servers that choose the place of files themselves; a local database puts them into the project."""

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Lets MLflow's pages begin with runs and their curves."""

_LONGEST_WAIT = 120.0
"""Seconds to wait for another study that creates the database."""


class MlflowTracker:
    """Writes runs to MLflow, nested as MLflow's table shows them."""

    def __init__(self, tracking: TrackingParams, project: Path) -> None:
        """Open the database or connect to the server; the first use of a database creates its tables.

        Args:
            tracking: The address and the name of the experiment.
            project: Folder of the project, with its database and files.

        Raises:
            MlflowException: If the server does not answer, or refuses.
            ValueError: If the database cannot be opened or belongs to another folder, or the experiment was deleted.
        """
        files = (project / ARTIFACTS).as_uri()
        address = database_address(tracking.uri or DATABASE, project)
        if address is not None:
            check_database(address)
        if tracking.uri is None:
            (project / ARTIFACTS).mkdir(exist_ok=True)
            # MLflow creates a new database in many steps; two studies doing so at the same time would break it.
            with FileLock(project / ARTIFACTS / ".lock", timeout=_LONGEST_WAIT):
                self._client = MlflowClient(address)
                found = self._find_or_create(tracking.experiment, files)
            if found.artifact_location != files:
                raise ValueError(f"{DATABASE} was made in another folder, where MLflow would put files: move it away")
        else:
            self._client = MlflowClient(address or tracking.uri)
            found = self._find_or_create(tracking.experiment, None if tracking.uri.startswith(_REMOTE) else files)
        self._experiment = str(found.experiment_id)
        self._ids: dict[str, str] = {}

    def find(self, outputs: str) -> str | None:
        """Return the id of the latest study with this tag ``outputs``, or None."""
        query = f"tags.outputs = '{outputs}' and tags.level = 'study'"
        found = self._client.search_runs([self._experiment], query, order_by=["start_time DESC"], max_results=1)
        return str(found[0].info.run_id) if found else None

    def start(self, run: str, title: str, tags: dict[str, str], time: int) -> None:
        """Start a run below its parent."""
        own = {MLFLOW_SOURCE_NAME: "skinbit"}
        parent = parent_of(run)
        if parent is not None:
            own[MLFLOW_PARENT_RUN_ID] = self._ids[parent]
        if "git_commit" in tags:
            own[MLFLOW_GIT_COMMIT] = tags["git_commit"]
        begun = self._client.create_run(self._experiment, start_time=time, tags=tags | own, run_name=title)
        self._ids[run] = begun.info.run_id

    def log(self, run: str, content: Content, time: int) -> None:
        """Add to a run, in as few requests as possible."""
        run_id = self._ids[run]
        self._client.log_batch(
            run_id,
            metrics=[Metric(metric.name, metric.value, time, metric.step) for metric in content.metrics],
            params=[Param(name, value) for name, value in content.parameters.items()],
            tags=[RunTag(name, value) for name, value in content.tags.items()],
        )
        for artifact in content.artifacts:
            self._client.log_artifact(run_id, artifact.path, artifact.folder or None)

    def finish(self, run: str, failed: bool, time: int) -> None:
        """End a run as FINISHED or FAILED."""
        self._client.set_terminated(self._ids[run], "FAILED" if failed else "FINISHED", time)

    def _find_or_create(self, name: str, files: str | None) -> Experiment:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                made = self._client.create_experiment(name, artifact_location=files, tags=_KIND)
                return self._client.get_experiment(made)
            except MlflowException:  # another study may have been faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != LifecycleStage.ACTIVE:
            raise ValueError(f"the experiment {name!r} was deleted in MLflow: restore it, or set tracking.experiment")
        return found
