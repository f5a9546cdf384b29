"""How much threads, batch size and precision change similarities, and which pairs they move across the cut.

uv run python -m benchmarks.hardware PHOTOGRAPHS LABELS --weights FILE

PHOTOGRAPHS is a folder, LABELS a table with ``image_id`` and ``lesion_id``. The same photographs, of lesions of two to
four, are embedded with the network and the four zooms of ``conf/ham10000`` with each setting. Whitening and cut, the
threshold of the best F1, are those of the first setting, whose similarities all others are compared with.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.photographs import list_photographs
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import BackboneParams, CutParams, LoaderParams, PoolingParams, ViewParams
from skinbit.data.listed import ListedPhotographs
from skinbit.embedding.backbones import load_backbone
from skinbit.embedding.compute import Compute
from skinbit.embedding.features import Extraction, extract_features
from skinbit.matching.labels import FloatArray, unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import similarity_tiles
from skinbit.matching.scoring.score import score
from skinbit.matching.similarity.whitening import fit_whitening

N_IMAGES, SEED = 1_000, 42
VIEWS = ViewParams(zooms=(1.0, 1.5, 2.2, 3.2))


@dataclass(frozen=True)
class Setting:
    """How photographs pass through the network."""

    compute: Compute
    batch_size: int

    def __str__(self) -> str:
        threads = self.compute.threads
        return f"{self.compute.precision}, {threads} thread{'s' * (threads > 1)}, batches of {self.batch_size}"


FIRST = Setting(Compute("cpu", "fp32", 1), 16)
SETTINGS = (
    FIRST,
    replace(FIRST, compute=Compute("cpu", "fp32", 2)),
    replace(FIRST, batch_size=64),
    replace(FIRST, batch_size=1),
    replace(FIRST, compute=Compute("cpu", "bf16", 1)),
)


def choose_images(labels: pd.DataFrame, present: set[str]) -> tuple[list[str], list[str]]:
    """Return ids of images, and their lesions, of lesions with two to four photographs in the folder."""
    table = labels[labels["image_id"].isin(present)].sort_values(["lesion_id", "image_id"])
    sizes = table.groupby("lesion_id")["image_id"].transform("size")
    chosen = table[sizes.between(2, 4)].head(N_IMAGES)
    return chosen["image_id"].tolist(), chosen["lesion_id"].tolist()


def embed(photographs: ListedPhotographs, image_ids: list[str], weights: str | None, setting: Setting) -> FloatArray:
    """Return the mean of every photograph's features over its zooms, of unit length."""
    params = BackboneParams(
        model="resnet18.tv_in1k",
        image_size=128,
        weights=weights,
        pooling=PoolingParams(method="gem", levels=(2, 3)),
        test_views=VIEWS,
    )
    extraction = Extraction(photographs, LoaderParams(workers=0, batch_size=setting.batch_size), setting.compute)
    return unit_vectors(extract_features(extraction, image_ids, load_backbone(params, SEED), VIEWS).mean(axis=1))


def similarities(pool: Pool) -> FloatArray:
    """Return the similarity of every pair."""
    return np.concatenate([tile.pairs() for tile in similarity_tiles(pool)])


def tabulate(pools: Mapping[str, Pool], lesions: list[str]) -> str:
    """Compare the pools of all settings with the first one's, at its cut.

    Args:
        pools: The same images embedded with each setting.
        lesions: Their lesions.

    Returns:
        A Markdown table, below a line with the cut.
    """
    first, *_ = pools.values()
    cut = score(first, lesions, CutParams()).metrics["cosine_threshold"]
    expected = similarities(first)
    rows = []
    for name, pool in pools.items():
        found = similarities(pool)
        differences = np.abs(found.astype(np.float64) - expected)
        moved = int(((found >= cut) != (expected >= cut)).sum())
        f1 = score(pool, lesions, CutParams()).metrics["cosine_f1"]
        cells = [f"{differences.max():.1e}", f"{np.median(differences):.1e}", str(moved), f"{f1:.4f}"]
        rows.append([name, *cells])
    header = ["setting", "largest difference", "median difference", "pairs that change sides", "best F1"]
    n_above = int((expected >= cut).sum())
    return f"{len(expected):,} pairs, {n_above:,} above the cut of {cut:.4f}\n\n{markdown_table(header, rows)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--weights", help="a .safetensors file; otherwise timm's hub")
    arguments = parser.parse_args()
    photographs = list_photographs(arguments.photographs)
    image_ids, lesions = choose_images(pd.read_csv(arguments.labels), set(photographs.image_ids))
    embedded = {str(each): embed(photographs, image_ids, arguments.weights, each) for each in SETTINGS}
    whitening = fit_whitening(embedded[str(FIRST)])
    print(describe_machine("torch", "timm"))
    print(f"{len(image_ids):,} photographs of {len(set(lesions)):,} lesions;")
    print(tabulate({name: Pool(whitening.apply(values)) for name, values in embedded.items()}, lesions))


if __name__ == "__main__":
    main()
