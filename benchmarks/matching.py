"""What users run against the usual way: 49 thresholds over all pairs, 17 DBSCAN fits, SciPy's linkage cut 17 times.

Both sides start from the same unit embeddings, and all they do from there is in their time. The usual way makes the
whole matrix of similarities by one product in single precision; that product is given in a column of its own, too.
Skinbit looks for near pairs in tiles, in double precision, and makes the exact curve of a method of them: of as many as
prove that no cut is better. The last row is all of it: the usual ways by one product, against all curves and figures of
``score``.

The usual threshold loop is given twice: *plain* asks of every pair whether it is predicted and positive, *tight* sets
the positive pairs apart once and reuses one mask. Negative pairs of the synthetic embeddings are nearly orthogonal, so
few are DBSCAN neighbours: that is scikit-learn's good case. SciPy knows no cap on groups: a capped linkage stands
beside its uncapped one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.cluster import DBSCAN

from benchmarks.timing import best_times, describe_machine, markdown_table, peak_megabytes
from skinbit.config import EvaluationParams
from skinbit.matching.clustering.forests import Linkage
from skinbit.matching.curves import select
from skinbit.matching.cuts.search import Vicinity, first_floor, search_cut, search_threshold
from skinbit.matching.cuts.survey import PositivePairs, find_positives
from skinbit.matching.labels import FloatArray, LabelArray, unit_vectors
from skinbit.matching.pairs.neighbours import neighbours_above
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.score import score

SIZES = {1_000: (1.95, 20, 5), 4_500: (1.85, 7, 3), 10_000: (1.8, 3, 1)}
"""Per number of images: the noise that puts the best F1 near 0.8, repetitions of the threshold and the other sweeps."""

THRESHOLDS = np.linspace(0.02, 0.98, 49, dtype=np.float32)
EPSES = np.linspace(0.1, 0.9, 17)
LARGEST_GROUP = 4
LINKAGES: tuple[Linkage, ...] = ("average", "complete")
EMBEDDING_DIM = 384
SEED = 0

_HEADER = ["images", "sweep", "usual way, with its product (s)", "of which the product (s)"]
_HEADER += [
    "Skinbit, from embeddings (s)",
    "times faster",
    "F1 usual",
    "F1 Skinbit",
    "peak MB usual",
    "peak MB Skinbit",
]


@dataclass(frozen=True)
class Contest:
    """The usual way and Skinbit's, both from embeddings; both give the best F1."""

    name: str
    usual: Callable[[], float]
    ours: Callable[[], float]


@dataclass(frozen=True)
class Pairs:
    """All unordered pairs, flat: similarities, and whether the pair is positive."""

    similarities: FloatArray
    is_positive: NDArray[np.bool_]


def make_embeddings(n_images: int, noise: float) -> tuple[FloatArray, LabelArray]:
    """Draw lesions of two to four images: a centre per lesion and noise per image.

    Args:
        n_images: Rows.
        noise: Standard deviation per dimension; that of the centres is 1.

    Returns:
        Unit embeddings ``(n_images, 384)`` and labels ``(n_images,)``.
    """
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(n_images), rng.integers(2, 4, size=n_images, endpoint=True))[:n_images]
    centres = rng.standard_normal((int(labels[-1]) + 1, EMBEDDING_DIM))
    return unit_vectors(centres[labels] + noise * rng.standard_normal((n_images, EMBEDDING_DIM))), labels


def usual_product(embeddings: FloatArray) -> FloatArray:
    """Make the matrix of similarities as users do."""
    similarities: FloatArray = embeddings @ embeddings.T
    return similarities


def usual_distances(similarities: FloatArray) -> FloatArray:
    """Make the matrix of distances as users do."""
    distances: FloatArray = np.maximum(np.float32(1) - similarities, np.float32(0))
    np.fill_diagonal(distances, 0)
    return distances


def extract_pairs(similarities: FloatArray, labels: LabelArray) -> Pairs:
    """Copy the upper triangle and its labels out, row by row: far faster and smaller than ``np.triu_indices``."""
    n_images = len(labels)
    n_pairs = n_images * (n_images - 1) // 2
    pairs = Pairs(np.empty(n_pairs, np.float32), np.empty(n_pairs, np.bool_))
    start = 0
    for row in range(n_images - 1):
        stop = start + n_images - 1 - row
        pairs.similarities[start:stop] = similarities[row, row + 1 :]
        np.equal(labels[row + 1 :], labels[row], out=pairs.is_positive[start:stop])
        start = stop
    return pairs


