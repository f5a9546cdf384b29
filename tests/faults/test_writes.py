"""A disk that refuses any write ends a run with one message; what is on it is complete, and the next run goes on."""

import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.disk import CALLS_PER_FILE, Disk, Fault
from tests.faults.studies import EXPERIMENTS, ROOT, files_of, fork_run, log_of, make_project

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux: forks, names of open files")

FAULTS_PER_STUDY = 6

UNFINISHED = ("training_state.safetensors", ".pieces/", ".fingerprints/run.lock")
"""What is written again and again, and differs until a study has come to its end."""


@dataclass
class Report:
    """What a campaign has seen.

    Attributes:
        faults: By kind of call and error number.
        harmless: Faults after which the run came to its end all the same.
        problems: What was wrong after a fault, with the fault.
        studies: Studies that came to their end.
        duration_s: Of the campaign.
    """

    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    harmless: int = 0
    problems: list[str] = field(default_factory=list)
    studies: int = 0
    duration_s: float = 0.0


def run_campaign(folder: Path, whole: dict[str, bytes], n_faults: int, seed: int) -> Report:
    """Refuse writes until so many runs have met a fault; see after each what is on the disk, and end each study.

    Args:
        folder: Empty; studies with problems stay in it.
        whole: Files of an undisturbed study.
        n_faults: At least so many.
        seed: Of the faults.
    """
    began, rng, report = time.monotonic(), random.Random(seed), Report()
    n_calls = len(whole) * CALLS_PER_FILE
    while report.faults.total() < n_faults:
        project, n_problems = make_project(folder / f"study_{report.studies}", EXPERIMENTS), len(report.problems)
        for attempt in range(min(FAULTS_PER_STUDY, n_faults - report.faults.total())):
            fault = Fault.draw(rng, n_calls // (FAULTS_PER_STUDY // 2) if attempt else n_calls)
            report.problems += [f"{fault}: {problem}" for problem in meet(project, fault, attempt > 0, whole, report)]
        report.problems += [f"{project.name}: {problem}" for problem in go_on(project, whole)]
        report.studies += 1
        if len(report.problems) == n_problems:
            shutil.rmtree(project)
    report.duration_s = time.monotonic() - began
    return report


def meet(project: Path, fault: Fault, only_missing: bool, whole: dict[str, bytes], report: Report) -> list[str]:
    """Run a study that meets a fault, and return what is wrong then."""
    disk = Disk(project / ROOT, project / "notes", fault)
    code, log, found = fork_run(project, only_missing, disk.arm), log_of(project), files_of(project)
    refused = next((call for call in disk.calls() if call.is_refused), None)
    if refused is None:
        return [] if code == 0 else ["a run without a fault has failed"]
    report.faults[refused.kind, os.strerror(fault.error)] += 1
    report.harmless += code == 0
    problems = [
        f"differs: {name}" for name in sorted(found) if not is_unfinished(name) and found[name] != whole.get(name)
    ]
    if code != 0 and (log.count("InputError: ") != 1 or "Remedy: " not in log):
        problems.append(f"not one message with a remedy: {log[-2000:]}")
    if "Traceback" in log:
        problems.append(f"a traceback: {log}")
    return [f"{problem} (at {refused.kind} of {refused.path})" for problem in problems]


def is_unfinished(name: str) -> bool:
    """Whether a file may differ from that of a finished study, or be missing there."""
    return any(part in name for part in UNFINISHED)


def go_on(project: Path, whole: dict[str, bytes]) -> list[str]:
    """Bring a study to its end, and return which files differ from those of an undisturbed one."""
    if fork_run(project, only_missing=True) != 0:
        return [f"does not go on: {log_of(project)[-2000:]}"]
    found = files_of(project)
    return [f"differs in the end: {name}" for name in sorted(found | whole) if found.get(name) != whole.get(name)]


@pytest.mark.long
def test_a_disk_that_refuses_a_few_writes(tmp_path, whole):
    report = run_campaign(tmp_path, whole, 3, seed=0)
    assert report.problems == []
    assert report.faults.total() == 3


@pytest.mark.faults
def test_a_disk_that_takes_half_of_every_write(tmp_path, whole):
    project = make_project(tmp_path / "halved", EXPERIMENTS)
    disk = Disk(project / ROOT, tmp_path / "notes", are_writes_halved=True)
    assert fork_run(project, False, disk.arm) == 0, log_of(project)
    assert files_of(project) == whole
    assert len(disk.calls()) > 2 * len(whole) * CALLS_PER_FILE


@pytest.mark.faults
def test_a_disk_that_refuses_any_of_300_writes(tmp_path, whole):
    report = run_campaign(tmp_path, whole, 300, seed=0)
    print(report)  # noqa: T201
    assert report.problems == []
