"""Reports of long work: lines in a log, and counts."""

import io
import subprocess
import sys
import threading
import time

import pytest

from skinbit.data import progress
from skinbit.data.progress import Progress, Work, count, duration, take_counts

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _nothing_else_runs(monkeypatch):
    monkeypatch.setattr(progress, "_running", [])
    monkeypatch.setattr(progress, "_start_reporter", lambda: None)


def began(work, seconds):
    """Let work have begun some seconds ago."""
    work.started = time.monotonic() - seconds
    return work


def due(reported=None, after=0.0):
    return [work.describe() for work in progress._due({} if reported is None else reported, time.monotonic() + after)]


class TestLines:
    def test_a_line_has_what_is_done_the_rate_and_the_time_left(self):
        bar = Progress(total=7000, unit="image", desc="features")
        bar.update(2048)
        began(bar._work, 58.5)
        assert bar.describe() == "features: 2,048 of 7,000 images, 35 per second, 2 min left"

    def test_slow_work_has_a_rate_per_minute_or_hour(self):
        bar = Progress(total=10, unit="epoch", desc="training", initial=4)
        bar.update()
        assert began(bar._work, 10)
        assert "5 of 10 epochs, 6 per minute, 50 s left" in bar.describe()
        assert began(bar._work, 600)
        assert "6 per hour, 50 min left" in bar.describe()

    def test_work_of_which_nothing_is_done_yet_has_no_rate(self):
        assert Progress(total=5, unit="block", desc="neighbours").describe() == "neighbours: 0 of 5 blocks"

    def test_the_figures_of_a_training_are_in_its_lines(self):
        bar = Progress(total=5, unit="epoch", desc="head")
        bar.set_postfix({"loss": "0.250"})
        assert bar.describe() == "head: 0 of 5 epochs, loss=0.250"

    def test_items_are_counted_as_they_are_used(self):
        lines = [bar.describe() for bar in [Progress(range(3), unit="image", desc="thumbnails")] for _ in bar]
        assert [line.split(",")[0] for line in lines] == [f"thumbnails: {n} of 3 images" for n in range(3)]

    def test_nothing_is_written_without_a_terminal(self, capsys):
        assert sum(Progress(range(100), unit="image", desc="thumbnails")) == 4950
        assert capsys.readouterr() == ("", "")

    def test_a_terminal_shows_a_bar(self, monkeypatch):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(Progress(range(3), unit="image", desc="thumbnails")) == [0, 1, 2]
        assert "thumbnails: 100%" in terminal.getvalue()

    @pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (9000, "2.5 h")])
    def test_durations_are_in_a_persons_unit(self, seconds, shown):
        assert duration(seconds) == shown


class TestReports:
    def test_short_work_is_not_reported(self):
        began(Work(lambda: "work"), 20)
        assert due() == []
        assert due(after=15) == ["work"]

    def test_a_thread_has_a_line_a_minute(self):
        began(Work(lambda: "work"), HOUR)
        reported = {}
        assert due(reported) == ["work"]
        assert due(reported, after=50) == []
        assert due(reported, after=60) == ["work"]

    def test_the_innermost_long_work_is_reported(self):
        began(Work(lambda: "run"), HOUR)
        inner = began(Work(lambda: "step"), 40)
        began(Work(lambda: "short"), 1)
        assert due() == ["step"]
        inner.close()
        assert due() == ["run"]

    def test_every_thread_is_reported(self):
        began(Work(lambda: "one"), HOUR)
        thread = threading.Thread(target=lambda: began(Work(lambda: "two"), HOUR))
        thread.start()
        thread.join()
        assert due() == ["one", "two"]

    def test_finished_and_failed_work_is_not_reported(self):
        list(Progress(range(3), unit="image", desc="thumbnails"))
        with pytest.raises(OSError), Progress(total=3, unit="image", desc="reading"):  # noqa: PT011
            raise OSError
        with pytest.raises(OSError):  # noqa: PT011, PT012
            for _ in Progress(range(3), unit="image", desc="drawing"):
                raise OSError
        assert progress._running == []


LIVE = """
import logging, time
from skinbit.data import progress
logging.basicConfig(level=logging.INFO, format="%(message)s")
progress._PATIENCE, progress._PAUSE, progress._LOOK = 0.05, 0.2, 0.02
for _ in progress.Progress(range(8), unit="image", desc="features"):
    time.sleep(0.1)
"""


def test_a_log_file_gets_lines_and_no_carriage_returns():
    shown = subprocess.run([sys.executable, "-c", LIVE], capture_output=True, check=True).stderr
    lines = shown.decode().splitlines()
    assert 2 <= len(lines) <= 5
    assert all(line.startswith("features: ") and " of 8 images" in line for line in lines)
    assert b"\r" not in shown


def test_counts_are_added_up_and_taken_once():
    take_counts()
    count("image", made=3, found=1)
    count("image", made=2, found=0)
    count("view", made=0, found=4)
    assert take_counts() == {"image": (5, 1), "view": (0, 4)}
    assert take_counts() == {}