def plain_threshold_loop(pairs: Pairs) -> float:
    """Give the best F1 of 49 thresholds; per threshold two looks at every pair."""
    n_positive = np.count_nonzero(pairs.is_positive)
    best = 0.0
    for threshold in THRESHOLDS:
        predicted = pairs.similarities >= threshold
        n_predicted = np.count_nonzero(predicted)
        predicted &= pairs.is_positive
        best = max(best, 2 * np.count_nonzero(predicted) / (n_predicted + n_positive))
    return best


def tight_threshold_loop(pairs: Pairs) -> float:
    """Give the best F1 of 49 thresholds; per threshold one look at every pair, no allocation."""
    positives = pairs.similarities[pairs.is_positive]
    predicted = np.empty(len(pairs.similarities), np.bool_)
    best = 0.0
    for threshold in THRESHOLDS:
        n_predicted = np.count_nonzero(np.greater_equal(pairs.similarities, threshold, out=predicted))
        tp = np.count_nonzero(positives >= threshold)
        best = max(best, 2 * tp / (n_predicted + len(positives)))
    return best


def dbscan_loop(distances: FloatArray, labels: LabelArray) -> float:
    """Give the best F1 of 17 DBSCAN fits."""
    fits = (DBSCAN(eps=eps, min_samples=2, metric="precomputed").fit_predict(distances) for eps in EPSES)
    return max(cluster_f1(clusters, labels) for clusters in fits)


def cluster_f1(clusters: NDArray[np.integer], labels: LabelArray) -> float:
    """Give pairwise F1 of DBSCAN's labelling from the counts of its contingency table, noise in no pair."""
    clustered = clusters >= 0
    cells = clusters[clustered].astype(np.int64) * (int(labels.max()) + 1) + labels[clustered]
    tp = _count_pairs(np.unique(cells, return_counts=True)[1])
    n_predicted = _count_pairs(np.bincount(clusters[clustered]))
    return 2 * tp / (n_predicted + _count_pairs(np.bincount(labels)))


def _count_pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def linkage_loop(distances: FloatArray, labels: LabelArray, linkage: Linkage) -> float:
    """Give the best F1 of SciPy's linkage at 17 cuts."""
    merges = hierarchy.linkage(squareform(distances, checks=False), linkage)
    groups = (hierarchy.fcluster(merges, cut, criterion="distance") for cut in EPSES)
    return max(cluster_f1(found, labels) for found in groups)


def everything_usual(embeddings: FloatArray, labels: LabelArray) -> float:
    """Do all of it the usual way, by one product; give the best F1 by threshold."""
    similarities = usual_product(embeddings)
    f1 = tight_threshold_loop(extract_pairs(similarities, labels))
    distances = usual_distances(similarities)
    dbscan_loop(distances, labels)
    for linkage in LINKAGES:
        linkage_loop(distances, labels, linkage)
    return f1


def everything(embeddings: FloatArray, labels: LabelArray) -> float:
    """Give all curves and figures; of these the best F1 by threshold."""
    return score(Pool(embeddings), labels.astype(str).tolist(), EvaluationParams()).metrics["cosine_f1"]


Look = Callable[[Vicinity, PositivePairs], float | None]
"""Gives the best F1 that near pairs tell; None: pairs beyond might give a better one."""


def search(embeddings: FloatArray, labels: LabelArray, look: Look) -> float:
    """Look at near pairs, as many as it takes.

    Args:
        embeddings: ``(n, d)``.
        labels: ``(n,)``, the lesion of each image.
        look: What looks at them.

    Returns:
        The best F1.

    Raises:
        LookupError: If that takes more pairs than may be held.
    """
    pool = Pool(embeddings)
    positives = find_positives(pool, labels)
    vicinity = Vicinity(pool, neighbours_above(pool, first_floor(pool, len(positives.pairs))))
    while (f1 := look(vicinity, positives)) is None:
        if not vicinity.widen():
            raise LookupError(f"{len(vicinity.graph.pairs)} near pairs do not tell the best cut")
    return f1


