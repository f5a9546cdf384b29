"""The exact sweeps against the usual way: 49 thresholds over all pairs, 17 DBSCAN fits, SciPy's linkage cut 17 times.

Both sides start from the same float32 similarity matrix, whose product is timed apart; scikit-learn's fits start
from the ready distance matrix. The usual threshold loop is given twice: *plain* asks of every pair whether it is
predicted and positive, *tight* sets the positive pairs apart once and reuses one mask. Negative pairs of the
synthetic embeddings are nearly orthogonal, so few are DBSCAN neighbours: that is scikit-learn's good case. SciPy knows
no cap on groups: a capped linkage stands beside its uncapped one.
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
from skinbit.matching.clustering import spanning_tree, sweep_merges
from skinbit.matching.evaluation import evaluate_subset
from skinbit.matching.linkage import Linkage, linkage_tree
from skinbit.matching.pairs import FloatArray, LabelArray, cosine_similarities, unit_vectors
from skinbit.matching.selection import select
from skinbit.matching.verification import sweep_thresholds
from skinbit.params import EvaluationParams

SIZES = {1_000: (1.95, 30, 5), 4_500: (1.85, 9, 3), 10_000: (1.8, 5, 1)}
"""Per number of images: the noise that puts the best F1 near 0.8, repetitions of the threshold and the other sweeps."""

THRESHOLDS = np.linspace(0.02, 0.98, 49, dtype=np.float32)
EPSES = np.linspace(0.1, 0.9, 17)
LARGEST_GROUP = 4
EMBEDDING_DIM = 384
SEED = 0

_HEADER = ["images", "sweep", "usual way (s)", "Skinbit (s)", "times faster"]
_HEADER += ["F1 usual", "F1 Skinbit", "peak MB usual", "peak MB Skinbit"]


@dataclass(frozen=True)
class Contest:
    """The usual way and Skinbit's on the same input; both give the best F1."""

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


def exact_threshold_sweep(similarities: FloatArray, labels: LabelArray) -> float:
    """Give the best F1 of all thresholds."""
    return select(sweep_thresholds(similarities, labels)).f1


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


def exact_eps_sweep(similarities: FloatArray, labels: LabelArray) -> float:
    """Give the best F1 of DBSCAN over all eps."""
    return select(sweep_merges(spanning_tree(similarities), labels, "dbscan")).f1


def linkage_loop(distances: FloatArray, labels: LabelArray, linkage: Linkage) -> float:
    """Give the best F1 of SciPy's linkage at 17 cuts."""
    merges = hierarchy.linkage(squareform(distances, checks=False), linkage)
    groups = (hierarchy.fcluster(merges, cut, criterion="distance") for cut in EPSES)
    return max(cluster_f1(found, labels) for found in groups)


def exact_linkage_sweep(
    similarities: FloatArray, labels: LabelArray, linkage: Linkage, max_group_size: int | None
) -> float:
    """Give the best F1 of a linkage over all cuts."""
    return select(sweep_merges(linkage_tree(similarities, linkage, max_group_size), labels, linkage)).f1


def compare(n_images: int) -> tuple[list[list[str]], str]:
    """Run all contests at one size.

    Args:
        n_images: A key of ``SIZES``.

    Returns:
        Rows of the table, and the seconds of the similarity product and of a whole evaluation, in words.
    """
    noise, threshold_repetitions, other_repetitions = SIZES[n_images]
    embeddings, labels = make_embeddings(n_images, noise)
    lesion_ids = labels.astype(str).tolist()
    apart = {
        "product": lambda: cosine_similarities(embeddings),
        "whole": lambda: evaluate_subset(embeddings, lesion_ids, EvaluationParams()),
    }
    seconds = best_times(apart, 1)
    similarities = cosine_similarities(embeddings)
    rows = _compare_thresholds(similarities, labels, threshold_repetitions)
    distances = np.maximum(np.float32(1) - similarities, np.float32(0))
    contest = Contest(
        "DBSCAN, ready distance matrix",
        lambda: dbscan_loop(distances, labels),
        lambda: exact_eps_sweep(similarities, labels),
    )
    rows += _run([contest], other_repetitions)
    rows += _compare_linkages(similarities, distances, labels, other_repetitions)
    words = f"{n_images:,} images {seconds['product']:.3f} s and {seconds['whole']:.3f} s"
    return [[f"{n_images:,}", *row] for row in rows], words


def _compare_thresholds(similarities: FloatArray, labels: LabelArray, repetitions: int) -> list[list[str]]:
    pairs = extract_pairs(similarities, labels)
    loops = {"plain": plain_threshold_loop, "tight": tight_threshold_loop}
    contests = []
    for name, loop in loops.items():
        contests += [
            Contest(
                f"threshold, {name} loop with extraction",
                lambda loop=loop: loop(extract_pairs(similarities, labels)),  # type: ignore[misc]
                lambda: exact_threshold_sweep(similarities, labels),
            ),
            Contest(
                f"threshold, {name} loop without extraction",
                lambda loop=loop: loop(pairs),  # type: ignore[misc]
                lambda: exact_threshold_sweep(similarities, labels),
            ),
        ]
    return _run(contests, repetitions)


def _compare_linkages(
    similarities: FloatArray, distances: FloatArray, labels: LabelArray, repetitions: int
) -> list[list[str]]:
    rows = []
    linkages: tuple[Linkage, ...] = ("average", "complete")
    for linkage, cap in product(linkages, (None, LARGEST_GROUP)):
        contest = Contest(
            f"{linkage} linkage" + (f", groups of at most {cap}" if cap else ""),
            partial(linkage_loop, distances, labels, linkage),
            partial(exact_linkage_sweep, similarities, labels, linkage, cap),
        )
        rows += _run([contest], repetitions)
    return rows


def _run(contests: list[Contest], repetitions: int) -> list[list[str]]:
    """Time all contests in turn, then measure memory apart; one row each."""
    calls = {f"usual {contest.name}": contest.usual for contest in contests} | {"ours": contests[0].ours}
    times = best_times(calls, repetitions)
    peak = peak_megabytes(contests[0].ours)
    return [_row(contest, times[f"usual {contest.name}"], times["ours"], peak) for contest in contests]


def _row(contest: Contest, usual: float, ours: float, peak: float) -> list[str]:
    f1_usual, f1_ours = contest.usual(), contest.ours()
    if f1_ours < f1_usual:
        raise ValueError(f"{contest.name}: the exact sweep found {f1_ours}, the grid {f1_usual}")
    cells = [contest.name, f"{usual:.4f}", f"{ours:.4f}", f"{usual / ours:.1f}", f"{f1_usual:.4f}", f"{f1_ours:.4f}"]
    return [*cells, f"{peak_megabytes(contest.usual):.1f}", f"{peak:.1f}"]


def main() -> None:
    """Print the table."""
    print(describe_machine("numpy", "scikit-learn"), end="\n\n")
    rows, apart = [], []
    for n_images in SIZES:
        found, words = compare(n_images)
        rows += found
        apart.append(words)
    print(markdown_table(_HEADER, rows))
    print("\nTimes are the best of several repetitions, side by side; peak memory is what a call allocates above the")
    print("ready matrix or pairs. The similarity product, in none of these times, and a whole evaluation with it, all")
    print(f"curves and all figures: {'; '.join(apart)}.")


if __name__ == "__main__":
    main()
