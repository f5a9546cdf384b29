"""Backbones: the seed alone draws weights, a file is loaded completely or refused, the network is never needed."""

import errno
import math
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from skinbit.config import BackboneParams, PoolingParams
from skinbit.embedding import backbones, hub, weights
from skinbit.embedding.backbones import Backbone, PooledLevels, load_backbone, outline_backbone
from skinbit.errors import InputError

SIZE = 48
GEM_OF_TWO_LEVELS = PoolingParams(method="gem", levels=(1, 2))


def settings(model: str = "test_resnet", **changes: Any) -> BackboneParams:
    return BackboneParams(**{"model": model, "image_size": SIZE, "pretrained": False, **changes})


def from_file(path: Path, model: str = "test_resnet", **changes: Any) -> BackboneParams:
    return settings(model, pretrained=True, weights=str(path), **changes)


def refusal(params: BackboneParams) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(params, 0)
    return refused.value.message


def pixels(size: int = SIZE) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def features_of(backbone: Backbone, size: int = SIZE) -> np.ndarray:
    with torch.inference_mode():
        return backbone.module(pixels(size)).numpy()


def changed_copy(source: Path, target: Path, **changes: torch.Tensor | None) -> Path:
    """Copy a weights file with tensors replaced, or left out where the change is none."""
    tensors = {**load_file(source), **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, target)
    return target


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_same_seed_draws_the_same_weights_and_another_seed_others(model: str) -> None:
    first, again, other = (load_backbone(settings(model), seed).weights_sha256() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_loading_neither_uses_nor_moves_the_global_generator(model: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    digest = load_backbone(settings(model), 1).weights_sha256()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert load_backbone(settings(model), 1).weights_sha256() == digest


def test_loading_changes_nothing_of_pytorch_for_other_threads(
    weights_of_resnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (torch.nn.Module, "load_state_dict"), (torch, "load"), (torch.Tensor, "copy_"), (torch, "empty")
    before = [getattr(*part) for part in parts]
    create, seen = timm.create_model, []

    def create_and_look(*arguments: Any, **options: Any) -> Any:
        seen.append([getattr(*part) for part in parts])
        assert not torch.nn.modules.module._global_parameter_registration_hooks
        return create(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", create_and_look)
    load_backbone(from_file(weights_of_resnet), 1)
    outline_backbone(settings())
    assert seen == [before, before]


def test_two_threads_load_at_once_and_each_notices_what_its_own_file_lacks(
    weights_of_resnet: Path, tmp_path: Path
) -> None:
    part = changed_copy(weights_of_resnet, tmp_path / "part.safetensors", conv1__0__weight=None)
    with ThreadPoolExecutor(4) as pool:
        whole = [pool.submit(load_backbone, from_file(weights_of_resnet), seed) for seed in range(4)]
        lacking = [pool.submit(refusal, from_file(part)) for _ in range(4)]
        assert len({future.result().weights_sha256() for future in whole}) == 1
        assert all("lacks 1 of its tensors: conv1.0.weight" in future.result() for future in lacking)


def test_backbone_is_frozen_and_in_evaluation_mode() -> None:
    module = load_backbone(settings(), 1).module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize(("model", "feature_dim"), [("test_resnet", 96), ("test_vit", 64)])
def test_feature_dim_is_that_of_the_features(model: str, feature_dim: int) -> None:
    backbone = load_backbone(settings(model), 1)
    assert backbone.feature_dim == feature_dim
    assert features_of(backbone).shape == (2, feature_dim)


def test_weights_file_is_loaded_completely(weights_of_resnet: Path) -> None:
    source = timm.create_model("test_resnet", pretrained=False)
    source.load_state_dict(load_file(weights_of_resnet))
    source.reset_classifier(0)
    backbone = load_backbone(from_file(weights_of_resnet), seed=1)
    assert backbone.weights_sha256() == Backbone(source, backbone.preprocessing, 96).weights_sha256()
    with torch.inference_mode():
        expected = source.eval()(pixels()).numpy()
    np.testing.assert_allclose(features_of(backbone), expected, rtol=1e-4, atol=1e-5)


def test_weights_file_leaves_nothing_to_the_seed(weights_of_resnet: Path) -> None:
    hashes = {load_backbone(from_file(weights_of_resnet), seed).weights_sha256() for seed in (1, 2)}
    assert len(hashes) == 1


def test_hash_sees_a_change_of_one_weight_and_of_one_statistic(weights_of_resnet: Path, tmp_path: Path) -> None:
    tensors = load_file(weights_of_resnet)
    hashes = {load_backbone(from_file(weights_of_resnet), 0).weights_sha256()}
    for number, name in enumerate(("conv1.0.weight", "conv1.1.running_mean")):
        changed = tensors[name].clone()
        changed.view(-1)[0] += 1
        path = changed_copy(weights_of_resnet, tmp_path / f"{number}.safetensors", **{name: changed})
        hashes.add(load_backbone(from_file(path), 0).weights_sha256())
    assert len(hashes) == 3


@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "conv1.1.running_var"])
def test_file_that_lacks_a_tensor_is_refused_and_the_tensor_is_named(
    weights_of_resnet: Path, tmp_path: Path, name: str
) -> None:
    path = changed_copy(weights_of_resnet, tmp_path / "part.safetensors", **{name: None})
    for pooling in (PoolingParams(), GEM_OF_TWO_LEVELS):
        assert f"part.safetensors lacks 1 of its tensors: {name}" in refusal(from_file(path, pooling=pooling))


def test_file_of_another_network_is_refused(weights_of_resnet: Path) -> None:
    message = refusal(from_file(weights_of_resnet, "test_vit"))
    assert "the weights file test_resnet.safetensors is of another network: it has 0 of the " in message
    assert "tensors of test_vit, and begins with " in message
    assert "Remedy: set backbones.<name>.weights to the file of this model, or backbones.<name>.model" in message
    assert len(message) < 500


def test_file_that_lacks_only_a_level_that_is_not_pooled_is_accepted(weights_of_resnet: Path, tmp_path: Path) -> None:
    last_level = [name for name in load_file(weights_of_resnet) if name.startswith(("layer4", "fc"))]
    path = changed_copy(weights_of_resnet, tmp_path / "part.safetensors", **dict.fromkeys(last_level))
    without_last = load_backbone(from_file(path, pooling=PoolingParams(method="gem", levels=(1, 2, 3))), 0)
    complete = load_backbone(from_file(weights_of_resnet, pooling=PoolingParams(method="gem", levels=(1, 2, 3))), 0)
    assert without_last.weights_sha256() == complete.weights_sha256()
    assert "layer4" in refusal(from_file(path))
    assert "layer4" in refusal(from_file(path, pooling=PoolingParams(method="gem", levels=(1, 4))))


def test_file_that_lacks_only_the_classifier_is_accepted(weights_of_resnet: Path, tmp_path: Path) -> None:
    path = changed_copy(weights_of_resnet, tmp_path / "part.safetensors", fc__weight=None, fc__bias=None)
    expected = load_backbone(from_file(weights_of_resnet), 0).weights_sha256()
    assert load_backbone(from_file(path), 0).weights_sha256() == expected


@pytest.mark.parametrize("name", ["conv1.0.weight", "layer2.0.conv1.weight"])
def test_tensor_of_a_wrong_shape_is_refused(weights_of_resnet: Path, tmp_path: Path, name: str) -> None:
    path = changed_copy(weights_of_resnet, tmp_path / "wrong.safetensors", **{name: torch.zeros(1, 2, 3, 3)})
    message = refusal(from_file(path))
    assert "the weights file wrong.safetensors is of a network of another size: " in message
    assert f"{name} is [1, 2, 3, 3], not [" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(weights_of_resnet: Path, tmp_path: Path, value: float) -> None:
    name = "layer1.0.conv1.weight"
    tensor = load_file(weights_of_resnet)[name].clone()
    tensor.view(-1)[3] = value
    path = changed_copy(weights_of_resnet, tmp_path / "nan.safetensors", **{name.replace(".", "__"): tensor})
    message = refusal(from_file(path))
    assert f"its weights contain NaN or infinity, in {name}" in message
    assert "Remedy" in message


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"<html>", "a web page: the address of the file itself has /resolve/ in it"),
        (b"\n\n<!DOCTYPE html>" + b" " * 100, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a git-lfs pointer"),
        (b'{"metadata": {}, "weight_map": {}}', "a text in JSON"),
        (b"PK\x03\x04" + b"0" * 60, "a pickle of PyTorch or an archive"),
        (b"\x80\x02}q\x00.", "a pickle, which Skinbit never opens"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"weights", "not a safetensors file"),
        ((2**63).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((10**8 + 1).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((2).to_bytes(8, "little") + b"{]", "damaged: its header makes no sense"),
        ((200_001).to_bytes(8, "little") + b"{" + b"[" * 200_000, "damaged: its header makes no sense"),
        ((9).to_bytes(8, "little") + b'{"a": []}', "damaged: its header makes no sense"),
        ((30).to_bytes(8, "little") + b'{"a": {', "cut short: it has 15 bytes, which is not even its whole header"),
        ((2).to_bytes(8, "little") + b"{}and more", "too long: it has 18 bytes, but its header needs 10"),
    ],
)
def test_a_file_that_is_no_weights_is_told_by_its_content_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, kind: str
) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(content)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked"))
    message = refusal(from_file(path))
    assert f"the weights file own.safetensors is {kind}" in message
    assert "Remedy: download the .safetensors file again, as a whole" in message
    assert str(tmp_path) not in message


def test_pickle_under_the_name_of_a_weights_file_is_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save(Harm(), path)
    assert "the weights file weights.safetensors is a pickle" in refusal(from_file(path))
    assert not Harm.is_done


class Harm:
    """Leaves a trace if it is ever unpickled."""

    is_done = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Harm, "is_done", True)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_file_that_is_cut_short_is_refused_with_both_sizes(
    weights_of_resnet: Path, tmp_path: Path, share: float
) -> None:
    content = weights_of_resnet.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[: int(share * len(content))])
    message = refusal(from_file(damaged))
    assert f"damaged.safetensors is cut short: it has {int(share * len(content))} bytes" in message
    assert str(len(content)) in message or "whole header" in message