def exact_thresholds(embeddings: FloatArray, labels: LabelArray) -> float:
    """Give the best F1 of all thresholds."""

    def look(vicinity: Vicinity, positives: PositivePairs) -> float | None:
        curve = search_threshold(vicinity.graph, positives)
        return None if curve is None else select(curve).f1

    return search(embeddings, labels, look)


def exact_cuts(embeddings: FloatArray, labels: LabelArray, method: str, max_group_size: int | None = None) -> float:
    """Give the best F1 of DBSCAN or of a linkage over all cuts."""
    params = EvaluationParams(max_group_size=max_group_size)

    def look(vicinity: Vicinity, positives: PositivePairs) -> float | None:
        found = search_cut(method, vicinity, labels, positives, params)
        return found.choice.f1 if found.is_certain else None

    return search(embeddings, labels, look)


def compare(n_images: int) -> list[list[str]]:
    """Run all contests at one size.

    Args:
        n_images: A key of ``SIZES``.

    Returns:
        Rows of the table.
    """
    noise, threshold_repetitions, other_repetitions = SIZES[n_images]
    embeddings, labels = make_embeddings(n_images, noise)
    product_seconds = best_times({"product": lambda: usual_product(embeddings)}, 3)["product"]
    rows = []
    for contest in _contests(embeddings, labels):
        repetitions = threshold_repetitions if contest.name.startswith("threshold") else other_repetitions
        rows.append([f"{n_images:,}", *_run(contest, repetitions, product_seconds)])
    return rows


def _contests(embeddings: FloatArray, labels: LabelArray) -> list[Contest]:
    loops = {"plain": plain_threshold_loop, "tight": tight_threshold_loop}
    contests = [
        Contest(
            f"threshold, {name} loop",
            lambda loop=loop: loop(extract_pairs(usual_product(embeddings), labels)),  # type: ignore[misc]
            partial(exact_thresholds, embeddings, labels),
        )
        for name, loop in loops.items()
    ]
    contests.append(
        Contest(
            "DBSCAN",
            lambda: dbscan_loop(usual_distances(usual_product(embeddings)), labels),
            partial(exact_cuts, embeddings, labels, "dbscan"),
        )
    )
    contests += [
        Contest(
            f"{linkage} linkage" + (f", groups of at most {cap}" if cap else ""),
            lambda linkage=linkage: linkage_loop(usual_distances(usual_product(embeddings)), labels, linkage),  # type: ignore[misc]
            partial(exact_cuts, embeddings, labels, linkage, cap),
        )
        for linkage, cap in product(LINKAGES, (None, LARGEST_GROUP))
    ]
    contests.append(
        Contest("all of it", partial(everything_usual, embeddings, labels), partial(everything, embeddings, labels))
    )
    return contests


def _run(contest: Contest, repetitions: int, product_seconds: float) -> list[str]:
    """Time both sides in turn, then measure memory apart."""
    times = best_times({"usual": contest.usual, "ours": contest.ours}, repetitions)
    f1_usual, f1_ours = contest.usual(), contest.ours()
    if f1_ours < f1_usual:
        raise ValueError(f"{contest.name}: the exact sweep found {f1_ours}, the grid {f1_usual}")
    peaks = (f"{peak_megabytes(call):.1f}" for call in (contest.usual, contest.ours))
    seconds = (f"{taken:.3f}" for taken in (times["usual"], product_seconds, times["ours"]))
    return [
        contest.name,
        *seconds,
        f"{times['usual'] / times['ours']:.1f}",
        f"{f1_usual:.4f}",
        f"{f1_ours:.4f}",
        *peaks,
    ]


def main() -> None:
    """Print the table."""
    print(describe_machine("numpy", "scikit-learn", "scipy"), end="\n\n")
    print(markdown_table(_HEADER, [row for n_images in SIZES for row in compare(n_images)]))
    print("\nTimes are the best of several repetitions, side by side; peak memory is what a call allocates beside the")
    print("embeddings, from which both sides start.")


if __name__ == "__main__":
    main()
