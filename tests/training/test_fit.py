"""The training loop: what it learns, when it stops, which weights it keeps, and that it resumes exactly."""

import json
import math
import tracemalloc
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ContrastiveParams,
    HeadParams,
    InfonceParams,
    PoolingParams,
    TrainingParams,
    TripletParams,
)
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.errors import InputError
from skinbit.matching.cuts.survey import best_f1_and_recall
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.training.fit import Subset, Training, fit
from skinbit.training.images import CachedViews, DecodedPhotographs
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups

CPU = Compute("cpu", "fp32", 1)
HEAD = HeadParams(hidden=(), dim=8, neck=True)
PARAMS = TrainingParams(epochs=12, lesions_per_batch=8, learning_rate=0.02, warmup=0.17, head=HEAD)
LOSSES = (ContrastiveParams(), TripletParams(margin=0.2), InfonceParams(temperature=0.1))
RESNET = BackboneParams(model="test_resnet", image_size=32, pretrained=False, frozen=False)
POOLED = RESNET.model_copy(update={"pooling": PoolingParams(method="gem", levels=(1, 2, 3))})
VIT = BackboneParams(model="test_vit", image_size=32, pretrained=False, frozen=False)


def changed(params=PARAMS, **values):
    return TrainingParams.model_validate({**params.model_dump(), **values})


def training_of(module, params=PARAMS, loss=LOSSES[2], **options):
    settings = {"name": "some fold", "compute": CPU, "seed": 1, "key": "k", "save_every": 0.0, **options}
    groups = parameter_groups(module, params)
    return Training(module=module, groups=groups, loss=make_loss(loss), params=params, **settings)


def head_of(lesions, params=PARAMS, seed=0):
    return make_head(lesions.images.plain_views.shape[1], params.head, seed)


def fit_head(lesions, store, params=PARAMS, loss=LOSSES[2], validates=True, **options):
    training = training_of(head_of(lesions, params), params, loss, **options)
    return fit(training, lesions.images, lesions.train, lesions.validation if validates else None, store)


def column(fitted, name):
    return [row[name] for row in fitted.history]


def assert_same(one, other):
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())
    assert json.dumps(one.history, sort_keys=True) == json.dumps(other.history, sort_keys=True)  # NaN equals NaN
    assert one.best_epoch == other.best_epoch


def by_hand(embeddings, labels):
    """Return the best F1 of all thresholds, and the share of images whose most similar one is of their lesion."""
    similarities = np.float32(np.float64(embeddings) @ np.float64(embeddings).T)
    pairs = list(combinations(range(len(labels)), 2))
    is_positive = np.array([labels[a] == labels[b] for a, b in pairs])
    alike = np.array([similarities[pair] for pair in pairs])
    f1 = [2 * (is_positive & joined).sum() / (joined.sum() + is_positive.sum()) for joined in alike >= alike[:, None]]
    np.fill_diagonal(similarities, -np.inf)
    return max(f1), float(np.mean(labels[similarities.argmax(axis=1)] == labels))


