"""Runs in Weights & Biases: on this machine only, unless an address is given.

W&B has no nested runs: those of a study share a group, and their job type tells study, experiment and fold apart.
"""

from dataclasses import dataclass
from pathlib import Path

import wandb

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.messages import STUDY, Content, PlannedRun

_PRIVATE = {
    # W&B would add the machine's name, its user, paths, packages, code and what the terminal shows.
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


@dataclass
class _Run:
    planned: PlannedRun
    begun: int
    content: Content


class WandbTracker:
    """Writes each run in one go when it ends: W&B keeps a process's open runs in memory, and a study has many."""

    def __init__(self, tracking: TrackingParams, project: Path) -> None:
        """Note where to write.

        Args:
            tracking: Address, and name of the W&B project.
            project: Folder of the Skinbit project; offline runs land in its ``wandb/``.
        """
        self._project, self._folder, self._uri = tracking.experiment, project, tracking.uri
        self._runs: dict[str, _Run] = {}

    def find(self, outputs: str) -> str | None:
        """Give None: offline runs have no index to search."""
        return None

    def start(self, run: str, planned: PlannedRun, time: int) -> None:
        """Note a run."""
        self._runs[run] = _Run(planned, time, Content())

    def log(self, run: str, content: Content, time: int) -> None:
        """Note what a run gains."""
        self._runs[run].content = self._runs[run].content.joined(content)

    def finish(self, run: str, failed: bool, time: int) -> None:
        """Write a run down; a failed one has exit code 1."""
        written = self._runs[run]
        content, planned = written.content, written.planned
        tags = planned.tags | content.tags
        with wandb.init(
            project=self._project,
            dir=self._folder,
            name=planned.title,
            group=self._runs[STUDY].planned.title,
            job_type=tags["level"],
            config=planned.parameters | content.parameters | tags,
            mode="online" if self._uri else "offline",
            reinit="create_new",
            settings=self._settings(written.begun),
        ) as open_run:
            for step, row in sorted(_curves(content).items()):
                open_run.log(row, step=step)
            open_run.summary.update({metric.name: metric.value for metric in content.metrics if metric.step == 0})
            for artifact in content.artifacts:
                path = Path(artifact.path)
                base = path.parents[1] if artifact.folder else path.parent
                open_run.save(path, base_path=base, policy="end", glob=False)
            open_run.finish(exit_code=int(failed))

    def _settings(self, begun: int) -> wandb.Settings:
        place = {"base_url": self._uri} if self._uri else {}
        # Not symbolic links: a later run puts other files in the same places.
        return wandb.Settings(x_start_time=begun / 1000, symlink=False, **_PRIVATE, **place)


def _curves(content: Content) -> dict[int, dict[str, float]]:
    """Give the points of curves by step; figures have step 0, epochs count from 1."""
    rows: dict[int, dict[str, float]] = {}
    for metric in content.metrics:
        if metric.step > 0:
            rows.setdefault(metric.step, {})[metric.name] = metric.value
    return rows
