"""A run that is killed, whenever that is, and resumed ends with the files of a run that was not, byte for byte."""

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kedro.runner import ThreadRunner

from tests.faults.studies import files_of, fork_run, log_of, make_project

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks"),
    pytest.mark.usefixtures("whole"),  # imports everything
]

EVERY_KIND = ("vit_baseline", "vit_triplet", "resnet_contrastive", "vit_verified")
"""Experiments that train nothing, a head, a whole network, and that compare keypoints."""


@pytest.mark.faults
def test_fifty_kills(tmp_path):
    report = run_campaign(tmp_path, n_kills=50, seed=1)
    print(report)  # noqa: T201
    assert report.differences == {}
    assert report.kills.total() >= 50
    assert len(report.kills) > 4, "kills of nearly every kind"


@dataclass(frozen=True)
class Kill:
    """How a run is killed.

    Attributes:
        moment: ``time``; ``replace``, ``replaced``, ``fsync`` or ``unlink``: before or after the n-th such call of the
            system; ``write``: in the middle of a write, by a limit to the size of files.
        count: Of calls, or of bytes; of ``time`` in seconds.
    """

    moment: str
    count: float

    def arm(self) -> None:
        """Make this process kill itself and all its children at the moment."""
        sys.dont_write_bytecode = True  # else half of a compiled library might be kept, for good
        if self.moment == "write":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(self.count),) * 2)
        elif self.moment != "time":
            name = self.moment.removesuffix("d")
            setattr(os, name, _kill_at(getattr(os, name), int(self.count), after=self.moment == "replaced"))


def _kill_at(function: Callable, count: int, after: bool) -> Callable:
    calls = Counter()

    def call(*arguments, **options):
        calls["n"] += 1
        if calls["n"] == count and not after:
            os.killpg(0, signal.SIGKILL)
        result = function(*arguments, **options)
        if calls["n"] == count:
            os.killpg(0, signal.SIGKILL)
        return result

    return call


def draw_kill(rng: random.Random, duration_s: float, n_saves: int) -> Kill:
    """Draw a kill, so that every moment of a run of known length is as likely as any other."""
    moment = rng.choice(["time", "time", "time", "replace", "replaced", "fsync", "unlink", "write"])
    if moment == "time":
        return Kill(moment, rng.uniform(0, duration_s))
    if moment == "write":
        return Kill(moment, int(10 ** rng.uniform(1, 5.3)))
    return Kill(moment, rng.randint(1, n_saves))


@dataclass
class Report:
    """What a campaign has seen.

    Attributes:
        kills: By moment.
        too_late: Kills that were due after the run's end.
        differences: What differed from the undisturbed run, by study.
        studies: Studies that came to their end after one kill or more.
        duration_s: Of the campaign.
    """

    kills: Counter = field(default_factory=Counter)
    too_late: int = 0
    differences: dict[int, list[str]] = field(default_factory=dict)
    studies: int = 0
    duration_s: float = 0.0


def run_campaign(folder: Path, n_kills: int, seed: int, experiments: Sequence[str] = EVERY_KIND) -> Report:
    """Kill runs until ``n_kills`` have died, resume each study to its end and compare all its files.

    Args:
        folder: Empty; studies that differ stay in it.
        n_kills: At least so many.
        seed: Of the moments.
        experiments: Of the study.

    Returns:
        What happened.
    """
    began = time.monotonic()
    rng, report = random.Random(seed), Report()
    whole = make_project(folder / "whole", experiments)
    start = time.monotonic()
    assert fork_run(whole, only_missing=False) == 0, log_of(whole)
    duration_s = time.monotonic() - start
    expected = files_of(whole)
    n_saves = 2 * sum(name.startswith(".fingerprints/") for name in expected)
    while report.kills.total() < n_kills:
        project = make_project(folder / f"study_{report.studies}", experiments)
        for attempt in range(rng.randint(1, 3)):
            kill = draw_kill(rng, duration_s, n_saves)
            runner = ThreadRunner(max_workers=2) if rng.random() < 0.25 else None
            code = fork_run(project, attempt > 0, kill.arm, runner, kill.count if kill.moment == "time" else None)
            if code == 0:
                report.too_late += 1
                break
            assert code < 0, log_of(project)
            report.kills[kill.moment] += 1
        assert fork_run(project, only_missing=True) == 0, log_of(project)
        found = files_of(project)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if differing:
            report.differences[report.studies] = differing
        else:
            shutil.rmtree(project)
        report.studies += 1
    report.duration_s = time.monotonic() - began
    return report
