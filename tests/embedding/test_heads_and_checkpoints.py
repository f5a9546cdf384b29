"""Heads, and models that a checkpoint brings back: their embeddings are those of the trained model, bit for bit."""

import numpy as np
import pandas as pd
import pytest
import torch

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ContrastiveParams,
    GeometryParams,
    HeadParams,
    LoaderParams,
    PoolingParams,
    SimilarityParams,
    TrainingParams,
    TrainingRecipe,
    ViewParams,
    WhiteningParams,
)
from skinbit.embedding import inference
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.checkpoints import Checkpoint, rebuild_model, whitening_of, with_backbone
from skinbit.embedding.compute import Compute, deterministic
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.features import describe_backbone, embed_views
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.embedding.pixels import PixelMaker, as_tensor
from skinbit.embedding.tables import Features
from skinbit.errors import InputError
from skinbit.matching.assembly import Matching
from skinbit.matching.methods import CUTS
from skinbit.pipelines.baseline_embeddings.nodes import embed_subset
from skinbit.pipelines.final_model.nodes.packaging import package_model
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.datasets.pixels import PixelsDataset
from skinbit.training.experiment import train
from skinbit.training.job import Job, Roles
from skinbit.training.tasks import HeadTask, NetworkTask
from tests.kept import decode

CPU = Compute("cpu", "fp32", 1)
SEED = 3
TURNED = ViewParams(rotations=(0, 90))
VIT = BackboneParams(model="test_vit", image_size=32, pretrained=False, test_views=TURNED)
POOLED = BackboneParams(
    model="test_resnet",
    image_size=32,
    pretrained=False,
    frozen=False,
    pooling=PoolingParams(method="gem", levels=(1, 2)),
    mean=(0.4, 0.5, 0.6),
    test_views=TURNED,
)
ROLES = Roles(tuple("abcde"), tuple("vvwww"), tuple("gf"), tuple("xx"), chooses_epoch=True)

AVERAGES = dict(zip(CUTS.values(), [0.5, 0.25, 0.3, 0.4], strict=True))
MATCHING = Matching(
    operating_points={}, max_group_size=4, similarity=SimilarityParams(), geometry=GeometryParams(), calibration=None
)


class NoStore:
    def read(self):
        return None

    def write(self, state):
        pass


