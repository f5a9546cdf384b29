"""The product against the reference on random studies, with ties, copies and extremes.

Some dozens here; `SKINBIT_STUDIES=5000 uv run pytest -n0 tests/reference/test_random_studies.py` compares so many.
"""

import os
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from skinbit.config import SplitParams
from skinbit.data.splits import split_lesions
from skinbit.errors import InputError
from skinbit.matching.cuts.grouping_cut import Cut
from skinbit.matching.cuts.transfer import carry_over, mean_cut
from skinbit.matching.grouping import group_images
from skinbit.matching.methods import CUTS
from skinbit.matching.pairs.pool import similarity_matrix
from skinbit.matching.scoring.score import GROUP_METRICS, score, score_at
from skinbit.matching.scoring.transfer_metrics import self_metrics, transfer_metrics
from skinbit.matching.scoring.uncertainty import bootstrap_f1, interval, predicted_pairs
from skinbit.reference import cuts, groups, intervals, metrics, similarity, splits
from tests.reference.studies import Study, make_study

MANY = int(os.environ.get("SKINBIT_STUDIES", "0"))
LINKED = ("dbscan", "average", "complete")
RANKS = ("roc_auc", "average_precision", "recall_at_1", "recall_at_5", "mean_average_precision")


def studies() -> Iterator[Study]:
    for seed in range(MANY or 8):
        yield make_study(seed)


def near(value, within=1e-9):
    return pytest.approx(value, rel=within, abs=within, nan_ok=True)


def matrix_of(study):
    return similarity.similarities(study.vectors, study.scaling, study.coefficients, study.compared)


def merges_of(method, matrix, cap, rules=None):
    if method == "dbscan":
        return groups.single_merges(matrix, rules)
    if method == "mutual":
        return groups.mutual_merges(matrix, rules)
    return groups.linkage_merges(matrix, method, cap, rules)


def best_of(method, matrix, labels, params):
    """Return cut and metrics of a method at its best cut, by the reference."""
    positive = metrics.are_together(labels)
    if method == "cosine":
        return metrics.best_threshold(metrics.of_pairs(matrix), positive, *params.threshold_range)
    curve = groups.sweep_merges(merges_of(method, matrix, params.max_group_size), labels)
    if method == "mutual":
        grouped = groups.groups_at(merges_of(method, matrix, None), len(labels), groups.LARGEST)
        return None, metrics.metrics_of(metrics.are_together(grouped), positive)
    return groups.best_cut(curve, int(positive.sum()), *params.eps_range)


def test_similarities_are_those_of_the_reference():
    for study in studies():
        assert np.array_equal(metrics.of_pairs(similarity_matrix(study.pool)), metrics.of_pairs(matrix_of(study)))


def test_best_cuts_curves_and_ranks_are_those_of_the_reference():
    for study in studies():
        found, matrix = score(study.pool, study.lesion_ids, study.params), matrix_of(study)
        positive, alike = metrics.are_together(study.labels), metrics.of_pairs(matrix)
        for method in (*CUTS, "mutual"):
            cut, best = best_of(method, matrix, study.labels, study.params)
            infix = "" if method in ("cosine", "dbscan") else "pair_"
            names = (f"{method}_f1", f"{method}_{infix}precision", f"{method}_{infix}recall")
            assert tuple(found.metrics[name] for name in names) == near(tuple(best))
            if cut is not None:
                assert found.metrics[CUTS[method]] == near(cut)
            if method in LINKED:
                curve = groups.sweep_merges(merges_of(method, matrix, study.params.max_group_size), study.labels)
                assert found.sweeps[method].cuts.tolist() == near(curve.cuts.tolist(), 2e-12)
                assert found.sweeps[method].tp.tolist() == curve.tp.tolist()
                assert found.sweeps[method].fp.tolist() == curve.fp.tolist()
        curve = metrics.sweep_thresholds(alike, positive)
        head = len(curve.cuts)  # below them are rows that no pair has
        assert found.sweeps["cosine"].cuts[:head].tolist() == curve.cuts.tolist()
        assert found.sweeps["cosine"].tp[:head].tolist() == curve.tp.tolist()
        eps = best_of("dbscan", matrix, study.labels, study.params)[0]
        grouped = groups.groups_at(merges_of("dbscan", matrix, None), len(matrix), eps)
        assert found.clusters.tolist() == groups.numbered(grouped).tolist()
        assert {name: found.metrics[name] for name in RANKS} == near(
            {
                "roc_auc": metrics.roc_auc(alike, positive),
                "average_precision": metrics.average_precision(alike, positive),
                "recall_at_1": metrics.recall_at(matrix, study.labels, 1),
                "recall_at_5": metrics.recall_at(matrix, study.labels, 5),
                "mean_average_precision": metrics.mean_average_precision(matrix, study.labels),
            }
        )