def test_file_of_a_network_of_another_size_is_refused_and_the_first_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=12).state_dict(), path)
    message = refusal(from_file(path, "vit_small_patch16_224"))
    assert "small.safetensors is of a network of another size: cls_token is [1, 1, 192], not [1, 1, 384]" in message
    assert len(message) < 500


def test_file_of_a_residual_network_for_a_transformer_that_resamples_positions_is_refused(
    weights_of_resnet: Path, tmp_path: Path
) -> None:
    odd = changed_copy(weights_of_resnet, tmp_path / "odd.safetensors", pos_embed=torch.zeros(1, 37, 99))
    assert "the weights file odd.safetensors is of another network" in refusal(from_file(odd, "test_vit"))


def test_wrong_model_args_are_not_blamed_on_the_weights_file(weights_of_resnet: Path) -> None:
    message = refusal(from_file(weights_of_resnet, model_args={"no_such_argument": 1}))
    assert "timm cannot create it" in message
    assert "no_such_argument" in message
    assert "weights file" not in message


def test_short_memory_is_not_blamed_on_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(RuntimeError, match="allocate memory") as raised:
        load_backbone(settings(), 0)
    assert not isinstance(raised.value, InputError)


def test_weights_file_that_may_not_be_read_is_named(
    weights_of_resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed_copy(weights_of_resnet, tmp_path / "locked.safetensors")

    def refuse(file: str, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", file)

    monkeypatch.setattr("builtins.open", refuse)
    message = refusal(from_file(path))
    monkeypatch.undo()
    assert "the weights file locked.safetensors cannot be read: permission denied" in message


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_called_missing(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.safetensors"
    make(path)
    message = refusal(from_file(path))
    assert "the weights file weights.safetensors is not a file, but a folder, a pipe or a device" in message
    assert "name the file itself" in message


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "give this user permission to read it, or name another file"),
        (errno.EIO, "check that it is connected and healthy"),
        (errno.ELOOP, "remove the link, or name another file"),
        (errno.ENAMETOOLONG, "shorten its name or path"),
    ],
)
def test_what_the_system_refuses_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("skinbit.embedding.weight_files.os.stat", refuse)
    message = refusal(from_file(tmp_path / "weights.safetensors"))
    monkeypatch.undo()
    assert f"the weights file weights.safetensors cannot be read: {os.strerror(number).lower()}" in message
    assert remedy in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    assert f"the weights file {path} does not exist" in refusal(from_file(path))


