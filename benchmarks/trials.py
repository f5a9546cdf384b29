"""Ways to train a head that did not become part of Skinbit, each on the stored views of a finished study.

uv run python -m benchmarks.trials --root data/ham10000 --photographs ../ham10000/images --out data/trials

``--root`` is the study of docs/results.md with its distractors, ``--photographs`` where these are. Every trial changes
one thing about the head of ``frozen_contrastive``; embeddings are kept below ``--out``, and a trial that is found there
is only judged.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.similarities import COSINE, VERIFIED, join_parts, judge_folds
from benchmarks.stored import Images, read_keypoints, read_table, required
from benchmarks.timing import describe_machine, markdown_table
from benchmarks.training import NoStore
from skinbit.data.images import find_images
from skinbit.data.splits import TEST_FOLD
from skinbit.datasets.embeddings import EmbeddingsDataset
from skinbit.datasets.features import FeaturesDataset
from skinbit.datasets.pixels import PixelsDataset
from skinbit.embedding.compute import Compute
from skinbit.embedding.embeddings import average_views
from skinbit.embedding.heads import Head, make_head
from skinbit.embedding.tables import Embeddings, Features, Pixels
from skinbit.matching.pairs import FloatArray, lesion_labels
from skinbit.params import (
    BackboneParams,
    ComputeParams,
    ContrastiveParams,
    DataParams,
    HeadParams,
    LoaderParams,
    TrainingBlock,
    TrainingParams,
)
from skinbit.pipelines.baseline_embeddings.nodes import decode_photographs, extract_training_views
from skinbit.training.fit import Subset, Training, fit
from skinbit.training.images import CachedViews, TrainingImages
from skinbit.training.losses import Loss, make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.sampling import Rows

SEED, N_FOLDS, N_SINGLE_VIEWS = 42, 5, 8
BACKBONE_NAME = "resnet18"
COMPUTE = Compute(device="cpu", precision="fp32", threads=2)
DIM = 512
TRAINING = TrainingParams(
    epochs=100, lesions_per_batch=256, learning_rate=2e-3, views=32, head=HeadParams(hidden=(2048,), dim=DIM)
)
WARMUP = TRAINING.model_copy(update={"epochs": 30})
WITH_SINGLES = TRAINING.model_copy(update={"epochs": 40})
"""Of more batches an epoch: as many steps as some two trainings without them."""

MakeLoss = Callable[[int], Loss]
"""A number of lesions to a loss of embeddings and lesions; one with weights of its own is a module."""


@dataclass(frozen=True, eq=False)
class Material:
    """What trainings read.

    Attributes:
        features: Test views of the study's images.
        views: Training views of the same.
        split: ``image_id, lesion_id, subset, fold``.
        singles: ``(n_singles, n_views, feature_dim)``, training views of lesions of one photograph.
    """

    features: Features
    views: Features
    split: pd.DataFrame
    singles: FloatArray


@dataclass(frozen=True)
class Trial:
    """One change.

    Attributes:
        title: For the table.
        loss: Of the head.
        averages: Whether the judged weights are a moving average of the trained ones.
        learns_singles: Whether lesions of one photograph are lesions of the training, seen in two views.
        begins_with_singles: Whether the head is trained on those alone first.
    """

    title: str
    loss: MakeLoss = lambda n_lesions: make_loss(ContrastiveParams())
    averages: bool = False
    learns_singles: bool = False
    begins_with_singles: bool = False


class Averaged(nn.Module):
    """A head that is trained, and judged by the exponential moving average of its weights (Polyak & Juditsky 1992)."""

    def __init__(self, head: Head, decay: float = 0.99) -> None:
        super().__init__()
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        self.head = head
        self.average = AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.average.requires_grad_(False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embed by the trained weights, or, while judged, by their average."""
        if not self.training:
            return self.average(features)
        self.average.update_parameters(self.head)
        return self.head(features)


