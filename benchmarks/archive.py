"""The long steps of a small and a large archive: time and peak memory, in one process or on a cluster.

``python -m benchmarks.archive`` makes JPEG files of 600x450 pixels and runs each step as a study does, from nothing to
the finished file. Every step is a process of its own, without loader workers, so that its peak memory is all of its
own; with ``--cluster local:2`` its pieces are made by two more. The files are copies of a few photographs, each with a
number behind its last byte: their contents and keys differ, and decoding them takes as long as with other files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.photographs import list_photographs
from benchmarks.timing import describe_machine, markdown_table, peak_resident_megabytes
from skinbit.config import (
    AugmentationParams,
    BackboneParams,
    ComputeParams,
    DataParams,
    ExecutorParams,
    GeometryParams,
    LoaderParams,
    ViewParams,
)
from skinbit.data.executor import Execution
from skinbit.data.photographs import Photographs
from skinbit.data.pieces import of_pairs, of_photographs
from skinbit.data.synthetic import make_photographs
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import resolve_compute
from skinbit.embedding.embeddings import baseline_embeddings
from skinbit.embedding.features import describe_backbone
from skinbit.matching.keypoints.compared import Comparing, shortlist_by_keypoints
from skinbit.matching.keypoints.shortlist import shortlist_table
from skinbit.matching.keypoints.sift import choose_keypoints, extract_photographs
from skinbit.matching.pairs.pool import Pool
from skinbit.pipelines.baseline_embeddings import nodes
from skinbit.runtime.datasets.compared_pairs import ComparedPairsDataset
from skinbit.runtime.datasets.features import FeaturesDataset
from skinbit.runtime.datasets.keypoints import KeypointsDataset
from skinbit.runtime.datasets.pieces import StoredPieces
from skinbit.runtime.datasets.pixels import PixelsDataset
from skinbit.runtime.locking import hold

SIZES = (2_000, 20_000)
WIDTH, HEIGHT = 600, 450
N_DISTINCT = 40
N_LESIONS = 20  # two to four photographs each
N_TRAINING_VIEWS = 8
CANVAS = 1.25
SEED = 0
BACKBONE = BackboneParams(
    model="mobilenetv3_small_050",  # little work for many features, 1,024
    pretrained=False,
    image_size=64,
    test_views=ViewParams(rotations=(0, 90, 180, 270)),
)
LOADER, COMPUTE, GEOMETRY = LoaderParams(workers=0), ComputeParams(device="cpu", threads=1), GeometryParams()


def write_photographs(folder: Path, n_images: int) -> None:
    """Write JPEG files of different contents."""
    (folder / "images").mkdir(parents=True)
    jpegs = [photograph.jpeg for photograph in islice(make_photographs(N_LESIONS, SEED, WIDTH, HEIGHT), N_DISTINCT)]
    for number in range(n_images):
        content = jpegs[number % len(jpegs)] + number.to_bytes(4, "big")
        (folder / "images" / f"{number:06}.jpg").write_bytes(content)


class Archive:
    """The photographs of a folder, and the steps that a study runs on them."""

    def __init__(self, folder: Path, execution: Execution) -> None:
        """Read everything that the steps begin with."""
        self.folder, self.execution = folder, execution
        self.listed = list_photographs(folder / "images")
        self.description = describe_backbone(
            load_backbone(BACKBONE, SEED), BACKBONE, resolve_compute(COMPUTE), LOADER.batch_size
        )

    def file(self, name: str) -> str:
        """Return the path of the file that a step writes."""
        return f"{self.folder}/{name}.safetensors"

    def stored_features(self, _: str, name: str) -> StoredPieces[Any]:
        """Return what an earlier run has left of a file."""
        return StoredPieces(FeaturesDataset, self.file(name))

    def features(self) -> None:
        """Make the features of all photographs."""
        made = nodes.extract_features(
            self.listed.folder,
            self.listed.table,
            self.description,
            self.stored_features,
            BACKBONE,
            LOADER,
            COMPUTE,
            DataParams(),
            self.execution,
            SEED,
            name="archive",
        )
        FeaturesDataset(filepath=self.file("features")).save(made)

    def pixels(self) -> None:
        """Decode all photographs."""
        made = nodes.decode_photographs(
            self.listed.folder,
            self.listed.table,
            self.description,
            StoredPieces(PixelsDataset, self.file("pixels")),
            CANVAS,
            LOADER,
            DataParams(),
            self.execution,
        )
        PixelsDataset(filepath=self.file("pixels")).save(made)

    def training_views(self) -> None:
        """Make the training views of all photographs."""
        made = nodes.extract_training_views(
            PixelsDataset(filepath=self.file("pixels")).load(),
            self.description,
            self.stored_features,
            BACKBONE,
            AugmentationParams(),
            LOADER,
            COMPUTE,
            self.execution,
            SEED,
            name="archive",
            n_views=N_TRAINING_VIEWS,
        )
        FeaturesDataset(filepath=self.file("training_views")).save(made)

    def keypoints(self) -> None:
        """Find the keypoints of all photographs."""
        store, making = StoredPieces(KeypointsDataset, self.file("keypoints")), of_photographs(self.execution)
        made = extract_photographs(Photographs((self.listed,)), store, GEOMETRY, 1, making)
        KeypointsDataset(filepath=self.file("keypoints")).save(made)

    def pairs(self) -> None:
        """Compare the keypoints of each photograph with those of its nearest."""
        features = FeaturesDataset(filepath=self.file("features")).load()
        pool = Pool(baseline_embeddings(features, list(features.image_ids)).values)
        keypoints = choose_keypoints([KeypointsDataset(filepath=self.file("keypoints")).load()], features.image_ids)
        store = StoredPieces(ComparedPairsDataset, self.file("pairs"))
        found = shortlist_by_keypoints(pool, keypoints, Comparing(GEOMETRY, 1, store, of_pairs(self.execution)))
        shortlist_table(found, features.image_ids).to_csv(self.file("pairs"), index=False)


STEPS = ("features", "pixels", "training_views", "keypoints", "pairs")


@contextmanager
def opened(cluster: str | None, folder: Path) -> Iterator[Execution]:
    """Yield how pieces are made: in this process, or on a cluster."""
    params = ExecutorParams(cluster=cluster)
    if cluster is None:
        yield Execution(params)
        return
    from skinbit.runtime.cluster.opening import open_cluster

    with hold(folder, "benchmark") as token, open_cluster(cluster, COMPUTE, token) as executor:
        yield Execution(params, executor)


def run_step(step: str, folder: Path, cluster: str | None) -> dict[str, float]:
    """Run one step in this process, and return its seconds, its peak memory and the size of its file."""
    with opened(cluster, folder) as execution:
        archive = Archive(folder, execution)
        before, started = peak_resident_megabytes(), time.perf_counter()
        getattr(archive, step)()
        return {
            "seconds": time.perf_counter() - started,
            "file": Path(archive.file(step)).stat().st_size / 1e6,
            "before": before,
            "peak": peak_resident_megabytes(),
        }


def measure(folder: Path, n_images: int, cluster: str | None) -> list[list[str]]:
    """Run all steps, each in a process of its own, and return the rows of the table."""
    write_photographs(folder, n_images)
    rows = []
    for step in STEPS:
        command = [sys.executable, "-m", "benchmarks.archive", "--step", step, "--folder", str(folder)]
        command += [] if cluster is None else ["--cluster", cluster]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{n_images} {step}: {json.dumps(found)}", file=sys.stderr, flush=True)
        numbers = (found[name] for name in ("seconds", "file", "before", "peak"))
        rows.append([step.replace("_", " "), f"{n_images:,}", *(f"{number:,.0f}" for number in numbers)])
    return rows


def main() -> None:
    """Print the table; with a step, that step's numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, help="numbers of photographs")
    parser.add_argument("--step", choices=STEPS, help="run this one alone, in this process")
    parser.add_argument("--folder", type=Path, help="of the photographs and files of the step")
    parser.add_argument("--cluster", help="local:2, for example; none: one process makes all pieces")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(run_step(given.step, given.folder, given.cluster)))
        return
    print(describe_machine("torch", "timm", "pillow"), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory() as root:
        rows = [row for n_images in given.sizes for row in measure(Path(root, str(n_images)), n_images, given.cluster)]
    rows.sort(key=lambda row: STEPS.index(row[0].replace(" ", "_")))
    header = ["step", "photographs", "seconds", "file (MB)", "memory before (MB)", "peak memory (MB)"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
