"""Do the intervals of expected precision, recall and F1 hold the real ones? On the stored files of a finished study.

uv run python -m benchmarks.intervals --root data/ham10000 --experiment combined_verified

Pools are drawn from each fold: some of its lesions with all their photographs, among more or fewer lesions of one
photograph. They are judged as the study judges its folds, by what the others say, and grouped by average linkage at the
cut that they choose for themselves. Pools of one fold share lesions, so that they miss or hold together. The study
compares keypoints by the default ``geometry``.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.labels import corrected_lesions
from benchmarks.small_folders import METHOD, SIMILARITY, Matcher, Source, learn, rows_of
from benchmarks.stored import (
    Images,
    fold_folders,
    join_parts,
    load_embeddings,
    read_all_lesions,
    read_keypoints,
    read_pool,
)
from benchmarks.timing import describe_machine, markdown_table
from skinbit.embedding.tables import Embeddings, join_embeddings
from skinbit.matching.clustering.constraints import unconstrained
from skinbit.matching.cuts.grouping_cut import plan_cut
from skinbit.matching.expected.own_cut import Expected, expect_of_pool
from skinbit.matching.grouping import group_images
from skinbit.matching.labels import lesion_labels
from skinbit.matching.scoring.uncertainty import predicted_pairs_of_groups

SEED, POOLS = 7, 200
LESIONS = (60, 200)
"""Of a pool that have several photographs: at least, and fewer than."""

ALONE = (0, 150, 600)
"""Lesions of one photograph in a pool, drawn from these numbers."""

MEASURES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Judged:
    """A pool: what was expected of its groups, and what they are."""

    n_alone: int
    expected: Expected
    real: Mapping[str, float]

    def is_held(self, measure: str) -> bool:
        """Whether the interval of a measure holds the real value."""
        estimate = getattr(self.expected, measure)
        return estimate is not None and bool(estimate.low <= self.real[measure] <= estimate.high)

    def width(self, measure: str) -> float:
        """Return the width of the interval of a measure; NaN where there is none."""
        estimate = getattr(self.expected, measure)
        return float("nan") if estimate is None else estimate.high - estimate.low


def draw_pool(source: Source, lesion_of: Mapping[str, str], seed: Sequence[int]) -> tuple[Embeddings, int]:
    """Draw the photographs of a pool.

    Args:
        source: Where from.
        lesion_of: The lesion of each image.
        seed: Draws them.

    Returns:
        Their embeddings, and how many of them are of lesions of one photograph.
    """
    rng = np.random.default_rng(seed)
    lesions = np.asarray([lesion_of[image_id] for image_id in source.several.image_ids])
    distinct = np.unique(lesions)
    n_lesions, n_alone = int(rng.integers(*LESIONS)), int(rng.choice(ALONE))
    drawn = rng.choice(distinct, min(n_lesions, len(distinct)), replace=False)
    n_alone = min(n_alone, len(source.alone.image_ids))
    alone = np.sort(rng.choice(len(source.alone.image_ids), n_alone, replace=False))
    several = rows_of(source.several, np.flatnonzero(np.isin(lesions, drawn)))
    return join_embeddings(several, rows_of(source.alone, alone)), n_alone


def judge(pool: Images, n_alone: int, matcher: Matcher, labels: Mapping[str, Mapping[str, str]]) -> dict[str, Judged]:
    """Group a pool at its own cut, and compare what was expected with what there is by each kind of labels."""
    compared = pool.with_similarities(SIMILARITY, matcher.calibration)
    found = expect_of_pool(compared, unconstrained(len(compared)), matcher.odds, METHOD, None)
    groups = group_images(compared, (), plan_cut(METHOD, found.chosen.cut, (), None), None)
    judged = {}
    for name, lesion_of in labels.items():
        lesions = lesion_labels([lesion_of[image_id] for image_id in pool.image_ids])
        pairs = predicted_pairs_of_groups(groups.cluster_ids, lesions)
        right, positive, wrong = (
            float(counts.sum()) for counts in (pairs.true_pairs, pairs.positive_pairs, pairs.false_count)
        )
        real = {
            "precision": right / max(right + wrong, 1.0),
            "recall": right / max(positive, 1.0),
            "f1": 2.0 * right / max(right + wrong + positive, 1.0),
        }
        judged[name] = Judged(n_alone, found.expected, real)
    return judged


def main() -> None:
    """Print how often intervals hold the real precision, recall and F1, and how wide they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification and scaling")
    given = parser.parse_args()
    started = time.perf_counter()
    fold_dirs = fold_folders(given.root, given.experiment, at_least=3)  # others' calibrations rest on others again
    lesion_of = read_all_lesions(given.root)
    keypoints = [read_keypoints(given.root, name) for name in ("keypoints", "distractor_keypoints")]
    sources = [Source(load_embeddings(fold), load_embeddings(fold, "distractor_embeddings")) for fold in fold_dirs]
    learned = learn(
        [
            read_pool(source.several, fold / "shortlist.csv", lesion_of)
            for source, fold in zip(sources, fold_dirs, strict=True)
        ]
    )
    judged: dict[str, list[Judged]] = {"published": [], "corrected": []}
    labels = {"published": lesion_of, "corrected": corrected_lesions(lesion_of)}
    for number in range(POOLS):
        fold = number % len(sources)
        embeddings, n_alone = draw_pool(sources[fold], lesion_of, (SEED, fold, number // len(sources)))
        pool = join_parts([embeddings], lesion_of, keypoints)
        for name, one in judge(pool, n_alone, learned[fold], labels).items():
            judged[name].append(one)
    print(describe_machine("numpy", "scipy", "opencv-python-headless"))
    titles = ["labels", "alone", "pools", "F1", "expected F1"]
    titles += [f"{measure}: {what}" for measure in ("precision", "recall", "F1") for what in ("held", "width")]
    rows = [_row(name, n_alone, pools) for name, pools in judged.items() for n_alone in (*ALONE, None)]
    print(markdown_table(titles, [row for row in rows if row]))
    n_warned = sum(bool(one.expected.unlike_folds) for one in judged["published"])
    print(f"\n{n_warned} of {POOLS} pools are said to be unlike the study; {time.perf_counter() - started:.0f} s")


def _row(name: str, n_alone: int | None, pools: Sequence[Judged]) -> list[str]:
    """Return the figures of pools with so many lesions of one photograph, of all where none is named."""
    those = [one for one in pools if n_alone in (None, one.n_alone)]
    if not those:
        return []
    expected = [float("nan") if one.expected.f1 is None else one.expected.f1.value for one in those]
    row = [name, "all" if n_alone is None else str(n_alone), str(len(those))]
    row += [f"{np.mean([one.real['f1'] for one in those]):.3f}", f"{np.nanmean(expected):.3f}"]
    for measure in MEASURES:
        row.append(f"{np.mean([one.is_held(measure) for one in those]):.1%}")
        row.append(f"{np.nanmean([one.width(measure) for one in those]):.3f}")
    return row


if __name__ == "__main__":
    main()