@dataclass(frozen=True)
class WithSingles:
    """Images of the study, and behind them lesions of one photograph.

    Attributes:
        images: Of the study.
        n_images: How many these are.
        singles: ``(n_singles, n_views, feature_dim)``.
    """

    images: CachedViews
    n_images: int
    singles: FloatArray

    def drawn(self, rows: Rows, rng: np.random.Generator, device: str) -> torch.Tensor:
        """Give one of its training views for each image: ``(n, feature_dim)``."""
        is_single = rows >= self.n_images
        inputs = torch.empty(len(rows), self.singles.shape[2], device=device)
        inputs[~is_single] = self.images.drawn(rows[~is_single], rng, device)
        alone = CachedViews(self.singles, self.singles[:, 0])
        inputs[is_single] = alone.drawn(rows[is_single] - self.n_images, rng, device)
        return inputs

    def plain(self, rows: Rows, device: str) -> torch.Tensor:
        """Give the plain view's features: ``(n, feature_dim)``; of images of the study alone."""
        return self.images.plain(rows, device)


def arcface(n_centres: int) -> MakeLoss:
    """Give ArcFace (Deng et al. 2019) with so many centres per lesion (Deng et al. 2020), scale and margin theirs."""
    from pytorch_metric_learning.losses import SubCenterArcFaceLoss

    return lambda n_lesions: SubCenterArcFaceLoss(
        num_classes=n_lesions, embedding_size=DIM, margin=28.6, scale=64, sub_centers=n_centres
    )


def circle(n_lesions: int) -> Loss:
    """Give the circle loss (Sun et al. 2020) with its own defaults."""
    from pytorch_metric_learning.losses import CircleLoss

    loss: Loss = CircleLoss(m=0.25, gamma=256)
    return loss


def multi_similarity(n_lesions: int) -> Loss:
    """Give the multi-similarity loss (Wang et al. 2019) with the library's defaults."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss

    loss: Loss = MultiSimilarityLoss()
    return loss


def remembered(n_lesions: int) -> Loss:
    """Give the contrastive loss against the embeddings of the last two epochs, too (Wang et al. 2020)."""
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import ContrastiveLoss, CrossBatchMemory

    params = ContrastiveParams()
    loss = ContrastiveLoss(pos_margin=1, neg_margin=params.margin, distance=CosineSimilarity())
    memory: Loss = CrossBatchMemory(loss, embedding_size=DIM, memory_size=4 * n_lesions)
    return memory


TRIALS = {
    "contrastive": Trial("as it is: contrastive, 256 lesions a batch"),
    "average": Trial("moving average of the weights, 0.99", averages=True),
    "memory": Trial("cross-batch memory of two epochs", loss=remembered),
    "arcface": Trial("ArcFace", loss=arcface(1)),
    "sub_centres": Trial("ArcFace, two sub-centres", loss=arcface(2)),
    "multi_similarity": Trial("multi-similarity loss", loss=multi_similarity),
    "circle": Trial("circle loss", loss=circle),
    "singles": Trial("lesions of one photograph, too", learns_singles=True),
    "warmup": Trial("those alone first, 30 epochs", begins_with_singles=True),
}


HEADER = ["head", "average linkage", "recall@1", "verified: average linkage", "recall@1", "processor minutes"]


def main() -> None:
    """Train and judge trials; print one row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("root", "photographs", "out"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS), help="default: all")
    given = parser.parse_args()
    material = load_material(given.root, given.photographs, given.out)
    keypoints = read_keypoints(given.root)
    lesion_of = dict(zip(material.split["image_id"], material.split["lesion_id"], strict=True))
    rows = []
    for name in given.trials:
        started = time.process_time()
        embedded = [kept_embeddings(material, TRIALS[name], fold, given.out / name) for fold in range(N_FOLDS)]
        minutes = (time.process_time() - started) / 60
        folds = {fold: join_parts([one], lesion_of, keypoints) for fold, one in enumerate(embedded)}
        rows.append(table_row(TRIALS[name].title, folds, minutes))
        print(markdown_table(HEADER, rows[-1:]), flush=True)
    print(describe_machine("torch", "pytorch-metric-learning", "numpy"))
    print(markdown_table(HEADER, rows))


