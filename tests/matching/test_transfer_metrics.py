"""Metrics at cuts that were chosen elsewhere, and where none could be chosen."""

from itertools import combinations
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from skinbit.config import EvaluationParams
from skinbit.matching.cuts.operating_points import gather_subsets
from skinbit.matching.cuts.transfer import carry_to_pool
from skinbit.matching.labels import lesion_labels, unit_vectors
from skinbit.matching.methods import CUTS, METHODS
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.scoring.group_metrics import evaluate_groups
from skinbit.matching.scoring.score import GROUP_METRICS, score, score_at
from skinbit.matching.scoring.strata import evaluate_strata, strata_of_lesions
from skinbit.matching.scoring.transfer_metrics import distractor_metrics, pooled_metrics, transfer_metrics
from skinbit.matching.scoring.uncertainty import f1_intervals, mean_f1, resample_f1
from skinbit.matching.scoring.unseen import score_unseen
from tests.matching.oracle import groups_within, partition

LESIONS = [f"lesion {n // 2}" for n in range(20)]
ALL_CUTS = {"cosine": 0.8, "dbscan": 0.1, "average": 0.2, "complete": 0.3}


def photographs(seed: int = 0):
    rng = np.random.default_rng(seed)
    return Pool(unit_vectors(np.repeat(rng.normal(size=(10, 4)), 2, axis=0) + 0.2 * rng.normal(size=(20, 4))))


def evaluate_at(pool, lesions, cuts, max_group_size):
    return score_at(pool, lesion_labels(lesions), cuts, max_group_size)


def test_every_method_is_evaluated_at_its_cut():
    pool, labels = photographs(), lesion_labels(LESIONS)
    evaluated = evaluate_at(pool, LESIONS, ALL_CUTS, 4)
    assert list(evaluated.predicted) == list(METHODS)
    assert partition(evaluated.groups["dbscan"]) == partition(
        groups_within(similarity_matrix(pool), ALL_CUTS["dbscan"])
    )
    for method, groups in evaluated.groups.items():
        metrics = evaluate_groups(groups, labels)
        assert [evaluated.metrics[f"{method}_{name}"] for name in GROUP_METRICS] == [
            metrics[name] for name in GROUP_METRICS
        ]


def test_lesions_of_no_fold_are_scored_at_the_cuts_of_the_folds_for_their_number():
    points = gather_subsets([score(photographs(seed), LESIONS, EvaluationParams()).points for seed in (1, 2)])
    pool, evaluation = photographs(3), EvaluationParams(resamples=100)
    found = score_unseen(pool, LESIONS, points, evaluation, 0)
    carried = carry_to_pool(points, 20, evaluation.pool_correction)
    assert found.cuts == {method: cut.value for method, cut in carried.items()}
    assert found.metrics["rho"] == carried["cosine"].rho == 1.0
    given = evaluate_at(pool, LESIONS, found.cuts, evaluation.max_group_size)
    assert [found.metrics[name] for name in given.metrics] == pytest.approx(list(given.metrics.values()), nan_ok=True)
    assert {method: groups.tolist() for method, groups in found.groups.items()} == {
        method: groups.tolist() for method, groups in given.groups.items()
    }
    best = score(pool, LESIONS, evaluation).metrics
    intervals = f1_intervals(resample_f1([given.predicted], 100, 0))
    for method in CUTS:
        assert found.metrics[f"{method}_f1"] == mean_f1([given.predicted[method]])
        assert found.metrics[f"{method}_f1_oracle"] == best[f"{method}_f1"] >= found.metrics[f"{method}_f1"]
        ends = tuple(found.metrics[f"{method}_f1_transfer_{end}"] for end in ("low", "high"))
        assert ends == intervals[method]


def test_without_a_cut_nothing_is_told_rather_than_0():
    evaluated = evaluate_at(photographs(), LESIONS, dict.fromkeys(CUTS, np.nan), 4)
    assert list(evaluated.predicted) == ["mutual"]
    assert np.isnan(evaluated.metrics["average_ari"])
    resampled = resample_f1([evaluated.predicted], 100, 0)
    assert resampled["cosine"].isna().all()
    assert resampled["mutual"].notna().any()
    assert np.isnan(f1_intervals(resampled)["cosine"]).all()


def test_transfer_metrics_are_the_f1_of_each_method_and_undefined_without_a_cut():
    evaluated = evaluate_at(photographs(), LESIONS, ALL_CUTS | {"average": np.nan}, 4)
    found = transfer_metrics(evaluated)
    assert list(found) == [f"{method}_f1_transfer" for method in METHODS]
    assert np.isnan(found["average_f1_transfer"])
    assert found["dbscan_f1_transfer"] == mean_f1([evaluated.predicted["dbscan"]]) > 0


def test_a_fold_without_a_cut_is_left_out_of_the_mean():
    good, bad = (evaluate_at(photographs(), LESIONS, ALL_CUTS | {"cosine": cut}, 4).predicted for cut in (0.8, np.nan))
    assert resample_f1([good, bad], 100, 0)["cosine"].tolist() == resample_f1([good], 100, 0)["cosine"].tolist()


