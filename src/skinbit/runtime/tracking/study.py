"""One tracked run of Kedro: what its pipeline makes, told to the tracking process as it is made."""

import hashlib
import os
import platform
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from skinbit.config import Parameters
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.tracking.link import TrackingLink
from skinbit.runtime.tracking.messages import STUDY, Content, Metric, Note, Plan, Tags
from skinbit.runtime.tracking.runs import HASHED, contents_of, has_figures, hash_table, is_copied, locate, plan_runs

_DRAWING = "report"
"""The box of the graph whose durations nobody asks for."""


class TrackedStudy:
    """Tells a tracking process about the datasets of a run."""

    def __init__(
        self, project: Path, environment: str, parameters: Parameters, pipeline: Pipeline, catalog: StudyCatalog
    ) -> None:
        """Start the process.

        Args:
            project: Folder of the project.
            environment: Name of the configuration's environment.
            parameters: Of the run.
            pipeline: What runs.
            catalog: Its datasets.

        Raises:
            OSError: If the process cannot be started.
        """
        self._environment, self._parameters, self._catalog = environment, parameters, catalog
        self._outputs = sorted(pipeline.all_outputs())
        self._kinds = parameters.tracking.artifacts
        self._noted: set[str] = set()
        self._begun: dict[str, float] = {}
        self._runs: Collection[str] = ()
        self._folder = hashlib.sha256(f"{platform.node()}:{project}:{environment}".encode()).hexdigest()[:16]
        self._owner = os.getpid()
        self._link = TrackingLink(project)

    @property
    def is_in_worker(self) -> bool:
        """Tell whether this is a forked worker's copy: the process belongs to another."""
        return os.getpid() != self._owner

    def begin(self, run_id: str, kept: Collection[str] | None) -> None:
        """Tell which runs may come, and what holds from an earlier run.

        Args:
            run_id: Kedro's, which is the time that the run began.
            kept: Outputs that a resumed run does not make again; None for a run that makes all.
        """
        title = f"{self._environment} {run_id[:19].replace('T', ' ')}"
        runs = plan_runs(self._outputs, kept or (), self._parameters, title, self._kinds)
        self._runs = runs.keys()
        self._link.send(
            Plan(
                tracking=self._parameters.tracking,
                runs=runs,
                tags={"environment": self._environment},
                outputs=self._folder,
                resumes=kept is not None,
            )
        )
        self._note_stored(sorted({*(HASHED.keys() - set(self._outputs)), *(kept or ())}))

    def begin_node(self, node: Node) -> None:
        """Tell that a node runs, and so does its experiment or fold."""
        self._begun[node.name] = time.perf_counter()
        if self._run_of(node) != STUDY:
            self._link.send(Note(contents={self._run_of(node): Content()}))

    def end_node(self, node: Node) -> None:
        """Tell how long a node took."""
        seconds = time.perf_counter() - self._begun.pop(node.name)
        if node.namespace != _DRAWING:
            run = self._run_of(node)
            metric = Metric(f"seconds/{node.name.removeprefix(f'{run}.')}", seconds)
            self._link.send(Note(contents={run: Content(metrics=(metric,))}))

    def note(self, dataset: str, data: Any) -> None:
        """Tell what a dataset adds.

        Args:
            dataset: Its name.
            data: Its content.
        """
        if dataset in HASHED:
            self._link.send(Tags(tags={HASHED[dataset]: hash_table(data)}))
        contents = contents_of(dataset, data, self._file(dataset) if is_copied(dataset, self._kinds) else None)
        if contents:
            self._link.send(Note(contents=contents, dataset=dataset))
        self._noted.add(dataset)

    def catch_up(self) -> None:
        """Tell what the run has made and nobody told: workers that were not forked know of no hook."""
        self._note_stored(name for name in self._outputs if name not in self._noted)

    def end(self, failed: bool) -> str | None:
        """Tell that the run has ended, and wait until all is written.

        Args:
            failed: Whether it did not come to its end.

        Returns:
            What went wrong; None if nothing did.
        """
        return self._link.end(failed)

    def _note_stored(self, datasets: Iterable[str]) -> None:
        for name in datasets:
            is_read = name in HASHED or has_figures(name)
            if (is_read or is_copied(name, self._kinds)) and self._catalog.exists(name):
                self.note(name, self._catalog.load(name) if is_read else None)

    def _run_of(self, node: Node) -> str:
        run, _ = locate(node.name)
        return run if run in self._runs else STUDY

    def _file(self, dataset: str) -> str | None:
        """Give the path of a dataset's file; None where it is not on this machine."""
        described = self._catalog[dataset]._describe()
        return str(described["filepath"]) if described["protocol"] == "file" else None