def table_row(title: str, folds: dict[int, Images], minutes: float) -> list[str]:
    """Give F1 at the other folds' cut with its interval, and recall@1, of cosines and of verified pairs."""
    cells = []
    for params in (COSINE, VERIFIED):
        found = judge_folds(folds, params)
        cells += [found.cell("average"), f"{found.recall_at_1:.3f}"]
    return [title, *cells, f"{minutes:.1f}"]


def load_material(root: Path, photographs: Path, out: Path) -> Material:
    """Load what a study has of its images, and make training views of its distractors, once.

    Args:
        root: Of the study, with distractors.
        photographs: The folder of all photographs.
        out: Where the views of the distractors are kept.

    Returns:
        What trainings read.
    """
    folder, remedy = root / "04_feature" / BACKBONE_NAME, f"--root of a study that trains heads on {BACKBONE_NAME}"
    features, views = (
        FeaturesDataset(filepath=str(required(folder / f"{file}.safetensors", remedy))).load()
        for file in ("features", "training_views")
    )
    kept = FeaturesDataset(filepath=f"{out}/distractor_views.safetensors", optional=True)
    if not kept.exists():
        kept.save(make_distractor_views(root, photographs, out, features))
    return Material(features, views, read_table(root / "02_intermediate/split.csv"), kept.load().values)


def make_distractor_views(root: Path, photographs: Path, out: Path, features: Features) -> Features:
    """Make training views of lesions of one photograph as the study makes them of its own."""
    pixels = decode_distractors(root, photographs, out, features.description)
    made = extract_training_views(
        pixels,
        features.description,
        lambda *_: Features((), np.empty((0, 0, 0), np.float32), (), {}),
        backbone_of(features.description),
        TrainingBlock(),
        LoaderParams(),
        ComputeParams(threads=COMPUTE.threads),
        SEED,
        name="distractors",
        n_views=N_SINGLE_VIEWS,
    )
    return made


def decode_distractors(root: Path, photographs: Path, out: Path, description: Mapping[str, Any]) -> Pixels:
    """Decode lesions of one photograph as the study decodes its own.

    Args:
        root: Of the study, with distractors.
        photographs: The folder of all photographs.
        out: Where the pixels are kept.
        description: Of the study's backbone.

    Returns:
        The pixels, images in the order of ``distractor_index.csv``.
    """
    index = read_table(root / "02_intermediate/distractor_index.csv")
    folder = find_images(fsspec.filesystem("file"), str(photographs))
    dataset = PixelsDataset(filepath=f"{out}/distractors.pixels")
    dataset.save(decode_photographs(folder, index, dict(description), TrainingBlock(), LoaderParams(), DataParams()))
    pixels: Pixels = dataset.load()
    return pixels


def backbone_of(description: Mapping[str, Any]) -> BackboneParams:
    """Give the settings of a study's backbone; ``SKINBIT_WEIGHTS`` names its weights, none: timm's hub, as there."""
    return BackboneParams(
        model=description["model"],
        image_size=description["preprocessing"]["image_size"],
        pooling=description["pooling"],
        test_views=description["test_views"],
        weights=os.environ.get("SKINBIT_WEIGHTS"),
    )


def kept_embeddings(material: Material, trial: Trial, fold: int, folder: Path) -> Embeddings:
    """Train on the other folds and embed this one, unless that has been done before."""
    path = folder / f"fold_{fold}/embeddings.safetensors"
    dataset = EmbeddingsDataset(filepath=str(path))
    if not path.exists():
        dataset.save(train_trial(material, trial, fold))
    kept: Embeddings = dataset.load()
    return kept


