"""What long work reports: a bar in a terminal, elsewhere a log line a minute; and how much it made or found."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

_PATIENCE, _PAUSE, _LOOK = 30.0, 55.0, 5.0
"""Seconds before work is reported at all, between two lines of one thread, and between looks at what is running."""

_PERIODS = ((1, "second"), (60, "minute"), (3600, "hour"))

Counts = dict[str, tuple[int, int]]
"""Numbers of things that were made and that a cache had, by their unit, such as ``image``."""


class Work:
    """Something that runs in this thread, and is reported in the log of a run without a terminal."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self.describe, self.thread, self.started = describe, threading.get_ident(), time.monotonic()
        if not _is_quiet:
            _running.append(self)
            _start_reporter()

    def close(self) -> None:
        """Report it no more."""
        if self in _running:
            _running.remove(self)


class Progress(tqdm):  # type: ignore[type-arg]
    """A progress bar of tqdm that becomes log lines where there is no terminal.

    Args:
        iterable: Items to go through; None: :meth:`update` counts.
        options: Options of tqdm: ``total``, ``unit`` in the singular, and ``desc``, at least.
    """

    def __init__(self, iterable: Any = None, **options: Any) -> None:
        self._work = Work(self.describe)
        self._initial = options.get("initial", 0)
        super().__init__(iterable, disable=True if _is_quiet else None, **options)
        self._desc, self._unit = options["desc"], options["unit"]  # tqdm drops them where it shows no bar

    def __iter__(self) -> Iterator[Any]:
        """Yield the items."""
        if not self.disable:
            yield from super().__iter__()
            return
        try:
            for item in self.iterable:
                yield item
                self.n += 1
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Count items that are done."""
        if self.disable:
            self.n += n or 0
        return super().update(n)

    def close(self) -> None:
        """End the bar, or the lines."""
        super().close()
        self._work.close()

    def describe(self) -> str:
        """Return what is done, the rate, and the time that is left, as one line."""
        total = self.total or 0
        done, elapsed = self.n - self._initial, time.monotonic() - self._work.started
        line = f"{self._desc}: {self.n:,} of {total:,} {self._unit}s"
        if done > 0:
            line += f", {_rate(done / elapsed)}, {duration((total - self.n) * elapsed / done)} left"
        return line + (f", {self.postfix}" if getattr(self, "postfix", None) else "")


def duration(seconds: float) -> str:
    """Return a duration in the unit that a person would use."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def count(unit: str, made: int, found: int) -> None:
    """Count for the step that this thread runs.

    Args:
        unit: What is counted, in the singular.
        made: How many were made.
        found: How many a cache had.
    """
    add_count(_counts.setdefault(threading.get_ident(), {}), unit, made, found)


def add_count(counts: Counts, unit: str, made: int, found: int) -> None:
    """Add to the numbers of one unit, in place; see :func:`count`."""
    before = counts.get(unit, (0, 0))
    counts[unit] = before[0] + made, before[1] + found


def take_counts() -> Counts:
    """Return what was counted in this thread since the last call."""
    return _counts.pop(threading.get_ident(), {})


def keep_quiet() -> None:
    """Report nothing in this process from now on: another one does."""
    global _is_quiet  # noqa: PLW0603
    _is_quiet = True


_is_quiet = False
_running: list[Work] = []
_counts: dict[int, Counts] = {}
_reporter: threading.Thread | None = None

if hasattr(os, "register_at_fork"):  # what a parent runs, it reports itself
    os.register_at_fork(after_in_child=_running.clear)


def _start_reporter() -> None:
    global _reporter  # noqa: PLW0603
    if (_reporter is None or not _reporter.is_alive()) and not sys.stderr.isatty():  # a fork has no threads
        _reporter = threading.Thread(target=_report, name="progress", daemon=True)
        _reporter.start()


def _report() -> None:
    reported: dict[int, float] = {}
    while True:
        time.sleep(_LOOK)
        for work in _due(reported, time.monotonic()):
            logger.info("%s", work.describe())


def _due(reported: dict[int, float], now: float) -> list[Work]:
    """Return the innermost long work of every thread whose last line is long ago.

    Args:
        reported: When each thread had its last line; changed.
        now: The time.
    """
    innermost = {work.thread: work for work in list(_running) if now - work.started >= _PATIENCE}
    due = [work for thread, work in innermost.items() if now - reported.get(thread, -_PAUSE) >= _PAUSE]
    reported.update((work.thread, now) for work in due)
    return due


def _rate(per_second: float) -> str:
    fitting = [period for period in _PERIODS if per_second * period[0] >= 2]
    seconds, name = fitting[0] if fitting else _PERIODS[-1]
    return f"{per_second * seconds:,.0f} per {name}"