class TestLearning:
    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
    def test_f1_of_lesions_that_were_not_trained_on_rises(self, lesions, store, loss):
        plain = Pool(unit_vectors(lesions.images.plain_views[lesions.validation.rows]))
        before, _ = best_f1_and_recall(plain, lesions.validation.labels)
        fitted = fit_head(lesions, store, loss=loss)
        assert max(column(fitted, "f1")) > before + 0.2
        assert column(fitted, "recall_at_1")[-1] > 0.5

    def test_history_has_a_row_per_epoch(self, lesions, store):
        fitted = fit_head(lesions, store)
        assert column(fitted, "epoch") == list(range(1, 13))
        assert set(fitted.history[0]) == {"epoch", "loss", "f1", "recall_at_1", "learning_rate"}
        assert column(fitted, "loss")[-1] < column(fitted, "loss")[0]

    def test_the_best_epoch_is_the_first_with_the_highest_f1(self, lesions, store):
        fitted = fit_head(lesions, store, changed(epochs=30))
        assert fitted.best_epoch == int(np.argmax(column(fitted, "f1"))) + 1 < 30

    @pytest.mark.parametrize("epoch", [1, 5, 12])
    def test_figures_are_those_of_every_threshold_tried_one_by_one(self, lesions, store, epoch):
        row = fit_head(lesions, store).history[epoch - 1]
        stopped = fit_head(lesions, type(store)(), last_epoch=epoch, validates=False)
        head = head_of(lesions).eval()
        head.load_state_dict(stopped.weights)
        with torch.inference_mode():
            embeddings = head(torch.from_numpy(lesions.images.plain_views[lesions.validation.rows])).numpy()
        assert (row["f1"], row["recall_at_1"]) == by_hand(unit_vectors(embeddings), lesions.validation.labels)

    def test_validation_never_holds_the_similarities_of_all_pairs(self, store):
        labels = np.repeat(np.arange(3000), 2)
        views = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
        images, rows = CachedViews(views[:, None], views), np.arange(len(labels))
        params = changed(epochs=1, warmup=0, lesions_per_batch=500)
        training = training_of(make_head(4, params.head, 0), params)
        everything = Subset(rows, labels)
        tracemalloc.start()
        try:
            fit(training, images, everything, everything, store)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 100e6 < 4 * len(labels) ** 2

    def test_weights_are_those_of_the_best_epoch(self, lesions, store):
        fitted = fit_head(lesions, store)
        stopped = fit_head(lesions, type(store)(), last_epoch=fitted.best_epoch, validates=False)
        assert all(torch.equal(tensor, stopped.weights[name]) for name, tensor in fitted.weights.items())

    def test_validation_changes_nothing_but_the_choice(self, lesions, store):
        with_it, without = fit_head(lesions, store), fit_head(lesions, type(store)(), validates=False)
        assert column(with_it, "loss") == column(without, "loss")
        assert np.isnan(column(without, "f1")).all()
        assert without.best_epoch == PARAMS.epochs

    def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine(self, lesions, store):
        rates = column(fit_head(lesions, store, changed(epochs=12, warmup=4 / 12, learning_rate=0.1)), "learning_rate")
        cosine = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]
        assert rates == pytest.approx([0.025, 0.05, 0.075, *(0.1 * share for share in cosine)])

    def test_an_average_epoch_stops_the_same_schedule_earlier(self, lesions, store):
        whole, part = fit_head(lesions, store, validates=False), fit_head(lesions, type(store)(), last_epoch=5)
        assert column(part, "learning_rate") == column(whole, "learning_rate")[:5]
        assert column(part, "loss") == column(whole, "loss")[:5]

    def test_seed_decides_everything(self, lesions, store):
        first, again, other = (fit_head(lesions, type(store)(), seed=seed) for seed in (1, 1, 2))
        assert_same(first, again)
        assert column(first, "loss") != column(other, "loss")

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_mixed_precision_learns_too(self, lesions, store, precision):
        fitted = fit_head(lesions, store, compute=Compute("cpu", precision, 1))
        assert column(fitted, "f1")[-1] > column(fitted, "f1")[0]


class TestStopping:
    def test_training_ends_after_so_many_epochs_without_a_better_f1(self, lesions, store):
        fitted = fit_head(lesions, store, changed(epochs=60, patience=3))
        f1 = column(fitted, "f1")
        assert len(f1) == fitted.best_epoch + 3 < 60
        gains = [epoch for epoch in range(len(f1)) if f1[epoch] > max(f1[:epoch], default=-1)]
        assert max(np.diff(gains), default=0) <= 3

    def test_without_patience_all_epochs_run(self, lesions, store):
        assert len(fit_head(lesions, store, changed(learning_rate=1e-9)).history) == PARAMS.epochs

    def test_patience_does_not_count_where_nothing_is_validated(self, lesions, store):
        assert len(fit_head(lesions, store, changed(patience=1), validates=False).history) == PARAMS.epochs

    def test_where_f1_is_undefined_the_last_epoch_is_kept(self, lesions, store):
        singles = Subset(lesions.validation.rows[:3], np.arange(3))
        training = training_of(head_of(lesions), changed(patience=1))
        fitted = fit(training, lesions.images, lesions.train, singles, store)
        assert fitted.best_epoch == PARAMS.epochs


class TestHardLesions:
    def test_batches_differ_from_random_ones_from_the_second_epoch_on(self, lesions, store):
        random, hard = (fit_head(lesions, type(store)(), changed(hard_lesions=n)) for n in (0, 4))
        assert column(random, "loss")[0] == column(hard, "loss")[0]
        assert column(random, "loss")[1:] != column(hard, "loss")[1:]

    def test_they_cost_more_than_random_ones(self, lesions, store):
        still = changed(learning_rate=1e-9, epochs=20, hard_lesions=0)
        random, hard = (
            fit_head(lesions, type(store)(), changed(still, hard_lesions=n, lesions_per_batch=4)) for n in (0, 4)
        )
        assert np.mean(column(hard, "loss")[1:]) > np.mean(column(random, "loss")[1:])