def test_metrics_at_given_cuts_and_at_the_cut_that_a_pool_chooses_are_those_of_the_reference():
    for study in studies():
        matrix, cap, odds = matrix_of(study), study.params.max_group_size, [each.model_dump() for each in study.odds]
        positive, alike = metrics.are_together(study.labels), metrics.of_pairs(matrix)
        merges = {method: merges_of(method, matrix, cap) for method in (*LINKED, "mutual")}
        given = {"cosine": study.value_in(alike)} | {
            method: study.value_in(np.array([merge.distance for merge in merges[method]])) for method in LINKED
        }
        found = score_at(study.pool, study.labels, given, cap, study.odds)
        own_odds = cuts.own_odds(alike, odds)
        for method in (*given, "mutual"):
            own = None
            if method == "cosine":
                predicted = alike >= given[method]
                own = cuts.own_cut(cuts.steps_of_threshold(alike), own_odds, odds)
                self_predicted = alike >= own.cut
            else:
                grouped = groups.groups_at(merges[method], len(matrix), given.get(method, groups.LARGEST))
                predicted = metrics.are_together(grouped)
                wanted = metrics.group_metrics(grouped, study.labels)
                assert {name: found.metrics[f"{method}_{name}"] for name in GROUP_METRICS} == near(wanted)
            if method in LINKED:
                own = cuts.own_cut(cuts.steps_of_merges(merges[method], matrix), own_odds, odds)
                self_predicted = metrics.are_together(groups.groups_at(merges[method], len(matrix), own.cut))
            wanted = metrics.metrics_of(predicted, positive).f1
            assert transfer_metrics(found)[f"{method}_f1_transfer"] == near(wanted)
            if own is not None:
                assert found.own[method].expected.cut == near(own.cut)
                assert self_metrics(found)[f"{method}_f1_expected"] == near(own.f1)
                assert self_metrics(found)[f"{method}_f1_self"] == near(metrics.metrics_of(self_predicted, positive).f1)


def test_cuts_for_pools_of_any_size_are_those_of_the_reference():
    others = [score(other.pool, other.lesion_ids, other.params) for other in map(make_study, (1, 2, 3))]
    for study in studies():
        folds = [score(study.pool, study.lesion_ids, study.params), *others]
        n_images, share = int(study.rng.integers(1, 5000)), float(study.rng.choice([0.0, 0.5, 0.9]))
        for method in CUTS:
            points = [fold.points[method] for fold in folds]
            read = [each.model_dump() for each in points]
            assert mean_cut(points).value == near(cuts.mean_cut(read))
            carried = carry_over(points, n_images, True, share)
            assert carried.value == near(cuts.pooled_cut(read, n_images, share, method == "cosine"))
            assert carried.rho == near(cuts.relative_size(read, n_images))
            assert_best_of_all_cuts(method, read[0], study, n_images / max(1, len(study.labels)))


