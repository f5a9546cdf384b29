"""A small study, and runs of it in processes of their own.

A run is a fork of this process. If that has run the study once, all is imported: a run begins at once, and fifty of
them take minutes.
"""

import contextlib
import io
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import click
import yaml
from kedro.framework.startup import bootstrap_project
from kedro.runner import AbstractRunner, SequentialRunner

from skinbit.runtime.session import StudySession

REPOSITORY = Path(__file__).parents[2]
ROOT = "data/demo"
LONGEST_RUN_S = 180

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

EXPERIMENTS = ("vit_triplet",)
"""Those of the smallest study that trains, saves states and groups photographs."""

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


def files_of(project: Path) -> dict[str, bytes]:
    """Return all files of the outputs by path, records and lock included; not the cache of compared pairs."""
    found = (path for path in (project / ROOT).rglob("*") if path.is_file() and path.parent.name != "pairs.pieces")
    return {path.relative_to(project / ROOT).as_posix(): path.read_bytes() for path in found}


def log_of(project: Path) -> str:
    """Return what the last run has said: its log, and its message or the traceback of its error."""
    return (project / "log.txt").read_text()


def run_study(project: Path, only_missing: bool, runner: AbstractRunner | None = None) -> None:
    """Do what `kedro run --env campaign --pipelines …` does, in this process."""
    bootstrap_project(project)
    with contextlib.chdir(project), StudySession.create(project_path=project, env="campaign") as session:
        session.run(pipeline_names=PIPELINES, only_missing_outputs=only_missing, runner=runner or SequentialRunner())


def fork_run(
    project: Path,
    only_missing: bool,
    arm: Callable[[], None] | None = None,
    runner: AbstractRunner | None = None,
    killed_after_s: float | None = None,
) -> int:
    """Run the study in a child process.

    Args:
        project: Its project.
        only_missing: Whether it goes on where an earlier run has ended.
        arm: Prepares the child for what shall happen to it.
        runner: None: the nodes run one after another.
        killed_after_s: When the child is killed; None: if it never ends.

    Returns:
        The child's exit code; negative: the signal that ended it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads: they wait for work
        child = os.fork()
    if child == 0:
        _be_child(project, only_missing, arm, runner)
    deadline = time.monotonic() + (LONGEST_RUN_S if killed_after_s is None else killed_after_s)
    while True:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            deadline += LONGEST_RUN_S
        time.sleep(0.002)


def _be_child(
    project: Path, only_missing: bool, arm: Callable[[], None] | None, runner: AbstractRunner | None
) -> NoReturn:
    os.setsid()
    sys.stdout = sys.stderr = said = io.StringIO()  # files may be limited in size, or the test's own
    with open(os.devnull, "w") as nowhere:  # log handlers hold the streams that they began with
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    logging.getLogger().addHandler(logging.StreamHandler(said))
    code = 1
    try:
        if arm is not None:
            arm()
        run_study(project, only_missing, runner)
        code = 0
    except click.ClickException as error:
        said.write(f"\n{type(error).__name__}: {error.format_message()}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        (project / "log.txt").write_text(said.getvalue())
        os._exit(code)
