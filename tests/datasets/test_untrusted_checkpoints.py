"""A checkpoint of a stranger: whatever is in it, it becomes the model that its header describes, or one message."""

import contextlib
import copy
import json
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError
from safetensors.torch import save as save_tensors

from skinbit.config import (
    BackboneParams,
    ClusterParams,
    GeometryParams,
    PoolingParams,
    RerankingParams,
    SimilarityParams,
)
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, whitening_tensors
from skinbit.embedding.embeddings import Whitenings
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.similarity.calibration import INLIER_STEPS
from skinbit.matching.similarity.whitening import Whitening
from skinbit.pipelines.cluster_images.nodes.model import open_checkpoint
from skinbit.pipelines.final_model.nodes.packaging import package_model
from skinbit.runtime.datasets.checkpoint import CheckpointDataset, pack_tensors

WIDTH = 48 + 32  # features of both levels
POINTS = {"cuts": [0.9, 0.5], "tp": [1, 2], "fp": [0, 3], "n_positive_pairs": 4, "n_images": 9}
SLOPES = [0.0] * len(INLIER_STEPS)
LINE = {"kind": "logistic", "intercept": -1.0, "similarity_slope": 2.0, "inliers_slopes": SLOPES}
SIMILARITY = SimilarityParams(calibration="logistic", reranking=RerankingParams())
MATCHING = Matching(
    operating_points={"cosine": [POINTS]},
    max_group_size=4,
    similarity=SIMILARITY,
    geometry=GeometryParams(),
    calibration=LINE,
)


def make_checkpoint() -> Checkpoint:
    backbone = BackboneParams(
        model="test_resnet", image_size=32, pretrained=False, pooling=PoolingParams(method="gem", levels=(1, 2))
    )
    averages = dict.fromkeys(("cosine_threshold", "dbscan_eps", "average_cut", "complete_cut"), 0.5)
    packed = package_model(averages, MATCHING, backbone, seed=3)
    width = WIDTH
    whitening = Whitening(np.zeros(width), np.eye(width)[:, :5])
    return Checkpoint({**packed.tensors, **whitening_tensors(Whitenings(whitening))}, packed.header)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make_checkpoint()


