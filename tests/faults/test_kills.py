"""A run that is killed, whenever that is, and resumed ends with the files of a run that was not, byte for byte."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")


@pytest.mark.long
def test_a_few_kills(campaign, tmp_path):
    report = campaign(tmp_path, n_kills=2, seed=3, experiments=("vit_triplet",))
    assert report.differences == {}
    assert report.kills.total() >= 2


@pytest.mark.faults
def test_fifty_kills(campaign, tmp_path):
    report = campaign(tmp_path, n_kills=50, seed=1)
    print(report)  # noqa: T201
    assert report.differences == {}
    assert report.kills.total() >= 50
    assert len(report.kills) > 4, "kills of nearly every kind"
