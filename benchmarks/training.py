"""What training costs: cached views against a backbone in every epoch, our step against a bare one, one decoding.

Three comparisons, each side by side in this run, on synthetic photographs of HAM10000's size:

* heads on a frozen ViT-S at 224 pixels, five folds x three losses x 60 epochs, features and views included, against
  the same training with the backbone run on every image of every epoch; the slow side is measured for two epochs of
  one fold and scaled by its number of forward passes;
* a fine-tuning step of ResNet-50 at 224 pixels (memory map, augmentation, loss, clipping, scheduled AdamW) against
  forward, backward and AdamW on ready tensors;
* an epoch's images from the memory map against decoding them in every epoch, augmentation included on both sides.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from benchmarks.features import HEIGHT, SEED, WIDTH
from benchmarks.photographs import list_photographs
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ComputeParams,
    ContrastiveParams,
    ExecutorParams,
    HeadParams,
    InfonceParams,
    LoaderParams,
    LossParams,
    TrainingParams,
    TrainingRecipe,
    TripletParams,
    ViewParams,
)
from skinbit.data.executor import Execution
from skinbit.data.listed import ListedPhotographs
from skinbit.data.pieces import of_photographs
from skinbit.data.synthetic import make_photographs
from skinbit.embedding.backbones import Backbone, load_backbone
from skinbit.embedding.compute import Compute, deterministic, resolve_compute
from skinbit.embedding.features import Extraction, describe_backbone, extract_features
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.embedding.pixels import PixelMaker, complete_pixels
from skinbit.embedding.tables import Features, Pixels
from skinbit.runtime.datasets.pieces import StoredPieces
from skinbit.runtime.datasets.pixels import PixelsDataset
from skinbit.training.experiment import train
from skinbit.training.fit import Subset, Training, fit, take_step
from skinbit.training.images import DecodedPhotographs, TrainingImages
from skinbit.training.job import Job, Roles
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups
from skinbit.training.state import Learner
from skinbit.training.tasks import HeadTask
from skinbit.training.views import ViewMaker

N_IMAGES, N_FOLDS, N_VIEWS, N_EPOCHS, N_SLOW_EPOCHS = 200, 5, 12, 60, 2
N_STEP_IMAGES, N_ROUNDS = 16, 5
FROZEN = BackboneParams(model="vit_small_patch16_224", pretrained=False)
TUNED = BackboneParams(model="resnet50", pretrained=False, frozen=False)
LOSSES: dict[str, LossParams] = {
    "contrastive": ContrastiveParams(),
    "triplet": TripletParams(),
    "infonce": InfonceParams(),
}
HEAD = TrainingParams(
    epochs=N_EPOCHS, lesions_per_batch=64, learning_rate=2e-3, views=N_VIEWS, head=HeadParams(hidden=(1024,))
)
LOADER = LoaderParams()


class NoStore:
    """Keeps no state: nothing is resumed here."""

    def read(self) -> None:
        """Give nothing."""

    def write(self, state: object) -> None:
        """Forget it."""


class BackboneInEveryEpoch:
    """Images whose augmentations run through the frozen backbone each time they are asked for."""

    def __init__(self, photographs: DecodedPhotographs, backbone: Backbone) -> None:
        self._photographs = photographs
        self._module = backbone.module
        self.n_passes = 0

    @torch.inference_mode()
    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        self.n_passes += len(pixels)
        return self._module(pixels)

    def drawn(self, rows: np.ndarray, rng: np.random.Generator, device: str) -> torch.Tensor:
        """Augment and embed."""
        return self._embed(self._photographs.drawn(rows, rng, device)).clone()

    def plain(self, rows: np.ndarray, device: str) -> torch.Tensor:
        """Embed the plain view."""
        return self._embed(self._photographs.plain(rows, device))


def write_photographs(root: Path) -> tuple[ListedPhotographs, pd.DataFrame]:
    """Write synthetic JPEG files.

    Args:
        root: An empty folder.

    Returns:
        The photographs, and ``image_id, lesion_id, fold`` of ``N_IMAGES`` photographs.
    """
    rows = []
    for photograph, _ in zip(make_photographs(N_IMAGES, SEED, WIDTH, HEIGHT), range(N_IMAGES), strict=False):
        (root / f"{photograph.image_id}.jpg").write_bytes(photograph.jpeg)
        rows.append((photograph.image_id, photograph.lesion_id))
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id"]).sort_values("image_id", ignore_index=True)
    table["fold"] = pd.factorize(table["lesion_id"])[0] % N_FOLDS
    return list_photographs(root), table


def decode(photographs: ListedPhotographs, backbone: Backbone, path: Path) -> Pixels:
    """Decode all photographs into a memory map.

    Args:
        photographs: To be decoded.
        backbone: Its preprocessing.
        path: Of the file.

    Returns:
        The pixels.
    """
    size = backbone.preprocessing.image_size * 5 // 4
    dataset = PixelsDataset(filepath=str(path))
    maker = PixelMaker(photographs, backbone.preprocessing, ViewParams(), size, LOADER)
    store = StoredPieces(PixelsDataset, str(path))
    dataset.save(complete_pixels(maker, store, of_photographs(Execution(ExecutorParams()))))
    return dataset.load()


def roles(table: pd.DataFrame, fold: int) -> Roles:
    """Deal lesions for one fold."""
    train, judged = table[table["fold"] != fold], table[table["fold"] == fold]
    columns = [tuple(part[column]) for part in (train, judged) for column in ("image_id", "lesion_id")]
    return Roles(*columns, chooses_epoch=True)


def cached_study(photographs: ListedPhotographs, table: pd.DataFrame, path: Path, compute: Compute) -> dict[str, float]:
    """Decode, extract features and views, and train all heads.

    Returns:
        Seconds by part.
    """
    seconds = {}
    backbone = load_backbone(FROZEN, SEED)
    ids = table["image_id"].tolist()
    started = time.perf_counter()
    pixels = decode(photographs, backbone, path)
    seconds["decoding"] = time.perf_counter() - started
    description = describe_backbone(backbone, FROZEN, compute, LOADER.batch_size)
    maker = ViewMaker(pixels, FROZEN, AugmentationParams(), compute, LOADER.batch_size, SEED, pixels.keys, description)
    extraction = Extraction(photographs, LOADER, compute)
    plain = extract_features(extraction, ids, backbone, ViewParams())
    rows = np.arange(len(ids))
    views = np.concatenate([made.values for made in maker([view * len(ids) + rows for view in range(N_VIEWS)])], axis=1)
    seconds["features and views"] = time.perf_counter() - started - seconds["decoding"]
    tables = [Features(pixels.image_ids, values, pixels.keys, description) for values in (plain, views)]
    before = time.perf_counter()
    for name, loss in LOSSES.items():
        for fold in range(N_FOLDS):
            recipe = TrainingRecipe(
                loss=name,
                loss_options=loss.model_dump(),
                params=HEAD,
                augmentation=AugmentationParams(),
                threads=compute.threads,
                save_every=1e9,
            )
            train(HeadTask(*tables), roles(table, fold), Job(name, FROZEN, recipe, compute, SEED), NoStore())
    seconds["15 trainings of 60 epochs"] = time.perf_counter() - before
    return seconds


def uncached_epochs(pixels: Pixels, table: pd.DataFrame, compute: Compute) -> tuple[float, int]:
    """Train one head for two epochs with the backbone in every epoch.

    Returns:
        Seconds, and the number of images that went through the backbone.
    """
    backbone = load_backbone(FROZEN, SEED)
    images = BackboneInEveryEpoch(photographs_of(pixels, backbone), backbone)
    params = HEAD.model_copy(update={"epochs": N_SLOW_EPOCHS})
    head = make_head(backbone.feature_dim, params.head, SEED)
    labels = pd.factorize(table["lesion_id"])[0]
    train, judged = ((table["fold"] != 0).to_numpy(), (table["fold"] == 0).to_numpy())
    subsets = [Subset(np.flatnonzero(mask), pd.factorize(labels[mask])[0]) for mask in (train, judged)]
    started = time.perf_counter()
    fit(make_training(head, params, InfonceParams(), compute), images, *subsets, NoStore())
    return time.perf_counter() - started, images.n_passes


def photographs_of(pixels: Pixels, backbone: Backbone) -> DecodedPhotographs:
    """Give decoded photographs to a backbone's training."""
    return DecodedPhotographs(pixels.canvases, pixels.crops[:, 0], backbone.preprocessing, AugmentationParams())