def test_unknown_model_is_refused_and_near_names_are_suggested() -> None:
    message = refusal(settings("test_resnt"))
    assert "timm has no model 'test_resnt'. Did you mean test_resnet" in message
    assert "timm.list_models(" in message


def test_model_name_that_nothing_is_near_to_is_refused() -> None:
    message = refusal(settings("q"))
    assert "timm has no model 'q'" in message
    assert "Did you mean" not in message


def test_argument_that_the_model_does_not_know_is_refused() -> None:
    assert "no_such_argument" in refusal(settings(model_args={"no_such_argument": 1}))


def test_level_that_the_model_does_not_have_is_refused() -> None:
    assert "timm cannot create it" in refusal(settings(pooling=PoolingParams(method="mean", levels=(9,))))


@pytest.mark.parametrize("is_offline", [True, False])
def test_pretrained_weights_out_of_reach_are_refused_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_offline: bool
) -> None:
    attempts = []

    def unreachable(*arguments: Any, **options: Any) -> None:
        attempts.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked"))
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    message = refusal(settings("test_resnet.r160_in1k", pretrained=True))
    assert "not on this machine and the Hugging Face hub is out of reach" in message
    assert "pretrained=false" in message
    assert bool(attempts) is not is_offline
    assert len(attempts) <= 2  # the client may also ask what agents there are


