"""Runs of a small study, killed at random moments in processes of their own, until they have come to their end.

A run is a fork of this process, which has imported everything: it begins at once, and fifty of them take minutes.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from kedro.framework.startup import bootstrap_project
from kedro.runner import SequentialRunner, ThreadRunner

from skinbit.runtime.session import StudySession

for _name in (
    "cv2",
    "matplotlib.pyplot",
    "pandera.pandas",
    "pytorch_metric_learning",
    "scipy.ndimage",
    "sklearn",
    "timm",
):
    import_module(_name)  # else most of a short run would go into importing them anew in every fork

REPOSITORY = Path(__file__).parents[2]
ROOT = "data/demo"
LONGEST_RUN_S = 180

EVERY_KIND = ("vit_baseline", "vit_triplet", "resnet_contrastive", "vit_verified")
"""Experiments that train nothing, a head, a whole network, and that compare keypoints."""

STUDY = {
    "study": {"folds": [0, 1]},
    "compute": {"threads": 1},
    "split": {"n_folds": 2},
    "sample": {"n_lesions": 14, "n_unlabelled": 0, "width": 64, "height": 48},
    "loader": {"workers": 0},  # their start takes longer than their work
    "evaluation": {"resamples": 100},
    "geometry": {"n_keypoints": 50},
    "training": {
        "save_every": 0.0,  # a state after every epoch
        "frozen": {"epochs": 4, "views": 2, "lesions_per_batch": 8, "head": {"hidden": [8], "dim": 8}},
        "fine_tuned": {"epochs": 2, "lesions_per_batch": 6, "head": {"dim": 8}},
    },
    "cluster": {"images": f"{ROOT}/01_raw/images"},
    "tracking": {"enabled": False},
}
"""The study makes its photographs itself; at its end they are grouped by the model of its last experiment."""

PIPELINES = ["__default__", "cluster_images"]


def make_project(root: Path, experiments: Sequence[str]) -> Path:
    """Make a project of the repository's configuration and the small study of some experiments."""
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(REPOSITORY / name, root)
    (root / "src").mkdir()
    (root / "conf/campaign").mkdir()
    (root / "conf/campaign/globals.yml").write_text((REPOSITORY / "conf/demo/globals.yml").read_text())
    chosen = {"study": {"experiments": list(experiments)}, "cluster": {"experiment": experiments[-1]}}
    demo = yaml.safe_load((REPOSITORY / "conf/demo/parameters.yml").read_text())
    (root / "conf/campaign/parameters.yml").write_text(yaml.safe_dump(_merged(_merged(demo, STUDY), chosen)))
    return root


def _merged(first: dict, second: dict) -> dict:
    both = [name for name in first.keys() & second.keys() if isinstance(first[name], dict)]
    return {**first, **second, **{name: _merged(first[name], second[name]) for name in both}}


def run_study(project: Path, only_missing: bool, runner=None) -> None:
    """Do what `kedro run --env campaign --pipelines …` does, in this process."""
    bootstrap_project(project)
    os.chdir(project)
    with StudySession.create(project_path=project, env="campaign") as session:
        session.run(pipeline_names=PIPELINES, only_missing_outputs=only_missing, runner=runner)


def files_of(project: Path) -> dict[str, bytes]:
    """Return all files of the folder of outputs, records and lock included, by path."""
    found = (path for path in (project / ROOT).rglob("*") if path.is_file())
    return {path.relative_to(project / ROOT).as_posix(): path.read_bytes() for path in found}


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


def fork_run(project: Path, only_missing: bool, kill: Kill | None = None, threads: bool = False) -> int:
    """Run the study in a child process.

    Args:
        project: Its project.
        only_missing: Whether it goes on where an earlier run was killed.
        kill: When the child dies; None: it comes to its end.
        threads: Whether two nodes run at a time.

    Returns:
        The child's exit code; negative: the signal that ended it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads: they wait for work
        child = os.fork()
    if child == 0:
        _be_child(project, only_missing, kill, threads)
    deadline = time.monotonic() + (kill.count if kill and kill.moment == "time" else LONGEST_RUN_S)
    while True:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            deadline += LONGEST_RUN_S
        time.sleep(0.002)


def _be_child(project: Path, only_missing: bool, kill: Kill | None, threads: bool) -> None:
    os.setsid()
    sys.stdout = sys.stderr = said = io.StringIO()  # files may be limited in size, or the test's own
    with open(os.devnull, "w") as nowhere:  # log handlers hold the streams that they began with
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    code = 1
    try:
        if kill is not None:
            kill.arm()
        run_study(project, only_missing, ThreadRunner(max_workers=2) if threads else SequentialRunner())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        (project / "log.txt").write_text(said.getvalue())
        os._exit(code)


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


@pytest.fixture(scope="session")
def studies() -> SimpleNamespace:
    """Return what makes and runs the small study."""
    return SimpleNamespace(make_project=make_project, fork_run=fork_run, files_of=files_of)


@pytest.fixture(scope="session")
def campaign() -> Callable[..., Report]:
    """Return the campaign."""
    return run_campaign


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
    torch.set_num_threads(1)  # a fork would inherit threads of a pool in an unknown state
    began = time.monotonic()
    rng, report = random.Random(seed), Report()
    whole = make_project(folder / "whole", experiments)
    start = time.monotonic()
    assert fork_run(whole, only_missing=False) == 0, (whole / "log.txt").read_text()
    duration_s = time.monotonic() - start
    expected = files_of(whole)
    n_saves = 2 * sum(name.startswith(".fingerprints/") for name in expected)
    while report.kills.total() < n_kills:
        project = make_project(folder / f"study_{report.studies}", experiments)
        for attempt in range(rng.randint(1, 3)):
            kill = draw_kill(rng, duration_s, n_saves)
            code = fork_run(project, attempt > 0, kill, threads=rng.random() < 0.25)
            if code == 0:
                report.too_late += 1
                break
            assert code < 0, (project / "log.txt").read_text()
            report.kills[kill.moment] += 1
        assert fork_run(project, only_missing=True) == 0, (project / "log.txt").read_text()
        found = files_of(project)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if differing:
            report.differences[report.studies] = differing
        else:
            shutil.rmtree(project)
        report.studies += 1
    report.duration_s = time.monotonic() - began
    return report
