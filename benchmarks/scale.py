"""All metrics and groups of larger and larger pools: time, processor time and peak memory of one run each.

``python -m benchmarks.scale`` compares at 2,500 to 10,000 images, ``python -m benchmarks.scale 100000`` runs the large
pool. Every job is a process of its own, so that its peak memory is its own; making the embeddings and importing is in
none of the times. A rival that is not installed is left out. The best F1 by threshold of the smallest pools is checked
against one of all pairs sorted.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.matching import cluster_f1
from benchmarks.timing import describe_machine, markdown_table, peak_resident_megabytes
from skinbit.config import EvaluationParams, ScalingParams
from skinbit.matching.grouping import Cut, group_images
from skinbit.matching.labels import FloatArray, LabelArray, unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.pairs.tiles import similarity_tiles
from skinbit.matching.scoring.score import score
from skinbit.matching.similarity.hubness import hubness

SIZES = (2_500, 5_000, 10_000)
NOISES = {"clear": 1.5, "hard": 1.9}
"""The best F1 by threshold is near 0.97 and near 0.75 at 10,000 images. The clear pool is that of all sizes."""

EMBEDDING_DIM = 384
SEED = 0
EPS = 0.75
CUT = Cut("average", EPS, 1 - EPS, 1 - EPS)
MAX_GROUP_SIZE = 4

Metrics = dict[str, Any]

_HEADER = ["pool", "job", "seconds", "processor seconds", "times the product", "peak MB", "F1"]


def make_pool(n_images: int, noise: float) -> tuple[FloatArray, LabelArray]:
    """Draw lesions of one to four images: a centre per lesion and noise per image, in no order.

    Args:
        n_images: Rows.
        noise: Standard deviation per dimension; that of the centres is 1.

    Returns:
        Unit embeddings ``(n_images, 384)`` and labels ``(n_images,)``.
    """
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(n_images), rng.integers(1, 4, size=n_images, endpoint=True))[:n_images]
    labels = rng.permutation(labels)
    centres = rng.standard_normal((n_images, EMBEDDING_DIM), dtype=np.float32)
    vectors = centres[labels]
    del centres
    vectors += np.float32(noise) * rng.standard_normal(vectors.shape, dtype=np.float32)
    return unit_vectors(vectors), labels


def product_in_tiles(embeddings: FloatArray, _: LabelArray) -> Metrics:
    """Compare all pairs, and look at none."""
    for _tile in similarity_tiles(Pool(embeddings)):
        pass
    return {}


def surroundings(embeddings: FloatArray, _: LabelArray) -> Metrics:
    """Tell how alike each image and its surroundings are, as local scaling needs."""
    hubness(embeddings, ScalingParams())
    return {}


def all_metrics(embeddings: FloatArray, labels: LabelArray) -> Metrics:
    """Return all metrics, as a study does for a fold."""
    found = score(Pool(embeddings), labels.astype(str).tolist(), EvaluationParams())
    return {**found.metrics, "reach": dict(found.reach), "uncertain": list(found.uncertain)}


def groups(embeddings: FloatArray, labels: LabelArray) -> Metrics:
    """Put images into groups, with margins and nearest images: what `cluster_images` does."""
    found = group_images(Pool(embeddings), (), CUT, MAX_GROUP_SIZE)
    return {"cosine_f1": cluster_f1(found.cluster_ids, labels)}


def sklearn_dbscan(embeddings: FloatArray, labels: LabelArray) -> Metrics:
    """Fit scikit-learn's DBSCAN at one eps."""
    from sklearn.cluster import DBSCAN

    clusters = DBSCAN(eps=EPS, min_samples=2, metric="cosine", n_jobs=2).fit_predict(embeddings)
    return {"cosine_f1": cluster_f1(clusters, labels)}


def scipy_linkage(embeddings: FloatArray, _: LabelArray) -> Metrics:
    """Make SciPy's tree of average linkage, of groups of any size."""
    from scipy.cluster import hierarchy

    hierarchy.linkage(embeddings, "average", metric="cosine")
    return {}


def fast_hdbscan(embeddings: FloatArray, labels: LabelArray) -> Metrics:
    """Fit fast_hdbscan, which approximates neighbours in so many dimensions, a second time: the first one compiles."""
    from fast_hdbscan import HDBSCAN

    HDBSCAN(min_cluster_size=2).fit(embeddings)
    started, started_cpu = time.perf_counter(), time.process_time()
    clusters = HDBSCAN(min_cluster_size=2).fit_predict(embeddings)
    took = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - started_cpu}
    return {**took, "cosine_f1": cluster_f1(clusters, labels)}


