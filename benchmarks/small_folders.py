"""Do strangers stay apart in folders of few photographs? On the stored files of a finished study.

uv run python -m benchmarks.small_folders --root data/ham10000 --experiment zooms_verified

Cuts come from pools of hundreds of images. Folders of a few are drawn here, of lesions of one photograph, which nothing
has learned from, and of pairs of a fold, judged as the study judges its folds: by what the others say. They are grouped
by average linkage, as cluster_images does. The study compares keypoints by the default ``geometry``.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stored import (
    Images,
    calibrations_by_others,
    fold_folders,
    join_parts,
    load_embeddings,
    read_keypoints,
    read_lesions,
    read_pool,
)
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import EvaluationParams, ScalingParams, SimilarityParams
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.matching.cuts.operating_points import OperatingPoints
from skinbit.matching.cuts.transfer import carry_over
from skinbit.matching.grouping import Cut, group_images
from skinbit.matching.keypoints.sift import join_tables
from skinbit.matching.labels import LabelArray, lesion_labels
from skinbit.matching.scoring.score import score
from skinbit.matching.scoring.uncertainty import predicted_pairs_of_groups
from skinbit.matching.similarity.calibration import Calibration

SEED, DRAWS = 42, 40
METHOD = "average"
EVALUATION = EvaluationParams()
SIMILARITIES = {
    "scaled": SimilarityParams(verification=True, scaling=ScalingParams()),
    "unscaled": SimilarityParams(verification=True),
}
KINDS = {
    "scaled": ("scaled", False),
    "scaled, share told": ("scaled", True),
    "unscaled": ("unscaled", False),
}
"""What is compared: similarities, and whether the share of photographs without a partner is told."""

MOST_ALONE = 0.9
"""What is told of a folder in which no photograph has a partner."""

FOLDERS = ((2, 0), (8, 0), (30, 0), (100, 0), (8, 4), (40, 20), (40, 10), (200, 50))
"""Photographs of a folder, and lesions that have two of them; the rest are alone."""


@dataclass(frozen=True)
class Source:
    """A fold to draw from: lesions of several photographs, and lesions of one, by the same model."""

    several: Embeddings
    alone: Embeddings

    def suffices(self, lesion_of: Mapping[str, str], shape: tuple[int, int]) -> bool:
        """Tell whether a folder of this shape can be drawn, see :func:`draw_folder`."""
        n_images, n_pairs = shape
        n_several = len({lesion_of[image_id] for image_id in self.several.image_ids})
        return n_pairs <= n_several and n_images - 2 * n_pairs <= len(self.alone.image_ids)


@dataclass(frozen=True)
class Matcher:
    """What the other folds say about similarities and cuts."""

    params: SimilarityParams
    calibration: Calibration | None
    points: Sequence[OperatingPoints]


@dataclass(frozen=True)
class Counts:
    """Pairs of one folder, by average linkage."""

    found: int
    positive: int
    wrong: int


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
    return join_embeddings(_rows_of(source.several, rows), _rows_of(source.alone, single))


def _rows_of(embeddings: Embeddings, rows: Sequence[int] | LabelArray) -> Embeddings:
    image_ids = tuple(embeddings.image_ids[row] for row in rows)
    return Embeddings(image_ids, embeddings.values[np.asarray(rows, dtype=np.int64)], embeddings.description)


def count_pairs(pool: Images, matcher: Matcher, single_share: float) -> Counts:
    """Group the photographs of a folder and count their pairs.

    Args:
        pool: The photographs, with the pairs whose keypoints were compared.
        matcher: Of other lesions.
        single_share: As ``cluster.single_share``: share of photographs that are said to have no partner.

    Returns:
        Pairs in one group, right and wrong, and pairs that there are.
    """
    cut = carry_over(matcher.points, len(pool.image_ids), is_corrected=True, single_share=single_share).value
    compared = pool.with_similarities(matcher.params, matcher.calibration)
    found = group_images(compared, (), Cut(METHOD, cut, 1 - cut, 1 - cut), EVALUATION.max_group_size)
    pairs = predicted_pairs_of_groups(found.cluster_ids, lesion_labels(pool.lesion_ids))
    return Counts(int(pairs.true_pairs.sum()), int(pairs.positive_pairs.sum()), int(pairs.false_count.sum()))


def learn(pools: Sequence[Images], params: SimilarityParams) -> list[Matcher]:
    """Learn from every fold's other folds.

    Args:
        pools: The folds, three or more.
        params: What makes similarities.

    Returns:
        By fold what the others say; their cuts rest on calibrations by the folds that are others to them.
    """
    calibrations = calibrations_by_others(dict(enumerate(pools)), params)
    points = [
        score(pool.with_similarities(params, calibrations[n]), pool.lesion_ids, EVALUATION).points[METHOD]
        for n, pool in enumerate(pools)
    ]
    return [Matcher(params, calibrations[n], [*points[:n], *points[n + 1 :]]) for n in range(len(pools))]


def main() -> None:
    """Print, per kind of folder, how many pairs are found and how many strangers are joined."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification")
    given = parser.parse_args()
    started = time.perf_counter()
    fold_dirs = fold_folders(given.root, given.experiment, at_least=3)  # others' calibrations rest on others again
    lesion_of = _lesions(given.root, "split") | _lesions(given.root, "distractors")
    keypoints = join_tables([read_keypoints(given.root, name) for name in ("keypoints", "distractor_keypoints")])
    sources = [Source(load_embeddings(fold), load_embeddings(fold, "distractor_embeddings")) for fold in fold_dirs]
    shapes = [shape for shape in FOLDERS if all(source.suffices(lesion_of, shape) for source in sources)]
    if not shapes:
        raise SystemExit(f"{given.root}: too few lesions to draw from. Remedy: a study of more.")
    pools = [
        read_pool(source.several, fold / "shortlist.csv", lesion_of)
        for source, fold in zip(sources, fold_dirs, strict=True)
    ]
    matchers = {name: learn(pools, params) for name, params in SIMILARITIES.items()}
    rows = []
    for shape in shapes:
        drawn = [draw_folder(sources[n % len(sources)], lesion_of, shape, SEED + n) for n in range(DRAWS)]
        compared = [join_parts([embeddings], lesion_of, keypoints) for embeddings in drawn]
        row = [str(number) for number in shape]
        share = min(MOST_ALONE, 1 - 2 * shape[1] / shape[0])
        for similarity, is_share_told in KINDS.values():
            learned = matchers[similarity]
            single_share = share if is_share_told else 0.0
            counts = [count_pairs(pool, learned[n % len(learned)], single_share) for n, pool in enumerate(compared)]
            row += _figures(counts)
        rows.append(row)
    print(describe_machine("numpy", "scipy", "opencv-python-headless"))
    titles = [title for name in KINDS for title in (f"{name}: pairs found", "wrong pairs", "folders with any")]
    print(f"{DRAWS} folders each\n")
    print(markdown_table(["photographs", "lesions with two", *titles], rows))
    print(f"{time.perf_counter() - started:.0f} s")


def _lesions(root: Path, name: str) -> dict[str, str]:
    return read_lesions(root / f"02_intermediate/{name}.csv")


def _figures(counts: Sequence[Counts]) -> list[str]:
    """Give the pairs found of those that there are, wrong ones per folder, and folders with any."""
    found, positive, wrong = (sum(getattr(one, name) for one in counts) for name in ("found", "positive", "wrong"))
    n_spoilt = sum(one.wrong > 0 for one in counts)
    return [f"{found} of {positive}" if positive else "", f"{wrong / len(counts):.2f}", f"{n_spoilt} of {len(counts)}"]


if __name__ == "__main__":
    main()
