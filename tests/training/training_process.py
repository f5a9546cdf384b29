"""A process that trains a head and fine-tunes a backbone: `python training_process.py FOLDER`; see test_resume.py.

It prints a line per epoch, keeps its states in FOLDER and writes what it trained there, too.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    HeadParams,
    InfonceParams,
    PoolingParams,
    TrainingParams,
    TrainingRecipe,
    TripletParams,
)
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.checkpoints import StateStore, StoredState
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import describe_backbone
from skinbit.embedding.tables import Features, Pixels
from skinbit.runtime.datasets.checkpoint import CheckpointDataset
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.training_state import TrainingStatesDataset
from skinbit.training.experiment import train
from skinbit.training.job import Job, Roles
from skinbit.training.tasks import HeadTask, NetworkTask

CPU = Compute("cpu", "fp32", 1)
POOLING = PoolingParams(method="gem", levels=(1, 2))
RESNET = BackboneParams(model="test_resnet", image_size=32, pretrained=False, pooling=POOLING)
N_LESIONS = 20
LABELS = np.repeat(np.arange(N_LESIONS), np.arange(N_LESIONS) % 3 + 2)
IDS = tuple(f"image{row}" for row in range(len(LABELS)))
HEAD_EPOCHS, BACKBONE_EPOCHS = 25, 8


class Told:
    """Tells of every epoch whose state is on the disk."""

    def __init__(self, store: StateStore, name: str) -> None:
        self._store = store
        self._name = name

    def read(self) -> StoredState | None:
        return self._store.read()

    def write(self, state: StoredState) -> None:
        self._store.write(state)
        print(self._name, len(state.header["history"]), flush=True)  # noqa: T201
        time.sleep(0.01)  # an epoch of tiny networks ends before anyone can kill it


def roles() -> Roles:
    lesions = [f"lesion{label:02}" for label in LABELS]
    trained = [row for row in range(len(LABELS)) if LABELS[row] < N_LESIONS - 6]
    judged = [row for row in range(len(LABELS)) if row not in trained]
    subsets = [tuple(values[row] for row in rows) for rows in (trained, judged) for values in (IDS, lesions)]
    return Roles(*subsets, chooses_epoch=True)


def job(name: str, epochs: int) -> Job:
    training = TrainingParams(
        epochs=epochs,
        lesions_per_batch=6,
        learning_rate=0.01,
        hard_lesions=3,
        views=2,
        head=HeadParams(hidden=(16,) if name == "head" else (), dim=8),
    )
    loss, params = ("triplet", TripletParams()) if name == "head" else ("infonce", InfonceParams())
    recipe = TrainingRecipe(
        loss=loss,
        loss_options=params.model_dump(),
        params=training,
        augmentation=AugmentationParams(),
        threads=1,
        save_every=0.0,
    )
    return Job(name, RESNET, recipe, CPU, 5)


def features(n_views: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(N_LESIONS, 24))
    values = centres[LABELS][:, None] + 2 * rng.normal(size=(len(IDS), n_views, 24))
    preprocessing = {"image_size": 32, "crop_pct": 1, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    description = {"preprocessing": preprocessing, "weights_sha256": "0" * 64}
    return Features(IDS, np.float32(values), tuple(f"key {seed} of {image_id}" for image_id in IDS), description)


def pixels() -> Pixels:
    rng = np.random.default_rng(3)
    canvases = rng.integers(0, 256, (len(IDS), 40, 40, 3), dtype=np.uint8)
    return Pixels(IDS, canvases, canvases[:, None, 4:36, 4:36].copy(), IDS, {"canvas_size": 40})


def main(folder: Path) -> None:
    states = TrainingStatesDataset(path=folder.as_posix()).load()

    def store(name: str) -> Told:
        return Told(states(name, "fold_0"), name)

    task = HeadTask(features(1, 1), features(3, 2))
    head = train(task, roles(), job("head", HEAD_EPOCHS), store("head"))
    description = describe_backbone(load_backbone(RESNET, 5), RESNET, CPU, 4)
    whole = NetworkTask(pixels(), description)
    backbone = train(whole, roles(), job("backbone", BACKBONE_EPOCHS), store("backbone"))
    for name, trained in (("head", head), ("backbone", backbone)):
        CheckpointDataset(filepath=(folder / f"{name}.safetensors").as_posix()).save(trained.checkpoint)
        EmbeddingsDataset(filepath=(folder / f"{name}_embeddings.safetensors").as_posix()).save(trained.embeddings)
        (folder / f"{name}_history.json").write_text(json.dumps(trained.history, sort_keys=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