class TestHead:
    @pytest.mark.parametrize("hidden", [(), (40,), (40, 30)])
    @pytest.mark.parametrize("neck", [True, False])
    def test_embeddings_have_unit_length_and_the_width_asked_for(self, hidden, neck):
        head = make_head(12, HeadParams(hidden=hidden, dim=6, neck=neck), SEED)
        for mode in (True, False):
            embeddings = head.train(mode)(torch.randn(9, 12) * 100)
            assert (embeddings.shape, embeddings.dtype) == ((9, 6), torch.float32)
            torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(9))

    def test_layers_are_those_of_the_settings(self):
        kinds = [type(layer).__name__ for layer in make_head(12, HeadParams(hidden=(7,), dim=6), SEED).layers]
        assert kinds == ["BatchNorm1d", "Linear", "BatchNorm1d", "ReLU", "Linear"]

    def test_without_dim_and_neck_features_are_only_scaled(self):
        head = make_head(12, HeadParams(dim=None, neck=False), SEED)
        features = torch.randn(4, 12)
        assert list(head.parameters()) == []
        torch.testing.assert_close(head(features), features / features.norm(dim=1, keepdim=True))

    def test_a_neck_alone_standardises_each_feature(self):
        head = make_head(2, HeadParams(dim=None, neck=True), SEED)
        embeddings = head(torch.tensor([[1.0, 100.0], [3.0, 500.0]]))
        torch.testing.assert_close(embeddings, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) / 2**0.5)

    def test_seed_draws_the_weights_and_nothing_else_does(self):
        state = torch.random.get_rng_state()
        first, again, other = (make_head(12, HeadParams(dim=6), seed).layers[-1].weight for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_frozen_statistics_are_those_of_the_backbone_alone(self):
        model = EmbeddingModel(load_backbone(POOLED, SEED).module, make_head(96, HeadParams(), SEED), True).train()
        norms = [module for module in model.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert model.head.layers[0].training
        assert model.backbone.training


def job_of(backbone, head):
    training = TrainingParams(epochs=2, lesions_per_batch=3, learning_rate=0.01, warmup=0, views=2, head=head)
    recipe = TrainingRecipe(
        loss="contrastive",
        loss_options=ContrastiveParams().model_dump(),
        params=training,
        augmentation=AugmentationParams(),
        threads=1,
        save_every=9.0,
    )
    return Job("test", backbone, recipe, CPU, SEED)


@pytest.fixture(scope="module")
def pixels(photographs, tmp_path_factory):
    """Fixture ``photographs``, decoded once for both backbones: they look at squares of one size."""
    loaded = load_backbone(POOLED, SEED)
    loader = LoaderParams(workers=0, batch_size=3)
    dataset = PixelsDataset(filepath=(tmp_path_factory.mktemp("pixels") / "pixels.safetensors").as_posix())
    decode(PixelMaker(photographs, loaded.preprocessing, TURNED, 40, loader), dataset)
    return dataset.load()


def embed(module, preprocessing, pixels, image_ids=tuple("gf")):
    """Embed images as the training does; an independent batch order would change the last bits."""
    crops = as_tensor(pixels.crops[["abcdefg".index(name) for name in image_ids]])
    with deterministic(CPU):
        return average_views(embed_views(module.eval(), crops, preprocessing, TURNED, CPU))


def saved_and_loaded(checkpoint, folder):
    dataset = CheckpointDataset(filepath=(folder / "best.safetensors").as_posix())
    dataset.save(checkpoint)
    return dataset.load()


@pytest.fixture(scope="module")
def tuned(pixels):
    description = describe_backbone(load_backbone(POOLED, SEED), POOLED, CPU, 3)
    return train(NetworkTask(pixels, description), ROLES, job_of(POOLED, HeadParams(dim=5)), NoStore())


@pytest.fixture(scope="module")
def vit_features(pixels):
    """Features and training views of the frozen backbone; any numbers do for the latter."""
    loaded = load_backbone(VIT, SEED)
    with deterministic(CPU):
        values = embed_views(loaded.module, as_tensor(pixels.crops[np.arange(7)]), loaded.preprocessing, TURNED, CPU)
    description = describe_backbone(loaded, VIT, CPU, 3)
    features = Features(pixels.image_ids, values, pixels.keys, description)
    noise = np.random.default_rng(0).normal(size=(7, 2, values.shape[2])).astype(np.float32)
    return features, Features(pixels.image_ids, noise, pixels.keys, description)


@pytest.fixture(scope="module")
def headed(vit_features):
    job = job_of(VIT, HeadParams(hidden=(9,), dim=5))
    return job, train(HeadTask(*vit_features), ROLES, job, NoStore())


class TestFineTuned:
    def test_the_rebuilt_model_embeds_as_the_trained_one_did(self, tuned, pixels, tmp_path):
        model = rebuild_model(saved_and_loaded(tuned.checkpoint, tmp_path))
        assert model.feature_dim == 5
        assert model.preprocessing == load_backbone(POOLED, SEED).preprocessing
        assert np.array_equal(embed(model.module, model.preprocessing, pixels), tuned.embeddings.values)

    def test_every_pixel_gives_the_same_embedding(self, tuned, tmp_path):
        loaded = load_backbone(POOLED, 99)
        trained = EmbeddingModel(loaded.module, make_head(loaded.feature_dim, HeadParams(dim=5), 99)).eval()
        trained.load_state_dict(dict(tuned.checkpoint.tensors))
        rebuilt = rebuild_model(saved_and_loaded(tuned.checkpoint, tmp_path)).module
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(rebuilt(images), trained(images))

    def test_its_weights_have_changed(self, tuned):
        before = load_backbone(POOLED, SEED).module.state_dict()
        assert not any(
            torch.equal(tensor, tuned.checkpoint.tensors[f"backbone.{name}"])
            for name, tensor in before.items()
            if name.endswith("conv1.weight")
        )

    def test_the_header_tells_how_to_use_it(self, tuned):
        header = tuned.checkpoint.model
        assert header.holds_backbone is True
        assert header.backbone.model == "test_resnet"
        assert header.preprocessing.image_size == 32
        assert (header.head.dim, header.loss, header.seed) == (5, "contrastive", SEED)
        assert header.epoch in (1, 2)
        assert header.versions.keys() == {"skinbit", "timm", "torch"}


class TestHeadOnFrozenBackbone:
    def test_a_fold_keeps_the_head_alone(self, headed):
        _, trained = headed
        assert {name.split(".")[0] for name in trained.checkpoint.tensors} == {"head"}
        assert trained.checkpoint.model.holds_backbone is False

    def test_with_its_backbone_it_embeds_as_the_trained_one_did(self, headed, pixels, tmp_path):
        _, trained = headed
        model = rebuild_model(saved_and_loaded(trained.checkpoint, tmp_path), load_backbone(VIT, SEED))
        found = embed(model.module, model.preprocessing, pixels)
        np.testing.assert_allclose(found, trained.embeddings.values, atol=2e-6)  # other batches, other last bits

    def test_the_final_model_needs_no_other_file(self, headed, pixels, tmp_path):
        job, trained = headed
        final = rebuild_model(saved_and_loaded(with_backbone(trained.checkpoint, job.backbone, job.seed), tmp_path))
        fold = rebuild_model(trained.checkpoint, load_backbone(VIT, SEED))
        found, expected = (embed(model.module, model.preprocessing, pixels) for model in (final, fold))
        assert np.array_equal(found, expected)

    def test_every_pixel_gives_the_embedding_of_backbone_and_head(self, headed, tmp_path):
        job, trained = headed
        backbone = load_backbone(VIT, SEED)
        head = make_head(backbone.feature_dim, job.recipe.params.head, 99).eval()
        tensors = trained.checkpoint.tensors
        head.load_state_dict({name.removeprefix("head."): tensor for name, tensor in tensors.items()})
        rebuilt = rebuild_model(
            saved_and_loaded(with_backbone(trained.checkpoint, job.backbone, job.seed), tmp_path)
        ).module
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(rebuilt(images), head(backbone.module(images)))

    @pytest.mark.parametrize("frozen", [None, VIT], ids=["no backbone", "other weights"])
    def test_a_fold_without_its_backbone_is_refused(self, headed, frozen):
        backbone = frozen and load_backbone(frozen, SEED + 1)
        with pytest.raises(InputError, match="has only a head and needs its frozen backbone, test_vit"):
            rebuild_model(headed[1].checkpoint, backbone)

    def test_tensors_of_a_backbone_that_it_does_not_hold_are_refused(self, headed):
        checkpoint = headed[1].checkpoint
        tensors = {**checkpoint.tensors, "backbone.cls_token": torch.zeros(1)}
        with pytest.raises(InputError, match="excludes a backbone, but it has tensors of one"):
            rebuild_model(Checkpoint(tensors, checkpoint.header), load_backbone(VIT, SEED))

    def test_a_backbone_whose_weights_have_changed_since_is_not_packed_with_the_head(self, headed):
        job, trained = headed
        with pytest.raises(InputError, match="have changed since they were checked"):
            with_backbone(trained.checkpoint, job.backbone, SEED + 1)


class TestBaseline:
    def test_the_rebuilt_model_gives_features_of_unit_length(self, pixels, tmp_path):
        model = rebuild_model(saved_and_loaded(package_model(AVERAGES, MATCHING, POOLED, SEED), tmp_path))
        backbone = load_backbone(POOLED, SEED)
        assert model.feature_dim == backbone.feature_dim
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(backbone.module(images))
            assert torch.equal(model.module(images), expected)

    def test_a_whitened_baseline_embeds_new_photographs_as_the_study_embeds_its_own(self, tmp_path):
        rng = np.random.default_rng(0)
        image_ids, backbone = tuple(f"image{n}" for n in range(12)), load_backbone(POOLED, SEED)
        values = rng.normal(size=(12, 1, backbone.feature_dim)).astype(np.float32)
        features = Features(image_ids, values, ("k",) * 12, {})
        lesion_ids = [f"lesion{n // 2}" for n in range(12)]
        split = pd.DataFrame({"image_id": image_ids, "lesion_id": lesion_ids, "fold": [0] * 8 + [-1] * 4})
        similarity = SimilarityParams(whitening=WhiteningParams(dim=5))
        matching = MATCHING.model_copy(update={"similarity": similarity})
        packed = package_model(AVERAGES, matching, POOLED, SEED, features, split)
        checkpoint = saved_and_loaded(packed, tmp_path)
        rebuild_model(checkpoint)  # the whitening is none of the network's weights
        expected = embed_subset(features, split, similarity, fold=-1).values
        assert expected.shape == (4, 5)
        assert (whitening_of(checkpoint).values.apply(average_views(values[8:])) == expected).all()

    @pytest.mark.parametrize("whitening", [None, WhiteningParams(dim=5)])
    def test_a_baseline_whose_zooms_are_compared_embeds_new_photographs_as_the_study_embeds_its_own(
        self, tmp_path, monkeypatch, whitening
    ):
        rng, views = np.random.default_rng(0), ViewParams(rotations=(0, 90), zooms=(1.0, 2.0, 3.0))
        image_ids, zoomed = tuple(f"image{n}" for n in range(12)), POOLED.model_copy(update={"test_views": views})
        values = rng.normal(size=(12, 6, load_backbone(POOLED, SEED).feature_dim)).astype(np.float32)
        features = Features(image_ids, values, ("k",) * 12, {"test_views": views.model_dump(mode="json")})
        lesion_ids = [f"lesion{n // 2}" for n in range(12)]
        split = pd.DataFrame({"image_id": image_ids, "lesion_id": lesion_ids, "fold": [0] * 8 + [-1] * 4})
        similarity = SimilarityParams(whitening=whitening, zoom_pairs=True)
        matching = MATCHING.model_copy(update={"similarity": similarity})
        packed = package_model(AVERAGES, matching, zoomed, SEED, features, split)
        checkpoint = saved_and_loaded(packed, tmp_path)
        monkeypatch.setattr(inference, "extract_pieces", lambda *_: iter([values[8:]]))
        expected = embed_subset(features, split, similarity, fold=-1)
        assert expected.zooms.shape == (4, 3, values.shape[2] if whitening is None else 5)
        assert np.array_equal(inference.embed_photographs(checkpoint, None, list(image_ids[8:])), expected.vectors)
        plain = embed_subset(features, split, SimilarityParams(whitening=whitening), fold=-1)
        assert np.array_equal(plain.values, expected.values)

    def test_an_experiment_that_overrides_its_backbone_is_rebuilt_with_its_own_settings(self, tmp_path):
        larger = POOLED.model_copy(update={"image_size": 48})
        model = rebuild_model(saved_and_loaded(package_model(AVERAGES, MATCHING, larger, SEED), tmp_path))
        assert model.preprocessing.image_size == 48
        assert model.preprocessing.mean == (0.4, 0.5, 0.6)
