"""Does a pair classifier with more features beat the calibration? On the stored files of a finished study.

uv run python -m benchmarks.pair_classifiers --root data --experiment zooms_verified --distractors

Every classifier gives log-odds, is fitted on pairs of the other folds, and is judged at the cuts that these choose.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stored import Images, fold_folders, load_embeddings, read_lesions, read_pool
from benchmarks.timing import describe_machine, markdown_table
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.matching.calibration import INLIER_STEPS, Calibration, fit_calibration, fuse
from skinbit.matching.judging import resample_f1
from skinbit.matching.methods import METHODS
from skinbit.matching.neighbours import nearest_images
from skinbit.matching.operating_points import OperatingPoints, carry_over, carry_to_folds
from skinbit.matching.pairs import (
    FloatArray,
    LabelArray,
    lesion_labels,
    positive_pairs,
)
from skinbit.matching.pool import Pool, similarity_matrix
from skinbit.matching.scaling import crowding
from skinbit.matching.scoring import AtCuts, Score, score, score_at
from skinbit.matching.similarity import Shortlist, calibrate
from skinbit.matching.uncertainty import (
    PredictedPairs,
    interval,
    mean_f1,
)
from skinbit.params import EvaluationParams, GeometryParams, ScalingParams, SimilarityParams

SEED, DRAWS = 42, 12
EVALUATION = EvaluationParams()
JUDGED = ("average", "dbscan", "cosine")

OF_A_NUMBER = ScalingParams(least=8, most=8)
"""The 8 nearest images, whose mean similarity tells how crowded an image's surroundings are."""

OF_A_SHARE = ScalingParams()
"""As many as a share of the pool: 8 of 640 images. In a larger pool the 8 nearest are nearer, the nearest 80th is not;
only the latter tells the same of an image in a fold and among distractors, where cuts of folds are to hold."""

PAIRS_AT_ONCE = 2**20
"""Pairs whose features are held at once: some 60 MB."""

MOST_OTHERS = 50_000
"""Pairs of a fold, neither proposed nor positive, that a classifier is fitted on at most; each stands for several."""

FEATURES = ("cosine", "scaled", "share_scaled", "inliers", "best_rank", "worst_rank", "is_mutual")
COSINE, SCALED, SHARE_SCALED, INLIERS, BEST_RANK, WORST_RANK, IS_MUTUAL = range(len(FEATURES))
RISING = (1, 1, 1, 1, -1, -1, 1)
"""Whether evidence for one lesion rises or falls with each feature."""

LOG_ODDS = Calibration("logistic", intercept=0.0, similarity_slope=1.0, inliers_slopes=())
"""Leaves log-odds as they are, so that they become similarities as those of the product do."""

Values = NDArray[np.float64]
Classifier = Callable[[Values], Values]
"""Gives the log-odds of pairs, ``(m,)``, by their features ``(m, 7)``; see :data:`FEATURES`."""