def put_into_cache(cache: Path, model: str, source: Path, name: str = "model.safetensors") -> None:
    """Lay a file down as the hub's client does after it downloaded it."""
    folder = cache / f"models--timm--{model}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd")
    snapshot = folder / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (snapshot / name).symlink_to(source)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("the network is asked"))
    return tmp_path / "hub"


def test_weights_in_the_hubs_cache_are_loaded_without_a_network(weights_of_resnet: Path, cache: Path) -> None:
    put_into_cache(cache, "test_resnet.r160_in1k", weights_of_resnet)
    published = load_backbone(settings("test_resnet.r160_in1k", pretrained=True), 0)
    assert published.weights_sha256() == load_backbone(from_file(weights_of_resnet), 1).weights_sha256()


def test_weights_in_the_hubs_cache_that_lack_a_tensor_are_refused(
    weights_of_resnet: Path, cache: Path, tmp_path: Path
) -> None:
    part = changed_copy(weights_of_resnet, tmp_path / "part.safetensors", conv1__0__weight=None)
    put_into_cache(cache, "test_resnet.r160_in1k", part)
    assert "conv1.0.weight" in refusal(settings("test_resnet.r160_in1k", pretrained=True))


def test_weights_in_the_hubs_cache_that_are_cut_short_are_refused_with_the_folder_to_remove(
    weights_of_resnet: Path, cache: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "blob"
    cut.write_bytes(weights_of_resnet.read_bytes()[:5000])
    put_into_cache(cache, "test_resnet.r160_in1k", cut)
    message = refusal(settings("test_resnet.r160_in1k", pretrained=True))
    assert "the weights file model.safetensors is cut short" in message
    assert "Remedy: remove the folder models--timm--test_resnet.r160_in1k of the hub's cache" in message


def test_a_pickle_in_the_hubs_cache_is_not_opened(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Harm(), tmp_path / "harm.bin")
    put_into_cache(cache, "test_resnet.r160_in1k", tmp_path / "harm.bin", "pytorch_model.bin")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "out of reach" in refusal(settings("test_resnet.r160_in1k", pretrained=True))
    assert not Harm.is_done


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("pytorch_model.bin", "model.safetensors"),
        ("open_clip_pytorch_model.bin", "open_clip_model.safetensors"),
        ("other.bin", "other.safetensors"),
        ("model-00001-of-00018.safetensors", "model-00001-of-00018.safetensors"),
    ],
)
def test_the_safetensors_looked_for_are_those_that_timm_looks_for(name: str, looked_for: str) -> None:
    from timm.models._hub import _get_safe_alternatives

    assert hub.safe_name(name) == looked_for == next(iter(_get_safe_alternatives(name)), name)


