"""What is a person's time worth, and is the certificate right? A simulated reviewer on the files of a finished study.

uv run python -m benchmarks.review --root data/ham10000 --experiment combined_verified

The lesions of every fold, among all lesions of one photograph, are grouped by average linkage at the cut that they
choose for themselves; what is known of them is learned from the published labels of the other folds. HAM10000's
corrected labels answer and judge: a reviewer without errors, and one that errs in 2 % of the answers and cannot tell in
3 %. After every 50 answers the photographs are grouped again around the answers. After 150 the groups are frozen, 200
pairs are drawn for the certificate, again and again, and the interval of F1 is compared with the real F1.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns import EVIDENCE, known, with_columns
from benchmarks.labels import corrected_lesions
from benchmarks.small_folders import SIMILARITY
from benchmarks.stored import (
    calibrations_by_others,
    fold_folders,
    load_embeddings,
    read_all_lesions,
    read_pool,
    read_table,
)
from benchmarks.timing import describe_machine, markdown_table
from skinbit.decisions.answers import CANNOT_TELL as UNSURE
from skinbit.decisions.answers import DIFFERENT as APART
from skinbit.decisions.answers import SAME as TOGETHER
from skinbit.decisions.answers import Answer
from skinbit.decisions.queue import Queue
from skinbit.decisions.verdicts import Verdicts, weigh_answers
from skinbit.embedding.tables import join_embeddings
from skinbit.matching.clustering.constraints import Constraints, unconstrained
from skinbit.matching.clustering.merges import components
from skinbit.matching.cuts.search import floor_of, merge_tree
from skinbit.matching.expected.candidates import (
    CANNOT_TELL,
    DIFFERENT,
    NOTHING_SAID,
    SAME,
    Candidates,
    Said,
    find_candidates,
    follows,
)
from skinbit.matching.expected.certificate import Plan, certify, plan_sample
from skinbit.matching.expected.odds import fit_odds
from skinbit.matching.expected.own_cut import expect_of_pool
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import LabelArray, lesion_labels
from skinbit.matching.pairs.neighbours import NeighbourGraph, neighbours_above
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.uncertainty import predicted_pairs_of_groups

METHOD, N_ANSWERED, MOST_ANSWERS, STEP, SEED = "average", 150, 300, 50, 0

NO_ANSWERS = Verdicts()

REVIEWERS = {"without errors": (0.0, 0.0), "with errors": (0.02, 0.03)}
"""How often a reviewer errs, and cannot tell."""

N_REVIEWS = {"without errors": 1, "with errors": 4}
"""Different reviews before the certificate of a fold."""


@dataclass(frozen=True)
class Fold:
    """The photographs of a fold, what is expected of them, and what they show."""

    pool: Pool
    graph: NeighbourGraph
    cut: float
    prior: PoolPrior
    candidates: Candidates
    lesions: LabelArray
    hashes: tuple[str, ...]

    def grouped(self, verdicts: Verdicts = NO_ANSWERS) -> LabelArray:
        """Return the groups that obey answers."""
        rows = [np.array(pairs, dtype=np.int64).reshape(-1, 2) for pairs in (verdicts.must, verdicts.cannot)]
        constraints = Constraints(np.full(len(self.pool), -1, dtype=np.int64), *rows)
        tree = merge_tree(METHOD, self.graph, self.pool, None, constraints)
        edges = tree.edges[tree.distances <= self.cut]
        return components(len(self.pool), np.concatenate([edges, constraints.links]))

    def verdicts(self, said: Said) -> Verdicts:
        """Return what answers say."""
        words = {SAME: TOGETHER, DIFFERENT: APART, CANNOT_TELL: UNSURE}
        answers = []
        for rows, verdict in zip(said.pairs.tolist(), said.verdicts.tolist(), strict=True):
            first, second = (self.hashes[row] for row in rows)
            parts = ((first, second),) if verdict == SAME else ((first,), (second,))
            answers.append(Answer(verdict=words[verdict], parts=parts))
        return weigh_answers(answers, self.hashes)

    def counts(self, groups: LabelArray) -> tuple[int, int, int]:
        """Return how many pairs of groups are right, how many are wrong, and how many are missed."""
        pairs = predicted_pairs_of_groups(groups, self.lesions)
        right, positive = int(pairs.true_pairs.sum()), int(pairs.positive_pairs.sum())
        return right, int(pairs.false_count.sum()), positive - right


class Reviewer:
    """A person who knows the lesions, but errs."""

    def __init__(self, lesions: LabelArray, kind: str, seed: int) -> None:
        """Sit down."""
        self._lesions, self._rng = lesions, np.random.default_rng([SEED, seed])
        self._errs, self._abstains = REVIEWERS[kind]

    def say(self, first: int, second: int) -> int:
        """Return what is said of a pair."""
        if self._rng.random() < self._abstains:
            return CANNOT_TELL
        return int((self._lesions[first] == self._lesions[second]) != (self._rng.random() < self._errs))


Order = Callable[[Said], tuple[int, int] | None]
"""Chooses the next pair, if any is left."""


def by_queue(fold: Fold, groups: LabelArray) -> Order:
    """Ask as the queue does."""
    queue = Queue(groups, fold.candidates, SEED)
    return lambda said: next((each.rows for each in queue.questions(fold.verdicts(said), said)), None)


def by_uncertainty(fold: Fold, groups: LabelArray) -> Order:
    """Ask about the pair whose probability is nearest to one half."""
    return _sorted_by(fold, np.abs(fold.candidates.probabilities - 0.5))


def by_similarity(fold: Fold, groups: LabelArray) -> Order:
    """Ask about the most similar pair."""
    return _sorted_by(fold, -fold.candidates.probabilities)


def _sorted_by(fold: Fold, values: np.ndarray) -> Order:
    pairs = fold.candidates.pairs[np.argsort(values, kind="stable")]

    def choose(said: Said) -> tuple[int, int] | None:
        is_open = ~follows(pairs, said, len(fold.pool))
        is_open &= ~(pairs[:, None] == said.pairs[said.verdicts == CANNOT_TELL]).all(axis=2).any(axis=1)
        left = pairs[is_open]
        return (int(left[0, 0]), int(left[0, 1])) if len(left) else None

    return choose


ORDERS = {"the queue": by_queue, "by |p - 0.5|": by_uncertainty, "by similarity": by_similarity}


@dataclass(frozen=True)
class Review:
    """What a reviewer said, and what the groups were after every :data:`STEP` answers, none at first."""

    said: Said
    groups: tuple[LabelArray, ...]

    def shares_gone(self, fold: Fold) -> list[float]:
        """Return the share of the wrong pairs that are gone, after as many answers."""
        wrong = [sum(fold.counts(groups)[1:]) for groups in self.groups]
        return [1.0 - each / wrong[0] for each in wrong]


def review(fold: Fold, order: Callable[[Fold, LabelArray], Order], reviewer: Reviewer, n: int) -> Review:
    """Ask n questions, and group the photographs again from time to time."""
    said, groups = NOTHING_SAID, [fold.grouped()]
    while len(said.verdicts) < n:
        choose = order(fold, groups[-1])
        for _ in range(STEP):
            rows = choose(said)
            if rows is not None:
                said = Said(np.vstack([said.pairs, rows]), np.append(said.verdicts, reviewer.say(*rows)))
        groups.append(fold.grouped(fold.verdicts(said)))
        if rows is None:
            break
    return Review(said, tuple(groups))


def read_folds(root: Path, experiment: str, with_evidence: bool) -> list[Fold]:
    """Return every fold among all lesions of one photograph.

    Args:
        root: Of a study with distractors.
        experiment: One whose pairs are verified.
        with_evidence: Whether columns of the metadata count.
    """
    published = read_all_lesions(root)
    corrected = corrected_lesions(published)
    similarity = with_columns(EVIDENCE) if with_evidence else SIMILARITY
    tables = [read_table(root / f"02_intermediate/{name}.csv") for name in ("metadata", "distractors")]
    columns = pd.concat(tables, ignore_index=True).reindex(columns=["image_id", *EVIDENCE]).fillna("").astype(str)
    alone, among = {}, {}
    for fold, folder in enumerate(fold_folders(root, experiment, at_least=3)):
        embeddings = load_embeddings(folder)
        together = join_embeddings(embeddings, load_embeddings(folder, "distractor_embeddings"))
        alone[fold] = read_pool(embeddings, folder / "shortlist.csv", published)
        among[fold] = read_pool(together, folder / "distractor_shortlist.csv", published)
        if with_evidence:
            alone[fold], among[fold] = (known(images, columns, similarity) for images in (alone[fold], among[fold]))
    calibrations = calibrations_by_others(alone, similarity)
    odds = {
        fold: fit_odds(images.with_similarities(similarity, calibrations[fold]), lesion_labels(images.lesion_ids))
        for fold, images in alone.items()
    }
    folds = []
    for fold, images in among.items():
        pool = images.with_similarities(similarity, calibrations[fold])
        others = [each for other, of_fold in odds.items() if other != fold for each in of_fold]
        own = expect_of_pool(pool, unconstrained(len(pool)), others, METHOD, None)
        folds.append(
            Fold(
                pool=pool,
                graph=neighbours_above(pool, floor_of(METHOD, own.chosen.cut)),
                cut=own.chosen.cut,
                prior=PoolPrior(own.log_odds, own.chosen.n_positive, tuple(others)),
                candidates=find_candidates(pool, images.shortlist, own.log_odds),
                lesions=lesion_labels([corrected[image_id] for image_id in images.image_ids]),
                hashes=tuple(hashlib.sha256(image_id.encode()).hexdigest() for image_id in images.image_ids),
            )
        )
    return folds


def check(fold: Fold, groups: LabelArray, census: Said, reviewer: Reviewer, seed: int) -> dict[str, tuple[float, ...]]:
    """Draw a sample, ask the reviewer, and return of each measure: real value, estimate, width, whether it is held."""
    plan = plan_sample(groups, fold.candidates, census, seed=seed)
    found = certify(groups, fold.candidates, census, plan, ask(plan, reviewer), fold.prior)
    assert found is not None
    right, wrong, missed = fold.counts(groups)
    real = {
        "precision": right / (right + wrong),
        "recall": right / (right + missed),
        "f1": 2 * right / (2 * right + wrong + missed),
    }
    return {
        name: (value, each.value, each.high - each.low, float(each.low <= value <= each.high))
        for name, value in real.items()
        for each in [getattr(found, name)]
    }


def ask(plan: Plan, reviewer: Reviewer) -> Said:
    """Ask about the pairs of a sample, and again where an answer disagrees with the groups."""
    said = []
    for (first, second), is_joined in zip(plan.pairs.tolist(), plan.is_joined.tolist(), strict=True):
        verdict = reviewer.say(first, second)
        said.append((first, second, verdict))
        if verdict == (DIFFERENT if is_joined else SAME):
            said.append((first, second, reviewer.say(first, second)))
    rows = np.array(said, dtype=np.int64)
    return Said(rows[:, :2], rows[:, 2])


def curves(folds: Sequence[Fold]) -> tuple[list[list[str]], dict[str, list[list[Review]]]]:
    """Return a table of the share of wrong pairs that are gone, and the reviews by the queue of every fold."""
    rows, reviews = [], {}
    for kind, n_reviews in N_REVIEWS.items():
        for name, order in ORDERS.items():
            if kind != "without errors" and order is not by_queue:
                continue
            n = MOST_ANSWERS if kind == "without errors" else N_ANSWERED
            done = [
                [review(fold, order, Reviewer(fold.lesions, kind, seed), n) for seed in range(n_reviews)]
                for fold in folds
            ]
            gone = [
                np.mean([_padded(each.shares_gone(fold), MOST_ANSWERS // STEP + 1) for each in of_fold], axis=0)
                for fold, of_fold in zip(folds, done, strict=True)
            ]
            rows.append(
                [
                    name,
                    kind,
                    *("" if np.isnan(share) else f"{100 * share:.0f} %" for share in np.mean(gone, axis=0)[1:]),
                ]
            )
            rows[-1].append(", ".join(f"{100 * each[N_ANSWERED // STEP]:.0f}" for each in gone))
            print(" | ".join(rows[-1]), flush=True)
            if order is by_queue:
                reviews[kind] = done
    return rows, reviews


def _padded(values: Sequence[float], n: int) -> np.ndarray:
    return np.append(values, np.full(n - len(values), np.nan))


def certificates(folds: Sequence[Fold], reviews: dict[str, list[list[Review]]], n_seeds: int) -> list[list[str]]:
    """Return a table of how often the certificate's intervals hold the real values."""
    rows = []
    for kind, of_folds in reviews.items():
        checked = []
        for number, (fold, done) in enumerate(zip(folds, of_folds, strict=True)):
            found = []
            for seed in range(n_seeds):
                one = done[seed % len(done)]
                census = Said(one.said.pairs[:N_ANSWERED], one.said.verdicts[:N_ANSWERED])
                reviewer = Reviewer(fold.lesions, kind, 1_000 + seed)
                found.append(check(fold, one.groups[N_ANSWERED // STEP], census, reviewer, seed))
            checked += found
            rows.append([f"fold {number}, {kind}", *_summary(found)])
        rows.append([f"all folds, {kind}", *_summary(checked)])
    return rows


def _summary(found: Sequence[dict[str, tuple[float, ...]]]) -> list[str]:
    means = {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
    real, estimate, width, held = means["f1"]
    others = [f"{100 * means[name][3]:.1f} %, {means[name][2]:.3f}" for name in ("precision", "recall")]
    return [f"{real:.4f}", f"{estimate:.4f}", f"{width:.4f}", f"{100 * held:.1f} %", *others]


def main() -> None:
    """Print curves of wrong pairs, then coverage and width of the certificate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification and scaling")
    parser.add_argument("--columns", action="store_true", help="sex, site and age count as evidence")
    parser.add_argument("--seeds", type=int, default=1_000, help="samples of each fold")
    given = parser.parse_args()
    started = time.perf_counter()
    folds = read_folds(given.root, given.experiment, given.columns)
    for fold in folds:
        print("right, wrong, missed pairs:", *fold.counts(fold.grouped()), flush=True)
    rows, reviews = curves(folds)
    answers = [f"{n} answers" for n in range(STEP, MOST_ANSWERS + 1, STEP)]
    print(describe_machine("numpy", "scipy"))
    print(markdown_table(["order", "reviewer", *answers, f"folds, {N_ANSWERED} answers (%)"], rows))
    titles = ["real F1", "estimate", "width", "coverage", "precision: coverage, width", "recall: coverage, width"]
    print(markdown_table(["groups", *titles], certificates(folds, reviews, given.seeds)))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
