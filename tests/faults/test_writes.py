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
"""At least, one in each so long part of it."""

UNFINISHED = ("training_state.safetensors", ".pieces/", ".fingerprints/run.lock")
"""What is written again and again, and differs until a study has come to its end."""


@dataclass
class Report:
    """What a campaign has seen.

    Attributes:
        faults: By kind of call and error.
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
    """Refuse writes until so many runs have met a fault; each goes on where the last one ended, to a study's end.

    Args:
        folder: Empty; studies with problems stay in it.
        whole: Files of an undisturbed study.
        n_faults: So many.
        seed: Of the faults.
    """
    began, rng, report = time.monotonic(), random.Random(seed), Report()
    while report.faults.total() < n_faults:
        project = make_project(folder / f"study_{report.studies}", EXPERIMENTS)
        problems, only_missing, is_over = [], False, False
        while not is_over:
            is_last = report.faults.total() == n_faults
            fault = None if is_last else Fault.draw(rng, len(whole) * CALLS_PER_FILE // FAULTS_PER_STUDY)
            found, is_over = meet(project, fault, only_missing, whole, report)
            problems += [f"{project.name}, {fault}: {problem}" for problem in found]
            only_missing = True
        report.problems += problems
        report.studies += 1
        if not problems:
            shutil.rmtree(project)
    report.duration_s = time.monotonic() - began
    return report


def meet(
    project: Path, fault: Fault | None, only_missing: bool, whole: dict[str, bytes], report: Report
) -> tuple[list[str], bool]:
    """Run a study that meets a fault, and return what is wrong then, and whether there was none to the study's end."""
    disk = Disk(project / ROOT, project / "notes", fault)
    code, log, found = fork_run(project, only_missing, disk.arm), log_of(project), files_of(project)
    refused = next((call for call in disk.calls() if call.is_refused), None)
    if refused is None:
        differing = [name for name in sorted(found | whole) if found.get(name) != whole.get(name)]
        return [f"differs in the end: {differing}"] * bool(differing) + [log[-2000:]] * bool(code), True
    report.faults[refused.kind, os.strerror(fault.error)] += 1
    report.harmless += code == 0
    differing = [name for name in sorted(found) if not is_unfinished(name) and found[name] != whole.get(name)]
    problems = [f"differs: {differing}"] * bool(differing)
    if code != 0 and (log.count("InputError: ") != 1 or "Remedy: " not in log or "Traceback" in log):
        problems.append(f"not one message with a remedy: {log[-2000:]}")
    return [f"{problem} (at {refused.kind} of {refused.path})" for problem in problems], False


def is_unfinished(name: str) -> bool:
    """Whether a file may differ from that of a finished study, or be missing there."""
    return any(part in name for part in UNFINISHED)


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
def test_a_disk_that_refuses_any_of_250_writes(tmp_path, whole):
    report = run_campaign(tmp_path, whole, 250, seed=0)
    print(report)  # noqa: T201
    assert report.problems == []
