"""A small finished study with photographs, as the benchmarks that read pixels need one."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks.photographs import list_photographs
from skinbit.config import BackboneParams, GeometryParams, PoolingParams
from skinbit.data.listed import ListedPhotographs
from skinbit.data.synthetic import make_photographs
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import describe_backbone
from skinbit.embedding.tables import Embeddings
from skinbit.matching.keypoints.shortlist import Shortlist, shortlist_table
from skinbit.matching.keypoints.sift import NO_TABLE
from skinbit.matching.labels import unit_vectors
from skinbit.runtime.datasets.embeddings import EmbeddingsDataset
from skinbit.runtime.datasets.keypoints import KeypointsDataset
from tests.kept import find_keypoints

N_FOLDS, N_LESIONS, N_ALONE = 3, 12, 8


@dataclass(frozen=True)
class Archive:
    """A study's folder, its photographs and the weights of its backbone."""

    root: Path
    photographs: Path
    weights: Path

    @property
    def listed(self) -> ListedPhotographs:
        return list_photographs(self.photographs)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Three folds of four lesions, and eight lesions of one photograph."""
    root = tmp_path_factory.mktemp("archive")
    found = Archive(root / "study", root / "images", root / "test_resnet.safetensors")
    photographs = _write_photographs(found.photographs)
    table = photographs[photographs["lesion"] < N_LESIONS]
    alone = photographs[photographs["lesion"] >= N_LESIONS].drop_duplicates("lesion_id")
    _write_weights(found.weights)
    folder = found.root / "02_intermediate"
    folder.mkdir(parents=True)
    table.to_csv(folder / "split.csv", index=False)
    alone.to_csv(folder / "distractors.csv", index=False)
    alone.to_csv(folder / "distractor_index.csv", index=False)
    for name, images in (("keypoints", table), ("distractor_keypoints", alone)):
        keypoints = find_keypoints(replace(found.listed, table=images), NO_TABLE, GeometryParams(n_keypoints=60), 1)
        KeypointsDataset(filepath=f"{found.root}/04_feature/{name}.safetensors").save(keypoints)
    _write_description(found)
    for fold, part in table.groupby("fold"):
        _write_fold(part, alone, found.root / f"07_model_output/one/fold_{fold}")
    return found


def _write_photographs(folder: Path) -> pd.DataFrame:
    folder.mkdir()
    rows = []
    for photograph in make_photographs(N_LESIONS + N_ALONE, 0, 120, 90):
        (folder / f"{photograph.image_id}.jpg").write_bytes(photograph.jpeg)
        sha256 = hashlib.sha256(photograph.jpeg).hexdigest()
        rows.append((photograph.image_id, photograph.lesion_id, f"{photograph.image_id}.jpg", sha256))
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id", "file", "sha256"])
    table["lesion"] = pd.factorize(table["lesion_id"])[0]
    return table.assign(fold=table["lesion"] % N_FOLDS, subset="train")


def _write_weights(path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)


def _write_description(archive: Archive) -> None:
    params = BackboneParams(
        model="test_resnet",
        image_size=32,
        pooling=PoolingParams(method="gem", levels=(1, 2)),
        weights=str(archive.weights),
    )
    description = describe_backbone(load_backbone(params, 42), params, Compute("cpu", "fp32", 1), 32)
    path = archive.root / "04_feature/resnet18/backbone.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(description))


def _write_fold(images: pd.DataFrame, alone: pd.DataFrame, folder: Path) -> None:
    """Write embeddings in which lesions are easy to tell apart; all pairs are compared, partners have more inliers."""
    for name, part in (("embeddings", images), ("distractor_embeddings", alone)):
        rng = np.random.default_rng(1)
        values = unit_vectors(np.eye(N_LESIONS + N_ALONE)[part["lesion"]] + 0.1 * rng.normal(size=(len(part), 20)))
        described = Embeddings(tuple(part["image_id"]), values, {})
        EmbeddingsDataset(filepath=str(folder / f"{name}.safetensors")).save(described)
    pairs = np.stack(np.triu_indices(len(images), 1), axis=1)
    lesions = images["lesion"].to_numpy()[pairs]
    inliers = np.where(lesions[:, 0] == lesions[:, 1], 40, 3)
    table = shortlist_table(Shortlist(pairs, inliers, np.ones(len(pairs))), images["image_id"].tolist())
    table.to_csv(folder / "shortlist.csv", index=False)
