"""Writes of SQLite and of Python's own files, refused one by one, lose no answer and leave no half of a file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux: forks, names of open files"),
]


def refuse_writes(folder: Path, n_faults: int) -> dict[str, dict]:
    """Return what a process says that has met so many faults in each scenario."""
    library = folder / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    command = [sys.executable, "-m", "tests.faults.native", str(folder), str(n_faults)]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def check(report: dict[str, dict]) -> None:
    assert [wrong for scenario in report.values() for wrong in scenario["wrong"] if wrong] == []
    assert report["write_answers"]["calls"] > 50
    assert report["write_pixels"]["calls"] > 5


@pytest.mark.long
def test_thirty_writes_of_each(tmp_path):
    check(refuse_writes(tmp_path, 30))


@pytest.mark.faults
def test_three_hundred_writes_of_each(tmp_path):
    report = refuse_writes(tmp_path, 300)
    print(report)  # noqa: T201
    check(report)