def photographs(n_lesions=4, size=32, seed=0):
    """Noise, three photographs per lesion."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_lesions), 3)
    canvases = rng.integers(0, 256, (len(labels), size + 8, size + 8, 3), dtype=np.uint8)
    crops = canvases[:, 4:-4, 4:-4].copy()
    return labels, canvases, crops


def fit_backbone(backbone, store, params, **options):
    """Fine-tune on noise, with the first two lesions validating themselves; give the model, too."""
    labels, canvases, crops = photographs()
    loaded = load_backbone(backbone, 0)
    head = make_head(loaded.feature_dim, params.head, 0)
    model = EmbeddingModel(loaded.module.requires_grad_(True), head, params.batch_norm == "frozen")
    images = DecodedPhotographs(canvases, crops, loaded.preprocessing, AugmentationParams())
    everything = Subset(np.arange(len(labels)), labels)
    return model, fit(training_of(model, params, **options), images, everything, everything, store)


SHORT = changed(epochs=1, lesions_per_batch=4, warmup=0, learning_rate=1e-3)


class TestGradients:
    def test_reach_every_weight_of_a_head(self, lesions, store):
        params = changed(head=HeadParams(hidden=(16,), dim=8))
        head = head_of(lesions, params)
        fit(training_of(head, params), lesions.images, lesions.train, None, store)
        assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())

    @pytest.mark.parametrize("backbone", [RESNET, POOLED, VIT], ids=["resnet", "pooled levels", "vit"])
    def test_reach_every_weight_of_a_fine_tuned_backbone(self, store, backbone):
        model, _ = fit_backbone(backbone, store, changed(SHORT, epochs=3))  # timm begins residual branches at 0
        named = dict(model.named_parameters())
        assert all(weight.requires_grad for weight in named.values())
        assert [name for name, weight in named.items() if weight.grad is None or not weight.grad.any()] == []

    def test_are_scaled_down_to_the_norm_of_the_settings(self, store):
        model, _ = fit_backbone(POOLED, store, changed(SHORT, clip_norm=1e-3))
        norm = math.hypot(*(float(weight.grad.norm()) for weight in model.parameters()))
        assert norm == pytest.approx(1e-3, rel=1e-3)


class TestBatchNorm:
    @pytest.mark.parametrize("batch_norm", ["train", "frozen"])
    def test_running_statistics_of_the_backbone_change_only_where_they_are_trained(self, store, batch_norm):
        before = load_backbone(POOLED, 0).module.state_dict()
        _, fitted = fit_backbone(POOLED, store, changed(SHORT, batch_norm=batch_norm))
        same = [
            torch.equal(tensor, fitted.weights[f"backbone.{name}"])
            for name, tensor in before.items()
            if "running" in name
        ]
        assert len(same) > 4
        assert set(same) == {batch_norm == "frozen"}

    def test_the_necks_statistics_are_always_trained(self, store):
        _, fitted = fit_backbone(POOLED, store, changed(SHORT, batch_norm="frozen"))
        assert fitted.weights["head.layers.0.running_mean"].any()
        assert int(fitted.weights["head.layers.0.num_batches_tracked"]) == 1


def rates_by_name(model, params):
    name_of = {id(weight): name for name, weight in model.named_parameters()}
    return {name_of[id(w)]: group["full_lr"] for group in parameter_groups(model, params) for w in group["params"]}


class TestLearningRates:
    def model(self, backbone):
        loaded = load_backbone(backbone, 0)
        return EmbeddingModel(loaded.module.requires_grad_(True), make_head(loaded.feature_dim, HEAD, 0))

    @pytest.mark.parametrize("backbone", [RESNET, POOLED, VIT], ids=["resnet", "pooled levels", "vit"])
    def test_every_weight_is_in_one_group_and_only_matrices_decay(self, backbone):
        model = self.model(backbone)
        groups = parameter_groups(model, PARAMS)
        grouped = [id(weight) for group in groups for weight in group["params"]]
        assert sorted(grouped) == sorted(id(weight) for weight in model.parameters())
        for group in groups:
            assert group["weight_decay"] in (0.0, PARAMS.weight_decay)
            if group["weight_decay"]:
                assert all(weight.ndim > 1 for weight in group["params"])

    @pytest.mark.parametrize("backbone", [RESNET, POOLED, VIT], ids=["resnet", "pooled levels", "vit"])
    def test_earlier_layers_learn_more_slowly(self, backbone):
        params = changed(layer_decay=0.5, backbone_rate=0.5, learning_rate=0.1)
        rates = rates_by_name(self.model(backbone), params)
        head = {rate for name, rate in rates.items() if name.startswith("head.")}
        by_depth = [rate for name, rate in rates.items() if name.startswith("backbone.")]
        assert head == {0.1}
        assert max(by_depth) == pytest.approx(0.05)
        assert by_depth[0] < by_depth[-1]
        if backbone is not VIT:  # its embeddings come before its blocks, whatever their names say
            assert by_depth == sorted(by_depth)
        halvings = sorted({round(math.log2(0.05 / rate), 6) for rate in by_depth})
        assert halvings == list(range(len(halvings)))

    def test_without_decay_all_layers_learn_alike(self):
        rates = rates_by_name(self.model(POOLED), changed(layer_decay=1.0, learning_rate=0.1))
        assert set(rates.values()) == {0.1}


class Failing(torch.nn.Module):
    """A head that raises, or gives embeddings that are not numbers."""

    def __init__(self, error=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self._error = error

    def forward(self, features):
        if self._error is not None:
            raise self._error
        return features * self.weight * torch.nan


class TestErrors:
    def fail(self, lesions, store, error=None):
        return fit(training_of(Failing(error)), lesions.images, lesions.train, lesions.validation, store)

    def test_a_loss_that_is_no_number_names_the_learning_rate(self, lesions, store):
        with pytest.raises(InputError, match=r"some fold: the loss diverged") as raised:
            self.fail(lesions, store)
        assert "lower learning_rate (now 0.02)" in raised.value.message
        assert store.n_writes == 0

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            MemoryError("Unable to allocate 5.00 GiB for an array"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_memory_that_does_not_suffice_names_the_batch(self, lesions, store, error):
        with pytest.raises(InputError, match=r"some fold: memory does not suffice on cpu") as raised:
            self.fail(lesions, store, error)
        assert "lower lesions_per_batch (now 8)" in raised.value.message
        assert raised.value.__cause__ is error

    def test_any_other_error_is_not_ours(self, lesions, store):
        with pytest.raises(RuntimeError, match="mat1 and mat2") as raised:
            self.fail(lesions, store, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        assert not isinstance(raised.value, InputError)


class KilledError(Exception):
    """Ends a training from outside."""


def interrupted(store, after):
    """Return the store, which ends the training when it has written so many states."""
    write = store.write

    def write_and_end(state):
        write(state)
        if store.n_writes == after:
            store.write = write
            raise KilledError

    store.write = write_and_end
    return store


class TestResuming:
    @pytest.mark.parametrize("hard_lesions", [0, 3])
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    @pytest.mark.parametrize("after", [1, 5, 11])
    def test_a_head_ends_as_if_nothing_had_happened(self, lesions, store, hard_lesions, precision, after):
        params = changed(hard_lesions=hard_lesions, patience=8)
        options = {"params": params, "compute": Compute("cpu", precision, 1)}
        whole = fit_head(lesions, type(store)(), **options)
        with pytest.raises(KilledError):
            fit_head(lesions, interrupted(store, after), **options)
        assert store.read().header["is_finished"] is False
        assert_same(fit_head(lesions, store, **options), whole)
        assert store.n_writes == len(whole.history)

    @pytest.mark.parametrize("backbone", [POOLED, VIT], ids=["resnet", "vit"])
    def test_a_backbone_ends_as_if_nothing_had_happened(self, store, backbone):
        params = changed(SHORT, epochs=4, lesions_per_batch=3)
        _, whole = fit_backbone(backbone, type(store)(), params)
        with pytest.raises(KilledError):
            fit_backbone(backbone, interrupted(store, 2), params)
        assert_same(fit_backbone(backbone, store, params)[1], whole)

    def test_moments_lie_in_memory_as_their_weights_do(self, store):
        params = changed(SHORT, epochs=2)
        with pytest.raises(KilledError):
            fit_backbone(POOLED, interrupted(store, 1), params)
        layouts = []

        def note(optimiser, *_):
            layouts.extend((w.stride(), s["exp_avg"].stride()) for w, s in optimiser.state.items())

        with pytest.MonkeyPatch.context() as patch:
            step = torch.optim.AdamW.step
            patch.setattr(torch.optim.AdamW, "step", lambda optimiser: (note(optimiser), step(optimiser)))
            fit_backbone(POOLED, store, params)
        assert layouts
        assert all(weight == moment for weight, moment in layouts)

    def test_a_state_is_written_only_so_often(self, lesions, store):
        fit_head(lesions, store, save_every=1e6)
        assert store.n_writes == 1

    def test_a_finished_training_is_not_trained_again(self, lesions, store):
        first = fit_head(lesions, store)
        written = store.content
        idle = replace(training_of(head_of(lesions)), loss=None)  # it cannot take a step
        assert_same(fit(idle, lesions.images, lesions.train, lesions.validation, store), first)
        assert store.content == written
        kept = {name.split(".")[0] for name in store.read().tensors}
        assert kept == {"best"}, "moments are of no use any more"

    def test_the_state_of_another_training_is_not_used(self, lesions, store):
        with pytest.raises(KilledError):
            fit_head(lesions, interrupted(store, 4), changed(learning_rate=0.5), key="another")
        assert_same(fit_head(lesions, store), fit_head(lesions, type(store)()))
        assert store.read().header["key"] == "k"
