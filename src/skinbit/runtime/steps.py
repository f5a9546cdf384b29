"""What the steps of a run report: which one runs, how long each took, and how much it made or found in a cache."""

import json
import logging
import os
import tempfile
import time
from textwrap import indent
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from skinbit.data.progress import Counts, Work, add_count, duration, take_counts

logger = logging.getLogger(__name__)

_SHOWN = 15
"""Number of steps in the table at the end of a run; the others are added up."""

_LONG = 30.0
"""Seconds: shorter runs have no table."""


class StepHooks:
    """Reports what runs, and logs a table of all steps at the end.

    Finished steps are noted in an unnamed file, which workers share with the run that forked them.
    """

    def __init__(self) -> None:
        self._notes: Any = None
        self._works: dict[str, Work] = {}
        self._run = ""

    @hook_impl  # type: ignore[untyped-decorator]
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Begin to report the run."""
        self._close()
        take_counts()  # of a failed run in this process, e.g. in a notebook
        self._notes = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        # How many steps a run for missing outputs has, only the runner finds out.
        total = "" if run_params["only_missing_outputs"] else f" of {len(pipeline.nodes):,}"
        self._works[self._run] = Work(lambda: f"{len(self._read()):,}{total} steps are finished")

    @hook_impl  # type: ignore[untyped-decorator]
    def before_dataset_loaded(self, node: Node) -> None:
        """Begin a step, which loads its inputs first."""
        self._begin(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def before_node_run(self, node: Node) -> None:
        """Begin a step that loads nothing."""
        self._begin(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def after_node_run(self, node: Node) -> None:
        """End a step that saves nothing."""
        if not node.outputs:
            self._end(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """End a step with its last output."""
        if dataset_name == node.outputs[-1]:
            self._end(node)

    @hook_impl  # type: ignore[untyped-decorator]
    def on_pipeline_error(self) -> None:
        """Report the failed run no more."""
        self._close()

    @hook_impl  # type: ignore[untyped-decorator]
    def after_pipeline_run(self) -> None:
        """Log the table of steps, before the results."""
        steps, seconds = self._read(), time.monotonic() - self._works[self._run].started
        self._close()
        if seconds >= _LONG:
            logger.info("%s", tabulate_steps(steps, seconds))

    def _begin(self, node: Node) -> None:
        if node.name not in self._works:
            work = Work(lambda: f"{node.name}: running for {duration(time.monotonic() - work.started)}")
            self._works[node.name] = work

    def _end(self, node: Node) -> None:
        work, counts = self._works.pop(node.name, None), take_counts()
        if work is not None:
            work.close()
            if self._notes is not None:
                note = [node.name, time.monotonic() - work.started, counts]
                self._notes.write(json.dumps(note).encode() + b"\n")  # unbuffered: one write, so lines stay whole

    def _read(self) -> list[tuple[str, float, Counts]]:
        held = os.pread(self._notes.fileno(), os.fstat(self._notes.fileno()).st_size, 0)  # moves no worker's position
        return [tuple(json.loads(line)) for line in held.splitlines()]

    def _close(self) -> None:
        for work in self._works.values():
            work.close()
        self._works = {}
        if self._notes is not None:
            self._notes.close()
            self._notes = None


def tabulate_steps(steps: list[tuple[str, float, Counts]], seconds: float) -> str:
    """Return the longest steps of a run as aligned lines.

    Args:
        steps: Name, seconds and counts of every step that noted them.
        seconds: How long the run took; steps that run at the same time add up to more.
    """
    if not steps:
        return f"the run took {duration(seconds)}, in processes that could not note the time of steps"
    longest = sorted(steps, key=lambda step: -step[1])
    rows = [("step", "time", "made", "from the cache")]
    rows += [(name, duration(took), _listed(counts, 0), _listed(counts, 1)) for name, took, counts in longest[:_SHOWN]]
    rest = longest[_SHOWN:]
    if rest:
        sums: Counts = {}
        for _, _, counts in rest:
            for unit, (made, found) in counts.items():
                add_count(sums, unit, made, found)
        took = duration(sum(took for _, took, _ in rest))
        rows.append((f"{len(rest)} others", took, _listed(sums, 0), _listed(sums, 1)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{name.ljust(widths[0])}  {took.rjust(widths[1])}  {made.ljust(widths[2])}  {found}".rstrip()
        for name, took, made, found in rows
    ]
    return f"{len(steps)} steps in {duration(seconds)}\n" + indent("\n".join(lines), "  ")


def _listed(counts: Counts, which: int) -> str:
    return ", ".join(f"{of_unit[which]:,} {unit}s" for unit, of_unit in counts.items() if of_unit[which])
