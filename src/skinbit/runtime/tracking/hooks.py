"""The hook of ``kedro run`` that tracks studies. A failure of tracking never ends a study."""

import hashlib
import logging
import platform
import time
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.tracking.runs import HASHED, is_tracked, plan_runs
from skinbit.runtime.tracking.wire import Event, Message, Plan, TrackingProcess, describe_place

logger = logging.getLogger(__name__)

_UNTRACKED = {"cluster_images", "sample_data"}
"""Boxes of the graph without metrics: a run of only these is not tracked."""


class TrackingHooks:
    """Starts a tracking process for each study and sends it events; the log reports a failure once."""

    def __init__(self) -> None:
        self._project, self._environment = Path.cwd(), "base"
        self._process: TrackingProcess | None = None
        self._files: dict[str, str] = {}
        self._begun: dict[str, float] = {}
        self._turn = Lock()

    @hook_impl  # type: ignore[untyped-decorator]
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder and the environment."""
        self._project, self._environment = Path(context.project_path), context.env or "base"

    @hook_impl(trylast=True)  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """Start tracking, after all other hooks, so that the catalog knows which outputs are up to date."""
        self._end(failed=True)  # an interrupted run in this process, e.g. in a notebook
        kept = _kept(pipeline, catalog) if run_params["only_missing_outputs"] else None
        if not active_parameters().tracking.enabled or not _is_study(pipeline) or kept == pipeline.all_outputs():
            return
        if active_parameters().tracking.backend == "wandb" and find_spec("wandb") is None:
            _warn("Weights & Biases is not installed; `uv sync --extra wandb` installs it")
            return
        try:
            plan = self._plan(run_params["run_id"], pipeline, catalog, kept)
            self._process = TrackingProcess(self._project)
        except Exception as error:  # a bug here, or no process can be started
            _warn(f"{type(error).__name__}: {error}")
            return
        self._files = plan.files
        self._send(plan)
        given = {name for name in HASHED.keys() - pipeline.all_outputs() if catalog.exists(name)}
        self._note(given | (kept or set()))
        if self._process is not None:
            logger.info("tracked in %s", describe_place(plan.tracking))

    @hook_impl  # type: ignore[untyped-decorator]
    def before_node_run(self, node: Node) -> None:
        """Send that a node has started."""
        self._begun[node.name] = time.perf_counter()
        self._send(Event(node=node.name))

    @hook_impl  # type: ignore[untyped-decorator]
    def after_node_run(self, node: Node) -> None:
        """Send the duration of the node."""
        self._send(Event(node=node.name, seconds=time.perf_counter() - self._begun.pop(node.name)))

    @hook_impl  # type: ignore[untyped-decorator]
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Send that a dataset has been saved."""
        self._note({dataset_name})

    @hook_impl  # type: ignore[untyped-decorator]
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Send that all datasets are saved, as workers that were not forked have no hooks."""
        self._note(pipeline.all_outputs())
        self._end(failed=False)

    @hook_impl  # type: ignore[untyped-decorator]
    def on_pipeline_error(self) -> None:
        """Send that the study failed."""
        self._end(failed=True)

    def _plan(self, run_id: str, pipeline: Pipeline, catalog: StudyCatalog, kept: set[str] | None) -> Plan:
        parameters = active_parameters()
        names = sorted(pipeline.all_outputs() | HASHED.keys())
        tracked = [name for name in names if is_tracked(name, parameters.tracking.artifacts)]
        described = {name: catalog[name]._describe() for name in tracked}
        files = {name: _address(**found) for name, found in described.items()}
        title = f"{self._environment} {run_id[:19].replace('T', ' ')}"
        folder = f"{platform.node()}:{self._project}:{self._environment}"
        return Plan(
            tracking=parameters.tracking,
            runs=plan_runs(files.keys() & pipeline.all_outputs(), kept or (), parameters, title),
            tags={"environment": self._environment},
            files=files,
            outputs=hashlib.sha256(folder.encode()).hexdigest()[:16],
            resumes=kept is not None,
        )

    def _note(self, datasets: set[str]) -> None:
        """Send which of these datasets are saved, if they are tracked."""
        for name in sorted(self._files.keys() & datasets):
            self._send(Event(dataset=name))

    def _send(self, message: Message) -> None:
        process = self._process
        if process is not None:
            try:
                process.send(message)
            except (OSError, ValueError) as error:  # the process has ended, or another thread has ended it
                self._end(failed=True, error=error)

    def _end(self, failed: bool, error: Exception | None = None) -> None:
        with self._turn:
            process, self._process = self._process, None
        if process is not None:
            reason = process.end(failed, error)
            if reason is not None:
                _warn(reason)


def _address(protocol: str, filepath: object, **_: object) -> str:
    return str(filepath) if protocol == "file" else f"{protocol}://{filepath}"


def _warn(reason: str) -> None:
    logger.warning(
        "tracking is incomplete: %s. The results do not depend on it; tracking.enabled=false turns it off.", reason
    )


def _is_study(pipeline: Pipeline) -> bool:
    boxes = {(node.namespace or "").partition(".")[0] for node in pipeline.nodes}
    return bool(boxes - _UNTRACKED)


def _kept(pipeline: Pipeline, catalog: StudyCatalog) -> set[str]:
    """Return the outputs that a run for missing outputs does not make again."""
    done = [node.outputs for node in pipeline.nodes if all(catalog.exists(name) for name in node.outputs)]
    return {name for outputs in done for name in outputs}