JOBS: dict[str, Callable[[FloatArray, LabelArray], Metrics]] = {
    "product in tiles": product_in_tiles,
    "surroundings": surroundings,
    "all figures": all_metrics,
    "groups": groups,
    "scikit-learn DBSCAN, one eps": sklearn_dbscan,
    "SciPy average linkage, the tree": scipy_linkage,
    "fast_hdbscan, one fit": fast_hdbscan,
}

LARGE = ("product in tiles", "surroundings", "all figures", "groups")
"""What is run where rivals would take too long."""


def run_job(name: str, n_images: int, pool: str) -> Metrics:
    """Run one job in this process.

    Args:
        name: A key of ``JOBS``.
        n_images: Of the pool.
        pool: A key of ``NOISES``.

    Returns:
        Its metrics, ``seconds``, ``processor_seconds`` and ``peak_megabytes``.
    """
    embeddings, labels = make_pool(n_images, NOISES[pool])
    started, started_cpu = time.perf_counter(), time.process_time()
    metrics = JOBS[name](embeddings, labels)
    took = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - started_cpu}
    return {**took, **metrics, "peak_megabytes": peak_resident_megabytes()}


def compare(n_images: int, pool: str, names: tuple[str, ...]) -> list[list[str]]:
    """Run jobs one after another, each in a process of its own; give the rows of the table."""
    found = {}
    for name in names:
        command = [sys.executable, "-m", "benchmarks.scale", str(n_images), "--job", name, "--pool", pool]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{n_images} {pool} {name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    if n_images <= SIZES[0]:
        _check_best_f1(found["all figures"]["cosine_f1"], *make_pool(n_images, NOISES[pool]))
    product = found["product in tiles"]["processor_seconds"]
    return [_row(f"{n_images:,}, {pool}", name, metrics, product) for name, metrics in found.items()]


def _check_best_f1(f1: float, embeddings: FloatArray, labels: LabelArray) -> None:
    """Find the best F1 by threshold the plain way, of all pairs sorted."""
    first, second = np.triu_indices(len(labels), 1)
    wide = embeddings.astype(np.float64)
    similarities = (wide @ wide.T)[first, second].astype(np.float32)
    order = np.argsort(-similarities)
    is_positive = (labels[first] == labels[second])[order]
    is_last_of_tie = np.append(np.diff(similarities[order]) != 0, True)
    n_predicted = np.arange(1, len(order) + 1)
    best = (2 * np.cumsum(is_positive) / (n_predicted + is_positive.sum()))[is_last_of_tie].max()
    if f1 != best:
        raise ValueError(f"the best F1 by threshold is {f1}, of all pairs sorted {best}")


def _row(pool: str, name: str, metrics: Metrics, product: float) -> list[str]:
    f1 = f"{metrics['cosine_f1']:.4f}" if "cosine_f1" in metrics else ""
    ratio = f"{metrics['processor_seconds'] / product:.1f}"
    seconds, of_processor = f"{metrics['seconds']:.1f}", f"{metrics['processor_seconds']:.1f}"
    return [pool, name, seconds, of_processor, ratio, f"{metrics['peak_megabytes']:,.0f}", f1]


def main() -> None:
    """Print the table; with a job, that job's metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", help="size of a pool that is measured without rivals")
    parser.add_argument("--job", choices=JOBS, help="run this one alone, in this process")
    parser.add_argument("--pool", choices=NOISES, default="clear")
    given = parser.parse_args()
    if given.job:
        print(json.dumps(run_job(given.job, given.images or SIZES[0], given.pool)))
        return
    print(describe_machine("numpy", "scikit-learn", "scipy"), end="\n\n", flush=True)
    if given.images:
        rows = compare(given.images, given.pool, LARGE)
    else:
        installed = tuple(name for name in JOBS if name != "fast_hdbscan, one fit" or find_spec("fast_hdbscan"))
        rows = [row for n_images in SIZES for row in compare(n_images, "clear", installed)]
        rows += compare(SIZES[-1], "hard", installed)
    print(markdown_table(_HEADER, rows))


if __name__ == "__main__":
    main()