def make_training(module: torch.nn.Module, params: TrainingParams, loss: LossParams, compute: Compute) -> Training:
    """Put a training together."""
    groups = parameter_groups(module, params)
    return Training("benchmark", module, groups, make_loss(loss), params, compute, SEED, "", 1e9)


def step_sides(pixels: Pixels, compute: Compute) -> dict[str, Callable[[], None]]:
    """Give one fine-tuning step, ours and a bare one, of the same network on as many images."""
    params = TrainingParams(epochs=10, lesions_per_batch=N_STEP_IMAGES // 2, learning_rate=1e-4)
    backbone = load_backbone(TUNED, SEED)
    model = EmbeddingModel(backbone.module.requires_grad_(True), make_head(backbone.feature_dim, params.head, SEED))
    model = model.to(compute.device).train()
    training = make_training(model, params, InfonceParams(), compute)
    images: TrainingImages = photographs_of(pixels, backbone)
    optimiser = torch.optim.AdamW(training.groups, fused=True)
    scaler = torch.amp.GradScaler(compute.device, enabled=compute.precision == "fp16")
    learner = Learner(model, optimiser, scaler)
    labels = torch.arange(N_STEP_IMAGES // 2, device=compute.device).repeat_interleave(2)
    rng = np.random.default_rng(SEED)
    ready = images.drawn(np.arange(N_STEP_IMAGES), rng, compute.device)

    def ours() -> None:
        inputs = images.drawn(rng.permutation(N_IMAGES)[:N_STEP_IMAGES], rng, compute.device)
        take_step(training, learner, inputs, labels, 1.0)

    def bare() -> None:
        with compute.autocast():
            output = model(ready)
        optimiser.zero_grad()
        output.float().square().mean().backward()
        optimiser.step()
        if compute.device == "cuda":
            torch.cuda.synchronize()

    return {"fine-tuning step": ours, "bare step": bare}


def epoch_sides(listed: ListedPhotographs, pixels: Pixels, path: Path) -> dict[str, Callable[[], None]]:
    """Give an epoch's augmented images, from the memory map and from JPEG files."""
    backbone = load_backbone(TUNED, SEED)
    photographs = photographs_of(pixels, backbone)

    def augmented(source: DecodedPhotographs) -> None:
        rng = np.random.default_rng(SEED)
        for start in range(0, N_IMAGES, LOADER.batch_size):
            source.drawn(np.arange(start, min(start + LOADER.batch_size, N_IMAGES)), rng, "cpu")

    def decoded() -> None:
        path.unlink(missing_ok=True)
        fresh = decode(listed, backbone, path)
        augmented(dataclasses.replace(photographs, canvases=fresh.canvases))

    return {"memory map": lambda: augmented(photographs), "decoded each time": decoded}


def rounds_of(sides: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Time sides in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(N_ROUNDS + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - started)
    return {name: times[1:] for name, times in seconds.items()}  # the first round warms up


def main() -> None:
    """Run the three comparisons and print them as Markdown."""
    print(describe_machine("torch", "timm", "pytorch-metric-learning"), flush=True)
    compute = resolve_compute(ComputeParams())
    with tempfile.TemporaryDirectory() as folder_name:
        root = Path(folder_name)
        (root / "images").mkdir()
        photographs, table = write_photographs(root / "images")
        seconds = cached_study(photographs, table, root / "vit.safetensors", compute)
        pixels = PixelsDataset(filepath=str(root / "vit.safetensors")).load()
        print_frozen(seconds, *uncached_epochs(pixels, table, compute), table)
        resnet = decode(photographs, load_backbone(TUNED, SEED), root / "resnet.safetensors")
        with deterministic(compute):
            print_rounds(rounds_of(step_sides(resnet, compute)), N_STEP_IMAGES, "images per second")
            sides = epoch_sides(photographs, resnet, root / "again.safetensors")
            print_rounds(rounds_of(sides), N_IMAGES, "images per second")


def print_frozen(seconds: dict[str, float], slow: float, n_passes: int, table: pd.DataFrame) -> None:
    """Print the comparison of heads on cached views with the backbone in every epoch."""
    n_all = sum(len(LOSSES) * N_EPOCHS * n_seen_per_epoch(table, fold) for fold in range(N_FOLDS))
    scaled = slow * n_all / n_passes
    fast = sum(seconds.values())
    rows = [[f"cached: {part}", f"{value:.1f}"] for part, value in seconds.items()]
    rows += [
        ["cached: all", f"{fast:.1f}"],
        [f"backbone in every epoch: {N_SLOW_EPOCHS} epochs of one fold, {n_passes} forward passes", f"{slow:.1f}"],
        [
            f"scaled to {n_all} forward passes ({len(LOSSES)} losses x {N_FOLDS} folds x {N_EPOCHS} epochs)",
            f"{scaled:.0f}",
        ],
        ["times faster", f"{scaled / fast:.1f}"],
    ]
    print("\n" + markdown_table(["ViT-S, 224 pixels, 200 images", "seconds"], rows), flush=True)


def n_seen_per_epoch(table: pd.DataFrame, fold: int) -> int:
    """Count the images that one epoch of one fold looks at: two of each training lesion, all that validate."""
    sizes = table[table["fold"] != fold].groupby("lesion_id").size()
    return int(sizes.clip(upper=HEAD.images_per_lesion).sum() + (table["fold"] == fold).sum())


def print_rounds(seconds: dict[str, list[float]], n_images: int, unit: str) -> None:
    """Print medians, rounds and their ratio."""
    rates = {name: [n_images / second for second in times] for name, times in seconds.items()}
    rows = [[name, f"{median(rate):.1f}", ", ".join(f"{value:.1f}" for value in rate)] for name, rate in rates.items()]
    first, second = (median(rate) for rate in rates.values())
    print("\n" + markdown_table([unit, "median", "rounds"], rows))
    print(f"\nRatio of the medians: {first / second:.2f}", flush=True)


if __name__ == "__main__":
    main()