@pytest.mark.parametrize("size", [32, 48, 96])
def test_vision_transformer_takes_other_sizes_than_its_own(tmp_path: Path, size: int) -> None:
    native = timm.create_model("test_vit", pretrained=False)
    path = tmp_path / "vit.safetensors"
    save_file(native.state_dict(), path)
    backbone = load_backbone(from_file(path, "test_vit", image_size=size), 0)
    assert np.isfinite(features_of(backbone, size)).all()
    loaded, source = backbone.module.state_dict(), native.state_dict()
    assert loaded["pos_embed"].shape == (1, 1 + (size // 16) ** 2, 64)
    assert source["pos_embed"].shape == (1, 101, 64)
    assert all(torch.equal(loaded[name], source[name]) for name in loaded if name != "pos_embed")


def test_dinov2_weights_as_their_authors_name_them_are_loaded_completely_at_another_size(tmp_path: Path) -> None:
    model, tiny = "vit_small_patch14_dinov2", {"embed_dim": 48, "depth": 2, "num_heads": 3}
    native = timm.create_model(model, pretrained=False, num_classes=0, img_size=70, **tiny)
    published = {name: tensor.clone() for name, tensor in native.state_dict().items()}
    published["mask_token"] = torch.zeros(1, 48)  # what timm's filter knows them by, and drops
    save_file(published, path := tmp_path / "dinov2.safetensors")
    loaded = load_backbone(from_file(path, model, image_size=98, model_args=tiny), 0).module.state_dict()
    assert loaded["pos_embed"].shape == (1, 1 + 7**2, 48)
    assert all(torch.equal(loaded[name], published[name]) for name in loaded if name != "pos_embed")
    save_file({name: tensor for name, tensor in published.items() if name != "blocks.1.ls2.gamma"}, path)
    assert "blocks.1.ls2.gamma" in refusal(from_file(path, model, image_size=98, model_args=tiny))


@pytest.mark.parametrize("change", [{"image_size": 96}, {"model_args": {"in_chans": 1}}])
def test_weights_are_adapted_as_timms_own_loading_adapts_them(tmp_path: Path, change: dict[str, Any]) -> None:
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), path := tmp_path / "vit.safetensors")
    params = from_file(path, "test_vit", **change)
    overlay = {"file": str(path)}
    expected = timm.create_model(
        "test_vit",
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        num_classes=0,
        img_size=params.image_size,
        **params.model_args,
    ).state_dict()
    filled = weights.FilledTensors()
    with filled:
        network = backbones._create(params, str(path))
    assert not filled.absent_from(network)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    message = refusal(settings("test_vit", image_size=50))
    assert "50" in message
    assert "patch size (16)" in message


