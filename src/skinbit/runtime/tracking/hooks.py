"""The hook of ``kedro run`` that has studies tracked. Whatever happens to tracking, the study goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import active_parameters
from skinbit.runtime.tracking.places import describe_place
from skinbit.runtime.tracking.study import TrackedStudy

logger = logging.getLogger(__name__)

_UNTRACKED = {"cluster_images", "sample_data"}
"""Boxes of the graph that measure nothing: a run of these alone is no study."""


class TrackingHooks:
    """Tells a tracking process what the run at hand makes."""

    def __init__(self) -> None:
        self._project, self._environment = Path.cwd(), "base"
        self._study: TrackedStudy | None = None
        self._turn = Lock()
        self._has_warned = False

    @hook_impl  # type: ignore[untyped-decorator]
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is, and which environment runs."""
        self._project, self._environment = Path(context.project_path), context.env or "base"

    @hook_impl(trylast=True)  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: StudyCatalog) -> None:
        """Start tracking; last of the hooks, so that the catalog knows which outputs hold."""
        self._end(failed=True)  # a run that was interrupted in this very process, e.g. in a notebook
        self._has_warned = False
        parameters = active_parameters()
        if not parameters.tracking.enabled or not _is_study(pipeline):
            return
        with self._apart():
            kept = _kept(pipeline, catalog) if run_params["only_missing_outputs"] else None
            if kept != pipeline.all_outputs():
                self._study = TrackedStudy(self._project, self._environment, parameters, pipeline, catalog)
                self._study.begin(run_params["run_id"], kept)
                logger.info("tracked in %s", describe_place(parameters.tracking))

    @hook_impl  # type: ignore[untyped-decorator]
    def before_node_run(self, node: Node) -> None:
        """Tell that a node runs."""
        with self._apart():
            if self._study is not None:
                self._study.begin_node(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def after_node_run(self, node: Node) -> None:
        """Tell how long it took."""
        with self._apart():
            if self._study is not None:
                self._study.end_node(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tell what a dataset adds."""
        with self._apart():
            if self._study is not None:
                self._study.note(dataset_name, data)

    @hook_impl  # type: ignore[untyped-decorator]
    def after_pipeline_run(self) -> None:
        """Tell what is left, and that all went well."""
        with self._apart():
            if self._study is not None:
                self._study.catch_up()
        self._end(failed=False)

    @hook_impl  # type: ignore[untyped-decorator]
    def on_pipeline_error(self) -> None:
        """Tell that the study failed."""
        self._end(failed=True)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Keep what goes wrong with tracking from the study."""
        try:
            yield
        except Exception as error:  # a bug here, a process that has ended, a full disk
            self._end(failed=True, reason=f"{type(error).__name__}: {error}")

    def _end(self, failed: bool, reason: str | None = None) -> None:
        """End tracking; where something went wrong, say so, once."""
        with self._turn:
            study, self._study = self._study, None
            if study is not None:
                if study.is_in_worker:  # the process that started tracking will see for itself
                    return
                reason = study.end(failed) or reason
            if reason is not None and not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "tracking is incomplete: %s. The results do not depend on it; tracking.enabled=false turns it off.",
                    reason,
                )


def _is_study(pipeline: Pipeline) -> bool:
    boxes = {(node.namespace or "").partition(".")[0] for node in pipeline.nodes}
    return bool(boxes - _UNTRACKED)


def _kept(pipeline: Pipeline, catalog: StudyCatalog) -> set[str]:
    """Give the outputs that a run for missing outputs leaves as they are."""
    done = [node.outputs for node in pipeline.nodes if all(catalog.exists(name) for name in node.outputs)]
    return {name for outputs in done for name in outputs}