def train_trial(material: Material, trial: Trial, fold: int) -> Embeddings:
    """Train a head on all lesions but one fold's, as the study does but for the trial's change.

    Args:
        material: Of all images.
        trial: What is changed.
        fold: Whose lesions choose the epoch and are embedded.

    Returns:
        Embeddings of the fold's images, test views averaged.
    """
    row_of = {image_id: row for row, image_id in enumerate(material.features.image_ids)}
    images = CachedViews(material.views.values[:, : TRAINING.views], material.features.values[:, 0])
    together = WithSingles(images, len(row_of), material.singles)
    in_fold = (material.split["fold"] == fold).to_numpy()
    in_others = ~in_fold & (material.split["fold"] != TEST_FOLD).to_numpy()
    train, judged = (_subset(material.split[chosen], row_of) for chosen in (in_others, in_fold))
    head = make_head(material.features.values.shape[2], TRAINING.head, SEED)
    if trial.begins_with_singles:
        head.load_state_dict(warm_weights(material))
    if trial.learns_singles:
        further = seen_twice(len(material.singles), len(row_of), int(train.labels.max()) + 1)
        train = Subset(np.concatenate([train.rows, further.rows]), np.concatenate([train.labels, further.labels]))
    module = Averaged(head) if trial.averages else head
    params = WITH_SINGLES if trial.learns_singles else TRAINING
    _fit(module, trial, f"fold {fold}", together, (train, judged), params)
    values = material.features.values[judged.rows]
    image_ids = tuple(material.split["image_id"][in_fold])
    return Embeddings(image_ids, average_views(_project(module, values)), {"trial": trial.title})


@cache
def warm_weights(material: Material) -> dict[str, torch.Tensor]:
    """Train a head on lesions of one photograph alone, in two views each; once, as they are in no fold."""
    images = CachedViews(material.singles, material.singles[:, 0])
    head = make_head(material.singles.shape[2], TRAINING.head, SEED)
    _fit(head, Trial("warm-up"), "all folds", images, (seen_twice(len(material.singles)), None), WARMUP)
    return head.state_dict()


def _subset(split: pd.DataFrame, row_of: dict[str, int]) -> Subset:
    rows = np.array([row_of[image_id] for image_id in split["image_id"]], dtype=np.int64)
    return Subset(rows, lesion_labels(split["lesion_id"].tolist()))


def seen_twice(n_images: int, first_row: int = 0, first_label: int = 0) -> Subset:
    """Name each photograph twice, so that a batch holds two views of it.

    Args:
        n_images: How many; each is a lesion of its own.
        first_row: Of the first photograph.
        first_label: Of its lesion.

    Returns:
        The subset.
    """
    twice = np.repeat(np.arange(n_images, dtype=np.int64), 2)
    return Subset(first_row + twice, first_label + twice)


def _fit(
    module: nn.Module,
    trial: Trial,
    name: str,
    images: TrainingImages,
    subsets: tuple[Subset, Subset | None],
    params: TrainingParams,
) -> None:
    torch.manual_seed(SEED)  # of the centres of a loss
    loss = trial.loss(int(subsets[0].labels.max()) + 1)
    trained = module.head if isinstance(module, Averaged) else module
    groups = parameter_groups(trained, params)
    if isinstance(loss, nn.Module):
        groups += [group for group in parameter_groups(loss, params) if group["params"]]
    training = Training(
        f"{trial.title}, {name}", module, groups, loss, params, COMPUTE, SEED, key="not kept", save_every=1e9
    )
    fitted = fit(training, images, *subsets, NoStore())
    module.load_state_dict(fitted.weights)
    module.eval()


@torch.inference_mode()
def _project(module: nn.Module, values: FloatArray) -> FloatArray:
    flat = torch.from_numpy(values.reshape(-1, values.shape[2]))
    projected: FloatArray = module(flat).numpy()
    return projected.reshape(*values.shape[:2], -1)


if __name__ == "__main__":
    main()