def test_features_that_are_no_vector_are_refused() -> None:
    message = refusal(settings(model_args={"global_pool": ""}))
    assert "4-dimensional features" in message
    assert "pooling.levels" in message


class FixedMaps(torch.nn.Module):
    """Returns the same feature levels for any pixels."""

    def __init__(self, *maps: torch.Tensor) -> None:
        super().__init__()
        self._maps = maps

    def forward(self, _: torch.Tensor) -> list[torch.Tensor]:
        return list(self._maps)


ONE_LEVEL = torch.tensor([[[[1.0, 3.0]], [[2.0, -5.0]]]])  # one image, two channels, 1 x 2 positions


def pool(method: str, power: float = 3.0, *maps: torch.Tensor) -> np.ndarray:
    maps = maps or (ONE_LEVEL,)
    pooling = PoolingParams(method=method, levels=tuple(range(len(maps))), power=power)
    channels = [2] * len(maps)
    return PooledLevels(FixedMaps(*maps), channels, pooling)(torch.zeros(1))[0].numpy()


def test_gem_is_the_generalised_mean_of_clamped_activations() -> None:
    raw = [((1**3 + 3**3) / 2) ** (1 / 3), ((2**3 + 1e-6**3) / 2) ** (1 / 3)]
    np.testing.assert_allclose(pool("gem"), np.array(raw) / math.hypot(*raw), rtol=1e-6)


def test_mean_pooling_is_the_mean() -> None:
    raw = [(1 + 3) / 2, (2 - 5) / 2]
    np.testing.assert_allclose(pool("mean"), np.array(raw) / math.hypot(*raw), rtol=1e-6)


def test_gem_of_power_1_equals_the_mean() -> None:
    np.testing.assert_array_equal(pool("gem", 1.0), pool("mean"))


def test_gem_of_a_large_power_comes_near_the_maximum() -> None:
    np.testing.assert_allclose(pool("gem", 30.0), np.array([3, 2]) / math.hypot(3, 2), atol=0.01)


def test_levels_are_concatenated_in_order_and_each_has_unit_length() -> None:
    second = 7 * torch.tensor([[[[1.0]], [[0.0]]]])
    pooled = pool("mean", 3.0, ONE_LEVEL, second)
    np.testing.assert_allclose(pooled[:2], pool("mean"))
    np.testing.assert_allclose(pooled[2:], [1, 0])


def test_levels_with_channels_last_are_pooled_alike() -> None:
    wide = torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(pool("gem", 3.0, wide.permute(0, 2, 3, 1)), pool("gem", 3.0, wide), rtol=1e-6)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_pooled_backbone_gives_one_unit_vector_per_level(model: str) -> None:
    backbone = load_backbone(settings(model, pooling=GEM_OF_TWO_LEVELS), 1)
    features = features_of(backbone)
    assert features.shape == (2, backbone.feature_dim)
    np.testing.assert_allclose((features**2).sum(axis=1), 2, rtol=1e-5)


def test_preprocessing_is_that_of_the_models_own_configuration(monkeypatch) -> None:
    own = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "nearest", "crop_pct": 0.7}
    arguments = backbones._creation_arguments
    monkeypatch.setattr(backbones, "_creation_arguments", lambda _: arguments(_) | {"pretrained_cfg_overlay": own})
    preprocessing = load_backbone(settings(), 1).preprocessing
    assert {name: getattr(preprocessing, name) for name in own} == own
    assert preprocessing.image_size == SIZE


def test_mean_and_std_of_the_parameters_stand_before_the_models_own() -> None:
    own = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    preprocessing = load_backbone(settings(**own), 1).preprocessing
    assert (preprocessing.mean, preprocessing.std) == (own["mean"], own["std"])


def test_models_differ_in_interpolation() -> None:
    resnet, vit = (load_backbone(settings(model), 1).preprocessing for model in ("test_resnet", "test_vit"))
    assert (resnet.interpolation, vit.interpolation) == ("bilinear", "bicubic")
