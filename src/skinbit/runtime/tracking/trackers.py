"""What every place to write runs to can do."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from skinbit.config import TrackingParams
from skinbit.runtime.tracking.messages import Content, PlannedRun


class Tracker(Protocol):
    """Writes runs down, as :class:`skinbit.runtime.tracking.recorder.Recorder` asks for them."""

    def find(self, outputs: str) -> str | None:
        """Give the id of the latest study whose results lie in the same folder, if there is one.

        Args:
            outputs: Its tag of this name.
        """

    def start(self, run: str, planned: PlannedRun, time: int) -> None:
        """Begin a run; its parent has begun.

        Args:
            run: Its address.
            planned: Title, parameters and tags.
            time: Milliseconds since 1970.
        """

    def log(self, run: str, content: Content, time: int) -> None:
        """Add to a run that has begun.

        Args:
            run: Its address.
            content: What to add.
            time: Milliseconds since 1970.
        """

    def finish(self, run: str, failed: bool, time: int) -> None:
        """End a run; the study's is the last.

        Args:
            run: Its address.
            failed: Whether it did not come to its end.
            time: Milliseconds since 1970.
        """


def open_tracker(tracking: TrackingParams, project: Path) -> Tracker:
    """Open the place that runs are written to; imports its library.

    Args:
        tracking: Where.
        project: Folder of the project's own database and files.

    Returns:
        The tracker.

    Raises:
        Exception: Whatever the library raises, if it is missing or the place cannot be reached.
    """
    return _TRACKERS[tracking.backend](tracking, project)


def _open_mlflow(tracking: TrackingParams, project: Path) -> Tracker:
    from skinbit.runtime.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(tracking, project)


def _open_wandb(tracking: TrackingParams, project: Path) -> Tracker:
    from skinbit.runtime.tracking.wandb_tracker import WandbTracker

    return WandbTracker(tracking, project)


_TRACKERS: dict[str, Callable[[TrackingParams, Path], Tracker]] = {"mlflow": _open_mlflow, "wandb": _open_wandb}