def assert_best_of_all_cuts(method, points, study, rho):
    """The stored points of a fold contain the best cut of its whole curve for a pool of any size."""
    matrix, params = matrix_of(study), study.params
    positive = metrics.are_together(study.labels)
    if method == "cosine":
        curve, searched = metrics.sweep_thresholds(metrics.of_pairs(matrix), positive), params.threshold_range
    else:
        curve = groups.sweep_merges(merges_of(method, matrix, params.max_group_size), study.labels)
        searched = params.eps_range
    cut = cuts.best_point(points, rho)
    if np.isnan(cut):
        assert not positive.any() or cuts.within(curve, searched, method == "cosine").cuts.size == 0
        return
    whole = cuts.within(curve, searched, method == "cosine")
    best = cuts.best_f1(whole.tp.tolist(), whole.fp.tolist(), rho, int(positive.sum()))
    row = points["cuts"].index(cut)
    assert cuts.f1_of(points["tp"][row], points["fp"][row], rho, points["n_positive_pairs"]) == near(best)


def test_groups_around_known_lesions_and_answers_are_those_of_the_reference():
    for study in studies():
        matrix, cap, rules = matrix_of(study), study.params.max_group_size, study.rules
        n_new = int((study.constraints.known < 0).sum())
        known = tuple(study.lesion_ids[n_new:])
        for method in (*CUTS, "mutual"):
            if method == "cosine":
                value = study.value_in(metrics.of_pairs(matrix))
                merges, reached = groups.single_merges(matrix, rules, matrix >= value), groups.LARGEST
            else:
                merges = merges_of(method, matrix, cap, rules)
                value = reached = study.value_in(np.array([merge.distance for merge in merges]))
                if method == "mutual":
                    value, reached = np.nan, groups.LARGEST
            found = group_images(study.pool, known, Cut(method, value, -1.0, 1.0), cap, study.constraints)
            wanted = groups.groups_at(merges, len(matrix), reached, rules)
            assert found.cluster_ids.tolist() == groups.numbered(wanted[:n_new]).tolist(), method


def test_resampled_f1_and_its_interval_are_those_of_the_reference():
    for study in studies():
        alike = metrics.of_pairs(matrix_of(study))
        predicted = alike >= study.value_in(alike)
        pairs = np.column_stack(np.triu_indices(len(study.labels), 1))[predicted]
        labels = np.unique(study.labels, return_inverse=True)[1]
        found = bootstrap_f1([predicted_pairs(pairs, study.labels)], 20, seed=7)
        drawn = intervals.draws(int(labels.max()) + 1, 20, [7, 0])
        wanted = intervals.resampled_f1(intervals.count_by_lesion(predicted, labels), drawn)
        assert found.tolist() == near(wanted.tolist())
        assert interval(found) == near(intervals.interval(wanted.tolist()))


def test_splits_are_those_of_the_reference_and_obey_its_rules():
    for study in studies():
        rng = study.rng
        n_lesions, n_folds = int(rng.integers(2, 40)), int(rng.integers(2, 7))
        fraction, has_test = float(rng.choice([0.1, 0.2, 0.5])), bool(rng.integers(2))
        labels = rng.permutation(np.repeat(np.arange(n_lesions), rng.integers(1, 4, n_lesions)))
        images = pd.DataFrame({"image_id": [f"i{row}" for row in range(len(labels))]})
        images["lesion_id"] = [f"l{label}" for label in labels]
        images["site"] = [f"s{label % 3}" for label in labels]
        params = SplitParams(n_folds=n_folds, test_fraction=fraction, use_train_test_split=has_test)
        column = rng.choice(["", "stratify_by", "keep_together"])
        try:
            split = split_lesions(images, params.model_copy(update={column: "site"} if column else {}), seed=3)
        except InputError:
            continue
        assert splits.broken_rules(split.to_dict("records"), n_folds, fraction if has_test else 0.0) == []
        if not column:
            dealt = splits.deal(images["lesion_id"], n_folds, fraction if has_test else 0.0, seed=3)
            assert split["fold"].tolist() == [dealt[lesion] for lesion in images["lesion_id"]]