@dataclass(frozen=True)
class Fold:
    """A fold, or a fold among distractors, and what a classifier may look at."""

    pool: Images

    @cached_property
    def labels(self) -> LabelArray:
        """The lesion of each image."""
        return lesion_labels(self.pool.lesion_ids)

    @cached_property
    def cosines(self) -> FloatArray:
        """The cosine of all pairs."""
        return similarity_matrix(Pool(self.pool.embeddings))

    @cached_property
    def ranks(self) -> NDArray[np.int32]:
        """How near each image is among those of another one."""
        return neighbour_ranks(self.cosines)

    @cached_property
    def crowdings(self) -> tuple[Values, Values]:
        """How similar the nearest of each image are: of a number, and of a share of the pool."""
        return crowding(self.pool.embeddings, OF_A_NUMBER), crowding(self.pool.embeddings, OF_A_SHARE)

    @cached_property
    def inliers(self) -> NDArray[np.int32]:
        """Inliers of all pairs, 0 where keypoints were not compared."""
        counts = np.zeros(self.cosines.shape, dtype=np.int32)
        first, second = self.pool.shortlist.pairs.T
        counts[first, second] = counts[second, first] = self.pool.shortlist.inliers
        return counts

    def features(self, first: LabelArray, second: LabelArray) -> Values:
        """Give the features of pairs; with the two images exchanged they are the same.

        Args:
            first: ``(m,)`` rows of the one image of each pair.
            second: ``(m,)`` rows of the other.

        Returns:
            ``(m, 7)``; see :data:`FEATURES`. Ranks are logarithms.
        """
        cosine = self.cosines[first, second].astype(np.float64)
        there, back = self.ranks[first, second], self.ranks[second, first]
        best, worst = np.minimum(there, back), np.maximum(there, back)
        scaled = [2 * cosine - (crowded[first] + crowded[second]) for crowded in self.crowdings]
        return np.column_stack([cosine, *scaled, self.inliers[first, second], np.log(best), np.log(worst), worst == 1])

    @cached_property
    def sample(self) -> "Sample":
        """The pairs that a classifier is fitted on: all positive and all proposed ones, and some of the others."""
        n_images = len(self.labels)
        is_certain = np.zeros((n_images, n_images), dtype=bool)
        for pairs in (positive_pairs(self.labels), self.pool.shortlist.pairs):
            is_certain[pairs[:, 0], pairs[:, 1]] = True
        first, second = np.triu_indices(n_images, 1)
        certain = (is_certain | is_certain.T)[first, second]
        others = np.flatnonzero(~certain)
        step = max(1, -(-len(others) // MOST_OTHERS))
        kept = np.sort(np.concatenate([np.flatnonzero(certain), others[::step]]))
        first, second = first[kept], second[kept]
        is_positive = self.labels[first] == self.labels[second]
        return Sample(self.features(first, second), is_positive, np.where(certain[kept], 1.0, step))


@dataclass(frozen=True)
class Sample:
    """Pairs to fit on: features, whether they are positive, and how many pairs each one stands for."""

    features: Values
    is_positive: NDArray[np.bool_]
    weights: Values


def neighbour_ranks(similarities: FloatArray) -> NDArray[np.int32]:
    """Tell how many of an image's others are more similar to it than one of them is.

    Args:
        similarities: ``(n, n)``, symmetric.

    Returns:
        ``(n, n)``: at row a and column b, 1 + the number of images, neither a nor b, that are more similar to a than b
        is; 1 is the nearest, and equally similar ones share a rank. 0 on the diagonal.
    """
    ranks = np.empty(similarities.shape, dtype=np.int32)
    for row, alike in enumerate(similarities):
        descending = np.sort(-np.delete(alike, row))
        ranks[row] = 1 + np.searchsorted(descending, -alike, side="left")
    np.fill_diagonal(ranks, 0)
    return ranks


def fused_by(fold: Fold, classifier: Classifier) -> FloatArray:
    """Give the similarities of all pairs by a classifier, tanh of log-odds over 8 as the product's.

    Args:
        fold: The images.
        classifier: Fitted on others.

    Returns:
        ``(n, n)`` float32 in [-1, 1], symmetric, 1 on the diagonal.
    """
    n_images = len(fold.labels)
    fused = np.ones((n_images, n_images), dtype=np.float32)
    height = max(1, PAIRS_AT_ONCE // n_images)
    for start in range(0, n_images, height):
        stop = min(n_images, start + height)
        rows, second = np.nonzero(np.arange(n_images) > np.arange(start, stop)[:, None])
        first = rows + start
        fused[first, second] = fuse(classifier(fold.features(first, second)), None, LOG_ODDS)
        fused[second, first] = fused[first, second]
    return fused


def fit_product(others: Sequence[Fold]) -> Classifier:
    """Fit the product's calibration of cosine and inliers on all pairs.

    Args:
        others: Folds to fit on.

    Returns:
        The classifier.
    """
    fitted = calibrate([fold.pool.labelled() for fold in others], SimilarityParams(verification=True))
    return lambda features: fitted.evidence(features[:, COSINE], features[:, INLIERS])


def calibration_of(column: int, *, with_inliers: bool) -> Callable[[Sequence[Fold]], Classifier]:
    """Give what fits the same kind of calibration on another similarity than the cosine.

    Args:
        column: Of the similarity.
        with_inliers: Whether inliers count, too.

    Returns:
        What fits the classifier.
    """

    def fit(others: Sequence[Fold]) -> Classifier:
        sample = join_samples(others)
        inliers = sample.features[:, INLIERS] if with_inliers else None
        fitted = fit_calibration(sample.features[:, column], inliers, sample.is_positive, weights=sample.weights)
        return lambda features: fitted.evidence(features[:, column], features[:, INLIERS] if with_inliers else None)

    return fit


def logistic_of(*columns: int) -> Callable[[Sequence[Fold]], Classifier]:
    """Give what fits a logistic regression to the steps of log(1 + inliers) and some other features.

    Args:
        columns: Of the other features.

    Returns:
        What fits the classifier.
    """

    def prepare(features: Values) -> Values:
        logs = np.log1p(features[:, INLIERS])
        climbs = [np.clip(logs, low, high) - low for low, high in pairwise([*np.log1p(INLIER_STEPS), np.inf])]
        return np.column_stack([features[:, columns], *climbs])

    def fit(others: Sequence[Fold]) -> Classifier:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        sample = join_samples(others)
        prepared = prepare(sample.features)
        scaler = StandardScaler().fit(prepared, sample_weight=sample.weights)
        model = LogisticRegression(max_iter=1000, tol=1e-6)
        model.fit(scaler.transform(prepared), sample.is_positive, sample_weight=sample.weights)
        return lambda features: model.decision_function(scaler.transform(prepare(features)))

    return fit


def boosting_of(*columns: int) -> Callable[[Sequence[Fold]], Classifier]:
    """Give what fits gradient-boosted trees, monotone in every feature.

    Args:
        columns: Of the features.

    Returns:
        What fits the classifier.
    """

    def fit(others: Sequence[Fold]) -> Classifier:
        from sklearn.ensemble import HistGradientBoostingClassifier

        sample = join_samples(others)
        model = HistGradientBoostingClassifier(
            learning_rate=0.2,
            max_iter=50,
            max_leaf_nodes=8,
            l2_regularization=1.0,
            monotonic_cst=[RISING[column] for column in columns],
            early_stopping=False,
            random_state=SEED,
        )
        model.fit(sample.features[:, columns], sample.is_positive, sample_weight=sample.weights)
        return lambda features: model.decision_function(features[:, columns])

    return fit


def join_samples(folds: Sequence[Fold]) -> Sample:
    """Put the pairs of several folds together."""
    samples = [fold.sample for fold in folds]
    return Sample(
        np.concatenate([sample.features for sample in samples]),
        np.concatenate([sample.is_positive for sample in samples]),
        np.concatenate([sample.weights for sample in samples]),
    )


RANKS = (BEST_RANK, WORST_RANK, IS_MUTUAL)
CONTROL = "calibration"
CLASSIFIERS: Mapping[str, tuple[str, Callable[[Sequence[Fold]], Classifier]]] = {
    CONTROL: ("**calibration** of cosine and inliers (as without `similarity.scaling`)", fit_product),
    "logistic_ranks": ("logistic, and ranks", logistic_of(COSINE, *RANKS)),
    "logistic_scaled": ("logistic, and local scaling", logistic_of(COSINE, SCALED)),
    "logistic_all": ("logistic, and both", logistic_of(COSINE, SCALED, *RANKS)),
    "boosting": ("boosting of cosine and inliers", boosting_of(COSINE, INLIERS)),
    "boosting_scaled": ("boosting, and local scaling", boosting_of(COSINE, SCALED, INLIERS)),
    "boosting_all": ("boosting, and both", boosting_of(COSINE, SCALED, INLIERS, *RANKS)),
    "scaled": ("calibration of local scaling and inliers", calibration_of(SCALED, with_inliers=True)),
    "share": ("calibration of local scaling by share and inliers", calibration_of(SHARE_SCALED, with_inliers=True)),
    "boosting_share": ("boosting of local scaling by share and inliers", boosting_of(SHARE_SCALED, INLIERS)),
    "cosine_alone": ("no keypoints: calibration of cosine", calibration_of(COSINE, with_inliers=False)),
    "scaled_alone": ("no keypoints: of local scaling", calibration_of(SCALED, with_inliers=False)),
    "share_alone": ("no keypoints: of local scaling by share", calibration_of(SHARE_SCALED, with_inliers=False)),
}
"""By the name on the command line: the name in the table, and what fits it."""


@dataclass(frozen=True, kw_only=True)
class ScoredPool(Pool):
    """Images whose similarities are those of a matrix.

    Attributes:
        similarities: ``(n, n)`` float32 in [-1, 1], symmetric.
    """

    similarities: FloatArray

    def between(self, rows: LabelArray, columns: LabelArray) -> FloatArray:
        """Return the similarity of each of some images with each of others."""
        return self.similarities[np.ix_(rows, columns)]

    def of_pairs(self, pairs: LabelArray) -> FloatArray:
        """Return the similarity of single pairs of images."""
        first, second = pairs.T
        alike: FloatArray = self.similarities[first, second]
        return alike


@dataclass(frozen=True)
class Judged:
    """F1 at a pool's own best cut, pairs predicted at others' cut, by method, and recall@1."""

    own: Mapping[str, float]
    predicted: Mapping[str, PredictedPairs]
    recall_at_1: float


def evaluate(fold: Fold, classifier: Classifier, cuts: Mapping[str, float] | None = None) -> Score:
    """Predict the pairs of a pool by a classifier in every way.

    Args:
        fold: The images.
        classifier: Fitted on others.
        cuts: Chosen elsewhere, by method.

    Returns:
        What the pool is worth at its own best cuts and at the given ones.
    """
    pool = ScoredPool(fold.pool.embeddings, similarities=fused_by(fold, classifier))
    return score(pool, fold.pool.lesion_ids, EVALUATION, cuts)


def _judged(found: Score, at: AtCuts) -> Judged:
    own = {method: found.metrics[f"{method}_f1"] for method in JUDGED}
    return Judged(own, at.predicted, at.recall_at_1)


def main() -> None:
    """Print a row per classifier: F1 and recall@1 of the folds, and among the distractors."""
    given = _arguments()
    started = time.perf_counter()
    root = Path(given.root)
    folders = fold_folders(root, given.experiment, at_least=3)  # others' cuts rest on classifiers of others again
    lesion_of = read_lesions(root / "02_intermediate/split.csv")
    folds = [Fold(_fold_pool(folder, lesion_of, given.neighbours)) for folder in folders]
    fewest = min(len(set(fold.pool.lesion_ids)) for fold in folds)
    if not all(2 <= size <= fewest for size in given.lesions):
        raise SystemExit(f"--lesions {given.lesions}: from 2 to {fewest} lesions can be drawn from every fold.")
    classifiers = {name: _fit_all(folds, CLASSIFIERS[name][1]) for name in dict.fromkeys([CONTROL, *given.classifiers])}
    found = {name: _judge_folds(folds, fitted) for name, fitted in classifiers.items()}
    print(describe_machine("numpy", "scipy", "scikit-learn"))
    _print_tables(
        "each fold alone", [fold.pool for fold in folds], {name: judged for name, (judged, _) in found.items()}
    )
    points = {name: chosen for name, (_, chosen) in found.items()}
    if given.distractors:
        lesion_of |= read_lesions(root / "02_intermediate/distractors.csv")
        larger = [_distractor_pool(folder, lesion_of, given.neighbours) for folder in folders]
        shares = [1 - len(fold.labels) / len(pool.image_ids) for fold, pool in zip(folds, larger, strict=True)]
        judged = _judge_elsewhere(larger, range(len(folds)), shares, classifiers, points)
        _print_tables("each fold among distractors", larger, judged)
    if given.lesions:
        _print_small([fold.pool for fold in folds], given.lesions, classifiers, points)
    print(f"\n{time.perf_counter() - started:.0f} s")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="of the study, with 02_intermediate and 07_model_output")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification")
    parser.add_argument(
        "--neighbours", type=int, default=GeometryParams().neighbours, help="compared by keypoints, at most the study's"
    )
    parser.add_argument("--distractors", action="store_true", help="judge among lesions of one image, too")
    parser.add_argument("--lesions", nargs="+", type=int, default=[], help="judge in pools of so few lesions, too")
    parser.add_argument("--classifiers", nargs="+", choices=CLASSIFIERS, default=list(CLASSIFIERS), help="default: all")
    return parser.parse_args()


def _fold_pool(folder: Path, lesion_of: Mapping[str, str], neighbours: int) -> Images:
    return _pool(load_embeddings(folder), folder / "shortlist.csv", lesion_of, neighbours)


def _distractor_pool(folder: Path, lesion_of: Mapping[str, str], neighbours: int) -> Images:
    together = join_embeddings(load_embeddings(folder), load_embeddings(folder, "distractor_embeddings"))
    return _pool(together, folder / "distractor_shortlist.csv", lesion_of, neighbours)


def _pool(embeddings: Embeddings, listed: Path, lesion_of: Mapping[str, str], neighbours: int) -> Images:
    pool = read_pool(embeddings, listed, lesion_of)
    try:
        shortlist = nearest_part(pool.shortlist, pool.embeddings, neighbours)
    except LookupError as error:
        raise SystemExit(f"{listed}: {error}") from None
    return replace(pool, shortlist=shortlist)


def nearest_part(stored: Shortlist, embeddings: FloatArray, k: int) -> Shortlist:
    """Keep the pairs of a shortlist that fewer neighbours would have proposed.

    Args:
        stored: The shortlist.
        embeddings: ``(n, d)`` of the images.
        k: Neighbours of each image.

    Returns:
        The part.

    Raises:
        LookupError: If a pair was not compared; with the remedy.
    """
    nearest = nearest_images(Pool(embeddings), k).rows
    pairs = np.stack([np.repeat(np.arange(len(nearest)), nearest.shape[1]), nearest.ravel()], axis=1)
    wanted = np.unique(np.sort(pairs, axis=1) @ [len(embeddings), 1])
    held = stored.pairs @ [len(embeddings), 1]
    is_wanted = np.isin(held, wanted)
    if is_wanted.sum() < len(wanted):
        raise LookupError(
            f"of {len(wanted)} pairs of each image's {k} nearest {is_wanted.sum()} were compared. "
            "Remedy: --neighbours as in the study, or fewer."
        )
    return Shortlist(stored.pairs[is_wanted], stored.inliers[is_wanted])


def _fit_all(folds: Sequence[Fold], fit: Callable[[Sequence[Fold]], Classifier]) -> list[Classifier]:
    """Fit a classifier for each fold on the others."""
    return [fit([*folds[:n], *folds[n + 1 :]]) for n in range(len(folds))]


def _judge_folds(
    folds: Sequence[Fold], classifiers: Sequence[Classifier]
) -> tuple[list[Judged], list[Mapping[str, OperatingPoints]]]:
    """Judge each fold at the cuts of the others, and give what each would choose for other pools."""
    found = [evaluate(fold, classifier) for fold, classifier in zip(folds, classifiers, strict=True)]
    points = [one.points for one in found]
    carried = {method: carry_to_folds(dict(enumerate(points)), method) for method in JUDGED}
    judged = []
    for n, (fold, one) in enumerate(zip(folds, found, strict=True)):
        cuts = {method: of_folds[n] for method, of_folds in carried.items()}
        at = score_at(one.given.vicinity.pool, fold.labels, cuts, EVALUATION.max_group_size)
        judged.append(_judged(one, at))
    return judged, points


def _judge_elsewhere(
    pools: Sequence[Images],
    homes: Sequence[int],
    shares: Sequence[float],
    classifiers: Mapping[str, Sequence[Classifier]],
    points: Mapping[str, Sequence[Mapping[str, OperatingPoints]]],
) -> dict[str, list[Judged]]:
    """Judge pools that are made of one fold each, and of distractors, at the cuts that the others choose for them."""
    judged: dict[str, list[Judged]] = {name: [] for name in classifiers}
    for pool, home, share in zip(pools, homes, shares, strict=True):
        fold = Fold(pool)  # one at a time: the features of all pairs take memory
        for name, fitted in classifiers.items():
            others = [*points[name][:home], *points[name][home + 1 :]]
            carried = {
                method: carry_over([one[method] for one in others], len(fold.labels), True, share) for method in JUDGED
            }
            found = evaluate(fold, fitted[home], {method: cut.value for method, cut in carried.items()})
            judged[name].append(_judged(found, found.given))
    return judged


def draw_part(pool: Images, n_lesions: int, generator: np.random.Generator) -> Images:
    """Draw some lesions of a pool with all of their images.

    Args:
        pool: The pool.
        n_lesions: How many, at most those of the pool.
        generator: Draws them.

    Returns:
        The part. Of its pairs those are compared that were so in the pool, which may be fewer than a run on the part
        alone would compare.
    """
    drawn = generator.choice(np.unique(pool.lesion_ids), n_lesions, replace=False)
    is_drawn = np.isin(pool.lesion_ids, drawn)
    row_of, kept = np.cumsum(is_drawn) - 1, is_drawn[pool.shortlist.pairs].all(axis=1)
    rows = np.flatnonzero(is_drawn).tolist()
    return Images(
        [pool.image_ids[row] for row in rows],
        pool.embeddings[is_drawn],
        [pool.lesion_ids[row] for row in rows],
        Shortlist(row_of[pool.shortlist.pairs[kept]], pool.shortlist.inliers[kept]),
    )


def _print_small(
    pools: Sequence[Images],
    sizes: Sequence[int],
    classifiers: Mapping[str, Sequence[Classifier]],
    points: Mapping[str, Sequence[Mapping[str, OperatingPoints]]],
) -> None:
    """Print the mean F1 in pools of fewer lesions, at the cuts that the other folds choose for such a pool."""
    homes = np.repeat(np.arange(len(pools)), DRAWS).tolist()
    rows = {name: [CLASSIFIERS[name][0]] for name in classifiers}
    for size in sizes:
        drawn = [draw_part(pools[home], size, np.random.default_rng([SEED, size, n])) for n, home in enumerate(homes)]
        for name, found in _judge_elsewhere(drawn, homes, [0.0] * len(drawn), classifiers, points).items():
            f1 = (mean_f1([one.predicted[method] for one in found]) for method in JUDGED)
            rows[name].append(" / ".join(f"{value:.3f}" for value in f1))
    titles = " / ".join(METHODS[method].title.lower() for method in JUDGED)
    print(f"\n{DRAWS} pools of fewer lesions of each fold: F1 by {titles}, other folds' cut\n")
    print(markdown_table(["lesions in the pool", *map(str, sizes)], list(rows.values())))


def _print_tables(title: str, pools: Sequence[Images], judged: Mapping[str, Sequence[Judged]]) -> None:
    n_images = np.mean([len(pool.image_ids) for pool in pools])
    print(f"\n{title}: {len(pools)} pools, {n_images:.0f} images each on average\n")
    titles = [METHODS[method].title for method in JUDGED]
    resampled = {
        name: resample_f1([one.predicted for one in found], EVALUATION.resamples, SEED)
        for name, found in judged.items()
    }
    figures, gains = [], []
    for name, found in judged.items():
        row, gained = [CLASSIFIERS[name][0]], [CLASSIFIERS[name][0]]
        for method in JUDGED:
            f1, control = (mean_f1([one.predicted[method] for one in judged[who]]) for who in (name, CONTROL))
            own = np.mean([one.own[method] for one in found])
            low, high = interval(resampled[name][method].to_numpy())
            row.append(f"{own:.3f} / {f1:.3f} [{low:.3f}, {high:.3f}]")
            low, high = interval((resampled[name][method] - resampled[CONTROL][method]).to_numpy())
            gained.append(f"{f1 - control:+.3f} [{low:+.3f}, {high:+.3f}]")
        figures.append([*row, f"{np.mean([one.recall_at_1 for one in found]):.3f}"])
        gains.append(gained)
    print(markdown_table(["F1, own cut / other folds' cut [95 %]", *titles, "recall@1"], figures))
    print()
    print(markdown_table(["F1 gained over the first [95 %], other folds' cut", *titles], gains[1:]))


if __name__ == "__main__":
    main()