class TestPooled:
    FOLDS: ClassVar = [
        (photographs(0), LESIONS),
        (photographs(1).subset(np.arange(6)), LESIONS[:6]),
        (photographs(2), LESIONS),
    ]

    def test_f1_is_that_of_all_counted_pairs_added_up(self):
        evaluated = [evaluate_at(pool, lesions, ALL_CUTS, 4).predicted for pool, lesions in self.FOLDS]
        tp = fp = positive = 0
        for pool, lesions in self.FOLDS:
            alike = similarity_matrix(pool)
            for a, b in combinations(range(len(lesions)), 2):
                same, joined = lesions[a] == lesions[b], alike[a, b] >= np.float64(ALL_CUTS["cosine"])
                tp, fp, positive = tp + (same and joined), fp + (joined and not same), positive + same
        found = pooled_metrics(evaluated)
        assert list(found) == [f"{method}_f1_pooled" for method in METHODS]
        assert found["cosine_f1_pooled"] == pytest.approx(2 * tp / (tp + fp + positive))
        assert found["cosine_f1_pooled"] != pytest.approx(mean_f1([fold["cosine"] for fold in evaluated]))

    def test_a_fold_without_a_cut_leaves_it_undefined(self):
        cuts = (ALL_CUTS, ALL_CUTS | {"average": np.nan})
        evaluated = [evaluate_at(photographs(), LESIONS, each, 4).predicted for each in cuts]
        found = pooled_metrics(evaluated)
        assert np.isnan(found["average_f1_pooled"])
        assert found["dbscan_f1_pooled"] == mean_f1([evaluated[0]["dbscan"]])  # of two equal folds


def test_strata_add_up_and_blank_values_are_one_of_them():
    split = pd.DataFrame({"image_id": [f"image {n}" for n in range(20)], "lesion_id": LESIONS, "fold": 0})
    sites = np.where(np.arange(20) < 8, "arm", np.where(np.arange(20) < 12, "", "leg"))
    metadata = split[["image_id", "lesion_id"]].assign(site=sites)
    evaluated = evaluate_at(photographs(), LESIONS, ALL_CUTS, 4)
    strata = strata_of_lesions(split, [0], metadata, ["site", "nowhere"])
    found = evaluate_strata([evaluated.predicted], strata, 100, 0)
    by_threshold = found[found["method"] == "cosine"].set_index("stratum")
    assert by_threshold["n_lesions"].to_dict() == {"(blank)": 2, "arm": 4, "leg": 4}
    assert by_threshold["tp"].sum() == evaluated.predicted["cosine"].true_pairs.sum()
    assert by_threshold["fp"].sum() == evaluated.predicted["cosine"].false_count.sum()
    assert set(found["column"]) == {"site"}


@pytest.mark.parametrize("columns", [[], ["nowhere"]])
def test_without_a_column_there_is_no_stratum(columns):
    split = pd.DataFrame({"image_id": [f"image {n}" for n in range(20)], "lesion_id": LESIONS, "fold": 0})
    evaluated = evaluate_at(photographs(), LESIONS, ALL_CUTS, 4)
    assert evaluate_strata([evaluated.predicted], strata_of_lesions(split, [0], split, columns), 100, 0).empty


class TestAmongDistractors:
    """Lesions of one image join no pair of one lesion, but can be joined by mistake."""

    SINGLES: ClassVar[list[str]] = [f"single {n}" for n in range(15)]

    def pool(self):
        rng = np.random.default_rng(5)
        centres = rng.normal(size=(10, 4))
        values = np.concatenate(
            [np.repeat(centres, 2, axis=0) + 0.3 * rng.normal(size=(20, 4)), rng.normal(size=(15, 4))]
        )
        return Pool(unit_vectors(values)), [*LESIONS, *self.SINGLES]

    def test_f1_counts_every_pair_of_the_pool(self):
        pool, lesions = self.pool()
        similar = similarity_matrix(pool)
        found = distractor_metrics(evaluate_at(pool, lesions, ALL_CUTS, 4), 1.75, 0.4)
        pairs = list(combinations(range(len(lesions)), 2))
        tp = sum(similar[a, b] >= 0.8 and lesions[a] == lesions[b] for a, b in pairs)
        fp = sum(similar[a, b] >= 0.8 and lesions[a] != lesions[b] for a, b in pairs)
        assert fp > 0
        assert found["cosine_f1_distractors"] == pytest.approx(2 * tp / (tp + fp + 10))
        assert (found["rho_distractors"], found["share_distractors"]) == (1.75, 0.4)

    def test_a_nearest_image_may_be_a_distractor(self):
        pool, lesions = self.pool()
        similar = similarity_matrix(pool)
        found = distractor_metrics(evaluate_at(pool, lesions, ALL_CUTS, 4), 1.75, 0.4)
        nearest = np.argmax(np.where(np.eye(len(lesions), dtype=bool), -2, similar), axis=1)
        expected = np.mean([lesions[nearest[row]] == lesions[row] for row in range(20)])
        assert found["recall_at_1_distractors"] == pytest.approx(expected)

    def test_a_method_without_a_cut_has_no_metric(self):
        found = distractor_metrics(evaluate_at(*self.pool(), dict.fromkeys(CUTS, np.nan), 4), 1.0, 0.4)
        assert np.isnan([found[f"{method}_f1_distractors"] for method in CUTS]).all()
        assert found["mutual_f1_distractors"] > 0
