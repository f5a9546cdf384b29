"""Do strangers stay apart in folders of few photographs? On the stored files of a finished study.

uv run python -m benchmarks.small_folders --root data/ham10000 --experiment zooms_verified

What the folds know comes from pools of hundreds of images. Folders of a few are drawn here, of lesions of one
photograph, which nothing has learned from, and of pairs of a fold, judged as the study judges its folds: by what the
others say. They are grouped by average linkage, as cluster_images does, at the cut that the photographs choose for
themselves and at the one that the folds choose for so many. The study compares keypoints by the default ``geometry``.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.labels import corrected_lesions
from benchmarks.stored import (
    Images,
    calibrations_by_others,
    fold_folders,
    join_parts,
    load_embeddings,
    read_all_lesions,
    read_keypoints,
    read_pool,
)
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import EvaluationParams, ScalingParams, SimilarityParams
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.matching.clustering.constraints import unconstrained
from skinbit.matching.cuts.operating_points import OperatingPoints
from skinbit.matching.cuts.transfer import carry_over
from skinbit.matching.expected.odds import PairOdds, fit_odds
from skinbit.matching.expected.own_cut import expect_of_pool
from skinbit.matching.grouping import Cut, group_images
from skinbit.matching.labels import LabelArray, lesion_labels
from skinbit.matching.scoring.score import score
from skinbit.matching.scoring.uncertainty import predicted_pairs_of_groups
from skinbit.matching.similarity.calibration import Calibration

SEED, DRAWS, DRAWS_ALONE = 42, 40, 100
"""Folders of each shape, more of those in which no photograph has a partner."""

METHOD = "average"
EVALUATION = EvaluationParams()
SIMILARITY = SimilarityParams(verification=True, scaling=ScalingParams())

FOLDERS = (
    *((2, 0), (8, 0), (30, 0), (100, 0), (200, 0)),
    *((8, 4), (8, 2), (40, 20), (40, 10), (40, 2), (200, 100), (200, 50), (200, 10)),
)
"""Photographs of a folder, and lesions that have two of them; the rest are alone."""


@dataclass(frozen=True)
class Source:
    """A fold to draw from: lesions of several photographs, and lesions of one, by the same model."""

    several: Embeddings
    alone: Embeddings

    def suffices(self, lesion_of: Mapping[str, str], shape: tuple[int, int]) -> bool:
        """Whether a folder of this shape can be drawn, see :func:`draw_folder`."""
        n_images, n_pairs = shape
        n_several = len({lesion_of[image_id] for image_id in self.several.image_ids})
        return n_pairs <= n_several and n_images - 2 * n_pairs <= len(self.alone.image_ids)


@dataclass(frozen=True)
class Matcher:
    """What the other folds say about similarities, cuts, and probabilities."""

    calibration: Calibration | None
    points: Sequence[OperatingPoints]
    odds: Sequence[PairOdds]


@dataclass(frozen=True)
class Counts:
    """Pairs of one folder, by average linkage; and the F1 that was expected, NaN where none was."""

    found: int
    positive: int
    wrong: int
    expected_f1: float = float("nan")

    @property
    def f1(self) -> float:
        """Return F1 over pairs; NaN without a positive pair."""
        return 2 * self.found / (self.found + self.wrong + self.positive) if self.positive else float("nan")


def draw_folder(source: Source, lesion_of: Mapping[str, str], shape: tuple[int, int], seed: int) -> Embeddings:
    """Draw the photographs of a folder.

    Args:
        source: Where from.
        lesion_of: The lesion of each image.
        shape: How many photographs, and how many lesions have two of them; the rest are alone.
        seed: Draws them.

    Returns:
        Their embeddings, those of pairs first.
    """
    n_images, n_pairs = shape
    rng = np.random.default_rng([seed, *shape])
    lesions = np.asarray([lesion_of[image_id] for image_id in source.several.image_ids])
    paired = rng.choice(np.unique(lesions), n_pairs, replace=False)
    rows = [row for lesion in paired for row in rng.choice(np.flatnonzero(lesions == lesion), 2, replace=False)]
    single = rng.choice(len(source.alone.image_ids), n_images - 2 * n_pairs, replace=False)
    return join_embeddings(rows_of(source.several, rows), rows_of(source.alone, single))


def rows_of(embeddings: Embeddings, rows: Sequence[int] | LabelArray) -> Embeddings:
    """Return some rows of embeddings."""
    image_ids = tuple(embeddings.image_ids[row] for row in rows)
    return Embeddings(image_ids, embeddings.values[np.asarray(rows, dtype=np.int64)], embeddings.description)


def own_cut(pool: Images, matcher: Matcher) -> tuple[float, float]:
    """Return the cut that the photographs of a folder choose for themselves, and the F1 that they expect there."""
    compared = pool.with_similarities(SIMILARITY, matcher.calibration)
    found = expect_of_pool(compared, unconstrained(len(compared)), matcher.odds, METHOD, None)
    f1 = found.expected.f1
    return found.chosen.cut, float("nan") if f1 is None else f1.value


def folds_cut(pool: Images, matcher: Matcher) -> tuple[float, float]:
    """Return the cut that the folds choose for so many photographs; they expect nothing of it."""
    carried = carry_over(matcher.points, len(pool.image_ids), is_corrected=True)
    return carried.value, float("nan")


CUTS = {"own cut": own_cut, "folds' cut": folds_cut}


def count_pairs(pool: Images, matcher: Matcher, cut: float, expected_f1: float) -> Counts:
    """Group the photographs of a folder and count their pairs.

    Args:
        pool: The photographs, with the pairs whose keypoints were compared.
        matcher: Of other lesions.
        cut: A distance.
        expected_f1: What was expected there.

    Returns:
        Pairs in one group, right and wrong, and pairs that there are.
    """
    compared = pool.with_similarities(SIMILARITY, matcher.calibration)
    found = group_images(compared, (), Cut(METHOD, cut, 1 - cut, 1 - cut), None)
    pairs = predicted_pairs_of_groups(found.cluster_ids, lesion_labels(pool.lesion_ids))
    right, positive, wrong = (
        int(counts.sum()) for counts in (pairs.true_pairs, pairs.positive_pairs, pairs.false_count)
    )
    return Counts(right, positive, wrong, expected_f1)


def learn(pools: Sequence[Images]) -> list[Matcher]:
    """Learn from every fold's other folds.

    Args:
        pools: The folds, three or more.

    Returns:
        By fold what the others say; their cuts and odds rest on calibrations by the folds that are others to them.
    """
    calibrations = calibrations_by_others(dict(enumerate(pools)), SIMILARITY)
    compared = [pool.with_similarities(SIMILARITY, calibrations[n]) for n, pool in enumerate(pools)]
    points = [
        score(similar, pool.lesion_ids, EVALUATION).points[METHOD]
        for similar, pool in zip(compared, pools, strict=True)
    ]
    odds = [fit_odds(similar, lesion_labels(pool.lesion_ids)) for similar, pool in zip(compared, pools, strict=True)]
    return [
        Matcher(
            calibrations[n],
            [*points[:n], *points[n + 1 :]],
            [each for other, of_fold in enumerate(odds) if other != n for each in of_fold],
        )
        for n in range(len(pools))
    ]


def main() -> None:
    """Print, per kind of folder, how many pairs are found, how many strangers are joined, and expected F1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification and scaling")
    parser.add_argument("--corrected", action="store_true", help="judge by HAM10000's corrected lesion ids")
    given = parser.parse_args()
    started = time.perf_counter()
    fold_dirs = fold_folders(given.root, given.experiment, at_least=3)  # others' calibrations rest on others again
    lesion_of = read_all_lesions(given.root)
    judged_by = corrected_lesions(lesion_of) if given.corrected else lesion_of
    keypoints = [read_keypoints(given.root, name) for name in ("keypoints", "distractor_keypoints")]
    sources = [Source(load_embeddings(fold), load_embeddings(fold, "distractor_embeddings")) for fold in fold_dirs]
    shapes = [shape for shape in FOLDERS if all(source.suffices(lesion_of, shape) for source in sources)]
    if not shapes:
        raise SystemExit(f"{given.root}: too few lesions to draw from. Remedy: a study of more.")
    pools = [
        read_pool(source.several, fold / "shortlist.csv", lesion_of)
        for source, fold in zip(sources, fold_dirs, strict=True)
    ]
    learned, rows = learn(pools), []
    for shape in shapes:
        n_draws = DRAWS if shape[1] else DRAWS_ALONE
        drawn = [draw_folder(sources[n % len(sources)], lesion_of, shape, SEED + n) for n in range(n_draws)]
        folders = [join_parts([embeddings], judged_by, keypoints) for embeddings in drawn]
        row = [str(number) for number in shape]
        for choose in CUTS.values():
            counts = []
            for n, pool in enumerate(folders):
                matcher = learned[n % len(learned)]
                counts.append(count_pairs(pool, matcher, *choose(pool, matcher)))
            row += _figures(counts) + (_expected(counts) if choose is own_cut else [])
        rows.append(row)
    print(describe_machine("numpy", "scipy", "opencv-python-headless"))
    titles = [f"{name}: {title}" for name in CUTS for title in ("pairs found", "wrong pairs", "folders with any")]
    titles[3:3] = ["F1", "expected F1"]
    print(f"{DRAWS} folders each, {DRAWS_ALONE} of photographs without a partner\n")
    print(markdown_table(["photographs", "lesions with two", *titles], rows))
    print(f"{time.perf_counter() - started:.0f} s")


def _figures(counts: Sequence[Counts]) -> list[str]:
    """Return the pairs found of those that there are, wrong ones per folder, and folders with any."""
    found, positive, wrong = (sum(getattr(one, name) for one in counts) for name in ("found", "positive", "wrong"))
    n_spoilt = sum(one.wrong > 0 for one in counts)
    return [f"{found} of {positive}" if positive else "", f"{wrong / len(counts):.2f}", f"{n_spoilt} of {len(counts)}"]


def _expected(counts: Sequence[Counts]) -> list[str]:
    """Return mean F1, and the mean of what was expected, over folders with a positive pair."""
    both = [(one.f1, np.nan_to_num(one.expected_f1)) for one in counts if one.positive]
    return [f"{value:.3f}" for value in np.mean(both, axis=0)] if both else ["", ""]


if __name__ == "__main__":
    main()
