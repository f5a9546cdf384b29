"""A run that is killed, whenever that is, and resumed ends with the files of a run that was not, byte for byte."""

import sys

import pytest

if not hasattr(sys, "getdlopenflags"):
    pytest.skip("needs a system that forks and kills", allow_module_level=True)

from campaign import campaign


def test_a_few_kills(tmp_path):
    report = campaign(tmp_path, n_kills=4, seed=3, experiments=("vit_triplet",))
    assert report.differences == {}
    assert report.kills.total() >= 4


@pytest.mark.faults
def test_fifty_kills(tmp_path):
    """`uv run pytest -m faults --numprocesses=0 -s tests/faults`: some fifteen minutes."""
    report = campaign(tmp_path, n_kills=50, seed=1)
    print(report)  # noqa: T201
    assert report.differences == {}
    assert report.kills.total() >= 50
    assert len(report.kills) == 6
