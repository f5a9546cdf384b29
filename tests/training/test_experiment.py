"""Which images a training learns from and judges, and what its result depends on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    HeadParams,
    InfonceParams,
    TrainingParams,
    TrainingRecipe,
    TripletParams,
    ViewParams,
)
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import describe_backbone
from skinbit.embedding.tables import Features, Pixels
from skinbit.errors import InputError
from skinbit.pipelines.metric_learning.nodes import roles_of_fold
from skinbit.training.experiment import train
from skinbit.training.job import Job, Roles
from skinbit.training.tasks import HeadTask, NetworkTask

CPU = Compute("cpu", "fp32", 1)
TURNED = ViewParams(rotations=(0, 180))
RESNET = BackboneParams(model="test_resnet", image_size=32, pretrained=False, test_views=TURNED)
TRAINING = TrainingParams(epochs=2, lesions_per_batch=4, learning_rate=0.01, warmup=0, views=2, head=HeadParams(dim=4))
RECIPE = TrainingRecipe(
    loss="infonce",
    loss_options=InfonceParams().model_dump(),
    params=TRAINING,
    augmentation=AugmentationParams(),
    threads=1,
    save_every=0.0,
)
JOB = Job("vit_infonce fold 0", RESNET, RECIPE, CPU, 5)
PREPROCESSING = {
    "image_size": 32,
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}
DESCRIPTION = {"preprocessing": PREPROCESSING, "weights_sha256": "0" * 64}
IDS = tuple("abcdefghijkl")
LESIONS = tuple("uuvvwwxxyyzz")
ROLES = Roles(IDS[:8], LESIONS[:8], IDS[8:], LESIONS[8:], chooses_epoch=True)
FINAL_WITHOUT_TEST = Roles(IDS, LESIONS, (), (), chooses_epoch=False)


def features(n_views=2, seed=0):
    values = np.random.default_rng(seed).normal(size=(12, n_views, 6)).astype(np.float32)
    keys = tuple(f"{seed} {image_id}" for image_id in IDS)
    return Features(IDS, values, keys, DESCRIPTION)


def pixels():
    canvases = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    return Pixels(IDS, canvases, canvases[:, None, 4:36, 4:36].copy(), IDS, {"canvas_size": 40})


def run_head(store, job=JOB, plain=None, views=None, roles=ROLES):
    return train(HeadTask(plain or features(), views or features(3, seed=1)), roles, job, store)


def run_fine_tuning(store, job=JOB, roles=ROLES):
    description = describe_backbone(load_backbone(RESNET, 5), RESNET, CPU, 4)
    return train(NetworkTask(pixels(), description), roles, job, store)


RUNS = pytest.mark.parametrize("run", [run_head, run_fine_tuning])


class TestRoles:
    SPLIT = pd.DataFrame({"image_id": list("abcdef"), "lesion_id": list("uuvvww"), "fold": [1, 1, -1, -1, 0, 0]})

    def test_a_fold_is_judged_and_all_others_but_the_test_subset_train(self):
        roles = roles_of_fold(self.SPLIT, 0)
        assert (roles.train_ids, roles.train_lesions) == (("a", "b"), ("u", "u"))
        assert (roles.judged_ids, roles.judged_lesions) == (("e", "f"), ("w", "w"))
        assert roles.chooses_epoch

    def test_the_final_model_trains_on_every_fold_and_the_test_subset_chooses_nothing(self):
        roles = roles_of_fold(self.SPLIT, -1)
        assert roles.train_ids == ("a", "b", "e", "f")
        assert roles.judged_ids == ("c", "d")
        assert not roles.chooses_epoch


class TestResults:
    @RUNS
    def test_judged_images_are_embedded_in_their_order(self, store, run):
        trained = run(store)
        assert trained.embeddings.image_ids == ROLES.judged_ids
        assert trained.embeddings.values.shape == (4, 4)
        assert np.allclose(np.linalg.norm(trained.embeddings.values, axis=1), 1, atol=1e-6)
        assert len(trained.history) == 2

    @RUNS
    def test_the_final_model_of_a_study_without_test_subset_embeds_nothing(self, store, run):
        trained = run(store, roles=FINAL_WITHOUT_TEST)
        assert trained.embeddings.values.shape == (0, 4)
        assert trained.checkpoint.model.epoch == 2

    @RUNS
    def test_images_that_are_not_of_the_training_have_no_influence(self, store, run):
        fewer = replace(ROLES, judged_ids=ROLES.judged_ids[:2], judged_lesions=ROLES.judged_lesions[:2])
        some, all_judged = run(store, roles=fewer), run(type(store)())
        losses = [[row["loss"] for row in trained.history] for trained in (some, all_judged)]
        assert losses[0] == losses[1]

    def test_only_as_many_training_views_as_asked_for_are_used(self, store):
        three = features(3, seed=1)
        two = replace(three, values=three.values[:, :2])
        first, again = run_head(store, views=three), run_head(type(store)(), views=two)
        assert first.history == again.history

    def test_test_views_are_averaged(self, store):
        plain = features(2)
        turned = replace(plain, values=plain.values[:, ::-1].copy())
        fixed = replace(JOB, last_epoch=1)
        roles = replace(ROLES, chooses_epoch=False)
        one = run_head(store, fixed, plain, roles=roles).embeddings.values
        other = run_head(type(store)(), fixed, turned, roles=roles).embeddings.values
        np.testing.assert_allclose(one, other, atol=1e-6)


CHANGES = {
    "loss": {"recipe": RECIPE.model_copy(update={"loss": "triplet", "loss_options": TripletParams().model_dump()})},
    "training": {"recipe": RECIPE.model_copy(update={"params": TRAINING.model_copy(update={"weight_decay": 0.5})})},
    "augmentation": {"recipe": RECIPE.model_copy(update={"augmentation": AugmentationParams(blur=0.9)})},
    "seed": {"seed": 6},
    "last_epoch": {"last_epoch": 1},
    "compute": {"compute": Compute("cpu", "bf16", 1)},
}


class TestKey:
    def key_of(self, store, **changes):
        run_head(store, **changes)
        return store.read().header["key"]

    @pytest.mark.parametrize("name", CHANGES)
    def test_another_setting_is_another_training(self, store, name):
        changed = replace(JOB, **CHANGES[name])
        assert self.key_of(store, job=changed) != self.key_of(type(store)())

    @pytest.mark.parametrize(
        "changes",
        [
            {"plain": features(seed=7)},
            {"views": features(3, seed=7)},
            {"roles": replace(ROLES, train_lesions=tuple("uuvvwwww"))},
            {"roles": replace(ROLES, judged_ids=IDS[8:11], judged_lesions=LESIONS[8:11])},
        ],
        ids=["features", "views", "lesions", "validation"],
    )
    def test_other_images_or_lesions_are_another_training(self, store, changes):
        assert self.key_of(store, **changes) != self.key_of(type(store)())

    def test_name_and_rhythm_of_saving_are_no_part_of_it(self, store):
        renamed = replace(JOB, name="another", recipe=RECIPE.model_copy(update={"save_every": 99.0}))
        assert self.key_of(store, job=renamed) == self.key_of(type(store)())


class TestErrors:
    def test_one_lesion_is_too_few(self, store):
        single = replace(ROLES, train_ids=IDS[:2], train_lesions=LESIONS[:2])
        with pytest.raises(InputError, match="vit_infonce fold 0: there is only one lesion to train on"):
            run_head(store, roles=single)

    @RUNS
    def test_an_image_of_another_split_is_named(self, store, run):
        with pytest.raises(InputError, match=r"1 images of split\.csv have no features or pixels, the first is q"):
            run(store, roles=replace(ROLES, judged_ids=("q", *IDS[9:])))

    def test_features_and_views_of_different_images_are_refused(self, store):
        with pytest.raises(InputError, match="of different images"):
            run_head(store, views=replace(features(3, seed=1), image_ids=IDS[::-1]))

    def test_a_backbone_with_other_weights_than_those_that_were_checked(self, store):
        with pytest.raises(InputError, match="changed since they were checked"):
            run_fine_tuning(store, job=replace(JOB, seed=6))
