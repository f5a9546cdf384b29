"""Runs in Weights & Biases, on this machine only unless an address is set.

W&B has no nested runs: the runs of a study share a group, and their job type is study, experiment or fold.
"""

from dataclasses import dataclass, field
from pathlib import Path

import wandb

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.runs import STUDY, Artifact, Content, Metric

_PRIVATE = {
    # By default, W&B adds the machine's name, user, paths, packages, code and terminal output.
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
class _PendingRun:
    title: str
    level: str
    begun: int
    config: dict[str, str]
    metrics: list[Metric] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)


class WandbTracker:
    """Writes each run when it ends, since W&B keeps a process's open runs in memory and a study has many."""

    def __init__(self, tracking: TrackingParams, project: Path) -> None:
        """Remember where to write.

        Args:
            tracking: The address and the name of the W&B project.
            project: Folder of the Skinbit project; offline runs are written to its ``wandb/``.
        """
        self._project, self._folder, self._uri = tracking.experiment, project, tracking.uri
        self._runs: dict[str, _PendingRun] = {}

    def find(self, outputs: str) -> str | None:
        """Return None, as offline runs have no index to search."""
        return None

    def start(self, run: str, title: str, tags: dict[str, str], time: int) -> None:
        """Note a run."""
        self._runs[run] = _PendingRun(title, tags["level"], time, dict(tags))

    def log(self, run: str, content: Content, time: int) -> None:
        """Collect what is added to a run."""
        noted = self._runs[run]
        noted.config |= content.parameters | content.tags
        noted.metrics += content.metrics
        noted.artifacts += content.artifacts

    def finish(self, run: str, failed: bool, time: int) -> None:
        """Write a run; a failed one has exit code 1."""
        noted = self._runs[run]
        with wandb.init(
            project=self._project,
            dir=self._folder,
            name=noted.title,
            group=self._runs[STUDY].title,
            job_type=noted.level,
            config=noted.config,
            mode="online" if self._uri else "offline",
            reinit="create_new",
            settings=self._settings(noted.begun),
        ) as open_run:
            for step, row in sorted(_curves(noted.metrics).items()):
                open_run.log(row, step=step)
            open_run.summary.update({metric.name: metric.value for metric in noted.metrics if metric.step == 0})
            for artifact in noted.artifacts:
                path = Path(artifact.path)
                base = path.parents[1] if artifact.folder else path.parent
                open_run.save(path, base_path=base, policy="end", glob=False)
            open_run.finish(exit_code=int(failed))

    def _settings(self, begun: int) -> wandb.Settings:
        place = {"base_url": self._uri} if self._uri else {}
        # Not symbolic links: a later run writes other files to the same paths.
        return wandb.Settings(x_start_time=begun / 1000, symlink=False, **_PRIVATE, **place)


def _curves(metrics: list[Metric]) -> dict[int, dict[str, float]]:
    """Return the points of curves by step; metrics have step 0, epochs start at 1."""
    rows: dict[int, dict[str, float]] = {}
    for metric in metrics:
        if metric.step > 0:
            rows.setdefault(metric.step, {})[metric.name] = metric.value
    return rows
