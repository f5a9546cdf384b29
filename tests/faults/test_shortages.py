"""A full disk ends a run with one message; with more space it goes on and ends with the files of an undisturbed run."""

import os
import resource
import subprocess

import pytest

from tests.faults.studies import EXPERIMENTS, files_of, fork_run, log_of, make_project

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", EXPERIMENTS)


def assert_resumes(project, whole):
    log = log_of(project)
    assert "InputError: The disk is full, or a quota or limit is reached" in log
    assert "--only-missing-outputs" in log
    assert not [name for name in files_of(project) if name.endswith(".tmp")]
    assert fork_run(project, only_missing=True) == 0, log_of(project)
    assert files_of(project) == whole


def test_files_that_may_not_grow(project, whole, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # else half of a compiled library would be kept, for good
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert fork_run(project, only_missing=False) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_resumes(project, whole)


def test_a_disk_of_a_few_hundred_kilobytes(project, whole):
    disk = project / "data"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.decode().strip()}")
    try:
        assert fork_run(project, only_missing=False) == 1
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        assert_resumes(project, whole)
    finally:
        subprocess.run(["umount", disk], check=True)
