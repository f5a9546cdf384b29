"""From messages to runs: which begin, what they gain, which end."""

from collections.abc import Mapping, Sequence

from skinbit.runtime.tracking.messages import STUDY, Content, Note, Plan, PlannedRun, Tags, parent_of
from skinbit.runtime.tracking.trackers import Tracker


class Recorder:
    """Keeps account of the runs of one study.

    A run begins with the first note about it or about one nested in it, and ends when all datasets that complete it
    are noted. What is left when the study ends, ends with it.
    """

    def __init__(self, tracker: Tracker, plan: Plan, tags: dict[str, str]) -> None:
        """Begin the study's run.

        Args:
            tracker: Writes runs down.
            plan: The runs that may come.
            tags: Of every run.
        """
        previous = tracker.find(plan.outputs) if plan.resumes else None
        own = {"outputs": plan.outputs} | ({"continues": previous} if previous else {})
        study = _tagged(plan.runs[STUDY], own)
        self._tracker, self._runs, self._tags = tracker, {**plan.runs, STUDY: study}, tags
        self._pending = {run: set(planned.expected) for run, planned in plan.runs.items() if run != STUDY}
        self._begun: list[str] = []
        self._ended: set[str] = set()
        self._noted: set[str] = set()
        self._begin(STUDY, plan.time)

    def add(self, messages: Sequence[Note | Tags]) -> None:
        """Take in messages, all that have come since the last time: a run gains what they hold in one go."""
        gained: dict[str, Content] = {}
        for message in messages:
            for run, content in self._contents(message).items():
                self._begin(run, message.time)
                gained[run] = gained.get(run, Content()).joined(content)
        for run, content in gained.items():
            if content != Content():
                self._tracker.log(run, content, messages[-1].time)
        for run in self._running():
            if not self._pending.get(run, True):
                self._finish(run, failed=False, time=messages[-1].time)

    def end(self, failed: bool, time: int) -> None:
        """End what is still running, nested runs first.

        Args:
            failed: Whether the study did not come to its end.
            time: Milliseconds since 1970.
        """
        for run in reversed(self._running()):
            self._finish(run, failed, time)

    def _contents(self, message: Note | Tags) -> dict[str, Content]:
        """Give what a message adds, by run; nothing the second time that it comes."""
        if isinstance(message, Tags):
            self._tags |= message.tags
            return {run: Content(tags=message.tags) for run in self._begun}
        if message.dataset is not None:
            if message.dataset in self._noted:
                return {}
            self._noted.add(message.dataset)
            for expected in self._pending.values():
                expected.discard(message.dataset)
        return {run: content for run, content in message.contents.items() if run in self._runs}

    def _begin(self, run: str, time: int) -> None:
        """Begin a run, and those that it is nested in, unless it has begun."""
        if run in self._begun:
            return
        parent = parent_of(run)
        if parent is not None:
            self._begin(parent, time)
        self._tracker.start(run, _tagged(self._runs[run], self._tags), time)
        self._begun.append(run)

    def _running(self) -> list[str]:
        return [run for run in self._begun if run not in self._ended]

    def _finish(self, run: str, failed: bool, time: int) -> None:
        self._tracker.finish(run, failed, time)
        self._ended.add(run)


def _tagged(planned: PlannedRun, tags: Mapping[str, str]) -> PlannedRun:
    return planned.model_copy(update={"tags": {**planned.tags, **tags}})