def header_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a header as the file holds it."""
    plain: dict[str, Any] = json.loads(json.dumps(checkpoint.header.model_dump()))
    return plain


def refusal(path: Path) -> str:
    """Return the message with which a file is refused, before or while it becomes a model."""
    with pytest.raises((DatasetError, InputError)) as refused:
        rebuild_model(CheckpointDataset(filepath=path.as_posix()).load())
    error = refused.value if isinstance(refused.value, InputError) else refused.value.__cause__
    assert isinstance(error, InputError)
    assert "Remedy" in error.message
    return error.message


def changed(header: Any, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copied: dict[str, Any] = copy.deepcopy(header)
    place: Any = copied
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copied


def write(path: Path, tensors: Any, header: Any) -> Path:
    """Write as a stranger would, with a seal that fits."""
    path.write_bytes(pack_tensors(tensors, header | {"format": 1}))
    return path


def test_the_example_is_a_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", checkpoint.tensors, header_of(checkpoint))
    assert rebuild_model(CheckpointDataset(filepath=path.as_posix()).load()).feature_dim == WIDTH


HEADERS = [
    (("backbone", "image_size"), 10**6, "backbone.image_size"),
    (("backbone", "model"), "hf-hub:someone/model", "no path, address or hub name"),
    (("backbone", "model"), "hf_hub:someone/model", "no path, address or hub name"),
    (("backbone", "model"), "local-dir:/etc", "no path, address or hub name"),
    (("backbone", "model"), "https://example.org/model", "no path, address or hub name"),
    (("backbone", "model"), "../../etc/passwd", "no path, address or hub name"),
    (("backbone", "model"), "no_such_model", "timm has no model"),
    (("backbone", "model"), "resnet50", "missing"),
    (("backbone", "weights"), "/etc/passwd.safetensors", "pretrained is false"),
    (("backbone", "model_args"), {"checkpoint_path": "passwd"}, "must not set checkpoint_path"),
    (("backbone", "model_args"), {"pretrained_cfg_overlay": {"file": "x"}}, "pretrained_cfg_overlay"),
    (("backbone", "model_args"), {"cache_dir": "x"}, "must not set cache_dir"),
    (("backbone", "model_args"), {"act_layer": "os.system('x')"}, "'act_layer' must be a word"),
    (("backbone", "model_args"), {"channels": [10**9] * 4}, "'channels' must be a word, a number up to 65536"),
    (("backbone", "model_args"), {"channels": [60000] * 4}, "6 missing"),
    (("backbone", "model_args"), {"layers": [60000] * 4}, "more than 5000 tensors"),
    (("backbone", "model_args"), {"nonsense": 1}, "timm cannot create it"),
    (("backbone", "pooling", "levels"), [1, 99], "timm cannot create it"),
    (("backbone", "test_views", "zooms"), [1.0 + n / 1000 for n in range(1000)], "zooms"),
    (("head", "dim"), 10**9, "head.dim"),
    (("head", "dim"), 60000, "missing"),
    (("head", "hidden"), [65536] * 16, "head.dim is null"),
    (("head",), {"hidden": [65536] * 16, "dim": 65536, "neck": True}, "missing"),
    (("head", "hidden"), [1] * 100_000, "head.hidden"),
    (("preprocessing", "image_size"), 48, "differ in image_size"),
    (("preprocessing", "crop_pct"), 1e-9, "preprocessing.crop_pct"),
    (("preprocessing", "std"), [0.0, 1.0, 1.0], "preprocessing.std.0"),
    (("preprocessing", "mean"), [0.0], "preprocessing.mean"),
    (("preprocessing", "interpolation"), "random", "preprocessing.interpolation"),
    (("seed",), -1, "seed"),
    (("seed",), "42", "seed: Input should be a valid integer"),
    (("loss",), "<b>", "loss"),
    (("epoch",), 1e400, "epoch"),
    (("holds_backbone",), "yes", "holds_backbone"),
    (("weights_sha256",), "../x", "weights_sha256"),
    (("extra",), 1, "extra: Extra inputs are not permitted"),
    (("versions", "skinbit"), "x" * 10_000, "versions.skinbit"),
    (("cosine_threshold",), 7.0, "cosine_threshold"),
    (("cosine_threshold",), "0.5", "cosine_threshold"),
    (("cosine_threshold",), float("inf"), "cosine_threshold"),
    (("matching", "similarity", "reranking", "k1"), 10**9, "matching.similarity.reranking.k1"),
    (("matching", "geometry", "n_keypoints"), 10**9, "matching.geometry.n_keypoints"),
    (("matching", "calibration"), None, "disagree on whether similarities are calibrated"),
    (("matching", "calibration", "intercept"), float("nan"), "matching.calibration.intercept"),
    (("matching", "calibration", "inliers_slopes"), [1.0], "matching.calibration.inliers_slopes"),
    (("matching", "calibration", "kind"), "isotonic", "isotonic calibration needs one probability"),
    (("matching", "operating_points"), {"nonsense": []}, "no method 'nonsense'"),
    (("matching", "operating_points"), {"cosine": [POINTS], "dbscan": []}, "different numbers of subsets"),
    (("matching", "operating_points", "cosine", 0, "tp"), [1], "different lengths"),
    (("matching", "operating_points", "cosine", 0, "tp"), [2, 1], "must not fall"),
    (("matching", "operating_points", "cosine", 0, "tp"), [1, 9], "more true positives than positive pairs"),
    (("matching", "operating_points", "cosine", 0, "cuts"), [0.5, float("nan")], "cuts.1"),
    (("matching", "operating_points", "cosine", 0, "n_images"), 0, "n_images"),
    (("matching", "max_group_size"), 1, "max_group_size"),
]


class TestHeader:
    @pytest.mark.parametrize(("place", "value", "said"), HEADERS, ids=lambda part: str(part)[:60])
    def test_a_value_that_no_model_has_is_named_and_nothing_large_is_made(
        self, checkpoint, tmp_path, monkeypatch, place, value, said
    ):
        path = write(tmp_path / "a.safetensors", checkpoint.tensors, changed(header_of(checkpoint), place, value))
        makers = ["heads.make_head", *(["backbones.load_backbone"] if place[0] == "backbone" else [])]
        for maker in makers:
            monkeypatch.setattr(f"skinbit.embedding.{maker}", lambda *_: pytest.fail("a network is made"))
        assert said in refusal(path)

    @pytest.mark.parametrize("name", ["backbone", "preprocessing", "head", "seed", "weights_sha256", "versions"])
    def test_a_missing_key_is_named(self, checkpoint, tmp_path, name):
        header = {key: value for key, value in header_of(checkpoint).items() if key != name}
        assert f"{name}: Field required" in refusal(write(tmp_path / "a.safetensors", checkpoint.tensors, header))

    @pytest.mark.parametrize("header", [[], None, 1, "text", {}])
    def test_another_kind_of_header_is_refused(self, tmp_path, header):
        content = save_tensors({"a": torch.zeros(1)}, {"skinbit": json.dumps(header)})
        (tmp_path / "a.safetensors").write_bytes(content)
        assert "is not a checkpoint of Skinbit" in refusal(tmp_path / "a.safetensors")

    def test_nothing_is_asked_over_the_network(self, checkpoint, tmp_path, monkeypatch):
        def connect(*address):
            raise AssertionError(f"connects to {address}")

        monkeypatch.setattr(socket.socket, "connect", connect)
        monkeypatch.setattr(socket, "getaddrinfo", connect)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        header = changed(header_of(checkpoint), ("backbone", "pretrained"), True)
        path = write(tmp_path / "a.safetensors", checkpoint.tensors, header)
        assert rebuild_model(CheckpointDataset(filepath=path.as_posix()).load()).feature_dim == WIDTH


def without(tensors, *names):
    return {key: tensor for key, tensor in tensors.items() if key not in names}


def of_zooms(tensors, dim):
    """Return a whitening of single zooms to some dimensions."""
    return {
        "zoom_whitening.mean": tensors["whitening.mean"],
        "zoom_whitening.projection": tensors["whitening.projection"][:, :dim].clone(),
    }


CONV = "backbone.levels.conv1.0.weight"


class TestTensors:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: without(t, CONV), "1 missing, such as 'levels.conv1.0.weight'"),
            (lambda t: {**t, "backbone.levels.extra": torch.zeros(1)}, "1 unexpected, such as 'levels.extra'"),
            (lambda t: {**t, "head.layers.0.weight": torch.zeros(1)}, "1 unexpected, such as 'head.layers.0.weight'"),
            (lambda t: {**t, "surprise": torch.zeros(1)}, "1 unexpected, such as 'surprise'"),
            (lambda t: {**t, CONV: t[CONV][:, :2].clone()}, "'levels.conv1.0.weight' is torch.float32"),
            (lambda t: {**t, CONV: t[CONV].double()}, "is torch.float64"),
            (lambda t: {**t, CONV: t[CONV] * float("nan")}, "contains NaN or infinity"),
            (lambda t: {**t, CONV: t[CONV] / 0}, "contains NaN or infinity"),
            (lambda t: without(t, "whitening.mean"), "whitening needs mean and projection"),
            (
                lambda t: {**t, "whitening.mean": torch.zeros(7, dtype=torch.float64)},
                "whitening does not have the shape",
            ),
            (
                lambda t: {**t, "whitening.mean": t["whitening.mean"].float()},
                "whitening does not have the shape or type",
            ),
            (lambda t: {**t, "whitening.mean": t["whitening.mean"] / 0}, "whitening contains NaN"),
            (lambda t: {**t, "zoom_whitening.mean": t["whitening.mean"]}, "whitening needs mean and projection"),
            (lambda t: {**t, **of_zooms(t, 4)}, "whitenings of photographs and of their zooms do not fit together"),
            (lambda t: without(t | of_zooms(t, 5), "whitening.mean", "whitening.projection"), "do not fit together"),
        ],
    )
    def test_that_are_not_those_of_the_model_are_named(self, checkpoint, tmp_path, change, said):
        path = write(tmp_path / "a.safetensors", change(dict(checkpoint.tensors)), header_of(checkpoint))
        assert said in refusal(path)

    def test_of_a_model_that_is_not_asked_for_are_named_with_the_file_before_photographs_are_read(
        self, checkpoint, tmp_path
    ):
        path = write(tmp_path / "best.safetensors", without(checkpoint.tensors, CONV), header_of(checkpoint))
        with pytest.raises(InputError, match=r"best\.safetensors cannot be used\. The model cannot be rebuilt"):
            open_checkpoint(
                lambda name: CheckpointDataset(filepath=name).load(), ClusterParams(checkpoint=path.as_posix())
            )


class TestSeal:
    def test_a_bit_that_changed_is_noticed(self, checkpoint, tmp_path):
        path = tmp_path / "a.safetensors"
        CheckpointDataset(filepath=path.as_posix()).save(checkpoint)
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
        assert "its bytes are not those that were written" in refusal(path)

    def test_a_number_in_the_header_that_changed_is_noticed(self, checkpoint, tmp_path):
        path = tmp_path / "a.safetensors"
        CheckpointDataset(filepath=path.as_posix()).save(checkpoint)
        content = path.read_bytes()
        assert content.count(b'\\"seed\\": 3') == 1
        path.write_bytes(content.replace(b'\\"seed\\": 3', b'\\"seed\\": 4'))
        assert "its bytes are not those that were written" in refusal(path)

    def test_a_file_that_something_else_wrote_is_refused(self, checkpoint, tmp_path):
        path = tmp_path / "a.safetensors"
        header = json.dumps({**header_of(checkpoint), "format": 1})
        path.write_bytes(save_tensors({"a": torch.zeros(1)}, {"skinbit": header}))
        assert "it has no seal" in refusal(path)

    def test_a_file_of_a_later_version_is_refused(self, checkpoint, tmp_path):
        path = tmp_path / "a.safetensors"
        path.write_bytes(pack_tensors(checkpoint.tensors, {**header_of(checkpoint), "format": 2}))
        assert "its format is 2, but this version of Skinbit reads 1" in refusal(path)

    def test_the_same_model_has_the_same_bytes(self, checkpoint, tmp_path):
        for name in "ab":
            CheckpointDataset(filepath=(tmp_path / name).as_posix()).save(checkpoint)
        CheckpointDataset(filepath=(tmp_path / "c").as_posix()).save(
            CheckpointDataset(filepath=(tmp_path / "a").as_posix()).load()
        )
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def raw(entries: Any, data: bytes = b"") -> bytes:
    head = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(head).to_bytes(8, "little") + head + data


META = {"__metadata__": {"skinbit": "{}"}}
FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


class TestContainer:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x00" * 7,
            (2**63).to_bytes(8, "little") + b"{}",
            (2**64 - 1).to_bytes(8, "little"),
            (10**8 + 1).to_bytes(8, "little") + b"{}",
            raw(b"[" * 200_000),
            raw({"__metadata__": {"skinbit": "[" * 200_000}}),
            raw({"__metadata__": {"skinbit": '{"a": ' + "1" * 10_000 + "}"}}),
            raw(META | {"a": FLOAT}),
            raw(META | {"a": FLOAT, "b": FLOAT}, bytes(4)),
            raw(META | {"a": FLOAT | {"data_offsets": [4, 0]}}, bytes(4)),
            raw(META | {"a": FLOAT | {"data_offsets": [0, 2**63]}}, bytes(4)),
            raw(META | {"a": FLOAT | {"shape": [2**62, 8]}}, bytes(4)),
            raw(META | {"a": FLOAT | {"shape": [-1]}}, bytes(4)),
            raw(META | {"a": FLOAT | {"dtype": "BF16", "shape": [2]}}, bytes(4)),
            raw(META | {"a": FLOAT | {"dtype": "OBJECT"}}, bytes(4)),
            raw(META | {"a": None}, bytes(4)),
            raw(META, b"more than the header says"),
        ],
        ids=range(18),
    )
    def test_a_container_that_lies_is_refused(self, tmp_path, content):
        (tmp_path / "a.safetensors").write_bytes(content)
        assert "a.safetensors is not a checkpoint of Skinbit" in refusal(tmp_path / "a.safetensors")

    @pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".safetensors"])
    def test_a_pickle_is_refused_and_never_run(self, tmp_path, suffix):
        path = tmp_path / f"model{suffix}"
        for save in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))):
            save(Harm(), path)
            assert "is not a checkpoint of Skinbit" in refusal(path)
        assert not Harm.is_done


class Harm:
    """Leaves a trace if it is ever unpickled."""

    is_done = False

    def __reduce__(self):
        return setattr, (Harm, "is_done", True)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a header."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, part in inner for place in places(part, (*path, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=6,
)


def test_places_are_all_values() -> None:
    assert places({"a": [1, {"b": 2}]}) == [("a",), ("a", 0), ("a", 1), ("a", 1, "b")]


class TestFuzz:
    @settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_value_anywhere_in_the_header_gives_a_model_or_one_message(self, checkpoint, tmp_path, data):
        header = header_of(checkpoint)
        header = changed(header, data.draw(st.sampled_from(places(header))), data.draw(JSON))
        self.accept(write(tmp_path / "a.safetensors", checkpoint.tensors, header))

    @settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    @example(data=None)
    def test_any_bytes_anywhere_in_the_file_give_a_model_or_one_message(self, checkpoint, tmp_path, data):
        path = write(tmp_path / "a.safetensors", checkpoint.tensors, header_of(checkpoint))
        content = bytearray(path.read_bytes())
        if data is not None:
            length = int.from_bytes(content[:8], "little")
            start = data.draw(st.integers(0, 8) | st.integers(0, 8 + length) | st.integers(0, len(content)))
            piece = data.draw(st.binary(max_size=12))
            end = data.draw(st.sampled_from([start, start + len(piece), len(content)]))
            content[start:end] = piece
        path.write_bytes(content)
        self.accept(path)

    def accept(self, path):
        with contextlib.suppress(InputError):
            try:
                rebuild_model(CheckpointDataset(filepath=path.as_posix()).load())
            except DatasetError as error:
                raise error.__cause__ from error
