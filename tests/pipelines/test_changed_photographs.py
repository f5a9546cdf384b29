"""Photographs that are others between two stages: one message, and caches that hold nothing of them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skinbit.errors import InputError

pytestmark = pytest.mark.long

STUDY = {"study": {"folds": [0], "experiments": ["vit_baseline"], "sample_data": False}}


def photographs_of(user_data: Path) -> tuple[Path, Path]:
    first, second, *_ = sorted((user_data / "images").iterdir())
    return first, second


@pytest.mark.parametrize("stage", ["baseline_embeddings", "audit"])
def test_a_photograph_that_was_another_one_for_a_stage_leaves_no_trace(make_project, user_data, tmp_path, stage):
    fresh, project = make_project(), make_project()
    others = ("audit",) if stage == "audit" else ()
    fresh.run(pipelines=("__default__", *others), **STUDY)
    project.run(pipelines=("data_split",), **STUDY)
    victim, other = photographs_of(user_data)
    kept = shutil.copy(victim, tmp_path / "kept.jpg")
    shutil.copy(other, victim)
    with pytest.raises(InputError, match=f"photograph {victim.name} can no longer be used: its bytes are not those"):
        project.run(pipelines=(stage,), **STUDY)
    shutil.copy(kept, victim)
    project.run(pipelines=("__default__", *others), **STUDY)
    assert project.outputs() == fresh.outputs()


@pytest.mark.parametrize("change", ["gone", "damaged"])
def test_a_run_ends_with_one_message_though_worker_processes_read(project, user_data, change):
    project.run(pipelines=("data_split",), **STUDY)
    victim, _ = photographs_of(user_data)
    content = victim.read_bytes()
    victim.unlink()
    match change:
        case "damaged":
            victim.write_bytes(content[:300])
        case "folder":
            victim.mkdir()
        case "dead link":
            victim.symlink_to("nowhere.jpg")
    params = "study.folds=[0],study.experiments=[vit_baseline],study.sample_data=false,loader.workers=2"
    command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", "baseline_embeddings"]
    ended = subprocess.run(
        [*command, "--params", params], cwd=project.root, capture_output=True, text=True, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert said.count(f"The photograph {victim.name} can no longer be used") == 1
    assert "Traceback" not in said
    assert "worker process" not in said
