"""A network learns from photographs without labels, and a study can start from what it has learned."""

from safetensors.torch import load_file

from benchmarks import self_supervised
from skinbit.embedding.backbones import load_backbone
from skinbit.params import BackboneParams, PoolingParams


def test_the_weights_that_it_writes_are_others_and_load_as_a_backbone(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("SKINBIT_WEIGHTS", str(archive.weights))
    arguments = ["--root", archive.root, "--photographs", archive.photographs, "--out", tmp_path, "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["", *map(str, arguments)])
    self_supervised.main()
    learned = tmp_path / "weights.safetensors"
    before, after = load_file(archive.weights), load_file(learned)
    assert set(after) < set(before)
    assert any((before[name] != tensor).any() for name, tensor in after.items())
    params = BackboneParams(
        model="test_resnet", image_size=32, pooling=PoolingParams(method="gem", levels=(1, 2)), weights=str(learned)
    )
    loaded = load_backbone(params, 42).module.state_dict()
    assert all((loaded[f"levels.{name}"] == tensor).all() for name, tensor in after.items())
