"""A network learns from photographs without labels, and a study can start from what it has learned."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from benchmarks import self_supervised
from skinbit.embedding.backbones import load_backbone
from skinbit.params import BackboneParams, PoolingParams


def run(archive, out, monkeypatch):
    arguments = ["--root", archive.root, "--photographs", archive.photographs, "--out", out, "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["", *map(str, arguments)])
    self_supervised.main()


def test_the_weights_that_it_writes_are_others_and_load_as_a_backbone(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("SKINBIT_WEIGHTS", str(archive.weights))
    run(archive, tmp_path, monkeypatch)
    learned = tmp_path / "weights.safetensors"
    before, after = load_file(archive.weights), load_file(learned)
    assert set(after) < set(before)
    assert any((before[name] != tensor).any() for name, tensor in after.items())
    params = BackboneParams(
        model="test_resnet", image_size=32, pooling=PoolingParams(method="gem", levels=(1, 2)), weights=str(learned)
    )
    loaded = load_backbone(params, 42).module.state_dict()
    assert all((loaded[f"levels.{name}"] == tensor).all() for name, tensor in after.items())


def test_other_weights_than_the_studys_end_in_a_message(archive, tmp_path, monkeypatch):
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(archive.weights).items()}, other)
    monkeypatch.setenv("SKINBIT_WEIGHTS", str(other))
    with pytest.raises(SystemExit, match="Remedy: SKINBIT_WEIGHTS as in the study"):
        run(archive, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("description", "remedy"),
    [(None, "a study with a backbone named resnet18"), ({"pooling": {"levels": []}}, "not pooled by levels")],
)
def test_a_study_with_another_backbone_ends_in_a_message(archive, tmp_path, monkeypatch, description, remedy):
    path = tmp_path / "04_feature/resnet18/backbone.json"
    if description is not None:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(description))
    with pytest.raises(SystemExit, match=remedy):
        run(replace(archive, root=tmp_path), tmp_path, monkeypatch)
