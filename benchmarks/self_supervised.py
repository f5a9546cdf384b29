"""Weights of a network that has learned from photographs without labels, for a study to start from.

SKINBIT_WEIGHTS=../weights/resnet18_layers1to3.safetensors uv run python -m benchmarks.self_supervised \
    --root data/ham10000 --photographs ../ham10000/images --out data/self_supervised

The whole ResNet-18 learns to bring two augmentations of one photograph together (SimCLR, Chen et al. 2020), on the
lesions of one photograph of a finished study, which are in none of its folds. ``SKINBIT_WEIGHTS`` of another study
names the file that this writes. Judge that one by its folds alone: the network has learned to tell the distractors
apart, so figures among them would be too good.
"""

import argparse
import time
from pathlib import Path

import fsspec
from safetensors.torch import save_file

from benchmarks.stored import read_backbone
from benchmarks.timing import describe_machine
from benchmarks.training import NoStore
from benchmarks.trials import BACKBONE_NAME, COMPUTE, SEED, backbone_of, decode_distractors, seen_twice
from skinbit.datasets.files import atomic_target
from skinbit.embedding.backbones import load_described
from skinbit.embedding.heads import EmbeddingModel, make_head
from skinbit.errors import InputError
from skinbit.params import AugmentationParams, HeadParams, InfonceParams, TrainingParams
from skinbit.training.fit import Training, fit
from skinbit.training.images import DecodedPhotographs
from skinbit.training.losses import make_loss
from skinbit.training.optimisation import parameter_groups

SHORT = TrainingParams(
    epochs=5,
    lesions_per_batch=64,
    learning_rate=2e-3,
    warmup=0.2,
    backbone_rate=0.15,
    layer_decay=1.0,
    batch_norm="frozen",  # those of the shared weights are folded in
    head=HeadParams(hidden=(2048,), dim=512),
)
BACKBONE = "backbone.levels."


def main() -> None:
    """Learn, and write the backbone's weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root",
        required=True,
        type=Path,
        help=f"of a study with a backbone {BACKBONE_NAME}, pooled by levels, and evaluation.distractors",
    )
    parser.add_argument("--photographs", required=True, type=Path, help="the folder of all its photographs")
    parser.add_argument("--out", required=True, type=Path, help="where pixels and weights are kept")
    parser.add_argument("--epochs", type=int, default=SHORT.epochs)
    given = parser.parse_args()
    started = time.perf_counter()
    description = read_backbone(given.root, BACKBONE_NAME)
    if not description["pooling"]["levels"]:
        raise SystemExit(f"{given.root}: {BACKBONE_NAME} is not pooled by levels. Remedy: backbones.<name>.pooling.")
    params = SHORT.model_copy(update={"epochs": given.epochs})
    try:
        loaded = load_described(backbone_of(description), SEED, description)
    except InputError as error:
        raise SystemExit(f"{error}\n  Remedy: SKINBIT_WEIGHTS as in the study of --root.") from None
    pixels = decode_distractors(given.root, given.photographs, given.out, description)
    images = DecodedPhotographs(pixels.canvases, pixels.crops[:, 0], loaded.preprocessing, AugmentationParams())
    head = make_head(loaded.feature_dim, params.head, SEED)
    model = EmbeddingModel(loaded.module.requires_grad_(True), head, has_frozen_statistics=True)
    training = Training(
        name="two augmentations of one photograph",
        module=model,
        groups=parameter_groups(model, params),
        loss=make_loss(InfonceParams()),
        params=params,
        compute=COMPUTE,
        seed=SEED,
        key="not kept",
        save_every=1e9,
    )
    weights = fit(training, images, seen_twice(len(pixels.image_ids)), None, NoStore()).weights
    path = given.out / "weights.safetensors"
    of_backbone = {name.removeprefix(BACKBONE): tensor for name, tensor in weights.items() if name.startswith(BACKBONE)}
    with atomic_target(fsspec.filesystem("file"), str(path)) as target:
        save_file({name: tensor.contiguous() for name, tensor in of_backbone.items()}, target)
    print(describe_machine("torch", "pytorch-metric-learning", "numpy"))
    print(f"{len(pixels.image_ids)} photographs, {params.epochs} epochs, {time.perf_counter() - started:.0f} s: {path}")


if __name__ == "__main__":
    main()
