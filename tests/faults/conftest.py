"""The files of an undisturbed study."""

from pathlib import Path

import pytest
import torch

from tests.faults.studies import EXPERIMENTS, files_of, make_project, run_study


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return all files of the smallest study by path, made in this process, which has imported everything then."""
    torch.set_num_threads(1)  # a fork would inherit threads of a pool in an unknown state
    project: Path = make_project(tmp_path_factory.mktemp("projects") / "whole", EXPERIMENTS)
    run_study(project, only_missing=False)
    return files_of(project)
