"""Embeddings and checkpoints of several experiments as one."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kedro.io import DatasetError

from skinbit.config import (
    MAX_MEMBERS,
    BackboneParams,
    ClusterParams,
    GeometryParams,
    SimilarityParams,
)
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model
from skinbit.embedding.combination import combine_checkpoints, combine_embeddings, combine_vectors, members_of
from skinbit.embedding.tables import Embeddings
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.pipelines.cluster_images.nodes.model import open_checkpoint
from skinbit.pipelines.final_model.nodes.packaging import package_combination, package_model
from skinbit.runtime.datasets.checkpoint import CheckpointDataset, pack_tensors

MATCHING = Matching(
    operating_points={"cosine": ()},
    max_group_size=4,
    similarity=SimilarityParams(),
    geometry=GeometryParams(),
    calibration=None,
)
AVERAGES = dict.fromkeys(("cosine_threshold", "dbscan_eps", "average_cut", "complete_cut"), 0.5)


@st.composite
def members(draw):
    n_images = draw(st.integers(1, 6))
    values = st.floats(-1, 1, width=32)
    drawn = [draw(arrays(np.float32, (n_images, draw(st.integers(1, 9))), elements=values)) for _ in range(3)]
    return [
        unit_vectors(vectors + np.where(np.linalg.norm(vectors, axis=1) < 1e-3, 1, 0)[:, None]) for vectors in drawn
    ]


class TestVectors:
    @given(members(), st.lists(st.floats(0.001, 1000), min_size=3, max_size=3))
    def test_cosines_are_the_weighted_mean_of_the_members_cosines(self, vectors, shares):
        combined = similarity_matrix(Pool(combine_vectors(vectors, shares)))
        for a in range(len(combined)):
            for b in range(len(combined)):
                cosines = [sum(float(x) * float(y) for x, y in zip(each[a], each[b], strict=True)) for each in vectors]
                mean = sum(share * cosine for share, cosine in zip(shares, cosines, strict=True)) / sum(shares)
                assert combined[a, b] == pytest.approx(mean, abs=3e-6)

    @given(members())
    def test_members_of_equal_shares_have_the_same_say_whatever_their_dimension(self, vectors):
        combined = combine_vectors(vectors, (1.0, 1.0, 1.0)).astype(np.float64)
        parts = np.split(combined, np.cumsum([each.shape[1] for each in vectors])[:-1], axis=1)
        for part in parts:
            np.testing.assert_allclose((part**2).sum(axis=1), 1 / len(vectors), atol=1e-5)

    def test_no_images_have_no_embeddings(self):
        nothing = [np.empty((0, width), np.float32) for width in (2, 3)]
        assert combine_vectors(nothing, (1.0, 2.0)).shape == (0, 5)

    @pytest.mark.parametrize("others", [("a", "c"), ("b", "a"), ("a",)])
    def test_of_different_images_are_refused(self, others):
        first, second = (Embeddings(ids, unit_vectors(np.ones((len(ids), 2))), {}) for ids in (("a", "b"), others))
        with pytest.raises(InputError, match=r"are of different images\.\n  Remedy: "):
            combine_embeddings([first, second], (1.0, 1.0))


def member(model: str, size: int) -> Checkpoint:
    backbone = BackboneParams(model=model, image_size=size, pretrained=False)
    return package_model(AVERAGES, MATCHING, backbone, seed=3)


@pytest.fixture(scope="module")
def parts() -> dict[str, Checkpoint]:
    return {"first": member("test_resnet", 32), "second": member("test_vit", 96)}


@pytest.fixture(scope="module")
def combined(parts) -> Checkpoint:
    checkpoints = {f"checkpoint_{name}": part for name, part in parts.items()}
    return package_combination(AVERAGES, MATCHING, shares={"first": 2.0, "second": 1.0}, **checkpoints)


def load(path):
    checkpoint = CheckpointDataset(filepath=path.as_posix()).load()
    return checkpoint, [rebuild_model(part) for part in members_of(checkpoint)]


class TestCheckpoint:
    def test_gives_back_every_member_after_it_was_written(self, parts, combined, tmp_path):
        CheckpointDataset(filepath=(tmp_path / "a.safetensors").as_posix()).save(combined)
        checkpoint, models = load(tmp_path / "a.safetensors")
        assert (checkpoint.header.combine, checkpoint.header.shares) == (("first", "second"), (2.0, 1.0))
        pixels = {size: torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) for size in (32, 96)}
        for model, part in zip(models, parts.values(), strict=True):
            batch = pixels[model.preprocessing.image_size]
            assert torch.equal(model.module(batch), rebuild_model(part).module(batch))

    def test_of_one_model_is_its_own_member(self, parts):
        assert members_of(parts["first"]) == (parts["first"],)

    def test_is_no_single_model(self, combined):
        with pytest.raises(InputError, match="The model cannot be rebuilt"):
            rebuild_model(combined)

    def test_says_nothing_of_how_members_are_matched_alone(self, combined):
        for header in combined.header.members:
            assert not {"matching", "cosine_threshold", "dbscan_eps"} & header.model_dump().keys()
        assert combined.header.matching == MATCHING


def change(header, path, value):
    copied = copy.deepcopy(header)
    place = copied
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copied


HEADERS = [
    (("members",), [], "it names 2 experiments, but has 0 members"),
    (("combine",), [f"n{n}" for n in range(MAX_MEMBERS + 1)], "combine: Tuple should have at most 16 items"),
    (("members",), "text", "members: Input should be a valid"),
    (("members", 0), {}, "members.0.backbone: Field required"),
    (("members", 0, "backbone", "model"), "hf-hub:someone/model", "no path, address or hub name"),
    (("members", 1, "holds_backbone"), False, "a combination must have all weights"),
    (("members", 1, "matching"), MATCHING.model_dump(), "a combination is matched as a whole"),
    (("members", 0, "members"), [], "members.0.members: Extra inputs are not permitted"),
    (("combine",), ["first"], "combine: Tuple should have at least 2 items"),
    (("combine",), ["first", "../second"], "combine.1"),
    (("shares",), [1.0], "it names 2 experiments, but has 1 shares"),
    (("shares",), [1.0, 0.0], "shares.1: Input should be greater than or equal to 0.001"),
    (("shares",), [1.0, "1"], "shares.1: Input should be a valid number"),
    (("backbone",), {}, "backbone: Extra inputs are not permitted"),
    (("matching",), None, "matching: Input should be"),
    (("cosine_threshold",), 7.0, "cosine_threshold"),
]
CLASS_TOKEN = "member_1.backbone.cls_token"


class TestStrangersCheckpoint:
    @pytest.mark.parametrize(("place", "value", "said"), HEADERS, ids=lambda part: str(part)[:50])
    def test_a_header_that_no_combination_has_is_named(self, combined, tmp_path, place, value, said):
        plain = json.loads(json.dumps(combined.header.model_dump()))
        header = change(plain, place, value) | {"format": 1}
        (tmp_path / "a.safetensors").write_bytes(pack_tensors(combined.tensors, header))
        with pytest.raises(DatasetError) as refused:
            load(tmp_path / "a.safetensors")
        assert said in str(refused.value.__cause__)

    @pytest.mark.parametrize(
        ("tensors", "said"),
        [
            ({"surprise": torch.zeros(1)}, "1 tensors that belong to no member, such as 'surprise'"),
            (
                {"member_2.backbone.x": torch.zeros(1)},
                "1 tensors that belong to no member, such as 'member_2.backbone.x'",
            ),
            ({"member_1.surprise": torch.zeros(1)}, "1 unexpected, such as 'surprise'"),
            ({CLASS_TOKEN: torch.zeros(1)}, "'cls_token' is torch.float32"),
        ],
    )
    def test_tensors_that_are_not_those_of_its_models_are_named_before_photographs_are_read(
        self, combined, tensors, said
    ):
        checkpoint = Checkpoint({**combined.tensors, **tensors}, combined.header)
        with pytest.raises(InputError, match=r"a\.safetensors cannot be used\. The model cannot be rebuilt") as refused:
            open_checkpoint(lambda name: checkpoint, ClusterParams(checkpoint="a.safetensors"))
        assert said in refused.value.message
        assert "Remedy" in refused.value.message


def test_members_are_combined_in_the_order_in_which_they_are_named(parts):
    orders = (parts.items(), reversed(parts.items()))
    names = [combine_checkpoints(dict(order), (1.0, 1.0), AVERAGES, MATCHING).header.combine for order in orders]
    assert names == [("first", "second"), ("second", "first")]
