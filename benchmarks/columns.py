"""What are columns of the metadata worth, and what do wrong values cost? On the stored files of a finished study.

uv run python -m benchmarks.columns --root data/ham10000 --experiment combined_verified

Every fold is grouped by average linkage, alone and among all lesions of one photograph, at the cut that it chooses for
itself; what the columns weigh is learned from the other folds. HAM10000 writes sex, age and site once per lesion, so it
is the best case. Values are then blanked, or replaced by those of other photographs, in some photographs: of all of
them, or only of those that are grouped, as where a careful study meets a careless archive. A column of noise is last.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.labels import corrected_lesions
from benchmarks.small_folders import SIMILARITY
from benchmarks.stored import (
    Images,
    calibrations_by_others,
    fold_folders,
    load_embeddings,
    read_all_lesions,
    read_pool,
    read_table,
)
from benchmarks.timing import describe_machine, markdown_table
from skinbit.config import ContextParams, SimilarityParams
from skinbit.embedding.tables import join_embeddings
from skinbit.matching.clustering.constraints import unconstrained
from skinbit.matching.expected.odds import PairOdds, fit_odds
from skinbit.matching.expected.own_cut import expect_of_pool
from skinbit.matching.grouping import Cut, group_images
from skinbit.matching.labels import LabelArray, lesion_labels
from skinbit.matching.pairs.pool import Pool
from skinbit.matching.scoring.uncertainty import mean_f1, predicted_pairs_of_groups
from skinbit.matching.similarity.columns import read_context

SEED, SHARES = 42, (0.05, 0.20)

EVIDENCE = {"sex": "exact", "anatom_site_general": "exact", "age": {"kind": "number", "tolerance": 5}}
NOISE = "noise"


def with_columns(evidence: Mapping[str, object]) -> SimilarityParams:
    """Return the similarity with columns as evidence."""
    return SIMILARITY.model_copy(update={"context": ContextParams.model_validate({"evidence": evidence})})


@dataclass(frozen=True)
class Variant:
    """One way to spoil the columns, or none.

    Attributes:
        name: For the table.
        similarity: Which columns count.
        learned: What the folds learn from.
        grouped: What is known of the photographs that are grouped.
    """

    name: str
    similarity: SimilarityParams
    learned: pd.DataFrame
    grouped: pd.DataFrame


def spoil(table: pd.DataFrame, share: float, blank: bool) -> pd.DataFrame:
    """Blank the values of some photographs, or replace each by that of another photograph drawn at random.

    Args:
        table: ``image_id`` and the columns.
        share: Of the photographs, of each column others.
        blank: Whether values are blanked, not replaced.
    """
    rng = np.random.default_rng([SEED, round(share * 100), blank])
    spoilt = table.copy()
    for column in EVIDENCE:
        is_hit = rng.random(len(table)) < share
        others = "" if blank else rng.permutation(table[column].to_numpy())[is_hit]
        spoilt.loc[is_hit, column] = others
    return spoilt


def variants(table: pd.DataFrame) -> list[Variant]:
    """Return all variants, that without columns first."""
    columns = with_columns(EVIDENCE)
    made = [Variant("no columns", SIMILARITY, table, table), Variant("as written", columns, table, table)]
    for blank, what in ((True, "blanked"), (False, "replaced")):
        for share in SHARES:
            spoilt = spoil(table, share, blank)
            made.append(Variant(f"{share:.0%} {what}", columns, spoilt, spoilt))
            if not blank:
                made.append(Variant(f"{share:.0%} {what}, only where grouped", columns, table, spoilt))
    drawn = np.random.default_rng(SEED).integers(0, 4, len(table)).astype(str)
    noisy = table.assign(**{NOISE: drawn})
    return [*made, Variant("a column of noise alone", with_columns({NOISE: "exact"}), noisy, noisy)]


def known(images: Images, table: pd.DataFrame, similarity: SimilarityParams) -> Images:
    """Return images with what a table says of them."""
    return replace(images, context=read_context(table, images.image_ids, similarity.context))


@dataclass(frozen=True)
class Judgement:
    """Groups of a pool at the cut that it chooses for itself: F1 over pairs, the F1 that it expects, and recall@1."""

    f1: float
    expected_f1: float
    recall_at_1: float


def judge_pool(pool: Pool, labels: LabelArray, odds: Sequence[PairOdds]) -> Judgement:
    """Group a pool by average linkage at the cut that it chooses for itself."""
    own = expect_of_pool(pool, unconstrained(len(pool)), odds, "average", None)
    cut = own.chosen.cut
    found = group_images(pool, (), Cut("average", cut, 1 - cut, 1 - cut), None)
    has_partner = np.bincount(labels)[labels] > 1
    is_found = labels[found.nearest] == labels
    f1 = mean_f1([predicted_pairs_of_groups(found.cluster_ids, labels)])
    return Judgement(f1, own.chosen.f1, float(is_found[has_partner].mean()))


def judge(folds: Mapping[int, Images], among: Mapping[int, Images], variant: Variant) -> list[list[Judgement]]:
    """Return for every fold how it is grouped alone and among the distractors."""
    learned = {fold: known(images, variant.learned, variant.similarity) for fold, images in folds.items()}
    calibrations = calibrations_by_others(learned, variant.similarity)
    odds = {}
    for fold, images in learned.items():
        pool = images.with_similarities(variant.similarity, calibrations[fold])
        odds[fold] = fit_odds(pool, lesion_labels(images.lesion_ids))
    judged = []
    for fold in folds:
        others = [each for other, of_fold in odds.items() if other != fold for each in of_fold]
        shown = [known(images, variant.grouped, variant.similarity) for images in (folds[fold], among[fold])]
        pools = [images.with_similarities(variant.similarity, calibrations[fold]) for images in shown]
        labels = [lesion_labels(images.lesion_ids) for images in shown]
        judged.append([judge_pool(pool, of, others) for pool, of in zip(pools, labels, strict=True)])
    return judged


def main() -> None:
    """Print F1, expected F1 and recall@1 per variant, means of the folds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="of a study with evaluation.distractors")
    parser.add_argument("--experiment", required=True, help="one with similarity.verification and scaling")
    parser.add_argument("--corrected", action="store_true", help="judge by HAM10000's corrected lesion ids")
    given = parser.parse_args()
    started = time.perf_counter()
    tables = [read_table(given.root / f"02_intermediate/{name}.csv") for name in ("metadata", "distractors")]
    columns = pd.concat(tables, ignore_index=True)[["image_id", *EVIDENCE]].astype(str)
    lesion_of = read_all_lesions(given.root)
    judged_by = corrected_lesions(lesion_of) if given.corrected else lesion_of
    folds, among = {}, {}
    for fold, folder in enumerate(fold_folders(given.root, given.experiment, at_least=3)):
        embeddings = load_embeddings(folder)
        together = join_embeddings(embeddings, load_embeddings(folder, "distractor_embeddings"))
        folds[fold] = read_pool(embeddings, folder / "shortlist.csv", judged_by)
        among[fold] = read_pool(together, folder / "distractor_shortlist.csv", judged_by)
    rows = []
    for variant in variants(columns):
        judged = judge(folds, among, variant)
        rows.append([variant.name])
        for place in range(2):
            rows[-1] += [f"{np.mean(each):.4f}" for each in zip(*(astuple(of[place]) for of in judged), strict=True)]
        print(f"{variant.name}: {time.perf_counter() - started:.0f} s", flush=True)
    print(describe_machine("numpy", "scipy"))
    titles = [f"{where}: {what}" for where in ("folds", "among singles") for what in ("F1", "expected F1", "recall@1")]
    print(markdown_table(["columns", *titles], rows))


if __name__ == "__main__":
    main()
